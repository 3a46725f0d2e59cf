package ikev2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
)

// granter is an Authorizer for tests: it counts what it gives and takes back.
type granter struct {
	t     testing.TB
	grant Configuration
	err   error
	asked []AuthorizeRequest
	held  map[SAID]bool
	given int
}

func (g *granter) Authorize(_ time.Time, r AuthorizeRequest) (Configuration, error) {
	g.asked = append(g.asked, r)
	if g.err != nil {
		return Configuration{}, g.err
	}
	if g.held == nil {
		g.held = map[SAID]bool{}
	}
	if g.held[r.SA] {
		g.t.Errorf("SA %d is authorized twice", r.SA)
	}
	g.held[r.SA] = true
	g.given++
	c := g.grant
	if !r.HasRequest {
		c.Addresses = nil
	}
	return c, nil
}

func (g *granter) Release(sa SAID) {
	if !g.held[sa] {
		g.t.Errorf("SA %d is released, which nothing was granted", sa)
	}
	delete(g.held, sa)
}

func (g *granter) Refresh(_ SAID, a Authorization) (Configuration, bool) {
	if a.IsZero() {
		return Configuration{}, true
	}
	return g.grant, true
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// vti makes both sides' policy a route-based tunnel between these.
func vti(local, remote string) func(*Config) {
	return func(c *Config) {
		p := &c.Children[0]
		p.Mode, p.Protocol, p.TSLocal, p.TSRemote = esp.Tunnel, 0, prefixes(strings.Fields(local)...), prefixes(strings.Fields(remote)...)
	}
}

func authorized(g *granter) func(*Config) {
	return func(c *Config) {
		c.Authorize, c.Version = g, "Felloe"
		p := &c.Profiles[0]
		p.Authorization, p.SetSend, p.SetAccept = Authorization{Policy: "pol"}, true, true
	}
}

func both(f ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, x := range f {
			x(c)
		}
	}
}

func one() *uint { v := uint(1); return &v }

func TestAClientGetsTheAddressThatItAsksForAndItsSelectorsAreThat(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Policy: "pol", Addresses: []netip.Prefix{prefix("10.122.144.146/27"), prefix("2001:db8::7/128")},
		DNS: []netip.Addr{addr("10.0.0.1"), addr("2001:db8::53")}, Domains: []string{"example.com"}, Subnets: []netip.Prefix{prefix("10.9.0.0/16"), prefix("fd00::/64")},
		PFS: one()}}
	all := vti("0.0.0.0/0 ::/0", "0.0.0.0/0 ::/0")
	w, a, b := apart(t, all, both(all, authorized(g)))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0",
		Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}})
	w.run(time.Second)
	w.oneSession(a, b)
	c := find[ConfigReceived](a)
	if len(c) != 1 || c[0].Kind != message.CFG_REPLY {
		t.Fatalf("%+v", c)
	}
	want := "address 10.122.144.146/27, address 2001:db8::7/128, dns 10.0.0.1, dns 2001:db8::53, subnet 10.9.0.0/16, subnet fd00::/64, domain example.com, version Felloe, pfs 1"
	if got := c[0].Configuration.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(g.asked) != 1 || !g.asked[0].HasRequest || g.asked[0].Wanted.String() != "address any-ipv4, address any-ipv6" || g.asked[0].Peer != AddressIdentity(addrA) {
		t.Errorf("asked %+v", g.asked)
	}
	// RFC 7296 §2.19: the client speaks for its address.
	if got := fmt.Sprint(a.child().TSLocal, b.child().TSRemote); got != "[any 10.122.144.146 any 2001:db8::7] [any 10.122.144.146 any 2001:db8::7]" {
		t.Error(got)
	}
	up := find[IKEUp](b)[0]
	if len(up.Assigned.Addresses) != 2 || up.Childless {
		t.Errorf("%+v", up)
	}
	i := b.e.Snapshot(w.now)[0]
	if i.Authorization != "pol" || len(i.Assigned.Addresses) != 2 || len(a.e.Snapshot(w.now)[0].Received.Subnets) != 2 {
		t.Errorf("%+v", i)
	}
	// IKEUp, then the configuration, then the child.
	order := func(v any) int {
		return slices.IndexFunc(a.actions, func(x Action) bool { return fmt.Sprintf("%T", x) == fmt.Sprintf("%T", v) })
	}
	if !(order(IKEUp{}) < order(ConfigReceived{}) && order(ConfigReceived{}) < order(ChildUp{})) {
		t.Error("the driver learns of the configuration in the wrong order")
	}
	// The answer is a reply: nothing is set besides.
	if len(find[ConfigAcknowledged](b)) != 0 {
		t.Error("CFG_SET to a client that has asked")
	}
	// New keys keep all that.
	b.do(b.e.RekeyChild(w.now, b.child().Child))
	w.run(time.Second)
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	w.run(time.Second)
	b.do(b.e.RekeyIKE(w.now, b.sa()))
	w.run(time.Second)
	w.oneSession(a, b)
	if got := fmt.Sprint(b.child().TSRemote); got != "[any 10.122.144.146 any 2001:db8::7]" {
		t.Error(got)
	}
	a.do(a.e.DeleteAll(w.now, "end"))
	w.run(3 * time.Minute)
	if len(g.held) != 0 {
		t.Errorf("still granted: %v", g.held)
	}
}

