package ikev2

import (
	"bytes"
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// script reads decisions from the fuzzer's bytes; when they are used up it says 0.
type script []byte

func (s *script) next() int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b)
}

func (s *script) take(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// FuzzSequences lets the fuzzer's bytes decide what happens next to three routers: which message arrives, is lost,
// doubled or changed, what a driver asks for, how much time passes, who loses power, and what an authenticated but mad
// peer says. Two of the routers share a key; the third has another one.
func FuzzSequences(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{4, 1, 1, 1, 1, 1, 1, 1, 1, 0, 13, 10, 1, 1, 1, 1, 1, 0, 13, 6, 7, 1, 1, 1, 13, 5, 9, 1, 1, 1, 1, 1, 1, 0, 13, 10, 2, 7, 40, 1, 8})
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Add([]byte{2, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 0, 9, 1, 1, 1, 1, 1, 1})
	f.Add([]byte{7, 200, 8, 0, 8, 1, 1, 1, 1, 1, 1, 1, 9, 0, 9, 1, 1, 1, 1, 1, 1, 1, 1, 10, 0, 1, 1, 11, 1, 1, 1})
	f.Add([]byte{1, 1, 1, 1, 14, 0, 36, 0, 41, 0, 0, 0, 8, 0, 0, 64, 9, 1, 1, 14, 1, 37, 0, 42, 0, 0, 0, 8, 1, 0, 0, 0, 1, 1})
	f.Add([]byte{2, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 8, 0, 9, 0, 1, 0, 1, 0, 12, 1, 0, 1, 0, 1, 0, 1, 2, 12, 0, 0, 1, 0, 1, 0, 1, 0, 1})
	f.Add([]byte{3, 1, 4, 5, 9, 6, 1, 12, 1, 7, 255, 13, 0, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 15, 0, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) { sequence(t, data) })
}

func TestRandomSequencesKeepTheMachineSound(t *testing.T) {
	for seed := 0; seed < 300; seed += every(7) {
		r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
		b := make([]byte, 50+seed%350)
		r.Read(b)
		sequence(t, b)
	}
	// Random bytes seldom say what makes sense: a client that moves, asks and has several children, among all the rest.
	phrases := []string{"\x00\x01", "\x01\x01", "\x00\x01\x01\x01", "\x00\x0d\x0a\x01", "\x00\x0d\x0a\x02", "\x00\x0d\x0b", "\x01\x0d\x06\x07", "\x00\x0d\x05\x09",
		"\x01\x0d\x07\x33", "\x00\x0d\x08\x01", "\x01\x0d\x09\x00", "\x00\x08", "\x01\x08", "\x00\x09", "\x01\x09", "\x00\x00", "\x00\x07\x0a", "\x01\x0a", "\x00\x03\x01"}
	for seed := 0; seed < 120; seed += every(7) {
		r := rand.New(rand.NewPCG(uint64(seed), 5))
		b := append([]byte{[]byte{4, 0, 4, 6}[seed%4]}, bytes.Repeat([]byte{0, 1}, r.IntN(8))...)
		for len(b) < 200 {
			if r.IntN(12) == 0 {
				b = append(b, byte(r.Uint32()))
			}
			b = append(b, phrases[r.IntN(len(phrases))]...)
		}
		sequence(t, b)
	}
}

