//go:build linux

package gobgp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"
	"felloe/routing/policy"
	"felloe/routing/rib"
)

func permit(t *testing.T, p string) *policy.PrefixList {
	t.Helper()
	l, err := policy.NewPrefixList("L", []policy.PrefixEntry{{Permit: true, Prefix: pfx(p), LE: 32}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPoliciesChangeWithoutAReset(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, func(c *bgp.Config) {
		hubOf(65010)(c)
		c.Redistribute = []bgp.Redistribution{{Source: rib.Connected}}
	})
	eventually(t, "both prefixes are there", func() bool {
		return hub.route("192.168.2.2/32") != "" && hub.route("192.168.2.0/24") != ""
	})
	spoke.apply(func(c *bgp.Config) { c.Neighbors[0].Out.PrefixList = permit(t, "192.168.2.2/32") })
	eventually(t, "the spoke takes one back", func() bool { return hub.route("192.168.2.0/24") == "" })
	spoke.apply(func(c *bgp.Config) { c.Neighbors[0].Out.PrefixList = nil })
	eventually(t, "and announces it again", func() bool { return hub.route("192.168.2.0/24") != "" })
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].In.PrefixList = permit(t, "192.168.2.2/32") })
	eventually(t, "the hub does not take one", func() bool { return hub.route("192.168.2.0/24") == "" })
	hub.apply(func(c *bgp.Config) { c.Neighbors[0].In.PrefixList = nil })
	eventually(t, "it asks for it again", func() bool { return hub.route("192.168.2.0/24") != "" })
	spoke.apply(func(c *bgp.Config) { c.Neighbors[0].DefaultOriginate = true })
	eventually(t, "a default route comes", func() bool { return hub.route("0.0.0.0/0") != "" })
	spoke.apply(func(c *bgp.Config) {
		c.Aggregates = []bgp.Aggregate{{Prefix: pfx("192.168.0.0/16"), SummaryOnly: true}}
	})
	eventually(t, "a summary comes instead", func() bool {
		return hub.route("192.168.0.0/16") != "" && hub.route("192.168.2.0/24") == "" && hub.route("192.168.2.2/32") == ""
	})
	for _, p := range []bgp.NeighborInfo{hub.peer("10.10.10.2"), spoke.peer("10.10.10.1")} {
		if p.Established != 1 || p.Dropped != 0 || p.Malformed != 0 {
			t.Errorf("the session suffered: %+v", p)
		}
	}
}

func TestInstancesShareTheLimitOfDynamicNeighbours(t *testing.T) {
	t.Parallel()
	var limit Limit
	limit.Set(1)
	b := newBus(t)
	dynamic := func(c *bgp.Config) {
		n := neighbor("10.10.10.0", 0)
		n.Address = netip.Addr{}
		c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: n}}
	}
	var hubs []*router
	for i := range 2 {
		h := newRouter(t, b, i+1, 65010, nil)
		h.stop()
		h.o.Dynamic = &limit
		dynamic(&h.cfg)
		h.start(hubLog(h))
		hubs = append(hubs, h)
	}
	first := newRouter(t, b, 3, 65011, with(neighbor("10.10.10.1", 65010)))
	eventually(t, "one is up", func() bool { return hubs[0].up("10.10.10.3") })
	newRouter(t, b, 4, 65012, with(neighbor("10.10.10.2", 65010)))
	eventually(t, "the other instance refuses", func() bool {
		return hubs[1].log.lines("the limit of 1 dynamic neighbors of the router is reached") == 1
	})
	first.stop()
	eventually(t, "its place is free then", func() bool { return hubs[1].up("10.10.10.4") })
	if n, most := limit.Count(); n != 1 || most != 1 {
		t.Errorf("%d of %d", n, most)
	}
}

// told is a path in an UPDATE from AS 65011.
func told(last byte, prefixes []byte, path ...byte) []byte {
	attrs := append([]byte{0x40, 1, 1, 0, 0x40, 2, byte(2 + 4 + len(path)), 2, byte(1 + len(path)/4), 0, 0, 0xfd, 0xf3}, path...)
	attrs = append(attrs, 0x40, 3, 4, 10, 10, 10, last)
	return message(2, append(append([]byte{0, 0, 0, byte(len(attrs))}, attrs...), prefixes...)...)
}

func TestUpdatesDoNotOvertakeTheKeepalive(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	newRouter(t, b, 1, 65010, with(neighbor("10.10.10.9", 65011, func(n *bgp.Neighbor) { n.Passive = true })))
	p := dialRaw(t, newHost(t, b, 9))
	p.send(open(true, 9), guard.KeepaliveMessage())
	var kinds []byte
	for len(kinds) < 3 {
		m, err := guard.ReadMessage(p, p.buf)
		if err != nil {
			t.Fatal(kinds, err)
		}
		kinds = append(kinds, m[18])
	}
	if !bytes.Equal(kinds, []byte{guard.Open, guard.Keepalive, guard.UpdateType}) {
		t.Errorf("the messages came as %v", kinds)
	}
}

func TestAPeerThatFlapsAndSaysMalformedThings(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.9", 65011, func(n *bgp.Neighbor) { n.Passive, n.Timers = true, bgp.Timers{} }), neighbor("10.10.10.2", 65012)))
	other := newRouter(t, b, 2, 65012, hubOf(65010))
	eventually(t, "the other neighbour is up", func() bool { return other.up("10.10.10.1") })
	p := dialRaw(t, newHost(t, b, 9)).up(true, 9)
	go func() { // a peer that does not read is one that holds us up
		for {
			if _, err := guard.ReadMessage(p, p.buf); err != nil {
				return
			}
		}
	}()
	const many = 20000
	count := func() (n int) {
		other.on(func() { n = other.bgp.Summary().Prefixes })
		return
	}
	base := count()
	batch := func(from int) []byte {
		var list []byte
		for i := from; i < from+500; i++ {
			list = append(list, 24, 20+byte(i>>16), byte(i>>8), byte(i))
		}
		return list
	}
	for round := range byte(3) {
		for i := 0; i < many; i += 500 {
			p.send(told(9, batch(i), 0, 0, 0, round+1))
			if i%5000 == 0 {
				bad := told(9, []byte{24, 99, byte(i >> 8), 1})
				bad[26] = 9 // ORIGIN
				p.send(bad)
			}
			if round == 1 {
				p.send(message(2, append(append([]byte{byte(2000 >> 8), byte(2000 & 255)}, batch(i)...), 0, 0)...))
			}
		}
		want := base + many
		if round == 1 {
			want = base
		}
		eventually(t, fmt.Sprintf("the other neighbour knows %d", want), func() bool { return count() == want })
	}
	if n := hub.peer("10.10.10.9"); n.State != bgp.Established || n.Dropped != 0 || n.Malformed != 12 || n.Prefixes != many {
		t.Errorf("the peer is %+v", n)
	}
	p.Close()
	eventually(t, "all is gone", func() bool {
		n := 0
		hub.on(func() { n = hub.rib.Len() })
		return count() == base && n < 20
	})
}
