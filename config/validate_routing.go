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
		case i != nil && i.Kind() == VirtualTemplate:
			v.errorf(path+".interface", "%s is a template: routes to its peers come with their sessions", r.Interface)
		case i != nil && i.Kind() == Loopback:
			v.errorf(path+".interface", "nothing is behind a loopback: give via, or discard = true")
		}
		if r.BFD && !r.Via.IsValid() {
			v.errorf(path+".bfd", "BFD needs the address of the other end: give via")
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
	case v.ownerIn(r.VRF, via) != nil:
		v.errorf(path, "%s is an address of this router (%s)", via, v.ownerIn(r.VRF, via).Name)
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
	for _, name := range Names(b.VRF) {
		path := at("bgp", "vrf", name)
		switch {
		case name == DefaultVRF:
			v.errorf(path, "the routing table %q is what [bgp] itself speaks for: leave this out", name)
		case v.c.VRF[name] == nil:
			v.errorf(path, "no vrf %q%s", name, didYouMean(name, Names(v.c.VRF)))
		}
	}
	for _, i := range b.Instances() {
		if i.Name == "" || v.c.VRF[i.Name] != nil {
			v.bgpInstance(i, bgpPath(i))
		}
	}
}

// speaks reports whether there is a speaker of the instance: where VRFs have theirs, the default one must say something.
func (v *validator) speaks(b *BGPInstance) bool {
	return b.Name != "" || len(v.c.BGP.VRF) == 0 || len(b.Neighbor)+len(b.Listen)+len(b.Network)+len(b.Aggregate) > 0
}

func (v *validator) bgpInstance(b *BGPInstance, path string) {
	vrf := b.VRFName()
	own := b.RouterID.IsValid() || v.c.BGP.RouterID.IsValid()
	if !own && !v.bad[path+".router-id"] && !v.bad["bgp.router-id"] && !v.anyAddress(vrf, is4) && v.speaks(b) {
		v.errorf(path, "router-id is missing, and no interface has an IPv4 address to take")
	}
	if b.RouterID.IsValid() && b.RouterID.IsUnspecified() {
		v.errorf(path+".router-id", "%s is not a router ID", b.RouterID)
	}
	if b.Timers.Hold > 0 && b.Timers.Keepalive >= b.Timers.Hold {
		v.errorf(path+".timers", "keepalive (%s) must be below hold (%s)", formatDuration(b.Timers.Keepalive), formatDuration(b.Timers.Hold))
	}
	for n, p := range b.Network {
		key := v.item(path+".network", n)
		if !p.IsValid() {
			continue // reported
		}
		if slices.Contains(b.Network[:n], p) {
			v.warnf(key, "%s is listed twice", p)
		} else if !v.hasRoute(p, vrf) {
			v.warnf(key, "no interface and no static route has exactly %s: it is announced only while the routing table has it%s", p, v.nearRoute(p, vrf))
		}
	}
	if id := b.ClusterID; id.IsValid() && id.IsUnspecified() {
		v.errorf(path+".cluster-id", "%s is not the number of a cluster", id)
	}
	if g := b.GracefulRestart; g.Enabled && g.StalepathTime < g.RestartTime {
		v.errorf(path+".graceful-restart", "stalepath-time (%s) must not be below restart-time (%s): routes would be gone before the neighbour is back",
			formatDuration(g.StalepathTime), formatDuration(g.RestartTime))
	}
	for n, a := range b.Aggregate {
		key := v.item(path+".aggregate", n)
		if slices.ContainsFunc(b.Aggregate[:n], func(o *Aggregate) bool { return o.Prefix == a.Prefix && a.Prefix.IsValid() }) {
			v.errorf(key+".prefix", "%s is listed twice", a.Prefix)
		} else if a.Prefix.IsValid() && a.Prefix.IsSingleIP() {
			v.warnf(key+".prefix", "%s is one address: nothing lies within it", a.Prefix)
		}
	}
	if r := b.Redistribute; b.DefaultInformationOriginate && !r.Connected.Enabled && !r.Static.Enabled && !v.badBelow(path+".redistribute") {
		v.warnf(path+".default-information-originate", "has no effect: nothing is redistributed")
	}
	for _, name := range Names(b.PeerGroup) {
		v.peer(b, &b.PeerGroup[name].PeerSettings, at2Path(path, "peer-group", name), b.GroupPeer(name), false)
	}
	for _, n := range b.Neighbors() {
		key := at2Path(path, "neighbor", n.Address.String())
		p := b.Peer(n)
		switch o := v.ownerIn(vrf, n.Address); {
		case n.Address.IsUnspecified() || n.Address.IsMulticast():
			v.errorf(key, "%s is not the address of a router", n.Address)
		case o != nil:
			v.errorf(key, "%s is an address of this router (%s)", n.Address, o.Name)
		case p.RemoteAS == 0 && !v.bad[key+".remote-as"] && (n.PeerGroup == "" || b.PeerGroup[n.PeerGroup] != nil && !v.bad[at2Path(path, "peer-group", n.PeerGroup)+".remote-as"]):
			v.errorf(key, "remote-as is missing; for example remote-as = 65010")
		}
		v.peer(b, &n.PeerSettings, key, p, true)
	}
	v.listen(b, path)
}

// at2Path goes two steps on from a path.
func at2Path(path, table, name string) string { return joinPath(joinPath(path, table), name) }

func (v *validator) anyAddress(vrf string, f func(netip.Prefix) bool) bool {
	for _, i := range v.c.Interface {
		if i.VRF == vrf && slices.ContainsFunc(i.Address, f) {
			return true
		}
	}
	return false
}

