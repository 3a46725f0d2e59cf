package nhrp

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// lonely is a Host around one machine; sessions and routes are what the fuzzer says.
type lonely struct {
	t          testing.TB
	sessions   map[SessionID]*Session
	next       SessionID
	neighbours map[netip.Addr]SessionID
	shortcuts  map[shortcutKey]netip.Addr
	routes     []route
	sent       [][]byte
	noSecret   bool // no authentication is configured
}

func (l *lonely) Open(tunnel string, nbma netip.Addr) (Session, error) {
	for _, id := range slices.Sorted(maps.Keys(l.sessions)) {
		if s := l.sessions[id]; s.Tunnel == tunnel && s.NBMA == nbma {
			return *s, nil
		}
	}
	if len(l.sessions) > 200 {
		return Session{}, errors.New("too many sessions")
	}
	return *l.open(tunnel, nbma), nil
}
func (l *lonely) OpenTemplate(string, int, netip.Addr) (Session, Config, error) {
	return Session{}, Config{}, errors.New("no templates")
}
func (l *lonely) Peer(string) (Session, bool) { return Session{}, false }
func (l *lonely) open(tunnel string, nbma netip.Addr) *Session {
	l.next++
	s := &Session{ID: l.next, Tunnel: tunnel, NBMA: nbma, Identity: fmt.Sprint("id", l.next), SA: uint64(l.next), Protected: true}
	l.sessions[s.ID] = s
	return s
}
func (l *lonely) Session(id SessionID) (Session, bool) {
	if s := l.sessions[id]; s != nil {
		return *s, true
	}
	return Session{}, false
}
func (l *lonely) Close(id SessionID, _ string) {
	if l.sessions[id] == nil {
		l.t.Fatalf("closes session %d, which is not there", id)
	}
	delete(l.sessions, id)
}
func (l *lonely) Probe(SessionID) {}
func (l *lonely) Send(id SessionID, b []byte) {
	if s := l.sessions[id]; s == nil || !s.Up {
		l.t.Fatalf("sends over session %d, which is not up", id)
	}
	if p, err := message.Decode(b); err != nil {
		l.t.Fatalf("sends what cannot be read: %v", err)
	} else if n := countAuth(p); !l.noSecret && (n > 1 || n == 0 && !(p.Type == message.ErrorIndication && p.ErrorCode == message.ErrorAuthentication)) {
		l.t.Fatalf("sends a %s with %d authentication extensions", p.Type, n)
	}
	if len(l.sent) < 64 {
		l.sent = append(l.sent, b)
	}
}
func countAuth(p *message.Packet) (n int) {
	for _, x := range p.Extensions {
		if x.Type == message.ExtAuthentication {
			n++
		}
	}
	return n
}
func (l *lonely) SetNeighbour(_ string, a netip.Addr, id SessionID) {
	if id == 0 {
		delete(l.neighbours, a)
	} else {
		l.neighbours[a] = id
	}
}
func (l *lonely) SetMulticast(string, []SessionID) {}
func (l *lonely) SetGlean(string, SessionID)       {}
func (l *lonely) SetShortcut(_ string, p netip.Prefix, tunnel string, hop netip.Addr, _ bool, _ []string) {
	l.shortcuts[shortcutKey{p, tunnel}] = hop
}
func (l *lonely) DeleteShortcut(_ string, p netip.Prefix, tunnel string) {
	delete(l.shortcuts, shortcutKey{p, tunnel})
}
func (l *lonely) Event(Event) {}
func (l *lonely) Lookup(_ string, dst netip.Addr) (Route, bool) {
	return (&router{routes: l.routes}).Lookup("", dst)
}

// input hands out the fuzzer's bytes.
type input struct{ b []byte }

func (i *input) byte() byte {
	if len(i.b) == 0 {
		return 0
	}
	v := i.b[0]
	i.b = i.b[1:]
	return v
}
func (i *input) pick(n int) int { return int(i.byte()) % n }

var (
	fuzzAddrs = []string{"10.10.10.1", "10.10.10.2", "10.10.10.3", "10.10.10.4", "10.10.10.9", "192.168.11.1", "192.168.22.2", "192.168.33.3", "192.168.33.77", "0.0.0.0", "224.0.0.5", "172.16.2.2"}
	fuzzNBMA  = []string{"172.16.1.1", "172.16.2.2", "172.16.3.3", "172.16.4.4", "203.0.113.9", "0.0.0.0"}
)

func (i *input) addr() netip.Addr { return ip(fuzzAddrs[i.pick(len(fuzzAddrs))]) }
func (i *input) nbma() netip.Addr { return ip(fuzzNBMA[i.pick(len(fuzzNBMA))]) }
func (i *input) cies() (list []message.CIE) {
	for range i.pick(3) {
		c := message.CIE{Code: message.Code(i.pick(16)), PrefixLen: i.byte() % 40, HoldTime: uint16(i.byte())}
		if i.byte()&1 == 0 {
			c.NBMA, c.Code = i.nbma(), 0
		}
		if i.byte()&1 == 0 {
			c.Proto = i.addr()
		}
		list = append(list, c)
	}
	return list
}

