package ikev2

import (
	"errors"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
)

func lifetimes(ike, child time.Duration) func(*Config) {
	return func(c *Config) { c.Profiles[0].Lifetime, c.Children[0].Lifetime = ike, child }
}

func TestADayOfRekeyingLosesNoPacket(t *testing.T) {
	for seed := byte(0); seed < 3; seed += byte(every(3)) {
		w, a, b := pair(t, seed, lifetimes(time.Hour, 10*time.Minute), pfs(suite.CURVE25519))
		w.traffic = 2 * time.Second
		a.initiate(addrB)
		w.run(24 * time.Hour)
		w.settled(a, b, "a day")
		if ups, rekeys := len(find[ChildUp](a)), len(find[IKERekeyed](b)); ups < 24*6 || rekeys < 24 {
			t.Errorf("%d children, %d IKE rekeys", ups, rekeys)
		}
		if len(find[IKEUp](a)) != 1 {
			t.Error("the session was begun anew")
		}
	}
}

func TestKeysAreReplacedBetween80And90PercentOfTheirLife(t *testing.T) {
	var first, second []time.Duration
	for seed := range byte(20) {
		w, a, _ := connected(t, seed, lifetimes(10*time.Hour, 100*time.Minute))
		s := a.e.Snapshot(w.now)[0]
		first = append(first, s.RekeyAt.Sub(s.Created))
		second = append(second, s.Children[0].RekeyAt.Sub(s.Children[0].Created))
		if s.Children[0].Expires.Sub(s.Children[0].Created) != 100*time.Minute {
			t.Error("hard lifetime")
		}
	}
	for i, list := range [][]time.Duration{first, second} {
		life := []time.Duration{10 * time.Hour, 100 * time.Minute}[i]
		seen := map[time.Duration]bool{}
		for _, d := range list {
			seen[d] = true
			if d < life*8/10 || d > life*9/10 {
				t.Errorf("%v of %v", d, life)
			}
		}
		if len(seen) < 10 {
			t.Error("no jitter")
		}
	}
}

func TestWhatIsNotReplacedEnds(t *testing.T) {
	// B does not want what A offers when it rekeys.
	w, a, b := connected(t, 1, lifetimes(24*time.Hour, 10*time.Minute))
	b.cfg.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}}}}
	b.e.SetConfig(b.cfg)
	w.run(11 * time.Minute)
	if len(a.ups)+len(b.ups) != 0 || !a.logged("NO_PROPOSAL_CHOSEN") {
		w.fatalf("a pair outlives its lifetime")
	}
	w.run(3 * time.Minute)
	if len(a.ikes) != 0 {
		t.Error("the childless IKE SA stays")
	}

	w, a, b = connected(t, 1, lifetimes(10*time.Minute, 24*time.Hour))
	b.cfg.Proposals = config(proposal(Encryption{suite.ENCR_AES_CBC, 128}, suite.PRF_HMAC_SHA1, suite.AUTH_HMAC_SHA1_96, suite.MODP_1024)).Proposals
	b.e.SetConfig(b.cfg)
	b.e.sessions[b.sa()].cur.expires = w.now.Add(time.Hour)
	w.run(11 * time.Minute)
	if len(a.ikes)+len(b.ikes) != 0 || len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrExpired) {
		w.fatalf("%+v", a.downs)
	}
}

func TestRunningSAsTakeTheNewConfigurationWhenTheyRekey(t *testing.T) {
	w, a, b := connected(t, 1)
	for _, n := range []*node{a, b} {
		n.cfg.Proposals = config(proposal(Encryption{suite.ENCR_AES_CBC, 256}, suite.PRF_HMAC_SHA2_512, suite.AUTH_HMAC_SHA2_512_256, suite.ECP_384)).Proposals
		n.cfg.Children = []ChildPolicy{n.cfg.Children[0]}
		n.cfg.Children[0].Proposals = []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 128}}}}
		n.e.SetConfig(n.cfg)
	}
	w.run(time.Minute)
	if a.child().Suite.KeyBits != 256 {
		t.Error("a running pair changed")
	}
	a.do(a.e.RekeyIKE(w.now, a.sa()))
	w.run(time.Second)
	b.do(b.e.RekeyChild(w.now, b.child().Child))
	w.run(time.Second)
	w.oneSession(a, b)
	if s := a.e.Snapshot(w.now)[0]; s.Suite.String() != "aes-cbc-256 sha512 prf-sha512 group 20" || a.child().Suite.KeyBits != 128 {
		t.Errorf("%v %v", s.Suite, a.child().Suite)
	}
	// A policy that is gone does not end what it made.
	b.cfg.Children = nil
	b.e.SetConfig(b.cfg)
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(time.Second)
	w.oneSession(a, b)
}
