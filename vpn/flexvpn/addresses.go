package flexvpn

import (
	"net/netip"
	"slices"

	"felloe/netstack"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/protect"
)

// Addresses follows which addresses the peers of our own tunnels have given us (`address = "negotiated"`). It runs on the
// control loop and is told what protect tells.
//
//	ConfigReceived of an IKE SA ─┐
//	a tunnel's session is up ────┴─► set(tunnel, addresses)
//	the session is down, and no other one takes its place ─► set(tunnel, nil)
type Addresses struct {
	set   func(t *netstack.Tunnel, addrs []netip.Prefix)
	given map[ikev2.SAID][]netip.Prefix
	users map[*netstack.Session]user
}

type user struct {
	tunnel *netstack.Tunnel
	ike    ikev2.SAID
}

// NewAddresses calls set whenever a tunnel's session has come up, has been given other addresses, or is gone.
func NewAddresses(set func(t *netstack.Tunnel, addrs []netip.Prefix)) *Addresses {
	return &Addresses{set: set, given: map[ikev2.SAID][]netip.Prefix{}, users: map[*netstack.Session]user{}}
}

// Given are the addresses that the peer of an IKE SA has given us.
func (x *Addresses) Given(id ikev2.SAID) []netip.Prefix { return x.given[id] }

// Exchanged takes what protect.Options.Exchanged tells.
func (x *Addresses) Exchanged(a ikev2.Action) {
	switch a := a.(type) {
	case ikev2.ConfigReceived:
		// A CFG_SET with addresses changes them; one without, of routes only, leaves them alone.
		if a.Kind != message.CFG_REPLY && (a.Kind != message.CFG_SET || len(a.Configuration.Addresses) == 0) {
			return
		}
		list := usable(a.Configuration.Addresses)
		if len(list) == 0 || slices.Equal(list, x.given[a.SA]) {
			return
		}
		x.given[a.SA] = list
		for _, u := range x.users {
			if u.ike == a.SA {
				x.set(u.tunnel, list)
			}
		}
	case ikev2.IKEDown:
		delete(x.given, a.SA)
	}
}

// HandleEvent takes the events of tunnel protection.
func (x *Addresses) HandleEvent(e protect.Event) {
	if e.Session == nil || e.Tunnel == nil {
		return
	}
	switch e.Kind {
	case protect.Up, protect.Replaced:
		x.users[e.Session] = user{e.Tunnel, e.IKE}
		x.set(e.Tunnel, x.given[e.IKE])
	case protect.Down:
		if _, known := x.users[e.Session]; !known {
			return
		}
		delete(x.users, e.Session)
		if e.Successor == nil {
			x.set(e.Tunnel, nil)
		}
	}
}

// usable are the addresses of a list that an interface can have.
func usable(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		a := p.Addr().Unmap()
		bits := p.Bits() - (p.Addr().BitLen() - a.BitLen())
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || bits < 1 || bits > a.BitLen() {
			continue
		}
		if p = netip.PrefixFrom(a, bits); !slices.Contains(out, p) && len(out) < 16 {
			out = append(out, p)
		}
	}
	return out
}