func TestAServerSetsItsRoutesWhereTheClientDidNotAskAndAnyResponseCompletesThat(t *testing.T) {
	grant := Configuration{Policy: "uCPE-author-pol", Subnets: []netip.Prefix{prefix("166.34.121.112/32")}, PFS: one(), Accept: RouteAccept{Accept: true, Distance: 1}}
	for _, accept := range []bool{true, false} {
		g := &granter{t: t, grant: grant}
		w, a, b := apart(t, both(vti("10.122.144.128/27", "0.0.0.0/0"), func(c *Config) { c.Profiles[0].SetAccept = accept }),
			both(vti("0.0.0.0/0", "0.0.0.0/0"), authorized(g)))
		a.initiate(addrB)
		w.run(time.Second)
		w.oneSession(a, b)
		if got := fmt.Sprint(b.child().TSLocal, b.child().TSRemote); got != "[any 0.0.0.0-255.255.255.255] [any 10.122.144.128-10.122.144.159]" {
			t.Error(got)
		}
		ack := find[ConfigAcknowledged](b)
		if len(ack) != 1 || ack[0].Err != nil || !ack[0].HasACK {
			t.Fatalf("%+v", ack)
		}
		c := find[ConfigReceived](a)
		switch {
		case accept && (len(c) != 1 || c[0].Kind != message.CFG_SET || c[0].Configuration.String() != "subnet 166.34.121.112/32, version Felloe, pfs 1"):
			t.Errorf("%+v", c)
		case accept && !slices.Equal(ack[0].Accepted.Asks, []message.CFGAttributeType{message.INTERNAL_IP4_SUBNET, message.APPLICATION_VERSION, message.UNITY_PFS}):
			t.Errorf("acknowledged %v", ack[0].Accepted.Asks)
		case !accept && (len(c) != 0 || len(ack[0].Accepted.Asks) != 0 || a.e.Counters().ConfigsIgnored != 1):
			t.Errorf("%+v %+v", c, ack)
		}
		// The first request of ours in this SA.
		if i := b.e.Snapshot(w.now)[0]; i.SendMessageID != 1 {
			t.Errorf("message id %d", i.SendMessageID)
		}
		// A change is told while the SA is up.
		g.grant.Subnets = append(slices.Clone(g.grant.Subnets), prefix("81.81.81.1/32"))
		b.do(b.e.Reauthorize(w.now))
		b.do(b.e.Reauthorize(w.now)) // once is enough
		w.run(time.Second)
		if n := len(find[ConfigAcknowledged](b)); n != 2 {
			t.Errorf("%d acknowledged", n)
		}
		if c := find[ConfigReceived](a); accept && (len(c) != 2 || len(c[1].Configuration.Subnets) != 2) {
			t.Errorf("%+v", c)
		}
	}
}

