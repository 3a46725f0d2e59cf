package nhrp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

var otherLAN = net("192.168.99.0/24")

// asked has s3 ask for a network of s2's that it has no shortcut to yet, with a shortcut to another one there, and returns
// an answer to that as s2 may give it.
func asked(t *testing.T, c *cloud, hub, s2, s3 *router, hop netip.Addr) *message.Packet {
	t.Helper()
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	for _, r := range hub.routes {
		if r.prefix == lan(2) {
			hub.routes = append(hub.routes, route{prefix: otherLAN, ifname: r.ifname})
			break
		}
	}
	target := otherLAN.Addr().Next()
	tun := s3.engine.tunnels["Tunnel0"]
	tun.resolve(c.now, target, "test", nil)
	q := tun.pending[target]
	if q == nil || s3.sessionTo(s2) == nil {
		t.Fatal("nothing is asked")
	}
	return &message.Packet{HopCount: 64, Type: message.ResolutionReply, RequestID: q.id, SrcNBMA: tun.cfg.NBMA, SrcProto: flexAddr(3), DstProto: target,
		CIEs: []message.CIE{{PrefixLen: 24, HoldTime: 60, NBMA: ip("10.0.0.2"), Proto: hop}}, Extensions: standardExtensions()}
}

// leadsTo is who is at the end of a router's shortcut to an address.
func (r *router) leadsTo(a netip.Addr) string {
	for k := range r.shortcuts {
		if k.Prefix == hostPrefix(a) {
			if s := r.sessions[r.far[k.tunnel]]; s != nil && s.peer != nil {
				return s.peer.r.name
			}
		}
	}
	return ""
}

func TestAnAnswerDoesNotTakeAnotherSpokesTunnelAddressNorTheHubs(t *testing.T) {
	t.Run("hub", func(t *testing.T) {
		c, hub, s2, s3 := flexScenario(t)
		p := asked(t, c, hub, s2, s3, ip("172.20.1.1"))
		c.inject(s3, s3.sessionTo(s2).ID, p)
		c.run(time.Second)
		want(t, "way to the hub's tunnel address", s3.leadsTo(ip("172.20.1.1")), "")
	})
	t.Run("spoke", func(t *testing.T) {
		c, hub, s2, s3 := flexScenario(t)
		s4 := c.flexSpoke(4, hub)
		c.ping(s3, hostOf(3), hostOf(4))
		c.run(time.Second)
		want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), s4.name)
		p := asked(t, c, hub, s2, s3, flexAddr(4))
		c.inject(s3, s3.sessionTo(s2).ID, p)
		c.run(time.Second)
		want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), s4.name)
		wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
	})
}

// request is one of spoke 2's for a network of spoke 3's, in somebody's name.
func request(src netip.Addr, nbma netip.Addr) *message.Packet {
	return &message.Packet{HopCount: 64, Type: message.ResolutionRequest, Flags: message.FlagRouter, RequestID: 7, SrcNBMA: nbma, SrcProto: src,
		DstProto: ip(hostOf(3)), CIEs: []message.CIE{{PrefixLen: 32, HoldTime: 60}}, Extensions: standardExtensions()}
}

func TestAHubForwardsNoRequestInAnotherSpokesName(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	c.flexSpoke(4, hub)
	c.inject(hub, hub.sessionTo(s2).ID, request(flexAddr(4), ip("10.0.0.2")))
	c.run(time.Second)
	want(t, "tunnels of who was asked", len(s3.clones), 0)
	want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), "")
	// Nor does a purge take what another spoke has told.
	c.ping(s3, hostOf(3), hostOf(4))
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
	c.inject(hub, hub.sessionTo(s2).ID, &message.Packet{HopCount: 64, Type: message.PurgeRequest, RequestID: 8, SrcNBMA: ip("10.0.0.4"), SrcProto: flexAddr(4),
		DstProto: flexAddr(3), CIEs: []message.CIE{{PrefixLen: 24, Proto: lan(4).Addr()}}, Extensions: standardExtensions()})
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
}

// handedOn is a request with the record of who handed it on.
func handedOn(p *message.Packet, proto string) *message.Packet {
	x := p.Extension(message.ExtForwardTransit)
	x.CIEs = append(slices.Clone(x.CIEs), message.CIE{HoldTime: 60, NBMA: ip("10.0.0.2"), Proto: ip(proto)})
	return p
}

func TestAHubKnowsWhereItsSpokesAre(t *testing.T) {
	for name, src := range map[string]netip.Addr{"itself": flexAddr(2), "another": flexAddr(4)} {
		t.Run(name, func(t *testing.T) {
			c, hub, s2, s3 := flexScenario(t)
			s4 := c.flexSpoke(4, hub)
			for n := range 20 {
				c.inject(hub, hub.sessionTo(s2).ID, handedOn(request(src, ip(fmt.Sprintf("203.0.113.%d", n+1))), "172.20.0.2"))
				c.run(20 * time.Millisecond)
			}
			want(t, "tunnels of who was asked", len(s3.clones), 0)
			// With the true address it is believed.
			c.inject(hub, hub.sessionTo(s2).ID, handedOn(request(flexAddr(4), ip("10.0.0.4")), "172.20.0.2"))
			c.run(time.Second)
			want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), s4.name)
		})
	}
}

