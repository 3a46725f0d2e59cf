package ikev2

import (
	"errors"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
)

func proposal(enc Encryption, prf suite.PRFID, integ suite.IntegID, g ...suite.Group) func(*Config) {
	return func(c *Config) {
		p := IKEProposal{Name: "p", Encryption: []Encryption{enc}, PRF: []suite.PRFID{prf}, Groups: g}
		if integ != 0 {
			p.Integrity = []suite.IntegID{integ}
		}
		c.Proposals = []IKEProposal{p}
	}
}

func TestEverySuiteWithEveryGroupWorks(t *testing.T) {
	ciphers := []struct {
		enc   Encryption
		prf   suite.PRFID
		integ suite.IntegID
	}{
		{Encryption{suite.ENCR_AES_CBC, 128}, suite.PRF_HMAC_SHA1, suite.AUTH_HMAC_SHA1_96},
		{Encryption{suite.ENCR_AES_CBC, 192}, suite.PRF_HMAC_SHA2_256, suite.AUTH_HMAC_SHA2_256_128},
		{Encryption{suite.ENCR_AES_CBC, 256}, suite.PRF_HMAC_SHA2_384, suite.AUTH_HMAC_SHA2_384_192},
		{Encryption{suite.ENCR_AES_CBC, 256}, suite.PRF_HMAC_SHA2_512, suite.AUTH_HMAC_SHA2_512_256},
		{Encryption{suite.ENCR_AES_GCM_16, 128}, suite.PRF_HMAC_SHA2_256, 0},
		{Encryption{suite.ENCR_AES_GCM_16, 192}, suite.PRF_HMAC_SHA1, 0},
		{Encryption{suite.ENCR_AES_GCM_16, 256}, suite.PRF_HMAC_SHA2_512, 0},
	}
	for i, g := range suite.Groups {
		for j, c := range ciphers {
			if suite.PublicLen(g) > 192 && j != i%len(ciphers) {
				continue // a large MODP group costs time: once each
			}
			w, a, b := connected(t, 1, proposal(c.enc, c.prf, c.integ, g))
			want := suite.IKE{Encr: c.enc.ID, KeyBits: c.enc.Bits, PRF: c.prf, Integ: c.integ, Group: g}
			if got := b.e.Snapshot(w.now)[0].Suite; got != want {
				t.Errorf("%v, not %v", got, want)
			}
			a.do(a.e.RekeyIKE(w.now, a.sa()))
			b.do(b.e.Probe(w.now, b.sa()))
			w.run(time.Second)
			w.oneSession(a, b)
			if len(find[IKERekeyed](a)) != 1 || len(find[IKERekeyed](b)) != 1 {
				t.Errorf("%v was not rekeyed", want)
			}
		}
	}
}

func TestEveryESPSuiteIsNegotiatedWithItsKeys(t *testing.T) {
	for _, s := range []esp.Suite{
		{Encr: esp.ENCR_AES_GCM_16, KeyBits: 128}, {Encr: esp.ENCR_AES_GCM_16, KeyBits: 256},
		{Encr: esp.ENCR_AES_CBC, KeyBits: 128, Integ: esp.AUTH_HMAC_SHA1_96}, {Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128},
		{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_384_192}, {Encr: esp.ENCR_AES_CBC, KeyBits: 192, Integ: esp.AUTH_HMAC_SHA2_512_256},
	} {
		for _, esn := range []bool{false, true} {
			_, a, b := connected(t, 1, func(c *Config) {
				c.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{s}, ESN: []bool{esn}}}
				c.Children[0].Mode = esp.Tunnel
			})
			u := a.child()
			if u.Suite != s || u.ESN != esn || u.Mode != esp.Tunnel || len(u.KeysIn.Encr) != s.EncrKeyLen() || len(u.KeysIn.Integ) != s.IntegKeyLen() {
				t.Errorf("%v: %+v", s, u)
			}
			if v := b.child(); string(v.KeysOut.Integ) != string(u.KeysIn.Integ) || string(v.KeysIn.Encr) != string(u.KeysOut.Encr) {
				t.Errorf("%v: keys do not fit", s)
			}
		}
	}
}

func TestTheResponderChoosesByItsOwnPreference(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(func(c *Config) {
		c.Proposals = []IKEProposal{{Name: "p", Encryption: []Encryption{{suite.ENCR_AES_CBC, 128}, {suite.ENCR_AES_CBC, 256}, {suite.ENCR_AES_GCM_16, 256}},
			Integrity: []suite.IntegID{suite.AUTH_HMAC_SHA1_96, suite.AUTH_HMAC_SHA2_256_128}, Groups: []suite.Group{suite.ECP_256, suite.CURVE25519}}}
		c.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 128}, {Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}}}}
	}))
	b := w.add("B", addrB, config(func(c *Config) {
		c.Proposals = []IKEProposal{
			{Name: "strong", Encryption: []Encryption{{suite.ENCR_AES_CBC, 256}, {suite.ENCR_AES_CBC, 128}},
				Integrity: []suite.IntegID{suite.AUTH_HMAC_SHA2_512_256, suite.AUTH_HMAC_SHA2_256_128}, Groups: []suite.Group{suite.MODP_2048, suite.CURVE25519}},
			{Name: "gcm", Encryption: []Encryption{{suite.ENCR_AES_GCM_16, 256}}, Groups: []suite.Group{suite.CURVE25519}},
		}
		c.Policies[0].Proposals = []string{"strong", "gcm"}
		c.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}, {Encr: esp.ENCR_AES_GCM_16, KeyBits: 128}}}}
	}))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if got := a.e.Snapshot(w.now)[0].Suite.String(); got != "aes-cbc-256 sha256 prf-sha256 group 31" {
		t.Error(got)
	}
	if got := a.child().Suite.String(); got != "aes-gcm-256" {
		t.Error(got)
	}
	// A guessed group 19; B wanted 31: INVALID_KE_PAYLOAD cost one round more.
	if w.sent != 6 {
		t.Errorf("%d messages", w.sent)
	}
}

