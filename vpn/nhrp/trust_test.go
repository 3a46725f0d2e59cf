package nhrp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// inject hands a packet to a router as if it came over one of its sessions.
func (c *cloud) inject(r *router, id SessionID, p *message.Packet) {
	c.t.Helper()
	b, err := p.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	s := r.sessions[id]
	r.engine.Receive(c.now, From{Tunnel: s.Tunnel, Session: id, NBMA: s.NBMA}, b)
}

// sessionTo is the session of r whose far end is another router.
func (r *router) sessionTo(o *router) *session {
	for _, s := range r.sessions {
		if s.peer != nil && s.peer.r == o && !s.gone {
			return s
		}
	}
	return nil
}

// one packet of every type that a neighbour could send.
func everyType(src, dst string) []*message.Packet {
	s, d := ip(src), ip(dst)
	self := message.CIE{PrefixLen: 32, HoldTime: 60, NBMA: ip("172.16.9.9"), Proto: s}
	base := message.Packet{HopCount: 64, RequestID: 77, SrcNBMA: ip("172.16.9.9"), SrcProto: s, DstProto: d, CIEs: []message.CIE{self}, Extensions: standardExtensions()}
	var list []*message.Packet
	for kind := message.ResolutionRequest; kind <= message.TrafficIndication; kind++ {
		p := base
		p.Type = kind
		p.Extensions = standardExtensions()
		if kind.Indication() {
			p.CIEs, p.Payload, p.RequestID = nil, header(s, d), 0
		}
		list = append(list, &p)
	}
	return list
}

func TestAuthenticationIsCheckedOnEveryPacketTypeAndChangesNothing(t *testing.T) {
	for _, secrets := range [][]string{{"WRONG"}, {}, {auth, auth}, {"DMVP"}, {"DMVPNX"}} {
		c, hub, s2, _ := scenario(t)
		c.run(time.Second)
		before := fmt.Sprint(hub.engine.Snapshot()[0].Cache, hub.neighbours, hub.shortcuts, hub.multicast)
		id := hub.sessionTo(s2).ID
		hub.reset()
		for _, p := range everyType("10.10.10.9", "10.10.10.1") {
			for _, s := range secrets {
				p.Extensions = append(p.Extensions, message.Authentication(s))
			}
			c.inject(hub, id, p)
		}
		i := hub.engine.Snapshot()[0]
		want(t, "auth failures", i.Traffic.AuthFailures, 8)
		want(t, "state", fmt.Sprint(i.Cache, hub.neighbours, hub.shortcuts, hub.multicast), before)
		want(t, "told once", hub.saw(EventAuthMismatch), 1)
		if len(hub.engine.tunnels["Tunnel0"].pending) > 0 || len(hub.engine.tunnels["Tunnel0"].claims) > 0 {
			t.Fatal("an unauthenticated packet left something behind")
		}
	}
}

func TestASpokeWithTheWrongStringNeverRegistersAndBothSidesSaySo(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	cfg := spokeConfig(2)
	cfg.Authentication = "WRONG"
	s2.apply(cfg)
	var told []*message.Packet
	c.trace = func(from, _ *router, p *message.Packet) {
		if from == hub && p.Type == message.ErrorIndication {
			told = append(told, p)
		}
	}
	c.run(10 * time.Second)
	want(t, "flags", s2.engine.Snapshot()[0].NHS[0].Flags, "E")
	want(t, "peers", len(hub.engine.Snapshot()[0].Peers), 1)
	want(t, "hub says so once", hub.saw(EventAuthMismatch), 1)
	want(t, "spoke hears so", s2.saw(EventErrorReceived), 1)
	if len(told) == 0 {
		t.Fatal("no error indication")
	}
	for _, p := range told {
		if p.Extension(message.ExtAuthentication) != nil {
			t.Fatal("the string was told to somebody who does not know it")
		}
		if strings.Contains(string(p.Payload), auth) {
			t.Fatal("the string leaked in the copy")
		}
	}
	// The corrected configuration recovers without a restart.
	s2.apply(spokeConfig(2))
	c.run(time.Second)
	want(t, "flags", s2.engine.Snapshot()[0].NHS[0].Flags, "RE")
}

