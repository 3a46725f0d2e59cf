package boot

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/config"
	"felloe/netstack/clock"
	"felloe/netstack/link/mem"
)

// cloud is the scenario's underlay in memory: the transport router and a WAN link to each of the others.
type cloud struct {
	t       *testing.T
	net     *mem.Network
	routers map[string]*Router
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, net: mem.NewNetwork(clock.Real), routers: map[string]*Router{}}
	t.Cleanup(func() {
		// The transport router last: goodbyes pass through it.
		for _, transit := range []bool{false, true} {
			var down sync.WaitGroup
			for name, r := range c.routers {
				if (name == "Internet") == transit {
					down.Go(func() {
						ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
						defer stop()
						_ = r.Shutdown(ctx)
					})
				}
			}
			down.Wait()
		}
	})
	return c
}

func (c *cloud) start(name, text string, nics ...NIC) *Router {
	c.t.Helper()
	r, err := New(Options{NICs: nics, Version: "test"})
	if err != nil {
		c.t.Fatal(err)
	}
	c.routers[name] = r
	c.apply(name, text)
	return r
}

func (c *cloud) apply(name, text string) {
	c.t.Helper()
	conf, diags := config.Parse(name+".toml", []byte(text))
	if diags.HasErrors() {
		c.t.Fatalf("%s", diags)
	}
	if err := c.routers[name].Apply(context.Background(), conf); err != nil {
		c.t.Fatal(err)
	}
	if p := c.routers[name].Problems(); len(p) > 0 {
		c.t.Fatalf("%s: %v", name, p)
	}
}

// exec runs a command and returns what it prints.
func (c *cloud) exec(name, line string) string {
	c.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	out, err := c.routers[name].Exec(ctx, line)
	if err != nil {
		c.t.Fatalf("%s# %s: %v", name, line, err)
	}
	return out
}

// want repeats a command until its output holds all the words.
func (c *cloud) want(name, line string, words ...string) string {
	c.t.Helper()
	out := ""
	c.until(func() string {
		out = c.exec(name, line)
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Sprintf("%s# %s: %q is missing in\n%s", name, line, w, out)
			}
		}
		return ""
	})
	return out
}

