package flexvpn_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/ip"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
	"felloe/routing/rib"
	"felloe/vpn/dmvpn"
	"felloe/vpn/nhrp"
)

func TestAShortcutBetweenSpokesInEveryFamily(t *testing.T) {
	for name, nets := range map[string]networks{"IPv4 over IPv4": v4over4, "IPv6 over IPv4": v6over4, "IPv4 over IPv6": v4over6, "IPv6 over IPv6": v6over6} {
		for _, shy := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "", false: ", routes told by IKE"}[shy], func(t *testing.T) {
				l := newLab(t, nets)
				hub := l.hub(1)
				a, b := l.spoke(2, hub, shy), l.spoke(3, hub, shy)
				if !l.ping(a, b, hub) {
					t.Fatal("the first packet must cross the hub")
				}
				l.until(5*time.Second, "the shortcut", func() bool { return a.match(nets.host(3)) == "Virtual-Access1" })
				l.ping(b, a, hub)
				l.until(5*time.Second, "the way back", func() bool { return b.match(nets.host(2)) == "Virtual-Access1" })
				l.run(5 * time.Second) // both have called, and settled it
				if l.ping(a, b, hub) || l.ping(b, a, hub) {
					l.fail("packets cross the hub beside a shortcut")
				}
				if got, want := a.accesses(), []string{"Virtual-Access1 spoke3.example.com"}; !slices.Equal(got, want) {
					t.Fatalf("%q", got)
				}
				if len(hub.accesses()) != 2 || a.ikes() != 2 || b.ikes() != 2 {
					l.fail("hub %q, IKE SAs %d and %d", hub.accesses(), a.ikes(), b.ikes())
				}
				// A flow of two minutes at a hold time of one; nothing is lost, and nothing crosses the hub.
				before := hub.forwarded()
				for range 120 {
					l.ping(a, b, hub)
					l.run(time.Second)
				}
				if hub.forwarded() != before || a.saw(nhrp.EventShortcutRefreshed) == 0 {
					l.fail("%d packets crossed the hub, refreshed %d times", hub.forwarded()-before, a.saw(nhrp.EventShortcutRefreshed))
				}
				// Idle: it goes with its IKE SA and its interface.
				l.until(3*time.Minute, "the end of the idle shortcut", func() bool { return len(a.accesses())+len(b.accesses()) == 0 })
				l.run(time.Minute)
				if a.ikes() != 1 || b.ikes() != 1 || a.match(nets.host(3)) != "Tunnel0" {
					l.fail("left over: IKE SAs %d and %d, way %s", a.ikes(), b.ikes(), a.match(nets.host(3)))
				}
				if !l.ping(a, b, hub) {
					t.Fatal("not over the hub")
				}
			})
		}
	}
}

func TestAShortcutInsideAVRF(t *testing.T) {
	for name, nets := range map[string]networks{"IPv4": v4over4, "IPv6": v6over4} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nets)
			l.inside = "BLUE"
			hub := l.hub(1)
			a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
			// Outside the same networks lead nowhere: who looks there says no.
			for _, r := range l.routers {
				r.call(func() {
					for _, p := range []netip.Prefix{nets.behind(2), nets.behind(3), nets.inside(2), nets.inside(3)} {
						r.ribs["default"].Update(rib.Static, "trap "+p.String(), p, []rib.Path{{Source: rib.Static, Discard: true}})
					}
				})
			}
			if !l.ping(a, b, hub) {
				t.Fatal("the first packet must cross the hub")
			}
			l.direct(a, b, hub)
			if a.match(nets.host(3)) != "Virtual-Access1" || b.match(nets.host(2)) != "Virtual-Access1" {
				l.fail("no routes inside")
			}
			for _, r := range []*router{a, b} {
				r.call(func() {
					for _, x := range r.ribs["default"].Routes() {
						if slices.ContainsFunc(slices.Concat(x.Hops, x.Override), func(h rib.Hop) bool { return h.Interface != "GigabitEthernet1" }) {
							t.Errorf("%s: outside %s leads over %v %v", r.name, x.Prefix, x.Hops, x.Override)
						}
					}
					for _, i := range r.nhrp.Snapshot() {
						if i.VRF != "BLUE" {
							t.Errorf("%s: %s is in VRF %s", r.name, i.Name, i.VRF)
						}
					}
				})
			}
			for range 120 {
				if l.ping(a, b, hub) {
					l.fail("over the hub beside a shortcut")
				}
				l.run(time.Second)
			}
			l.until(3*time.Minute, "the end of the idle shortcut", func() bool { return len(a.accesses())+len(b.accesses()) == 0 })
			if !l.ping(a, b, hub) {
				t.Fatal("not over the hub")
			}
		})
	}
}

