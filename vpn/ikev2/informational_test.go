package ikev2

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

func dpd(interval, retry time.Duration, onDemand bool) func(*Config) {
	return func(c *Config) { c.Profiles[0].DPD = DPD{interval, retry, onDemand} }
}

// sentAfter are the times of a node's datagrams since from.
func sendTimes(w *world, n *node, run time.Duration) []float64 {
	var out []float64
	w.wire = func(_ int, d Datagram) []time.Duration {
		if d.Remote.Addr() == n.addr {
			out = append(out, w.now.Sub(w.start).Seconds())
		}
		return []time.Duration{w.delay}
	}
	w.run(run)
	return out
}

func TestPeriodicDPDAsksASilentPeerAndGivesItUp(t *testing.T) {
	w, a, b := connected(t, 1, dpd(30*time.Second, 5*time.Second, false))
	w.run(5 * time.Minute)
	w.oneSession(a, b)
	b.dead = true
	w.run(2 * time.Minute)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrDead) {
		w.fatalf("%+v", a.downs)
	}
	w.clean(a)
}

func TestPeriodicDPDIsQuietWhilePacketsComeIn(t *testing.T) {
	w, a, _ := connected(t, 1, dpd(30*time.Second, 5*time.Second, false))
	for range 100 {
		w.run(time.Second)
		a.do(a.e.NoteTraffic(w.now, a.sa(), true, true))
	}
	if n := a.e.Snapshot(w.now)[0].SendMessageID; n != 2 {
		t.Errorf("%d probes", n-2)
	}
}

func TestOnDemandDPDAsksOnlyWhenTrafficWaits(t *testing.T) {
	w, a, b := connected(t, 1, dpd(30*time.Second, 5*time.Second, true))
	b.dead = true
	if times := sendTimes(w, a, time.Hour/2); len(times) != 0 {
		t.Fatalf("probes without traffic: %v", times)
	}
	// Something to send before the 30 s are over, and nothing after it: no probe.
	begin := w.now
	a.do(a.e.NoteTraffic(w.now, a.sa(), true, false))
	w.run(10 * time.Second)
	a.do(a.e.NoteTraffic(w.now, a.sa(), false, true))
	if times := sendTimes(w, a, 20*time.Second-time.Millisecond); len(times) != 0 {
		t.Fatalf("probes without traffic: %v", times)
	}
	// Traffic to send, and nothing heard for 30 s: a probe, again every 5 s, dead after 5 unanswered.
	w.run(time.Millisecond)
	var times []float64
	w.wire = func(int, Datagram) []time.Duration {
		times = append(times, w.now.Sub(w.start).Seconds())
		return nil
	}
	for range 60 {
		if len(a.ikes) > 0 {
			a.do(a.e.NoteTraffic(w.now, a.sa(), false, true))
		}
		w.run(time.Second)
	}
	if len(times) != DPDTries {
		t.Fatalf("%d probes", len(times))
	}
	for i, at := range times {
		if want := begin.Sub(w.start).Seconds() + 30 + 5*float64(i); at != want {
			t.Errorf("probe %d at %v, not %v", i, at, want)
		}
	}
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrDead) || len(a.ups) != 0 {
		t.Errorf("%+v", a.downs)
	}
	if !a.logged("peer does not answer[{event dpd} {state suspect}") || !a.logged("dead peer: 5 times INFORMATIONAL unanswered, nothing heard for 55s") {
		w.fatalf("not said")
	}
}

func TestOnDemandDPDAsksAtTheFirstPacketAfterAQuietNight(t *testing.T) {
	w, a, b := connected(t, 1, dpd(30*time.Second, 5*time.Second, true), func(c *Config) { c.Children[0].Lifetime = 24 * time.Hour })
	w.run(3 * time.Hour)
	b.dead = true
	w.run(3 * time.Hour)
	if len(a.ikes) != 1 {
		w.fatalf("asked without traffic")
	}
	begin := w.now
	for len(a.ikes) > 0 {
		a.do(a.e.NoteTraffic(w.now, a.sa(), false, true))
		w.run(time.Second)
	}
	if took := w.now.Sub(begin); took < 25*time.Second || took > 26*time.Second {
		t.Errorf("found dead after %v", took)
	}
}

