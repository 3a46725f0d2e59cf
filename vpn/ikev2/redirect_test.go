package ikev2

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

// elsewhere is a Redirector for tests.
type elsewhere struct {
	to     map[bool]netip.Addr // by Authenticated
	refuse bool
	asked  []RedirectRequest
}

func (x *elsewhere) Redirect(_ time.Time, r RedirectRequest) Verdict {
	x.asked = append(x.asked, r)
	return Verdict{Gateway: x.to[r.Authenticated], Refuse: x.refuse}
}

func following(c *Config) { c.FollowRedirects = true }

// hubs is a client A that follows and two gateways; the first decides by x.
func hubs(t *testing.T, x, y Redirector) (w *world, a, b, c *node) {
	w = newWorld(t, 1)
	a = w.add("A", addrA, config(following))
	b = w.add("B", addrB, config(func(c *Config) { c.Redirect = x }))
	c = w.add("C", addrC, config(func(c *Config) { c.Redirect = y }))
	a.follow = true
	return
}

func TestAGatewaySendsAClientToAnotherOneInItsFirstAnswerAndKeepsNothing(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{false: addrC}}
	w, a, b, c := hubs(t, x, nil)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, c)
	w.clean(b)
	r := find[Redirected](a)
	if len(r) != 1 || r[0].Stage != RedirectInit || r[0].From.Addr() != addrB || r[0].To != addrC || r[0].Tag != "tag" || r[0].Policy != "Tunnel0" || r[0].Authenticated {
		t.Errorf("%+v", r)
	}
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrRedirected) || a.downs[0].Established {
		t.Errorf("%+v", a.downs)
	}
	if i := c.e.Snapshot(w.now)[0]; i.RedirectedFrom != addrB || !i.FollowsRedirects {
		t.Errorf("%+v", i)
	}
	if len(x.asked) != 1 || x.asked[0].From.IsValid() || x.asked[0].Remote.Addr() != addrA || x.asked[0].Local.Addr() != addrB {
		t.Errorf("%+v", x.asked)
	}
	if b.e.Counters().RedirectsSent != 1 || a.e.Counters().RedirectsFollowed != 1 {
		t.Errorf("%+v\n%+v", a.e.Counters(), b.e.Counters())
	}
}

func TestAGatewaySendsAnAuthenticatedClientToAnotherOneWithoutAChild(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{true: addrC}}
	w, a, b, c := hubs(t, x, nil)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, c)
	if len(b.ikes)+len(b.ups)+len(find[IKEUp](b)) != 0 || len(find[ChildUp](a)) != 1 {
		w.fatalf("%v", b.ikes)
	}
	if len(x.asked) != 2 || !x.asked[1].Authenticated || x.asked[1].Profile != "prof" || x.asked[1].Peer != AddressIdentity(addrA) {
		t.Errorf("%+v", x.asked)
	}
	if r := find[Redirected](a); len(r) != 1 || r[0].Stage != RedirectAuth || !r[0].Authenticated || r[0].Peer != AddressIdentity(addrB) {
		t.Errorf("%+v", r)
	}
	// The client deletes what it does not need; nothing lingers.
	w.run(time.Minute)
	w.clean(b)
}

func TestAPeerThatIsSentAwayAgainAndAgainWhenItIsAuthenticatedCostsFewSAs(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{true: addrC}}
	w, a, b, _ := hubs(t, x, nil)
	a.follow = false
	b.e.SetConfig(config(func(c *Config) { c.Redirect, c.MaxHalfOpenPeer = x, 3 }))
	for range 20 {
		a.boot() // who forgets what it had deletes nothing
		a.initiate(addrB)
		w.run(100 * time.Millisecond)
	}
	if len(b.e.sas) != 3 || b.e.Counters().HalfOpenRefused == 0 {
		w.fatalf("%d SAs", len(b.e.sas))
	}
	w.run(time.Minute)
	w.clean(b)
	if len(b.e.halfOpenFrom) != 0 {
		t.Errorf("%v", b.e.halfOpenFrom)
	}
}

