package boot

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

// flexKeys protects FlexVPN: whoever has the key, by its name.
const flexKeys = `
[ikev2.keyring.K.peer.any]
address = ["0.0.0.0/0", "::/0"]
pre-shared-key = "CISCO123"
[ikev2.profile.default]
match = { identity.remote.fqdn-domain = "cisco.com" }
identity.local = { fqdn = "%[1]s.cisco.com" }
keyring = "K"
authorization = { policy = "default" }
virtual-template = 1
[ipsec.profile.default]
ikev2-profile = "default"
`

// flexNets are the addresses of a test: outside (a segment), of the tunnels and behind the spokes.
type flexNets struct{ outside, mode, hub, pool, lan, tell string }

var flexFamilies = map[string]flexNets{
	"IPv4 over IPv4": {"10.0.0.%d/24", "gre ip", "172.16.1.1/32", "172.16.0.1-172.16.0.254", "192.168.%d.1/24", "0.0.0.0/0"},
	"IPv6 over IPv4": {"10.0.0.%d/24", "gre ip", "2001:db8:1::1/128", "2001:db8:1:1::1-2001:db8:1:1::ff", "2001:db8:a:%d::1/64", "::/0"},
	"IPv4 over IPv6": {"2001:db8:ff::%d/64", "gre ipv6", "172.16.1.1/32", "172.16.0.1-172.16.0.254", "192.168.%d.1/24", "0.0.0.0/0"},
	"IPv6 over IPv6": {"2001:db8:ff::%d/64", "gre ipv6", "2001:db8:1::1/128", "2001:db8:1:1::1-2001:db8:1:1::ff", "2001:db8:a:%d::1/64", "::/0"},
}

func (x flexNets) at(pattern string, n int) string { return fmt.Sprintf(pattern, n) }
func (x flexNets) addr(pattern string, n int) string {
	a, _, _ := strings.Cut(fmt.Sprintf(pattern, n), "/")
	return a
}

// hub is the hub of scenario 2, with everything for its spokes.
func (x flexNets) hubText() string {
	return fmt.Sprintf(`
hostname = "hub"
[interface.GigabitEthernet1]
address = "%[2]s"
[interface.Loopback0]
address = "%[3]s"
[interface.Virtual-Template1]
unnumbered = "Loopback0"
mode = "%[4]s"
protection = "default"
nhrp = { network-id = 1, redirect = true, redirect-timeout = "2s" }
[ikev2.authorization-policy.default]
%[7]s = "flex"
route = { set-interface = "self", set-access-list = "flex-route" }
[pool.flex]
addresses = "%[5]s"
[access-list.flex-route]
permit = "%[6]s"
`+flexKeys, "hub", x.at(x.outside, 100), x.hub, x.mode, x.pool, x.tell, map[bool]string{true: "ipv6-pool", false: "pool"}[strings.Contains(x.pool, ":")])
}

func (x flexNets) spokeText(n int) string {
	lan := x.at(x.lan, n)
	return fmt.Sprintf(`
hostname = "spoke%[1]d"
[interface.GigabitEthernet1]
address = "%[2]s"
[interface.GigabitEthernet2]
address = "%[3]s"
[interface.Tunnel0]
address = "negotiated"
mode = "%[4]s"
source = "GigabitEthernet1"
destination = "%[5]s"
protection = "default"
nhrp = { network-id = 1, shortcut = { virtual-template = 1 }, redirect = true, holdtime = "9s" }
[interface.Virtual-Template1]
unnumbered = "Tunnel0"
mode = "%[4]s"
protection = "default"
nhrp = { network-id = 1, shortcut = { virtual-template = 1 }, redirect = true, holdtime = "9s" }
[ikev2.authorization-policy.default]
route = { set-interface = "self", set-access-list = "flex-route" }
[access-list.flex-route]
permit = "%[6]s"
`, n, x.at(x.outside, 100+n), lan, x.mode, x.addr(x.outside, 100), network(lan)) + fmt.Sprintf(flexKeys, fmt.Sprint("spoke", n))
}

// network is the network of an interface's address.
func network(s string) string {
	if strings.Contains(s, "::1/") {
		return strings.Replace(s, "::1/", "::/", 1)
	}
	return strings.Replace(s, ".1/", ".0/", 1)
}

func (x flexNets) hostText(n int) string {
	any := "0.0.0.0/0"
	if strings.Contains(x.lan, ":") {
		any = "::/0"
	}
	lan := x.at(x.lan, n)
	if i := strings.Index(lan, "1/"); i >= 0 {
		lan = strings.Replace(strings.Replace(lan, "::1/", "::10/", 1), ".1/", ".10/", 1)
	}
	return fmt.Sprintf(`
hostname = "host%[1]d"
[interface.GigabitEthernet1]
address = "%[2]s"
[[route]]
prefix = "%[3]s"
via = "%[4]s"
`, n, lan, any, x.addr(x.lan, n))
}

func (x flexNets) host(n int) string {
	return strings.Replace(strings.Replace(x.addr(x.lan, n)+"/", "::1/", "::10", 1), ".1/", ".10", 1)
}