func TestARouterWithoutAStringRefusesPacketsThatHaveOne(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	cfg := hubConfig()
	cfg.Authentication = ""
	hub.apply(cfg)
	c.run(10 * time.Second)
	want(t, "peers", len(hub.engine.Snapshot()[0].Peers), 0)
	want(t, "flags", s2.engine.Snapshot()[0].NHS[0].Flags, "E")
}

func TestEveryPacketCarriesExactlyOneAuthenticationExtension(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	seen := map[message.Type]bool{}
	c.trace = func(from, to *router, p *message.Packet) {
		seen[p.Type] = true
		n := 0
		for _, x := range p.Extensions {
			if x.Type == message.ExtAuthentication {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s to %s: %s with %d authentication extensions", from.name, to.name, p.Type, n)
		}
	}
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	s2.routes = slices.DeleteFunc(s2.routes, func(r route) bool { return r.prefix == lan(2) })
	s2.engine.RoutesChanged(c.now)
	c.run(time.Second)
	// A registration without a client entry gets an error indication, which is authenticated too.
	bad := everyType("10.10.10.2", "10.10.10.1")[message.RegistrationRequest-1]
	bad.CIEs = nil
	bad.SetAuthentication(auth)
	c.inject(hub, hub.sessionTo(s2).ID, bad)
	c.run(time.Second)
	for kind := message.ResolutionRequest; kind <= message.TrafficIndication; kind++ {
		if !seen[kind] {
			t.Errorf("no %s was sent", kind)
		}
	}
	want(t, "errors received", s2.saw(EventErrorReceived), 1)
}

// thief is a spoke that registers another one's tunnel address.
func (c *cloud) thief(address string) *router {
	r := c.add("thief")
	r.routes = []route{{prefix: net("10.10.10.0/24"), ifname: "Tunnel0"}}
	cfg := spokeConfig(9)
	cfg.Addresses = []netip.Addr{ip(address)}
	r.apply(cfg)
	return r
}

func TestALivingSpokesAddressIsNotGivenToAnotherIdentity(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(time.Second)
	thief := c.thief("10.10.10.2")
	c.run(10 * time.Second)
	want(t, "claims told", hub.saw(EventRegistrationClaim), 1)
	c.run(50 * time.Second)
	if hub.saw(EventRegistrationRefused) == 0 || thief.saw(EventRegistrationRefused) == 0 {
		t.Fatal("not refused", hub.eventWords(), thief.eventWords())
	}
	en := hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")]
	want(t, "owner", en.identity, "spoke2")
	want(t, "neighbour", hub.neighbours["Tunnel0"][ip("10.10.10.2")], hub.sessionTo(s2).ID)
	want(t, "owner's registration never lapsed", hub.saw(EventUnregistered), 0)
	want(t, "thief's flags", thief.engine.Snapshot()[0].NHS[0].Flags, "E")
	c.run(5 * time.Minute)
	want(t, "owner", hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")].identity, "spoke2")
	if n := hub.saw(EventRegistrationRefused); n > 20 {
		t.Fatalf("%d log lines about one thief", n)
	}
}

func TestADeadSpokesAddressIsGivenToWhoClaimsItNext(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(time.Second)
	s2.dead = true
	c.thief("10.10.10.2")
	c.run(15 * time.Second)
	en := hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")]
	if en == nil || en.identity != "thief" {
		t.Fatalf("%+v %v", en, hub.eventWords())
	}
}

func TestASpokeWhoseWANAddressChangedIsAccepted(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	s2.dead = true // it is gone from its old address without a word …
	moved := c.add("spoke2-moved")
	moved.claims = "spoke2" // … and comes from another one with the same identity
	moved.routes = s2.routes
	cfg := spokeConfig(2)
	cfg.NBMA = ip("172.16.7.7")
	moved.apply(cfg)
	c.run(15 * time.Second)
	en := hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")]
	if en == nil || en.nbma != ip("172.16.7.7") || en.identity != "spoke2" {
		t.Fatalf("%+v", en)
	}
	want(t, "flags", moved.engine.Snapshot()[0].NHS[0].Flags, "RE")
	wantPath(t, c.ping(s3, hostOf(3), hostOf(2)), "spoke3", "hub", "spoke2-moved")
}

func TestOnAnUnprotectedTunnelANewAddressReplacesTheOldAtOnceUnlessItWasUnique(t *testing.T) {
	for _, unique := range []bool{false, true} {
		c := newCloud(t)
		hub := c.add("hub")
		hub.protected = false
		hub.apply(hubConfig())
		for i, nbma := range []string{"172.16.2.2", "172.16.7.7"} {
			r := c.add(fmt.Sprint("spoke", i))
			r.protected = false
			cfg := spokeConfig(2)
			cfg.NBMA, cfg.Unique = ip(nbma), unique
			r.apply(cfg)
			c.run(2 * time.Second)
		}
		en := hub.engine.tunnels["Tunnel0"].cache[net("10.10.10.2/32")]
		if (en.nbma == ip("172.16.7.7")) == unique {
			t.Fatalf("unique %v: %s", unique, en.nbma)
		}
		want(t, "unique flag", en.unique, unique)
		want(t, "refused", hub.saw(EventRegistrationRefused) > 0, unique)
	}
}

func TestNobodyRegistersTheHubsOwnAddressOrANetwork(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(time.Second)
	var codes []message.Code
	c.trace = func(_, _ *router, p *message.Packet) {
		if p.Type == message.RegistrationReply {
			codes = append(codes, p.CIEs[0].Code)
		}
	}
	for _, c2 := range []message.CIE{{PrefixLen: 32, Proto: ip("10.10.10.1")}, {PrefixLen: 24, Proto: ip("10.99.0.0")}, {PrefixLen: 32, Proto: ip("224.0.0.5")}} {
		p := everyType("10.10.10.2", "10.10.10.1")[message.RegistrationRequest-1]
		p.CIEs = []message.CIE{c2}
		p.SetAuthentication(auth)
		c.inject(hub, hub.sessionTo(s2).ID, p)
	}
	if !slices.Equal(codes, []message.Code{message.CodeProhibited, message.CodeProhibited, message.CodeProhibited}) {
		t.Fatal(codes)
	}
}

func TestAForgedRequestInAnotherSpokesNameIsNotForwarded(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	c.run(time.Second)
	p := everyType("10.10.10.3", hostOf(2))[message.ResolutionRequest-1]
	p.SetAuthentication(auth)
	forwarded := hub.engine.Snapshot()[0].Traffic.Forwarded
	c.inject(hub, hub.sessionTo(s2).ID, p)
	want(t, "forwarded", hub.engine.Snapshot()[0].Traffic.Forwarded, forwarded)
	// A purge in its name neither withdraws its registration.
	purge := everyType("10.10.10.3", "10.10.10.1")[message.PurgeRequest-1]
	purge.CIEs = []message.CIE{{PrefixLen: 32, Proto: ip("10.10.10.3")}}
	purge.SetAuthentication(auth)
	c.inject(hub, hub.sessionTo(s2).ID, purge)
	want(t, "peers", len(hub.engine.Snapshot()[0].Peers), 2)
	_ = s3
}

func TestAnAnswerThatNobodyAskedForIsIgnored(t *testing.T) {
	c, _, _, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2))
	for id := range uint32(50) {
		p := everyType("10.10.10.3", hostOf(2))[message.ResolutionReply-1]
		p.RequestID = id
		p.CIEs = []message.CIE{{PrefixLen: 24, HoldTime: 600, NBMA: ip("172.16.66.66"), Proto: ip("10.10.10.66")}}
		p.SetAuthentication(auth)
		for sid := range s3.sessions {
			c.inject(s3, sid, p)
		}
	}
	c.run(time.Second)
	want(t, "hop", s3.shortcuts[shortcutKey{lan(2), "Tunnel0"}].hop, ip("10.10.10.2"))
	if _, ok := s3.neighbours["Tunnel0"][ip("10.10.10.66")]; ok {
		t.Fatal("a forged answer was believed")
	}
}