func TestClearingWhileBothAskHealsAndLeavesNothing(t *testing.T) {
	for after := time.Duration(0); after <= 160*time.Millisecond; after += 20 * time.Millisecond {
		l := newLab(t, v4over4)
		hub := l.hub(1)
		a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
		sequence += 2
		a.echo(b, sequence-1)
		b.echo(a, sequence)
		l.run(after)
		for _, r := range []*router{a, hub} {
			r.call(func() { r.nhrp.Clear(false, netip.Addr{}) })
		}
		l.run(100 * time.Millisecond) // what was under way over a session that ended is lost
		l.direct(a, b, hub)
		if len(a.accesses()) != 1 || len(b.accesses()) != 1 || a.ikes() != 2 || b.ikes() != 2 || hub.ikes() != 2 {
			l.fail("cleared after %v: %q and %q, IKE SAs %d, %d and %d", after, a.accesses(), b.accesses(), a.ikes(), b.ikes(), hub.ikes())
		}
		l.until(5*time.Minute, "the end of the idle shortcut", func() bool {
			return len(a.accesses())+len(b.accesses()) == 0 && a.ikes() == 1 && b.ikes() == 1
		})
		for _, r := range slices.Clone(l.routers) {
			r.stop()
		}
	}
}

// direct pings both ways until both have a shortcut.
func (l *lab) direct(a, b, hub *router) {
	l.T.Helper()
	l.until(20*time.Second, a.name+" and "+b.name+" meet", func() bool {
		over := l.ping(a, b, hub)
		over = l.ping(b, a, hub) || over
		l.run(time.Second)
		return !over
	})
	l.run(5 * time.Second)
}

func TestBothSpokesAtOnceLoseNothingAndEndInOneSession(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		l := newLab(t, v4over4)
		hub := l.hub(1)
		a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
		l.Net.Seed(seed)
		for _, r := range []*router{a, b} {
			r.wire.SetImpairment(mem.Impairment{Delay: 5 * time.Millisecond, Jitter: time.Duration(seed) * 10 * time.Millisecond})
		}
		base := sequence + 1
		for range 100 {
			sequence++
			a.echo(b, sequence)
			b.echo(a, sequence)
			l.run(50 * time.Millisecond)
		}
		l.run(5 * time.Second)
		for seq := base; seq <= sequence; seq++ {
			if !a.answered(seq) || !b.answered(seq) {
				l.fail("seed %d: packet %d was lost", seed, seq-base)
			}
		}
		if len(a.accesses()) != 1 || len(b.accesses()) != 1 || a.ikes() != 2 || b.ikes() != 2 {
			l.fail("seed %d: %q and %q, IKE SAs %d and %d", seed, a.accesses(), b.accesses(), a.ikes(), b.ikes())
		}
		if l.ping(a, b, hub) || l.ping(b, a, hub) {
			l.fail("not direct")
		}
		for _, r := range slices.Clone(l.routers) {
			r.stop()
		}
	}
}

