package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// dynamic checks what a tunnel leaves to its peer and to its client block.
func (v *validator) dynamic(i *Interface, path string) {
	kind := i.Kind()
	client := v.c.IKEv2.ClientOf(i.Name)
	if i.Negotiated {
		key := path + ".address"
		switch {
		case kind == VirtualTemplate: // it has no such key
		case kind != Tunnel:
			v.errorf(key, "only the peer of a tunnel gives addresses: %s interfaces have their own", kind)
		case i.Mode == GREMultipoint:
			v.errorf(key, "mode %q has many peers: only the one of a point-to-point tunnel, such as %q, gives addresses", i.Mode, GREIP)
		case i.Protection == "" && !v.bad[path+".protection"]:
			v.errorf(key, "addresses are negotiated by IKE: name an ipsec profile in protection")
		case v.profileOf(i) != nil && !v.profileOf(i).ConfigExchange.Request:
			v.errorf(key, "ikev2 profile %q does not ask for addresses: leave out config-exchange.request", v.profileOf(i).Name)
		}
	}
	if kind != Tunnel {
		if i.SourceDynamic {
			v.errorf(path+".source", "only a tunnel has a client block: leave source out, or name an interface")
		}
		return
	}
	if i.DestinationDynamic {
		key := path + ".destination"
		switch {
		case i.Mode == GREMultipoint:
			v.errorf(key, "mode %q has no one destination: set mode = %q", i.Mode, GREIP)
		case i.Protection == "" && !v.bad[path+".protection"]:
			v.errorf(key, "a client block connects by IKE: name an ipsec profile in protection")
		case client == nil && !v.badBelow("ikev2.client"):
			v.errorf(key, "no client block is bound to %s: add [ikev2.client.NAME] with peer and client-connect = %q", i.Name, i.Name)
		}
	}
	if i.SourceDynamic {
		key := path + ".source"
		switch {
		case !i.DestinationDynamic:
			v.errorf(key, "it is the client block that knows the source: set destination = \"dynamic\" as well")
		case client != nil && len(client.Source) == 0 && !v.badBelow(at("ikev2", "client", client.Name)):
			v.errorf(key, "client block %q lists no source: add source = [{ interface = \"NAME\" }] there", client.Name)
		}
	}
	v.inClear(i, path)
}

// profileOf is the IKE profile that protects an interface, or nil.
func (v *validator) profileOf(i *Interface) *IKEProfile {
	if ip := v.c.IPsec.Profile[i.Protection]; ip != nil {
		return v.c.IKEv2.Profile[ip.IKEv2Profile]
	}
	return nil
}

// inClear warns of packets that leave in clear by a default route while the tunnel that they belong into is down.
func (v *validator) inClear(t *Interface, path string) {
	if t.Protection == "" || t.Shutdown || t.Mode == GREMultipoint {
		return
	}
	inside := func(r *Route) bool { return r.VRF == t.VRF && r.Prefix.IsValid() && r.Distance < 255 }
	ways := map[bool]string{} // where the default route is written, by family: true is IPv4
	silent := false           // somebody has thought of it
	for n, r := range v.c.Route {
		switch {
		case !inside(r):
		case r.Prefix.Bits() > 0:
			silent = silent || r.Discard || r.Interface == t.Name
		case !r.Discard && r.Interface != t.Name && ways[r.Prefix.Addr().Is4()] == "":
			ways[r.Prefix.Addr().Is4()] = v.where(v.item("route", n))
		}
	}
	if len(ways) == 0 {
		return
	}
	for n, r := range v.c.Route {
		way := ways[r.Prefix.Addr().Is4()]
		if !inside(r) || r.Interface != t.Name || r.Prefix.Bits() == 0 || way == "" {
			continue
		}
		// Whatever else covers the prefix, and does not lead into the tunnel, is taken before the default route.
		guarded := slices.ContainsFunc(v.c.Route, func(o *Route) bool {
			return inside(o) && o.Interface != t.Name && o.Prefix.Bits() > 0 && o.Prefix.Bits() <= r.Prefix.Bits() && o.Prefix.Contains(r.Prefix.Addr())
		})
		if !guarded {
			v.warnf(v.item("route", n), "while %s is down, packets to %s follow the default route (%s) in clear: "+
				"add [[route]] prefix = %q, discard = true, distance = 254", t.Name, r.Prefix, way, r.Prefix)
		}
	}
	if (t.DestinationDynamic || t.Negotiated) && !silent {
		way := ways[true]
		if way == "" {
			way = ways[false]
		}
		v.warnf(path, "while the tunnel is down, packets for the networks behind it follow the default route (%s) in clear: "+
			"add [[route]] with discard = true and distance = 254 for these networks, or put the tunnel's outer packets into a VRF of their own (tunnel-vrf)", way)
	}
}

