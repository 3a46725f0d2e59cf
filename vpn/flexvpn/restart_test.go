package flexvpn_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/routing/rib"
)

// flow sends ten packets a second for so long, and says how many had no answer, the last of them for how long after the first.
func (l *lab) flow(from, to *router, d time.Duration) (lost int, gap time.Duration) {
	l.T.Helper()
	first := sequence + 1
	n := int(d / (100 * time.Millisecond))
	for range n {
		sequence++
		from.echo(to, sequence)
		l.run(100 * time.Millisecond)
	}
	l.run(time.Second)
	for k := range n {
		if !from.answered(first + uint16(k)) {
			lost++
			gap = time.Duration(k+1) * 100 * time.Millisecond
		}
	}
	l.T.Logf("%s to %s: %d of %d lost in the first %v", from.name, to.name, lost, n, gap)
	return lost, gap
}

// A hub that loses its power says nothing to anybody. When it is back it says of packets that it does not know their SA. Anybody could
// say so, hence it is asked itself, five times in nine seconds: that is what is lost, however seldom dead peer detection asks.
func TestSpokesAreBackSoonAfterTheirHubHasStartedAnewAndTheirShortcutLosesNothing(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, false), l.spoke(3, hub, false)
	for _, r := range []*router{a, b} {
		// Without a tunnel what is inside stays inside.
		r.call(func() {
			r.rib.Update(rib.Static, "inside", netip.MustParsePrefix("192.168.0.0/16"), []rib.Path{{Source: rib.Static, Distance: 254, Discard: true}})
		})
	}
	l.direct(a, b, hub)
	hub.stop()
	l.run(time.Second) // sooner than anybody could notice
	hub = l.hub(1)
	if lost, gap := l.flow(a, hub, 15*time.Second); gap > 11*time.Second || !strings.Contains(a.logs(), `"event":"hint"`) {
		l.fail("%d lost, for %v", lost, gap)
	}
	if lost, _ := l.flow(a, b, 10*time.Second); lost > 0 {
		l.fail("%d lost on the shortcut", lost)
	}
	l.until(time.Minute, "the hub has both", func() bool { return len(hub.accesses()) == 2 })
	if got := a.accesses(); !slices.Equal(got, []string{"Virtual-Access1 spoke3.example.com"}) || a.ikes() != 2 || b.ikes() != 2 {
		l.fail("%q, IKE SAs %d and %d", got, a.ikes(), b.ikes())
	}
}

func TestAShortcutIsMadeAnewAfterTheSpokeAtItsEndHasStartedAnew(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, false), l.spoke(3, hub, false)
	l.direct(a, b, hub)
	b.stop()
	l.run(time.Second)
	b = l.spoke(3, hub, false) // which the hub knows by its INITIAL_CONTACT
	if lost, gap := l.flow(a, b, 20*time.Second); gap > 11*time.Second {
		l.fail("%d lost, for %v", lost, gap)
	}
	l.direct(a, b, hub)
	if got := a.accesses(); len(got) != 1 || a.ikes() != 2 || b.ikes() != 2 || len(hub.accesses()) != 2 || hub.ikes() != 2 {
		l.fail("%q, at the hub %q; IKE SAs %d, %d, %d", got, hub.accesses(), a.ikes(), b.ikes(), hub.ikes())
	}
}

// A shortcut goes beside a tunnel: without it there is none.
func TestAShortcutGoesWithTheTunnelThatItIsBeside(t *testing.T) {
	l := newLab(t, v4over4)
	hub := l.hub(1)
	a, b := l.spoke(2, hub, false), l.spoke(3, hub, false)
	l.direct(a, b, hub)
	a.call(func() {
		a.nhrp.Remove("Tunnel0")
		a.protect.RemoveTunnel(a.tunnel)
	})
	l.run(time.Second)
	if len(a.accesses())+len(b.accesses()) != 0 || a.ikes() != 0 || b.ikes() != 1 || len(hub.accesses()) != 1 {
		l.fail("%q and %q, IKE SAs %d and %d, at the hub %q", a.accesses(), b.accesses(), a.ikes(), b.ikes(), hub.accesses())
	}
	if way := a.match(l.nets.host(3)); way != "" {
		l.fail("it still leads over %s", way)
	}
}