func TestTheSmartDefaultWorksOnBothSidesAndTakesGroup5Last(t *testing.T) {
	noPolicy := func(c *Config) { c.Policies, c.Children[0].Proposals = nil, nil }
	w, a, _ := connected(t, 1, noPolicy)
	s := a.e.Snapshot(w.now)[0]
	if s.Suite.String() != "aes-gcm-256 prf-sha512 group 19" || s.Policy != SmartDefaultPolicy {
		t.Errorf("%v by %s", s.Suite, s.Policy)
	}
	for _, g := range groups(ikeOffer([]IKEProposal{SmartDefaultProposal}, false, 0)) {
		if g == suite.MODP_1536 {
			t.Error("group 5 is offered")
		}
	}
	w = newWorld(t, 1)
	a = w.add("A", addrA, config(proposal(Encryption{suite.ENCR_AES_CBC, 256}, suite.PRF_HMAC_SHA2_512, suite.AUTH_HMAC_SHA2_512_256, suite.MODP_1536)))
	b := w.add("B", addrB, config(noPolicy, func(c *Config) { c.Children[0].Proposals = config().Children[0].Proposals }))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if g := b.e.Snapshot(w.now)[0].Suite.Group; g != suite.MODP_1536 {
		t.Error(g)
	}
}

func TestPoliciesAreChosenByVRFAndLocalAddress(t *testing.T) {
	e := NewEngine(config(func(c *Config) {
		c.Proposals = append(c.Proposals, IKEProposal{Name: "q"}, IKEProposal{Name: "r"})
		c.Policies = []Policy{{Name: "red", Proposals: []string{"q"}, VRF: "red"}, {Name: "addr", Proposals: []string{"r", "p", "missing"}, Local: prefixes("192.0.2.0/24")}}
	}), nil)
	for _, c := range []struct {
		vrf, want string
		addr      string
		n         int
	}{{"red", "red", "10.0.0.1", 1}, {"default", "addr", "192.0.2.1", 2}, {"default", "default", "10.0.0.1", 1}} {
		if name, list := e.policyFor(c.vrf, addr(c.addr)); name != c.want || len(list) != c.n {
			t.Errorf("%+v: %s %d", c, name, len(list))
		}
	}
}

func TestNoCommonProposalIsSaidClearlyOnBothSides(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addrA, config(proposal(Encryption{suite.ENCR_AES_CBC, 128}, suite.PRF_HMAC_SHA1, suite.AUTH_HMAC_SHA1_96, suite.MODP_1024)))
	b := w.add("B", addrB, config())
	a.initiate(addrB)
	w.run(time.Minute)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrNoProposal) || a.downs[0].Tag != "tag" {
		t.Errorf("%+v", a.downs)
	}
	for _, text := range []string{"NO_PROPOSAL_CHOSEN", "aes-cbc-128 prf-sha1 sha1 group-2", "aes-gcm-256 prf-sha256 group-31"} {
		if !b.logged(text) {
			t.Errorf("B does not log %q", text)
		}
	}
	if !a.logged("aes-cbc-128 prf-sha1 sha1 group-2") {
		t.Error("A does not log its offer")
	}
	w.clean(a)
	w.clean(b)
}

func TestAChildThatNobodyWantsLeavesTheIKESAUpForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		b    func(*Config)
		want error
		log  string
	}{
		"suites": {func(c *Config) {
			c.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}}}}
		}, ErrNoProposal, "aes-cbc-256 sha512 no-esn"},
		"selectors":     {func(c *Config) { c.Children[0].Protocol = 4 }, ErrSelectors, "TS_UNACCEPTABLE"},
		"no policy":     {func(c *Config) { c.Children[0].Profile = "other" }, ErrSelectors, "no child policy belongs to profile"},
		"other address": {func(c *Config) { c.Children[0].LocalAddr = addrC }, ErrSelectors, "no child policy belongs to profile"},
	} {
		w := newWorld(t, 1)
		a := w.add("A", addrA, config())
		b := w.add("B", addrB, config(c.b))
		a.initiate(addrB)
		w.run(time.Second)
		f := find[ChildFailed](a)
		if len(f) != 1 || !errors.Is(f[0].Err, c.want) || f[0].Tag != "tag" || len(a.ikes) != 1 || len(b.ikes) != 1 {
			w.fatalf("%s: %+v", name, f)
		}
		if !b.logged(c.log) {
			w.fatalf("%s: B does not log %q", name, c.log)
		}
		w.run(3 * time.Minute)
		if len(a.ikes)+len(b.ikes) != 0 {
			t.Errorf("%s: the childless IKE SA stays", name)
		}
		w.clean(a)
		w.clean(b)
	}
}
