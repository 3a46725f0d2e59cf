package config

import (
	"net/netip"
	"reflect"
	"slices"
)

func (v *validator) interfaces() {
	macs := map[string]string{}
	for _, name := range v.c.InterfaceNames() {
		i, path := v.c.Interface[name], at("interface", name)
		kind := i.Kind()
		if kind == 0 {
			continue // its name is wrong, and reported
		}
		if kind == VirtualAccess {
			v.errorf(path, "virtual-access interfaces are made of a virtual template while a peer is there: configure [interface.Virtual-Template1]")
			continue
		}
		v.onlyKeys(i, path, kind)
		if mac := i.MAC.String(); mac != "" {
			if other := macs[mac]; other != "" {
				v.errorf(at("interface", name, "mac"), "%s has the same MAC address: a NIC has one interface", other)
			}
			macs[mac] = name
			if i.MAC[0]&1 != 0 || mac == "00:00:00:00:00:00" {
				v.errorf(at("interface", name, "mac"), "%s is not the address of a NIC", mac)
			}
		}
		v.addresses(i, path)
		v.unnumbered(i, path)
		v.dynamic(i, path)
		if i.IPMTU > i.MTU && i.MTU > 0 {
			v.errorf(at("interface", name, "ip-mtu"), "%d is more than the link's mtu of %d", i.IPMTU, i.MTU)
		}
		if mtu := smallest(i.MTU, i.IPMTU); mtu > 0 && mtu < 1280 && slices.ContainsFunc(i.Address, is6) {
			v.errorf(at("interface", name, map[bool]string{true: "ip-mtu", false: "mtu"}[mtu == i.IPMTU]),
				"IPv6 needs at least 1280 bytes (RFC 8200 §5), got %d", mtu)
		}
	}
	v.overlaps()
}

func smallest(a, b int) int {
	if a == 0 || (b > 0 && b < a) {
		return b
	}
	return a
}

func is4(p netip.Prefix) bool { return p.Addr().Is4() }
func is6(p netip.Prefix) bool { return p.Addr().Is6() }

// onlyKeys finds keys that another kind of interface has.
func (v *validator) onlyKeys(i *Interface, path string, kind Kind) {
	for _, f := range fieldsOf(reflect.TypeFor[Interface]()) {
		if f.allows(kind) {
			continue
		}
		key := joinPath(path, f.name)
		if _, written := v.c.src.at[key]; written {
			v.errorf(key, "%s interfaces have no such key (it is for %s)", kind, onlyText(f))
		}
	}
}

func (v *validator) addresses(i *Interface, path string) {
	for n, p := range i.Address {
		a, key := p.Addr(), v.item(path+".address", n)
		switch {
		case !p.IsValid(): // reported
		case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			v.errorf(key, "%s cannot be an interface's address", a)
		case p.Bits() == 0:
			v.errorf(key, "the length /0 leaves no subnet; a single address is \"%s/%d\"", a, a.BitLen())
		case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
			v.errorf(key, "%s is the subnet itself: give one of its addresses, such as \"%s/%d\"", p, a.Next(), p.Bits())
		case a.Is4() && p.Bits() < 31 && a == broadcast(p):
			v.errorf(key, "%s is the broadcast address of its subnet", a)
		}
		if p.IsValid() && slices.ContainsFunc(i.Address[:n], func(q netip.Prefix) bool { return q.Addr() == a }) {
			v.errorf(key, "%s is listed twice", a)
		}
	}
}

// item is the path of a list's element, or of the list when it was written as one value alone.
func (v *validator) item(path string, i int) string {
	q := at2(path, i)
	if _, ok := v.c.src.at[q]; ok {
		return q
	}
	return path
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := range b {
		if host := 32 - p.Bits() - 8*(3-i); host > 0 {
			b[i] |= byte(1<<min(host, 8) - 1)
		}
	}
	return netip.AddrFrom4(b)
}