func sequence(t *testing.T, data []byte) {
	s := script(data)
	if len(s) > 400 {
		s = s[:400]
	}
	limit := func(c *Config) {
		c.MaxSAs, c.MaxHalfOpen, c.CookieThreshold = 30, 10, 5
		c.Profiles[0].DPD = DPD{Interval: 20 * time.Second, Retry: 2 * time.Second}
		c.Profiles[0].Lifetime, c.Children[0].Lifetime = 10*time.Minute, 5*time.Minute
		q := c.Children[0]
		q.Name, q.Mode, q.Protocol = "wide", esp.Tunnel, 0
		q.Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}}, Groups: []suite.Group{suite.CURVE25519}}}
		lan := q
		lan.Name, lan.TSLocal, lan.TSRemote = "lan", prefixes("10.0.0.0/8"), prefixes("10.0.0.0/8")
		c.Children = append(c.Children, q, lan)
		c.MOBIKE, c.Addresses = true, map[string][]netip.Addr{"default": {addrA, addrB, addrC, addr("203.0.113.99")}}
	}
	w := newWorld(t, 9)
	mode := s.next()
	proof := [3]func(*Config){func(*Config) {}, func(*Config) {}, func(c *Config) {
		c.Keyrings[0].Peers[0].Local, c.Keyrings[0].Peers[0].Remote = suite.Key("WRONG"), suite.Key("WRONG")
	}}
	if mode&2 != 0 { // certificates; the third router's authority is not that of the others
		proof = sequenceCerts(t)
	}
	ga := &granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.1.0.0/16")}}}
	gb := &granter{t: t, grant: Configuration{Addresses: []netip.Prefix{prefix("10.2.0.7/32")}, Subnets: []netip.Prefix{prefix("10.2.0.0/16")}}}
	a, b := w.add("A", addrA, config(limit, proof[0], authorized(ga))), w.add("B", addrB, config(limit, proof[1], authorized(gb)))
	c := w.add("C", addrC, config(limit, proof[2]))
	switch {
	case mode%2 == 0 && mode&4 != 0: // a client with an address from the other, which moves
		a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "lan", MOBIKE: true, Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	case mode%2 == 0:
		a.initiate(addrB)
	}
	for len(s) > 0 {
		w.fuzzStep(&s)
		w.check(a, b, c)
	}
	// Whatever happened, a while later the views agree, and nothing is left after deleting all.
	w.run(2 * time.Minute)
	w.check(a, b, c)
	for _, n := range w.nodes {
		n.do(n.e.DeleteAll(w.now, "end"))
	}
	w.run(5 * time.Minute)
	for _, n := range w.nodes {
		w.clean(n)
	}
	if len(ga.held)+len(gb.held) != 0 {
		t.Fatalf("still granted: %v %v", ga.held, gb.held)
	}
}

func (w *world) fuzzStep(s *script) {
	n := w.nodes[s.next()%3]
	switch op := s.next() % 16; op {
	case 0: // a message is lost
		if len(w.flight) > 0 {
			heap.Pop(&w.flight)
		}
	case 1, 2: // the next one arrives
		w.run(10 * time.Millisecond)
	case 3: // doubled
		if len(w.flight) > 0 {
			f := w.flight[s.next()%len(w.flight)]
			w.order++
			f.order = w.order
			heap.Push(&w.flight, f)
		}
	case 4: // changed
		if len(w.flight) > 0 {
			d := &w.flight[s.next()%len(w.flight)].d
			d.Data = append(bytes.Clone(d.Data), 0)
			d.Data[s.next()%len(d.Data)] ^= byte(s.next())
			d.Data = d.Data[:len(d.Data)-1]
		}
	case 5: // cut
		if len(w.flight) > 0 {
			d := &w.flight[s.next()%len(w.flight)].d
			d.Data = d.Data[:s.next()%(len(d.Data)+1)]
		}
	case 6: // from elsewhere
		if len(w.flight) > 0 {
			d := &w.flight[s.next()%len(w.flight)].d
			d.Remote = netip.AddrPortFrom(d.Remote.Addr(), uint16(s.next()))
		}
	case 7: // time
		w.run(time.Duration(s.next()) * 200 * time.Millisecond)
	case 8:
		n.do(n.e.RekeyChild(w.now, n.anyChild()))
	case 9:
		n.do(n.e.RekeyIKE(w.now, n.anySA()))
	case 10:
		n.do(n.e.DeleteChild(w.now, n.anyChild(), "fuzz"))
	case 11:
		n.do(n.e.DeleteIKE(w.now, n.anySA(), "fuzz"))
	case 12:
		n.initiate(w.nodes[s.next()%3].addr)
	case 13:
		switch s.next() % 12 {
		case 5:
			n.do(n.e.CreateChildFor(w.now, n.anySA(), "lan", nil, Packet{host(6, addr("10.1.0.1")), host(6, netip.AddrFrom4([4]byte{10, 2, 0, byte(s.next())}))}))
		case 6:
			n.do(n.e.SendConfiguration(w.now, n.anySA(), Configuration{Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(s.next())}), 16)}}))
		case 7:
			if g, ok := n.e.cfg.Authorize.(*granter); ok {
				g.grant.Subnets = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(s.next())}), 16)}
				n.do(n.e.Reauthorize(w.now))
			}
		case 8:
			n.initiateAs(InitiateRequest{Local: n.addr, Remote: w.nodes[s.next()%3].addr, Profile: "prof", Child: "lan", MOBIKE: true,
				Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}})
		case 9:
			n.initiateAs(InitiateRequest{Local: n.addr, Remote: w.nodes[s.next()%3].addr, Profile: "prof", MOBIKE: true})
		case 10: // it moves; what was under way to its old address is lost
			if n != w.nodes[2] {
				n.addr = netip.AddrFrom4([4]byte{203, 0, byte(slices.Index(w.nodes, n)), byte(s.next() % 4)})
				for _, id := range sortedKeys(n.ikes) {
					n.do(n.e.Roam(w.now, id, n.addr, n.ikes[id].Remote.Addr()))
				}
			}
		case 11: // it tries one that it does not have
			n.do(n.e.Roam(w.now, n.anySA(), n.addr, addr("203.0.113.99")))
		case 0:
			n.do(n.e.CreateChild(w.now, n.anySA(), "wide", nil))
		case 1:
			n.do(n.e.Probe(w.now, n.anySA()))
		case 2:
			n.do(n.e.NoteTraffic(w.now, n.anySA(), s.next()%2 == 0, true))
		case 3:
			n.do(n.e.UnknownSPI(w.now, "", n.addr, w.nodes[s.next()%3].addr, uint32(s.next())))
		case 4:
			n.boot()
			if g, ok := n.cfg.Authorize.(*granter); ok {
				clear(g.held) // lost with the power
			}
		}
	case 14: // an authenticated peer says anything
		w.mad(n, s)
	case 15: // bytes out of the blue
		n.do(n.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(n.addr, 500), Remote: netip.AddrPortFrom(addrC, 500), Data: s.take(60)}))
	}
}

