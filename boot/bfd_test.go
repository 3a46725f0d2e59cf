package boot

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/link/mem"
	"felloe/routing/bfd"
)

// becomes waits until something is so.
func (c *cloud) becomes(what string, f func() bool) {
	c.t.Helper()
	c.until(func() string { return unless(f(), what) })
}

// session is the BFD session with a neighbour.
func (c *cloud) session(router, remote string) (s bfd.Info) {
	all, _ := c.routers[router].BFD()
	for _, i := range all {
		if i.Remote.String() == remote {
			return i
		}
	}
	return s
}

func (c *cloud) logged(router string, words ...string) bool {
	for _, e := range c.routers[router].Log().Entries() {
		line, all := e.String(), true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}

func bfdRouter(n int, more string) string {
	return fmt.Sprintf(`
hostname = "R%[1]d"
[interface.GigabitEthernet1]
address = ["192.0.2.%[1]d/24", "2001:db8::%[1]d/64"]
bfd = { interval = "100ms", min-rx = "100ms", multiplier = 3 }
[interface.Loopback0]
address = ["10.0.0.%[1]d/32", "2001:db8:ff::%[1]d/128"]
`, n) + more
}

func TestAStaticRouteWithBFDIsUsedWhileItsNextHopAnswers(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ name, prefix, far, prefix2 string }{
		{"IPv4", "10.99.0.0/16", "192.0.2.%d", "show ip route static"}, {"IPv6", "2001:db8:99::/48", "2001:db8::%d", "show ipv6 route static"}} {
		t.Run(f.name, func(t *testing.T) {
			c := newCloud(t)
			a, b := c.net.Pair("R1", "R2", mem.Impairment{})
			text := func(n int, bfd bool) string {
				return bfdRouter(n, fmt.Sprintf("[[route]]\nprefix = %q\nvia = %q\nbfd = %v\n", f.prefix, fmt.Sprintf(f.far, 3-n), bfd))
			}
			c.start("R1", text(1, true), NIC{"R1", a})
			if out := c.exec("R1", f.prefix2); strings.Contains(out, f.prefix) {
				t.Fatalf("used before anybody has answered:\n%s", out)
			}
			c.start("R2", text(2, true), NIC{"R2", b})
			far := fmt.Sprintf(f.far, 2)
			c.want("R1", f.prefix2, f.prefix)
			if i := c.session("R1", far); i.State != bfd.Up || i.Multihop || i.Interface != "GigabitEthernet1" || i.Clients[0] != "Static" {
				t.Fatalf("%+v", i)
			}
			c.becomes("the timers are those of both", func() bool { return c.session("R1", far).Detection == 300*time.Millisecond })
			// Other timers, without a moment of being down.
			c.apply("R1", strings.Replace(text(1, true), `"100ms", min-rx = "100ms"`, `"200ms", min-rx = "150ms"`, 1))
			c.becomes("the new timers are in force", func() bool {
				i := c.session("R1", far)
				return i.Detection == 450*time.Millisecond && i.Interval == 200*time.Millisecond && !i.Polling
			})
			if i := c.session("R1", far); i.Downs != 0 {
				t.Fatalf("%+v", i)
			}
			// The other end ends it on purpose: without an answer the route is not used.
			c.apply("R2", text(2, false))
			c.becomes("the route goes", func() bool { return !strings.Contains(c.exec("R1", f.prefix2), f.prefix) })
			if !c.logged("R1", "%BFDFSM-6-BFD_SESS_DOWN", "ADMINISTRATIVELY DOWN", far) || !c.logged("R1", "%BFDFSM-6-BFD_SESS_UP", "is going UP") {
				t.Fatal(c.story())
			}
			c.apply("R2", text(2, true))
			c.want("R1", f.prefix2, f.prefix)
			// A silent cut.
			a.Link().SetUp(false)
			cut := time.Now()
			c.becomes("the route goes", func() bool { return !strings.Contains(c.exec("R1", f.prefix2), f.prefix) })
			t.Logf("noticed after %v", time.Since(cut))
			if i := c.session("R1", far); i.LastDown != "control detection time expired" || !c.logged("R1", ",is going Down Reason: DETECT TIMER EXPIRED", far) {
				t.Fatalf("%+v", i)
			}
			a.Link().SetUp(true)
			c.want("R1", f.prefix2, f.prefix)
			// No session is left of a route that is gone.
			c.apply("R1", bfdRouter(1, ""))
			c.becomes("the session ends", func() bool { all, _ := c.routers["R1"].BFD(); return len(all) == 0 })
			if strings.Contains(c.exec("R1", f.prefix2), f.prefix) {
				t.Fatal("the route is still there")
			}
		})
	}
}