// overlaps finds subnets that two interfaces of one routing table share.
func (v *validator) overlaps() {
	type subnet struct {
		i *Interface
		p netip.Prefix
	}
	var seen []subnet
	for _, name := range v.c.InterfaceNames() {
		i := v.c.Interface[name]
		for n, p := range i.Address {
			key := v.item(at("interface", name, "address"), n)
			for _, o := range seen {
				if o.i == i || o.i.VRF != i.VRF || !o.p.Overlaps(p) || p.Addr().IsLinkLocalUnicast() {
					continue
				}
				complain := v.errorf
				if o.i.Shutdown || i.Shutdown {
					complain = v.warnf
				}
				complain(key, "%s overlaps with %s of %s in the same routing table", p, o.p, o.i.Name)
				break
			}
		}
		for _, p := range i.Address {
			seen = append(seen, subnet{i, p})
		}
	}
}

func (v *validator) tunnels() {
	for _, t := range v.c.InterfacesOf(Tunnel) {
		path := at("interface", t.Name)
		v.tunnelEnds(t, path)
		v.vti(t, path)
		if t.NHRP != nil && t.Mode.GRE() {
			v.nhrp(t, path+".nhrp")
		}
		if t.NHRP == nil && t.Mode == GREMultipoint {
			v.warnf(path, "mode %q without [%s.nhrp] finds nobody to send to", t.Mode, path)
		}
		v.ikeFits(t, path)
	}
	v.twins()
}

// vti checks what a route-based IPsec tunnel must have, and must not.
func (v *validator) vti(t *Interface, path string) {
	if !t.Mode.VTI() {
		return
	}
	if t.Protection == "" && !v.bad[path+".protection"] {
		v.errorf(path, "mode %q needs protection: name an ipsec profile", t.Mode)
	}
	if t.Key != nil {
		v.errorf(path+".key", "only GRE has a key; mode is %q", t.Mode)
	}
	if t.NHRP != nil {
		v.errorf(path+".nhrp", "NHRP needs GRE; mode is %q", t.Mode)
	}
	v.tunnelModeOnly(t)
}

// unnumbered checks whose addresses are used.
func (v *validator) unnumbered(i *Interface, path string) {
	o := v.c.Interface[i.Unnumbered]
	if o == nil || i.Kind() != Tunnel && i.Kind() != VirtualTemplate {
		return
	}
	path += ".unnumbered"
	switch {
	case o == i:
		v.errorf(path, "an interface cannot use its own addresses as another's")
	case i.Kind() == Tunnel && (len(i.Address) > 0 || i.Negotiated): // that a template has none is said elsewhere
		v.errorf(path, "the interface has addresses of its own: keep one of address and unnumbered")
	case o.Unnumbered != "":
		v.errorf(path, "%s has no address of its own either: name an interface that has one", o.Name)
	case len(o.Address) == 0 && !o.Negotiated && !v.bad[at("interface", o.Name, "address")] && !v.badBelow(at("interface", o.Name, "address")):
		v.errorf(path, "%s has no address", o.Name)
	case o.VRF != i.VRF:
		v.errorf(path, "%s is in the routing table %q, %s in %q", o.Name, o.VRF, i.Name, i.VRF)
	}
}

// templates checks Virtual-Templates, and that somebody gets an interface of them.
func (v *validator) templates() {
	for _, t := range v.c.InterfacesOf(VirtualTemplate) {
		path := at("interface", t.Name)
		if t.Mode == GREMultipoint {
			v.errorf(path+".mode", "the interfaces made of a template have one peer each: use %q or another mode", GREIP)
		}
		if !t.Source.IsZero() {
			v.tunnelEnds(t, path)
		}
		v.vti(t, path)
		if t.NHRP != nil && t.Mode.GRE() && t.Mode != GREMultipoint {
			v.nhrp(t, path+".nhrp")
		}
		if t.Mode.GRE() && t.Protection == "" && !v.bad[path+".protection"] {
			v.errorf(path, "protection is missing: a template's peers come through IKE; name an ipsec profile")
		}
		name, _ := ParseInterfaceName(t.Name)
		number := int(name.Number[0])
		used := slices.ContainsFunc(Names(v.c.IKEv2.Profile), func(name string) bool {
			return v.c.IKEv2.Profile[name].VirtualTemplate == number || v.bad[at("ikev2", "profile", name, "virtual-template")]
		})
		switch {
		case number == 0:
			v.errorf(path, "templates are numbered from 1")
		case !used:
			v.warnf(path, "no ikev2 profile has virtual-template = %d: nobody gets an interface of it", number)
		}
		v.ikeFits(t, path)
	}
}

