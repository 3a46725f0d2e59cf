package protect

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/loop"
	"felloe/vpn/ikev2"

	"github.com/rs/zerolog"
)

// script is an engine that does what a test says.
type script struct {
	next    ikev2.SAID
	calls   []string
	reply   func(call string, id ikev2.SAID, child ikev2.ChildID, tag any) []ikev2.Action
	dropped []ikev2.SAID
	sas     []ikev2.SAInfo
}

func (e *script) on(call string, id ikev2.SAID, child ikev2.ChildID, tag any) []ikev2.Action {
	e.calls = append(e.calls, call)
	if e.reply != nil {
		if acts := e.reply(call, id, child, tag); acts != nil {
			return acts
		}
	}
	switch call { // the engine's promise: the Down actions come at once
	case "delete-child":
		return []ikev2.Action{ikev2.ChildDown{Child: child, Reason: "local"}}
	case "delete-ike":
		return []ikev2.Action{ikev2.IKEDown{SA: id, Reason: "local", Err: ikev2.ErrLocal}}
	}
	return nil
}

func (e *script) Receive(_ time.Time, d ikev2.Datagram) []ikev2.Action {
	return e.on("receive", 0, 0, d)
}
func (e *script) Initiate(_ time.Time, r ikev2.InitiateRequest) (ikev2.SAID, []ikev2.Action) {
	e.next++
	return e.next, e.on("initiate", e.next, 0, r.Tag)
}
func (e *script) Tick(time.Time) []ikev2.Action { return e.on("tick", 0, 0, nil) }
func (e *script) Deadline() (time.Time, bool)   { return time.Time{}, false }
func (e *script) CreateChild(_ time.Time, id ikev2.SAID, _ string, tag any) []ikev2.Action {
	return e.on("create", id, 0, tag)
}
func (e *script) RekeyIKE(_ time.Time, id ikev2.SAID) []ikev2.Action {
	return e.on("rekey-ike", id, 0, nil)
}
func (e *script) RekeyChild(_ time.Time, id ikev2.ChildID) []ikev2.Action {
	return e.on("rekey-child", 0, id, nil)
}
func (e *script) DeleteIKE(_ time.Time, id ikev2.SAID, _ string) []ikev2.Action {
	return e.on("delete-ike", id, 0, nil)
}
func (e *script) DeleteChild(_ time.Time, id ikev2.ChildID, _ string) []ikev2.Action {
	return e.on("delete-child", 0, id, nil)
}
func (e *script) DeleteAll(time.Time, string) []ikev2.Action                   { return e.on("delete-all", 0, 0, nil) }
func (e *script) Probe(_ time.Time, id ikev2.SAID) []ikev2.Action              { return e.on("probe", id, 0, nil) }
func (e *script) NoteTraffic(time.Time, ikev2.SAID, bool, bool) []ikev2.Action { return nil }
func (e *script) NoteMoved(_ time.Time, id ikev2.SAID, _ netip.AddrPort) []ikev2.Action {
	return e.on("moved", id, 0, nil)
}
func (e *script) UnknownSPI(time.Time, string, netip.Addr, netip.Addr, uint32) []ikev2.Action {
	return e.on("unknown-spi", 0, 0, nil)
}
func (e *script) SendConfiguration(_ time.Time, id ikev2.SAID, _ ikev2.Configuration) []ikev2.Action {
	return e.on("configure", id, 0, nil)
}
func (e *script) Reauthorize(time.Time) []ikev2.Action { return e.on("reauthorize", 0, 0, nil) }
func (e *script) DropSA(id ikev2.SAID)                 { e.dropped = append(e.dropped, id) }
func (e *script) Snapshot(time.Time) []ikev2.SAInfo    { return e.sas }

// stage is a Manager over a scripted engine and a data plane without wires.
type stage struct {
	t      testing.TB
	clock  *clock.Virtual
	loop   *loop.Loop
	dp     *netstack.Dataplane
	engine *script
	m      *Manager
	tun    [2]*netstack.Tunnel
	events []Event
}

