package config

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDiffNamesObjectsAndKeys(t *testing.T) {
	a, _ := loadGood(t, "spoke2.toml")
	b, _ := loadGood(t, "spoke2.toml")
	if d := Diff(a, b); d != nil || !Equal(a, b) {
		t.Fatalf("a file differs from itself: %v", d)
	}
	b.Hostname = "Spoke3"
	delete(b.Interface, "Loopback10")
	b.Interface["Tunnel2"] = NewInterface("Tunnel2")
	b.Interface["Tunnel0"].NHRP.Holdtime = time.Minute
	b.Interface["Tunnel0"].Address = []netip.Prefix{netip.MustParsePrefix("10.10.10.4/24")}
	b.IKEv2.Keyring["IKEV2-KEYRING"].Peer["any"].PreSharedKey = PreSharedKey{NewSecret("new"), NewSecret("new")}
	b.IKEv2.DPD = &DPD{Interval: time.Second, Retry: 5 * time.Second, Mode: DPDPeriodic}
	b.Route[0].Distance = 5
	b.Route = append(b.Route, &Route{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Discard: true, Distance: 1, VRF: DefaultVRF})
	b.BGP.Neighbor[netip.MustParseAddr("10.10.10.9")] = &Neighbor{Address: netip.MustParseAddr("10.10.10.9")}
	self := true
	b.BGP.Neighbor[netip.MustParseAddr("10.10.10.1")].NextHopSelf = &self
	var got []string
	for _, c := range Diff(a, b) {
		got = append(got, c.String())
	}
	want := []string{
		`~ hostname: "Spoke2" -> "Spoke3"`,
		`- interface.Loopback10`,
		`~ interface.Tunnel0.address: ["10.10.10.3/24"] -> ["10.10.10.4/24"]`,
		`~ interface.Tunnel0.nhrp.holdtime: "10m" -> "1m"`,
		`+ interface.Tunnel2`,
		`~ ikev2.keyring.IKEV2-KEYRING.peer.any.pre-shared-key: "***" -> "***"`,
		`~ ikev2.dpd: none -> { interval = "1s" }`,
		`~ route."0.0.0.0/0 via 172.16.3.254".distance: 1 -> 5`,
		`+ route."10.0.0.0/8 discard"`,
		`~ bgp.neighbor."10.10.10.1".next-hop-self: none -> true`,
		`+ bgp.neighbor."10.10.10.9"`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	objects := Objects(Diff(a, b), 2)
	for _, o := range []string{"interface.Tunnel0", "interface.Tunnel2", "ikev2.keyring", "bgp.neighbor", "hostname"} {
		if !slices.Contains(objects, o) {
			t.Errorf("%s is not in %v", o, objects)
		}
	}
}

func TestDiffFromNothingAddsEverything(t *testing.T) {
	c, _ := loadGood(t, "everything.toml")
	up, down := Diff(nil, c), Diff(c, nil)
	if len(up) == 0 || len(up) != len(down) {
		t.Fatalf("%d changes up, %d down", len(up), len(down))
	}
	for _, ch := range up {
		if ch.Kind == Removed {
			t.Errorf("removed from nothing: %s", ch)
		}
	}
}

func TestRoutesInAnotherOrderAreAChange(t *testing.T) {
	a, _ := loadGood(t, "everything.toml")
	b, _ := loadGood(t, "everything.toml")
	slices.Reverse(b.Route)
	if d := Diff(a, b); len(d) != 1 || d[0].Path() != "route" {
		t.Errorf("got %v", d)
	}
}

func TestEveryTwoConfigurationsCanBeCompared(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(7, 7))}
	for range 60 {
		a, b := m.config(), m.config()
		for _, pair := range [][2]*Config{{a, b}, {a, a}, {New(), b}} {
			if changes := Diff(pair[0], pair[1]); (len(changes) == 0) != Equal(pair[0], pair[1]) {
				t.Errorf("%d changes of configurations that are equal: %v", len(changes), Equal(pair[0], pair[1]))
			}
		}
		// Of the same names, each with something else.
		for name, r := range a.RouteMap {
			c := *r
			c.Entry = slices.Clone(r.Entry)
			if len(c.Entry) == 0 {
				continue
			}
			e := *c.Entry[0]
			e.Description += "x"
			c.Entry[0] = &e
			other := *a
			other.RouteMap = maps.Clone(a.RouteMap)
			other.RouteMap[name] = &c
			if changes := Diff(a, &other); len(changes) != 1 || changes[0].Key != "description" || !strings.HasPrefix(changes[0].Object, "route-map.") {
				t.Errorf("a route map's entry was changed: %v", changes)
			}
		}
	}
}
