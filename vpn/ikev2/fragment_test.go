package ikev2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// long makes IKE_AUTH long: a long identity and many proposals.
func long(mtu int) func(*Config) {
	return func(c *Config) {
		c.Fragmentation.MTU = mtu
		c.Profiles[0].Identity = KeyIdentity(string(bytes.Repeat([]byte("k"), 700)))
		for range 8 {
			c.Children[0].Proposals = append(c.Children[0].Proposals, ESPProposal{Suites: []esp.Suite{{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}}})
		}
	}
}

func fragmentsOf(n *node) (fragments, largest int) {
	for _, s := range find[Send](n) {
		m, err := message.Decode(s.Data)
		if err != nil || m.Exchange == message.IKE_SA_INIT {
			continue
		}
		if e := encrypted(m); e != nil && e.Fragment {
			fragments++
		}
		largest = max(largest, len(s.Data)+28)
	}
	return fragments, largest
}

func TestLongMessagesAreFragmentedToTheMTU(t *testing.T) {
	for _, enc := range []Encryption{{suite.ENCR_AES_GCM_16, 256}, {suite.ENCR_AES_CBC, 128}} {
		integ := suite.AUTH_HMAC_SHA2_256_128
		if enc.ID.AEAD() {
			integ = 0
		}
		for _, mtu := range []int{576, 300, 0} {
			w, a, b := connected(t, 1, long(mtu), proposal(enc, suite.PRF_HMAC_SHA2_256, integ, suite.CURVE25519))
			want := mtu
			if mtu == 0 {
				want = DefaultFragmentMTU4
			}
			for _, n := range []*node{a, b} {
				if f, largest := fragmentsOf(n); f < 2 || largest > want || largest < want-64 {
					t.Errorf("%v mtu %d: %s sent %d fragments, the largest of %d bytes", enc, mtu, n.name, f, largest)
				}
			}
			if !a.e.Snapshot(w.now)[0].Fragmentation || b.child().Peer.Value[0] != 'k' {
				t.Error("not negotiated")
			}
		}
	}
}

func TestWithoutThePeersConsentNothingIsFragmented(t *testing.T) {
	off := func(c *Config) { long(576)(c); c.Fragmentation.Disabled = true }
	for i, cfg := range [][2]func(*Config){{long(576), off}, {off, long(576)}, {off, off}} {
		w, a, b := apart(t, cfg[0], cfg[1])
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		for _, n := range []*node{a, b} {
			if f, _ := fragmentsOf(n); f != 0 {
				t.Errorf("%d: %s sent %d fragments", i, n.name, f)
			}
		}
	}
}

func TestLostDoubledAndReorderedFragmentsDoNotMatter(t *testing.T) {
	for seed := range byte(30) {
		w, a, b := pair(t, seed, long(300))
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		w.wire = func(int, Datagram) []time.Duration {
			var out []time.Duration
			for len(out) < 2 && r.IntN(100) < 80 {
				out = append(out, time.Duration(r.IntN(50))*time.Millisecond)
			}
			return out
		}
		a.initiate(addrB)
		w.run(90 * time.Second)
		w.oneSession(a, b)
		if len(find[ChildUp](a)) != 1 || len(find[ChildUp](b)) != 1 {
			t.Error(fmt.Sprint("more than one pair, seed ", seed))
		}
	}
}

func TestAssemblyTakesOneMessageAtATime(t *testing.T) {
	frag := func(n, total uint16) *message.Encrypted {
		return &message.Encrypted{Fragment: true, Number: n, Total: total, First: message.PayloadType(10 + n)}
	}
	var a assembly
	add := func(id uint32, n, total uint16, s string) (string, bool) {
		first, b, ok := a.add(id, frag(n, total), []byte(s))
		if ok && first != 11 {
			t.Errorf("first payload %d", first)
		}
		return string(b), ok
	}
	add(1, 2, 3, "two")
	add(1, 2, 3, "TWO") // a second one does not replace the first
	add(1, 3, 3, "three")
	if s, ok := add(1, 1, 3, "one"); !ok || s != "onetwothree" {
		t.Errorf("%q %v", s, ok)
	}
	add(2, 1, 2, "one")
	add(2, 1, 4, "1") // the sender began anew with smaller fragments
	add(2, 2, 2, "two")
	for n, s := range []string{"2", "3"} {
		if _, ok := add(2, uint16(n+2), 4, s); ok {
			t.Error("too early")
		}
	}
	if s, ok := add(2, 4, 4, "4"); !ok || s != "1234" {
		t.Errorf("%q %v", s, ok)
	}
	add(3, 1, 2, "old")
	if s, ok := add(4, 2, 2, "b"); ok || s != "" {
		t.Error("fragments of two messages were mixed")
	}
	if s, ok := add(4, 1, 2, "a"); !ok || s != "ab" {
		t.Errorf("%q %v", s, ok)
	}
	big := string(make([]byte, maxAssembled-10))
	add(5, 1, 2, big)
	if _, ok := add(5, 2, 2, big); ok || a.size > maxAssembled {
		t.Error("more than a message can be")
	}
}