func TestARequesterHasOneCallUnderWay(t *testing.T) {
	c, _, _, s3 := flexScenario(t)
	for n := range 100 {
		c.inject(s3, s3.far["Tunnel0"], handedOn(request(flexAddr(2), ip(fmt.Sprintf("203.0.113.%d", n+1))), "172.20.1.1"))
		c.run(20 * time.Millisecond)
	}
	want(t, "tunnels of who was asked", len(s3.clones), 1)
}

func TestARequesterIsNotTakenForAHub(t *testing.T) {
	c, _, s2, s3 := flexScenario(t)
	// Spoke 3 has learned what its hub's tunnel address is.
	c.ping(s3, hostOf(3), hostOf(2))
	c.run(time.Second)
	for _, s := range []SessionID{s3.far["Tunnel0"], s3.sessionTo(s2).ID} {
		c.inject(s3, s, handedOn(request(ip("172.20.1.1"), ip("10.0.0.9")), "172.20.2.1"))
		c.run(3 * time.Second)
	}
	want(t, "way to the hub's tunnel address", s3.leadsTo(ip("172.20.1.1")), "")
	want(t, "tunnels", len(s3.clones), 1)
}

// seen is an entry of a NAT extension.
func seen(proto netip.Addr, nbma string) message.CIE {
	return message.CIE{PrefixLen: uint8(proto.BitLen()), NBMA: ip(nbma), Proto: proto}
}

// natTold has a router keep what the NAT extensions of requests and replies that come to it say.
func (c *cloud) natTold(to *router, told *[]string) {
	c.trace = func(from, at *router, p *message.Packet) {
		if x := p.Extension(message.ExtNATAddress); at == to && x != nil && p.Type <= message.ResolutionReply {
			for _, e := range x.CIEs {
				*told = append(*told, fmt.Sprint(from.name, ": ", e.Proto, " is ", e.NBMA))
			}
		}
	}
}

func TestNobodyTellsASpokeHowItLooksFromOutside(t *testing.T) {
	for _, direct := range []bool{true, false} {
		c, hub, s2, s3 := flexScenario(t)
		c.publics = map[string]netip.Addr{"spoke4": ip("203.0.113.1")}
		s4 := c.flexSpoke(4, hub)
		lie := asked(t, c, hub, s2, s3, flexAddr(2))
		lie.Extension(message.ExtNATAddress).CIEs = []message.CIE{seen(flexAddr(3), "203.0.113.66")}
		if direct {
			c.inject(s3, s3.sessionTo(s2).ID, lie)
		} else {
			x := lie.Extension(message.ExtReverseTransit)
			x.CIEs = []message.CIE{{HoldTime: 60, NBMA: ip("10.0.0.2"), Proto: flexAddr(2)}} // as if it had come a long way
			c.inject(hub, hub.sessionTo(s2).ID, lie)
		}
		c.run(time.Second)
		want(t, "the answer counts", s3.shortcuts[shortcutKey{otherLAN, "Virtual-Access1"}].tunnel, "Virtual-Access1")
		// Spoke 4 is behind a NAT: spoke 3 cannot call it and answers over the hub.
		var told []string
		c.natTold(s4, &told)
		c.ping(s4, hostOf(4), hostOf(3))
		c.run(2 * time.Second)
		wantPath(t, told)
		wantPath(t, c.ping(s4, hostOf(4), hostOf(3)), "spoke4", "spoke3")
	}
}

func TestAHubTellsNothingButTheTruthOfItsSpokesOutsideAddresses(t *testing.T) {
	c := newCloud(t)
	c.publics = map[string]netip.Addr{"spoke2": ip("203.0.113.1"), "spoke5": ip("203.0.113.1")}
	hub := c.flexHub(1)
	s2, s3, s5 := c.flexSpoke(2, hub), c.flexSpoke(3, hub), c.flexSpoke(5, hub)
	c.flexSpoke(4, hub)
	lies := []message.CIE{seen(flexAddr(2), "203.0.113.66"), seen(flexAddr(4), "203.0.113.66"), seen(flexAddr(9), "203.0.113.66")}
	for _, x := range []struct {
		what    string
		transit bool
		nbma    string
		to      *router
		told    []string
	}{
		{"behind a NAT", false, "10.0.0.2", s3, []string{"hub1: 172.20.0.2 is 203.0.113.1"}},
		{"as if handed on", true, "203.0.113.1", s3, nil},
		{"with the address that it has outside", false, "203.0.113.1", s3, nil},
		{"to one behind the same NAT", false, "10.0.0.2", s5, nil},
	} {
		var told []string
		c.natTold(x.to, &told)
		p := request(flexAddr(2), ip(x.nbma))
		p.DstProto = ip(hostOf(map[*router]int{s3: 3, s5: 5}[x.to]))
		p.Extension(message.ExtNATAddress).CIEs = slices.Clone(lies)
		if x.transit {
			handedOn(p, "172.20.0.2")
		}
		arrived := x.to.saw(EventResolutionAnswered)
		c.inject(hub, hub.sessionTo(s2).ID, p)
		c.run(20 * time.Millisecond)
		want(t, x.what+": it arrives", x.to.saw(EventResolutionAnswered), arrived+1)
		if !slices.Equal(told, x.told) {
			t.Errorf("%s: %q", x.what, told)
		}
	}
}

