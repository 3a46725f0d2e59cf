package guard

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"felloe/routing/bgp"
)

// Update is what an UPDATE says, or is to say.
type Update struct {
	Withdrawn []netip.Prefix // of both families
	// Reach are the prefixes that are announced: one set of attributes for IPv4 and one for IPv6, at most.
	Reach []Reach
	// EndOfRIB is the family whose end of table this is (RFC 4724 §2).
	EndOfRIB bgp.Family
}

// Reach is what is announced with one set of attributes.
type Reach struct {
	Prefixes   []netip.Prefix
	Attributes *bgp.Attributes
}

// knownLimit is how many sets of attributes are remembered, so that routes which have them in common share them, and
// knownBytes how long they are together: those of a hostile peer are long.
const (
	knownLimit = 4096
	knownBytes = 1 << 20
)

// result turns an UPDATE that has been checked into what the router knows. A prefix that is withdrawn and announced at
// once ends up reachable (RFC 4271 §4.3): withdrawals come first.
func (g *Guard) result(u *update) *Update {
	r := &Update{Withdrawn: append(u.withdrawn, u.unreach...)}
	if u.withdraw != "" {
		r.Withdrawn = append(append(r.Withdrawn, u.nlri...), u.reach...)
		return r
	}
	switch {
	case len(r.Withdrawn)+len(u.nlri)+len(u.reach) > 0, u.ignored:
	case u.hasUnreach && u.unreachV6:
		r.EndOfRIB = bgp.IPv6
	case u.hasUnreach, len(u.attrs) == 0:
		r.EndOfRIB = bgp.IPv4
	}
	if len(u.nlri) > 0 {
		next, _ := netip.AddrFromSlice(u.attrs[attrNextHop].value)
		r.Reach = append(r.Reach, Reach{u.nlri, g.attributes(u, next)})
	}
	if len(u.reach) > 0 {
		next, _ := netip.AddrFromSlice(u.reachNH)
		r.Reach = append(r.Reach, Reach{u.reach, g.attributes(u, next)})
	}
	return r
}

// attributes are the attributes of an UPDATE, shared with those before it that had the same.
func (g *Guard) attributes(u *update, next netip.Addr) *bgp.Attributes {
	a := decode(u, next)
	key := string(appendAttributes(nil, a, true))
	if next.Is6() {
		key += string(next.AsSlice())
	}
	if old := g.known[key]; old != nil {
		return old
	}
	if g.size += len(key); g.known == nil || len(g.known) >= knownLimit || g.size > knownBytes {
		g.known, g.size = make(map[string]*bgp.Attributes), len(key)
	}
	g.known[key] = a
	return a
}

func decode(u *update, next netip.Addr) *bgp.Attributes {
	a := &bgp.Attributes{NextHop: next}
	for _, s := range u.path {
		a.ASPath = append(a.ASPath, bgp.Segment{Type: s.kind, AS: s.as})
	}
	var kinds []uint8
	for k, x := range u.attrs {
		v := x.value
		switch k {
		case attrOrigin:
			a.Origin = bgp.Origin(v[0])
		case attrMED:
			a.MED, a.HasMED = binary.BigEndian.Uint32(v), true
		case attrLocalPref:
			a.LocalPref, a.HasLocalPref = binary.BigEndian.Uint32(v), true
		case attrAtomicAggregate:
			a.AtomicAggregate = true
		case attrAggregator:
			a.Aggregator = bgp.Aggregator{AS: binary.BigEndian.Uint32(v), ID: netip.AddrFrom4([4]byte(v[4:]))}
		case attrOriginatorID:
			a.OriginatorID = netip.AddrFrom4([4]byte(v))
		case attrClusterList:
			for ; len(v) > 0; v = v[4:] {
				a.ClusterList = append(a.ClusterList, netip.AddrFrom4([4]byte(v)))
			}
		case attrCommunities:
			for ; len(v) > 0; v = v[4:] {
				a.Communities = append(a.Communities, binary.BigEndian.Uint32(v))
			}
		case attrExtCommunities:
			for ; len(v) > 0; v = v[8:] {
				a.ExtendedCommunities = append(a.ExtendedCommunities, [8]byte(v))
			}
		case attrLargeCommunities:
			for ; len(v) > 0; v = v[12:] {
				a.LargeCommunities = append(a.LargeCommunities, [3]uint32{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])})
			}
		default:
			if _, known := wantFlags[k]; !known {
				kinds = append(kinds, k)
			}
		}
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		a.Unknown = append(a.Unknown, bgp.Unknown{Kind: k, Value: slices.Clone(u.attrs[k].value)})
	}
	return a
}

