package boot

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/link/mem"
)

// behindInternet is a hub and spokes with networks of their own outside, between which a router leads.
func behindInternet(t *testing.T, x flexNets, spokes ...int) *cloud {
	c := newCloud(t)
	var nics []NIC
	text := "hostname = \"Internet\"\n"
	wire := func(name string, n int) NIC {
		a, b := c.net.Pair(name+":1", fmt.Sprint("internet:", n), mem.Impairment{Delay: time.Millisecond})
		nics = append(nics, NIC{fmt.Sprint("internet:", n), b})
		text += fmt.Sprintf("[interface.GigabitEthernet%d]\naddress = \"172.16.%d.254/24\"\n", len(nics), n)
		return NIC{name + ":1", a}
	}
	wan := func(n int) string {
		return fmt.Sprintf("[[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"172.16.%d.254\"\ndistance = 10\n", n)
	}
	hub := wire("hub", 100)
	ports := map[int]NIC{}
	for _, n := range spokes {
		ports[n] = wire(fmt.Sprint("spoke", n), 100+n)
	}
	c.start("Internet", text, nics...)
	// Spokes call from outside their own network: what the hub's tunnels carry, it does not.
	c.start("hub", x.hubText()+wan(100), hub)
	for n, port := range ports {
		name, host := fmt.Sprint("spoke", n), fmt.Sprint("host", n)
		near, far := c.net.Pair(name+":2", host+":1", mem.Impairment{})
		c.start(name, x.spokeText(n)+wan(100+n), port, NIC{name + ":2", near})
		c.start(host, x.hostText(n), NIC{host + ":1", far})
	}
	return c
}

// Whoever says to call from an address inside, or has us call one, must not have what goes there leave in clear.
func TestNobodyHasAnAddressInsideTakenOutside(t *testing.T) {
	t.Parallel()
	x := flexFamilies["IPv4 over IPv4"]
	x.outside = "172.16.%[1]d.%[1]d/24"
	c := behindInternet(t, x, 2)
	c.want("spoke2", "show ip route", "S*       0.0.0.0/0 [1/0] is directly connected", "172.16.100.100/32")
	inside := netip.MustParseAddr("10.77.0.53")
	in := func() string { return c.exec("spoke2", "show ip route "+inside.String()) }
	if out := in(); !strings.Contains(out, "Tunnel0") {
		t.Fatalf("not inside to begin with:\n%s", out)
	}
	// A message from outside that says to be from there.
	init := make([]byte, 64)
	init[0], init[17], init[18], init[19], init[27] = 1, 0x20, 34, 0x08, 64
	internet, spoke := c.routers["Internet"], c.routers["spoke2"]
	received := func() uint64 { return spoke.dp.Stats().Handled.Load() }
	before := received()
	internet.look(func() {
		v, _ := internet.dp.VRF("default")
		if err := v.SendUDP(netip.AddrPortFrom(inside, 500), netip.MustParseAddrPort("172.16.102.102:500"), init, netstack.SendOptions{}); err != nil {
			t.Error(err)
		}
	})
	c.until(func() string { return unless(received() > before, "packet") })
	spoke.look(func() {}) // it has been read
	if out := in(); !strings.Contains(out, "Tunnel0") {
		t.Errorf("a call from outside has it leave in clear:\n%s", out)
	}
	// Somebody who wants to be called there.
	spoke.look(func() {
		if _, err := spoke.protect.OpenTemplate("Virtual-Template1", inside, spoke.ifs["Tunnel0"].tunnel); err != nil {
			t.Error(err)
		}
	})
	if out := in(); !strings.Contains(out, "Tunnel0") {
		t.Errorf("a call to there has it leave in clear:\n%s", out)
	}
}