// packet is one that anybody may send.
func (i *input) packet() *message.Packet {
	p := &message.Packet{AFN: message.AFNIPv4, Protocol: message.ProtocolIPv4, Type: message.Type(1 + i.pick(8)), HopCount: i.byte() & 3, Flags: uint16(i.byte()) << 8,
		SrcNBMA: i.nbma(), SrcProto: i.addr(), DstProto: i.addr(), RequestID: uint32(i.byte()), Extensions: standardExtensions()}
	if p.Type.Indication() {
		p.RequestID, p.Flags = 0, 0
		p.ErrorCode = message.ErrorCode(i.pick(16))
		p.Payload = header(i.addr(), i.addr())
	} else {
		p.CIEs = i.cies()
	}
	for x := range p.Extensions {
		p.Extensions[x].CIEs = i.cies()
	}
	return p
}

// answering makes a packet the answer to a request of ours now and then, as one who saw that would give it.
func (i *input) answering(p *message.Packet, own netip.Addr, asked []*pending) {
	if len(asked) > 0 && p.RequestID != 0 && p.RequestID&1 == 0 {
		q := asked[i.pick(len(asked))]
		p.RequestID, p.SrcProto, p.DstProto = q.id, own, q.target
	}
}

// elapse lets up to two minutes pass, in which some sessions carry data; then is called after each moment.
func (l *lonely) elapse(e *Engine, now time.Time, in *input, then func(now time.Time)) time.Time {
	end := now.Add(time.Duration(in.byte()) * 500 * time.Millisecond)
	for n := 0; ; n++ {
		d, ok := e.Deadline()
		if !ok || d.After(end) {
			return end
		}
		if n > 20000 {
			l.t.Fatal("timers never rest")
		}
		if d.After(now) {
			now = d
		}
		for _, id := range slices.Sorted(maps.Keys(l.sessions)) {
			l.sessions[id].Data += uint64(in.byte() & 1)
		}
		e.Tick(now)
		then(now)
	}
}

const fuzzTunnel = "Tunnel0"

func fuzzConfig(which int) Config {
	cfg := spokeConfig(3)
	switch which {
	case 1:
		cfg.NHS = append(cfg.NHS, NHS{Address: ip("10.10.10.4"), NBMA: ip("172.16.4.4"), Priority: 1})
		cfg.MaxConnections = map[uint8]int{0: 1}
	case 2:
		cfg.NHS, cfg.Redirect, cfg.MulticastDynamic = nil, true, true
	case 3:
		cfg.Maps = []Map{{Address: ip("10.10.10.2"), NBMA: ip("172.16.2.2")}}
		cfg.Multicast = []netip.Addr{ip("172.16.2.2")}
	}
	return cfg
}

func FuzzMachine(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 7))
	for n := range 24 {
		b := make([]byte, 64+n*32)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { runMachine(t, b) })
}

func runMachine(t testing.TB, b []byte) {
	l := &lonely{t: t, sessions: map[SessionID]*Session{}, neighbours: map[netip.Addr]SessionID{}, shortcuts: map[shortcutKey]netip.Addr{}}
	l.routes = []route{{prefix: net("10.10.10.0/24"), ifname: fuzzTunnel}, {prefix: lan(3), ifname: "Loopback10"},
		{prefix: lan(2), via: ip("10.10.10.1"), ifname: fuzzTunnel}, {prefix: net("0.0.0.0/0"), via: ip("10.10.10.2"), ifname: fuzzTunnel}}
	limits := Limits{Cache: 12, Pending: 4, Claims: 3, Answers: 5, Requests: 10, Indications: 10, Errors: 10}
	e := New(Options{Host: l, Rand: source{rand.NewPCG(1, 1)}, Limits: limits})
	now := epoch
	in := &input{b}
	e.Apply(now, fuzzConfig(in.pick(4)))
	for steps := 0; len(in.b) > 0 && steps < 400; steps++ {
		ids := slices.Sorted(maps.Keys(l.sessions))
		session := func() SessionID {
			if len(ids) == 0 {
				return 0
			}
			return ids[in.pick(len(ids))]
		}
		switch in.pick(16) {
		case 0, 1, 2, 3, 4, 5:
			id := session()
			p := in.packet()
			if tn := e.tunnels[fuzzTunnel]; tn != nil {
				in.answering(p, ip("10.10.10.3"), tn.pendings())
				for _, n := range tn.nhs {
					if p.Type == message.RegistrationReply && n.session == id && in.byte()&1 == 0 {
						p.RequestID, p.SrcProto = n.id, ip("10.10.10.3")
					}
				}
			}
			if len(l.sent) > 0 && p.Type == message.ErrorIndication {
				p.Payload = l.sent[in.pick(len(l.sent))]
			}
			wrong := in.pick(5) == 0
			if wrong {
				p.SetAuthentication("WRONG")
			} else {
				p.SetAuthentication(auth)
			}
			data, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			before := digest(e)
			e.Receive(now, From{Tunnel: fuzzTunnel, Session: id, NBMA: in.nbma()}, data)
			if wrong && digest(e) != before {
				t.Fatalf("an unauthenticated %s changed the state\n%s\n%s", p.Type, before, digest(e))
			}
		case 6:
			if len(l.sent) > 0 { // our own packets come back
				e.Receive(now, From{Tunnel: fuzzTunnel, Session: session()}, l.sent[in.pick(len(l.sent))])
			}
		case 7, 8:
			if s := l.sessions[session()]; s != nil {
				s.Up = true
				e.SessionUp(now, *s)
			}
		case 9:
			if id := session(); id != 0 {
				delete(l.sessions, id)
				e.SessionDown(now, fuzzTunnel, id, "fuzz")
			}
		case 10:
			s := l.open(fuzzTunnel, in.nbma())
			s.Up = true
			e.SessionUp(now, *s)
		case 11, 12:
			now = l.elapse(e, now, in, func(time.Time) {})
		case 13:
			i := in.pick(len(l.routes))
			l.routes[i].via = in.addr()
			l.routes[i].drop = in.byte() == 7
			e.RoutesChanged(now)
		case 14:
			if in.byte()&1 == 0 {
				e.Redirect(now, From{Tunnel: fuzzTunnel, Session: session()}, fuzzTunnel, header(in.addr(), in.addr()))
			} else {
				e.ResolveNextHop(now, fuzzTunnel, in.addr())
			}
		case 15:
			switch in.pick(4) {
			case 0:
				e.Clear(now, "", netip.Prefix{})
			case 1:
				e.Remove(now, fuzzTunnel)
				if e.queue.Len() > 0 || len(l.neighbours) > 0 || len(l.shortcuts) > 0 {
					t.Fatalf("removal leaves %d timers, %v, %v", e.queue.Len(), l.neighbours, l.shortcuts)
				}
				e.Apply(now, fuzzConfig(in.pick(4)))
			default:
				e.Apply(now, fuzzConfig(in.pick(4)))
			}
		}
		invariants(t, e, l, limits)
	}
	e.Snapshot()
}

