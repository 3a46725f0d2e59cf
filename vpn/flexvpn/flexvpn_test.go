package flexvpn

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/protect"
)

var lan = selector("10.122.144.128", "10.122.144.159") // a /27

func TestAPeerGetsAnInterfaceOfTheTemplateUntilItsLastChildGoes(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, lan))
	s.do(func() {
		a, ok := s.m.Find("Virtual-Access1")
		if !ok || a.Template != "Virtual-Template1" || a.Profile != "PROF" || a.IKE != 1 || a.Remote.Addr() != peerAt(1) || a.Local.Addr() != server || !a.Up || a.Session == nil || a.TTL != 255 {
			t.Fatalf("%+v", a)
		}
		i := a.Interface
		if i.VRF().Name() != "private" || i.Tunnel().Config().Underlay.Name() != "public" || i.IPMTU() != 1400 || i.Unnumbered() == nil || i.Unnumbered().Name() != "Loopback-private" {
			t.Errorf("%s in %s over %s, MTU %d, from %v", i.Name(), i.VRF().Name(), i.Tunnel().Config().Underlay.Name(), i.IPMTU(), i.Unnumbered())
		}
		if src, ok := i.VRF().SourceFor(netip.MustParseAddr("10.122.144.146")); !ok || src != netip.MustParseAddr("166.34.121.112") {
			t.Errorf("packets to the peer come from %v", src)
		}
	})
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	s.want("routes outside", s.routes("public"), nil)
	// The peer rekeys: nothing changes. It has a second child for a moment, which goes: nothing changes.
	next := s.childUp(2, 1, 1, lan)
	next.Replaces = 1
	s.happen(next, ikev2.ChildRekeyed{Old: 1, New: 2}, s.childDown(1))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	if n := strings.Count(s.log.String(), "LINEPROTO"); n != 1 {
		t.Errorf("%d lines about the line protocol", n)
	}
	s.happen(s.childDown(2))
	s.want("interfaces", s.accesses(), nil)
	s.want("routes", s.routes("private"), nil)
	if _, ok := s.dp.Interface("Virtual-Access1"); ok {
		t.Error("the data plane still has the interface")
	}
	if n := strings.Count(s.log.String(), `"peer":"`+netip.AddrPortFrom(peerAt(1), 4500).String()+`","state"`); n != 2 {
		t.Errorf("%d lines name the peer:\n%s", n, s.log.String())
	}
	if n := strings.Count(s.log.String(), "LINEPROTO"); n != 2 {
		t.Errorf("%d lines about the line protocol", n)
	}
}

func TestInterfacesTakeTheLowestFreeNumber(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	for n := 1; n <= 4; n++ {
		s.happen(ikeUp(ikev2.SAID(n), n, ikev2.Configuration{}), s.childUp(ikev2.ChildID(n), ikev2.SAID(n), n, everything))
	}
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1", "Virtual-Access2", "Virtual-Access3", "Virtual-Access4"})
	s.happen(s.engine.down(3)...)
	s.happen(s.engine.down(2)...)
	s.happen(ikeUp(5, 5, ikev2.Configuration{}), s.childUp(5, 5, 5, everything))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1", "Virtual-Access2", "Virtual-Access4"})
	s.do(func() {
		if a, _ := s.m.Find("Virtual-Access2"); a.IKE != 5 {
			t.Errorf("Virtual-Access2 is IKE SA %d's", a.IKE)
		}
	})
	// Selectors for everything are not a default route.
	s.want("routes", s.routes("private"), nil)
}

func TestWhatThePeerOffersDecidesBetweenGREAndIPsec(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	gre := s.childUp(1, 1, 1, selector("10.88.247.1", "10.88.247.1"))
	gre.Policy, gre.TSRemote[0].Protocol = "Virtual-Template1 gre", 47
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), gre)
	s.happen(ikeUp(2, 2, ikev2.Configuration{}), s.childUp(2, 2, 2, lan))
	s.do(func() {
		a, _ := s.m.Find("Virtual-Access1")
		b, _ := s.m.Find("Virtual-Access2")
		if a.Mode != netstack.GREPointToPoint || b.Mode != netstack.VTI {
			t.Errorf("%v and %v", a.Mode, b.Mode)
		}
	})
	// GRE's selectors are the outer addresses: no route.
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access2 [1] tag 0"})
	// One peer cannot have both at once.
	both := s.childUp(3, 1, 1, lan)
	s.happen(both)
	if len(s.engine.deleted) != 1 || !strings.HasPrefix(s.engine.deleted[0], "child 3") {
		t.Errorf("deleted %v", s.engine.deleted)
	}
}