var (
	us   = netip.MustParseAddr("172.16.0.1")
	them = netip.MustParseAddr("172.16.0.2")
)

func newStage(t testing.TB, policies [2]string) *stage {
	s := &stage{t: t, clock: clock.NewVirtual(time.Unix(1e9, 0)), engine: &script{}}
	s.loop = loop.New(s.clock, zerolog.Nop())
	s.dp = netstack.New(netstack.Options{Clock: s.clock})
	t.Cleanup(func() { s.dp.Close(); s.loop.Close() })
	vrf, _ := s.dp.VRF("default")
	var err error
	s.m, err = New(Options{Loop: s.loop, Dataplane: s.dp, Engine: s.engine, Log: zerolog.Nop(), Events: func(e Event) { s.events = append(s.events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"Tunnel0", "Tunnel1"} {
		s.tun[i], err = s.dp.AddTunnel(netstack.TunnelConfig{Name: name, VRF: vrf, Underlay: vrf, Mode: netstack.GREMultipoint, Source: us,
			Key: uint32(i + 1), HasKey: true, Protected: true})
		if err != nil {
			t.Fatal(err)
		}
		s.do(func() {
			err = s.m.AddTunnel(s.tun[i], TunnelProtection{IKEProfile: "PROF", ChildPolicy: policies[i], Local: us, IdleTime: time.Minute})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *stage) do(f func()) error { return s.loop.Call("test", f) }

func (s *stage) pass(d time.Duration) {
	s.clock.Advance(d)
	_ = s.do(func() {})
}

func childUp(id ikev2.ChildID, sa ikev2.SAID, policy string, tag any) ikev2.ChildUp {
	return ikev2.ChildUp{
		Child: id, SA: sa, Policy: policy, Tag: tag, Profile: "PROF", Peer: ikev2.AddressIdentity(them), VRF: "default",
		Local: netip.AddrPortFrom(us, 500), Remote: netip.AddrPortFrom(them, 500), Mode: esp.Transport, Suite: esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256},
		SPIIn: 0x1000 + uint32(id), SPIOut: 0x2000 + uint32(id),
		KeysIn: ikev2.ChildKey{Encr: make([]byte, 36)}, KeysOut: ikev2.ChildKey{Encr: make([]byte, 36)}, OutboundReady: true,
	}
}

func ikeUp(sa ikev2.SAID, tag any) ikev2.IKEUp {
	return ikev2.IKEUp{SA: sa, Tag: tag, Initiator: tag != nil, VRF: "default", Local: netip.AddrPortFrom(us, 500), Remote: netip.AddrPortFrom(them, 500),
		Profile: "PROF", PeerID: ikev2.AddressIdentity(them)}
}

// check holds for every state that is reached.
func (s *stage) check(t testing.TB) {
	t.Helper()
	_ = s.do(func() {
		m := s.m
		installed := map[uint32]bool{}
		for _, tun := range m.ordered() {
			for _, x := range tun.ordered() {
				out := x.net.Outbound()
				if p := x.live(); (p == nil) != (out == nil) || p != nil && p.out != out {
					t.Errorf("%s: the data plane does not send on what the session says", tun.name)
				}
				if x.tx != nil && m.pairs[x.tx.up.Child] != x.tx {
					t.Errorf("%s: sends on a pair that is gone", tun.name)
				}
				if x.closed || m.byNet[x.net] != x || x.told != (x.live() != nil && (x.told || x.live().ready)) {
					t.Errorf("%s: closed %v, told %v", tun.name, x.closed, x.told)
				}
				for _, p := range x.pairs {
					installed[p.up.SPIIn] = true
					if p.s != x || m.pairs[p.up.Child] != p {
						t.Errorf("%s: a pair is on two lists", tun.name)
					}
				}
				if x.tx == nil && len(x.pairs) > 0 {
					t.Errorf("%s: has a pair and does not send", tun.name)
				}
			}
		}
		if len(installed) != len(m.pairs) || len(m.bySPI) != len(m.pairs) || len(m.linger) != len(m.lingering) {
			t.Errorf("%d installed, %d pairs, %d SPIs", len(installed), len(m.pairs), len(m.bySPI))
		}
		for v := uint32(0x1000); v < 0x1100; v++ {
			_, _, has := s.dp.Inbound(v)
			if want := installed[v] || m.lingering[v] != nil; has != want {
				t.Errorf("SPI %#x: installed %v, should be %v", v, has, want)
			}
		}
		if m.busy || len(m.queue)+len(m.dirty)+len(m.events) != 0 {
			t.Error("work is left")
		}
	})
}

// FuzzManager feeds sequences of an engine's actions and of callers' wishes, sensible or not.
func FuzzManager(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 3, 0, 5, 0, 4, 0, 2, 0})
	f.Add([]byte{0, 0, 1, 0, 3, 0, 3, 1, 6, 0, 5, 0, 9, 0, 9, 9})
	f.Add([]byte{0, 0, 0, 1, 1, 0, 3, 0, 1, 1, 3, 1, 7, 0, 2, 0, 8, 8, 10, 0})
	f.Add([]byte{3, 4, 3, 5, 11, 0, 4, 4, 12, 1, 9, 99, 13, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		policies := [2]string{"Tunnel0", "Tunnel1"}
		if len(data) > 0 && data[0]&0x80 != 0 {
			policies[1] = policies[0]
		}
		s := newStage(t, policies)
		s.engine.next = 100
		children := map[ikev2.ChildID]bool{}
		for i := 0; i+1 < len(data); i += 2 {
			op, arg := data[i]&0x7f, data[i+1]
			sa, child := ikev2.SAID(arg%4+1), ikev2.ChildID(arg%32+1)
			if arg&0x20 != 0 && sa+100 <= s.engine.next {
				sa += 100 // one that we began
			}
			policy := policies[arg%2]
			var tag any
			var acts []ikev2.Action
			_ = s.do(func() {
				var any1 *session
				for _, tn := range s.m.ordered() {
					for _, x := range tn.ordered() {
						any1 = x
					}
				}
				if arg&0x40 != 0 && any1 != nil {
					tag = any1
				}
				switch op % 15 {
				case 0:
					s.m.Open(s.tun[arg%2], them)
				case 1:
					acts = []ikev2.Action{ikeUp(sa, tag)}
				case 2:
					acts = []ikev2.Action{ikev2.IKEDown{SA: sa, Tag: tag, Established: arg&1 != 0, Err: []error{ikev2.ErrTimeout, ikev2.ErrAuthentication, ikev2.ErrSuperseded}[arg%3]}}
				case 3, 4:
					if children[child] {
						return
					}
					children[child] = true
					up := childUp(child, sa, policy, tag)
					up.OutboundReady = op%15 == 3
					if arg&0x80 != 0 {
						up.Replaces = child - 1
					}
					acts = []ikev2.Action{up}
				case 5:
					acts = []ikev2.Action{ikev2.ChildRekeyed{Old: child - 1, New: child}}
				case 6:
					delete(children, child)
					acts = []ikev2.Action{ikev2.ChildDown{Child: child, SA: sa, Linger: time.Duration(arg&3) * time.Second}}
				case 7:
					acts = []ikev2.Action{ikev2.IKESuperseded{Old: sa, New: sa ^ 1}}
				case 8:
					acts = []ikev2.Action{ikev2.PeerMoved{SA: sa, New: netip.AddrPortFrom(them, uint16(arg)+1)}}
				case 9:
					return
				case 10:
					if any1 != nil {
						s.m.Close(any1.net, "fuzz")
					}
				case 11:
					acts = []ikev2.Action{ikev2.ChildFailed{SA: sa, Tag: tag, Err: ikev2.ErrNoProposal}}
				case 12:
					if any1 != nil {
						s.m.noSA(any1.net)
					}
				case 13:
					s.m.SetLocal(s.tun[arg%2], us)
					s.m.contain(sa)
				case 14:
					if any1 != nil {
						s.m.Reset(any1.net, "clear")
					}
				}
			})
			if acts != nil {
				if err := s.do(func() { s.m.run(acts) }); err != nil {
					t.Fatalf("op %d %d: %v", op, arg, err)
				}
			}
			if op%15 == 9 {
				s.pass(time.Duration(arg) * time.Second)
			}
			s.check(t)
			if t.Failed() {
				t.Fatalf("after op %d (%d) of %v", i, op%15, data)
			}
		}
	})
}

func TestAPanicCostsTheSAWhoseMessageCausedIt(t *testing.T) {
	s := newStage(t, [2]string{"Tunnel0", "Tunnel1"})
	_ = s.do(func() {
		s.m.run([]ikev2.Action{ikeUp(1, nil), childUp(1, 1, "Tunnel0", nil), ikeUp(2, nil), childUp(2, 2, "Tunnel1", nil)})
	})
	s.engine.sas = []ikev2.SAInfo{{ID: 1, SPIi: 0x0101010101010101}, {ID: 2, SPIi: 0x0202020202020202}}
	s.engine.reply = func(call string, _ ikev2.SAID, _ ikev2.ChildID, _ any) []ikev2.Action {
		if call == "receive" {
			panic("a bad message")
		}
		return nil
	}
	msg := make([]byte, 28)
	for i := range 8 {
		msg[i] = 2
	}
	err := s.do(func() { s.m.datagram("default", netip.AddrPortFrom(us, 500), netip.AddrPortFrom(them, 500), msg) })
	_ = s.do(func() {})
	if !errors.Is(err, loop.ErrPanicked) || s.loop.Panics() != 1 {
		t.Fatalf("%v", err)
	}
	s.check(t)
	var up []string
	_ = s.do(func() {
		for _, i := range s.m.Sessions() {
			if i.State == StateUp {
				up = append(up, i.Tunnel)
			}
		}
	})
	if len(up) != 1 || up[0] != "Tunnel0" || len(s.engine.dropped) != 1 || s.engine.dropped[0] != 2 || s.m.counters.Contained != 1 {
		t.Errorf("up %v, dropped %v", up, s.engine.dropped)
	}
	if last := s.events[len(s.events)-1]; last.Kind != Down || last.IKE != 2 {
		t.Errorf("%+v", last)
	}
}

func TestTunnelsWithOnePolicyShareItsSAs(t *testing.T) {
	s := newStage(t, [2]string{"SHARED", "SHARED"})
	var a, b *netstack.Session
	_ = s.do(func() {
		a = s.m.Open(s.tun[0], them)
		s.m.run([]ikev2.Action{ikeUp(1, s.m.byNet[a]), childUp(1, 1, "SHARED", s.m.byNet[a])})
		b = s.m.Open(s.tun[1], them)
	})
	s.check(t)
	if a.Outbound() == nil || a.Outbound() != b.Outbound() {
		t.Fatal("the second tunnel does not send on the first one's SA")
	}
	if len(s.events) != 2 || s.events[1].Kind != Up || s.events[1].Session != b {
		t.Errorf("%+v", s.events)
	}
	_ = s.do(func() {
		up := childUp(2, 1, "SHARED", nil)
		up.Replaces = 1
		s.m.run([]ikev2.Action{up, ikev2.ChildRekeyed{Old: 1, New: 2}, ikev2.ChildDown{Child: 1, SA: 1, ReplacedBy: 2, Linger: time.Second}})
	})
	s.check(t)
	if b.Outbound() == nil || b.Outbound().SPI() != 0x2002 {
		t.Error("the second tunnel did not follow the rekey")
	}
	n := len(s.engine.calls)
	_ = s.do(func() { s.m.Close(a, "closed") })
	s.check(t)
	again := false
	for _, c := range s.engine.calls[n:] {
		again = again || c == "initiate" || c == "create"
	}
	if !again {
		t.Error("the second tunnel does not negotiate when the first one's SA goes")
	}
}
