package flexvpn

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"felloe/netstack"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/protect"
)

func TestATunnelHasTheAddressesOfTheSessionThatItGoesOnWith(t *testing.T) {
	d := netstack.New(netstack.Options{})
	defer d.Close()
	tun, err := d.AddTunnel(netstack.TunnelConfig{Name: "Tunnel1", Mode: netstack.GREPointToPoint, Source: netip.MustParseAddr("10.0.0.1"), Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	hub1, hub2 := tun.NewSession(netip.MustParseAddr("10.0.0.2")), tun.NewSession(netip.MustParseAddr("10.0.0.3"))
	var told []string
	x := NewAddresses(func(t *netstack.Tunnel, addrs []netip.Prefix) { told = append(told, fmt.Sprint(addrs)) })
	reply := func(sa ikev2.SAID, kind ikev2.CFGType, addrs ...string) {
		c := ikev2.Configuration{}
		for _, a := range addrs {
			c.Addresses = append(c.Addresses, netip.MustParsePrefix(a))
		}
		x.Exchanged(ikev2.ConfigReceived{SA: sa, Kind: kind, Configuration: c})
	}
	event := func(k protect.EventKind, s *netstack.Session, sa ikev2.SAID, next *netstack.Session) {
		x.HandleEvent(protect.Event{Kind: k, Session: s, Tunnel: tun, IKE: sa, Successor: next})
	}
	reply(1, message.CFG_REPLY, "10.1.1.100/32", "2001:db8::64/128", "0.0.0.0/0", "::ffff:10.1.1.100/128", "224.0.0.1/32", "169.254.1.1/16", "::/0")
	event(protect.Up, hub1, 1, nil)
	reply(1, message.CFG_SET) // routes only
	reply(1, message.CFG_SET, "10.1.1.101/24")
	reply(2, message.CFG_REPLY, "10.1.1.177/32")
	event(protect.Prepared, hub2, 2, nil)
	event(protect.Down, hub1, 1, hub2)
	event(protect.Up, hub2, 2, nil)
	x.Exchanged(ikev2.IKEDown{SA: 1})
	event(protect.Down, hub1, 1, nil) // once more: nothing
	event(protect.Down, hub2, 2, nil)
	x.Exchanged(ikev2.IKEDown{SA: 2})
	event(protect.Up, hub2, 3, nil)
	want := []string{"[10.1.1.100/32 2001:db8::64/128]", "[10.1.1.101/24]", "[10.1.1.177/32]", "[]", "[]"}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if len(x.given) != 0 {
		t.Errorf("%v is remembered", x.given)
	}
}