func TestSpokesOfDifferentHubsMeetOverAPlainTunnelBetweenTheHubs(t *testing.T) {
	l := newLab(t, v4over4)
	h1, h2 := l.hub(1), l.hub(9)
	a, b := l.spoke(2, h1, true), l.spoke(3, h2, true)
	for _, x := range []struct {
		r, other *router
		spoke    int
	}{{h1, h2, 3}, {h2, h1, 2}} {
		// GRE between the hubs goes in clear: what watches the wires looks away.
		x.r.wire.SetCapture(nil)
		tun, err := x.r.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel9", Mode: netstack.GREPointToPoint,
			Source: l.nets.outside(x.r.n).Addr(), Destination: l.nets.outside(x.other.n).Addr()})
		l.check(err)
		x.r.address(tun.Interface(), netip.MustParsePrefix(fmt.Sprintf("10.99.0.%d/24", x.r.n)))
		x.r.call(func() {
			l.check(x.r.nhrp.Apply(tun, dmvpn.Config{NetworkID: 1, Holdtime: time.Minute, Redirect: true}))
			for _, p := range []netip.Prefix{l.nets.behind(x.spoke), l.nets.inside(x.spoke)} {
				x.r.rib.Update(rib.Static, "far", p, []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Interface: "Tunnel9"}}}})
			}
		})
	}
	if !l.ping(a, b, h1) {
		t.Fatal("not over the hubs")
	}
	l.direct(a, b, h1)
	if got := a.accesses(); !slices.Equal(got, []string{"Virtual-Access1 spoke3.example.com"}) {
		l.fail("%q", got)
	}
	if len(h1.accesses()) != 1 || len(h2.accesses()) != 1 || len(h1.shown()) != 0 || len(h2.shown()) != 0 {
		l.fail("hubs: %q %q", h1.shown(), h2.shown())
	}
}

func TestClearingNHRPEndsTheSpokesSessionAndNoneOfTheHub(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, false), l.spoke(3, hub, false)
	l.direct(a, b, hub)
	hub.call(func() { hub.nhrp.Clear(false, netip.Addr{}) })
	l.run(time.Second)
	if hub.ikes() != 2 || len(hub.accesses()) != 2 || a.ikes() != 2 || l.ping(a, b, hub) {
		l.fail("clearing NHRP on the hub: %q", hub.accesses())
	}
	a.call(func() { a.nhrp.Clear(false, netip.Addr{}) })
	l.run(100 * time.Millisecond)
	if a.ikes() != 1 || b.ikes() != 1 || len(a.accesses())+len(b.accesses()) != 0 || len(a.shown())+len(b.shown()) > 2 {
		l.fail("clearing NHRP on a spoke: %q %q", a.shown(), b.shown())
	}
	if hub.ikes() != 2 {
		l.fail("the hub's sessions")
	}
	l.direct(a, b, hub)
}

func TestAShortcutCarriesOnWhileTheHubIsGone(t *testing.T) {
	for _, shy := range []bool{true, false} {
		l := newLab(t, v4over4)
		hub := l.hub(1)
		a, b := l.spoke(2, hub, shy), l.spoke(3, hub, shy)
		l.direct(a, b, hub)
		hub.wire.SetUp(false)
		for range 120 { // DPD finds it dead meanwhile, and what it told is gone
			if l.ping(a, b, hub) || l.ping(b, a, hub) {
				l.fail("over a hub that is not there")
			}
			l.run(time.Second)
		}
		if a.match(l.nets.inside(1).Addr()) != "" || a.ikes() > 2 {
			l.fail("the hub was not found dead")
		}
		hub.wire.SetUp(true)
		l.until(time.Minute, "the hub is back", func() bool {
			return a.match(l.nets.inside(1).Addr()) == "Tunnel0" && b.match(l.nets.inside(1).Addr()) == "Tunnel0"
		})
		for range 20 {
			l.ping(a, b, hub)
			l.run(time.Second)
		}
		if len(a.accesses()) != 1 || len(b.accesses()) != 1 {
			l.fail("%q %q", a.accesses(), b.accesses())
		}
		for _, r := range slices.Clone(l.routers) {
			r.stop()
		}
	}
}