// shortcut checks the template that the interfaces of shortcuts are made of.
func (v *validator) shortcut(t *Interface, path string) {
	n := t.NHRP
	key := path + ".shortcut"
	if v.bad[key] || v.badBelow(key) || !n.Shortcut {
		return
	}
	if t.Mode == GREMultipoint {
		if n.ShortcutTemplate != 0 {
			v.errorf(key, "mode %q reaches others by itself: shortcut = true", t.Mode)
		}
		return
	}
	name := fmt.Sprintf("Virtual-Template%d", n.ShortcutTemplate)
	template := v.c.Interface[name]
	if n.ShortcutTemplate == 0 {
		v.errorf(key, "an interface with one peer needs another to reach others: shortcut = { virtual-template = 1 }, the template that it is made of")
		return
	}
	if template == nil {
		var have []string
		for _, t := range v.c.InterfacesOf(VirtualTemplate) {
			have = append(have, t.Name)
		}
		v.errorf(key+".virtual-template", "no interface %q%s", name, didYouMean(name, have))
		return
	}
	for _, i := range []*Interface{t, template} {
		p := v.profileOf(i)
		if p == nil || p.VirtualTemplate == n.ShortcutTemplate || v.bad[at("ikev2", "profile", p.Name, "virtual-template")] {
			continue
		}
		if p.VirtualTemplate == 0 && i == t && v.profileOf(template) != p {
			continue // its own peer makes no interfaces
		}
		has := "has none"
		if p.VirtualTemplate != 0 {
			has = fmt.Sprintf("has %d", p.VirtualTemplate)
		}
		v.errorf(key+".virtual-template", "%d must be the same as virtual-template of [%s], which %s", n.ShortcutTemplate, at("ikev2", "profile", p.Name), has)
		return
	}
	switch o := template.NHRP; {
	case !template.Mode.GRE():
		v.errorf(key+".virtual-template", "%s has mode = %q: NHRP needs GRE", name, template.Mode)
	case o == nil && !v.bad[at("interface", name, "nhrp")] && !v.badBelow(at("interface", name, "nhrp")):
		v.errorf(key+".virtual-template", "%s has no [interface.%s.nhrp]: who is reached by a shortcut would not be answered", name, name)
	case o != nil && o.NetworkID != n.NetworkID && o.NetworkID != 0 && n.NetworkID != 0:
		v.errorf(key+".virtual-template", "%s has network-id = %d, %s %d: shortcuts stay within one network", name, o.NetworkID, t.Name, n.NetworkID)
	}
	if p := v.c.IPsec.Profile[template.Protection]; p != nil && p.ResponderOnly {
		v.errorf(key+".virtual-template", "ipsec profile %q of %s waits for peers (responder-only), but a shortcut calls them", p.Name, name)
	}
}

// clients checks client blocks, each by itself and against the others.
func (v *validator) clients() {
	k := &v.c.IKEv2
	bound := map[string]string{}   // tunnel to block
	backups := map[string]string{} // backup tunnel to block
	groups := map[string][]*FlexClient{}
	for _, name := range Names(k.Client) {
		c, path := k.Client[name], at("ikev2", "client", name)
		t := v.c.Interface[c.ClientConnect]
		v.clientTunnel(c, t, path, bound)
		v.clientPeers(c, t, path)
		v.clientSources(c, t, path)
		m := path + ".connect"
		switch {
		case v.bad[m] || v.badBelow(m):
		case c.Connect.Mode == ConnectTrack && c.Connect.Track == 0:
			v.errorf(m, "the track is missing: connect = { track = 10, state = \"up\" }")
		case c.Connect.Mode == ConnectManual && c.Connect.Track != 0:
			v.errorf(m, "the operator or a track decides, not both: leave out mode = %q or track", ConnectManual)
		case c.Connect.Track == 0 && c.Connect.State != TrackUp:
			v.warnf(m+".state", "has no effect without track")
		}
		if _, written := v.c.src.at[path+".reactivate-interval"]; written && !c.PeerReactivate {
			v.warnf(path+".reactivate-interval", "has no effect without peer-reactivate = true")
		}
		if c.PeerReactivate && len(c.Peer) == 1 && c.Peer[0].FQDN == "" {
			v.warnf(path+".peer-reactivate", "has no effect: there is one peer")
		}
		v.backup(c, path, backups)
		if c.BackupGroup != "" {
			groups[c.BackupGroup] = append(groups[c.BackupGroup], c)
		}
	}
	for _, group := range Names(groups) {
		v.backupGroup(group, groups[group])
	}
}

