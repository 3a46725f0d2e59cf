package flexvpn

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/loop"
	"felloe/routing/rib"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// script is an IKEv2 machine that does nothing by itself: the tests say what happens. What it is asked to delete goes.
type script struct {
	children map[ikev2.ChildID]ikev2.SAID
	deleted  []string
	called   []ikev2.InitiateRequest
	next     []ikev2.Action // what the next call brings
}

func (e *script) Receive(time.Time, ikev2.Datagram) []ikev2.Action { return nil }
func (e *script) Initiate(_ time.Time, r ikev2.InitiateRequest) (ikev2.SAID, []ikev2.Action) {
	e.called = append(e.called, r)
	return ikev2.SAID(1000 + len(e.called)), nil
}
func (e *script) Tick(time.Time) []ikev2.Action { return nil }
func (e *script) Deadline() (time.Time, bool)   { return time.Time{}, false }
func (e *script) CreateChild(time.Time, ikev2.SAID, string, any) []ikev2.Action {
	return nil
}
func (e *script) RekeyIKE(time.Time, ikev2.SAID) []ikev2.Action      { return nil }
func (e *script) RekeyChild(time.Time, ikev2.ChildID) []ikev2.Action { return nil }
func (e *script) DeleteIKE(_ time.Time, id ikev2.SAID, reason string) (out []ikev2.Action) {
	e.deleted = append(e.deleted, fmt.Sprintf("ike %d: %s", id, reason))
	return e.down(id)
}
func (e *script) down(id ikev2.SAID) (out []ikev2.Action) {
	var mine []ikev2.ChildID
	for c, sa := range e.children {
		if sa == id {
			mine = append(mine, c)
		}
	}
	slices.Sort(mine)
	for _, c := range mine {
		delete(e.children, c)
		out = append(out, ikev2.ChildDown{Child: c, SA: id})
	}
	return append(out, ikev2.IKEDown{SA: id, Established: true, Err: ikev2.ErrLocal})
}
func (e *script) DeleteChild(_ time.Time, id ikev2.ChildID, reason string) []ikev2.Action {
	e.deleted = append(e.deleted, fmt.Sprintf("child %d: %s", id, reason))
	sa := e.children[id]
	delete(e.children, id)
	return []ikev2.Action{ikev2.ChildDown{Child: id, SA: sa}}
}
func (e *script) DeleteAll(time.Time, string) []ikev2.Action                   { return nil }
func (e *script) Probe(time.Time, ikev2.SAID) []ikev2.Action                   { return nil }
func (e *script) NoteTraffic(time.Time, ikev2.SAID, bool, bool) []ikev2.Action { return nil }
func (e *script) NoteMoved(time.Time, ikev2.SAID, netip.AddrPort) []ikev2.Action {
	return nil
}
func (e *script) UnknownSPI(time.Time, string, netip.Addr, netip.Addr, uint32) []ikev2.Action {
	return nil
}
func (e *script) SendConfiguration(time.Time, ikev2.SAID, ikev2.Configuration) []ikev2.Action {
	acts := e.next
	e.next = nil
	return acts
}
func (e *script) Reauthorize(time.Time) []ikev2.Action { return nil }
func (e *script) DropSA(ikev2.SAID)                    {}
func (e *script) Snapshot(time.Time) []ikev2.SAInfo    { return nil }

// stage is a Manager over tunnel protection with a scripted engine, a data plane without wires, and routing tables.
type stage struct {
	t      testing.TB
	clock  *clock.Virtual
	loop   *loop.Loop
	dp     *netstack.Dataplane
	engine *script
	p      *protect.Manager
	m      *Manager
	ribs   map[string]*rib.RIB
	log    bytes.Buffer
	tmpl   Template
	events []protect.Event
	out    io.Writer // instead of log
	// forgetful: events are not kept.
	forgetful bool
}

var server = netip.MustParseAddr("10.88.247.84")

