package flexvpn

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/vpn/dmvpn"
	"felloe/vpn/ikev2"
)

// parent is a spoke's tunnel to its hub, whose source shortcuts are called from.
func (s *stage) parent() *netstack.Tunnel { return s.tunnelTo("Tunnel0", "10.88.200.1") }

func (s *stage) tunnelTo(name, hub string) *netstack.Tunnel {
	s.t.Helper()
	public, _ := s.dp.VRF("public")
	private, _ := s.dp.VRF("private")
	t, err := s.dp.AddTunnel(netstack.TunnelConfig{Name: name, VRF: private, Underlay: public, Mode: netstack.GREPointToPoint, Source: server,
		Destination: netip.MustParseAddr(hub), Protected: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *stage) open(parent *netstack.Tunnel, nbma netip.Addr) (n *netstack.Session, err error) {
	s.t.Helper()
	s.do(func() { n, err = s.p.OpenTemplate("Virtual-Template1", nbma, parent) })
	return n, err
}

// gre is a child of a peer's, or of ours with what it was begun for.
func (s *stage) gre(child ikev2.ChildID, sa ikev2.SAID, n int) ikev2.ChildUp {
	up := s.childUp(child, sa, n, selector("0.0.0.0", "0.0.0.0"))
	up.Policy = "Virtual-Template1 gre"
	up.Local, up.Remote = netip.AddrPortFrom(server, 500), netip.AddrPortFrom(peerAt(n), 500)
	return up
}

func TestAShortcutsInterfaceIsThereBeforeItsPeerIsCalledAndIsTheOneThatThePeersOwnCallJoins(t *testing.T) {
	s := newStage(t)
	s.tmpl.Profile = "PROF"
	s.set(s.tmpl)
	parent := s.parent()
	first, err := s.open(parent, peerAt(1))
	if err != nil {
		t.Fatal(err)
	}
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	if c := s.engine.called; len(c) != 1 || c[0].Remote != peerAt(1) || c[0].Local != server || c[0].Profile != "PROF" || c[0].Child != "Virtual-Template1 gre" || c[0].VRF != "public" {
		t.Fatalf("called %+v", c)
	}
	if again, err := s.open(parent, peerAt(1)); err != nil || again != first || len(s.engine.called) != 1 {
		t.Fatalf("another session for the same peer: %v", err)
	}
	// The peer has called at the same time, and its call is the first to come to an end.
	s.happen(ikeUp(7, 1, ikev2.Configuration{}), s.gre(1, 7, 1))
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	own := s.gre(2, 1001, 1)
	own.Tag = s.engine.called[0].Tag
	mine := ikeUp(1001, 1, ikev2.Configuration{})
	mine.Initiator, mine.Tag = true, own.Tag
	s.happen(mine, own)
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	s.do(func() {
		i, ok := s.p.SessionInfo(first)
		if !ok || len(i.Pairs) != 2 {
			t.Fatalf("both pairs receive: %+v", i.Pairs)
		}
		a, _ := s.m.Find("Virtual-Access1")
		if a.Peer.String() != "peer1.example" || a.Session != first {
			t.Errorf("%+v", a)
		}
	})
	// It is settled: one goes, and nothing is to be seen of it.
	s.happen(ikev2.IKESuperseded{Old: 7, New: 1001})
	s.happen(s.engine.down(7)...)
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1"})
	// The peer ends it: it is not called again.
	s.happen(s.engine.down(1001)...)
	s.want("interfaces", s.accesses(), nil)
	s.clock.Advance(time.Minute)
	s.do(func() {})
	if len(s.engine.called) != 1 {
		t.Errorf("called again: %+v", s.engine.called[1:])
	}
}

func TestAPeersOwnSessionServesAShortcutAndASecondOneAtItsAddressDoesNotJoin(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	parent := s.parent()
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.gre(1, 1, 1))
	n, err := s.open(parent, peerAt(1))
	if err != nil || len(s.engine.called) != 0 || n.Tunnel().Interface().Name() != "Virtual-Access1" {
		t.Fatalf("%v, called %v", err, s.engine.called)
	}
	// We call somebody; somebody else behind the same NAT calls us.
	if _, err := s.open(parent, peerAt(2)); err != nil {
		t.Fatal(err)
	}
	other := s.gre(5, 5, 2)
	other.Remote = netip.AddrPortFrom(peerAt(2), 20007)
	up := ikeUp(5, 2, ikev2.Configuration{})
	up.Remote = other.Remote
	s.happen(up, other)
	s.want("interfaces", s.accesses(), []string{"Virtual-Access1", "Virtual-Access2", "Virtual-Access3"})
	s.do(func() { s.m.RemoveTemplate("Virtual-Template1") })
	s.want("interfaces", s.accesses(), nil)
}

func TestAShortcutThatIsClosedBeforeItIsUpLeavesNothing(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	n, err := s.open(s.parent(), peerAt(1))
	if err != nil {
		t.Fatal(err)
	}
	s.do(func() { s.p.Close(n, "test") })
	s.want("interfaces", s.accesses(), nil)
	if _, ok := s.dp.Interface("Virtual-Access1"); ok || !n.Closed() {
		t.Error("something is left")
	}
	if len(s.engine.deleted) != 1 || !strings.HasPrefix(s.engine.deleted[0], "ike 1001") {
		t.Errorf("deleted %q", s.engine.deleted)
	}
}

func TestShortcutsThatCannotBeSayWhy(t *testing.T) {
	s := newStage(t)
	parent := s.parent()
	refused := func(nbma, why string) {
		t.Helper()
		if _, err := s.open(parent, netip.MustParseAddr(nbma)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	refused("10.88.247.1", "there is none")
	s.set(s.tmpl)
	refused("2001:db8::1", "no source address")
	for n := 1; n <= 256; n++ {
		if _, err := s.open(parent, peerAt(n)); err != nil {
			t.Fatal(err)
		}
	}
	refused("10.99.0.1", "256 peers are being called")
	ipsec := s.tmpl
	ipsec.ChildPolicies = map[string]netstack.TunnelMode{"Virtual-Template1 ipsec": netstack.VTI}
	s.set(ipsec)
	refused("10.88.247.1", "not GRE")
}

// Whom to call is what others say: addresses where nobody is must not keep everybody else from being called.
func TestSilentPeersMakeRoomAndHoldNobodyBackBesideAnotherTunnel(t *testing.T) {
	s := newStage(t)
	s.set(s.tmpl)
	parent, other := s.parent(), s.tunnelTo("Tunnel9", "10.88.200.9")
	open := func(parent *netstack.Tunnel, n int) error {
		_, err := s.open(parent, peerAt(n))
		return err
	}
	for n := 1; n <= 256; n++ {
		if err := open(parent, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(parent, 257); err == nil {
		t.Fatal("so many at once")
	}
	if err := open(other, 258); err != nil {
		t.Errorf("beside another tunnel: %v", err)
	}
	s.clock.Advance(5 * time.Second)
	for n := 300; n < 310; n++ {
		if err := open(parent, n); err != nil {
			t.Fatalf("after a while: %v", err)
		}
	}
	if n := len(s.accesses()); n != 257 || len(s.engine.deleted) != 10 {
		t.Errorf("%d are being called, %d are given up", n, len(s.engine.deleted))
	}
	s.do(func() {
		if _, ok := s.m.Find("Virtual-Access11"); !ok {
			t.Error("not the oldest were given up")
		}
	})
	// An answer takes one off.
	up := s.gre(1, 1266, 309)
	up.Tag = s.engine.called[len(s.engine.called)-1].Tag
	mine := ikeUp(1266, 309, ikev2.Configuration{})
	mine.Initiator, mine.Tag = true, up.Tag
	s.happen(mine, up)
	if err := open(parent, 400); err != nil {
		t.Error(err)
	}
}

// members counts what joins and leaves an NHRP network.
type members struct{ in map[string]dmvpn.Config }

func (m *members) Apply(t *netstack.Tunnel, c dmvpn.Config) error {
	m.in[t.Interface().Name()] = c
	return nil
}
func (m *members) Remove(name string) { delete(m.in, name) }

func TestInterfacesJoinTheirTemplatesNHRPNetworkAsLongAsTheyAreThere(t *testing.T) {
	s := newStage(t)
	joined := &members{in: map[string]dmvpn.Config{}}
	outside := map[string]netip.Addr{}
	s.m.o.NHRP = joined
	s.m.o.Outside = func(name, underlay, template string, far netip.Addr) {
		if outside[name] = far; !far.IsValid() {
			delete(outside, name)
		}
	}
	s.tmpl.NHRP = &dmvpn.Config{NetworkID: 5, Redirect: true}
	s.set(s.tmpl)
	s.happen(ikeUp(1, 1, ikev2.Configuration{}), s.gre(1, 1, 1))
	if c, ok := joined.in["Virtual-Access1"]; !ok || c.NetworkID != 5 || !c.Clone || len(outside) != 0 {
		t.Fatalf("%+v, outside %v", joined.in, outside)
	}
	// It changes on the interfaces that there are.
	next := s.tmpl
	next.NHRP = &dmvpn.Config{NetworkID: 6, Redirect: true, Shortcut: true, ShortcutTemplate: 1}
	s.set(next)
	if c := joined.in["Virtual-Access1"]; c.NetworkID != 6 || c.ShortcutTemplate != 1 {
		t.Errorf("%+v", c)
	}
	s.happen(ikeUp(2, 2, ikev2.Configuration{}), s.gre(2, 2, 2), ikeUp(3, 3, ikev2.Configuration{}), s.childUp(3, 3, 3, lan))
	if len(joined.in) != 2 || outside["Virtual-Access2"] != peerAt(2) {
		t.Errorf("IPsec without GRE is no member: %v, outside %v", joined.in, outside)
	}
	next.NHRP = nil
	s.set(next)
	if len(joined.in) != 0 {
		t.Errorf("%v", joined.in)
	}
	s.happen(slices.Concat(s.engine.down(1), s.engine.down(2), s.engine.down(3))...)
	if len(outside) != 0 {
		t.Errorf("outside %v", outside)
	}
}