// clientTunnel checks the tunnel that a block is bound to.
func (v *validator) clientTunnel(c *FlexClient, t *Interface, path string, bound map[string]string) {
	if t == nil {
		return // reported
	}
	key := path + ".client-connect"
	other := bound[t.Name]
	switch {
	case t.Kind() != Tunnel:
		v.errorf(key, "%s is not a tunnel", t.Name)
	case other != "":
		v.errorf(key, "client block %q is bound to %s: a tunnel has one block", other, t.Name)
	case !t.DestinationDynamic && !v.bad[at("interface", t.Name, "destination")]:
		has := "has no destination"
		if t.Destination.IsValid() {
			has = fmt.Sprintf("has destination = %q", t.Destination)
		}
		v.errorf(key, "%s %s: the tunnel of a client block has destination = \"dynamic\"", t.Name, has)
	}
	bound[t.Name] = c.Name
	if p := v.c.IPsec.Profile[t.Protection]; p != nil && p.ResponderOnly {
		v.errorf(key, "ipsec profile %q of %s waits for the peer (responder-only), but a client calls", p.Name, t.Name)
	}
}

func (v *validator) clientPeers(c *FlexClient, t *Interface, path string) {
	path += ".peer"
	seen := map[string]bool{}
	for i, p := range c.Peer {
		key := v.item(path, i)
		if v.badBelow(key) {
			continue
		}
		who := p.Address.String()
		switch {
		case p.Address.IsValid() == (p.FQDN != ""):
			v.errorf(key, "a peer is known by address or by fqdn: give one of them")
			continue
		case p.FQDN != "":
			who = strings.ToLower(strings.TrimSuffix(p.FQDN, "."))
			v.hostName(who, key+".fqdn")
		default:
			v.peerAddress(p.Address, t, key+".address")
			if p.Family != "" {
				v.warnf(key+".family", "has no effect: the address is given")
			}
		}
		if t != nil && p.Family != "" {
			if want, one := t.modeFamily(); one && (p.Family == FamilyIPv4) != want {
				v.errorf(key+".family", "mode %q of %s needs an %s address", t.Mode, t.Name, familyName(want))
			}
		}
		if again := fmt.Sprint(who, p.Family); seen[again] {
			v.errorf(key, "%s is listed twice", who)
		} else {
			seen[again] = true
		}
		if p.Track == 0 && p.TrackState != TrackUp {
			v.warnf(key+".track-state", "has no effect without track")
		}
	}
	numbers := numbered(c.Peer, 1, func(p *FlexPeer) uint32 { return p.Seq })
	v.sequence(path, len(c.Peer), func(i int) uint32 { return numbers[i] })
}

// peerAddress checks the address of a hub as the tunnel's destination.
func (v *validator) peerAddress(a netip.Addr, t *Interface, key string) {
	vrf := DefaultVRF
	if t != nil {
		vrf = t.TunnelVRF
		if want, one := t.modeFamily(); one && a.Is4() != want {
			v.errorf(key, "mode %q of %s needs an %s address, got %s", t.Mode, t.Name, familyName(want), a)
			return
		}
		if t.VRF == t.TunnelVRF && slices.ContainsFunc(t.Address, func(p netip.Prefix) bool { return p.Contains(a) }) {
			v.errorf(key, "%s lies in a subnet of %s itself: it would be reached through the tunnel", a, t.Name)
			return
		}
	}
	switch {
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		v.errorf(key, "%s is not the address of a router", a)
	case v.ownerIn(vrf, a) != nil:
		v.errorf(key, "%s is an address of this router (%s)", a, v.ownerIn(vrf, a).Name)
	}
}

// hostName checks a name whose addresses will be asked for.
func (v *validator) hostName(name, path string) {
	switch a, err := netip.ParseAddr(name); {
	case err == nil:
		v.errorf(path, "%s is an address, not a name: address = %q", a, name)
	case !isDomain(name):
		v.errorf(path, "%q is not a name such as \"hub1.example.com\"", name)
	case !v.resolvable(name):
		v.errorf(path, "nothing finds the address of %q: add [dns] with server, or with host = { %q = [\"ADDRESS\"] }", name, name)
	}
}