func TestBGPFallsOverWithBFDAndIsBackAtOnce(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	a, b := c.net.Pair("R1", "R2", mem.Impairment{})
	text := func(n int) string {
		return bfdRouter(n, fmt.Sprintf(`
[bgp]
as = 65001
network = ["10.0.0.%d/32"]
[bgp.neighbor."192.0.2.%d"]
remote-as = 65001
bfd = true
`, n, 3-n))
	}
	c.start("R1", text(1), NIC{"R1", a})
	c.start("R2", text(2), NIC{"R2", b})
	c.want("R1", "show ip route bgp", "10.0.0.2/32")
	c.becomes("the session is up", func() bool { return c.session("R1", "192.0.2.2").State == bfd.Up })
	if i := c.session("R1", "192.0.2.2"); i.Multihop || i.Clients[0] != "BGP" {
		t.Fatalf("%+v", i)
	}
	a.Link().SetUp(false)
	c.becomes("the route is gone", func() bool { return !strings.Contains(c.exec("R1", "show ip route bgp"), "10.0.0.2/32") }) // the hold time is longer
	c.becomes("it was by BFD", func() bool { return c.logged("R1", "bgp-down", "BFD adjacency down") })
	a.Link().SetUp(true)
	c.want("R1", "show ip route bgp", "10.0.0.2/32")
}

// chain is R1 - Transit - R2: neighbours that are not on one subnet.
func chain(t *testing.T, one, two string) (c *cloud, near, far *mem.Port) {
	c = newCloud(t)
	near, left := c.net.Pair("R1", "Transit:1", mem.Impairment{})
	right, far := c.net.Pair("Transit:2", "R2", mem.Impairment{})
	c.start("Internet", `
hostname = "Internet"
[interface.GigabitEthernet1]
address = ["172.16.1.254/24", "2001:db8:1::fe/64"]
[interface.GigabitEthernet2]
address = ["172.16.2.254/24", "2001:db8:2::fe/64"]
`, NIC{"1", left}, NIC{"2", right})
	for n, more := range []string{one, two} {
		c.start(fmt.Sprintf("R%d", n+1), chained(n+1, more), NIC{"wan", []*mem.Port{near, far}[n]})
	}
	return c, near, far
}

func chained(n int, more string) string {
	return fmt.Sprintf(`
hostname = "R%[1]d"
[interface.GigabitEthernet1]
address = ["172.16.%[1]d.1/24", "2001:db8:%[1]d::1/64"]
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.%[1]d.254"
[[route]]
prefix = "::/0"
via = "2001:db8:%[1]d::fe"
`, n) + more
}

func TestATrackMakesAMultihopSessionThatTheOtherEndAnswers(t *testing.T) {
	t.Parallel()
	passive := `
[[bfd.multihop]]
destination = "172.16.0.0/16"
passive = true
source = "GigabitEthernet1"
[[bfd.multihop]]
destination = "2001:db8::/32"
passive = true
multiplier = 4
`
	c, near, _ := chain(t, `
[track.1]
bfd = { address = "172.16.2.1", multihop = true, source = "GigabitEthernet1" }
[track.2]
bfd = { address = "2001:db8:2::1", multihop = true }
[[bfd.multihop]]
destination = "0.0.0.0/0"
interval = "150ms"
`, passive)
	up := func(id int) func() bool { return func() bool { return c.routers["R1"].Tracks()[id-1].Up } }
	c.becomes("track 1 is up", up(1))
	c.becomes("track 2 is up", up(2))
	c.becomes("the timers are the configured ones", func() bool {
		i := c.session("R1", "172.16.2.1")
		return i.Interval == 150*time.Millisecond && i.Detection == 300*time.Millisecond
	})
	if i := c.session("R2", "172.16.1.1"); !i.Multihop || len(i.Clients) != 0 || i.Local.String() != "172.16.2.1" {
		t.Fatalf("%+v", i)
	}
	if i := c.session("R1", "2001:db8:2::1"); i.PeerMultiplier != 4 || i.Local.String() != "2001:db8:1::1" {
		t.Fatalf("%+v", i)
	}
	near.Link().SetUp(false)
	c.becomes("track 1 is down", func() bool { return !up(1)() && !up(2)() })
	c.becomes("the other end forgets", func() bool { all, _ := c.routers["R2"].BFD(); return len(all) == 0 })
	near.Link().SetUp(true)
	c.becomes("it is up again", func() bool { return up(1)() && up(2)() })
	// Nobody is answered any more.
	c.apply("R2", chained(2, ""))
	c.becomes("they are down", func() bool { return !up(1)() && !up(2)() })
}