func TestAnEmptyOrARefusingResponseEndsASet(t *testing.T) {
	w, _, b := connected(t, 1)
	s := b.e.sessions[b.sa()]
	for _, c := range []struct {
		p    parts
		want ConfigAcknowledged
	}{
		{parts{}, ConfigAcknowledged{SA: s.id}},
		{parts{cp: &message.CP{CFG: message.CFG_ACK}}, ConfigAcknowledged{SA: s.id, HasACK: true}},
		{parts{notifies: []*message.Notify{{Message: message.TEMPORARY_FAILURE}}}, ConfigAcknowledged{SA: s.id, Err: ErrRefused}},
	} {
		b.e.begin(w.now)
		(&setConfig{}).done(s.cur, &c.p)
		acts := b.e.finish()
		if !slices.ContainsFunc(acts, func(a Action) bool { return fmt.Sprint(a) == fmt.Sprint(c.want) }) {
			t.Errorf("%+v: %v", c, acts)
		}
	}
}

func TestBothSidesOfAFlexVPNTellTheirRoutes(t *testing.T) {
	ga := &granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.1.0.0/16")}, Accept: RouteAccept{Accept: true, Distance: 5, Tag: 6}}}
	gb := &granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.2.0.0/16")}, Accept: RouteAccept{Accept: true, Distance: 7, Tag: 8}}}
	all := vti("0.0.0.0/0", "0.0.0.0/0")
	w, a, b := apart(t, both(all, authorized(ga), func(c *Config) { c.Profiles[0].Request = true }), both(all, authorized(gb)))
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	ca, cb := find[ConfigReceived](a), find[ConfigReceived](b)
	if len(ca) != 1 || len(cb) != 1 || ca[0].Kind != message.CFG_REPLY || cb[0].Kind != message.CFG_SET || ca[0].Accept.Tag != 6 || cb[0].Accept.Tag != 8 {
		t.Fatalf("%+v\n%+v", ca, cb)
	}
	if ca[0].Configuration.String() != "subnet 10.2.0.0/16, version Felloe" || cb[0].Configuration.String() != "subnet 10.1.0.0/16, version Felloe" {
		t.Errorf("%v; %v", ca[0].Configuration, cb[0].Configuration)
	}
	if !ga.asked[0].Initiator || gb.asked[0].Initiator {
		t.Error("who began it is wrong")
	}
	// Both know each other as FlexVPN.
	if v := b.e.Snapshot(w.now)[0].Vendors; !slices.Equal(v, []string{"FlexVPN", "dynamic route"}) || !slices.Equal(v, a.e.Snapshot(w.now)[0].Vendors) {
		t.Errorf("vendors %v", v)
	}
}

func TestAFlexVPNPeerKeepsItsWideSelectorsWithItsAddress(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Addresses: []netip.Prefix{prefix("10.0.0.7/32")}}}
	all := vti("0.0.0.0/0", "0.0.0.0/0")
	w, a, b := apart(t, both(all, authorized(&granter{t: t})), both(all, authorized(g)))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	w.run(time.Second)
	w.oneSession(a, b)
	if got := b.child().TSRemote[0].String(); got != "any 0.0.0.0-255.255.255.255" {
		t.Error(got)
	}
	// One that asks for an address and speaks for a network of its own is not cut down to nothing.
	w, a, b = apart(t, vti("192.168.1.0/24", "0.0.0.0/0"), both(all, authorized(&granter{t: t, grant: g.grant})))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	w.run(time.Second)
	w.oneSession(a, b)
	if got := b.child().TSRemote[0].String(); got != "any 192.168.1.0-192.168.1.255" {
		t.Error(got)
	}
}