func TestARedirectFromSomebodyOffThePathIsIgnored(t *testing.T) {
	c, _, s2, s3 := scenario(t)
	c.run(time.Second)
	c.ping(s3, hostOf(3), hostOf(2)) // a session between the spokes
	c.run(time.Second)
	s3.routes = append(s3.routes, route{prefix: lan(4), via: ip("10.10.10.1"), ifname: "Tunnel0"})
	p := everyType("10.10.10.2", hostOf(3))[message.TrafficIndication-1]
	p.Payload = header(ip(hostOf(3)), ip(hostOf(4)))
	p.SetAuthentication(auth)
	c.inject(s3, s3.sessionTo(s2).ID, p)
	want(t, "resolutions", len(s3.engine.tunnels["Tunnel0"].pending), 0)
}

func TestAnUnauthenticatedErrorIsHearsayOnly(t *testing.T) {
	c, hub, _, s3 := scenario(t)
	c.run(time.Second)
	hub.routes = slices.DeleteFunc(hub.routes, func(r route) bool { return r.prefix == lan(2) })
	var asked *message.Packet
	c.trace = func(_, _ *router, p *message.Packet) {
		if p.Type == message.ResolutionRequest {
			asked = p
		}
	}
	s3.engine.tunnels["Tunnel0"].resolve(c.now, ip(hostOf(2)), "test", nil)
	b, err := asked.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e := &message.Packet{Type: message.ErrorIndication, ErrorCode: message.ErrorUnreachable, SrcNBMA: ip("172.16.1.1"),
		SrcProto: ip("10.10.10.1"), DstProto: ip("10.10.10.3"), Payload: b}
	c.inject(s3, s3.sessionTo(hub).ID, e)
	want(t, "still asking", len(s3.engine.tunnels["Tunnel0"].pending), 1)
	e.SetAuthentication(auth)
	c.inject(s3, s3.sessionTo(hub).ID, e)
	want(t, "given up", len(s3.engine.tunnels["Tunnel0"].pending), 0)
	want(t, "negative", s3.engine.tunnels["Tunnel0"].covering(ip(hostOf(2))).kind, KindNegative)
}

