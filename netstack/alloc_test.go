//go:build !race

package netstack

import (
	"testing"

	"felloe/netstack/packet"
)

// The race detector makes sync.Pool forget on purpose, so this test does not run under it.
func TestForwardingAllocatesNothingPerPacket(t *testing.T) {
	x := newBench(t, 100)
	x.tunnel(t, gcm)
	c3 := newCrowd(t, 3)
	many := newCrowd(t, 1)
	s := many.tuns[0].Default()
	two, _ := xpair(t, 0x9999, addr("10.2.0.254"), peerOf(0))
	s.SetOutbounds([]OutboundSA{{two, selectors("0.0.0.0/0", "20.0.0.128/25")}, {s.Outbound(), selectors("0.0.0.0/0", "20.0.0.0/24")}})
	for name, c := range map[string]struct {
		vector func() []*packet.Packet
		in     *null
		out    *null
	}{
		"plain":            {func() []*packet.Packet { return x.vector(x.li, 20, 100, 1400) }, x.left, x.right},
		"encap":            {func() []*packet.Packet { return x.vector(x.li, 30, 100, 1400) }, x.left, x.right},
		"selectors":        {func() []*packet.Packet { return c3.frames(1400) }, c3.lan, c3.right},
		"several children": {func() []*packet.Packet { return many.frames(1400) }, many.lan, many.right},
		"decap":            {func() []*packet.Packet { return x.espVector(1400) }, x.right, x.left},
	} {
		once := func() { c.in.input(c.vector()) }
		for range 10 {
			once()
		}
		before := c.out.sent.Load()
		const rounds = 200
		n := testing.AllocsPerRun(rounds, once)
		if sent := c.out.sent.Load() - before; sent != (rounds+1)*uint64(len(x.in)) {
			t.Fatalf("%s: %d packets came out, drops %v %v %v", name, sent, x.Drops(), c3.Drops(), many.Drops())
		}
		// The pools may be emptied by a collection meanwhile: less than one a vector is none a packet.
		if n >= 1 {
			t.Errorf("%s: %v allocations per vector of %d", name, n, len(x.in))
		}
	}
}