// flexCloud is a hub and spokes on a segment, with a host behind each spoke.
func flexCloud(t *testing.T, x flexNets, spokes ...int) *cloud {
	c := newCloud(t)
	segment := c.net.Switch("segment", mem.Impairment{Delay: time.Millisecond})
	c.start("hub", x.hubText(), NIC{"hub:1", segment.Port("hub")})
	for _, n := range spokes {
		c.flexSpoke(x, segment, n)
	}
	return c
}

func (c *cloud) flexSpoke(x flexNets, segment *mem.Link, n int) {
	name, host := fmt.Sprint("spoke", n), fmt.Sprint("host", n)
	near, far := c.net.Pair(name+":2", host+":1", mem.Impairment{})
	c.start(name, x.spokeText(n), NIC{name + ":1", segment.Port(name)}, NIC{name + ":2", near})
	c.start(host, x.hostText(n), NIC{host + ":1", far})
}

// access is the one Virtual-Access interface of a router that leads to a peer outside; empty without one.
func (c *cloud) access(name, peer string) (out string) {
	c.t.Helper()
	c.routers[name].look(func() {
		for _, a := range c.routers[name].flexvpn.List() {
			if a.Remote.Addr().String() == peer {
				if out != "" {
					c.t.Errorf("%s has two interfaces to %s: %s and %s", name, peer, out, a.Name)
				}
				out = a.Name
			}
		}
	})
	return out
}

func TestSpokesOfAFlexVPNHubMeetDirectly(t *testing.T) {
	for family, x := range flexFamilies {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			c := flexCloud(t, x, 2, 3)
			ip := map[bool]string{true: "ipv6", false: "ip"}[strings.Contains(x.lan, ":")]
			c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
			c.want("spoke2", "show "+ip+" route "+x.host(3), "Virtual-Access")
			c.want("spoke3", "show "+ip+" route "+x.host(2), "Virtual-Access")
			c.want("spoke2", "show "+ip+" nhrp", strings.TrimSuffix(network(x.at(x.lan, 3)), "/"), "Virtual-Access")
			c.until(func() string {
				if a, b := c.access("spoke2", x.addr(x.outside, 103)), c.access("spoke3", x.addr(x.outside, 102)); a == "" || b == "" {
					return fmt.Sprintf("%q and %q", a, b)
				}
				return ""
			})
			if out := c.exec("host2", "traceroute "+x.host(3)+" probe 1"); strings.Contains(out, strings.Split(x.hub, "/")[0]) {
				t.Errorf("over the hub:\n%s", out)
			}
			// The hub knows nothing of it, and what its NHRP is told to forget changes nothing.
			if out := c.exec("hub", "show "+ip+" nhrp"); strings.Contains(out, "Virtual-Access") {
				t.Errorf("the hub has\n%s", out)
			}
			before := c.access("spoke2", x.addr(x.outside, 103))
			c.exec("hub", "clear "+ip+" nhrp")
			c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
			if got := c.access("spoke2", x.addr(x.outside, 103)); got != before {
				t.Errorf("%q was %q", got, before)
			}
			c.exec("spoke2", "clear "+ip+" nhrp")
			c.until(func() string { return c.access("spoke3", x.addr(x.outside, 102)) })
			c.until(func() string {
				c.exec("host3", "ping "+x.host(2)+" repeat 3")
				return unless(c.access("spoke3", x.addr(x.outside, 102)) != "", "new shortcut")
			})
			// Nobody uses it: it goes.
			c.until(func() string {
				return c.access("spoke3", x.addr(x.outside, 102)) + c.access("spoke2", x.addr(x.outside, 103))
			})
			c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
		})
	}
}

func TestTwoSpokesThatStartAtOnceHaveOneSession(t *testing.T) {
	t.Parallel()
	x := flexFamilies["IPv4 over IPv4"]
	c := flexCloud(t, x, 2, 3)
	c.want("host2", "ping "+x.addr(x.lan, 2), "(5/5)")
	c.want("hub", "show ip route", "192.168.2.0/24", "192.168.3.0/24")
	done := make(chan string)
	for _, p := range [][2]int{{2, 3}, {3, 2}} {
		go func() {
			ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
			defer stop()
			out, err := c.routers[fmt.Sprint("host", p[0])].Exec(ctx, "ping "+x.host(p[1])+" repeat 500 timeout 2")
			done <- fmt.Sprint(out, err)
		}()
	}
	for range 2 {
		if out := <-done; !strings.Contains(out, "(500/500)") {
			t.Error(out)
		}
	}
	c.until(func() string {
		var out string
		for _, s := range []string{"spoke2", "spoke3"} {
			n := strings.Count(c.exec(s, "show crypto ikev2 sa"), "READY")
			out += unless(n == 2, fmt.Sprintf("%s has %d IKE SAs; ", s, n))
		}
		return out
	})
	if c.access("spoke2", "10.0.0.103") == "" || c.access("spoke3", "10.0.0.102") == "" {
		t.Error("no shortcut")
	}
}