func digest(e *Engine) string {
	t := e.tunnels[fuzzTunnel]
	s := fmt.Sprint(len(t.pending), len(t.claims), len(t.answers), len(t.deferred), len(t.net.purges), len(e.byID))
	for _, en := range t.entries() {
		s += fmt.Sprint(en.prefix, en.kind, en.nextHop, en.session, en.expires, en.active, en.routed)
	}
	for _, n := range t.nhs {
		s += fmt.Sprint(n.id, n.up, n.failed, n.active, n.tries, n.timer.At())
	}
	return s
}

func invariants(t testing.TB, e *Engine, l *lonely, limits Limits) {
	tn := e.tunnels[fuzzTunnel]
	if len(tn.cache) > limits.Cache+4 { // static entries come from the configuration
		t.Fatalf("%d cache entries", len(tn.cache))
	}
	if len(tn.pending) > limits.Pending || len(tn.claims) > limits.Claims || len(tn.answers) > limits.Answers ||
		len(tn.net.purges) > limits.Pending || len(e.byID) != len(tn.pending) || len(e.mismatches) > limits.Cache {
		t.Fatalf("tables: %d pending, %d claims, %d answers, %d purges, %d ids, %d mismatches",
			len(tn.pending), len(tn.claims), len(tn.answers), len(tn.net.purges), len(e.byID), len(e.mismatches))
	}
	neighbours, shortcuts, linked, clients := map[netip.Addr]SessionID{}, map[shortcutKey]netip.Addr{}, 0, map[SessionID]int{}
	for p, en := range tn.cache {
		if p != en.prefix {
			t.Fatalf("entry of %s is filed under %s", en.prefix, p)
		}
		if en.active && en.host() {
			neighbours[en.nextHop] = en.session
		}
		if en.routed {
			shortcuts[shortcutKey{en.prefix, tn.cfg.Tunnel}] = en.nextHop
		}
		if en.session != 0 {
			if _, ok := tn.bySession[en.session][en]; !ok {
				t.Fatalf("entry %s is not linked to its session", p)
			}
			linked++
			if l.sessions[en.session] == nil && en.kind != KindStatic && en.kind != KindNHS {
				t.Fatalf("entry %s (kind %d) outlives its session", p, en.kind)
			}
		}
		if en.kind == KindRegistered {
			clients[en.session]++
		}
		if en.kind != KindStatic && en.kind != KindNHS && !en.timer.Pending() {
			t.Fatalf("entry %s has no timer: it never ends", p)
		}
	}
	for _, set := range tn.bySession {
		linked -= len(set)
	}
	if linked != 0 {
		t.Fatalf("%d links too few", linked)
	}
	if !reflect.DeepEqual(neighbours, l.neighbours) {
		t.Fatalf("neighbours: cache %v, data plane %v", neighbours, l.neighbours)
	}
	if !reflect.DeepEqual(shortcuts, l.shortcuts) {
		t.Fatalf("shortcuts: cache %v, routing %v", shortcuts, l.shortcuts)
	}
	if !reflect.DeepEqual(clients, tn.clients) {
		t.Fatalf("clients: cache %v, counted %v", clients, tn.clients)
	}
}
