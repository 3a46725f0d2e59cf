package guard

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
)

// build writes the UPDATE anew. What does not fit into one message is split by prefixes.
func (u *update) build(g *Guard) [][]byte {
	withdrawn, nlri, reach, unreach := u.withdrawn, u.nlri, u.reach, u.unreach
	reachV6, unreachV6 := u.reachV6, u.unreachV6
	if u.withdraw != "" {
		withdrawn = append(slices.Clone(withdrawn), nlri...)
		if len(reach) > 0 && (!u.hasUnreach || reachV6 == unreachV6) {
			unreach, unreachV6 = append(slices.Clone(unreach), reach...), reachV6
			reach = nil
		}
		nlri = nil
	}
	endOfRIB := len(u.withdrawn)+len(u.nlri)+len(u.reach)+len(u.unreach) == 0 && len(u.attrs) == 0 && u.withdraw == ""
	var out [][]byte
	if endOfRIB {
		return [][]byte{assemble(nil, nil, nil)}
	}
	if u.hasUnreach && len(u.unreach) == 0 && len(u.withdrawn)+len(u.nlri)+len(u.reach) == 0 && u.withdraw == "" {
		return [][]byte{assemble(nil, mpUnreach(nil, unreachV6), nil)}
	}
	// Withdrawals first, so that a prefix that is in both ends up reachable (RFC 4271 §4.3).
	for part := range parts(withdrawn, room(0)) {
		out = append(out, assemble(part, nil, nil))
	}
	for part := range parts(unreach, room(16)) {
		out = append(out, assemble(nil, mpUnreach(part, unreachV6), nil))
	}
	if u.withdraw != "" {
		for part := range parts(reach, room(16)) { // an UPDATE with two multiprotocol families
			out = append(out, assemble(nil, mpUnreach(part, reachV6), nil))
		}
		return out
	}
	if len(nlri) > 0 {
		attrs := u.attributes(nil)
		if room(len(attrs)) < 64 {
			return append(out, u.tooLong(g, nlri, reach)...)
		}
		for part := range parts(nlri, room(len(attrs))) {
			out = append(out, assemble(nil, attrs, part))
		}
	}
	if len(reach) > 0 {
		attrs := u.attributes(nil)
		fixed := len(attrs) + 4 + 5 + len(u.reachNH)
		if room(fixed) < 64 {
			return append(out, u.tooLong(g, nil, reach)...)
		}
		for part := range parts(reach, room(fixed)) {
			out = append(out, assemble(nil, u.attributes(mpReach(part, u.reachNH, reachV6)), nil))
		}
	}
	return out
}

// tooLong withdraws what has attributes that leave no room for a prefix.
func (u *update) tooLong(g *Guard, nlri, reach []netip.Prefix) [][]byte {
	g.withdrawn.Add(1)
	g.Fault = "the path attributes fill the message"
	var out [][]byte
	for part := range parts(nlri, room(0)) {
		out = append(out, assemble(part, nil, nil))
	}
	for part := range parts(reach, room(16)) {
		out = append(out, assemble(nil, mpUnreach(part, u.reachV6), nil))
	}
	return out
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
				b = nil
			}
			a := p.Addr().AsSlice()
			b = append(b, byte(p.Bits()))
			b = append(b, a[:(p.Bits()+7)/8]...)
		}
		if len(b) > 0 {
			yield(b)
		}
	}
}

func assemble(withdrawn, attrs, nlri []byte) []byte {
	b := header(Update)
	b = binary.BigEndian.AppendUint16(b, uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	b = append(b, attrs...)
	return finish(append(b, nlri...))
}

func appendAttribute(b []byte, flags, kind uint8, value []byte) []byte {
	flags &= flagOptional | flagTransitive | flagPartial
	if len(value) > 255 {
		b = append(b, flags|flagExtended, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	} else {
		b = append(b, flags, kind, uint8(len(value)))
	}
	return append(b, value...)
}

// attributes writes the attributes in the order of their types; mp is the encoded MP_REACH_NLRI, if it is for that.
func (u *update) attributes(mp []byte) []byte {
	var b []byte
	kinds := slices.Sorted(maps.Keys(u.attrs))
	for _, k := range kinds {
		a := u.attrs[k]
		if mp != nil && k >= attrMPReach {
			b, mp = append(b, mp...), nil
		}
		switch k {
		case attrMPReach, attrMPUnreach:
			continue
		case attrASPath:
			a.value = nil
			for _, s := range u.path {
				a.value = append(a.value, s.kind, uint8(len(s.as)))
				for _, as := range s.as {
					a.value = binary.BigEndian.AppendUint32(a.value, as)
				}
			}
		case attrNextHop:
			if len(u.nlri) == 0 {
				continue
			}
		}
		if _, known := wantFlags[k]; !known {
			a.flags |= flagPartial
		} else if a.flags&flagOptional == 0 || a.flags&flagTransitive == 0 {
			a.flags &^= flagPartial
		}
		b = appendAttribute(b, a.flags, k, a.value)
	}
	return append(b, mp...)
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
