package ikev2

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// What a peer that has proven who it is may do to us.

func TestAPeerThatMovesAllTheTimeAndAnswersNothingCostsOneCheck(t *testing.T) {
	w, a, b := roaming(t)
	// B's questions are lost, its answers arrive.
	w.wire = func(_ int, d Datagram) []time.Duration {
		if h, _ := message.DecodeHeader(d.Data); d.Remote.Addr() == addrB && !h.Response() {
			return nil
		}
		return []time.Duration{time.Millisecond}
	}
	for i := range 100 {
		a.addr = addr(fmt.Sprintf("203.0.113.%d", 20+i))
		a.do(a.e.Roam(w.now, a.sa(), a.addr, addrB))
		w.run(100 * time.Millisecond)
	}
	cur := b.e.sessions[b.sa()].cur
	if n := len(cur.tasks); n > 1 || cur.pending == nil {
		t.Errorf("%d requests wait for their turn", n)
	}
	// The one that waits is about where the peer is now.
	w.wire = nil
	w.run(time.Minute)
	w.oneSession(a, b)
	if u := b.child(); u.Remote.Addr() != a.addr {
		t.Errorf("B sends to %v, A is at %v", u.Remote, a.addr)
	}
}

func TestAConfigurationThatNobodyAskedForIsIgnored(t *testing.T) {
	for _, request := range []bool{true, false} {
		g := &granter{t: t, grant: Configuration{Accept: RouteAccept{Accept: true}}}
		w, a, b := apart(t, both(authorized(g), func(c *Config) { c.Profiles[0].Request, c.Profiles[0].SetAccept = request, false }), none)
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		s := a.e.sessions[a.sa()]
		a.e.begin(w.now)
		reply := Configuration{Subnets: []netip.Prefix{prefix("10.0.0.0/8")}}
		s.configured(&parts{cp: reply.payload(message.CFG_REPLY, nil)}, s.asks(&handshake{}), nil)
		a.do(a.e.finish())
		if got := len(find[ConfigReceived](a)) == 1 && len(a.e.Snapshot(w.now)[0].Received.Subnets) == 1; got != request {
			t.Errorf("asked %v, taken %v", request, got)
		}
	}
}

func TestARefusalOfANewPairAsIfItWereARekeyIsAFailure(t *testing.T) {
	w, a, b := connected(t, 1)
	for _, n := range []*node{a, b} {
		s := n.e.sessions[n.sa()]
		n.e.begin(w.now)
		task := &createChild{policy: n.cfg.Children[0], tag: "mine"}
		task.spi = n.e.newSPI()
		task.done(s.cur, &parts{notifies: []*message.Notify{{Message: message.CHILD_SA_NOT_FOUND}}})
		n.do(n.e.finish())
		f := find[ChildFailed](n)
		if len(f) != 1 || f[0].Tag != "mine" || !errors.Is(f[0].Err, ErrRefused) {
			t.Errorf("the driver waits for ever: %+v", f)
		}
		if len(n.e.spis) != 1 {
			t.Error("the SPI is lost")
		}
	}
}

func TestAProfileThatChangesHoldsForThePeersThatAreThere(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Policy: "pol", Accept: RouteAccept{Accept: true}}}
	w, a, b := apart(t, authorized(&granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.1.0.0/16")}}}), authorized(g))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	if c := find[ConfigReceived](b); len(c) != 1 || !c[0].Accept.Accept {
		t.Fatalf("%+v", c)
	}
	apply := func(change func(*Profile)) {
		b.cfg.Profiles = slices.Clone(b.cfg.Profiles)
		change(&b.cfg.Profiles[0])
		b.e.SetConfig(b.cfg)
		b.do(b.e.Reauthorize(w.now))
	}
	// What is accepted of the peer's routes changes without a word of the peer's.
	g.grant.Accept.Tag = 7
	apply(func(*Profile) {})
	if c := find[ConfigReceived](b); len(c) != 2 || c[1].Accept.Tag != 7 || len(c[1].Configuration.Subnets) != 1 {
		t.Fatalf("%+v", c)
	}
	apply(func(p *Profile) { p.Authorization = Authorization{} })
	if c := find[ConfigReceived](b); len(c) != 3 || c[2].Accept.Accept {
		t.Fatalf("%+v", c)
	}
	// Nothing more is taken from the peer.
	apply(func(p *Profile) { p.SetAccept = false })
	a.do(a.e.SendConfiguration(w.now, a.sa(), Configuration{Subnets: []netip.Prefix{prefix("0.0.0.0/0")}}))
	w.run(time.Second)
	if c := find[ConfigReceived](b); len(c) != 3 || b.e.Counters().ConfigsIgnored != 1 {
		t.Fatalf("%+v", c)
	}
	// Dead peer detection begins.
	apply(func(p *Profile) { p.DPD = DPD{Interval: 20 * time.Second, Retry: 2 * time.Second} })
	a.dead = true
	w.run(time.Minute)
	if len(b.downs) != 1 || !errors.Is(b.downs[0].Err, ErrDead) {
		w.fatalf("%+v", b.downs)
	}
}