func TestWithoutAnAddressTheIKESAStaysForAWhileWithoutAChild(t *testing.T) {
	g := &granter{t: t, err: fmt.Errorf("%w: the pool is empty", ErrNoAddress)}
	all := vti("0.0.0.0/0", "0.0.0.0/0")
	w, a, b := apart(t, all, both(all, authorized(g)))
	a.initiateAs(InitiateRequest{Local: a.addr, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	w.run(time.Second)
	f := find[ChildFailed](a)
	if len(f) != 1 || !errors.Is(f[0].Err, ErrNoAddress) || len(a.ikes) != 1 || len(b.ikes) != 1 || len(b.ups) != 0 {
		w.fatalf("%+v", f)
	}
	if !find[IKEUp](b)[0].Childless || !b.logged("the pool is empty") {
		t.Error("not said")
	}
	w.run(3 * time.Minute)
	if len(a.ikes)+len(b.ikes) != 0 {
		t.Error("the IKE SAs are still there")
	}
	w.run(time.Minute)
	w.clean(a)
	w.clean(b)
}

func TestAPeerWithoutAuthorizationIsRefused(t *testing.T) {
	g := &granter{t: t, err: errors.New("name mangler \"M\" makes no name of it")}
	w, a, b := apart(t, none, authorized(g))
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.ikes)+len(b.ikes) != 0 || !b.logged("name mangler") || len(b.downs) != 1 || !errors.Is(b.downs[0].Err, ErrUnauthorized) || !errors.Is(a.downs[0].Err, ErrAuthentication) {
		w.fatalf("%+v", b.downs)
	}
	// An initiator that may not use its responder leaves.
	w, a, b = apart(t, authorized(g), none)
	a.initiate(addrB)
	w.run(time.Second)
	if len(a.ikes)+len(b.ikes) != 0 || len(a.downs) != 1 || !errors.Is(a.downs[0].Err, ErrUnauthorized) {
		w.fatalf("%+v", a.downs)
	}
}

func TestNothingStaysGrantedHoweverAnSAEnds(t *testing.T) {
	end := map[string]func(w *world, a, b *node){
		"deleted here":     func(w *world, a, b *node) { b.do(b.e.DeleteIKE(w.now, b.sa(), "x")) },
		"deleted there":    func(w *world, a, b *node) { a.do(a.e.DeleteIKE(w.now, a.sa(), "x")) },
		"dropped":          func(w *world, a, b *node) { b.e.DropSA(b.sa()) },
		"the peer is dead": func(w *world, a, b *node) { a.dead = true; b.do(b.e.Probe(w.now, b.sa())); w.run(5 * time.Minute) },
		"the peer begins new": func(w *world, a, b *node) {
			a.boot()
			a.initiate(addrB)
			w.run(time.Second)
			b.do(b.e.DeleteAll(w.now, "x"))
		},
		"expired": func(w *world, a, b *node) { a.dead = true; w.run(25 * time.Hour) },
	}
	for name, f := range end {
		t.Run(name, func(t *testing.T) {
			g := &granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.0.0.0/8")}}}
			w, a, b := apart(t, none, authorized(g))
			a.initiate(addrB)
			w.run(time.Second)
			if len(g.held) != 1 {
				t.Fatalf("granted %v", g.held)
			}
			f(w, a, b)
			w.run(time.Second)
			if len(g.held) != 0 {
				t.Errorf("still granted: %v", g.held)
			}
		})
	}
}

func TestAHalfOpenOrRefusedNegotiationIsGrantedNothing(t *testing.T) {
	g := &granter{t: t}
	w, a, _ := apart(t, func(c *Config) { c.Keyrings[0].Peers[0].Local = []byte("wrong") }, authorized(g))
	a.initiate(addrB)
	w.run(time.Minute)
	w, a, b := apart(t, none, authorized(g))
	w.wire = func(n int, d Datagram) []time.Duration { // no IKE_AUTH arrives
		if h, _ := message.DecodeHeader(d.Data); h.Exchange == message.IKE_AUTH {
			return nil
		}
		return []time.Duration{time.Millisecond}
	}
	a.initiate(addrB)
	w.run(5 * time.Minute)
	if g.given != 0 {
		t.Errorf("%d grants", g.given)
	}
	w.clean(b)
}

// reference payloads as the RFC and peers write them.
func TestConfigurationPayloadsAreReadAndWritten(t *testing.T) {
	for _, c := range []struct {
		name, body, words string
		asks              []message.CFGAttributeType
		unknown           int
		written           bool // we write the same bytes
	}{
		{name: "a client's request for any address and servers (strongSwan)", body: "01000000" + "00010000" + "00030000" + "00190000",
			words: "address any-ipv4", asks: []message.CFGAttributeType{message.INTERNAL_IP4_DNS, message.INTERNAL_DNS_DOMAIN}, written: true},
		{name: "the reply", body: "02000000" + "000100040a030001" + "000300040a000001", words: "address 10.3.0.1/32, dns 10.0.0.1", written: true},
		{name: "with a netmask", body: "02000000" + "000100040a7a9092" + "00020004ffffffe0", words: "address 10.122.144.146/27", written: true},
		{name: "IPv6", body: "02000000" + "00080011" + "20010db8000000000000000000000007" + "40" + "000a0010" + "20010db8000000000000000000000053" +
			"000f0011" + "fd000000000000000000000000000000" + "40", words: "address 2001:db8::7/64, dns 2001:db8::53, subnet fd00::/64", written: true},
		{name: "IOS's set: subnet, version, PFS", body: "03000000" + "000d0008a6227970ffffffff" + "00070005436973636f" + "700700020001",
			words: "subnet 166.34.121.112/32, version Cisco, pfs 1", written: true},
		{name: "a domain", body: "02000000" + "7002000b" + hex.EncodeToString([]byte("example.com")), words: "domain example.com", written: true},
		{name: "reserved bit, unknown attributes, wrong lengths", body: "02000000" + "800100040a030001" + "00630001ff" + "00010003010203" + "000d0007a6227970ffffff" +
			"000d0008a6227970ff00ff00" + "00020004ff00ff00" + "0008001120010db80000000000000000000000078100000000", words: "address 10.3.0.1/32", unknown: 6},
		{name: "text over several lines", body: "03000000" + "00070006" + hex.EncodeToString([]byte("a\nb\x1b[1")), words: "version a b [1"},
		{name: "addresses that are none", body: "02000000" + "00010004e0000001" + "0001000400000000" + "00030004e0000001", words: "nothing", unknown: 3},
	} {
		body, err := hex.DecodeString(strings.TrimSuffix(c.body, "00000000"))
		if err != nil {
			t.Fatal(c.name, err)
		}
		chain := append([]byte{0, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...)
		list, err := message.DecodePayloads(message.TypeCP, chain)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		cp := list[0].(*message.CP)
		got := parseConfiguration(cp)
		if got.String() != c.words || !slices.Equal(got.Asks, c.asks) || got.Unknown != c.unknown {
			t.Errorf("%s: %s, asks %v, unknown %d", c.name, got, got.Asks, got.Unknown)
		}
		if c.written {
			if _, again := message.AppendPayloads(nil, []message.Payload{got.payload(cp.CFG, nil)}); !bytes.Equal(again, chain) {
				t.Errorf("%s: wrote %x, want %x", c.name, again, chain)
			}
		}
	}
}

func TestAQuestionForTheVersionIsAnsweredAnyTime(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Subnets: []netip.Prefix{prefix("10.0.0.0/8")}}}
	w, a, b := apart(t, none, both(authorized(g), func(c *Config) { c.Profiles[0].SetSend = false }))
	a.initiate(addrB)
	w.run(time.Second)
	s := b.e.sessions[b.sa()]
	b.e.begin(w.now)
	out := s.cur.configAnswer(&parts{cp: &message.CP{CFG: message.CFG_REQUEST, Attributes: []message.CFGAttribute{{Type: message.APPLICATION_VERSION}, {Type: 99}}}})
	b.do(b.e.finish())
	if len(out) != 1 || parseConfiguration(out[0].(*message.CP)).String() != "subnet 10.0.0.0/8, version Felloe" || b.e.Counters().UnknownAttributes != 1 {
		t.Errorf("%+v", out)
	}
	if c := find[ConfigReceived](b); len(c) != 1 || c[0].Kind != message.CFG_REQUEST {
		t.Errorf("%+v", c)
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 0, 1, 0, 4, 10, 3, 0, 1, 0, 13, 0, 8, 10, 0, 0, 0, 255, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0x70, 7, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 60000 {
			return
		}
		list, err := message.DecodePayloads(message.TypeCP, append([]byte{0, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...))
		if err != nil {
			return
		}
		cp := list[0].(*message.CP)
		c := parseConfiguration(cp)
		if strings.ContainsAny(c.String(), "\n\r\x00") {
			t.Fatalf("%q", c.String())
		}
		acknowledge(cp)
		again := parseConfiguration(c.payload(cp.CFG, []message.CFGAttributeType{message.INTERNAL_DNS_DOMAIN}))
		again.Unknown, c.Unknown = 0, 0
		if c.PFS != nil && *c.PFS > 0xffff {
			return
		}
		if !again.equal(c) && len(c.Addresses) < 2 { // one netmask, several addresses
			t.Fatalf("%+v\n%+v", c, again)
		}
	})
}

