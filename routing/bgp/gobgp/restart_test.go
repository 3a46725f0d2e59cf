//go:build linux

package gobgp

import (
	"net/netip"
	"testing"
	"time"

	"felloe/routing/bgp"
)

func graceful(c *bgp.Config) { c.GracefulRestart.Enabled = true }

func withGraceful(n ...bgp.Neighbor) func(*bgp.Config) {
	return func(c *bgp.Config) { c.Neighbors = n; graceful(c) }
}

// slow is a neighbour whose timers would show if anything waited for them.
func slow(a string, as uint32, change ...func(*bgp.Neighbor)) bgp.Neighbor {
	n := neighbor(a, as, change...)
	n.Timers = bgp.Timers{Keepalive: 30 * time.Second, Hold: 90 * time.Second, ConnectRetry: time.Minute}
	return n
}

// dynamicHub takes all neighbours of the subnet.
func dynamicHub(change ...func(*bgp.Neighbor)) func(*bgp.Config) {
	return func(c *bgp.Config) {
		n := slow("10.10.10.0", 65010, change...)
		n.Address = netip.Addr{}
		c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: n}}
		graceful(c)
	}
}

func TestAnotherHubAtTheSameAddressTakesTheSessionOver(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	one := newRouter(t, b, 1, 65010, dynamicHub())
	spoke := newRouter(t, b, 2, 65010, withGraceful(slow("10.10.10.1", 65010)))
	other := newRouter(t, b, 3, 65010, withGraceful(slow("10.10.10.1", 65010)))
	eventually(t, "the session is up", func() bool {
		return spoke.up("10.10.10.1") && spoke.route("192.168.1.1/32") != "" && other.route("192.168.1.1/32") != ""
	})
	move := func(r *router) {
		r.on(func() { r.bgp.Moved("Tunnel0", "it leads to another hub") })
	}
	if g := spoke.peer("10.10.10.1").Graceful; g == nil || g.Time != 2*time.Minute {
		t.Errorf("the spoke knows %+v of the hub", g)
	}
	for range 2 {
		// The hub vanishes without a word, and another one with its address is there.
		b.setCut("10.10.10.1", true)
		one.stop()
		one = newRouter(t, b, 1, 65010, func(c *bgp.Config) {
			dynamicHub()(c)
			c.RouterID = ip("9.9.9.9")
			c.Networks = append(c.Networks, pfx("192.168.1.0/24"))
		})
		b.setCut("10.10.10.1", false)
		// It has heard all that there is from somebody else, so that it does not say that it has just begun.
		move(other)
		eventually(t, "the other spoke is at the new hub", func() bool {
			return one.up("10.10.10.3") && other.up("10.10.10.1") && other.peer("10.10.10.1").Stale == 0
		})
		count := spoke.peer("10.10.10.1").Established
		begun := time.Now()
		move(spoke)
		eventually(t, "the session is up again", func() bool {
			if spoke.route("192.168.1.1/32") == "" {
				t.Fatal("the route was gone in between")
			}
			return spoke.peer("10.10.10.1").Established == count+1 && one.up("10.10.10.2") && spoke.route("192.168.1.0/24") != ""
		})
		t.Logf("the session was up again after %v", time.Since(begun).Round(time.Millisecond))
		eventually(t, "nothing is stale", func() bool { return spoke.peer("10.10.10.1").Stale == 0 })
	}
}

func TestAPeerThatForgotTheSessionIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, dynamicHub())
	spoke := newRouter(t, b, 2, 65010, withGraceful(slow("10.10.10.1", 65010)))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") && hub.route("192.168.2.2/32") != "" })
	b.setCut("10.10.10.2", true)
	spoke.stop()
	again := newRouter(t, b, 2, 65010, withGraceful(slow("10.10.10.1", 65010)))
	begun := time.Now()
	b.setCut("10.10.10.2", false)
	eventually(t, "the new session is up", func() bool {
		if hub.route("192.168.2.2/32") == "" && hub.peer("10.10.10.2").State != bgp.Established {
			t.Fatal("the route went before the new session was up")
		}
		return again.up("10.10.10.1") && hub.up("10.10.10.2") && hub.peer("10.10.10.2").Stale == 0 && again.route("192.168.1.1/32") != ""
	})
	t.Logf("it was up after %v", time.Since(begun).Round(time.Millisecond))
}