func TestAPeerHasOnlySoManyIKESAs(t *testing.T) {
	spoke := func(c *Config) { c.Profiles[0].Identity = FQDNIdentity("spoke.example") }
	w := newWorld(t, 1)
	a, c := w.add("A", addrA, config(spoke)), w.add("C", addrC, config(spoke))
	b := w.add("B", addrB, config(func(c *Config) { c.MaxSAsPeer = 3 }))
	for range 5 {
		a.initiate(addrB)
		w.run(time.Second)
	}
	if len(b.ikes) != 3 || !b.logged("this peer has 3 IKE SAs already") {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
	// A group's key may be many peers', each with an address of its own.
	c.initiate(addrB)
	w.run(time.Second)
	if len(b.ikes) != 4 {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
	// Who begins anew gets in.
	a.boot()
	a.initiate(addrB)
	w.run(time.Second)
	if len(b.ikes) != 2 || len(a.ikes) != 1 {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
}

func TestInitialContactFromAnotherAddressCountsWithACertificate(t *testing.T) {
	l := newLab(t, "CA", nil)
	spoke := both(certs(t, l, "spoke", "ecdsa-p256", addrA), func(c *Config) { c.Profiles[0].Identity = FQDNIdentity("spoke.example") })
	w := newWorld(t, 1)
	g := &granter{t: t, grant: Configuration{Policy: "pol"}}
	a, c := w.add("A", addrA, config(spoke)), w.add("C", addrC, config(spoke)) // one router at two places
	b := w.add("B", addrB, config(certs(t, l, "hub", "ecdsa-p256", addrB), func(c *Config) {
		c.Authorize, c.MaxSAsPeer = g, 2
		c.Profiles[0].Authorization = Authorization{Policy: "pol"}
	}))
	a.initiate(addrB)
	w.run(time.Second)
	c.initiate(addrB)
	w.run(time.Second)
	if len(b.ikes) != 1 || len(c.ikes) != 1 || len(g.held) != 1 || len(b.downs) != 1 || b.downs[0].Remote.Addr() != addrA {
		w.fatalf("%d IKE SAs, %d grants", len(b.ikes), len(g.held))
	}
	// Without INITIAL_CONTACT its SAs count wherever they come from.
	a.boot()
	for _, n := range []*node{a, c} {
		n.cfg.Profiles[0].NoInitialContact = true
		n.e.SetConfig(n.cfg)
		n.initiate(addrB)
		w.run(time.Second)
	}
	if len(b.ikes) != 2 || !b.logged("this peer has 2 IKE SAs already") {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
}

func TestAnAddressIsNeverTwoPeersWhenOneIsRefusedThatBeginsAnew(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Policy: "pol"}}
	w, a, b := apart(t, none, authorized(g))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	// The policy goes, and the peer begins anew: its lease is free, so its old SA may not use the address any more.
	g.err = errors.New("there is no policy")
	a.boot()
	a.initiate(addrB)
	w.run(time.Second)
	if len(g.held) != len(b.ikes) || len(b.ikes) != 0 {
		w.fatalf("%d grants, %d IKE SAs", len(g.held), len(b.ikes))
	}
}

func TestOneLoginAsksOnlyAFewOthersWhetherTheyLive(t *testing.T) {
	group := func(c *Config) { c.Profiles[0].Identity, c.Profiles[0].NoInitialContact = KeyIdentity("group"), true }
	w := newWorld(t, 1)
	b := w.add("B", addrB, config())
	for i := range 50 {
		w.add(fmt.Sprintf("spoke%d", i), addr(fmt.Sprintf("192.0.2.%d", 100+i)), config(group)).initiate(addrB)
	}
	w.run(time.Minute)
	before := len(find[Send](b))
	a := w.add("A", addrA, config(group))
	a.initiate(addrB)
	w.run(time.Second)
	if n := len(find[Send](b)) - before - 2; len(b.ikes) != 51 || n > maxAsked {
		w.fatalf("%d IKE SAs, one more costs %d messages", len(b.ikes), n)
	}
}

func TestThousandsOfAttributesAreCutOffAndCounted(t *testing.T) {
	cp := &message.CP{CFG: message.CFG_SET}
	for i := range 5000 {
		cp.Attributes = append(cp.Attributes, message.CFGAttribute{Type: message.INTERNAL_IP4_SUBNET, Value: []byte{10, byte(i >> 8), byte(i), 0, 255, 255, 255, 0}})
	}
	for i := range 100 {
		cp.Attributes = append(cp.Attributes, message.CFGAttribute{Type: message.INTERNAL_IP4_DNS, Value: []byte{10, 0, 0, byte(i)}},
			message.CFGAttribute{Type: message.INTERNAL_IP4_ADDRESS, Value: []byte{10, 0, 0, byte(i + 1)}}, message.CFGAttribute{Type: message.INTERNAL_DNS_DOMAIN, Value: fmt.Appendf(nil, "d%d", i)})
	}
	c := parseConfiguration(cp)
	if len(c.Subnets) != maxSubnets || len(c.DNS) != maxAddresses || len(c.Addresses) != maxAddresses || len(c.Domains) != maxAddresses || c.Unknown != 5300-maxSubnets-3*maxAddresses {
		t.Errorf("%d subnets, %d servers, %d addresses, %d domains, %d ignored", len(c.Subnets), len(c.DNS), len(c.Addresses), len(c.Domains), c.Unknown)
	}
	asks := &message.CP{CFG: message.CFG_REQUEST}
	for range 5000 {
		asks.Attributes = append(asks.Attributes, message.CFGAttribute{Type: message.INTERNAL_IP4_ADDRESS})
	}
	if c := parseConfiguration(asks); len(c.Addresses) != 1 {
		t.Errorf("%d wishes", len(c.Addresses))
	}
}

func TestAnotherSpellingIsTheSamePeer(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config(func(c *Config) { c.MaxSAsPeer = 2 }))
	a := w.add("A", addrA, config())
	for _, name := range []string{"spoke.example", "Spoke.example", "spoke.EXAMPLE"} {
		a.cfg.Profiles[0].Identity, a.cfg.Profiles[0].NoInitialContact = FQDNIdentity(name), true
		a.e.SetConfig(a.cfg)
		a.initiate(addrB)
		w.run(time.Second)
	}
	if len(b.ikes) != 2 {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
	a.boot()
	a.cfg.Profiles[0].Identity, a.cfg.Profiles[0].NoInitialContact = FQDNIdentity("SPOKE.example"), false
	a.e.SetConfig(a.cfg)
	a.initiate(addrB)
	w.run(time.Second)
	if len(b.ikes) != 1 {
		w.fatalf("%d IKE SAs", len(b.ikes))
	}
}

func TestAKeyThatChangesEndsThePeersThatItIsForAndNoOthers(t *testing.T) {
	named := func(name, key string) func(*Config) {
		return func(c *Config) {
			c.Profiles[0].Identity = FQDNIdentity(name)
			c.Keyrings[0].Peers[0].Local, c.Keyrings[0].Peers[0].Remote = suite.Key(key), suite.Key(key)
		}
	}
	entry := func(name, key string) KeyringPeer {
		return KeyringPeer{Name: name, Identity: []IdentityMatch{{Exact: FQDNIdentity(name)}}, Local: suite.Key(key), Remote: suite.Key(key)}
	}
	w := newWorld(t, 1)
	a, c := w.add("A", addrA, config(named("a", "keyA"))), w.add("C", addrC, config(named("c", "keyC")))
	b := w.add("B", addrB, config(func(x *Config) { x.Keyrings[0].Peers = []KeyringPeer{entry("a", "keyA"), entry("c", "keyC")} }))
	a.initiate(addrB)
	c.initiate(addrB)
	w.run(time.Second)
	apply := func(n *node, peers ...KeyringPeer) {
		n.cfg.Keyrings = []Keyring{{Name: "ring", Peers: peers}}
		n.e.SetConfig(n.cfg)
		n.do(n.e.Reauthorize(w.now))
		w.run(time.Second)
	}
	apply(b, entry("new", "x"), entry("c", "keyC"), entry("a", "keyA"))
	if len(b.ikes) != 2 {
		w.fatalf("another peer's key ended something: %+v", b.downs)
	}
	apply(b, entry("new", "x"), entry("c", "other"), entry("a", "keyA"))
	if len(b.ikes) != 1 || len(c.ikes) != 0 || len(a.ikes) != 1 || b.downs[0].Reason != "its pre-shared key has changed" {
		w.fatalf("%+v", b.downs)
	}
	apply(b)
	if len(b.ikes)+len(a.ikes) != 0 {
		w.fatalf("a peer without a key is still there")
	}
	// The same at the one that began it; the profile's own key is a key like others.
	w, a, b = connected(t, 2)
	a.cfg.Profiles[0].Key = ProfileKey{suite.Key("CISCO123"), suite.Key("CISCO123")}
	apply(a)
	w.oneSession(a, b)
	a.cfg.Profiles[0].Key.Remote = suite.Key("other")
	apply(a)
	if len(a.ikes) != 0 {
		t.Error("still up")
	}
}

// several makes a client with an address, MOBIKE and three children at a server.
func several(t *testing.T, seed byte, g *granter) (*world, *node, *node) {
	lans := func(server bool) func(*Config) {
		return func(c *Config) {
			c.MOBIKE = true
			p := c.Children[0]
			p.Mode, p.Protocol = esp.Tunnel, 0
			c.Children = nil
			for i := range 3 {
				p.Name, p.TSLocal, p.TSRemote = fmt.Sprintf("lan%d", i), prefixes("10.122.144.128/27"), prefixes(fmt.Sprintf("10.%d.0.0/16", i+1))
				if server {
					p.TSLocal, p.TSRemote = p.TSRemote, p.TSLocal
				}
				c.Children = append(c.Children, p)
			}
			c.Profiles[0].DPD = DPD{Interval: 60 * time.Second, Retry: 2 * time.Second, OnDemand: true}
		}
	}
	w := newWorld(t, seed)
	a, b := w.add("A", addrA, config(lans(false))), w.add("B", addrB, config(lans(true), authorized(g)))
	w.callSeveral(a)
	if len(a.ups) != 3 || len(b.ups) != 3 {
		w.fatalf("%v %v", a.ups, b.ups)
	}
	return w, a, b
}

func (w *world) callSeveral(a *node) {
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "lan0", MOBIKE: true, Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	w.run(time.Second)
	for _, policy := range []string{"lan1", "lan2"} {
		a.do(a.e.CreateChild(w.now, a.sa(), policy, nil))
		w.run(time.Second)
	}
}

// wantSeveral checks that both sides have the same three pairs, one of each.
func (w *world) wantSeveral(what string, a, b *node) {
	w.t.Helper()
	peers := map[uint32]ChildUp{}
	policies := map[string]bool{}
	for _, u := range b.ups {
		peers[u.SPIOut], policies[u.Policy] = u, true
	}
	if len(a.ikes) != 1 || len(b.ikes) != 1 || len(a.ups) != 3 || len(b.ups) != 3 || len(policies) != 3 {
		w.fatalf("%s: %d and %d IKE SAs, %d and %d pairs", what, len(a.ikes), len(b.ikes), len(a.ups), len(b.ups))
	}
	for _, u := range a.ups {
		if v := peers[u.SPIIn]; v.SPIIn != u.SPIOut || v.Policy != u.Policy || fmt.Sprint(v.TSRemote) != fmt.Sprint(u.TSLocal) {
			w.fatalf("%s: %+v\n%+v", what, u, v)
		}
	}
}

func TestNewKeysKeepAddressChildrenMOBIKEAndDPDWhoeverMakesThemAndWhenever(t *testing.T) {
	lease := Configuration{Policy: "pol", Addresses: []netip.Prefix{prefix("10.122.144.146/32")}}
	for seed := range byte(12) {
		g := &granter{t: t, grant: lease}
		w, a, b := several(t, seed, g)
		r := newRand(seed)
		if seed >= 6 {
			w.wire = func(int, Datagram) []time.Duration {
				if r.IntN(6) == 0 {
					return nil
				}
				return []time.Duration{time.Duration(r.IntN(100)) * time.Millisecond}
			}
		}
		for range 4 {
			// Everything at once, from both sides.
			for _, n := range []*node{a, b} {
				for _, id := range sortedKeys(n.ups) {
					if r.IntN(4) > 0 {
						n.do(n.e.RekeyChild(w.now, id))
					}
				}
				if r.IntN(2) == 0 {
					n.do(n.e.RekeyIKE(w.now, n.sa()))
				}
				w.run(time.Duration(r.IntN(30)) * time.Millisecond)
			}
			w.run(4 * time.Minute)
			w.wantSeveral(fmt.Sprintf("seed %d", seed), a, b)
		}
		w.wire = nil
		if g.given != 1 || len(g.held) != 1 || b.e.Snapshot(w.now)[0].Assigned.Addresses[0] != lease.Addresses[0] {
			t.Errorf("seed %d: %d grants", seed, g.given)
		}
		if n := len(b.e.spis); n != 3 {
			t.Errorf("seed %d: %d SPIs", seed, n)
		}
		w.roam(a, addr("203.0.113.9"), nil, addrB)
		for _, u := range b.ups {
			if u.Remote.Addr() != a.addr {
				t.Errorf("seed %d: %s stays at %v", seed, u.Policy, u.Remote)
			}
		}
		a.dead = true
		for range 75 {
			b.do(b.e.NoteTraffic(w.now, b.anySA(), false, true))
			w.run(time.Second)
		}
		if len(b.ikes) != 0 || !errors.Is(b.downs[0].Err, ErrDead) || len(g.held) != 0 {
			t.Errorf("seed %d: the dead peer is still there", seed)
		}
	}
}

func TestAClientWithAnAddressAndSeveralChildrenBeginsAnew(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Policy: "pol", Addresses: []netip.Prefix{prefix("10.122.144.146/32")}}}
	w, a, b := several(t, 1, g)
	for range 3 {
		a.boot()
		w.callSeveral(a)
		w.wantSeveral("begun anew", a, b)
		if len(g.held) != 1 {
			t.Errorf("%d grants are held", len(g.held))
		}
	}
	w.run(5 * time.Minute)
	if len(b.e.sas) != 1 || len(b.e.spis) != 3 || len(b.e.children) != 3 {
		t.Errorf("%d SAs, %d SPIs, %d children", len(b.e.sas), len(b.e.spis), len(b.e.children))
	}
}

func TestAnotherSpellingOfADistinguishedNameIsTheSamePeer(t *testing.T) {
	dn := func(cn any) Identity {
		b, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Lab"}}, {{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: cn}}})
		if err != nil {
			t.Fatal(err)
		}
		return Identity{message.ID_DER_ASN1_DN, string(b)}
	}
	one, other := dn("Spoke 1"), dn(asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("SPOKE  1")})
	if one == other || one.canonical() != other.canonical() || one.canonical() == dn("Spoke 2").canonical() {
		t.Errorf("%q %q", one.canonical(), other.canonical())
	}
}
