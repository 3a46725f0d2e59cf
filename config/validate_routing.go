package config

import (
	"net/netip"
	"slices"
)

func (v *validator) routes() {
	type key struct {
		vrf    string
		prefix netip.Prefix
		via    netip.Addr
		ifname string
	}
	seen := map[key]int{}
	for n, r := range v.c.Route {
		path := v.item("route", n)
		if v.bad[path+".prefix"] || !r.Prefix.IsValid() || v.bad[path+".via"] || v.bad[path+".interface"] {
			continue
		}
		i := v.c.Interface[r.Interface]
		switch {
		case r.Discard && (r.Via.IsValid() || r.Interface != ""):
			v.errorf(path+".discard", "a route that drops packets has neither via nor interface")
		case !r.Discard && !r.Via.IsValid() && r.Interface == "":
			v.errorf(path, "%s leads nowhere: give via = \"ADDRESS\", interface = \"NAME\", or discard = true", r.Prefix)
		case i != nil && i.VRF != r.VRF:
			v.errorf(path+".interface", "%s is in the routing table %q, but the route in %q", r.Interface, i.VRF, r.VRF)
		case i != nil && !r.Via.IsValid() && i.Kind() == Ethernet:
			v.errorf(path+".interface", "%s has many neighbours: give via as well", r.Interface)
		case i != nil && i.Kind() == Loopback:
			v.errorf(path+".interface", "nothing is behind a loopback: give via, or discard = true")
		}
		if r.Via.IsValid() {
			v.nextHop(r, path+".via")
		}
		k := key{r.VRF, r.Prefix, r.Via, r.Interface}
		if o, twice := seen[k]; twice {
			v.errorf(path, "%s is there already with the same next hop (%s)", r.Prefix, v.where(v.item("route", o)))
		} else {
			seen[k] = n
		}
	}
}

// where names another object by its place.
func (v *validator) where(path string) string {
	if p, ok := v.c.Position(path); ok && p.Line > 0 {
		return "at " + p.String()
	}
	return path
}

func (v *validator) nextHop(r *Route, path string) {
	via := r.Via
	switch {
	case via.Is4() != r.Prefix.Addr().Is4():
		v.errorf(path, "%s is of another family than %s", via, r.Prefix)
	case via.IsUnspecified() || via.IsMulticast() || via.IsLoopback():
		v.errorf(path, "%s is not the address of a router", via)
	case v.owner(via) != nil && v.owner(via).VRF == r.VRF:
		v.errorf(path, "%s is an address of this router (%s)", via, v.owner(via).Name)
	case via.Is6() && via.IsLinkLocalUnicast() && r.Interface == "":
		v.errorf(path, "%s is link-local: give interface as well", via)
	case r.Interface == "" && !v.reachable(via, r):
		v.warnf(path, "no interface and no other route leads to %s", via)
	}
}

// reachable reports whether a connected subnet or another static route covers an address.
func (v *validator) reachable(a netip.Addr, not *Route) bool {
	for _, i := range v.c.Interface {
		if i.VRF == not.VRF && slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return true
		}
	}
	return slices.ContainsFunc(v.c.Route, func(r *Route) bool {
		return r != not && r.VRF == not.VRF && r.Prefix.Contains(a) && r.Prefix != not.Prefix && !r.Discard
	})
}

func (v *validator) bgp() {
	b := v.c.BGP
	if b == nil {
		return
	}
	if !b.RouterID.IsValid() && !v.bad["bgp.router-id"] && !v.anyAddress(is4) {
		v.errorf("bgp", "router-id is missing, and no interface has an IPv4 address to take")
	}
	if b.RouterID.IsValid() && b.RouterID.IsUnspecified() {
		v.errorf("bgp.router-id", "%s is not a router ID", b.RouterID)
	}
	if b.Timers.Hold > 0 && b.Timers.Keepalive >= b.Timers.Hold {
		v.errorf("bgp.timers", "keepalive (%s) must be below hold (%s)", formatDuration(b.Timers.Keepalive), formatDuration(b.Timers.Hold))
	}
	for n, p := range b.Network {
		path := v.item("bgp.network", n)
		if !p.IsValid() {
			continue // reported
		}
		if slices.Contains(b.Network[:n], p) {
			v.warnf(path, "%s is listed twice", p)
		} else if !v.hasRoute(p) {
			v.warnf(path, "no interface and no static route has exactly %s: it is announced only while the routing table has it%s", p, v.nearRoute(p))
		}
	}
	for _, name := range Names(b.PeerGroup) {
		v.peer(&b.PeerGroup[name].PeerSettings, at("bgp", "peer-group", name), b.GroupPeer(name), false)
	}
	for _, n := range b.Neighbors() {
		path := at("bgp", "neighbor", n.Address)
		p := b.Peer(n)
		switch {
		case n.Address.IsUnspecified() || n.Address.IsMulticast():
			v.errorf(path, "%s is not the address of a router", n.Address)
		case v.owner(n.Address) != nil:
			v.errorf(path, "%s is an address of this router (%s)", n.Address, v.owner(n.Address).Name)
		case p.RemoteAS == 0 && !v.bad[path+".remote-as"] && (n.PeerGroup == "" || b.PeerGroup[n.PeerGroup] != nil && !v.bad[at("bgp", "peer-group", n.PeerGroup, "remote-as")]):
			v.errorf(path, "remote-as is missing; for example remote-as = 65010")
		}
		v.peer(&n.PeerSettings, path, p, true)
	}
	v.listen(b)
}