// tunnelEnds checks the two outer addresses.
func (v *validator) tunnelEnds(t *Interface, path string) {
	if t.SourceDynamic {
		// It is the client block's: see dynamic.
	} else if t.Source.IsZero() {
		if !v.bad[path+".source"] {
			v.errorf(path, "source is missing: the interface or address that the tunnel's packets come from")
		}
	} else if i := v.c.Interface[t.Source.Interface]; i != nil {
		switch {
		case i == t:
			v.errorf(path+".source", "a tunnel cannot be its own source")
		case i.VRF != t.TunnelVRF:
			v.errorf(path+".source", "%s is in the routing table %q, but tunnel-vrf is %q", i.Name, i.VRF, t.TunnelVRF)
		default:
			if _, ok := v.c.SourceAddress(t); !ok && !v.badBelow(at("interface", i.Name, "address")) && !v.bad[at("interface", i.Name, "address")] {
				v.errorf(path+".source", "%s has no %s address to send from", i.Name, t.familyName())
			}
		}
	} else if a := t.Source.Address; a.IsValid() {
		if want, one := t.modeFamily(); one && a.Is4() != want {
			v.errorf(path+".source", "mode %q needs an %s address, got %s", t.Mode, familyName(want), a)
		}
		if o := v.owner(a); o != nil && v.ownerIn(t.TunnelVRF, a) == nil {
			v.errorf(path+".source", "%s has %s, in the routing table %q, but tunnel-vrf is %q", o.Name, a, o.VRF, t.TunnelVRF)
		}
	}
	d := t.Destination
	switch {
	case t.Mode == GREMultipoint && d.IsValid():
		v.errorf(path+".destination", "mode %q has no one destination: NHRP finds them; for a point-to-point tunnel set mode = \"gre ip\"", t.Mode)
	case t.Mode == GREMultipoint || t.DestinationDynamic:
	case !d.IsValid() && t.Protection == "" && t.Mode.GRE() && t.Kind() == Tunnel && !v.bad[path+".destination"] && !v.bad[path+".mode"] && !v.bad[path+".protection"]:
		v.errorf(path, "destination is missing: an unprotected point-to-point tunnel cannot know its far end otherwise")
	case d.IsValid():
		if want, one := t.modeFamily(); one && d.Is4() != want {
			v.errorf(path+".destination", "mode %q needs an %s address, got %s", t.Mode, familyName(want), d)
		} else if d.IsUnspecified() || d.IsMulticast() {
			v.errorf(path+".destination", "%s is not the address of a router", d)
		} else if d == t.Source.Address || v.ownerIn(t.TunnelVRF, d) != nil {
			v.errorf(path+".destination", "%s is an address of this router", d)
		}
		for _, p := range t.Address {
			if p.Contains(d) && t.VRF == t.TunnelVRF {
				v.errorf(path+".destination", "%s lies in the tunnel's own subnet %s: it would be reached through itself", d, p.Masked())
			}
		}
	}
}

// modeFamily is the family that the mode asks for, if it asks for one: true is IPv4.
func (t *Interface) modeFamily() (v4, one bool) {
	switch t.Mode {
	case GREIP, IPsecIPv4, IPsecIPv4OverlayV6:
		return true, true
	case GREIPv6, IPsecIPv6, IPsecIPv6OverlayV4:
		return false, true
	}
	return false, false
}

func (t *Interface) familyName() string {
	f := t.families()
	if len(f) > 1 {
		return "IPv4 or IPv6"
	}
	return familyName(f[0])
}