// mad seals payloads of the fuzzer's with n's true keys and sends them as its next request or as its answer.
func (w *world) mad(n *node, s *script) {
	sess := n.e.sessions[n.anySA()]
	if sess == nil || sess.cur.out == nil {
		return
	}
	sa := sess.cur
	flags, x := s.next(), message.ExchangeType(s.next())
	id := sa.sendID
	if flags&2 != 0 {
		id = sa.recvID
	}
	h := sa.header(x, id, flags&1 != 0)
	first := message.PayloadType(s.next())
	plain := s.take(s.next() % 100)
	prefix := message.BeginEncrypted(h, first, sa.out.Overhead(len(plain))+len(plain), 0, 0)
	w.send(n, Datagram{"default", sess.local, sess.remote, sa.out.Seal(prefix, prefix, plain)})
	if flags&1 == 0 && flags&4 != 0 {
		sa.sendID++
	}
}

// check holds after every step.
func (w *world) check(a, b, c *node) {
	w.t.Helper()
	if len(c.ikes)+len(c.ups) != 0 {
		w.fatalf("the router with the wrong key has an SA")
	}
	for _, n := range w.nodes {
		for _, u := range n.ups {
			if u.Peer == AddressIdentity(addrC) {
				w.fatalf("%s has a child with the router with the wrong key", n.name)
			}
		}
		e := n.e
		if len(e.sas) > 3*e.cfg.MaxSAs || e.halfOpen > e.cfg.MaxHalfOpen+e.cfg.MaxSAs || len(e.inits) > e.cfg.MaxSAs || len(e.timers) > 3*e.cfg.MaxSAs {
			w.fatalf("%s: %d SAs, %d half-open, %d inits, %d timers", n.name, len(e.sas), e.halfOpen, len(e.inits), len(e.timers))
		}
		if len(n.ups) != len(e.children) {
			w.fatalf("%s: driver has %d pairs, machine %d", n.name, len(n.ups), len(e.children))
		}
		up := 0
		for _, s := range e.sessions {
			if !s.established.IsZero() {
				up++
			}
			if len(s.kids) > maxChildren+1 || len(s.cur.tasks) > 100 || len(s.sas) > 20 {
				w.fatalf("%s: %d children, %d tasks, %d sets of keys", n.name, len(s.kids), len(s.cur.tasks), len(s.sas))
			}
		}
		if up != len(n.ikes) {
			w.fatalf("%s: driver has %d IKE SAs, machine %d", n.name, len(n.ikes), up)
		}
	}
}