func TestAnEstablishedClientIsSentAwayAndLosesNothing(t *testing.T) {
	w, a, b, c := hubs(t, nil, nil)
	old := a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	a.follow = false
	acts, ok := b.e.Redirect(w.now, b.sa(), addrC)
	if b.do(acts); !ok {
		t.Fatal("refused")
	}
	w.run(time.Second)
	r := find[Redirected](a)
	if len(r) != 1 || r[0].Stage != RedirectUp || r[0].SA != old || r[0].To != addrC {
		t.Fatalf("%+v", r)
	}
	if len(a.ups) != 1 || b.e.Snapshot(w.now)[0].RedirectedTo != addrC {
		w.fatalf("the session went before there is another")
	}
	a.initiateAs(InitiateRequest{Local: addrA, Remote: addrC, Profile: "prof", Child: "Tunnel0", RedirectedFrom: addrB})
	w.run(time.Second)
	if len(a.ups) != 2 {
		w.fatalf("%d pairs", len(a.ups))
	}
	a.do(a.e.DeleteIKE(w.now, old, "redirected"))
	w.run(time.Minute)
	w.oneSession(a, c)
	w.clean(b)
}

func TestAClientThatDoesNotGoIsDeletedAfterAWhile(t *testing.T) {
	w, a, b, _ := hubs(t, nil, nil)
	a.initiate(addrB)
	w.run(time.Second)
	a.follow = false
	acts, _ := b.e.Redirect(w.now, b.sa(), addrC)
	b.do(acts)
	w.run(graceRedirected - time.Second)
	w.oneSession(a, b)
	w.run(2 * time.Second)
	if len(a.ups)+len(b.ups) != 0 || !errors.Is(b.downs[0].Err, ErrRedirected) {
		w.fatalf("%+v", b.downs)
	}
}

func TestWhoDoesNotFollowIsServed(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{false: addrC, true: addrC}}
	w := newWorld(t, 1)
	a, b := w.add("A", addrA, config()), w.add("B", addrB, config(func(c *Config) { c.Redirect = x }))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if _, ok := b.e.Redirect(w.now, b.sa(), addrC); ok || slices.ContainsFunc(x.asked, func(r RedirectRequest) bool { return r.Follows }) {
		t.Errorf("asked %+v", x.asked)
	}
	x.asked = nil
	// Nor one that would be sent back to where it comes from.
	a.e.SetConfig(config(following))
	b.do(b.e.DeleteAll(w.now, "again"))
	w.run(time.Second)
	a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0", RedirectedFrom: addrC})
	w.run(time.Second)
	w.oneSession(a, b)
	if len(x.asked) != 2 || x.asked[0].From != addrC {
		t.Errorf("asked %+v", x.asked)
	}
}

// Whom a gateway sends away counts as the other's caller for a while. That must not be had for a forged source address.
func TestAddressesMustBeProvenBeforeManyAreSentAway(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{false: addrC}}
	w, a, b, c := hubs(t, x, nil)
	flood := firstMessages(t, 200, addrB, following)
	for _, d := range flood {
		b.do(b.e.Receive(w.now, d))
	}
	k := b.e.Counters()
	if k.RedirectsSent > freeRedirects || len(x.asked) != int(k.RedirectsSent) || int(k.CookiesSent) != len(flood)-len(x.asked) {
		t.Errorf("asked %d times for %d strangers, redirected %d, %d cookies", len(x.asked), len(flood), k.RedirectsSent, k.CookiesSent)
	}
	if len(b.e.sas)+len(b.e.sessions)+len(b.e.inits) != 0 {
		t.Error("something is kept")
	}
	// A true client has one round more.
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, c)
	if n := b.e.Counters(); n.CookiesSent != k.CookiesSent+1 || n.RedirectsSent != k.RedirectsSent+1 {
		t.Errorf("%+v", n)
	}
	// Later nobody is asked any more.
	w.run(time.Minute)
	a.do(a.e.DeleteAll(w.now, "again"))
	w.run(time.Second)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, c)
	if n := b.e.Counters(); n.CookiesSent != k.CookiesSent+1 {
		t.Errorf("%+v", n)
	}
}

