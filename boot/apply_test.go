package boot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

// arbitrary is a configuration of what may come and go: Loopbacks, tunnels of all kinds, statics, VRFs, BGP neighbours.
func arbitrary(rng *rand.Rand) string {
	var b strings.Builder
	has := func(n int) bool { return rng.IntN(n) == 0 }
	fmt.Fprintf(&b, "hostname = \"r\"\n[interface.GigabitEthernet1]\naddress = [\"172.16.1.%d/24\"]\n", 1+rng.IntN(2))
	vrf := has(2)
	if vrf {
		b.WriteString("[vrf.red]\n")
	}
	for n := range 4 {
		if has(2) {
			continue
		}
		fmt.Fprintf(&b, "[interface.Loopback%d]\naddress = [\"10.%d.0.%d/24\"]\n", n, n, 1+rng.IntN(3))
		if vrf && has(2) {
			b.WriteString("vrf = \"red\"\n")
		}
		if has(4) {
			b.WriteString("shutdown = true\n")
		}
	}
	for n := range 3 {
		if has(2) {
			continue
		}
		fmt.Fprintf(&b, "[interface.Tunnel%d]\nsource = \"GigabitEthernet1\"\naddress = [\"10.10%d.0.%d/24\"]\nkey = %d\n", n, n, 1+rng.IntN(2), n+1)
		protected := has(2)
		if protected {
			b.WriteString("protection = \"PROTECT\"\n")
		}
		if has(2) {
			fmt.Fprintf(&b, "mode = \"gre multipoint\"\n[interface.Tunnel%d.nhrp]\nnetwork-id = %d\nholdtime = %d\nredirect = %v\n", n, 1+n, 60+rng.IntN(2), has(2))
			if has(2) {
				fmt.Fprintf(&b, "map = [{ address = \"10.10%d.0.9\", nbma = \"172.16.9.9\" }]\n", n)
			}
		} else {
			fmt.Fprintf(&b, "destination = \"172.16.%d.2\"\n", 2+n)
		}
	}
	for n := range 4 {
		if has(2) {
			fmt.Fprintf(&b, "[[route]]\nprefix = \"10.20%d.0.0/16\"\n%s\n", n, []string{`via = "172.16.1.254"`, `discard = true`}[rng.IntN(2)])
		}
	}
	if has(2) {
		fmt.Fprintf(&b, "[bgp]\nas = %d\nrouter-id = \"1.1.1.1\"\n", 65000+rng.IntN(2))
		if has(2) {
			b.WriteString("redistribute = { static = true }\n")
		}
		for n := range 3 {
			if has(2) {
				fmt.Fprintf(&b, "[bgp.neighbor.\"172.16.1.%d\"]\nremote-as = %d\n", 100+n, 65010+rng.IntN(2))
			}
		}
	}
	b.WriteString(keys)
	return b.String()
}

// observable is what a configuration shows as, without what counts or runs.
func observable(t *testing.T, r *Router) string {
	t.Helper()
	var b strings.Builder
	for _, line := range []string{"show ip interface brief", "show ip cef", "show ip nhrp multicast", "show ip nhrp | include via|Type", "show interfaces | include is|MTU|Tunnel|address",
		"show crypto sockets | include Peers", "show running-config"} {
		out, err := r.Exec(context.Background(), line)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "-- %s\n%s", line, out)
	}
	if out, err := r.Exec(context.Background(), "show ip bgp neighbors | include remote AS"); err == nil {
		b.WriteString(out)
	}
	return b.String()
}

func TestAnyAThenAnyBThenAGivesA(t *testing.T) {
	t.Parallel() // it mostly waits
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, other := arbitrary(rng), arbitrary(rng)
		c := newCloud(t)
		nic, _ := c.net.Pair("r", "x", mem.Impairment{})
		r := c.start("r", a, NIC{"r", nic})
		settled := func() string {
			// Line protocols follow a moment later: it is settled when it looks the same twice.
			last := ""
			for range 400 {
				now := observable(t, r)
				if now == last && strings.Count(now, "BGP neighbor is") == strings.Count(a, "[bgp.neighbor") {
					break
				}
				last = now
				_ = r.call("turn", func() error { return nil })
				time.Sleep(5 * time.Millisecond)
			}
			return last
		}
		before := settled()
		c.apply("r", other)
		c.apply("r", a)
		deadline := time.Now().Add(5 * time.Second)
		after := settled()
		for after != before && time.Now().Before(deadline) {
			after = settled()
		}
		if after != before {
			t.Fatalf("seed %d: A, B, A differs:\n%s\nA is\n%s\nB is\n%s", seed, difference(before, after), a, other)
		}
		if n := r.loop.Panics(); n != 0 {
			t.Fatalf("seed %d: %d panics", seed, n)
		}
		_ = r.Shutdown(context.Background())
	}
}

// difference lists the lines that only one of two texts has.
func difference(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range x {
		if !slices.Contains(y, l) {
			out.WriteString("- " + l + "\n")
		}
	}
	for _, l := range y {
		if !slices.Contains(x, l) {
			out.WriteString("+ " + l + "\n")
		}
	}
	return out.String()
}

func TestAnUnchangedTunnelLosesNoPacketWhileOtherThingsChange(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Spoke2", "show ip route bgp", "192.168.11.1/32")
	c.want("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 2", "(2/2)")
	pinged := make(chan string)
	go func() { pinged <- c.exec("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 200 interval 10") }()
	for n := range 8 {
		extra := fmt.Sprintf("\n[interface.Loopback%d]\naddress = [\"10.9%d.0.1/24\"]\n[[route]]\nprefix = \"10.8%d.0.0/16\"\ndiscard = true\n[bgp.neighbor.\"172.16.1.10%d\"]\nremote-as = 65099\n"+
			"[interface.Tunnel7]\nsource = \"GigabitEthernet1\"\ndestination = \"172.16.1.254\"\naddress = [\"10.77.%d.1/24\"]\nprotection = \"PROTECT\"\n", 20+n, n, n, n, n)
		c.apply("Hub", hub+extra)
		c.apply("Spoke2", spoke(2)+fmt.Sprintf("\n[interface.Loopback%d]\naddress = [\"10.7%d.0.1/24\"]\n", 30+n, n))
	}
	c.apply("Hub", hub)
	c.apply("Spoke2", spoke(2))
	if out := <-pinged; !strings.Contains(out, "(200/200)") {
		t.Fatalf("packets were lost:\n%s", out)
	}
}
