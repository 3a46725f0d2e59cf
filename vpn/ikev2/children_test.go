package ikev2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

func newRand(seed byte) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 7)) }

func TestAnIKESACanBeginWithoutAChildAndGetSeveralFromEitherSide(t *testing.T) {
	second := func(c *Config) {
		p := c.Children[0]
		p.Name, p.Mode, p.Protocol, p.TSLocal, p.TSRemote = "lan", esp.Tunnel, 0, prefixes("10.0.0.0/8"), prefixes("10.0.0.0/8")
		c.Children = append(c.Children, p)
	}
	w, a, b := pair(t, 1, second)
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof"})
	w.run(time.Second)
	if len(a.ikes) != 1 || len(b.ikes) != 1 || len(a.ups)+len(b.ups) != 0 {
		w.fatalf("%v %v", a.ups, b.ups)
	}
	if !find[IKEUp](a)[0].Childless || !find[IKEUp](b)[0].Childless {
		t.Error("not said to be without a child")
	}
	w.run(time.Minute)
	b.do(b.e.CreateChild(w.now, b.sa(), "Tunnel0", nil))
	a.do(a.e.CreateChild(w.now, a.sa(), "lan", nil))
	w.run(time.Second)
	a.do(a.e.CreateChild(w.now, a.sa(), "lan", nil))
	w.run(time.Second)
	if len(a.ups) != 3 || len(b.ups) != 3 || len(b.e.Snapshot(w.now)[0].Children) != 3 {
		w.fatalf("%v %v", a.ups, b.ups)
	}
	// Each has its own life.
	for _, id := range sortedKeys(b.ups) {
		b.do(b.e.RekeyChild(w.now, id))
	}
	w.run(5 * time.Second)
	if len(a.ups) != 3 || len(b.ups) != 3 {
		w.fatalf("%v %v", a.ups, b.ups)
	}
	b.do(b.e.DeleteChild(w.now, sortedKeys(b.ups)[0], "x"))
	w.run(3 * time.Minute)
	if len(a.ups) != 2 || len(b.ups) != 2 || len(a.ikes) != 1 {
		w.fatalf("%v %v", a.ups, b.ups)
	}
	for _, id := range sortedKeys(b.ups) {
		b.do(b.e.DeleteChild(w.now, id, "x"))
	}
	w.run(3 * time.Minute)
	if len(a.ikes)+len(b.ikes) != 0 {
		t.Error("an IKE SA stays without a child for ever")
	}
}

func TestAResponderThatMustHaveAChildIsNotAskedWithout(t *testing.T) {
	w, a, _ := pair(t, 1)
	w.mangle = func(n int, d *Datagram) {
		if m, err := message.Decode(d.Data); err == nil && m.Response() && m.Exchange == message.IKE_SA_INIT {
			var keep []message.Payload
			for _, p := range m.Payloads {
				if n, ok := p.(*message.Notify); !ok || n.Message != message.CHILDLESS_IKEV2_SUPPORTED {
					keep = append(keep, p)
				}
			}
			m.Payloads = keep
			d.Data = m.Encode()
		}
	}
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof"})
	w.run(time.Second)
	if len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrConfig) || !strings.Contains(a.downs[0].Reason, "RFC 6023") {
		t.Errorf("%+v", a.downs)
	}
}

func TestThePacketThatStartsAChildDecidesWhichPolicyItIsFor(t *testing.T) {
	two := func(c *Config) {
		p := c.Children[0]
		p.Mode, p.Protocol, p.TSLocal, p.TSRemote, p.Name = esp.Tunnel, 0, prefixes("10.1.0.0/16"), prefixes("10.9.0.0/16"), "one"
		q := p
		q.Name, q.TSLocal = "two", prefixes("10.2.0.0/16")
		c.Children = []ChildPolicy{p, q}
	}
	packet := func(local, remote string) *Packet {
		return &Packet{Local: host(6, addr(local)), Remote: host(6, addr(remote))}
	}
	for _, c := range []struct{ to, policy, want string }{
		{"10.1.0.5", "one", "any 10.1.0.0-10.1.255.255"},
		{"10.2.0.5", "two", "any 10.2.0.0-10.2.255.255"},
	} {
		w, a, b := apart(t, vti("10.9.0.0/16", "10.0.0.0/8"), two)
		a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", Trigger: packet("10.9.1.1", c.to)})
		w.run(time.Second)
		if u := b.child(); u.Policy != c.policy || u.TSLocal[0].String() != c.want {
			t.Errorf("to %s: %s %v", c.to, u.Policy, u.TSLocal)
		}
		// The same in CREATE_CHILD_SA.
		a.do(a.e.CreateChildFor(w.now, a.sa(), "Tunnel0", nil, *packet("10.9.1.1", c.to)))
		w.run(time.Second)
		if id := sortedKeys(b.ups); len(id) != 2 || b.ups[id[1]].Policy != c.policy {
			t.Errorf("%v", b.ups)
		}
	}
	// A packet that the policy has nothing to do with is left out of the offer.
	w, a, b := apart(t, vti("10.9.0.0/16", "10.0.0.0/8"), two)
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", Trigger: packet("172.16.1.1", "10.2.0.5")})
	w.run(time.Second)
	if b.child().Policy != "one" {
		t.Error(b.child().Policy)
	}
}

