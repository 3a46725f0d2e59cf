package ikev2

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

// firstMessages are IKE_SA_INIT requests of n strangers.
func firstMessages(t *testing.T, n int, to netip.Addr, change ...func(*Config)) []Datagram {
	var out []Datagram
	for i := range n {
		from := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		w := newWorld(t, byte(i))
		s := w.add("S", from, config(change...))
		s.boot()
		s.initiate(to)
		d := find[Send](s)[0].Datagram
		h, _ := message.DecodeHeader(d.Data)
		copy(d.Data, be64(h.SPIi+uint64(i))) // seeds repeat
		out = append(out, Datagram{VRF: "default", Local: d.Remote, Remote: d.Local, Data: d.Data})
	}
	return out
}

func TestCookiesAreAskedForUnderLoadAndCostNoMemory(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config(func(c *Config) { c.CookieThreshold, c.MaxHalfOpenPeer = 10, 100 }))
	for _, d := range firstMessages(t, 200, addrB) {
		b.do(b.e.Receive(w.now, d))
	}
	if n := len(b.e.sas); n != 10 || b.e.halfOpen != 10 || len(b.e.sessions) != 10 || len(b.e.inits) != 10 {
		t.Errorf("%d SAs for 200 strangers", n)
	}
	if c := b.e.Counters(); c.CookiesSent != 190 || c.HalfOpen != 10 {
		t.Errorf("%+v", c)
	}
	// A true peer gets in all the same, with one round more.
	a := w.add("A", addrA, config())
	before := w.sent
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.ups) != 1 || w.sent-before != 6 {
		w.fatalf("%d ups after %d messages", len(a.ups), w.sent-before)
	}
	// The strangers' SAs go by themselves.
	w.run(time.Minute)
	if b.e.halfOpen != 0 || len(b.e.sas) != 1 || len(b.e.inits) != 0 || len(b.e.halfOpenFrom) != 0 {
		t.Errorf("%d half-open, %d SAs", b.e.halfOpen, len(b.e.sas))
	}
}

func TestACookieIsForOneSenderOneNonceAndAShortTime(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config(func(c *Config) { c.CookieThreshold = -1 }))
	j := &b.e.cookies
	remote := netip.AddrPortFrom(addrA, 500)
	ni := bytes.Repeat([]byte{1}, 32)
	b.e.begin(w.now)
	c := j.make(b.e, ni, remote, 7)
	if !j.check(b.e, c, ni, remote, 7) {
		t.Fatal("a good cookie is refused")
	}
	for name, ok := range map[string]bool{
		"other port":    j.check(b.e, c, ni, netip.AddrPortFrom(addrA, 501), 7),
		"other address": j.check(b.e, c, ni, netip.AddrPortFrom(addrC, 500), 7),
		"other SPI":     j.check(b.e, c, ni, remote, 8),
		"other nonce":   j.check(b.e, c, ni[1:], remote, 7),
		"cut":           j.check(b.e, c[:len(c)-1], ni, remote, 7),
		"other version": j.check(b.e, append([]byte{c[0] + 1}, c[1:]...), ni, remote, 7),
		"empty":         j.check(b.e, nil, ni, remote, 7),
	} {
		if ok {
			t.Errorf("%s was accepted", name)
		}
	}
	b.e.begin(w.now.Add(cookieLife + time.Second))
	j.make(b.e, ni, remote, 9) // a new secret
	if !j.check(b.e, c, ni, remote, 7) {
		t.Error("the secret before is not good any more")
	}
	b.e.begin(w.now.Add(5 * cookieLife))
	if j.check(b.e, c, ni, remote, 7) {
		t.Error("an old cookie is good for ever")
	}
	d := j.make(b.e, ni, remote, 7)
	if bytes.Equal(c, d) || j.check(b.e, c, ni, remote, 7) || !j.check(b.e, d, ni, remote, 7) {
		t.Error("secrets are not replaced")
	}
}

func TestWhoKeepsAskingForCookiesIsGivenUp(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config())
	a.initiate(addrB)
	for i := range 10 {
		sent := find[Send](a)
		h, _ := message.DecodeHeader(sent[len(sent)-1].Data)
		m := message.Message{Header: message.Header{SPIi: h.SPIi, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
			Payloads: []message.Payload{&message.Notify{Message: message.COOKIE, Data: []byte{byte(i), 1}}}}
		a.do(a.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Data: m.Encode()}))
	}
	if len(find[Send](a)) != 1+maxAgain || !errors.Is(a.downs[0].Err, ErrRefused) {
		t.Errorf("%d requests", len(find[Send](a)))
	}
	w.clean(a)
}

func TestHalfOpenSAsAreLimitedInAllAndOfOneSender(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config(func(c *Config) { c.CookieThreshold, c.MaxHalfOpen, c.MaxHalfOpenPeer = 1000, 20, 5 }))
	list := firstMessages(t, 40, addrB)
	for i, d := range list[:10] {
		d.Remote = netip.AddrPortFrom(addrA, uint16(1000+i))
		b.do(b.e.Receive(w.now, d))
	}
	if b.e.halfOpen != 5 {
		t.Errorf("%d of one sender", b.e.halfOpen)
	}
	for _, d := range list[10:] {
		b.do(b.e.Receive(w.now, d))
	}
	if b.e.halfOpen != 20 || b.e.Counters().HalfOpenRefused != 5+15 {
		t.Errorf("%d in all, %d refused", b.e.halfOpen, b.e.Counters().HalfOpenRefused)
	}
	// A retransmission gets the same answer and no second SA.
	sent := len(find[Send](b))
	b.do(b.e.Receive(w.now, list[10]))
	out := find[Send](b)
	if len(out) != sent+1 || b.e.halfOpen != 20 {
		t.Error("the retransmission was not answered")
	}
}

func TestSenderUnderLoadCostsNoAllocationBeforeItsCookie(t *testing.T) {
	d := firstMessages(t, 1, addrB)[0]
	if n := testing.AllocsPerRun(100, func() {
		if _, nonce := message.Peek(d.Data); nonce == nil {
			t.Fatal("no nonce")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAGroupThatWasNotOfferedIsNotTaken(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config())
	a.initiate(addrB)
	h, _ := message.DecodeHeader(find[Send](a)[0].Data)
	for _, g := range []byte{2, 14, 31} { // weaker, other, the one it has
		m := message.Message{Header: message.Header{SPIi: h.SPIi, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
			Payloads: []message.Payload{&message.Notify{Message: message.INVALID_KE_PAYLOAD, Data: []byte{0, g}}}}
		a.do(a.e.Receive(w.now, Datagram{Local: netip.AddrPortFrom(addrA, 500), Remote: netip.AddrPortFrom(addrB, 500), Data: m.Encode()}))
	}
	if len(find[Send](a)) != 1 || len(a.downs) != 0 || a.e.Counters().Malformed != 3 {
		t.Errorf("%d requests, %+v", len(find[Send](a)), a.downs)
	}
}