func (v *validator) anyAddress(f func(netip.Prefix) bool) bool {
	for _, i := range v.c.Interface {
		if slices.ContainsFunc(i.Address, f) {
			return true
		}
	}
	return false
}

// hasRoute reports whether the configuration itself makes a route for exactly this prefix: connected, local or static.
func (v *validator) hasRoute(p netip.Prefix) bool {
	for _, i := range v.c.Interface {
		for _, a := range i.Address {
			if i.VRF == DefaultVRF && (a.Masked() == p || p.IsSingleIP() && a.Addr() == p.Addr()) {
				return true
			}
		}
	}
	return slices.ContainsFunc(v.c.Route, func(r *Route) bool { return r.VRF == DefaultVRF && r.Prefix == p })
}

// nearRoute names a connected prefix that was perhaps meant.
func (v *validator) nearRoute(p netip.Prefix) string {
	for _, name := range v.c.InterfaceNames() {
		for _, a := range v.c.Interface[name].Address {
			if a.Overlaps(p) && v.c.Interface[name].VRF == DefaultVRF {
				return " (" + name + " has " + a.Masked().String() + ")"
			}
		}
	}
	return ""
}

// peer checks what a neighbour or group says (s) and what comes of it (p).
func (v *validator) peer(s *PeerSettings, path string, p Peer, whole bool) {
	internal := p.RemoteAS != 0 && p.RemoteAS == v.c.BGP.AS
	external := p.RemoteAS != 0 && !internal
	hops := "ttl-security"
	if s.TTLSecurity == 0 {
		hops = "ebgp-multihop"
	}
	if (s.TTLSecurity != 0 || s.EBGPMultihop != 0) && p.TTLSecurity != 0 && p.EBGPMultihop > 1 {
		v.errorf(path+"."+hops, "ebgp-multihop and ttl-security exclude each other: keep one")
	}
	if s.EBGPMultihop != 0 && internal {
		v.warnf(path+".ebgp-multihop", "has no effect: AS %d is this router's own", p.RemoteAS)
	}
	if isTrue(s.RouteReflectorClient) && external {
		v.errorf(path+".route-reflector-client", "only an internal neighbour can be one: its remote-as is %d, this router's %d", p.RemoteAS, v.c.BGP.AS)
	}
	if isTrue(s.ASOverride) && internal {
		v.errorf(path+".as-override", "only for an external neighbour: AS %d is this router's own", p.RemoteAS)
	}
	if p.NextHopSelf && p.NextHopUnchanged && (s.NextHopSelf != nil || s.NextHopUnchanged != nil) {
		v.errorf(path+".next-hop-unchanged", "next-hop-self and next-hop-unchanged exclude each other: keep one")
	}
	if s.Timers != nil && p.Timers.Hold > 0 && p.Timers.Keepalive >= p.Timers.Hold {
		v.errorf(path+".timers", "keepalive (%s) must be below hold (%s)", formatDuration(p.Timers.Keepalive), formatDuration(p.Timers.Hold))
	}
	if len(s.Password.Reveal()) > 80 {
		v.errorf(path+".password", "at most 80 characters (RFC 2385), got %d", len(s.Password.Reveal()))
	}
	if a := s.UpdateSource.Address; whole && a.IsValid() && p.Address.IsValid() && a.Is4() != p.Address.Is4() {
		v.errorf(path+".update-source", "%s is of another family than the neighbour %s", a, p.Address)
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

func (v *validator) listen(b *BGP) {
	for n, l := range b.Listen {
		path := v.item("bgp.listen", n)
		if g := b.PeerGroup[l.PeerGroup]; g != nil && g.RemoteAS == 0 && !v.bad[at("bgp", "peer-group", l.PeerGroup, "remote-as")] {
			v.errorf(path+".peer-group", "peer group %q has no remote-as, which neighbours that are not listed need", l.PeerGroup)
		}
		if !l.Range.IsValid() {
			continue
		}
		for _, o := range b.Listen[:n] {
			if o.Range == l.Range {
				v.errorf(path+".range", "%s is listed twice", l.Range)
			}
		}
	}
}