func TestAClientsAddressesAreThereBeforeItsFirstChildAndLastAsLongAsItsSA(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Addresses: []netip.Prefix{prefix("10.1.1.100/24"), prefix("2001:db8:1::64/128")},
		DNS: []netip.Addr{addr("10.0.0.53"), addr("2001:db8::53")}, Domains: []string{"example.com"}}}
	w, a, b := apart(t, func(c *Config) { c.Profiles[0].SetAccept = true }, authorized(g))
	a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{addr("10.1.1.100"), netip.IPv6Unspecified()}})
	w.run(time.Second)
	w.oneSession(a, b)
	if got := g.asked[0].Wanted.String(); got != "address 10.1.1.100/32, address any-ipv6" {
		t.Errorf("asked for %s", got)
	}
	order := ""
	for _, x := range a.actions {
		switch x := x.(type) {
		case IKEUp:
			order += "up "
		case ConfigReceived:
			order += fmt.Sprint(x.Configuration.Addresses, " ")
		case ChildUp:
			order += "child "
		}
	}
	if order != "up [10.1.1.100/24 2001:db8:1::64/128] child " {
		t.Error(order)
	}
	// What the hub pushes later takes nothing of that away, whatever it says of addresses.
	b.do(b.e.SendConfiguration(w.now, b.sa(), Configuration{Addresses: []netip.Prefix{prefix("10.9.9.9/32")}, Subnets: []netip.Prefix{prefix("192.168.0.0/16")}}))
	w.run(time.Second)
	c := find[ConfigReceived](a)
	if len(c) != 2 || c[1].Kind != message.CFG_SET || c[1].Configuration.String() != "address 10.1.1.100/24, address 2001:db8:1::64/128, subnet 192.168.0.0/16" {
		t.Errorf("%+v", c)
	}
	if got := a.e.Snapshot(w.now)[0].Received.Addresses; len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestTheFamilyThatAPeerDoesNotGiveIsSaid(t *testing.T) {
	g := &granter{t: t, grant: Configuration{Addresses: []netip.Prefix{prefix("10.1.1.100/32")}}}
	w, a, b := apart(t, none, authorized(g))
	a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}})
	w.run(time.Second)
	w.oneSession(a, b)
	if !a.logged("no IPv6 address") || a.logged("no IPv4 address") {
		w.fatalf("not said")
	}
}

func TestThatAPeerGivesOneFamilyOnlyIsSaidOnceAndNoAddressAtAllIsAWarning(t *testing.T) {
	for _, x := range []struct {
		addresses []netip.Prefix
		levels    string
	}{{[]netip.Prefix{prefix("10.1.1.100/32")}, "[info]"}, {nil, "[warn warn warn warn]"}} {
		w, a, b := apart(t, none, authorized(&granter{t: t, grant: Configuration{Addresses: x.addresses, Subnets: []netip.Prefix{prefix("10.9.0.0/16")}}}))
		var levels []string
		for range 2 {
			a.initiateAs(InitiateRequest{Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel0", Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}})
			w.run(time.Second)
			w.oneSession(a, b)
			a.do(a.e.DeleteIKE(w.now, a.sa(), "test"))
			w.run(time.Second)
		}
		for _, l := range find[Log](a) {
			if strings.Contains(l.Msg, "peer gives us no ") {
				levels = append(levels, l.Level.String())
			}
		}
		if got := fmt.Sprint(levels); got != x.levels {
			t.Errorf("%v: %s", x.addresses, got)
		}
	}
}