// until waits until nothing is wrong any more.
func (c *cloud) until(wrong func() string) {
	c.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s\n%s", text, c.story())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unless is what is missing, unless it is there.
func unless(there bool, what string) string {
	if there {
		return ""
	}
	return "there is not " + what
}

// story is what the routers logged and know, for a failed test.
func (c *cloud) story() string {
	var b strings.Builder
	for name, r := range c.routers {
		fmt.Fprintf(&b, "== %s\n", name)
		for _, line := range []string{"show logging", "show counters", "show ip route", "show ip nhrp", "show crypto session"} {
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
			out, err := r.Exec(ctx, line)
			stop()
			fmt.Fprintf(&b, "-- %s (%v)\n%s\n", line, err, out)
		}
	}
	return b.String()
}

const internet = `
hostname = "Internet"
[interface.GigabitEthernet1]
address = ["172.16.1.254/24"]
[interface.GigabitEthernet2]
address = ["172.16.2.254/24"]
[interface.GigabitEthernet3]
address = ["172.16.3.254/24"]
`

const keys = `
[ikev2.proposal.DMVPN]
encryption = ["aes-cbc-256"]
integrity = ["sha256"]
group = [14]
[ikev2.policy.DMVPN]
proposal = ["DMVPN"]
[ikev2.keyring.K.peer.any]
address = "0.0.0.0/0"
pre-shared-key = "CISCO123"
[ikev2.profile.P]
match = { identity = { remote = { address = "0.0.0.0/0" } } }
keyring = "K"
[ipsec.transform-set.T]
esp = ["aes-cbc-256", "sha256"]
mode = "tunnel"
[ipsec.profile.PROTECT]
transform-set = ["T"]
ikev2-profile = "P"
`

const hub = `
hostname = "Hub"
[interface.GigabitEthernet1]
address = ["172.16.1.1/24"]
[interface.Loopback10]
address = ["192.168.11.1/24"]
[interface.Tunnel0]
mode = "gre multipoint"
address = ["10.10.10.1/24"]
source = "GigabitEthernet1"
protection = "PROTECT"
[interface.Tunnel0.nhrp]
network-id = 1
authentication = "DMVPN"
holdtime = "30s"
redirect = true
map-multicast = "dynamic"
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.1.254"
[bgp]
as = 65010
network = ["192.168.11.1/32"]
timers = { keepalive = "2s", hold = "6s", connect-retry = "2s" }
[bgp.neighbor."10.10.10.2"]
remote-as = 65011
[bgp.neighbor."10.10.10.3"]
remote-as = 65012
` + keys

func spoke(n int) string {
	return fmt.Sprintf(`
hostname = "Spoke%[1]d"
[interface.GigabitEthernet1]
address = ["172.16.%[2]d.%[2]d/24"]
[interface.Loopback10]
address = ["192.168.%[2]d%[2]d.%[2]d/24"]
[interface.Tunnel0]
mode = "gre multipoint"
address = ["10.10.10.%[2]d/24"]
source = "GigabitEthernet1"
protection = "PROTECT"
[interface.Tunnel0.nhrp]
network-id = 1
authentication = "DMVPN"
holdtime = "30s"
shortcut = true
nhs = [{ address = "10.10.10.1", nbma = "172.16.1.1", multicast = true }]
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.%[2]d.254"
[bgp]
as = %[3]d
network = ["192.168.%[2]d%[2]d.%[2]d/32"]
timers = { keepalive = "2s", hold = "6s", connect-retry = "2s" }
[bgp.neighbor."10.10.10.1"]
remote-as = 65010
`, n, n+1, 65010+n) + keys
}

// scenario1 builds Hub, Spoke1, Spoke2 and Internet.
func scenario1(t *testing.T) *cloud { return mistaken(t, spoke(1), spoke(2)) }

func TestADMVPNPhase3NetworkComesUpAndMakesAShortcut(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Spoke2", "ping 172.16.1.1 repeat 1", "(1/1)")
	c.want("Hub", "show dmvpn", "172.16.2.2", "172.16.3.3", "UP")
	c.want("Hub", "show ip bgp summary", "10.10.10.2", "10.10.10.3")
	c.want("Spoke2", "show ip route bgp", "192.168.22.2/32", "192.168.11.1/32")
	c.want("Spoke1", "show ip route bgp", "192.168.33.3/32", "192.168.11.1/32")
	c.want("Spoke2", "ping 192.168.22.2 source Loopback10 repeat 3", "(3/3)")
	c.want("Spoke2", "show ip nhrp shortcut", "192.168.22.2/32 via 10.10.10.2")
	c.want("Spoke2", "show ip route", "%")
	out := c.exec("Spoke2", "traceroute 192.168.22.2 source Loopback10 probe 1")
	if !strings.Contains(out, "1 10.10.10.2") {
		t.Fatalf("the way is\n%s\n%s", out, c.story())
	}
	for _, line := range []string{"show dmvpn", "show ip route", "show crypto ikev2 sa", "show crypto ipsec sa", "show ip nhrp nhs", "show ip bgp", "show running-config", "show interfaces"} {
		t.Logf("Spoke2# %s\n%s", line, c.exec("Spoke2", line))
	}
}

func TestApplyAThenBThenAGivesA(t *testing.T) {
	c := newCloud(t)
	a, _ := c.net.Pair("r", "x", mem.Impairment{})
	r := c.start("r", hub, NIC{"r", a})
	before := state(t, r)
	other := strings.ReplaceAll(strings.ReplaceAll(hub, "10.10.10.1/24", "10.20.0.1/24"), "Loopback10", "Loopback77")
	c.apply("r", other)
	if state(t, r) == before {
		t.Fatal("another configuration changed nothing")
	}
	c.apply("r", hub)
	if after := state(t, r); after != before {
		t.Fatalf("A, B, A gave\n%s\nnot\n%s", after, before)
	}
}

// state is what can be seen of a configuration's effect.
func state(t *testing.T, r *Router) string {
	t.Helper()
	var b strings.Builder
	for _, line := range []string{"show running-config", "show ip interface brief", "show ip cef", "show ip nhrp multicast"} {
		out, err := r.Exec(context.Background(), line)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(out)
	}
	return b.String()
}

func TestSourceNamesMayBeAbbreviated(t *testing.T) {
	c := newCloud(t)
	a, _ := c.net.Pair("r", "x", mem.Impairment{})
	r := c.start("r", hub, NIC{"r", a})
	got, err := r.SourceAddress("lo10", false)
	if err != nil || got != netip.MustParseAddr("192.168.11.1") {
		t.Fatalf("%v %v", got, err)
	}
}

func TestSecretsStayOutOfShowsAndLogs(t *testing.T) {
	c := newCloud(t)
	a, _ := c.net.Pair("r", "x", mem.Impairment{})
	c.start("r", hub, NIC{"r", a})
	out := c.exec("r", "show running-config") + c.exec("r", "show logging") + c.exec("r", "show running-config | json")
	if strings.Contains(out, "CISCO123") {
		t.Fatal("the pre-shared key is shown")
	}
}
