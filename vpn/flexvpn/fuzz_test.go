package flexvpn

import (
	"net/netip"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/routing/rib"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

// check holds for every state that is reached.
func (s *stage) check() {
	s.t.Helper()
	s.do(func() {
		m := s.m
		routes := map[string]int{}
		for _, r := range s.ribs["private"].Routes() {
			if r.Source == rib.IKE {
				routes[r.Owner]++
			}
		}
		used := map[int]bool{}
		for name, a := range m.accesses {
			i, ok := s.dp.Interface(name)
			if !ok || i.Tunnel() != a.tun || m.byTunnel[a.tun] != a || a.gone || used[a.number] {
				s.t.Errorf("%s is not what the data plane has", name)
			}
			used[a.number] = true
			if _, ok := a.tmpl.accesses[a]; !ok || m.templates[a.tmpl.Name] != a.tmpl {
				s.t.Errorf("%s is of a template that is gone", name)
			}
			if a.live == nil && routes[name] > 0 {
				s.t.Errorf("%s has %d routes and no session", name, routes[name])
			}
			delete(routes, name)
		}
		for owner := range routes {
			s.t.Errorf("routes of %s, which is gone", owner)
		}
		for _, n := range m.free {
			if used[n] || n > m.next {
				s.t.Errorf("number %d is free and used", n)
			}
			used[n] = true
		}
		if len(used) != m.next || len(m.byTunnel) != len(m.accesses) {
			s.t.Errorf("%d numbers of %d, %d tunnels, %d interfaces", len(used), m.next, len(m.byTunnel), len(m.accesses))
		}
		sessions := map[*netstack.Session]bool{}
		for _, i := range s.p.Sessions() {
			sessions[i.Session] = true
			if i.Template == "" || m.accesses[i.Tunnel] == nil {
				s.t.Errorf("a session of %s, which is not there", i.Tunnel)
			}
		}
		for n, l := range m.live {
			if !sessions[n] || l.ike != 0 && m.sas[l.ike].users == nil {
				s.t.Errorf("a session that is gone is remembered")
			}
		}
		for _, i := range s.dp.Interfaces() {
			if i.Tunnel() != nil && m.accesses[i.Name()] == nil {
				s.t.Errorf("%s is nobody's", i.Name())
			}
		}
	})
}

// FuzzManager feeds sequences of what peers, engines and operators may do.
func FuzzManager(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 3, 0, 4, 0})
	f.Add([]byte{0, 0, 1, 0, 1, 0x21, 2, 0, 5, 0, 6, 0x40, 7, 0, 8, 0})
	f.Add([]byte{1, 0, 1, 0x41, 9, 0, 9, 1, 1, 0x82, 10, 60, 4, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 160 {
			return
		}
		s := newStage(t)
		s.tmpl.IdleTime = 90 * time.Second
		s.set(s.tmpl)
		next := ikev2.ChildID(1)
		for k := 0; k+1 < len(data); k += 2 {
			op, arg := data[k]%12, data[k+1]
			id, n := ikev2.SAID(arg%8+1), int(arg%8)
			var kids []ikev2.ChildID
			for c, sa := range s.engine.children {
				if sa == id {
					kids = append(kids, c)
				}
			}
			switch op {
			case 0:
				s.happen(ikeUp(id, n, ikev2.Configuration{Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, arg}), 24)}, Accept: ikev2.RouteAccept{Accept: arg&0x10 != 0, Tag: uint32(arg)}}))
			case 1, 2:
				up := s.childUp(next, id, n, selector("10.2.0.0", netip.AddrFrom4([4]byte{10, 2, arg >> 4, 255}).String()))
				next++
				up.OutboundReady = op == 1
				if arg&0x80 != 0 {
					up.Policy = "Virtual-Template1 gre"
				}
				if arg&0x20 != 0 && len(kids) > 0 {
					up.Replaces = kids[0]
				}
				s.happen(up)
			case 3:
				for _, c := range kids {
					s.happen(s.childDown(c))
					break
				}
			case 4:
				s.happen(s.engine.down(id)...)
			case 5:
				c := ikev2.ConfigReceived{SA: id, Kind: message.CFG_SET, Accept: ikev2.RouteAccept{Accept: arg&0x10 == 0}}
				c.Configuration.Subnets = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, arg, 0}), 24), {}}
				s.happen(c)
			case 6:
				c := s.tmpl
				c.IPMTU = 1000 + int(arg)
				if arg&0x40 != 0 {
					c.Protection = int(arg)
				}
				s.set(c)
			case 7:
				s.do(func() { s.m.RemoveTemplate(s.tmpl.Name) })
				if arg&1 != 0 {
					s.check()
				}
				s.set(s.tmpl)
			case 8:
				s.happen(ikev2.PeerMoved{SA: id, New: netip.AddrPortFrom(peerAt(int(arg)), 4500), UDPEncap: arg&1 != 0, Local: netip.AddrPortFrom(server, 4500)})
			case 9:
				s.happen(ikev2.IKESuperseded{Old: id, New: id ^ 1})
			case 10:
				s.clock.Advance(time.Duration(arg) * time.Second)
			case 11:
				s.do(func() {
					for _, i := range s.p.Sessions() {
						if i.IKE == id {
							s.p.Reset(i.Session, "cleared")
							break
						}
					}
				})
			}
			s.check()
			if t.Failed() {
				t.Fatalf("after op %d (%d, %d)\n%s", k/2, op, arg, s.log.String())
			}
		}
	})
}