func TestAPeerThatTakesOnePairOnlyIsOfferedOne(t *testing.T) {
	w, a, b := apart(t, vti("10.9.0.0/16", "10.0.0.0/8"), vti("10.0.0.0/8", "10.9.0.0/16"))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof"})
	w.run(time.Second)
	s := a.e.sessions[a.sa()]
	for _, trigger := range []*Packet{nil, {Local: host(17, addr("10.9.0.1")), Remote: host(17, addr("10.0.0.1"))}} {
		task := &createChild{policy: a.e.cfg.Children[0], trigger: trigger}
		a.e.begin(w.now)
		if _, ok := task.begin(s.cur); !ok {
			t.Fatal("no offer")
		}
		task.done(s.cur, &parts{exchange: message.CREATE_CHILD_SA, notifies: []*message.Notify{{Message: message.SINGLE_PAIR_REQUIRED}}})
		a.do(a.e.finish())
		if want := "any 10.9.0.0-10.9.255.255"; trigger == nil && (len(task.tsLocal) != 1 || task.tsLocal[0].String() != want) {
			t.Errorf("%v", task.tsLocal)
		}
		if trigger != nil && (len(task.tsLocal) != 1 || task.tsLocal[0] != trigger.Local) {
			t.Errorf("%v", task.tsLocal)
		}
		w.run(time.Second)
	}
	if len(b.ups) != 2 {
		t.Errorf("%v", b.ups)
	}
}