func TestAddressesMustBeProvenBeforeManyAreRefused(t *testing.T) {
	x := &elsewhere{refuse: true}
	_, _, b, _ := hubs(t, x, nil)
	now := b.w.now
	for _, d := range firstMessages(t, 200, addrB, following) {
		b.do(b.e.Receive(now, d))
	}
	if k := b.e.Counters(); k.RedirectsRefused > freeRedirects || len(x.asked) != int(k.RedirectsRefused) || int(k.CookiesSent) != 200-len(x.asked) {
		t.Errorf("asked %d times for 200 strangers, refused %d, %d cookies", len(x.asked), k.RedirectsRefused, k.CookiesSent)
	}
}

func TestAnUnprovenCallAsksFewOfItsAddressesSessionsWhetherTheyLive(t *testing.T) {
	x := &elsewhere{}
	w, a, b, _ := hubs(t, x, nil)
	for range 3 * maxAsked {
		a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0", NoRedirect: true})
		w.run(time.Second)
	}
	if len(b.ikes) < 2*maxAsked {
		t.Fatalf("%d sessions", len(b.ikes))
	}
	x.to = map[bool]netip.Addr{false: addrC}
	d := firstMessages(t, 1, addrB, following)[0]
	d.Remote = netip.AddrPortFrom(addrA, 500)
	before := len(find[Send](b))
	b.do(b.e.Receive(w.now, d))
	if n := len(find[Send](b)) - before; n < 2 || n > 1+maxAsked {
		t.Errorf("one datagram caused %d", n)
	}
}

func TestAClientIsRefusedWhenNobodyHasRoom(t *testing.T) {
	x := &elsewhere{refuse: true}
	w, a, b, _ := hubs(t, x, nil)
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrRefused) || !a.logged("TEMPORARY_FAILURE") || !b.logged("no room") {
		w.fatalf("%+v", a.downs)
	}
	w.clean(b)
	x.refuse = false
	a.initiate(addrB)
	w.run(10 * time.Millisecond)
	x.refuse = true // it is authenticated by now, or will be: too late
	w.run(time.Second)
	w.oneSession(a, b)
}

func TestGatewaysThatSendAClientRoundAndRoundAreGivenUp(t *testing.T) {
	addrD := netip.MustParseAddr("203.0.113.4")
	w, a, b, _ := hubs(t, &elsewhere{to: map[bool]netip.Addr{false: addrC}}, &elsewhere{to: map[bool]netip.Addr{false: addrD}})
	w.add("D", addrD, config(func(c *Config) { c.Redirect = &elsewhere{to: map[bool]netip.Addr{true: addrB}} }))
	a.initiate(addrB)
	w.run(10 * time.Second)
	if n := len(find[Redirected](a)); n != MaxRedirects {
		w.fatalf("%d redirects were followed", n)
	}
	if last := a.downs[len(a.downs)-1]; !errors.Is(last.Err, ErrRedirectLoop) || !a.logged("5 redirects in 5m0s") {
		w.fatalf("%+v", last)
	}
	if len(a.ikes) != 0 {
		t.Error("it is up somewhere")
	}
	// Another attempt is no new beginning, until the time is over.
	a.initiate(addrB)
	w.run(10 * time.Second)
	if n := len(find[Redirected](a)); n != MaxRedirects {
		t.Errorf("%d redirects were followed", n)
	}
	w.run(RedirectLoopPeriod)
	b.e.SetConfig(config())
	a.initiate(addrC)
	w.run(10 * time.Second)
	w.oneSession(a, b)

}

// What ends is called again, and sent on again: that is no loop, but a client of a cluster on a bad day.
func TestSessionsThatEndForOtherReasonsAreNoLoop(t *testing.T) {
	w, a, b, c := hubs(t, &elsewhere{to: map[bool]netip.Addr{false: addrC}}, nil)
	for range 3 * MaxRedirects {
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, c)
		c.do(c.e.DeleteAll(w.now, "cleared"))
		w.run(time.Second)
	}
	if len(a.e.trails) != 0 {
		t.Errorf("%d trails are left", len(a.e.trails))
	}
	w.clean(b)
}