// resolvable reports whether there is somebody to ask for a name's addresses.
func (v *validator) resolvable(name string) bool {
	d := &v.c.DNS
	if d.Domain != "" && !strings.Contains(name, ".") && d.Host[name+"."+strings.ToLower(d.Domain)] != nil {
		return true
	}
	return len(d.Server) > 0 || d.Host[name] != nil || v.bad["dns.server"] || v.badBelow("dns")
}

func (v *validator) clientSources(c *FlexClient, t *Interface, path string) {
	path += ".source"
	if t != nil && len(c.Source) > 0 && !t.SourceDynamic && !v.bad[at("interface", t.Name, "source")] {
		v.errorf(path, "has no effect: %s has source = %q; set it to \"dynamic\"", t.Name, t.Source)
	}
	seen := map[string]bool{}
	for i, s := range c.Source {
		key := v.item(path, i)
		o := v.c.Interface[s.Interface]
		switch {
		case o == nil: // reported
		case o.Kind() == VirtualTemplate:
			v.errorf(key+".interface", "%s is a template: packets come and go through the interfaces that are made of it", o.Name)
		case o == t:
			v.errorf(key+".interface", "a tunnel cannot be its own source")
		case t != nil && o.VRF != t.TunnelVRF:
			v.errorf(key+".interface", "%s is in the routing table %q, but tunnel-vrf of %s is %q", o.Name, o.VRF, t.Name, t.TunnelVRF)
		case len(o.Address) == 0 && !o.Negotiated && !v.bad[at("interface", o.Name, "address")] && !v.badBelow(at("interface", o.Name, "address")):
			v.errorf(key+".interface", "%s has no address to send from", o.Name)
		}
		if seen[s.Interface] && s.Interface != "" {
			v.errorf(key+".interface", "%s is listed twice", s.Interface)
		}
		seen[s.Interface] = true
	}
	numbers := numbered(c.Source, 1, func(s *FlexSource) uint32 { return s.Seq })
	v.sequence(path, len(c.Source), func(i int) uint32 { return numbers[i] })
}

// backup checks the tunnel that stands in while a client has no session.
func (v *validator) backup(c *FlexClient, path string, backups map[string]string) {
	key := path + ".backup-interface"
	t := v.c.Interface[c.BackupInterface]
	if t == nil {
		return
	}
	switch {
	case t.Kind() != Tunnel:
		v.errorf(key, "%s is not a tunnel", t.Name)
		return
	case c.BackupInterface == c.ClientConnect:
		v.errorf(key, "%s is the client's own tunnel: name another", t.Name)
		return
	case backups[t.Name] != "":
		v.errorf(key, "%s is the backup of client block %q already", t.Name, backups[t.Name])
	case t.Shutdown:
		v.warnf(key, "%s is shut down (shutdown = true) and stays so", t.Name)
	}
	backups[t.Name] = c.Name
	// The backup may have a block, which may have a backup, but these must end somewhere.
	way := []string{c.Name}
	for next := v.c.IKEv2.ClientOf(t.Name); next != nil; next = v.c.IKEv2.ClientOf(next.BackupInterface) {
		if next == c {
			v.errorf(key, "the blocks are each other's backup (%s): one of them must be without", strings.Join(append(way, c.Name), " → "))
			return
		}
		if slices.Contains(way, next.Name) {
			return // a circle of others, who say so
		}
		way = append(way, next.Name)
	}
}

// backupGroup checks blocks that share their peers.
func (v *validator) backupGroup(group string, blocks []*FlexClient) {
	key := at("ikev2", "client", blocks[0].Name, "backup-group")
	if len(blocks) == 1 {
		v.warnf(key, "has no effect: no other client block is in the group %q", group)
		return
	}
	peers := map[netip.Addr]bool{}
	for _, c := range blocks {
		for _, p := range c.Peer {
			if p.FQDN != "" {
				return // it may have any number of addresses
			}
			peers[p.Address] = true
		}
	}
	if len(peers) < len(blocks) {
		v.warnf(at("ikev2", "client", blocks[len(blocks)-1].Name, "backup-group"), "the %d blocks of the group %q have %s together: as no two use the same at once, some tunnel stays down",
			len(blocks), group, count(len(peers), "peer"))
	}
}