func TestASpokeWithdrawsInAnotherSpokesNameNothing(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	c.flexSpoke(4, hub)
	c.ping(s3, hostOf(3), hostOf(4))
	c.run(time.Second)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
	c.inject(hub, hub.sessionTo(s2).ID, handedOn(&message.Packet{HopCount: 64, Type: message.PurgeRequest, RequestID: 8, SrcNBMA: ip("10.0.0.4"), SrcProto: flexAddr(4),
		DstProto: flexAddr(3), CIEs: []message.CIE{{PrefixLen: 24, Proto: lan(4).Addr()}}, Extensions: standardExtensions()}, "172.20.0.2"))
	c.run(time.Second)
	want(t, "withdrawn", s3.saw(EventPurged), 0)
	wantPath(t, c.ping(s3, hostOf(3), hostOf(4)), "spoke3", "spoke4")
}

func TestAnAnswerDoesNotTakeTheTunnelAddressOfOneBehindTheSameNAT(t *testing.T) {
	c := newCloud(t)
	c.publics = map[string]netip.Addr{"spoke2": ip("203.0.113.1"), "spoke4": ip("203.0.113.1")}
	hub := c.flexHub(1)
	s2, s3, s4 := c.flexSpoke(2, hub), c.flexSpoke(3, hub), c.flexSpoke(4, hub)
	c.ping(s3, hostOf(3), hostOf(4))
	c.run(time.Second)
	want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), s4.name)
	p := asked(t, c, hub, s2, s3, flexAddr(4))
	c.inject(s3, s3.sessionTo(s2).ID, p)
	c.run(time.Second)
	want(t, "way to spoke 4", s3.leadsTo(flexAddr(4)), s4.name)
	want(t, "way to what was asked for", len(s3.engine.tunnels["Tunnel0"].net.entries[otherLAN]), 0)
}

func TestAFarEndIsKnownByItsTunnelAddressOfEachFamily(t *testing.T) {
	c, hub, _, s3 := flexScenario(t)
	s3.routes = append(s3.routes, route{prefix: net("::/0"), ifname: "Tunnel0"})
	cfg := s3.engine.tunnels["Tunnel0"].cfg
	cfg.Addresses = []netip.Addr{flexAddr(3), ip("2001:db8:20::3")}
	s3.engine.Apply(c.now, cfg)
	for far, dst := range map[string]string{"172.20.1.1": hostOf(2), "2001:db8:20::1": "2001:db8:22::2"} {
		src := ip("192.168.33.3")
		if ip(dst).Is6() {
			src = ip("2001:db8:33::3")
		}
		c.inject(s3, s3.sessionTo(hub).ID, &message.Packet{HopCount: 1, Type: message.TrafficIndication, SrcNBMA: ip("172.16.1.1"), SrcProto: ip(far), DstProto: src,
			Payload: header(src, ip(dst))})
	}
	for _, far := range []string{"172.20.1.1", "2001:db8:20::1"} {
		want(t, far+" is nobody else's", slices.Contains(s3.engine.tunnels["Tunnel0"].keepers(netip.Addr{}), ip(far)), true)
	}
	wantPath(t, s3.shown(), "Tunnel0 192.168.22.2/32 172.20.1.1 [temporary]", "Tunnel0 2001:db8:22::2/128 2001:db8:20::1 [temporary]")
}

func TestAHubForwardsNoRequestInTheNameOfOneOutOfTheNetwork(t *testing.T) {
	c, hub, s2, s3 := flexScenario(t)
	hub.routes = append(hub.routes, route{prefix: lan(9), ifname: "Loopback10"}, route{prefix: net("0.0.0.0/0"), ifname: "GigabitEthernet1"})
	server := lan(9).Addr().Next()
	c.inject(hub, hub.sessionTo(s2).ID, request(server, ip("10.0.0.2")))
	c.run(time.Second)
	want(t, "way to the hub's server", s3.leadsTo(server), "")
	want(t, "tunnels", len(s3.clones), 0)
	// An address that the hub knows nothing of may be the spoke's: that has told its network only.
	unknown := ip("172.20.99.2")
	c.inject(hub, hub.sessionTo(s2).ID, request(unknown, ip("10.0.0.2")))
	c.run(time.Second)
	want(t, "way to the unknown", s3.leadsTo(unknown), s2.name)
}
