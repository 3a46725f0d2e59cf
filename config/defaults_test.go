package config

import (
	"net/netip"
	"testing"
	"time"
)

func TestDefaultsAreConcreteAfterLoading(t *testing.T) {
	c, diags := loadGood(t, "hub.toml")
	if len(diags) > 0 {
		t.Error(diags)
	}
	gi, lo, tu := c.Interface["GigabitEthernet0/0/0"], c.Interface["Loopback10"], c.Interface["Tunnel0"]
	if gi.MTU != 1500 || lo.MTU != 1514 || tu.MTU != 0 || tu.TTL != 255 || gi.TTL != 0 || gi.Mode != "" || gi.VRF != DefaultVRF || gi.Name != "GigabitEthernet0/0/0" {
		t.Errorf("got %+v, %+v, %+v", gi, lo, tu)
	}
	n := tu.NHRP
	if n.Holdtime != 10*time.Minute || n.RegistrationInterval() != 200*time.Second || n.RedirectTimeout != 8*time.Second || n.Unique || !n.MapMulticast.Dynamic || n.MaxSend.Packets != 10000 {
		t.Errorf("got %+v", n)
	}
	if a, ok := c.SourceAddress(tu); !ok || a != netip.MustParseAddr("172.16.1.1") {
		t.Errorf("source %v, %v", a, ok)
	}
	p := c.IKEv2.Profile["IKEV2-PROF"]
	if p.Lifetime != 24*time.Hour || p.Authentication.Local != PreShare || len(p.Authentication.Remote) != 1 || c.IKEv2.ProfileDPD(p) != nil || c.IKEv2.ProfileNATKeepalive(p) != 20*time.Second {
		t.Errorf("got %+v", p)
	}
	ip := c.IPsec.Profile["IPSEC-IKEV2"]
	if ip.Lifetime.Seconds != time.Hour || ip.Lifetime.Kilobytes != 4608000 || ip.Replay.WindowSize != 1024 || ip.PFS != 0 || ip.IdleTime != 0 {
		t.Errorf("got %+v", ip)
	}
	if b := c.BGP; b.Timers.Hold != 3*time.Minute || b.Timers.Keepalive != time.Minute || !b.LogNeighborChanges || b.MaximumPaths != 1 {
		t.Errorf("got %+v", b)
	}
	if c.Route[0].Distance != 1 || c.Route[0].VRF != DefaultVRF {
		t.Errorf("got %+v", c.Route[0])
	}
	if c.Interface["Tunnel0"].NHRP.Authentication.Reveal() != "DMVPN" || c.IKEv2.Keyring["IKEV2-KEYRING"].Peer["any"].PreSharedKey.Remote.Reveal() != "CISCO123" {
		t.Error("secrets are wrong")
	}
}

func TestSmartDefaultsAreOfferedInOrderAndGroup5LastAndOnlyAccepted(t *testing.T) {
	c := New()
	proposals := c.Proposals(nil)
	if len(proposals) != 2 || !proposals[0].Encryption[0].AEAD() || proposals[1].Encryption[0] != AESCBC256 {
		t.Fatalf("got %v", proposals)
	}
	for _, p := range proposals {
		if len(p.Group) != 3 || p.Group[0] != 19 || p.Group[1] != 14 || p.Group[2] != 21 || len(p.AcceptGroup) != 1 || p.AcceptGroup[0] != 5 {
			t.Errorf("groups %v, accepted %v", p.Group, p.AcceptGroup)
		}
		for _, e := range p.Encryption {
			if e.KeyBits() < 128 {
				t.Errorf("%s has %d bits", e, e.KeyBits())
			}
		}
	}
	own := &IKEProposal{Name: "own"}
	c.IKEv2.Proposal = map[string]*IKEProposal{"own": own}
	got := c.Proposals(&IKEPolicy{Proposal: []string{"own", "default"}})
	if len(got) != 3 || got[0] != own {
		t.Errorf("got %v", got)
	}
	c.IKEv2.Proposal["default"] = own
	if got = c.Proposals(nil); len(got) != 1 || got[0] != own {
		t.Errorf("a default of one's own is not used: %v", got)
	}
	if sets := c.TransformSets(&IPsecProfile{}); len(sets) != 4 || sets[0].ESP.String() != "aes-gcm-256" || sets[2].ESP.String() != "aes-cbc-256 sha256" {
		t.Errorf("got %v", sets)
	}
	mine := &TransformSet{Name: "T"}
	c.IPsec.TransformSet = map[string]*TransformSet{"T": mine}
	if sets := c.TransformSets(&IPsecProfile{TransformSet: []string{"T", "default"}}); len(sets) != 5 || sets[0] != mine {
		t.Errorf("got %v", sets)
	}
}

func TestANeighbourInheritsFromItsGroupAndThenFromTheDefaults(t *testing.T) {
	c, _ := loadGood(t, "everything.toml")
	p := c.BGP.Peer(c.BGP.Neighbor[netip.MustParseAddr("10.0.0.2")])
	if p.RemoteAS != 65001 || p.NextHopUnchanged || !p.ASOverride || p.Passive || !p.Shutdown || p.AllowASIn != 2 || p.EBGPMultihop != 3 ||
		p.Timers != (BGPTimers{0, 0, time.Second}) || p.Password.Reveal() != "md5 secret" || p.MaximumPrefix.Limit != 100 || p.UpdateSource.Interface != "Loopback0" || p.Group != "SPOKES" {
		t.Errorf("got %+v", p)
	}
	p = c.BGP.Peer(c.BGP.Neighbor[netip.MustParseAddr("10.3.0.2")])
	if p.EBGPMultihop != 1 || p.TTLSecurity != 1 || p.Timers != (BGPTimers{10 * time.Second, 30 * time.Second, 5 * time.Second}) || p.Passive {
		t.Errorf("got %+v", p)
	}
	if p = c.BGP.GroupPeer("SPOKES"); p.RemoteAS != 65001 || !p.Passive || p.Address.IsValid() {
		t.Errorf("got %+v", p)
	}
	if n := c.BGP.Neighbors(); len(n) != 3 || n[0].Address.String() != "10.0.0.2" || n[2].Address.String() != "2001:db8:10::2" {
		t.Errorf("got %v", n)
	}
}

func TestAConfigurationMadeInGoIsCheckedLikeAFile(t *testing.T) {
	c := New()
	c.Interface = map[string]*Interface{"Tunnel0": NewInterface("Tunnel0")}
	c.Interface["Tunnel0"].Protection = "NONE"
	c.Interface["Tunnel0"].Source.Interface = "GigabitEthernet1"
	want := "[interface.Tunnel0] source: no interface \"GigabitEthernet1\" (there is only \"Tunnel0\")\n" +
		"[interface.Tunnel0] protection: no ipsec profile \"NONE\" (there is none)\n"
	if got := c.Validate().String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, name := range good(t) {
		c, _ := loadGood(t, name)
		if diags := c.Validate(); diags.HasErrors() {
			t.Errorf("%s: %s", name, diags)
		}
	}
}