// Gateways may let a client in before they send it round.
func TestGatewaysThatSendAnEstablishedClientRoundAndRoundAreGivenUp(t *testing.T) {
	w, a, b, c := hubs(t, nil, nil)
	at, to := b, c
	a.initiate(addrB)
	for range 3 * MaxRedirects {
		w.run(time.Second)
		if len(at.ikes) == 0 {
			break
		}
		acts, ok := at.e.Redirect(w.now, at.sa(), to.addr)
		if at.do(acts); !ok {
			t.Fatal("refused")
		}
		w.run(time.Second)
		for id, up := range a.ikes {
			if up.Remote.Addr() == at.addr {
				a.do(a.e.DeleteIKE(w.now, id, "redirected"))
			}
		}
		at, to = to, at
	}
	if n := len(find[Redirected](a)); n != MaxRedirects {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestAForgedRedirectIsIgnored(t *testing.T) {
	for _, forge := range []func(ni []byte) message.Redirect{
		func([]byte) message.Redirect { return message.Redirect{Gateway: addrC} },
		func(ni []byte) message.Redirect { return message.Redirect{Gateway: addrC, Nonce: ni[1:]} },
		func(ni []byte) message.Redirect {
			ni = bytes.Clone(ni)
			ni[0] ^= 1
			return message.Redirect{Gateway: addrC, Nonce: ni}
		},
		func(ni []byte) message.Redirect {
			return message.Redirect{Gateway: netip.MustParseAddr("224.0.0.1"), Nonce: ni}
		},
	} {
		w, a, b, c := hubs(t, nil, nil)
		a.initiate(addrB)
		sa := a.e.sessions[1].cur
		m := message.Message{Header: message.Header{SPIi: sa.spiI, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
			Payloads: []message.Payload{&message.Notify{Message: message.REDIRECT, Data: forge(sa.ni).Data()}}}
		a.do(a.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Data: m.Encode()}))
		w.run(time.Second)
		w.oneSession(a, b)
		w.clean(c)
	}
	// Who did not say that it follows does not.
	w := newWorld(t, 1)
	a, b := w.add("A", addrA, config()), w.add("B", addrB, config())
	a.initiate(addrB)
	sa := a.e.sessions[1].cur
	m := message.Message{Header: message.Header{SPIi: sa.spiI, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
		Payloads: []message.Payload{&message.Notify{Message: message.REDIRECT, Data: message.Redirect{Gateway: addrC, Nonce: sa.ni}.Data()}}}
	a.do(a.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Data: m.Encode()}))
	w.run(time.Second)
	w.oneSession(a, b)
}

func TestARedirectToANameFailsWithAReason(t *testing.T) {
	w, a, _, _ := hubs(t, nil, nil)
	a.initiate(addrB)
	sa := a.e.sessions[1].cur
	m := message.Message{Header: message.Header{SPIi: sa.spiI, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
		Payloads: []message.Payload{&message.Notify{Message: message.REDIRECT, Data: message.Redirect{FQDN: "hub2.example.com", Nonce: sa.ni}.Data()}}}
	a.do(a.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Data: m.Encode()}))
	if len(a.downs) != 1 || !a.logged("hub2.example.com") || !errors.Is(a.downs[0].Err, ErrRefused) {
		w.fatalf("%+v", a.downs)
	}
}

func TestRedirectsSurviveTheLossOfAnyMessage(t *testing.T) {
	for _, authenticated := range []bool{false, true} {
		for lost := range 12 {
			w, a, b, c := hubs(t, &elsewhere{to: map[bool]netip.Addr{authenticated: addrC}}, nil)
			w.wire = func(n int, _ Datagram) []time.Duration {
				if n == lost {
					return nil
				}
				return []time.Duration{w.delay}
			}
			a.initiate(addrB)
			w.run(time.Minute)
			w.oneSession(a, c)
			w.clean(b)
		}
	}
}

