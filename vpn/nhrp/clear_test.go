package nhrp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// nothing is left of shortcuts on a spoke.
func (r *router) wantNothing(what string) {
	r.c.t.Helper()
	t0 := r.engine.tunnels["Tunnel0"]
	got := fmt.Sprint(len(r.clones), len(r.shortcuts), len(r.engine.tunnels), len(t0.net.entries), len(t0.pending), len(t0.deferred), len(r.engine.lingering), len(r.engine.byID))
	want(r.c.t, what+", "+r.name+": clones, routes, tunnels, entries, questions, answers, sessions, numbers", got, "0 0 1 0 0 0 0 0")
}

func TestClearingWhileBothAskHealsAndLeavesNothing(t *testing.T) {
	for after := time.Duration(0); after <= 300*time.Millisecond; after += 5 * time.Millisecond {
		for _, who := range [][]string{{"spoke2"}, {"spoke3"}, {"spoke2", "spoke3"}, {"hub1"}} {
			what := fmt.Sprint(who, " cleared after ", after)
			c, hub, s2, s3 := flexScenario(t)
			c.ping(s3, hostOf(3), hostOf(2))
			c.ping(s2, hostOf(2), hostOf(3))
			c.run(after)
			for _, name := range who {
				c.routers[name].engine.Clear(c.now, "", netip.Prefix{})
			}
			c.run(time.Second)
			for range 3 {
				c.ping(s3, hostOf(3), hostOf(2))
				c.ping(s2, hostOf(2), hostOf(3))
				c.run(2 * time.Second)
			}
			there, back := c.ping(s3, hostOf(3), hostOf(2)), c.ping(s2, hostOf(2), hostOf(3))
			if !slices.Equal(there, []string{"spoke3", "spoke2"}) || !slices.Equal(back, []string{"spoke2", "spoke3"}) || s2.lost+s3.lost+hub.lost > 0 {
				t.Fatalf("%s: %v, %v, %d packets lost", what, there, back, s2.lost+s3.lost+hub.lost)
			}
			want(t, what+": tunnels", fmt.Sprint(len(s2.clones), len(s3.clones), len(hub.clones)), "1 1 2")
			c.run(4 * time.Minute)
			s2.wantNothing(what)
			s3.wantNothing(what)
			want(t, what+": the hub's tunnels", len(hub.clones), 2)
		}
	}
}

func TestATunnelThatWasMadeForAnAnswerAloneEnds(t *testing.T) {
	for _, cleared := range []bool{true, false} {
		c, _, s2, s3 := flexScenario(t)
		// Spoke 2 seems to ask spoke 3, and knows nothing of it.
		c.inject(s3, s3.far["Tunnel0"], handedOn(request(flexAddr(2), ip("10.0.0.2")), "172.20.1.1"))
		want(t, "tunnels", len(s3.clones), 1)
		if cleared {
			c.run(50 * time.Millisecond)
			want(t, "cleared", s3.engine.Clear(c.now, "", netip.Prefix{}), 1)
		}
		c.run(3 * time.Minute)
		s2.wantNothing(fmt.Sprint("cleared ", cleared))
		s3.wantNothing(fmt.Sprint("cleared ", cleared))
	}
}
