package bgp

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestADynamicPeerThatAnnouncedTooMuchIsForgottenWhenItsTimeIsOver(t *testing.T) {
	g := newGraceful(t, func(c *Config) {
		c.Listen = []Listen{{Range: pfx("172.16.1.0/24"), Template: Neighbor{RemoteAS: 65001, MaximumPrefix: MaximumPrefix{Limit: 1, Restart: time.Minute}}}}
	})
	session := uint64(10)
	tooMany := func(a string) {
		t.Helper()
		session++
		g.sp.o.Events([]Event{&StateEvent{Peer: ip(a), Up: true, RemoteAS: 65001, RouterID: ip(a), Local: ip("172.16.1.2"), Session: session, Dynamic: true},
			&PathEvent{Peer: ip(a), Session: session, Prefixes: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.2.0.0/16")}, Attributes: &Attributes{NextHop: ip(a)}},
			&StateEvent{Peer: ip(a), Reason: "too many"}})
		if g.barred[ip(a)] == nil {
			t.Fatalf("%s may come again at once: %q", a, g.sp.told)
		}
		g.sp.told = nil
	}
	free := func(a string) {
		t.Helper()
		if !slices.Contains(g.sp.told, "forget "+a) || g.barred[ip(a)] != nil {
			t.Errorf("%s may not come again: %q", a, g.sp.told)
		}
		if _, ok := g.ways.Get(host(ip(a))); ok {
			t.Errorf("the way to %s is followed still", a)
		}
		g.sp.told = nil
	}
	tooMany("172.16.1.7")
	g.pass(time.Minute)
	free("172.16.1.7")

	cfg := g.Config()
	cfg.Listen = slices.Clone(cfg.Listen)
	cfg.Listen[0].Template.MaximumPrefix.Restart = 0
	if err := g.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	tooMany("172.16.1.7")
	tooMany("172.16.1.8")
	g.pass(time.Hour)
	g.sp.peers = []Peer{{Address: ip("172.16.1.7")}, {Address: ip("172.16.1.8")}}
	if err := g.Clear(ip("172.16.1.7"), ClearHard); err != nil {
		t.Fatal(err)
	}
	free("172.16.1.7")
	if g.barred[ip("172.16.1.8")] == nil {
		t.Error("another one was cleared, too")
	}
	cfg.Listen = nil
	if err := g.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	free("172.16.1.8")
}

func TestOfDynamicPeersThatAnnouncedTooMuchSomeAreRemembered(t *testing.T) {
	b := newBench(t, nil)
	for i := range maxBarred + 100 {
		b.bar(netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)}), 0)
	}
	if len(b.barred) != maxBarred {
		t.Errorf("%d are remembered", len(b.barred))
	}
}
