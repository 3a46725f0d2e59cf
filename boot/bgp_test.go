package boot

import (
	"net/netip"
	"testing"

	"felloe/config"
	"felloe/routing/rib"
)

const vrfBGP = `
hostname = "R"
[vrf.private-vrf]
rd = "65000:7"
[interface.Loopback1001]
vrf = "private-vrf"
address = ["166.34.121.112/32"]
[interface.Loopback1]
address = ["1.1.1.1/32"]
[prefix-list.L]
entry = [{ permit = "10.0.0.0/8", le = 24 }]
[bgp]
as = 65000
listen-limit = 255
[bgp.vrf.private-vrf]
redistribute = { connected = true, static = true }
[bgp.vrf.private-vrf.peer-group.uCPEs]
remote-as = 200
ebgp-multihop = 10
timers = { keepalive = 610, hold = 1835 }
prefix-list = { out = "L" }
[[bgp.vrf.private-vrf.listen]]
range = "10.122.144.0/24"
peer-group = "uCPEs"
`

func TestBGPOfAVRFIsItsOwn(t *testing.T) {
	c, diags := config.Parse("r.toml", []byte(vrfBGP))
	if c == nil {
		t.Fatal(diags)
	}
	cfgs, policies, err := bgpConfig(c, nil, nil)
	if err != nil || len(cfgs) != 1 {
		t.Fatalf("%d instances, %v", len(cfgs), err)
	}
	b := cfgs["private-vrf"]
	var sources []rib.Source
	for _, r := range b.Redistribute {
		sources = append(sources, r.Source)
	}
	if b.RD != "65000:7" || b.RouterID != netip.MustParseAddr("166.34.121.112") || b.ListenLimit != 255 || len(sources) != 3 || sources[2] != rib.IKE {
		t.Errorf("the instance is %+v", b)
	}
	l := b.Listen[0]
	if l.Template.Address.IsValid() || l.Template.EBGPMultihop != 10 || l.Template.Out.PrefixList != policies.PrefixLists["L"] {
		t.Errorf("the range is %+v", l)
	}
	again, _, _ := bgpConfig(c, policies, nil)
	if again["private-vrf"].Listen[0].Template.Out.PrefixList != l.Template.Out.PrefixList {
		t.Error("a policy that is the same became another one")
	}
	if err := b.Validate(); err != nil {
		t.Error(err)
	}
}
