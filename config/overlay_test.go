package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// The overlay's server, line for line: what IOS says in its configuration is said here.
func TestTheSecureOverlaysServerIsReadAsIOSReadsIt(t *testing.T) {
	c, diags := loadGood(t, "secure-overlay.toml")
	if len(diags) > 0 {
		t.Errorf("%s", diags)
	}
	p := c.IKEv2.Profile["uCPE-profile"]
	if !p.Match.Identity.Remote.Any || p.Match.FVRF != "public-vrf" || p.VirtualTemplate != 1 || p.VirtualTemplateMode != TemplateAuto ||
		p.PreSharedKey.Local.Reveal() != "ciscociscocisco123" || p.PreSharedKey.Remote != p.PreSharedKey.Local || p.Keyring != "" ||
		p.ConfigExchange != (ConfigExchange{true, true, true}) || *c.IKEv2.ProfileDPD(p) != (DPD{time.Minute, 2 * time.Second, DPDOnDemand}) {
		t.Errorf("got %+v", p)
	}
	a := c.IKEv2.Authorization(p.Authorization.Policy)
	if a == nil || !a.PFS || !a.Route.Accept || a.Route.Distance != 1 || len(a.Route.SetInterface) != 1 || a.Route.SetInterface[0] != "Loopback1001" || a.Pool != "" {
		t.Errorf("got %+v", a)
	}
	vt := c.Template(p)
	if vt == nil || vt.Name != "Virtual-Template1" || vt.Kind() != VirtualTemplate || vt.VRF != "private-vrf" || vt.TunnelVRF != "public-vrf" ||
		vt.Unnumbered != "Loopback1001" || vt.IPMTU != 1400 || vt.TCPAdjustMSS != 1380 || vt.MTU != 0 || !vt.Mode.VTI() || !vt.Source.IsZero() {
		t.Errorf("got %+v", vt)
	}
	ip := c.IPsec.Profile[vt.Protection]
	if ip.Lifetime.Seconds != 8*time.Hour || ip.IdleTime != 30*time.Minute || ip.PFS != 14 || ip.IKEv2Profile != p.Name {
		t.Errorf("got %+v", ip)
	}
	b := c.BGP.Instance("private-vrf")
	if b == nil || b.VRFName() != "private-vrf" || !b.Redistribute.Connected.Enabled || !b.Redistribute.Static.Enabled || len(b.Listen) != 1 || b.Listen[0].Limit != 100 || c.BGP.ListenLimit != 255 {
		t.Errorf("got %+v", b)
	}
	peer := b.GroupPeer("uCPEs")
	if peer.RemoteAS != 200 || peer.EBGPMultihop != 10 || peer.Timers.Keepalive != 610*time.Second || peer.Timers.Hold != 1835*time.Second {
		t.Errorf("got %+v", peer)
	}
	if c.VRF["private-vrf"].RD != "65000:7" || c.BGP.RouterID != netip.MustParseAddr("166.34.121.112") || c.BGP.Instance("public-vrf") != nil || len(c.BGP.Instances()) != 2 {
		t.Errorf("got %+v", c.BGP)
	}
}

func TestAValueAloneStandsForItsTable(t *testing.T) {
	read := func(text string) *BGP {
		t.Helper()
		c, diags := decode([]byte("[bgp]\nas = 1\n" + text))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		return c.BGP
	}
	r := read("redistribute = { connected = {}, static = false }").Redistribute
	if !r.Connected.Enabled || r.Static.Enabled {
		t.Errorf("got %+v", r)
	}
	r = read("redistribute = { static = { metric = 0 } }").Redistribute
	if !r.Static.Enabled || r.Static.Metric == nil || *r.Static.Metric != 0 || r.Connected.Enabled {
		t.Errorf("got %+v", r)
	}
	g := read("[bgp.peer-group.A]\nmaximum-prefix = 7\ndefault-originate = true\n[bgp.neighbor.\"10.0.0.1\"]\npeer-group = \"A\"\ndefault-originate = false\nmaximum-prefix = { limit = 0 }")
	if p := g.GroupPeer("A"); p.MaximumPrefix != (MaximumPrefix{Limit: 7, Threshold: 75}) || !p.DefaultOriginate.Enabled {
		t.Errorf("got %+v", p)
	}
	if p := g.Peer(g.Neighbors()[0]); p.MaximumPrefix.Limit != 0 || p.DefaultOriginate.Enabled {
		t.Errorf("got %+v", p)
	}
}

