package flexvpn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

func told(sa ikev2.SAID, subnets ...netip.Prefix) ikev2.ConfigReceived {
	return ikev2.ConfigReceived{SA: sa, Kind: message.CFG_SET, Accept: ikev2.RouteAccept{Accept: true}, Configuration: ikev2.Configuration{Subnets: subnets}}
}

func TestAnAssignedAddressIsThePeersThatHasItWhateverOthersSay(t *testing.T) {
	lease := netip.MustParsePrefix("10.122.144.146/27")
	host := netip.MustParsePrefix("10.122.144.146/32")
	s := newStage(t)
	s.set(s.tmpl)
	victim := func(sa ikev2.SAID) { // peer 2 with the lease
		s.happen(ikeUp(sa, 2, ikev2.Configuration{Addresses: []netip.Prefix{lease}}), s.childUp(ikev2.ChildID(sa), sa, 2, everything))
	}
	want := func(what string, routes ...string) {
		t.Helper()
		s.want(what, s.routes("private"), routes)
	}
	// Peer 1, with the lower interface, says to have it: by its selectors and by CFG_SET, before and after.
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, selector("10.122.144.146", "10.122.144.146")), told(1, host, netip.MustParsePrefix("10.1.0.0/16")))
	want("before anybody has it", "10.1.0.0/16 Virtual-Access1 [1] tag 0", "10.122.144.146/32 Virtual-Access1 [1] tag 0")
	victim(2)
	want("assigned", "10.1.0.0/16 Virtual-Access1 [1] tag 0", "10.122.144.146/32 Virtual-Access2 [1] tag 0")
	s.happen(told(1, host))
	want("told again", "10.122.144.146/32 Virtual-Access2 [1] tag 0")
	if n := strings.Count(s.log.String(), "assigned to another peer"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	// Its owner may say so, and may have two SAs at once.
	s.happen(told(2, host))
	s.happen(ikeUp(3, 2, ikev2.Configuration{Addresses: []netip.Prefix{lease}}), s.childUp(3, 3, 2, everything))
	want("twice", "10.122.144.146/32 Virtual-Access2 [1] tag 0")
	s.happen(s.engine.down(2)...)
	want("the second one", "10.122.144.146/32 Virtual-Access3 [1] tag 0")
	s.happen(told(1, host))
	want("still nobody else's", "10.122.144.146/32 Virtual-Access3 [1] tag 0")
	s.happen(s.engine.down(3)...)
	s.happen(told(1, host, netip.MustParsePrefix("10.2.0.0/16")))
	want("nobody's", "10.2.0.0/16 Virtual-Access1 [1] tag 0", "10.122.144.146/32 Virtual-Access1 [1] tag 0")
	s.happen(s.engine.down(1)...)
	want("the end")
	if len(s.m.owners)+len(s.m.hosts)+len(s.m.sas)+len(s.m.live) != 0 {
		t.Errorf("%v %v remain", s.m.owners, s.m.hosts)
	}
}

// within is a prefix list that permits what is in these.
type within []netip.Prefix

func (w *within) Permit(p netip.Prefix) bool {
	return slices.ContainsFunc(*w, func(x netip.Prefix) bool { return x.Bits() <= p.Bits() && x.Contains(p.Addr()) })
}

func TestAPeersWordLeadsNothingToItThatThePolicyDoesNotPermit(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	lan, lease := netip.MustParsePrefix("192.168.101.0/24"), netip.MustParsePrefix("10.122.144.146/27")
	list := &within{lan}
	accept := ikev2.RouteAccept{Accept: true, Only: list}
	say := func() {
		x := told(1, lan, netip.MustParsePrefix("192.168.102.0/24"), netip.MustParsePrefix("192.168.103.128/25"), netip.MustParsePrefix("192.168.0.0/16"))
		x.Accept = accept
		s.happen(x)
	}
	// Its selectors are its own word, too; the address is ours.
	s.happen(ikeUp(1, 1, ikev2.Configuration{Addresses: []netip.Prefix{lease}, Accept: accept}),
		s.childUp(1, 1, 1, selector("192.168.101.0", "192.168.101.127"), selector("192.168.104.0", "192.168.104.255")))
	s.want("by selectors", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [1] tag 0", "192.168.101.0/25 Virtual-Access1 [1] tag 0"})
	say()
	s.want("told", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [1] tag 0", "192.168.101.0/24 Virtual-Access1 [1] tag 0",
		"192.168.101.0/25 Virtual-Access1 [1] tag 0"})
	if !strings.Contains(s.log.String(), "prefix list does not permit it") {
		t.Errorf("nobody hears of it:\n%s", s.log.String())
	}
	accept.Only = &within{netip.MustParsePrefix("192.168.102.0/24")}
	say()
	s.want("another list", s.routes("private"), []string{"10.122.144.146/32 Virtual-Access1 [1] tag 0", "192.168.102.0/24 Virtual-Access1 [1] tag 0"})
}

func TestACallerDoesNotGiveUsADefaultRouteOverItsOwnUnderlay(t *testing.T) {
	s := newStage(t)
	zero := netip.MustParsePrefix("0.0.0.0/0")
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, everything), told(1, zero))
	s.want("in a VRF of its own it may", s.routes("private"), []string{"0.0.0.0/0 Virtual-Access1 [1] tag 0"})
	s = newStage(t)
	s.tmpl.VRF, s.tmpl.Unnumbered = "public", "Loopback-public"
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, everything), told(1, zero, netip.MustParsePrefix("10.9.0.0/16")))
	s.want("routes", s.routes("public"), []string{"10.9.0.0/16 Virtual-Access1 [1] tag 0"})
}

func TestWhatAPeerTellsTooMuchOfIsLeftOutAndSaidOnce(t *testing.T) {
	s := newStage(t)
	s.tmpl.VRF, s.tmpl.Unnumbered = "public", "Loopback-public"
	s.set(s.tmpl)
	var many []netip.Prefix
	for i := range maxRoutes + 500 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 24))
	}
	for i := range 300 { // each of them has the peer's address outside
		many = append(many, netip.PrefixFrom(peerAt(1), 32-i%24).Masked())
	}
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.childUp(1, 1, 1, everything))
	for range 3 {
		s.happen(told(1, many...))
	}
	if n := len(s.routes("public")); n != maxRoutes {
		t.Errorf("%d routes", n)
	}
	if n := strings.Count(s.log.String(), "route-left-out"); n != 2 || !strings.Contains(s.log.String(), fmt.Sprintf("a peer may have %d", maxRoutes)) {
		t.Errorf("%d lines in the log", n)
	}
	s.happen(told(1))
	s.want("routes", s.routes("public"), nil)
}