// cluster checks this hub's part of a cluster.
func (v *validator) cluster() {
	k := v.c.IKEv2.Cluster
	if k == nil {
		return
	}
	path := "ikev2.cluster"
	i := v.c.Interface[k.Interface]
	vrf := DefaultVRF
	if i != nil {
		vrf = i.VRF
	}
	switch {
	case i == nil || !k.Address.IsValid():
	case i.Kind() != Ethernet:
		v.errorf(path+".interface", "%s is not an Ethernet interface: the address must be on a subnet with the other members", i.Name)
	case k.Address.IsLinkLocalUnicast():
		v.errorf(path+".address", "%s is of this link only: callers need one that is routed", k.Address)
	case v.ownerIn(i.VRF, k.Address) != nil:
		v.errorf(path+".address", "%s is %s's own address: the cluster needs another of the same subnet, which belongs to the master", k.Address, v.ownerIn(i.VRF, k.Address).Name)
	case !slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Contains(k.Address) }) && !v.badBelow(at("interface", i.Name)):
		v.errorf(path+".address", "%s is in no subnet of %s", k.Address, i.Name)
	default:
		for _, p := range i.Address {
			if a := k.Address; p.Contains(a) && a.Is4() && p.Bits() < 31 && (a == p.Masked().Addr() || a == broadcast(p)) {
				v.errorf(path+".address", "%s is no router's address in %s", a, p)
				break
			}
		}
	}
	for port, whose := range map[uint16]string{4500: "IKE", 3784: "BFD", 4784: "BFD"} {
		if k.Port == port {
			v.errorf(path+".port", "%d is %s's: the members' messages need another, such as 2012", port, whose)
		}
	}
	seen := map[netip.Addr]bool{}
	for n, m := range k.Member {
		key := v.item(path+".member", n)
		switch {
		case !m.IsValid(): // reported
		case m.IsUnspecified() || m.IsMulticast() || m == k.Address:
			v.errorf(key, "%s is not the address of another hub", m)
		case v.ownerIn(vrf, m) != nil:
			v.errorf(key, "%s is an address of this router: list the others", m)
		case k.Address.IsValid() && m.Is4() != k.Address.Is4():
			v.errorf(key, "%s is of another family than the cluster's address %s", m, k.Address)
		case seen[m]:
			v.errorf(key, "%s is listed twice", m)
		}
		seen[m] = true
	}
	switch r := k.RedirectTo; {
	case !r.IsValid():
	case r.IsUnspecified() || r.IsMulticast() || r.IsLoopback() || r.IsLinkLocalUnicast() || r == k.Address:
		v.errorf(path+".redirect-to", "%s is not where this hub alone is reached", r)
	case k.Address.IsValid() && r.Is4() != k.Address.Is4():
		v.errorf(path+".redirect-to", "%s is of another family than the cluster's address %s: who calls there cannot be sent here", r, k.Address)
	case seen[r]:
		v.errorf(path+".redirect-to", "%s is another member's address", r)
	}
	if k.Hold <= k.Hello {
		v.errorf(path+".hold", "%s is not above hello (%s): every member would be gone before it is heard", formatDuration(k.Hold), formatDuration(k.Hello))
	}
}

// dns checks where names are looked up.
func (v *validator) dns() {
	d := &v.c.DNS
	for i, a := range d.Server {
		key := v.item("dns.server", i)
		switch {
		case !a.IsValid(): // reported
		case a.IsUnspecified() || a.IsMulticast():
			v.errorf(key, "%s is not the address of a server", a)
		case d.Source.Address.IsValid() && d.Source.Address.Is4() != a.Is4():
			v.warnf(key, "%s is of another family than source (%s)", a, d.Source.Address)
		}
	}
	twice(v, "dns.server", d.Server)
	v.sourceVRF(d.Source, d.VRF, "the servers", "dns.source")
	if d.Domain != "" && !isDomain(d.Domain) {
		v.errorf("dns.domain", "%q is not a domain such as \"example.com\"", d.Domain)
	}
	for _, name := range Names(d.Host) {
		for i, a := range d.Host[name] {
			if a.IsUnspecified() || a.IsMulticast() {
				v.errorf(v.item(at("dns", "host", name), i), "%s is not the address of a host", a)
			}
		}
	}
}

// sourceVRF finds a source that belongs to another routing table than what is sent from it.
func (v *validator) sourceVRF(l Local, vrf, who, path string) {
	i := v.c.Interface[l.Interface]
	if l.Address.IsValid() && v.ownerIn(vrf, l.Address) == nil {
		i = v.owner(l.Address)
	}
	if i != nil && i.VRF != vrf && i.Kind() != VirtualTemplate {
		v.errorf(path, "%s is in the routing table %q, but %s in %q", i.Name, i.VRF, who, vrf)
	}
}