func TestBFDDoesNotWaitForTheControlLoop(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	a, b := c.net.Pair("R1", "R2", mem.Impairment{})
	text := func(n int) string {
		return bfdRouter(n, fmt.Sprintf("[[route]]\nprefix = \"10.99.0.0/16\"\nvia = \"192.0.2.%d\"\nbfd = true\n[track.1]\nicmp-echo = { address = \"192.0.2.%d\", interval = \"100ms\", timeout = \"100ms\" }\n", 3-n, 3-n))
	}
	c.start("R1", text(1), NIC{"R1", a})
	c.start("R2", text(2), NIC{"R2", b})
	c.want("R1", "show ip route static", "10.99.0.0/16")
	c.becomes("the track is up", func() bool { return c.track("R1", 1).Up })
	// The control loop stands still while a hundred packets come and go, and with it all that hangs on it.
	r := c.routers["R1"]
	received := func() (n uint64) {
		r.prompt.call("count", func(now time.Time) {
			for _, i := range r.prompt.engine.Snapshot(now) {
				n += i.Received
			}
		})
		return n
	}
	stands, over, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	goOn := sync.OnceFunc(func() { close(over) })
	defer goOn()
	defer time.AfterFunc(30*time.Second, goOn).Stop() // what is told of a failure comes from the loop
	go func() {
		ended <- r.call("a long computation", func() error {
			close(stands)
			<-over
			return nil
		})
	}()
	<-stands
	was := received()
	c.becomes("a hundred packets come", func() bool { return received() >= was+100 })
	goOn()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{"R1", "R2"} {
		if i := c.session(name, fmt.Sprintf("192.0.2.%d", 2-n)); i.Downs != 0 || i.State != bfd.Up {
			t.Errorf("%s: %+v", name, i)
		}
		if i := c.track(name, 1); i.Changes != 1 || !i.Up {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

func TestBFDRunsThroughVirtualAccessInterfacesForDynamicNeighbours(t *testing.T) {
	t.Parallel()
	f := newFlex(t)
	hub := strings.Replace(flexHub(1, `{ set-interface = ["self"] }`, `
[bgp]
as = 65001
[bgp.peer-group.spokes]
remote-as = 65001
bfd = true
[[bgp.listen]]
range = "10.1.1.0/24"
peer-group = "spokes"
[[bgp.listen]]
range = "2001:db8:101::/64"
peer-group = "spokes"
`), "protection = \"P\"\n", "protection = \"P\"\nbfd = { interval = \"100ms\", min-rx = \"150ms\", multiplier = 4 }\n", 1)
	f.run("hub1", hub)
	f.run("spoke2", flexSpoke(2, "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.1.1\"\nbfd = { interval = \"100ms\", min-rx = \"100ms\" }", `
[bgp]
as = 65001
network = ["192.168.102.0/24"]
[bgp.neighbor."10.1.1.1"]
remote-as = 65001
bfd = true
timers = { connect-retry = 1 }
[bgp.neighbor."2001:db8:101::1"]
remote-as = 65001
bfd = true
timers = { connect-retry = 1 }
`))
	up := func(ifname, router, remote string) func() bool {
		return func() bool {
			i := f.session(router, remote)
			return i.State == bfd.Up && !i.Multihop && i.Interface == ifname && i.Clients[0] == "BGP" && !i.Polling
		}
	}
	for _, far := range []string{"10.1.1.1", "2001:db8:101::1"} {
		f.becomes("the spoke's session with "+far+" is up", up("Tunnel1", "spoke2", far))
	}
	for _, far := range []string{"10.1.1.100", "2001:db8:101::100"} {
		f.becomes("the hub's session with "+far+" is up", up("Virtual-Access1", "hub1", far))
	}
	f.becomes("the timers are the template's", func() bool {
		return f.session("hub1", "10.1.1.100").Detection == 450*time.Millisecond && f.session("spoke2", "10.1.1.1").Interval == 150*time.Millisecond
	})
	f.wan["spoke2"].SetUp(false)
	f.becomes("both ends notice", func() bool {
		return f.logged("spoke2", "bgp-down", "BFD adjacency down", "10.1.1.1") && f.logged("hub1", "bgp-down", "BFD adjacency down", "10.1.1.100")
	})
	f.wan["spoke2"].SetUp(true)
	f.becomes("it is up again", up("Tunnel1", "spoke2", "10.1.1.1"))
}

func TestASpokeAnswersAtTheAddressThatItWasGiven(t *testing.T) {
	t.Parallel()
	f := newFlex(t)
	f.run("hub1", flexHub(1, `{ set-interface = ["self"] }`, `
[track.1]
bfd = { address = "10.1.1.100", multihop = true, source = "Loopback100" }
`))
	f.run("spoke2", flexSpoke(2, "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.1.1\"", `
[[bfd.multihop]]
destination = "10.1.1.1"
passive = true
source = "Tunnel1"
`))
	f.becomes("the hub's session is up", func() bool { return f.track("hub1", 1).Up })
	if i := f.session("spoke2", "10.1.1.1"); i.Local.String() != "10.1.1.100" || !i.Multihop {
		t.Errorf("%+v", i)
	}
}