func TestAShortcutGoesOutsideThoughTheHubHasToldToSendItEverything(t *testing.T) {
	t.Parallel()
	x := flexFamilies["IPv4 over IPv4"]
	x.outside = "172.16.%[1]d.%[1]d/24"
	c := behindInternet(t, x, 2, 3)
	c.want("spoke2", "show ip route", "S*       0.0.0.0/0 [1/0] is directly connected", "172.16.100.100/32")
	c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
	c.want("spoke2", "show ip route 172.16.103.103", "172.16.102.254")
	c.want("spoke3", "show ip route 172.16.102.102", "172.16.103.254")
	c.until(func() string {
		return unless(c.access("spoke2", "172.16.103.103") != "" && c.access("spoke3", "172.16.102.102") != "", "shortcut")
	})
	c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
	// Nothing of a flow crosses the hub, inside or around.
	received := func() (n uint64) {
		c.routers["hub"].look(func() {
			for _, i := range c.routers["hub"].dp.Interfaces() {
				n += i.Counters().RxPackets
			}
		})
		return n
	}
	before := received()
	c.want("host2", "ping "+x.host(3)+" repeat 200", "(200/200)")
	if n := received() - before; n > 50 {
		t.Errorf("the hub has received %d packets", n)
	}
	// When the shortcut is gone nothing of it is left.
	c.exec("spoke2", "clear ip nhrp")
	c.until(func() string { return c.access("spoke3", "172.16.102.102") })
	c.until(func() string {
		out := c.exec("spoke3", "show ip route")
		return unless(!strings.Contains(out, "Virtual-Access"), "end of what led through Virtual-Access")
	})
}

func TestAShortcutLosesNothingWhileItsSpokesChangeHubs(t *testing.T) {
	t.Parallel()
	x := flexFamilies["IPv4 over IPv4"]
	other := x
	other.hub, other.pool = "172.16.2.1/32", "172.16.2.2-172.16.2.254"
	dpd := "[ikev2]\ndpd = { interval = 10, retry = 2, mode = \"periodic\" }\n"
	client := `
[ikev2.client.C]
peer = [{ seq = 1, address = "10.0.0.100" }, { seq = 2, address = "10.0.0.99" }]
client-connect = "Tunnel0"
`
	c := newCloud(t)
	segment := c.net.Switch("segment", mem.Impairment{Delay: time.Millisecond})
	c.start("hub", x.hubText()+dpd, NIC{"hub:1", segment.Port("hub")})
	c.start("hub2", strings.Replace(strings.Replace(other.hubText(), `"10.0.0.100/24"`, `"10.0.0.99/24"`, 1), `"hub.cisco.com"`, `"hub2.cisco.com"`, 1)+dpd,
		NIC{"hub2:1", segment.Port("hub2")})
	for _, n := range []int{2, 3} {
		name, host := fmt.Sprint("spoke", n), fmt.Sprint("host", n)
		near, far := c.net.Pair(name+":2", host+":1", mem.Impairment{})
		c.start(name, strings.Replace(x.spokeText(n), `destination = "10.0.0.100"`, `destination = "dynamic"`, 1)+dpd+client, NIC{name + ":1", segment.Port(name)}, NIC{name + ":2", near})
		c.start(host, x.hostText(n), NIC{host + ":1", far})
	}
	c.want("spoke2", "show ip interface brief", "172.16.0.")
	c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
	c.until(func() string {
		c.exec("host2", "ping "+x.host(3)+" repeat 3")
		c.exec("host3", "ping "+x.host(2)+" repeat 3")
		return unless(c.access("spoke2", "10.0.0.103") != "" && c.access("spoke3", "10.0.0.102") != "", "shortcut")
	})
	c.exec("host2", "ping "+x.host(3)+" repeat 20")
	// The hub goes without a word.
	c.routers["hub"].look(func() {
		if i, ok := c.routers["hub"].dp.Interface("GigabitEthernet1"); ok {
			i.SetAdminUp(false)
		}
	})
	lost := 0
	c.until(func() string {
		for _, p := range [][2]int{{2, 3}, {3, 2}} {
			if out := c.exec(fmt.Sprint("host", p[0]), fmt.Sprint("ping ", x.host(p[1]), " repeat 20 timeout 1")); !strings.Contains(out, "(20/20)") {
				lost++
				t.Log(out)
			}
		}
		two := c.exec("spoke2", "show ip interface brief") + c.exec("spoke3", "show ip interface brief")
		return unless(strings.Count(two, "172.16.2.") >= 2, "new addresses of the other hub")
	})
	for range 50 {
		if out := c.exec("host2", "ping "+x.host(3)+" repeat 20 timeout 1"); !strings.Contains(out, "(20/20)") {
			lost++
			t.Log(out)
		}
	}
	if lost > 0 {
		t.Errorf("%d times something was lost", lost)
	}
	if c.access("spoke2", "10.0.0.103") == "" || c.access("spoke3", "10.0.0.102") == "" {
		t.Error("the shortcut is gone")
	}
}