// Encode writes UPDATE messages of at most MaxLen bytes. four says that the peer has four-octet AS numbers. Attributes
// that leave no room for a prefix cannot be sent; what they belong to is withdrawn.
func (u *Update) Encode(four bool) [][]byte {
	var out [][]byte
	withdrawn := slices.Clone(u.Withdrawn)
	var reach [][]byte
	for _, r := range u.Reach {
		four4, six := split(r.Prefixes)
		attrs := appendAttributes(nil, r.Attributes, four)
		if room(len(attrs)+32) < 64 {
			withdrawn = append(withdrawn, r.Prefixes...)
			continue
		}
		for part := range parts(four4, room(len(attrs))) {
			reach = append(reach, assemble(nil, attrs, part))
		}
		for part := range parts(six, room(len(attrs)+4+5+16)) {
			reach = append(reach, assemble(nil, append(mpReach(part, r.Attributes.NextHop.AsSlice(), true), attrs...), nil))
		}
	}
	four4, six := split(withdrawn)
	for part := range parts(four4, room(0)) {
		out = append(out, assemble(part, nil, nil))
	}
	for part := range parts(six, room(16)) {
		out = append(out, assemble(nil, mpUnreach(part, true), nil))
	}
	switch u.EndOfRIB {
	case bgp.IPv4:
		out = append(out, assemble(nil, nil, nil))
	case bgp.IPv6:
		out = append(out, assemble(nil, mpUnreach(nil, true), nil))
	}
	return append(out, reach...)
}

func split(list []netip.Prefix) (four, six []netip.Prefix) {
	six4 := slices.IndexFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() })
	switch {
	case six4 < 0:
		return list, nil
	case six4 == 0 && !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is4() }):
		return nil, list
	}
	for _, p := range list {
		if p.Addr().Is4() {
			four = append(four, p)
		} else {
			six = append(six, p)
		}
	}
	return four, six
}

func room(attrs int) int { return MaxLen - HeaderLen - 4 - attrs }

// parts cuts a list of prefixes into encoded pieces of at most size bytes.
func parts(list []netip.Prefix, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		var b []byte
		for _, p := range list {
			if len(b)+17 > size {
				if !yield(b) {
					return
				}
				b = b[:0]
			}
			n := (p.Bits() + 7) / 8
			b = append(b, byte(p.Bits()))
			if p.Addr().Is4() {
				a := p.Addr().As4()
				b = append(b, a[:n]...)
			} else {
				a := p.Addr().As16()
				b = append(b, a[:n]...)
			}
		}
		if len(b) > 0 {
			yield(b)
		}
	}
}