func TestAnUnknownCompulsoryExtensionIsAnErrorAndAnOptionalOneIsNot(t *testing.T) {
	c, hub, s2, _ := scenario(t)
	c.run(time.Second)
	var got []message.Type
	c.trace = func(from, _ *router, p *message.Packet) {
		if from == hub {
			got = append(got, p.Type)
		}
	}
	for _, compulsory := range []bool{true, false} {
		p := everyType("10.10.10.2", "10.10.10.1")[message.RegistrationRequest-1]
		p.CIEs[0].Proto = netip.Addr{}
		p.CIEs[0].NBMA = netip.Addr{}
		p.Extensions = append(p.Extensions, message.Extension{Type: 0x1234, Compulsory: compulsory, Data: []byte{1, 2}})
		p.SetAuthentication(auth)
		c.inject(hub, hub.sessionTo(s2).ID, p)
	}
	if !slices.Equal(got, []message.Type{message.ErrorIndication, message.RegistrationReply}) {
		t.Fatal(got)
	}
}

func TestAnAnswerDoesNotTakeTheTunnelAddressOfALivingSpoke(t *testing.T) {
	c, hub, s2, s3 := scenario(t)
	s4 := c.spoke(4, 3)
	hub.routes = append(hub.routes, route{prefix: lan(4), via: ip("10.10.10.4"), ifname: "Tunnel0"}, route{prefix: otherLAN, via: ip("10.10.10.2"), ifname: "Tunnel0"})
	s3.routes = append(s3.routes, route{prefix: lan(4), via: ip("10.10.10.1"), ifname: "Tunnel0"}, route{prefix: otherLAN, via: ip("10.10.10.1"), ifname: "Tunnel0"})
	c.run(time.Second)
	for _, n := range []int{2, 4} {
		c.ping(s3, hostOf(3), hostOf(n))
		c.run(time.Second)
	}
	want(t, "spoke 4", s3.neighbours["Tunnel0"][ip("10.10.10.4")], s3.sessionTo(s4).ID)
	tun, target := s3.engine.tunnels["Tunnel0"], otherLAN.Addr().Next()
	tun.resolve(c.now, target, "test", nil)
	p := &message.Packet{HopCount: 64, Type: message.ResolutionReply, RequestID: tun.pending[target].id, SrcNBMA: ip("172.16.3.3"), SrcProto: ip("10.10.10.3"),
		DstProto: target, CIEs: []message.CIE{{PrefixLen: 24, HoldTime: 60, NBMA: ip("172.16.2.2"), Proto: ip("10.10.10.4")}}, Extensions: standardExtensions()}
	p.SetAuthentication(auth)
	c.inject(s3, s3.sessionTo(s2).ID, p)
	want(t, "spoke 4", s3.neighbours["Tunnel0"][ip("10.10.10.4")], s3.sessionTo(s4).ID)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
	want(t, "failed", s3.saw(EventResolutionFailed), 1)
}
