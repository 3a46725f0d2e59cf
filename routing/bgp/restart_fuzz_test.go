package bgp

import (
	"net/netip"
	"testing"
	"time"

	"felloe/routing/rib"
)

// FuzzRestart lets sessions come, go, be lost and be taken over in any order, and looks whether anything is counted wrong
// or left over.
func FuzzRestart(f *testing.F) {
	f.Add([]byte{0, 2, 3, 1, 0, 4, 2, 5})
	f.Add([]byte{0, 2, 18, 6, 1, 7, 0, 2, 4, 20, 8, 9})
	f.Add([]byte{0, 2, 10, 11, 12, 6, 7, 0, 2, 4, 4, 13, 14, 1, 8, 15})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 200 {
			return
		}
		g := newGraceful(t, func(c *Config) {
			c.Listen = []Listen{{Range: pfx("10.1.1.0/24"), Template: Neighbor{RemoteAS: 65001, MaximumPrefix: MaximumPrefix{Limit: 5}}}}
			c.Neighbors[0].BFD = BFDMultihop
		})
		g.sp.quiet = true
		session := uint64(0)
		keeps := &Graceful{Time: time.Minute, Families: both, Kept: both}
		for _, op := range ops {
			n := int(op >> 4)
			peer := ip("10.1.1.1")
			if n&8 != 0 {
				peer = ip("10.1.1.7") // dynamic, over the same tunnel
			}
			switch op & 15 {
			case 0, 1:
				session++
				x := keeps
				if op&1 != 0 {
					x = [...]*Graceful{nil, {Time: time.Minute, Families: []Family{IPv4}}, {Restarting: true, Families: both}, keeps}[n&3]
				}
				g.sp.o.Events([]Event{&StateEvent{Peer: peer, Up: true, RemoteAS: 65001, RouterID: ip("1.1.1.1"), Local: ip("10.1.1.100"), Session: session,
					Dynamic: n&8 != 0, Refresh: true, Families: both, Graceful: x}})
			case 2, 3:
				list := []netip.Prefix{pfx("192.168.0.0/16"), pfx("192.168.7.0/24"), pfx("20.0.0.0/8"), pfx("30.0.0.0/8"), pfx("40.0.0.0/8"), pfx("50.0.0.0/8")}[:1+n%6]
				e := &PathEvent{Peer: peer, Session: session, Prefixes: list, Attributes: &Attributes{NextHop: peer}}
				if op&1 != 0 {
					e.Attributes = nil
				}
				g.sp.o.Events([]Event{e})
			case 4, 5:
				g.sp.o.Events([]Event{&EndOfRIBEvent{Peer: peer, Session: session, Family: both[n&1]}})
			case 6:
				g.sp.o.Events([]Event{&StateEvent{Peer: peer, Reason: "lost", Lost: true}})
			case 7:
				g.sp.o.Events([]Event{&StateEvent{Peer: peer, Reason: "closed"}})
			case 8, 9:
				g.tunnel(op&1 != 0)
			case 10, 11:
				for _, f := range g.bfd {
					f(op&1 == 0)
				}
			case 12:
				g.Moved("Tunnel1", "moved")
			case 13:
				g.pass(time.Duration(n) * 20 * time.Second)
			case 14:
				cfg := g.Config()
				cfg.GracefulRestart.Enabled = n&1 != 0
				if err := g.Apply(cfg); err != nil {
					t.Fatal(err)
				}
			case 15:
				g.rib.SetIKE(pfx("10.1.1.7/32"), "Tunnel1", 1, 0)
				if n&1 != 0 {
					g.rib.DeleteIKE(pfx("10.1.1.7/32"), "Tunnel1")
				}
			}
			g.counted()
		}
		for _, a := range []string{"10.1.1.1", "10.1.1.7"} {
			g.sp.o.Events([]Event{&StateEvent{Peer: ip(a), Reason: "closed"}})
		}
		g.pass(time.Hour)
		g.counted()
		if len(g.peers)+len(g.stale)+len(g.bfd)+g.paths != 0 {
			t.Fatalf("%d sessions, %d stale ones, %d watches and %d paths are left", len(g.peers), len(g.stale), len(g.bfd), g.paths)
		}
		g.Close()
		for _, r := range g.rib.Routes() {
			if r.Source == rib.IBGP || r.Source == rib.EBGP {
				t.Fatalf("%v is left", r.Prefix)
			}
		}
	})
}

// counted checks what is counted against what is there.
func (g *gracefulBench) counted() {
	g.t.Helper()
	paths, stales, of := 0, 0, 0
	for _, d := range g.table {
		for _, x := range d.paths {
			paths++
			if x.stale {
				stales++
				if s := g.stale[x.peer.address]; s == nil || s.paths[x.prefix] != x {
					g.t.Fatalf("%v is nobody's stale path", x.prefix)
				}
			}
		}
	}
	for _, s := range g.stale {
		of += len(s.paths)
	}
	if paths != g.paths || stales != of {
		g.t.Fatalf("%d paths are counted as %d, %d stale ones as %d", paths, g.paths, stales, of)
	}
}