func TestSpokesBehindNATsMeetWhereTheyCan(t *testing.T) {
	l := newLab(t, v4over4)
	l.behind(77, 4, 5)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
	c, d := l.spoke(4, hub, true), l.spoke(5, hub, true) // both behind the same NAT
	for _, x := range [][2]*router{{a, c}, {d, a}, {c, d}, {b, c}} {
		l.direct(x[0], x[1], hub)
	}
	for r, n := range map[*router]int{a: 2, b: 1, c: 3, d: 2} {
		if got := r.accesses(); len(got) != n {
			l.fail("%s: %q", r.name, got)
		}
	}
	for range 100 {
		for _, x := range [][2]*router{{a, c}, {d, a}, {c, d}, {b, c}} {
			if l.ping(x[0], x[1], hub) {
				l.fail("%s to %s over the hub", x[0].name, x[1].name)
			}
		}
		l.run(time.Second)
	}
}

func TestAPeerThatCannotBeCalledCostsNothingButAWhile(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
	// They reach the hub, and not each other.
	for _, x := range [][2]*router{{a, b}, {b, a}} {
		other := l.nets.outside(x[1].n)
		x[0].call(func() { x[0].rib.Update(rib.Static, "block", other, []rib.Path{{Source: rib.Static, Discard: true}}) })
	}
	for range 60 {
		if !l.ping(a, b, hub) || !l.ping(b, a, hub) {
			l.fail("how?")
		}
		l.run(time.Second)
	}
	if a.saw(nhrp.EventResolutionFailed) == 0 || len(a.accesses())+len(b.accesses()) != 0 || a.ikes() != 1 {
		l.fail("%q %q", a.accesses(), strings.Join(a.shown(), "\n"))
	}
}

// tcp sends the first segment of a connection from a router's own tunnel address to another's.
func (r *router) tcp(to *router, port uint16) {
	b := make([]byte, 40, 100)
	b[0], b[8], b[9], b[3] = 0x45, 64, 6, 40
	copy(b[12:], r.l.nets.inside(r.n).Addr().AsSlice())
	copy(b[16:], r.l.nets.inside(to.n).Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], 33333)
	binary.BigEndian.PutUint16(b[22:], port)
	b[32], b[33] = 5<<4, 2
	binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:20], 0))
	binary.BigEndian.PutUint16(b[36:], ip.L4Checksum(r.l.nets.inside(r.n).Addr(), r.l.nets.inside(to.n).Addr(), ip.TCP, b[20:]))
	_ = r.vrf.SendIP(packet.From(b))
}

func TestRoutingProtocolsMakeNoShortcutAndUseNone(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, true), l.spoke(3, hub, true)
	a.mute, b.mute = true, true
	crossed := func(port uint16) uint64 {
		before := hub.forwarded()
		a.tcp(b, port)
		l.run(3 * time.Second)
		return hub.forwarded() - before
	}
	if n := crossed(179); n != 2 || hub.saw(nhrp.EventRedirectSent) != 0 {
		l.fail("%d packets of BGP crossed the hub, %d redirects", n, hub.saw(nhrp.EventRedirectSent))
	}
	if n := crossed(80); n < 2 || hub.saw(nhrp.EventRedirectSent) == 0 {
		l.fail("%d packets of HTTP crossed the hub, %d redirects", n, hub.saw(nhrp.EventRedirectSent))
	}
	if a.match(l.nets.inside(3).Addr()) != "Virtual-Access1" {
		l.fail("no shortcut")
	}
	if http, bgp := crossed(80), crossed(179); http != 0 || bgp != 2 {
		l.fail("beside a shortcut %d packets of HTTP and %d of BGP crossed the hub", http, bgp)
	}
}