func TestARequestThatIsUnderWayIsTheProbe(t *testing.T) {
	for _, onDemand := range []bool{false, true} {
		w, a, b := connected(t, 1, dpd(30*time.Second, 5*time.Second, onDemand))
		w.run(time.Second)
		a.do(a.e.NoteTraffic(w.now, a.sa(), true, true))
		begin := w.now
		b.dead = true
		w.run(20 * time.Second)
		a.do(a.e.RekeyChild(w.now, a.anyChild()))
		for len(a.ikes) > 0 && w.now.Sub(begin) < 2*time.Minute {
			a.do(a.e.NoteTraffic(w.now, a.sa(), false, true))
			w.run(time.Second)
		}
		if took := w.now.Sub(begin); took > 56*time.Second {
			t.Errorf("on demand %v: found dead after %v", onDemand, took)
		}
		if !errors.Is(a.downs[0].Err, ErrDead) {
			t.Errorf("%+v", a.downs)
		}
	}
}

func TestAPeerThatOnlySendsNeedsNoProbe(t *testing.T) {
	w, a, _ := connected(t, 1, dpd(10*time.Second, 2*time.Second, true))
	before := len(find[Send](a))
	for range 100 {
		w.run(time.Second)
		a.do(a.e.NoteTraffic(w.now, a.sa(), true, false))
	}
	if n := len(find[Send](a)) - before; n != 0 {
		t.Errorf("%d probes", n)
	}
}

func TestOnDemandDPDStopsWhenThePeerIsHeard(t *testing.T) {
	w, a, b := connected(t, 1, dpd(30*time.Second, 5*time.Second, true))
	before := len(find[Send](a))
	for range 70 {
		w.run(time.Second)
		a.do(a.e.NoteTraffic(w.now, a.sa(), false, true))
	}
	if n := len(find[Send](a)) - before; n != 2 {
		t.Errorf("%d probes in a minute and a bit of one-way traffic with a living peer", n)
	}
	w.oneSession(a, b)
}

func TestRequestsAreRepeatedWithBackOff(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(func(c *Config) { c.Retransmit = Retransmit{Base: time.Second, Max: 5 * time.Second, Tries: 6} }))
	a.do(func() []Action {
		_, acts := a.e.Initiate(w.now, InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"})
		return acts
	}())
	times := sendTimes(w, a, time.Minute)
	want := []float64{1, 3, 7, 12, 17}
	if len(times) != len(want) {
		t.Fatalf("%v", times)
	}
	for i := range want {
		if times[i] != want[i] {
			t.Errorf("%v, not %v", times, want)
		}
	}
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrTimeout) || a.downs[0].Established {
		t.Errorf("%+v", a.downs)
	}
	w.clean(a)
}

func TestBothSidesDeletingAtOnceIsClean(t *testing.T) {
	w, a, b := connected(t, 1)
	a.do(a.e.DeleteIKE(w.now, a.sa(), "x"))
	b.do(b.e.DeleteIKE(w.now, b.sa(), "y"))
	w.run(time.Minute)
	w.clean(a)
	w.clean(b)
	w, a, b = connected(t, 2)
	a.do(a.e.DeleteChild(w.now, a.child().Child, "x"))
	b.do(b.e.DeleteChild(w.now, b.child().Child, "y"))
	w.run(time.Second)
	if len(a.ups)+len(b.ups) != 0 || len(a.e.spis)+len(b.e.spis) != 0 {
		t.Error("a child stays")
	}
}

func TestDeletingAChildTellsThePeerAndKeepsTheIKESA(t *testing.T) {
	w, a, b := connected(t, 1)
	a.do(a.e.DeleteChild(w.now, a.child().Child, "idle"))
	if d := find[ChildDown](a); len(d) != 1 || d[0].Reason != "idle" {
		t.Errorf("%+v", d)
	}
	w.run(time.Second)
	if len(b.ups) != 0 || len(a.ikes) != 1 || len(b.ikes) != 1 {
		t.Error("B was not told, or the IKE SA is gone")
	}
	a.do(a.e.CreateChild(w.now, a.sa(), "Tunnel0", "again"))
	w.run(time.Second)
	w.oneSession(a, b)
	if a.child().Tag != "again" || a.child().PFS != 0 {
		t.Errorf("%+v", a.child())
	}
}