// hasRoute reports whether the configuration itself makes a route for exactly this prefix: connected, local or static.
func (v *validator) hasRoute(p netip.Prefix, vrf string) bool {
	for _, i := range v.c.Interface {
		for _, a := range i.Address {
			if i.VRF == vrf && (a.Masked() == p || p.IsSingleIP() && a.Addr() == p.Addr()) {
				return true
			}
		}
	}
	return slices.ContainsFunc(v.c.Route, func(r *Route) bool { return r.VRF == vrf && r.Prefix == p })
}

// nearRoute names a connected prefix that was perhaps meant.
func (v *validator) nearRoute(p netip.Prefix, vrf string) string {
	for _, name := range v.c.InterfaceNames() {
		for _, a := range v.c.Interface[name].Address {
			if a.Overlaps(p) && v.c.Interface[name].VRF == vrf {
				return " (" + name + " has " + a.Masked().String() + ")"
			}
		}
	}
	return ""
}

// peer checks what a neighbour or group says (s) and what comes of it (p).
func (v *validator) peer(b *BGPInstance, s *PeerSettings, path string, p Peer, whole bool) {
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
	if isTrue(s.RemovePrivateAS) && internal {
		v.errorf(path+".remove-private-as", "only for an external neighbour: AS %d is this router's own", p.RemoteAS)
	}
	if isTrue(s.DisableConnectedCheck) && (internal || p.EBGPMultihop > 1) {
		v.warnf(path+".disable-connected-check", "has no effect: only an external neighbour with ebgp-multihop = 1 must be connected")
	}
	if p.NextHopSelfAll && p.NextHopUnchanged && (s.NextHopSelfAll != nil || s.NextHopUnchanged != nil) {
		v.errorf(path+".next-hop-unchanged", "next-hop-self-all and next-hop-unchanged exclude each other: keep one")
	}
	if m := s.MaximumPrefix; m != nil && m.WarningOnly && m.Restart > 0 {
		v.errorf(path+".maximum-prefix.restart", "a session that is not closed need not come back: keep one of restart and warning-only")
	}
	if v.c.RouteMap[s.UnsuppressMap] != nil && !slices.ContainsFunc(b.Aggregate, func(a *Aggregate) bool { return a.SummaryOnly }) && !v.badBelow(bgpPath(b)+".aggregate") {
		v.warnf(path+".unsuppress-map", "has no effect: no aggregate with summary-only = true holds anything back")
	}
	if s.BFD == BFDSingleHop && external && p.EBGPMultihop > 1 {
		v.errorf(path+".bfd", "the neighbour is up to %d hops away (ebgp-multihop): use \"multihop\", or true", p.EBGPMultihop)
	}
	twice(v, path+".address-family", s.AddressFamily)
	if len(p.AddressFamily) > 1 {
		v.oneFamily(s, s.PrefixList.In, p.PrefixList.In, path+".prefix-list.in")
		v.oneFamily(s, s.PrefixList.Out, p.PrefixList.Out, path+".prefix-list.out")
	}
	v.sourceVRF(s.UpdateSource, b.VRFName(), "the neighbour", path+".update-source")
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

// oneFamily finds a prefix list that denies all of a family which the session carries. It is said where the list or the
// families are.
func (v *validator) oneFamily(s *PeerSettings, own, name, path string) {
	l := v.c.PrefixList[name]
	if l == nil || len(l.Entry) == 0 || own == "" && len(s.AddressFamily) == 0 {
		return
	}
	first, _ := l.Entry[0].Prefix()
	for _, e := range l.Entry {
		if p, _ := e.Prefix(); !p.IsValid() || p.Addr().Is4() != first.Addr().Is4() {
			return
		}
	}
	v.warnf(path, "prefix list %q has only %s entries: it denies everything of %s, which the session carries", name, familyName(first.Addr().Is4()), familyName(!first.Addr().Is4()))
}

func isTrue(b *bool) bool { return b != nil && *b }

func (v *validator) listen(b *BGPInstance, table string) {
	for n, l := range b.Listen {
		path := v.item(table+".listen", n)
		if g := b.PeerGroup[l.PeerGroup]; g != nil && g.RemoteAS == 0 && !v.bad[at2Path(table, "peer-group", l.PeerGroup)+".remote-as"] {
			v.errorf(path+".peer-group", "peer group %q has no remote-as, which neighbours that are not listed need", l.PeerGroup)
		}
		if _, written := v.c.src.at[path+".limit"]; written && l.Limit > v.c.BGP.ListenLimit {
			v.warnf(path+".limit", "[bgp] listen-limit lets no more than %d in", v.c.BGP.ListenLimit)
		}
		if !l.Range.IsValid() {
			continue
		}
		v.wholePools(b, l.Range, path+".range")
		for _, o := range b.Listen[:n] {
			if o.Range == l.Range {
				v.errorf(path+".range", "%s is listed twice", l.Range)
			} else if o.Range.IsValid() && o.Range.Overlaps(l.Range) && o.PeerGroup != l.PeerGroup {
				v.warnf(path+".range", "%s overlaps with %s: a neighbour in both gets the group of the longer prefix", l.Range, o.Range)
			}
		}
	}
}

// wholePools finds a pool that only a part of may connect.
func (v *validator) wholePools(b *BGPInstance, p netip.Prefix, path string) {
	within := func(a netip.Addr) bool {
		return slices.ContainsFunc(b.Listen, func(l *Listen) bool { return l.Range.Contains(a) })
	}
	for _, name := range Names(v.c.Pool) {
		for _, r := range v.c.Pool[name].Addresses {
			first, last := p.Contains(r.From), p.Contains(r.To)
			if r.From.IsValid() && (first || last) && !(within(r.From) && within(r.To)) {
				v.warnf(path, "pool %q (%s) reaches beyond %s: peers with an address outside of it cannot connect", name, r, p)
				return
			}
		}
	}
}