func newStage(t testing.TB) *stage {
	s := &stage{t: t, clock: clock.NewVirtual(time.Unix(1e9, 0)), engine: &script{children: map[ikev2.ChildID]ikev2.SAID{}}, ribs: map[string]*rib.RIB{}}
	log := zerolog.New(s)
	s.loop = loop.New(s.clock, log)
	s.dp = netstack.New(netstack.Options{Clock: s.clock})
	t.Cleanup(func() { s.dp.Close(); s.loop.Close() })
	for _, name := range []string{"default", "private", "public"} {
		v, ok := s.dp.VRF(name)
		if !ok {
			v, _ = s.dp.AddVRF(name)
		}
		s.ribs[name] = rib.New(rib.Options{VRF: name, Output: func(c []fib.Change) { v.Program(c) }, Defer: func(f func()) { s.loop.Post("rib", f) }})
		lo, err := s.dp.AddLoopback("Loopback-"+name, v)
		if err != nil {
			t.Fatal(err)
		}
		lo.SetAddresses([]netip.Prefix{netip.MustParsePrefix("166.34.121.112/32")})
	}
	var err error
	s.p, err = protect.New(protect.Options{Loop: s.loop, Dataplane: s.dp, Engine: s.engine, Log: log,
		Events: func(e protect.Event) {
			if !s.forgetful {
				s.events = append(s.events, e)
			}
			s.m.HandleEvent(e)
		},
		Exchanged: func(a ikev2.Action) { s.m.Exchanged(a) }})
	if err != nil {
		t.Fatal(err)
	}
	s.m, err = New(Options{Loop: s.loop, Dataplane: s.dp, Protection: s.p, Log: log, Routes: func(vrf string) Routes {
		if r := s.ribs[vrf]; r != nil {
			return r
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.tmpl = Template{Name: "Virtual-Template1", VRF: "private", Underlay: "public",
		ChildPolicies: map[string]netstack.TunnelMode{"Virtual-Template1 ipsec": netstack.VTI, "Virtual-Template1 gre": netstack.GREPointToPoint},
		Protection:    "keys", Settings: Settings{Unnumbered: "Loopback-private", IPMTU: 1400, AdjustMSS: 1360}}
	return s
}

func (s *stage) Write(p []byte) (int, error) {
	if s.out != nil {
		return s.out.Write(p)
	}
	return s.log.Write(p)
}

func (s *stage) do(f func()) {
	s.t.Helper()
	if err := s.loop.Call("test", f); err != nil {
		s.t.Fatalf("%v\n%s", err, s.log.String())
	}
	_ = s.loop.Call("settle", func() {}) // what was posted meanwhile
}

func (s *stage) set(t Template) {
	s.t.Helper()
	s.do(func() {
		if err := s.m.SetTemplate(t); err != nil {
			s.t.Fatal(err)
		}
	})
}

// happen has tunnel protection carry out what an engine would say.
func (s *stage) happen(acts ...ikev2.Action) {
	s.t.Helper()
	s.do(func() {
		s.engine.next = acts
		s.p.SendConfiguration(0, ikev2.Configuration{})
	})
}

func peerAt(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, byte(247 + n>>8), byte(n)}) }

func ikeUp(sa ikev2.SAID, n int, assigned ikev2.Configuration) ikev2.IKEUp {
	return ikev2.IKEUp{SA: sa, VRF: "public", Local: netip.AddrPortFrom(server, 4500), Remote: netip.AddrPortFrom(peerAt(n), 4500), Profile: "PROF",
		PeerID: ikev2.FQDNIdentity(fmt.Sprintf("peer%d.example", n)), Assigned: assigned}
}

func selector(from, to string) ikev2.TrafficSelector {
	return ikev2.TrafficSelector{EndPort: 65535, Start: netip.MustParseAddr(from), End: netip.MustParseAddr(to)}
}

var everything = selector("0.0.0.0", "255.255.255.255")

// childUp is a peer's child with an IPsec policy and its side of the selectors.
func (s *stage) childUp(child ikev2.ChildID, sa ikev2.SAID, n int, remote ...ikev2.TrafficSelector) ikev2.ChildUp {
	s.engine.children[child] = sa
	return ikev2.ChildUp{Child: child, SA: sa, Policy: "Virtual-Template1 ipsec", Profile: "PROF", Peer: ikev2.FQDNIdentity(fmt.Sprintf("peer%d.example", n)), VRF: "public",
		Local: netip.AddrPortFrom(server, 4500), Remote: netip.AddrPortFrom(peerAt(n), 4500), Mode: esp.Tunnel, Suite: esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256},
		SPIIn: 0x10000 + uint32(child), SPIOut: 0x20000000 + uint32(child), KeysIn: ikev2.ChildKey{Encr: make([]byte, 36)}, KeysOut: ikev2.ChildKey{Encr: make([]byte, 36)},
		TSLocal: []ikev2.TrafficSelector{everything}, TSRemote: remote, OutboundReady: true}
}

func (s *stage) childDown(child ikev2.ChildID) ikev2.ChildDown {
	sa := s.engine.children[child]
	delete(s.engine.children, child)
	return ikev2.ChildDown{Child: child, SA: sa, Reason: "peer"}
}

// accesses are the interfaces, and routes those of the inner VRF through them, in words.
func (s *stage) accesses() (out []string) {
	s.do(func() {
		for _, a := range s.m.List() {
			out = append(out, a.Name)
		}
	})
	return out
}

func (s *stage) routes(vrf string) (out []string) {
	s.t.Helper()
	s.do(func() {
		for _, r := range s.ribs[vrf].Routes() {
			if r.Source == rib.IKE {
				out = append(out, fmt.Sprintf("%s %s [%d] tag %d", r.Prefix, r.Hops[0].Interface, r.Distance, r.Tag))
			}
		}
	})
	return out
}

func (s *stage) want(what string, got, want []string) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Fatalf("%s:\n%q, want\n%q", what, got, want)
	}
}