func TestDeleteAllTellsEveryPeer(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add("A", addrA, config()), w.add("B", addrB, config()), w.add("C", addrC, config())
	a.initiate(addrB)
	a.initiate(addrC)
	w.run(time.Second)
	a.do(a.e.DeleteAll(w.now, "power-off"))
	w.run(time.Minute)
	for _, n := range w.nodes {
		w.clean(n)
	}
	if len(b.downs) != 1 || len(c.downs) != 1 {
		t.Error("not told")
	}
}

func TestClosingDuringTheNegotiationLeavesNothing(t *testing.T) {
	for at := range 6 {
		w, a, b := pair(t, 1)
		id := a.initiate(addrB)
		w.run(time.Duration(at) * 9 * time.Millisecond)
		a.do(a.e.DeleteIKE(w.now, id, "changed my mind"))
		if len(a.downs) != 1 {
			t.Fatalf("%d", len(a.downs))
		}
		w.run(2 * time.Minute)
		w.clean(a)
		w.clean(b)
	}
}

func TestAnUnknownESPSPIIsToldInsideTheSA(t *testing.T) {
	w, a, b := connected(t, 1)
	w.run(time.Minute)
	u := a.child()
	// B lost the pair (only in its data plane's eyes, here: the machine's too).
	for _, c := range b.e.children {
		c.free()
	}
	b.ups = map[ChildID]ChildUp{}
	b.do(b.e.UnknownSPI(w.now, "", addrB, addrA, u.SPIOut))
	w.run(time.Second)
	if d := find[ChildDown](a); len(d) != 1 || d[0].Reason != "peer does not know its SPI" {
		w.fatalf("%+v", d)
	}
	// A pair that B has, after all, is not a reason to say anything.
	w, a, b = connected(t, 1)
	n := w.sent
	b.do(b.e.UnknownSPI(w.now, "", addrB, addrA, a.child().SPIOut))
	w.run(time.Second)
	if w.sent != n {
		t.Error("said so although the SPI is known")
	}
}

func TestAPeerThatLostEverythingIsFoundOutByItsHints(t *testing.T) {
	w, a, b := connected(t, 1)
	w.run(time.Minute)
	u := a.child()
	b.boot()
	b.do(b.e.UnknownSPI(w.now, "", addrB, addrA, u.SPIOut))
	w.run(20 * time.Second)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrDead) {
		w.fatalf("A still believes in the SA")
	}
	if b.e.Counters().UnknownSPI == 0 {
		t.Error("not counted")
	}
}

func TestAForgedHintCostsAProbeAndNothingElse(t *testing.T) {
	w, a, b := connected(t, 1)
	w.run(time.Minute)
	u := a.child()
	n := w.sent
	m := message.Message{Header: message.Header{Major: 2, Exchange: message.INFORMATIONAL, Flags: message.FlagInitiator},
		Payloads: []message.Payload{&message.Notify{Message: message.INVALID_SPI, Data: be32(u.SPIOut)}}}
	for range 50 {
		a.do(a.e.Receive(w.now, Datagram{Local: u.Local, Remote: u.Remote, Data: m.Encode()}))
	}
	w.run(5 * time.Second)
	if w.sent != n+2 {
		t.Errorf("%d messages", w.sent-n)
	}
	w.oneSession(a, b)
}