func TestAllChildrenOfAPeerShareItsInterfaceAndEachHasItsRoutes(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	second, third := selector("10.5.0.0", "10.5.255.255"), selector("10.6.0.4", "10.6.0.9")
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, lan))
	s.happen(s.childUp(2, 1, 1, second))
	s.happen(s.childUp(3, 1, 1, third))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.want("routes", s.routes("private"), []string{"10.5.0.0/16 Virtual-Access1 [1] tag 0", "10.6.0.4/30 Virtual-Access1 [1] tag 0",
		"10.6.0.8/31 Virtual-Access1 [1] tag 0", "10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	s.happen(s.childDown(1))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.want("routes", s.routes("private"), []string{"10.5.0.0/16 Virtual-Access1 [1] tag 0", "10.6.0.4/30 Virtual-Access1 [1] tag 0", "10.6.0.8/31 Virtual-Access1 [1] tag 0"})
	// A rekey that narrows changes the routes.
	narrow := s.childUp(4, 1, 1, selector("10.5.1.0", "10.5.1.255"))
	narrow.Replaces = 2
	s.happen(narrow, ikev2.ChildRekeyed{Old: 2, New: 4}, s.childDown(2), s.childDown(3))
	s.want("routes", s.routes("private"), []string{"10.5.1.0/24 Virtual-Access1 [1] tag 0"})
}

// A peer's first packet may come right behind the response that lets it send: the way back must be there by then.
func TestTheRoutesToAPeerAreThereBeforeItsFirstPacketAndGoWithASessionThatNeverGetsOne(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	up := s.childUp(1, 1, 1, lan)
	up.OutboundReady = false
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), up)
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	s.happen(s.childDown(1))
	s.want("interfaces", s.accesses(), nil)
	s.want("routes", s.routes("private"), nil)
}