func TestEntriesWithoutANumberComeAfterThoseBefore(t *testing.T) {
	p := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	l := &PrefixList{Entry: []*PrefixListEntry{{Permit: p("10.0.0.0/8")}, {Seq: 22, Deny: p("0.0.0.0/0"), LE: 32}, {Permit: p("10.1.0.0/16"), GE: 24}, {Seq: 1, Permit: p("2001:db8::/32"), GE: 40, LE: 48}}}
	want := []struct{ seq, lo, hi int }{{1, 40, 48}, {5, 8, 8}, {22, 0, 32}, {27, 24, 32}}
	for i, e := range l.Ordered() {
		lo, hi := e.Lengths()
		if got := [3]int{int(e.Seq), lo, hi}; got != [3]int{want[i].seq, want[i].lo, want[i].hi} {
			t.Errorf("entry %d: got %v, want %v", i, got, want[i])
		}
	}
	if l.Entry[0].Seq != 0 {
		t.Error("the configuration itself was changed")
	}
	m := &RouteMap{Entry: []*RouteMapEntry{{}, {Seq: 15}, {}}}
	if o := m.Ordered(); o[0].Seq != 10 || o[1].Seq != 15 || o[2].Seq != 25 {
		t.Errorf("got %+v", o)
	}
}

func TestAPoolsPrefixLeavesOutWhatNoHostHas(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/24": "10.0.0.1-10.0.0.254", "10.0.0.0/31": "10.0.0.0-10.0.0.1", "10.0.0.7/32": "10.0.0.7", "10.0.0.7": "10.0.0.7",
		"2001:db8::/64": "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff", " 10.0.0.1 - 10.0.0.9 ": "10.0.0.1-10.0.0.9", "10.0.0.5-10.0.0.5": "10.0.0.5",
	} {
		r, err := ParseAddressRange(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, r, err, want)
		}
		if again, err := ParseAddressRange(r.String()); err != nil || again != r {
			t.Errorf("%s: read again it is %s, %v", text, again, err)
		}
	}
	for _, wrong := range []string{"", "-", "10.0.0.1-", "10.0.0.9-10.0.0.1", "10.0.0.1-2001:db8::1", "10.0.0.1/24", "::ffff:10.0.0.1"} {
		if r, err := ParseAddressRange(wrong); err == nil {
			t.Errorf("%q is taken for %s", wrong, r)
		}
	}
}

func TestAConfigurationMayCarryTheFilesThatItNames(t *testing.T) {
	c, _ := loadGood(t, "everything.toml")
	text := Marshal(c, WithSecrets(), WithFiles())
	again, diags := Parse("alone", text)
	if again == nil || !Equal(c, again) {
		t.Fatalf("%s: %v", diags, Diff(c, again))
	}
	if open := Marshal(c, WithFiles()); strings.Count(string(open), "data = ") != 3 { // both certificates and the list, no secret
		t.Errorf("got\n%s", open)
	}
	if got, want := fmt.Sprint(NamedFiles(text)), "[]"; got != want {
		t.Errorf("files are needed beside it: %s", got)
	}
	data, err := os.ReadFile("testdata/good/everything.toml")
	if got, want := fmt.Sprint(NamedFiles(data)), "[pki/ca.crl pki/ca.pem pki/router.key pki/router.pem psk.txt]"; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	_, diags = Parse("x", []byte("[pki.trustpoint.CA]\nca = { file = \"ca.pem\", data = \"c2VjcmV0!\" }"))
	if want := "x:2:32: [pki.trustpoint.CA] ca.data: expected the contents of the file in base64\n"; diags.String() != want {
		t.Errorf("got %s want %s", diags, want)
	}
}

func TestTheKeyOfATrustpointIsNeverShown(t *testing.T) {
	c, _ := loadGood(t, "everything.toml")
	key := c.PKI.Trustpoint["CA"].Key
	if len(key.Reveal()) < 100 || key.String() != "***" {
		t.Fatalf("the key is %d bytes, %s", len(key.Reveal()), key)
	}
	for _, text := range []string{string(Marshal(c)), string(Marshal(c, WithSecrets())), fmt.Sprint(Diff(New(), c), c.PKI.Trustpoint["CA"].Key)} {
		if i := len(key.Reveal()) / 2; strings.Contains(text, key.Reveal()[i-20:i]) {
			t.Error("the key is in what is printed")
		}
	}
	other, _ := loadGood(t, "everything.toml")
	other.PKI.Trustpoint["CA"].CA.Data = append([]byte("\n"), other.PKI.Trustpoint["CA"].CA.Data...)
	if d := Diff(c, other); len(d) != 1 || d[0].Path() != "pki.trustpoint.CA.ca" {
		t.Errorf("a file that changed is not seen: %v", d)
	}
}
