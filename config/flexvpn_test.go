package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestAFlexVPNSpokeIsReadAsIOSReadsIt(t *testing.T) {
	c, diags := loadGood(t, "flexvpn-spoke.toml")
	if w := diags.Warnings(); len(diags) != 2 || len(w) != 2 || !strings.Contains(w[0].String(), "follow the default route") || !strings.Contains(w[1].String(), `no access list "flex-route"`) {
		t.Errorf("got %s", diags)
	}
	tu, vt := c.Interface["Tunnel1"], c.Interface["Virtual-Template1"]
	if !tu.Negotiated || !tu.DestinationDynamic || tu.SourceDynamic || len(tu.Address) != 0 || tu.Destination.IsValid() || tu.Source.Interface != "Ethernet0/0" ||
		tu.Mode != GREIP || !tu.NHRP.Shortcut || tu.NHRP.ShortcutTemplate != 1 || !tu.NHRP.Redirect || tu.BFD != nil {
		t.Errorf("got %+v", tu)
	}
	if vt.Unnumbered != "Tunnel1" || vt.Negotiated || vt.NHRP.ShortcutTemplate != 1 || c.Template(c.IKEv2.Profile["Flex_IKEv2"]) != vt {
		t.Errorf("got %+v", vt)
	}
	client := c.IKEv2.ClientOf("Tunnel1")
	if client == nil || client.Name != "Flex_Client" || client.Connect != (ClientMode{Mode: ConnectAuto, State: TrackUp}) || client.PeerReactivate || client.ReactivateInterval != 30*time.Second {
		t.Fatalf("got %+v", client)
	}
	if p := client.OrderedPeers(); len(p) != 2 || p[0].Address.String() != "172.25.1.1" || p[1].Seq != 2 || p[0].TrackState != TrackUp || p[0].Track != 0 {
		t.Errorf("got %+v", p)
	}
	if c.IKEv2.ClientOf("Tunnel2") != nil || !c.IKEv2.RedirectClient || c.IKEv2.Cluster != nil || !c.Logging.Session || c.IKEv2.Profile["Flex_IKEv2"].Accounting {
		t.Errorf("got %+v", c.IKEv2)
	}
}

func TestAHubOfFlexVPNIsReadAsIOSReadsIt(t *testing.T) {
	c, diags := loadGood(t, "flexvpn-hub.toml")
	if len(diags) != 0 {
		t.Errorf("got %s", diags)
	}
	b := &c.BGP.BGPInstance
	p := b.Peer(b.Neighbor[netip.MustParseAddr("192.168.0.2")])
	if p.UnsuppressMap != "ALL" || !p.NextHopSelfAll || p.BFD != BFDOff || p.BFD.On() || b.ClusterID.String() != "10.1.1.1" || b.MaximumPathsIBGP != 1 || b.GracefulRestart.Enabled {
		t.Errorf("got %+v", p)
	}
	if g := b.GroupPeer("Spokes"); g.BFD != BFDAuto || !g.BFD.On() {
		t.Errorf("got %+v", g)
	}
	if p = b.Peer(b.Neighbor[netip.MustParseAddr("10.1.1.99")]); p.BFD.On() {
		t.Error("what a neighbour says does not count before what its group says")
	}
	k := c.IKEv2.Cluster
	if k.Priority != 100 || k.Hello != time.Second || k.Hold != 3*time.Second || k.Port != 2012 || !k.Preempt || k.MaxSessions != 1000 || k.Weight != 100 || k.OverloadLimit != 100 ||
		k.RedirectTo.IsValid() || k.Key.Reveal() != "shared" || len(k.Member) != 1 {
		t.Errorf("got %+v", k)
	}
}

