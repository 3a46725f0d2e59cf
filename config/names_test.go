package config

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestInterfaceNamesAreTakenApartAndPutTogether(t *testing.T) {
	for name, kind := range map[string]Kind{
		"GigabitEthernet1": Ethernet, "GigabitEthernet0/0/0": Ethernet, "Ethernet1/0": Ethernet, "TenGigabitEthernet1/0/3": Ethernet,
		"Loopback0": Loopback, "Loopback2147483647": Loopback, "Tunnel10": Tunnel,
	} {
		n, err := ParseInterfaceName(name)
		if err != nil || n.Kind != kind || n.String() != name {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	for _, name := range []string{"", "Gi1", "Tunnel", "Tunnel-1", "Tunnel01", "Tunnel1/0", "Tunnel1 ", "GigabitEthernet0/0/0/0", "GigabitEthernet/1",
		"GigabitEthernet1/", "Loopback2147483648", "Null0", "1", "Tunnel+1", "Tunnel１"} {
		if n, err := ParseInterfaceName(name); err == nil {
			t.Errorf("%q is taken for %+v", name, n)
		}
	}
}

func TestTheConsoleMayAbbreviateInterfaceNames(t *testing.T) {
	for short, full := range map[string]string{
		"gi1": "GigabitEthernet1", "Gig0/0/0": "GigabitEthernet0/0/0", "e1/0": "Ethernet1/0", "Lo10": "Loopback10", "tu0": "Tunnel0",
		"TE1/0": "TenGigabitEthernet1/0", "tunnel7": "Tunnel7", "GigabitEthernet 2": "GigabitEthernet2", "t0": "", "x1": "", "gi": "", "": "", "gi1/": "",
	} {
		if got, ok := ExpandInterfaceName(short); got != full || ok != (full != "") {
			t.Errorf("%q: got %q, %v", short, got, ok)
		}
	}
}

func TestInterfacesAreListedAsIOSListsThem(t *testing.T) {
	want := []string{"Ethernet1/0", "GigabitEthernet0/0/2", "GigabitEthernet0/0/10", "GigabitEthernet2", "GigabitEthernet10",
		"TenGigabitEthernet1/0", "Loopback0", "Loopback10", "Tunnel0", "Tunnel2", "Tunnel10", "eth2", "eth10"}
	c := New()
	c.Interface = map[string]*Interface{}
	for _, i := range rand.Perm(len(want)) {
		c.Interface[want[i]] = NewInterface(want[i])
	}
	if got := c.InterfaceNames(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := len(c.InterfacesOf(Tunnel)); got != 3 {
		t.Errorf("%d tunnels", got)
	}
}

func TestASuggestionIsMadeOnlyWhenItIsProbable(t *testing.T) {
	words := []string{"address", "description", "shutdown", "tcp-adjust-mss", "tunnel-vrf"}
	for word, want := range map[string]string{
		"adress": "address", "addr": "address", "adrdess": "address", "Description": "description", "shutdwon": "shutdown",
		"tcp_adjust_mss": "tcp-adjust-mss", "speed": "", "x": "", "": "", "ip-address": "address", "completely-different-words": "",
	} {
		if got := suggest(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := suggest("gre", []string{"ipsec ipv4", "gre ip"}); got != "gre ip" {
		t.Errorf("got %q", got)
	}
}