func TestAVirtualTemplateTakesGREOrIPsecAsThePeerOffers(t *testing.T) {
	auto := func(c *Config) {
		gre := c.Children[0]
		gre.Name, gre.Mode = "Virtual-Template1 gre", esp.Tunnel
		any := gre
		any.Name, any.Protocol, any.TSLocal, any.TSRemote = "Virtual-Template1 ipsec", 0, prefixes("0.0.0.0/0"), prefixes("0.0.0.0/0")
		c.Children = []ChildPolicy{gre, any}
	}
	greTunnel := func(c *Config) { c.Children[0].Mode = esp.Tunnel }
	for _, c := range []struct {
		name   string
		client func(*Config)
		want   string
	}{
		{"GRE between the two hosts", greTunnel, "Virtual-Template1 gre"},
		{"everything", vti("0.0.0.0/0", "0.0.0.0/0"), "Virtual-Template1 ipsec"},
		{"a client's network", vti("10.122.144.128/27", "0.0.0.0/0"), "Virtual-Template1 ipsec"},
		{"everything between the two hosts", func(c *Config) { c.Children[0].Mode, c.Children[0].Protocol = esp.Tunnel, 0 }, "Virtual-Template1 ipsec"},
	} {
		w, a, b := apart(t, c.client, auto)
		a.initiate(addrB)
		w.run(time.Second)
		if got := b.child().Policy; got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func (n *node) lines(text string) (out []string) {
	for _, l := range find[Log](n) {
		if strings.Contains(l.Msg, text) {
			out = append(out, l.Msg)
		}
	}
	return out
}

func TestAPFSMismatchAtTheRekeyKeepsTheOldPairSaysBothOffersAndTriesAgain(t *testing.T) {
	hour := func(c *Config) { c.Children[0].Lifetime = time.Hour }
	for _, who := range []string{"client", "server"} {
		t.Run(who, func(t *testing.T) {
			w, a, b := apart(t, both(hour, pfs(suite.MODP_4096)), both(hour, pfs(suite.MODP_2048)))
			w.traffic = time.Second
			a.initiate(addrB) // the first child has no key exchange of its own
			w.run(time.Second)
			w.oneSession(a, b)
			first := a.child().Child
			n, o := a, b
			if who == "server" {
				n, o = b, a
			}
			n.do(n.e.RekeyChild(w.now, n.child().Child))
			w.run(time.Second)
			if a.child().Child != first || len(w.lost) != 0 {
				w.fatalf("the old pair is gone")
			}
			ours, theirs := "aes-gcm-256 group-16 no-esn", "aes-gcm-256 group-14 no-esn"
			if who == "server" {
				ours, theirs = theirs, ours
			}
			if got := fmt.Sprint(o.lines("offer: ")); got != fmt.Sprintf("[our offer: %s peer's offer: %s]", theirs, ours) {
				t.Error(got)
			}
			if got := fmt.Sprint(n.lines("offer: ")); got != fmt.Sprintf("[our offer: %s peer's offer: not known: it has only said no]", ours) {
				t.Error(got)
			}
			if !n.logged("the old child SA is kept") || !o.logged("the old child SA is kept") {
				t.Error("not said to be kept")
			}
			// Less and less often: 30 s to 8 min and a third.
			w.run(50 * time.Minute)
			if got := len(n.lines("our offer: ")); got < 6 || got > 24 {
				t.Errorf("%d tries in 50 minutes", got)
			}
			w.oneSession(a, b)
			if len(w.lost) != 0 {
				t.Error(w.lost)
			}
			// The end comes all the same.
			w.run(11 * time.Minute)
			if len(a.ups)+len(b.ups) != 0 {
				t.Error("the pair outlives its lifetime")
			}
		})
	}
}

func TestARekeyWorksAgainOnceTheGroupsMatch(t *testing.T) {
	w, a, b := apart(t, pfs(suite.MODP_4096), pfs(suite.MODP_2048))
	w.traffic = 100 * time.Millisecond
	a.initiate(addrB)
	w.run(time.Second)
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(10 * time.Second)
	b.e.SetConfig(config(pfs(suite.MODP_2048, suite.MODP_4096)))
	w.run(time.Minute)
	w.oneSession(a, b)
	if u := a.child(); u.PFS != suite.MODP_4096 || len(w.lost) != 0 {
		t.Errorf("%v, lost %v", u.PFS, w.lost)
	}
	// A peer that wants another one of our groups says so, and gets it.
	b.e.SetConfig(config(pfs(suite.ECP_521)))
	a.e.SetConfig(config(pfs(suite.CURVE25519, suite.ECP_521)))
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(2 * time.Second)
	if u := a.child(); u.PFS != suite.ECP_521 {
		t.Error(u.PFS)
	}
}

func TestAnInvalidKeyExchangeAtARekeyKeepsTheOldPair(t *testing.T) {
	w, a, b := connected(t, 1, pfs(suite.ECP_256))
	c := a.e.children[a.child().Child]
	task := &createChild{policy: c.policy, old: c}
	c.rekey = task
	a.e.begin(w.now)
	task.begin(c.s.cur)
	task.done(c.s.cur, &parts{exchange: message.CREATE_CHILD_SA, notifies: []*message.Notify{{Message: message.INVALID_KE_PAYLOAD, Data: []byte{0, 16}}}})
	a.do(a.e.finish())
	if got := fmt.Sprint(a.lines("offer: ")); got != "[our offer: aes-gcm-256 group-19 no-esn peer's offer: group-16]" {
		t.Error(got)
	}
	w.run(time.Second)
	w.oneSession(a, b)
	w.run(time.Minute) // and is tried again
	w.oneSession(a, b)
	if a.child().Replaces == 0 {
		t.Error("not tried again")
	}
}

func TestAnIKERekeyThatIsRefusedIsTriedAgainLater(t *testing.T) {
	other := func(c *Config) { c.Proposals[0].Groups = []suite.Group{suite.ECP_384} }
	w, a, b := connected(t, 1)
	b.e.SetConfig(config(other))
	a.do(a.e.RekeyIKE(w.now, a.sa()))
	w.run(time.Second)
	if len(a.ikes) != 1 || len(a.lines("our offer: ")) != 1 || len(b.lines("peer's offer: ")) != 1 {
		w.fatalf("%v %v", a.lines("offer: "), b.lines("offer: "))
	}
	b.e.SetConfig(config())
	w.run(time.Minute)
	if len(find[IKERekeyed](a)) != 1 || len(find[IKERekeyed](b)) != 1 {
		t.Error("not rekeyed")
	}
	w.oneSession(a, b)
}

func TestAResponderOnlyPolicyWaitsForThePeersNewKeys(t *testing.T) {
	w, a, b := apart(t, func(c *Config) { c.Children[0].Lifetime = 10 * time.Minute }, func(c *Config) {
		c.Children[0].Lifetime, c.Children[0].ResponderOnly, c.Children[0].VolumeBytes = 6*time.Minute, true, 1000
	})
	a.initiate(addrB)
	w.run(time.Second)
	if u := b.child(); u.VolumeBytes != 1000 || !u.ResponderOnly {
		t.Errorf("%+v", u)
	}
	b.do(b.e.RekeyChild(w.now, b.child().Child))
	w.run(5 * time.Minute)
	if u := b.child(); u.Replaces != 0 {
		t.Error("rekeyed by the responder")
	}
	w.run(2 * time.Minute)
	if len(b.ups) != 0 {
		t.Error("the pair outlives its lifetime")
	}
}

func TestTheProfilesOwnKeyIsForThoseThatTheKeyringHasNoneFor(t *testing.T) {
	own := func(key string) func(*Config) {
		return func(c *Config) { c.Profiles[0].Key = ProfileKey{Local: suite.Key(key), Remote: suite.Key(key)} }
	}
	empty := func(c *Config) { c.Keyrings[0].Peers[0].Addresses = []netip.Prefix{prefix("203.0.113.0/24")} }
	noRing := func(c *Config) { c.Profiles[0].Keyring, c.Keyrings = "", nil }
	for _, c := range []struct {
		name string
		a, b func(*Config)
		up   bool
	}{
		{"neither has a keyring", both(noRing, own("k")), both(noRing, own("k")), true},
		{"the keyring has no entry", both(empty, own("k")), both(noRing, own("k")), true},
		{"the keyring goes first", own("wrong"), none, true},
		{"other keys", both(noRing, own("k")), both(noRing, own("x")), false},
		{"no key at all", both(noRing, own("k")), noRing, false},
	} {
		w, a, b := apart(t, c.a, c.b)
		a.initiate(addrB)
		w.run(time.Second)
		if (len(a.ikes) == 1 && len(b.ikes) == 1) != c.up {
			t.Errorf("%s: %v", c.name, a.downs)
		}
	}
}

func TestProfilesAreChosenByVRFAddressAndIdentity(t *testing.T) {
	p := func(name, vrf string, local []netip.Prefix, m ...IdentityMatch) Profile {
		return Profile{Name: name, MatchVRF: vrf, MatchLocal: local, MatchRemote: m}
	}
	any := IdentityMatch{Any: true}
	e := NewEngine(Config{Profiles: []Profile{
		p("any", "*", nil, any), p("red", "red", nil, any), p("here", "red", prefixes("192.0.2.1/32"), IdentityMatch{Type: message.ID_FQDN, Domain: "example.com"}),
		p("exact", "red", nil, IdentityMatch{Exact: FQDNIdentity("a.example.com")}), p("default", "", nil, IdentityMatch{Prefix: prefix("10.0.0.0/8")}),
	}}, rand.NewChaCha8([32]byte{}))
	for _, c := range []struct {
		vrf, local string
		id         Identity
		want       string
	}{
		{"red", "192.0.2.1", FQDNIdentity("a.example.com"), "exact"}, {"red", "192.0.2.1", FQDNIdentity("b.example.com"), "here"},
		{"red", "192.0.2.2", FQDNIdentity("b.example.com"), "red"}, {"blue", "192.0.2.1", FQDNIdentity("a.example.com"), "any"},
		{"default", "192.0.2.1", AddressIdentity(addr("10.1.1.1")), "default"}, {"default", "192.0.2.1", AddressIdentity(addr("11.1.1.1")), "any"},
	} {
		got, ok := e.profileFor(c.vrf, addr(c.local), c.id, Identity{}, nil)
		if !ok || got.Name != c.want {
			t.Errorf("%+v: %s", c, got.Name)
		}
	}
}