func TestOfARouterThatStopsNothingIsKept(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, withGraceful(slow("10.10.10.2", 65010)))
	spoke := newRouter(t, b, 2, 65010, withGraceful(slow("10.10.10.1", 65010)))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") && hub.route("192.168.2.2/32") != "" })
	spoke.stop()
	eventually(t, "nothing is kept", func() bool {
		return hub.peer("10.10.10.2").State != bgp.Established && hub.peer("10.10.10.2").Stale == 0 && hub.route("192.168.2.2/32") == ""
	})
}

func TestADynamicNeighbourThatAnnouncedTooMuchStaysAwayUntilItsTime(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, dynamicHub(func(n *bgp.Neighbor) { n.MaximumPrefix = bgp.MaximumPrefix{Limit: 1, Restart: 3 * time.Second} }))
	spoke := newRouter(t, b, 2, 65010, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") })
	spoke.apply(func(c *bgp.Config) { c.Networks = append(c.Networks, pfx("192.168.2.0/24")) })
	eventually(t, "the hub shows why it is away", func() bool {
		p := hub.peer("10.10.10.2")
		return p.Why == "PfxCt" && p.Dynamic && hub.log.lines("it announced too many prefixes, and may come again in") == 1
	})
	spoke.apply(func(c *bgp.Config) { c.Networks = c.Networks[:1] })
	eventually(t, "it is back after its time", func() bool { return hub.up("10.10.10.2") })
	// Without a time it is away until it is cleared.
	hub.apply(func(c *bgp.Config) { c.Listen[0].Template.MaximumPrefix.Restart = 0 })
	spoke.apply(func(c *bgp.Config) { c.Networks = append(c.Networks, pfx("192.168.2.0/24")) })
	eventually(t, "it is refused", func() bool {
		return hub.log.lines("clear ip bgp 10.10.10.2 lets it come again") == 1
	})
	spoke.apply(func(c *bgp.Config) { c.Networks = c.Networks[:1] })
	hub.on(func() {
		if err := hub.bgp.Clear(ip("10.10.10.2"), bgp.ClearHard); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it is back after it was cleared", func() bool { return hub.up("10.10.10.2") })
}

func TestAnAddressThatChangesKeepsThePaths(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, dynamicHub())
	spoke := newRouter(t, b, 2, 65010, withGraceful(slow("10.10.10.1", 65010, func(n *bgp.Neighbor) { n.NoSource = true })))
	eventually(t, "it waits for an address", func() bool { return spoke.peer("10.10.10.1").Why == "no address" })
	spoke.apply(func(c *bgp.Config) { c.Neighbors[0].NoSource, c.Neighbors[0].UpdateSource = false, ip("10.10.10.2") })
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") && spoke.route("192.168.1.1/32") != "" })
	spoke.address(b, "10.10.10.77")
	spoke.apply(func(c *bgp.Config) { c.Neighbors[0].UpdateSource = ip("10.10.10.77") })
	eventually(t, "the session is up with the other address", func() bool {
		if spoke.route("192.168.1.1/32") == "" {
			t.Fatal("the route was gone in between")
		}
		return hub.up("10.10.10.77") && spoke.peer("10.10.10.1").Stale == 0 && hub.route("192.168.2.2/32") != ""
	})
}

func TestAHoldTimeThatRanOutKeepsNothing(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	quick := func(n *bgp.Neighbor) { n.Timers = bgp.Timers{Keepalive: time.Second, Hold: 3 * time.Second} }
	hub := newRouter(t, b, 1, 65010, withGraceful(neighbor("10.10.10.2", 65010, quick)))
	spoke := newRouter(t, b, 2, 65010, withGraceful(neighbor("10.10.10.1", 65010, quick)))
	eventually(t, "the session is up", func() bool {
		return hub.route("192.168.2.2/32") != "" && spoke.up("10.10.10.1") && hub.peer("10.10.10.2").Graceful != nil
	})
	b.setCut("10.10.10.2", true)
	eventually(t, "the hub gives up", func() bool { return hub.peer("10.10.10.2").State != bgp.Established })
	eventually(t, "nothing is kept", func() bool { return hub.peer("10.10.10.2").Stale == 0 && hub.route("192.168.2.2/32") == "" })
	if hub.log.lines("4/0") == 0 {
		t.Error("it was not the hold time")
	}
}