func TestAWordStandsForAValueOrBesideValues(t *testing.T) {
	read := func(keys string) *Interface {
		t.Helper()
		c, diags := decode([]byte("[interface.Tunnel1]\n" + keys))
		if len(diags) > 0 {
			t.Fatalf("%s: %s", keys, diags)
		}
		return c.Interface["Tunnel1"]
	}
	six := netip.MustParsePrefix("2001:db8::1/64")
	for _, x := range []struct {
		keys       string
		negotiated bool
		address    []netip.Prefix
		again      string
	}{
		{`address = "negotiated"`, true, nil, `address = "negotiated"`},
		{`address = ["negotiated"]`, true, nil, `address = "negotiated"`},
		{`address = ["2001:db8::1/64", "negotiated"]`, true, []netip.Prefix{six}, `address = ["negotiated", "2001:db8::1/64"]`},
		{`address = "2001:db8::1/64"`, false, []netip.Prefix{six}, `address = ["2001:db8::1/64"]`},
	} {
		i := read(x.keys)
		if i.Negotiated != x.negotiated || !slices.Equal(i.Address, x.address) {
			t.Errorf("%s: got %v, %v", x.keys, i.Negotiated, i.Address)
		}
		c := New()
		c.Interface = map[string]*Interface{"Tunnel1": i}
		if text := string(Marshal(c)); !strings.Contains(text, x.again+"\n") {
			t.Errorf("%s is written as %s", x.keys, text)
		}
	}
	a, b := New(), New()
	a.Interface = map[string]*Interface{"Tunnel1": read(`address = "2001:db8::1/64"`)}
	b.Interface = map[string]*Interface{"Tunnel1": read("address = [\"negotiated\", \"2001:db8::1/64\"]\ndestination = \"dynamic\"")}
	var got []string
	for _, ch := range Diff(a, b) {
		got = append(got, ch.String())
	}
	want := []string{`~ interface.Tunnel1.address: ["2001:db8::1/64"] -> ["negotiated", "2001:db8::1/64"]`, `~ interface.Tunnel1.destination: none -> "dynamic"`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if Equal(a, b) {
		t.Error("they are equal")
	}
}

func TestAClientThatNamesATrackFollowsIt(t *testing.T) {
	for text, want := range map[string]ClientMode{
		`"auto"`:                           {ConnectAuto, 0, TrackUp},
		`"manual"`:                         {ConnectManual, 0, TrackUp},
		`{ track = 10 }`:                   {ConnectTrack, 10, TrackUp},
		`{ track = 10, state = "down" }`:   {ConnectTrack, 10, TrackDown},
		`{ mode = "track", track = 1000 }`: {ConnectTrack, 1000, TrackUp},
		`{}`:                               {ConnectAuto, 0, TrackUp},
	} {
		c, diags := decode([]byte("[ikev2.client.C]\npeer = { address = \"10.0.0.1\" }\nclient-connect = \"Tunnel1\"\nconnect = " + text))
		if len(diags) > 0 || c.IKEv2.Client["C"].Connect != want {
			t.Errorf("%s: %v, %s", text, c, diags)
		}
	}
}

func TestNamesOfHostsAreKeptAsTheyAreLookedUp(t *testing.T) {
	c, diags := decode([]byte("[dns.host]\n\"Hub1.Example.COM.\" = \"10.0.0.1\"\nhub2 = [\"10.0.0.2\", \"2001:db8::2\"]\n"))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	h := c.DNS.Host
	if len(h) != 2 || len(h["hub1.example.com"]) != 1 || len(h["hub2"]) != 2 || h["hub2"][1] != netip.MustParseAddr("2001:db8::2") {
		t.Errorf("got %v", h)
	}
}

func TestMultihopTimersAreThoseOfTheLongestPrefix(t *testing.T) {
	c, diags := decode([]byte(`[vrf.red]
[[bfd.multihop]]
destination = "172.25.0.0/16"
multiplier = 1
[[bfd.multihop]]
destination = "172.25.1.1"
multiplier = 2
[[bfd.multihop]]
destination = "172.25.1.0/24"
vrf = "red"
multiplier = 3
`))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	for _, x := range []struct {
		vrf, address string
		want         uint8
	}{{"default", "172.25.1.1", 2}, {"default", "172.25.1.2", 1}, {"red", "172.25.1.1", 3}, {"red", "172.25.2.1", 0}, {"default", "2001:db8::1", 0}} {
		m := c.MultihopBFD(x.vrf, netip.MustParseAddr(x.address))
		switch {
		case x.want == 0 && m != nil, x.want != 0 && (m == nil || m.Multiplier != x.want):
			t.Errorf("%s in %s: got %+v", x.address, x.vrf, m)
		case m != nil && (m.Interval != 100*time.Millisecond || m.MinRx != 100*time.Millisecond):
			t.Errorf("defaults: %+v", m)
		}
	}
}

// Every object leads to several after it: there are more ways than could be walked, and one back.
func TestACircleIsFoundAmongAThousandObjects(t *testing.T) {
	var text strings.Builder
	all := func(from, to int) string {
		var list []string
		for n := from; n <= to; n++ {
			list = append(list, fmt.Sprint(n))
		}
		return strings.Join(list, ", ")
	}
	for n := 1; n < 1000; n++ {
		fmt.Fprintf(&text, "[track.%d]\nboolean = { operator = \"or\", object = [%s] }\n", n, all(n+1, min(n+5, 1000)))
	}
	good := text.String() + "[track.1000]\nroute = { prefix = \"10.0.0.0/8\" }\n"
	if _, diags := Parse("t.toml", []byte(good)); len(diags) != 0 {
		t.Errorf("there is no circle: %s", diags)
	}
	bad := text.String() + "[track.1000]\nboolean = { object = [500] }\n"
	_, diags := Parse("t.toml", []byte(bad))
	if len(diags) != 501 || diags[0].Table != "track.500" || !strings.HasSuffix(diags[0].Message, " → 1000 → 500)") || strings.Count(diags[0].Message, "→") != 101 {
		t.Errorf("%d: %s", len(diags), diags[0])
	}
	if c, _ := Parse("t.toml", []byte(good)); c == nil || c.Track[1].Kind() != "boolean" || len(c.Track[1].Objects()) != 5 || len(c.TrackNumbers()) != 1000 {
		t.Error("objects are missing")
	}
}

func TestALimitOfZeroIsWrittenWhereItMustBeSaid(t *testing.T) {
	c, diags := decode([]byte("[bgp]\nas = 1\n[bgp.neighbor.\"10.0.0.1\"]\nmaximum-prefix = { limit = 0, threshold = 80 }\n"))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	text := Marshal(c)
	if again, diags := decode(text); len(diags) > 0 || !Equal(c, again) {
		t.Errorf("%s\n%s", diags, text)
	}
}

func TestAClustersAddressesAreWhereCallersCanGo(t *testing.T) {
	for _, x := range []struct{ keys, want string }{
		{`address = "172.25.1.100"`, ""},
		{`address = "172.25.1.255"`, `address: 172.25.1.255 is no router's address in 172.25.1.1/24`},
		{`address = "172.25.1.0"`, `address: 172.25.1.0 is no router's address in 172.25.1.1/24`},
		{"address = \"172.25.1.100\"\nredirect-to = \"2001:db8::1\"", "redirect-to: 2001:db8::1 is of another family than the cluster's address 172.25.1.100"},
		{"address = \"172.25.1.100\"\nredirect-to = \"127.0.0.1\"", "redirect-to: 127.0.0.1 is not where this hub alone is reached"},
		{"address = \"172.25.1.100\"\nredirect-to = \"172.25.1.2\"", "redirect-to: 172.25.1.2 is another member's address"},
		{"address = \"172.25.1.100\"\nredirect-to = \"198.51.100.1\"", ""}, // a NAT's
		{"address = \"172.25.1.100\"\nredirect-to = \"169.254.0.1\"", "redirect-to: 169.254.0.1 is not where this hub alone is reached"},
		{"address = \"fe80::100\"", "address: fe80::100 is of this link only: callers need one that is routed"},
		{"address = \"172.25.1.100\"\nport = 4500", "port: 4500 is IKE's"},
		{"address = \"172.25.1.100\"\nport = 3784", "port: 3784 is BFD's"},
		{"address = \"172.25.1.100\"\nport = 4784", "port: 4784 is BFD's"},
	} {
		_, diags := LoadFS(fstest.MapFS{"r.toml": {Data: []byte("[interface.GigabitEthernet1]\naddress = [\"10.0.0.1/24\", \"172.25.1.1/24\", \"fe80::1/64\"]\n[ikev2.cluster]\n" +
			"interface = \"GigabitEthernet1\"\nkey = \"k\"\nmember = [\"172.25.1.2\"]\n" + x.keys + "\n")}}, "r.toml")
		text := ""
		for _, d := range diags {
			text += d.String() + "\n"
		}
		if x.want == "" && text != "" || !strings.Contains(text, x.want) || len(diags) > 1+strings.Count(x.keys, "fe80") {
			t.Errorf("%s: got %s", x.keys, text)
		}
	}
}