func TestAssignedAddressesAndToldSubnetsBecomeRoutesAsThePolicySays(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	policy := ikev2.RouteAccept{Accept: true, Distance: 7, Tag: 99}
	s.happen(ikeUp(1, 1, ikev2.Configuration{Addresses: []netip.Prefix{netip.MustParsePrefix("10.122.144.146/27")}, Accept: policy}), s.childUp(1, 1, 1, everything))
	s.want("routes", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [7] tag 99"})
	told := func(kind ikev2.CFGType, accept ikev2.RouteAccept, subnets ...string) {
		c := ikev2.ConfigReceived{SA: 1, Kind: kind, Accept: accept}
		for _, x := range subnets {
			c.Configuration.Subnets = append(c.Configuration.Subnets, netip.MustParsePrefix(x))
		}
		s.happen(c)
	}
	told(message.CFG_SET, policy, "192.168.1.0/24", "fd00:1::/64", "224.0.0.0/4", "fe80::/10", "127.0.0.0/8")
	s.want("routes", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [7] tag 99", "192.168.1.0/24 Virtual-Access1 [7] tag 99", "fd00:1::/64 Virtual-Access1 [7] tag 99"})
	told(message.CFG_REQUEST, policy) // a question changes nothing
	told(message.CFG_SET, policy, "192.168.2.0/24")
	s.want("routes after another CFG_SET", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [7] tag 99", "192.168.2.0/24 Virtual-Access1 [7] tag 99"})
	told(message.CFG_SET, ikev2.RouteAccept{}, "192.168.2.0/24")
	s.want("routes when none are accepted", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [1] tag 0"})
	s.happen(s.engine.down(1)...)
	s.want("routes", s.routes("private"), nil)
	if len(s.m.sas) != 0 || len(s.m.live) != 0 {
		t.Errorf("%d SAs and %d sessions are remembered", len(s.m.sas), len(s.m.live))
	}
}

func TestAStaticTunnelGetsTheRoutesThatItsPeerTells(t *testing.T) {
	s := newStage(t)
	private, _ := s.dp.VRF("private")
	public, _ := s.dp.VRF("public")
	tun, err := s.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", VRF: private, Underlay: public, Mode: netstack.VTI, Source: server, Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	s.ribs["private"].SetInterface("Tunnel0", tun.Interface().Index(), true, nil)
	s.do(func() {
		if err := s.p.AddTunnel(tun, protect.TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0", VRF: "public", Passive: true}); err != nil {
			t.Fatal(err)
		}
	})
	up := s.childUp(1, 1, 1, lan)
	up.Policy = "Tunnel0"
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), up, ikev2.ConfigReceived{SA: 1, Kind: message.CFG_REPLY, Accept: ikev2.RouteAccept{Accept: true},
		Configuration: ikev2.Configuration{Subnets: []netip.Prefix{netip.MustParsePrefix("81.81.81.1/32")}}})
	s.want("routes", s.routes("private"), []string{"81.81.81.1/32 Tunnel0 [1] tag 0"})
	s.happen(s.engine.down(1)...)
	s.want("routes", s.routes("private"), nil)
}

func TestARouteThatWouldLeadTheTunnelThroughItselfIsLeftOut(t *testing.T) {
	s := newStage(t)
	s.tmpl.VRF, s.tmpl.Unnumbered = "public", "Loopback-public"
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, selector("10.88.247.0", "10.88.247.255"), lan))
	s.want("routes", s.routes("public"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	if !strings.Contains(s.log.String(), "route-left-out") {
		t.Error("nobody was told")
	}
}

func TestATemplateThatChangesRebuildsOnlyWhenItMust(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, lan))
	i, _ := s.dp.Interface("Virtual-Access1")
	c := s.tmpl
	c.IPMTU, c.AdjustMSS, c.Description, c.Unnumbered, c.IdleTime, c.VolumeBytes = 1300, 1260, "spokes", "", time.Hour, 1<<30
	s.set(c)
	if j, _ := s.dp.Interface("Virtual-Access1"); j != i || i.IPMTU() != 1300 || i.Description() != "spokes" || i.Unnumbered() != nil {
		t.Errorf("%v: MTU %d, %q, unnumbered %v", j, i.IPMTU(), i.Description(), i.Unnumbered())
	}
	s.do(func() {
		if p := s.p.Sessions()[0].Pairs[0]; p.VolumeBytes != 1<<30 {
			t.Errorf("volume %d", p.VolumeBytes)
		}
	})
	c.Shutdown = true
	s.set(c)
	if i.Up() {
		t.Error("up although shut")
	}
	s.want("routes over an interface that is down", s.routes("private"), nil)
	c.Shutdown = false
	s.set(c)
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	if len(s.engine.deleted) != 0 {
		t.Fatalf("deleted %v", s.engine.deleted)
	}
	c.Protection = "other keys"
	s.set(c)
	s.want("interfaces", s.accesses(), nil)
	s.want("routes", s.routes("private"), nil)
	if len(s.engine.deleted) == 0 {
		t.Error("the peer was not told")
	}
	// It may come again, and the template's end ends it.
	s.happen(ikeUp(2, 1, ikev2.Configuration{}), s.childUp(2, 2, 1, lan))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.do(func() { s.m.RemoveTemplate("Virtual-Template1") })
	s.want("interfaces", s.accesses(), nil)
	s.happen(ikeUp(3, 1, ikev2.Configuration{}), s.childUp(3, 3, 1, lan))
	s.want("interfaces of no template", s.accesses(), nil)
}

func TestAPeerThatCalledAnotherAddressThanTheSourceIsRefused(t *testing.T) {
	s := newStage(t)
	s.tmpl.Source = netip.MustParseAddr("10.88.247.85")
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, lan))
	s.want("interfaces", s.accesses(), nil)
	if c := s.m.Counters(); c.Refused != 1 || len(s.engine.deleted) != 1 {
		t.Errorf("%+v, deleted %v", c, s.engine.deleted)
	}
	if !strings.Contains(s.log.String(), "clone-failed") {
		t.Error("the log does not say why")
	}
	s.tmpl.Source = server
	s.set(s.tmpl)
	s.happen(ikeUp(2, 1, ikev2.Configuration{}), s.childUp(2, 2, 1, lan))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
}