func familyName(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

// tunnelModeOnly finds transform sets that a VTI cannot use.
func (v *validator) tunnelModeOnly(t *Interface) {
	p := v.c.IPsec.Profile[t.Protection]
	if p == nil {
		return
	}
	for _, name := range p.TransformSet {
		if ts := v.c.IPsec.TransformSet[name]; ts != nil && ts.Mode != ModeTunnel {
			v.errorf(at("interface", t.Name, "protection"), "mode %q needs tunnel mode, but transform set %q of %q has mode = %q",
				t.Mode, name, p.Name, ts.Mode)
		}
	}
}

// twins finds tunnels whose packets cannot be told apart.
func (v *validator) twins() {
	tunnels := v.c.InterfacesOf(Tunnel)
	for n, t := range tunnels {
		for _, o := range tunnels[:n] {
			if t.Shutdown || o.Shutdown || t.DestinationDynamic || o.DestinationDynamic || t.TunnelVRF != o.TunnelVRF || t.Source.IsZero() || !v.sameSource(t, o) || t.Destination != o.Destination {
				continue
			}
			path := at("interface", t.Name)
			switch {
			case t.Mode.GRE() && o.Mode.GRE() && sameKey(t.Key, o.Key) && (t.Protection == "" || o.Protection == ""):
				v.errorf(path, "its packets look like those of %s: give the tunnels different keys, sources or destinations", o.Name)
			case t.Protection != "" && t.Protection == o.Protection:
				v.warnf(path+".protection", "%s has the same source, destination and protection: which of the two a peer means cannot be told; "+
					"give each an ipsec profile with an ikev2 profile of its own", o.Name)
			}
		}
	}
}

func (v *validator) sameSource(a, b *Interface) bool {
	x, okX := v.c.SourceAddress(a)
	y, okY := v.c.SourceAddress(b)
	return okX && okY && x == y
}

func sameKey(a, b *uint32) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func (v *validator) nhrp(t *Interface, path string) {
	n := t.NHRP
	if len(t.Address) == 0 && !t.Negotiated && t.Unnumbered == "" && !v.bad[at("interface", t.Name, "address")] && !v.badBelow(at("interface", t.Name, "address")) {
		v.errorf(at("interface", t.Name), "NHRP needs an address on the tunnel")
	}
	if t.Kind() == VirtualTemplate {
		for key, n := range map[string]int{"nhs": len(n.NHS), "map": len(n.Map)} {
			if n > 0 {
				v.errorf(path+"."+key, "the interfaces made of a template have one peer each, which is asked for everything: leave this out")
			}
		}
	}
	v.shortcut(t, path)
	if l := len(n.Authentication.Reveal()); l > 8 {
		v.errorf(path+".authentication", "at most 8 characters, got %d", l)
	}
	if n.RegistrationTimeout >= n.Holdtime && n.RegistrationTimeout > 0 {
		v.warnf(path+".registration-timeout", "%s is not below the holdtime of %s: registrations expire before they are renewed",
			formatDuration(n.RegistrationTimeout), formatDuration(n.Holdtime))
	}
	if n.ServerOnly && len(n.NHS) > 0 {
		v.errorf(path+".server-only", "a router that asks nobody has no use for nhs: leave one of them out")
	}
	overlay := map[netip.Addr]string{}
	pair := func(key string, address, nbma netip.Addr) {
		if !address.IsValid() || !nbma.IsValid() {
			return
		}
		switch {
		case overlay[address] != "":
			v.errorf(key+".address", "%s is mapped already, by %s", address, overlay[address])
		case slices.ContainsFunc(t.Address, func(p netip.Prefix) bool { return p.Addr() == address }):
			v.errorf(key+".address", "%s is this router's own address", address)
		case !slices.ContainsFunc(t.Address, func(p netip.Prefix) bool { return p.Contains(address) }) && len(t.Address) > 0:
			v.warnf(key+".address", "%s is in none of the tunnel's subnets", address)
		}
		overlay[address] = key[len(path)+1:]
		switch {
		case nbma == address:
			v.errorf(key+".nbma", "the transport address of %s cannot be the tunnel address itself", address)
		case t.VRF == t.TunnelVRF && slices.ContainsFunc(t.Address, func(p netip.Prefix) bool { return p.Contains(nbma) }):
			v.errorf(key+".nbma", "%s lies in the tunnel's own subnet: it would be reached through itself", nbma)
		case v.ownerIn(t.TunnelVRF, nbma) != nil:
			v.errorf(key+".nbma", "%s is an address of this router", nbma)
		case nbma.Is4() != t.families()[0]:
			v.errorf(key+".nbma", "%s is of another family than the tunnel's outer addresses (%s)", nbma, t.familyName())
		}
	}
	for i, s := range n.NHS {
		pair(v.item(path+".nhs", i), s.Address, s.NBMA)
	}
	for i, m := range n.Map {
		pair(v.item(path+".map", i), m.Address, m.NBMA)
	}
	if n.Shortcut && t.Mode == GREMultipoint && len(n.NHS) == 0 && !v.badBelow(path+".nhs") && !n.Redirect {
		v.warnf(path+".shortcut", "there is no nhs to ask for the shorter way")
	}
}