func TestTheCookieComesBeforeTheRedirect(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{false: addrC}}
	w, a, b, c := hubs(t, x, nil)
	b.e.SetConfig(config(func(c *Config) { c.CookieThreshold, c.Redirect = -1, x }))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, c)
	if b.e.Counters().CookiesSent != 1 || len(x.asked) != 1 {
		t.Errorf("%+v, asked %d times", b.e.Counters(), len(x.asked))
	}
}

func TestAPeerThatIsSentAwayMayHaveLostItsOldSA(t *testing.T) {
	x := &elsewhere{to: map[bool]netip.Addr{}}
	w, a, b, c := hubs(t, x, nil)
	a.initiate(addrB)
	w.run(time.Second)
	x.to[false] = addrC
	a.boot()
	a.follow = true
	a.initiate(addrB)
	w.run(time.Minute)
	w.oneSession(a, c)
	if len(b.ups) != 0 || !slices.ContainsFunc(b.downs, func(d IKEDown) bool { return errors.Is(d.Err, ErrDead) }) {
		w.fatalf("the old SA is still there")
	}
}

// FuzzRedirects lets the fuzzer decide what three gateways answer and when, and what an authenticated mad one says.
func FuzzRedirects(f *testing.F) {
	f.Add([]byte{1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Add([]byte{2, 1, 0, 1, 1, 1, 1, 2, 3, 1, 1, 1, 3, 2, 1, 1, 4, 9})
	f.Add([]byte{0, 0, 0, 1, 1, 1, 1, 5, 0, 1, 1, 1, 1, 1, 5, 1, 1, 4, 200, 4, 200})
	f.Fuzz(redirects)
}

func TestRandomRedirectsKeepTheMachineSound(t *testing.T) {
	for seed := 0; seed < 200; seed += every(7) {
		b := make([]byte, 120)
		for i := range b {
			b[i] = byte((seed*31 + i*i*7 + i*seed) >> 2)
		}
		redirects(t, b)
	}
}

func redirects(t *testing.T, data []byte) {
	s := script(data)
	if len(s) > 300 {
		s = s[:300]
	}
	w := newWorld(t, 3)
	addrs := []netip.Addr{addrB, addrC, netip.MustParseAddr("203.0.113.4")}
	a := w.add("A", addrA, config(following, func(c *Config) { c.Retransmit = Retransmit{Base: time.Second, Max: 2 * time.Second, Tries: 3} }))
	a.follow = true
	deciders := make([]*elsewhere, len(addrs))
	for i, at := range addrs {
		deciders[i] = &elsewhere{to: map[bool]netip.Addr{}}
		w.add(string(rune('B'+i)), at, config(func(c *Config) { c.Redirect = deciders[i] }))
	}
	decide := func(i, k int) {
		x := deciders[i%3]
		delete(x.to, k&1 != 0)
		if k&2 != 0 {
			x.to[k&1 != 0] = addrs[(k>>2)%3]
		}
	}
	for i := range 3 {
		decide(i, s.next())
	}
	a.initiate(addrB)
	begun := 1
	for len(s) > 0 {
		switch s.next() % 8 {
		case 0, 1:
			w.run(10 * time.Millisecond)
		case 2:
			decide(s.next(), s.next())
		case 3:
			a.initiate(addrs[s.next()%3])
			begun++
		case 4:
			w.run(time.Duration(s.next()) * time.Second)
		case 5:
			n := w.nodes[1+s.next()%3]
			acts, _ := n.e.Redirect(w.now, n.anySA(), addrs[s.next()%3])
			n.do(acts)
		case 6:
			w.mad(w.nodes[1+s.next()%3], &s)
		case 7:
			if len(w.flight) > 0 {
				w.flight[s.next()%len(w.flight)].d.Data = nil
			}
		}
		if n := len(a.e.sessions); n > 60+begun {
			w.fatalf("%d sessions after %d calls", n, begun)
		}
	}
	a.follow = false
	w.run(time.Minute)
	for _, n := range w.nodes {
		n.do(n.e.DeleteAll(w.now, "end"))
	}
	w.run(5 * time.Minute)
	for _, n := range w.nodes {
		w.clean(n)
	}
}