func TestUnprotectedMessagesNeverChangeAnEstablishedSA(t *testing.T) {
	w, a, b := connected(t, 1)
	s := a.e.sessions[a.sa()]
	before := a.e.Snapshot(w.now)[0]
	for _, x := range []message.ExchangeType{message.IKE_SA_INIT, message.IKE_AUTH, message.CREATE_CHILD_SA, message.INFORMATIONAL, 99} {
		for _, flags := range []message.Flags{0, message.FlagResponse, message.FlagInitiator, message.FlagInitiator | message.FlagResponse} {
			for id := range uint32(4) {
				for _, p := range []message.Payload{&message.Delete{Protocol: message.ProtoIKE}, &message.Notify{Message: message.AUTHENTICATION_FAILED},
					&message.Notify{Message: message.INVALID_IKE_SPI}, &message.Notify{Message: message.INVALID_SYNTAX}, &message.Notify{Message: message.COOKIE, Data: []byte("x")}} {
					m := message.Message{Header: message.Header{SPIi: s.cur.spiI, SPIr: s.cur.spiR, Major: 2, Exchange: x, Flags: flags, MessageID: id}, Payloads: []message.Payload{p}}
					a.do(a.e.Receive(w.now, Datagram{Local: s.local, Remote: s.remote, Data: m.Encode()}))
				}
			}
		}
	}
	after := a.e.Snapshot(w.now)[0]
	if before.RecvMessageID != after.RecvMessageID || before.SendMessageID != after.SendMessageID || !before.LastHeard.Equal(after.LastHeard) {
		t.Errorf("%+v\n%+v", before, after)
	}
	w.run(time.Second)
	w.oneSession(a, b)
}

func TestEveryBitOfAProtectedMessageCounts(t *testing.T) {
	w, a, b := connected(t, 1)
	s := a.e.sessions[a.sa()]
	data := s.cur.seal(message.INFORMATIONAL, s.cur.sendID, false, []message.Payload{&message.Delete{Protocol: message.ProtoIKE}})[0]
	sa := b.e.sessions[b.sa()]
	for i := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		b.do(b.e.Receive(w.now, Datagram{Local: sa.local, Remote: sa.remote, Data: bad}))
		if len(b.ikes) != 1 || sa.cur.recvID != 2 {
			t.Fatalf("bit %d of byte %d does not count", i%8, i/8)
		}
	}
	if b.e.Counters().DecryptFailed == 0 {
		t.Error("not counted")
	}
	b.do(b.e.Receive(w.now, Datagram{Local: sa.local, Remote: sa.remote, Data: data}))
	if len(b.ikes) != 0 {
		t.Error("the true one was not believed")
	}
}

func TestReplayedMessagesChangeNothing(t *testing.T) {
	w, a, b := pair(t, 1)
	var seen []Datagram
	w.mangle = func(_ int, d *Datagram) {
		seen = append(seen, Datagram{d.VRF, d.Local, d.Remote, bytes.Clone(d.Data)})
	}
	aLife(w, a, b)
	w.traffic = 0
	w.mangle = nil
	childA, childB, ups := a.child(), b.child(), len(find[ChildUp](a))+len(find[ChildUp](b))
	idA, idB := a.e.sessions[a.sa()].cur.recvID, b.e.sessions[b.sa()].cur.recvID
	for range 2 {
		for _, d := range seen {
			w.deliver(d)
		}
		w.run(time.Second)
	}
	if a.child().Child != childA.Child || b.child().Child != childB.Child || len(find[ChildUp](a))+len(find[ChildUp](b)) != ups ||
		a.e.sessions[a.sa()].cur.recvID != idA || b.e.sessions[b.sa()].cur.recvID != idB {
		w.fatalf("a replay changed something")
	}
	w.run(2 * time.Minute) // half-open ones of the replayed first messages
	w.settled(a, b, "replay")
}

// ask sends a request of a's with these payloads and returns what b answers.
func (w *world) ask(a, b *node, x message.ExchangeType, payloads ...message.Payload) *parts {
	w.t.Helper()
	sa := a.e.sessions[a.sa()].cur
	var got *parts
	sa.e.begin(w.now)
	sa.request(catch{&got, x}, x, sa.seal(x, sa.sendID, false, payloads))
	a.do(sa.e.finish())
	w.run(100 * time.Millisecond)
	return got
}

type catch struct {
	p **parts
	x message.ExchangeType
}

func (c catch) exchange() message.ExchangeType       { return c.x }
func (catch) begin(*ikeSA) ([]message.Payload, bool) { return nil, false }
func (catch) movable() bool                          { return false }
func (c catch) done(_ *ikeSA, p *parts)              { *c.p = p }

