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

// spokeHost is a Host around a FlexVPN spoke: a tunnel to a hub, and tunnels of a template that come and go.
type spokeHost struct {
	lonely
	e        *Engine
	far      map[string]SessionID
	instance uint32
	template Config
}

const spokeTunnel = "Tunnel0"

func (h *spokeHost) Open(string, netip.Addr) (Session, error) {
	h.t.Fatal("opens a session on a point-to-point tunnel")
	return Session{}, errors.New("no")
}

func (h *spokeHost) clone(nbma netip.Addr) (*Session, Config) {
	n := 1
	for h.far[fmt.Sprint("Virtual-Access", n)] != 0 {
		n++
	}
	cfg := h.template
	h.instance++
	cfg.Tunnel, cfg.Clone, cfg.Instance = fmt.Sprint("Virtual-Access", n), true, h.instance
	s := h.open(cfg.Tunnel, nbma)
	h.far[cfg.Tunnel] = s.ID
	return s, cfg
}

func (h *spokeHost) OpenTemplate(_ string, template int, nbma netip.Addr) (Session, Config, error) {
	if template != 1 {
		h.t.Fatalf("template %d", template)
	}
	for _, id := range slices.Sorted(maps.Keys(h.sessions)) {
		if s := h.sessions[id]; s.Tunnel != spokeTunnel && s.NBMA == nbma && h.e.tunnels[s.Tunnel] != nil {
			return *s, h.e.tunnels[s.Tunnel].cfg, nil
		}
	}
	if len(h.sessions) > 30 {
		return Session{}, Config{}, errors.New("too many sessions")
	}
	s, cfg := h.clone(nbma)
	return *s, cfg, nil
}

func (h *spokeHost) Peer(tunnel string) (Session, bool) { return h.Session(h.far[tunnel]) }

func (h *spokeHost) Close(id SessionID, reason string) {
	if s := h.sessions[id]; s != nil && s.Tunnel == spokeTunnel {
		h.t.Fatalf("ends the hub's session: %s", reason)
	}
	h.lonely.Close(id, reason)
}

func (h *spokeHost) SetNeighbour(tunnel string, a netip.Addr, id SessionID) {
	h.t.Fatalf("a neighbour %s on the point-to-point %s: %d", a, tunnel, id)
}

// released takes away the tunnels whose sessions are gone, as whoever made them does.
func (h *spokeHost) released(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(h.far)) {
		if name != spokeTunnel && h.sessions[h.far[name]] == nil {
			h.e.SessionDown(now, name, h.far[name], "gone")
			delete(h.far, name)
			h.e.Remove(now, name)
		}
	}
}

func FuzzShortcuts(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 9))
	for n := range 24 {
		b := make([]byte, 64+n*32)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { runShortcuts(t, b) })
}

func runShortcuts(t testing.TB, b []byte) {
	h := &spokeHost{lonely: lonely{t: t, noSecret: true, sessions: map[SessionID]*Session{}, neighbours: map[netip.Addr]SessionID{}, shortcuts: map[shortcutKey]netip.Addr{}},
		far: map[string]SessionID{}}
	own := ip("10.10.10.3")
	h.template = Config{NetworkID: 1, Holdtime: time.Minute, Addresses: []netip.Addr{own}, NBMA: ip("172.16.3.3"), PointToPoint: true,
		Shortcut: true, Redirect: true, ShortcutTemplate: 1}
	h.routes = []route{{prefix: hostPrefix(own), local: true}, {prefix: lan(3), ifname: "Loopback10"}, {prefix: net("0.0.0.0/0"), ifname: spokeTunnel},
		{prefix: lan(2), ifname: spokeTunnel}}
	limits := Limits{Cache: 12, Pending: 4, Claims: 3, Answers: 5, Requests: 10, Indications: 10, Errors: 10}
	e := New(Options{Host: h, Rand: source{rand.NewPCG(1, 1)}, Limits: limits})
	h.e = e
	now := epoch
	in := &input{b}
	main := h.template
	main.Tunnel, main.Instance = spokeTunnel, 1000000
	hub := h.open(spokeTunnel, ip("172.16.1.1"))
	hub.Up = true
	h.far[spokeTunnel] = hub.ID
	e.Apply(now, main)
	for steps := 0; len(in.b) > 0 && steps < 400; steps++ {
		ids := slices.Sorted(maps.Keys(h.sessions))
		session := func() SessionID { return ids[in.pick(len(ids))] }
		switch in.pick(16) {
		case 0, 1, 2, 3, 4, 5:
			id := session()
			from := From{Tunnel: h.sessions[id].Tunnel, Session: id, NBMA: h.sessions[id].NBMA}
			p := in.packet()
			var asked []*pending
			for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
				asked = append(asked, e.tunnels[name].pendings()...)
			}
			in.answering(p, own, asked)
			data, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			e.Receive(now, from, data)
		case 6:
			e.Receive(now, From{Tunnel: spokeTunnel, Session: hub.ID}, redirectOf(in))
		case 7, 8:
			if s := h.sessions[session()]; !s.Up {
				s.Up = true
				e.SessionUp(now, *s)
			}
		case 9: // somebody's session ends; the hub's only for a while
			if s := h.sessions[session()]; s.ID == hub.ID {
				s.Up = !s.Up
				if s.Up {
					e.SessionUp(now, *s)
				} else {
					e.SessionDown(now, s.Tunnel, s.ID, "fuzz")
				}
			} else {
				delete(h.sessions, s.ID)
			}
		case 10: // a peer calls
			if len(h.sessions) < 30 {
				s, cfg := h.clone(in.nbma())
				s.Up = true
				e.Apply(now, cfg)
				e.SessionUp(now, *s)
			}
		case 11, 12:
			now = h.elapse(e, now, in, h.released)
		case 13:
			i := 2 + in.pick(2)
			h.routes[i].ifname = []string{spokeTunnel, "GigabitEthernet1", "Virtual-Access1", "Virtual-Access2"}[in.pick(4)]
			h.routes[i].drop = in.byte() == 7
			e.RoutesChanged(now)
		case 14:
			id := session()
			e.Redirect(now, From{Tunnel: h.sessions[id].Tunnel, Session: id}, spokeTunnel, header(in.addr(), in.addr()))
		case 15:
			switch in.pick(4) {
			case 0:
				e.Clear(now, "", netip.Prefix{})
			case 1:
				e.ClearAddress(now, in.addr())
			default: // another hub, another address
				main.Addresses = []netip.Addr{ip(fmt.Sprintf("10.10.10.%d", 3+in.pick(3)))}
				h.template.Addresses, own = main.Addresses, main.Addresses[0]
				e.Apply(now, main)
				for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
					if cfg := e.tunnels[name].cfg; cfg.Clone {
						cfg.Addresses = main.Addresses
						e.Apply(now, cfg)
					}
				}
			}
		}
		h.released(now)
		flexInvariants(t, e, h, limits)
	}
	e.Snapshot()
	for _, id := range slices.Sorted(maps.Keys(h.sessions)) {
		if id != hub.ID {
			delete(h.sessions, id)
		}
	}
	h.released(now)
	e.RemoveAll(now)
	if e.queue.Len() > 0 || len(h.shortcuts) > 0 || len(e.networks) > 0 || len(e.lingering) > 0 || len(e.byID) > 0 {
		t.Fatalf("the end leaves %d timers, %v, %d networks, %d sessions, %d requests", e.queue.Len(), h.shortcuts, len(e.networks), len(e.lingering), len(e.byID))
	}
}