func TestAnIdlePeerLosesItsInterface(t *testing.T) {
	s := newStage(t)
	s.tmpl.IdleTime = time.Minute
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, lan))
	for range 70 {
		s.clock.Advance(time.Second)
		s.do(func() {})
	}
	s.want("interfaces", s.accesses(), nil)
}

func TestAPeerThatMovesKeepsItsInterfaceAndChangesItsEncapsulation(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	child := s.childUp(1, 1, 1, lan)
	child.Suite = esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_512_256}
	child.KeysIn, child.KeysOut = ikev2.ChildKey{Encr: make([]byte, 32), Integ: make([]byte, 64)}, ikev2.ChildKey{Encr: make([]byte, 32), Integ: make([]byte, 64)}
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), child)
	s.do(func() {
		// IKE is on port 4500 although nobody is behind a NAT: ESP is not in UDP.
		if p := s.p.Sessions()[0].Pairs[0]; p.PathMTU != 1500 || p.PlainMTU != 1422 || p.UDPEncap {
			t.Errorf("%+v", p)
		}
	})
	to := netip.AddrPortFrom(peerAt(77), 33000)
	s.happen(ikev2.PeerMoved{SA: 1, Local: netip.AddrPortFrom(server, 4500), Old: netip.AddrPortFrom(peerAt(1), 4500), New: to, UDPEncap: true, NAT: ikev2.NAT{Remote: true}})
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.want("routes", s.routes("private"), []string{"10.122.144.128/27 Virtual-Access1 [1] tag 0"})
	s.do(func() {
		a, _ := s.m.Find("Virtual-Access1")
		i := s.p.Sessions()[0]
		if a.Remote != to || i.Remote != to || !i.UDPEncap || !i.NAT.Remote || !a.Session.Outbound().UDPEncap() || a.Session.Outbound().Remote() != to || i.Pairs[0].PlainMTU != 1406 {
			t.Errorf("%+v\n%+v", a, i)
		}
	})
	s.happen(ikev2.PeerMoved{SA: 1, Local: netip.AddrPortFrom(server, 4500), Old: to, New: netip.AddrPortFrom(peerAt(1), 4500)})
	s.do(func() {
		if i := s.p.Sessions()[0]; i.UDPEncap || i.Pairs[0].PlainMTU != 1422 {
			t.Errorf("%+v", i)
		}
	})
}

func TestARangeOfAddressesIsTheFewestPrefixes(t *testing.T) {
	for _, c := range [][]string{
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"10.0.0.0", "10.0.0.255", "10.0.0.0/24"},
		{"10.0.0.1", "10.0.0.1", "10.0.0.1/32"},
		{"10.0.0.1", "10.0.0.6", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32"},
		{"255.255.255.254", "255.255.255.255", "255.255.255.254/31"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
		{"fd00::", "fd00::ffff", "fd00::/112"},
		{"10.0.0.9", "10.0.0.1", ""},
		{"10.0.0.9", "fd00::", ""},
	} {
		var got []string
		for _, p := range Prefixes(netip.MustParseAddr(c[0]), netip.MustParseAddr(c[1])) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c[2] {
			t.Errorf("%s to %s: %v", c[0], c[1], got)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, b := rnd.Uint32(), rnd.Uint32()
		if a > b {
			a, b = b, a
		}
		v4 := func(x uint32) netip.Addr {
			return netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
		}
		next := v4(a)
		for _, p := range Prefixes(v4(a), v4(b)) {
			if p.Addr() != next || p != p.Masked() {
				t.Fatalf("%v to %v: %v is not where it should begin, %v", v4(a), v4(b), p, next)
			}
			next = message.Last(p).Next()
		}
		if next != v4(b).Next() {
			t.Fatalf("%v to %v: ends before %v", v4(a), v4(b), next)
		}
	}
}
