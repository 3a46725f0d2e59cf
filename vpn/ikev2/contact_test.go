package ikev2

import (
	"errors"
	"testing"
	"time"

	"felloe/vpn/ikev2/message"
)

func TestARouterThatBeginsAnewReplacesItsOldSA(t *testing.T) {
	w, a, b := connected(t, 1)
	old := b.sa()
	w.run(time.Minute)
	a.boot()
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if b.sa() == old || len(b.downs) != 1 || b.downs[0].SA != old || !errors.Is(b.downs[0].Err, ErrDeleted) {
		t.Errorf("%+v", b.downs)
	}
}

func TestInitialContactIsSentOnlyToWhomWeHaveNoOtherSAWith(t *testing.T) {
	w, a, b := connected(t, 1)
	id := a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0"})
	w.run(time.Second)
	if len(a.ikes) != 2 || len(b.ikes) != 2 || id == 0 {
		w.fatalf("a second SA ended the first: %d %d", len(a.ikes), len(b.ikes))
	}
	// Two at once: only one of them says INITIAL_CONTACT.
	w, a, b = pair(t, 1)
	a.initiate(addrB)
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.ikes) != 2 || len(b.ikes) != 2 {
		w.fatalf("two at once: %d %d", len(a.ikes), len(b.ikes))
	}
}

func TestInitialContactFromAnotherAddressIsOnlyAClaim(t *testing.T) {
	spoke := func(c *Config) { c.Profiles[0].Identity = FQDNIdentity("spoke.example") }
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(spoke))
	c := w.add("C", addrC, config(spoke)) // has the group's key and claims to be A
	b := w.add("B", addrB, config())
	a.initiate(addrB)
	w.run(time.Minute)
	c.initiate(addrB)
	w.run(5 * time.Minute)
	if len(b.ikes) != 2 || len(a.ikes) != 1 {
		w.fatalf("A was thrown out")
	}
	// But when A is really gone, because its address changed, its SA goes soon.
	a.dead = true
	c.boot()
	c.initiate(addrB)
	w.run(20 * time.Second)
	if len(b.ikes) != 1 {
		w.fatalf("%d SAs", len(b.ikes))
	}
}

func TestTwoRoutersThatBeginAtOnceSettleOnOneSession(t *testing.T) {
	winners := map[string]int{}
	for seed := range byte(20) {
		w, a, b := pair(t, seed)
		w.traffic = 10 * time.Millisecond
		a.initiate(addrB)
		w.run(time.Duration(seed%4) * 10 * time.Millisecond)
		b.initiate(addrA)
		w.run(30 * time.Second)
		w.settled(a, b, "at once")
		sa, sb := find[IKESuperseded](a), find[IKESuperseded](b)
		if len(sa) == 1 && len(sb) == 1 {
			if sa[0].New != a.sa() || sb[0].New != b.sa() {
				t.Errorf("%+v %+v", sa, sb)
			}
			if a.child().IKEInitiator == b.child().IKEInitiator {
				t.Error("roles")
			}
			winners[map[bool]string{true: "A", false: "B"}[a.child().IKEInitiator]]++
		} else if len(sa)+len(sb) != 0 {
			t.Errorf("%+v %+v", sa, sb)
		}
	}
	if winners["A"] < 3 || winners["B"] < 3 {
		t.Errorf("%v", winners)
	}
}

func TestALoserWhoseWinnerDiesIsAnOrdinarySAAgain(t *testing.T) {
	for seed := range byte(6) {
		w, a, b := pair(t, seed)
		// Nothing under the SA that B began arrives after its IKE_AUTH request.
		id := uint64(0)
		w.wire = func(_ int, d Datagram) []time.Duration {
			h, _ := message.DecodeHeader(d.Data)
			if id == 0 && d.Remote.Addr() == addrB && h.Exchange == message.IKE_SA_INIT && !h.Response() {
				id = h.SPIi
			}
			if id == h.SPIi && (h.Exchange == message.INFORMATIONAL || h.Exchange == message.IKE_AUTH && h.Response()) {
				return nil
			}
			return []time.Duration{w.delay}
		}
		a.initiate(addrB)
		b.initiate(addrA)
		w.run(5 * time.Minute)
		w.oneSession(a, b)
	}
}

func TestInitialContactFromAnotherAddressCountsWithAKeyOfOnesOwn(t *testing.T) {
	spoke := func(c *Config) { c.Profiles[0].Identity = FQDNIdentity("spoke.example") }
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(spoke))
	c := w.add("C", addrC, config(spoke)) // A, which calls from elsewhere
	b := w.add("B", addrB, config(func(c *Config) {
		p := &c.Keyrings[0].Peers[0]
		p.Addresses, p.Identity = nil, []IdentityMatch{{Exact: FQDNIdentity("spoke.example")}}
	}))
	a.initiate(addrB)
	w.run(time.Minute)
	a.dead = true
	c.initiate(addrB)
	w.run(time.Second)
	w.oneSession(c, b)
}