func TestUnknownPayloadsAreIgnoredUnlessCritical(t *testing.T) {
	w, a, b := connected(t, 1)
	if p := w.ask(a, b, message.INFORMATIONAL, &message.Unknown{PayloadType: 200, Data: []byte("x")}, &message.VendorID{Data: []byte("v")},
		&message.Notify{Message: 40961}); p == nil || len(p.notifies) != 0 {
		t.Errorf("%+v", p)
	}
	p := w.ask(a, b, message.INFORMATIONAL, &message.Unknown{PayloadType: 200, Critical: true})
	if p == nil || p.notify(message.UNSUPPORTED_CRITICAL_PAYLOAD) == nil || p.notifies[0].Data[0] != 200 {
		t.Errorf("%+v", p)
	}
	w.oneSession(a, b)
}

func TestAnAuthenticButInvalidRequestEndsTheSAOnBothSides(t *testing.T) {
	for name, c := range map[string]struct {
		x        message.ExchangeType
		payloads []message.Payload
	}{
		"two SA payloads":          {message.CREATE_CHILD_SA, []message.Payload{&message.SA{Proposals: espOffer(DefaultESPProposals, 1, false)}, &message.SA{Proposals: espOffer(DefaultESPProposals, 1, false)}}},
		"no nonce":                 {message.CREATE_CHILD_SA, []message.Payload{&message.SA{Proposals: espOffer(DefaultESPProposals, 1, false)}}},
		"an exchange out of place": {message.IKE_AUTH, nil},
		"a short nonce":            {message.CREATE_CHILD_SA, []message.Payload{&message.Nonce{Data: []byte("short")}}},
	} {
		w, a, b := connected(t, 1)
		w.ask(a, b, c.x, c.payloads...)
		w.run(time.Second)
		if len(b.downs) != 1 || !errors.Is(b.downs[0].Err, ErrSyntax) || len(a.ikes) != 0 {
			w.fatalf("%s: %+v", name, b.downs)
		}
		w.run(time.Minute)
		w.clean(b)
	}
}

func TestRequestsForUnknownSAsAreAnsweredRarelyAndResponsesNever(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config())
	ask := func(flags message.Flags, major uint8) int {
		n := len(find[Send](b))
		m := message.Message{Header: message.Header{SPIi: 1, SPIr: 2, Major: major, Exchange: message.CREATE_CHILD_SA, Flags: flags, MessageID: 9},
			Payloads: []message.Payload{&message.Nonce{Data: make([]byte, 16)}}}
		b.do(b.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrB, 500), Remote: netip.AddrPortFrom(addrA, 500), Data: m.Encode()}))
		return len(find[Send](b)) - n
	}
	if ask(message.FlagResponse, 2) != 0 || ask(message.FlagResponse|message.FlagInitiator, 3) != 0 {
		t.Error("a response was answered")
	}
	if ask(message.FlagInitiator, 2) != 1 || ask(message.FlagInitiator, 3) != 1 || ask(message.FlagInitiator, 1) != 0 {
		t.Error("INVALID_IKE_SPI or INVALID_MAJOR_VERSION is missing, or IKEv1 was answered")
	}
	sends := find[Send](b)
	for i, want := range []message.NotifyType{message.INVALID_IKE_SPI, message.INVALID_MAJOR_VERSION} {
		m, err := message.Decode(sends[i].Data)
		if err != nil || m.Payloads[0].(*message.Notify).Message != want || m.MessageID != 9 || !m.Response() || m.Initiator() || m.SPIr != 2 {
			t.Errorf("%+v %v", m, err)
		}
	}
	total := 0
	for range 1000 {
		total += ask(message.FlagInitiator, 2)
	}
	if total > 20 {
		t.Errorf("%d answers at once", total)
	}
}

func TestASAThatWasDroppedIsForgottenWithoutAWord(t *testing.T) {
	w, a, b := connected(t, 1)
	n, acts := w.sent, len(a.actions)
	a.e.DropSA(a.sa())
	if w.sent != n || len(a.actions) != acts {
		t.Error("not silent")
	}
	w.clean(a)
	b.do(b.e.Probe(w.now, b.sa()))
	w.run(time.Minute)
	if len(b.ikes) != 0 {
		t.Error("B was not told by INVALID_IKE_SPI, or did not draw the conclusion")
	}
}
