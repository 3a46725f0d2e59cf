package boot

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/config"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
)

const overlayText = `
[vrf.private-vrf]
rd = "65000:7"
[vrf.public-vrf]
[interface.GigabitEthernet1]
vrf = "public-vrf"
address = ["10.88.247.84/27", "2001:db8::84/64"]
[interface.Loopback1001]
vrf = "private-vrf"
address = ["166.34.121.112/32"]
[interface.Virtual-Template1]
vrf = "private-vrf"
unnumbered = "Loopback1001"
mode = "MODE"
tunnel-vrf = "public-vrf"
protection = "uCPE-ips-prof"
[ikev2.profile.uCPE-profile]
match = { fvrf = "public-vrf", identity = { remote = { any = true } } }
authentication = { local = "pre-share", remote = ["pre-share"] }
pre-shared-key = "ciscociscocisco123"
dpd = { interval = 60, retry = 2, mode = "on-demand" }
authorization = { policy = "uCPE-author-pol" }
virtual-template = 1
virtual-template-mode = "AUTO"
[ikev2.authorization-policy.uCPE-author-pol]
pool = "P"
netmask = "255.255.255.224"
dns = ["10.0.0.1"]
def-domain = "example.com"
pfs = true
route = { set-interface = ["Loopback1001", "self"], set-access-list = ["BEHIND"], set-remote = ["10.9.0.0/16"], accept = true, distance = 7, tag = 9 }
[access-list.BEHIND]
permit = ["10.0.0.0/8"]
[pool.P]
addresses = ["10.122.144.130-10.122.144.158"]
exclude = ["10.122.144.140"]
[ipsec.transform-set.T]
esp = ["aes-cbc-256", "sha512"]
mode = "tunnel"
[ipsec.profile.uCPE-ips-prof]
transform-set = ["T"]
ikev2-profile = "uCPE-profile"
pfs = 14
responder-only = true
lifetime = { seconds = 28800 }
idle-time = 1800
`

func overlayConfig(t *testing.T, mode, auto string) *config.Config {
	t.Helper()
	c, diags := config.Parse("router.toml", []byte(strings.NewReplacer("MODE", mode, "AUTO", auto).Replace(overlayText)))
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestATemplateBecomesPoliciesForWhatItsPeersMayOffer(t *testing.T) {
	for _, c := range []struct{ mode, auto, want string }{
		{"ipsec ipv4", "auto", "Virtual-Template1 gre: protocol 47 tunnel [] | Virtual-Template1 ipsec: protocol 0 tunnel [0.0.0.0/0]"},
		{"ipsec ipv4", "tunnel", "Virtual-Template1: protocol 0 tunnel [0.0.0.0/0]"},
		{"ipsec ipv6", "tunnel", "Virtual-Template1: protocol 0 tunnel [::/0]"},
		{"ipsec dual-overlay", "tunnel", "Virtual-Template1: protocol 0 tunnel [0.0.0.0/0 ::/0]"},
		{"ipsec ipv4 v6-overlay", "tunnel", "Virtual-Template1: protocol 0 tunnel [::/0]"},
		{"gre ip", "tunnel", "Virtual-Template1: protocol 47 tunnel []"},
		{"gre ip", "auto", "Virtual-Template1 gre: protocol 47 tunnel [] | Virtual-Template1 ipsec: protocol 0 tunnel [0.0.0.0/0 ::/0]"},
	} {
		ike, err := ikeConfig(overlayConfig(t, c.mode, c.auto))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range ike.Children {
			got = append(got, fmt.Sprintf("%s: protocol %d %v %v", p.Name, p.Protocol, p.Mode, p.TSLocal))
			if p.LocalAddr.IsValid() || p.VRF != "public-vrf" || p.Profile != "uCPE-profile" || !p.ResponderOnly || p.Lifetime != 8*time.Hour ||
				p.IdleTime != 30*time.Minute || !slices.Equal(p.TSLocal, p.TSRemote) || p.Proposals[0].Suites[0].Integ != esp.AUTH_HMAC_SHA2_512_256 || p.Proposals[0].Groups[0] != 14 {
				t.Errorf("%s %s: %+v", c.mode, c.auto, p)
			}
		}
		if s := strings.Join(got, " | "); s != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.mode, c.auto, s, c.want)
		}
	}
}

func TestAProfileSaysWhatItsPeersMayHave(t *testing.T) {
	c := overlayConfig(t, "ipsec ipv4", "auto")
	ike, err := ikeConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	p := ike.Profiles[0]
	if string(p.Key.Local) != "ciscociscocisco123" || string(p.Key.Remote) != "ciscociscocisco123" || p.Authorization != (ikev2.Authorization{Policy: "uCPE-author-pol"}) ||
		!p.Request || !p.SetSend || !p.SetAccept || p.IVRF != "private-vrf" || p.DPD != (ikev2.DPD{Interval: time.Minute, Retry: 2 * time.Second, OnDemand: true}) {
		t.Errorf("%+v", p)
	}
	if !ike.MOBIKE || fmt.Sprint(ike.Addresses) != "map[public-vrf:[10.88.247.84 2001:db8::84]]" {
		t.Errorf("MOBIKE %v, addresses %v", ike.MOBIKE, ike.Addresses)
	}
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.authz.SetConfig(authzConfig(c, nil))
	req := ikev2.AuthorizeRequest{SA: 1, Profile: p.Name, Authorization: p.Authorization, Peer: ikev2.FQDNIdentity("c"), HasRequest: true,
		Wanted: ikev2.Configuration{Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/32")}}}
	got, err := r.authz.Authorize(time.Time{}, req)
	want := "address 10.122.144.130/27, dns 10.0.0.1, subnet 166.34.121.112/32, subnet 10.0.0.0/8, subnet 10.9.0.0/16, domain example.com, pfs 1"
	if err != nil || got.String() != want || got.Accept != (ikev2.RouteAccept{Accept: true, Distance: 7, Tag: 9}) {
		t.Errorf("%v\ngot  %s %+v\nwant %s", err, got, got.Accept, want)
	}
	// IOS's "default" needs no table of its own.
	req.SA, req.Authorization.Policy = 2, "default"
	if got, err := r.authz.Authorize(time.Time{}, req); err == nil {
		t.Errorf("default has a pool: %s", got)
	}
	req.HasRequest = false
	if got, err := r.authz.Authorize(time.Time{}, req); err != nil || got.String() != "subnet 166.34.121.112/32" || !got.Accept.Accept {
		t.Errorf("%s %v", got, err)
	}
}