func redirectOf(in *input) []byte {
	p := &message.Packet{AFN: message.AFNIPv4, Protocol: message.ProtocolIPv4, Type: message.TrafficIndication, HopCount: 1, SrcNBMA: ip("172.16.1.1"),
		SrcProto: ip("10.10.10.1"), DstProto: ip("192.168.33.3"), Payload: header(ip("192.168.33.3"), in.addr())}
	b, err := p.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

func flexInvariants(t testing.TB, e *Engine, h *spokeHost, limits Limits) {
	shortcuts, requests := map[shortcutKey]netip.Addr{}, 0
	indexed := map[*entry]bool{}
	for name, tn := range e.tunnels {
		if len(tn.cache) > limits.Cache+4 || len(tn.pending) > limits.Pending || len(tn.answers) > limits.Answers || len(tn.net.purges) > limits.Pending {
			t.Fatalf("%s: %d entries, %d pending, %d answers, %d purges", name, len(tn.cache), len(tn.pending), len(tn.answers), len(tn.net.purges))
		}
		if name != spokeTunnel && h.far[name] == 0 {
			t.Fatalf("%s is there without a session", name)
		}
		if id := h.far[name]; tn.shortcut && h.sessions[id] != nil && !tn.needed(id) && e.lingering[id] == nil {
			t.Fatalf("the session of %s is there for nothing", name)
		}
		requests += len(tn.pending)
		linked := 0
		for p, en := range tn.cache {
			if p != en.prefix || en.t != tn {
				t.Fatalf("entry of %s on %s is filed under %s on %s", en.prefix, en.t.cfg.Tunnel, p, name)
			}
			if en.kind != KindNegative {
				if !slices.Contains(tn.net.entries[p], en) {
					t.Fatalf("entry %s of %s is not in the network's index", p, name)
				}
				indexed[en] = true
				if name == spokeTunnel && en.kind != KindRegistered {
					t.Fatalf("an entry for %s on the configured tunnel", p)
				}
			}
			if en.routed {
				shortcuts[shortcutKey{p, name}] = en.nextHop
			}
			if en.session != 0 {
				linked++
				if h.sessions[en.session] == nil {
					t.Fatalf("entry %s (kind %d) outlives its session", p, en.kind)
				}
			}
			if !en.timer.Pending() {
				t.Fatalf("entry %s has no timer: it never ends", p)
			}
		}
		for _, set := range tn.bySession {
			linked -= len(set)
		}
		if linked != 0 {
			t.Fatalf("%d links too few", linked)
		}
	}
	for _, n := range e.networks {
		for p, list := range n.entries {
			for _, en := range list {
				if !indexed[en] {
					t.Fatalf("the network's index has an entry for %s that no tunnel has", p)
				}
			}
		}
	}
	if requests != len(e.byID) {
		t.Fatalf("%d requests under way, %d known by their number", requests, len(e.byID))
	}
	if !reflect.DeepEqual(shortcuts, h.shortcuts) {
		t.Fatalf("shortcuts: cache %v, routing %v", shortcuts, h.shortcuts)
	}
}