func assemble(withdrawn, attrs, nlri []byte) []byte {
	b := make([]byte, 0, HeaderLen+4+len(withdrawn)+len(attrs)+len(nlri))
	b = append(b, header(UpdateType)...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	b = append(b, attrs...)
	return finish(append(b, nlri...))
}

func appendAttribute(b []byte, flags, kind uint8, value []byte) []byte {
	if len(value) > 255 {
		b = append(b, flags|flagExtended, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	} else {
		b = append(b, flags, kind, uint8(len(value)))
	}
	return append(b, value...)
}

func appendUint32(b []byte, kind uint8, n uint32) []byte {
	return appendAttribute(b, wantFlags[kind], kind, binary.BigEndian.AppendUint32(nil, n))
}

// appendAttributes writes attributes in the order of their types. A peer with two-octet AS numbers gets the others in
// AS4_PATH and AS4_AGGREGATOR (RFC 6793 §4.2.2).
func appendAttributes(b []byte, a *bgp.Attributes, four bool) []byte {
	b = appendAttribute(b, flagTransitive, attrOrigin, []byte{uint8(a.Origin)})
	path, wide := appendPath(nil, a.ASPath, four)
	b = appendAttribute(b, flagTransitive, attrASPath, path)
	if a.NextHop.Is4() {
		b = appendAttribute(b, flagTransitive, attrNextHop, a.NextHop.AsSlice())
	}
	if a.HasMED {
		b = appendUint32(b, attrMED, a.MED)
	}
	if a.HasLocalPref {
		b = appendUint32(b, attrLocalPref, a.LocalPref)
	}
	if a.AtomicAggregate {
		b = appendAttribute(b, flagTransitive, attrAtomicAggregate, nil)
	}
	var aggregator4 []byte
	if g := a.Aggregator; g.ID.Is4() {
		v := append(binary.BigEndian.AppendUint32(nil, g.AS), g.ID.AsSlice()...)
		switch {
		case four:
		case g.AS > 65535:
			aggregator4 = v
			v = append(binary.BigEndian.AppendUint16(nil, asTrans), v[4:]...)
		default:
			v = v[2:]
		}
		b = appendAttribute(b, wantFlags[attrAggregator], attrAggregator, v)
	}
	var v []byte
	for _, c := range a.Communities {
		v = binary.BigEndian.AppendUint32(v, c)
	}
	b = appendUnlessEmpty(b, attrCommunities, v)
	if a.OriginatorID.Is4() {
		b = appendAttribute(b, flagOptional, attrOriginatorID, a.OriginatorID.AsSlice())
	}
	v = nil
	for _, c := range a.ClusterList {
		v = append(v, c.AsSlice()...)
	}
	b = appendUnlessEmpty(b, attrClusterList, v)
	v = nil
	for _, c := range a.ExtendedCommunities {
		v = append(v, c[:]...)
	}
	b = appendUnlessEmpty(b, attrExtCommunities, v)
	if wide {
		v, _ = appendPath(nil, a.ASPath, true)
		b = appendAttribute(b, wantFlags[attrAS4Path], attrAS4Path, v)
	}
	b = appendUnlessEmpty(b, attrAS4Aggregator, aggregator4)
	v = nil
	for _, c := range a.LargeCommunities {
		for _, n := range c {
			v = binary.BigEndian.AppendUint32(v, n)
		}
	}
	b = appendUnlessEmpty(b, attrLargeCommunities, v)
	for _, u := range a.Unknown {
		b = appendAttribute(b, flagOptional|flagTransitive|flagPartial, u.Kind, u.Value)
	}
	return b
}

func appendUnlessEmpty(b []byte, kind uint8, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return appendAttribute(b, wantFlags[kind], kind, v)
}

// appendPath writes a path; wide says that it has numbers that do not fit into two octets.
func appendPath(b []byte, path []bgp.Segment, four bool) (out []byte, wide bool) {
	for _, s := range path {
		b = append(b, s.Type, uint8(len(s.AS)))
		for _, as := range s.AS {
			switch {
			case four:
				b = binary.BigEndian.AppendUint32(b, as)
			case as > 65535:
				b, wide = binary.BigEndian.AppendUint16(b, asTrans), true
			default:
				b = binary.BigEndian.AppendUint16(b, uint16(as))
			}
		}
	}
	return b, wide
}

func familyBytes(v6 bool) []byte {
	if v6 {
		return []byte{0, 2, 1}
	}
	return []byte{0, 1, 1}
}

func mpReach(prefixes, nh []byte, v6 bool) []byte {
	v := append(familyBytes(v6), uint8(len(nh)))
	v = append(v, nh...)
	v = append(v, 0)
	return appendAttribute(nil, flagOptional, attrMPReach, append(v, prefixes...))
}

func mpUnreach(prefixes []byte, v6 bool) []byte {
	return appendAttribute(nil, flagOptional, attrMPUnreach, append(familyBytes(v6), prefixes...))
}
