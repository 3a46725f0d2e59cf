package flexvpn_test

import (
	"slices"
	"testing"
	"time"

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
