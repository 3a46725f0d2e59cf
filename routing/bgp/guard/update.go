package guard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Attribute types.
const (
	attrOrigin           = 1
	attrASPath           = 2
	attrNextHop          = 3
	attrMED              = 4
	attrLocalPref        = 5
	attrAtomicAggregate  = 6
	attrAggregator       = 7
	attrCommunities      = 8
	attrOriginatorID     = 9
	attrClusterList      = 10
	attrMPReach          = 14
	attrMPUnreach        = 15
	attrExtCommunities   = 16
	attrAS4Path          = 17
	attrAS4Aggregator    = 18
	attrLargeCommunities = 32
)

const (
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagPartial    = 0x20
	flagExtended   = 0x10
)

// wantFlags are the Optional and Transitive bits of the attributes that are known here.
var wantFlags = map[uint8]uint8{
	attrOrigin: flagTransitive, attrASPath: flagTransitive, attrNextHop: flagTransitive, attrMED: flagOptional,
	attrLocalPref: flagTransitive, attrAtomicAggregate: flagTransitive, attrAggregator: flagOptional | flagTransitive,
	attrCommunities: flagOptional | flagTransitive, attrOriginatorID: flagOptional, attrClusterList: flagOptional,
	attrMPReach: flagOptional, attrMPUnreach: flagOptional, attrExtCommunities: flagOptional | flagTransitive,
	attrAS4Path: flagOptional | flagTransitive, attrAS4Aggregator: flagOptional | flagTransitive,
	attrLargeCommunities: flagOptional | flagTransitive,
}

type attribute struct {
	flags, kind uint8
	value       []byte
}

// update is an UPDATE taken apart.
type update struct {
	withdrawn, nlri []netip.Prefix // IPv4
	attrs           map[uint8]attribute
	reach, unreach  []netip.Prefix // multiprotocol
	reachNH         []byte
	reachV6         bool
	unreachV6       bool
	hasUnreach      bool
	path            []segment

	// withdraw says why the prefixes are treated as withdrawn; empty when they are not.
	withdraw string
	looped   bool
	ignored  bool // some of what it announces
}

type segment struct {
	kind uint8
	as   []uint32
}

func (u *update) treatAsWithdraw(format string, a ...any) {
	if u.withdraw == "" {
		u.withdraw = fmt.Sprintf(format, a...)
	}
}

func (g *Guard) fromUpdate(msg []byte) (*Update, error) {
	u, err := g.parseUpdate(msg[HeaderLen:])
	if err != nil {
		return nil, err
	}
	if u.withdraw != "" {
		g.Fault = u.withdraw
		if u.looped {
			g.Looped = true
			g.looped.Add(1)
		} else {
			g.withdrawn.Add(1)
		}
	}
	return g.result(u), nil
}

func (g *Guard) discard(format string, a ...any) {
	g.discarded.Add(1)
	if g.Fault == "" {
		g.Fault = fmt.Sprintf(format, a...)
	}
}

func (g *Guard) parseUpdate(b []byte) (*update, error) {
	u := &update{attrs: make(map[uint8]attribute, 8)}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n+2 > len(b) {
		return nil, fail(UpdateMessageError, 1, nil, "%d bytes of withdrawn routes in %d", n, len(b))
	}
	withdrawn, b := b[:n], b[n:]
	n = int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return nil, fail(UpdateMessageError, 1, nil, "%d bytes of path attributes in %d", n, len(b))
	}
	attrs, nlri := b[:n], b[n:]
	var err error
	if u.withdrawn, err = parsePrefixes(withdrawn, false); err != nil {
		return nil, fail(UpdateMessageError, 10, nil, "withdrawn routes: %v", err)
	}
	if u.nlri, err = parsePrefixes(nlri, false); err != nil {
		return nil, fail(UpdateMessageError, 10, nil, "reachable routes: %v", err)
	}
	if !g.open.IPv4 && len(u.withdrawn)+len(u.nlri) > 0 {
		g.discard("IPv4 prefixes in a session that does not carry them")
		u.withdrawn, u.nlri = nil, nil
	}
	if err := g.walk(u, attrs); err != nil {
		return nil, err
	}
	g.mandatory(u)
	if u.withdraw == "" && len(u.nlri)+len(u.reach) > 0 {
		g.loops(u)
	}
	if u.withdraw == "" {
		martians := len(u.nlri) + len(u.reach)
		u.nlri, u.reach = g.noMartians(u.nlri), g.noMartians(u.reach)
		u.ignored = martians > len(u.nlri)+len(u.reach)
	}
	return u, nil
}

// walk reads the path attributes (RFC 7606 §3, §4, §7).
func (g *Guard) walk(u *update, b []byte) error {
	for len(b) > 0 {
		head := 3
		if b[0]&flagExtended != 0 {
			head = 4
		}
		if len(b) < head {
			return g.overrun(u, "%d bytes are left of the path attributes", len(b))
		}
		n := int(b[2])
		if head == 4 {
			n = int(binary.BigEndian.Uint16(b[2:]))
		}
		a := attribute{flags: b[0], kind: b[1]}
		if b = b[head:]; n > len(b) {
			return g.overrun(u, "attribute %d has %d bytes in %d", a.kind, n, len(b))
		}
		a.value, b = b[:n], b[n:]
		if _, twice := u.attrs[a.kind]; twice {
			if a.kind == attrMPReach || a.kind == attrMPUnreach {
				return fail(UpdateMessageError, 1, nil, "attribute %d is there twice", a.kind)
			}
			g.discard("attribute %d is there twice", a.kind)
			continue
		}
		keep, err := g.attribute(u, a)
		if err != nil {
			return err
		}
		if keep {
			u.attrs[a.kind] = a
		}
	}
	g.path(u)
	return nil
}

// overrun is an attribute list that does not end where it should (RFC 7606 §4). What is behind the fault is not known;
// when nothing before it says which prefixes are meant they can't be withdrawn either.
func (g *Guard) overrun(u *update, format string, a ...any) error {
	if len(u.nlri) == 0 && u.attrs[attrMPReach].value == nil {
		return fail(UpdateMessageError, 1, nil, format, a...)
	}
	u.treatAsWithdraw(format, a...)
	return nil
}

// attribute checks one attribute and says whether it is kept.
func (g *Guard) attribute(u *update, a attribute) (keep bool, err error) {
	want, known := wantFlags[a.kind]
	if !known {
		switch {
		case a.flags&flagOptional == 0:
			return false, fail(UpdateMessageError, 2, []byte{a.flags, a.kind}, "well-known attribute %d", a.kind)
		case a.flags&flagTransitive == 0:
			return false, nil
		}
		return true, nil
	}
	n := len(a.value)
	if a.flags&(flagOptional|flagTransitive) != want {
		switch a.kind {
		case attrMPReach, attrMPUnreach:
			return false, fail(UpdateMessageError, 4, []byte{a.flags, a.kind}, "attribute %d with the flags %#02x", a.kind, a.flags)
		case attrAtomicAggregate, attrAggregator, attrAS4Path, attrAS4Aggregator:
			g.discard("attribute %d with the flags %#02x", a.kind, a.flags)
		default:
			u.treatAsWithdraw("attribute %d with the flags %#02x", a.kind, a.flags)
		}
		return false, nil
	}
	external := g.External()
	ok := true
	switch a.kind {
	case attrOrigin:
		ok = n == 1 && a.value[0] <= 2
	case attrASPath:
		u.path, ok = parsePath(a.value, g.open.FourOctet)
	case attrNextHop:
		if len(u.nlri) == 0 {
			return false, nil // RFC 4760 §3: it belongs to nothing
		}
		ok = n == 4 && hostAddr(netip.AddrFrom4([4]byte(a.value)))
	case attrMED:
		ok = n == 4
	case attrLocalPref:
		if external {
			return false, nil // RFC 7606 §7.5: ignored
		}
		ok = n == 4
	case attrAtomicAggregate:
		if n != 0 {
			g.discard("ATOMIC_AGGREGATE of %d bytes", n)
			return false, nil
		}
	case attrAggregator:
		want := 8
		if !g.open.FourOctet {
			want = 6
		}
		if n != want || zero(a.value[:n-4]) {
			g.discard("AGGREGATOR of %d bytes", n)
			return false, nil
		}
	case attrCommunities:
		ok = n > 0 && n%4 == 0
	case attrExtCommunities:
		ok = n > 0 && n%8 == 0
	case attrLargeCommunities:
		ok = n > 0 && n%12 == 0
	case attrOriginatorID, attrClusterList:
		if external {
			return false, nil // RFC 7606 §7.9, §7.10
		}
		ok = n > 0 && n%4 == 0 && (a.kind == attrClusterList || n == 4)
	case attrAS4Path, attrAS4Aggregator:
		if g.open.FourOctet {
			return false, nil // RFC 6793 §6: from a peer that has no use for it
		}
		if a.kind == attrAS4Aggregator && (n != 8 || zero(a.value[:4])) {
			g.discard("AS4_AGGREGATOR of %d bytes", n)
			return false, nil
		}
	case attrMPReach:
		return g.reach(u, a.value)
	case attrMPUnreach:
		return g.unreach(u, a.value)
	}
	if !ok {
		u.treatAsWithdraw("attribute %d is malformed", a.kind)
	}
	return ok, nil
}

func zero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// reach is MP_REACH_NLRI (RFC 4760 §3). What is wrong with its form resets the session (RFC 7606 §7.11).
func (g *Guard) reach(u *update, b []byte) (bool, error) {
	if len(b) < 5 || len(b) < 5+int(b[3]) {
		return false, fail(UpdateMessageError, 9, nil, "MP_REACH_NLRI of %d bytes", len(b))
	}
	v6, ok := g.family(b, b[2])
	if !ok {
		g.discard("MP_REACH_NLRI of AFI %d SAFI %d, which the session does not carry", binary.BigEndian.Uint16(b), b[2])
		return false, nil
	}
	nh := b[4 : 4+b[3]]
	if v6 && len(nh) != 16 && len(nh) != 32 || !v6 && len(nh) != 4 {
		return false, fail(UpdateMessageError, 9, nil, "MP_REACH_NLRI with a next hop of %d bytes", len(nh))
	}
	var err error
	if u.reach, err = parsePrefixes(b[5+b[3]:], v6); err != nil {
		return false, fail(UpdateMessageError, 9, nil, "MP_REACH_NLRI: %v", err)
	}
	u.reachV6, u.reachNH = v6, nh
	if v6 {
		u.reachNH = nh[:16] // the link-local address behind it is of no use beyond the link
	}
	if a, _ := netip.AddrFromSlice(u.reachNH); !hostAddr(a) {
		u.treatAsWithdraw("MP_REACH_NLRI with the next hop %v", a)
	}
	return true, nil
}

func (g *Guard) unreach(u *update, b []byte) (bool, error) {
	if len(b) < 3 {
		return false, fail(UpdateMessageError, 9, nil, "MP_UNREACH_NLRI of %d bytes", len(b))
	}
	v6, ok := g.family(b, b[2])
	if !ok {
		g.discard("MP_UNREACH_NLRI of AFI %d SAFI %d, which the session does not carry", binary.BigEndian.Uint16(b), b[2])
		return false, nil
	}
	var err error
	if u.unreach, err = parsePrefixes(b[3:], v6); err != nil {
		return false, fail(UpdateMessageError, 9, nil, "MP_UNREACH_NLRI: %v", err)
	}
	u.unreachV6, u.hasUnreach = v6, true
	return true, nil
}

// path merges AS4_PATH and AS4_AGGREGATOR into what the engine gets (RFC 6793 §4.2.3).
func (g *Guard) path(u *update) {
	defer func() {
		delete(u.attrs, attrAS4Path)
		delete(u.attrs, attrAS4Aggregator)
	}()
	if a, ok := u.attrs[attrAggregator]; ok && len(a.value) == 6 {
		as := []byte{0, 0, a.value[0], a.value[1]}
		if binary.BigEndian.Uint16(a.value) == asTrans {
			if a4, ok := u.attrs[attrAS4Aggregator]; ok {
				as = a4.value[:4]
			}
		} else if _, ok := u.attrs[attrAS4Aggregator]; ok {
			delete(u.attrs, attrAS4Path) // AGGREGATOR is of a speaker that knew better: both are stale
		}
		a.value = append(slices.Clone(as), a.value[2:]...)
		u.attrs[attrAggregator] = a
	}
	a4, ok := u.attrs[attrAS4Path]
	if !ok || u.withdraw != "" || len(u.path) == 0 {
		return
	}
	path4, ok := parsePath(a4.value, true)
	if !ok {
		g.discard("AS4_PATH is malformed")
		return
	}
	keep := pathLen(u.path) - pathLen(path4)
	if keep < 0 {
		return
	}
	var merged []segment
	for _, s := range u.path {
		if keep <= 0 {
			break
		}
		if s.kind == 1 {
			merged = append(merged, s)
			keep--
			continue
		}
		n := min(keep, len(s.as))
		merged = append(merged, segment{s.kind, s.as[:n]})
		keep -= n
	}
	u.path = append(merged, path4...)
}

// mandatory is RFC 7606 §3 (d).
func (g *Guard) mandatory(u *update) {
	if len(u.nlri)+len(u.reach) == 0 {
		return
	}
	need := []uint8{attrOrigin, attrASPath}
	if len(u.nlri) > 0 {
		need = append(need, attrNextHop)
	}
	for _, k := range need {
		if _, ok := u.attrs[k]; !ok {
			u.treatAsWithdraw("attribute %d is missing", k)
		}
	}
}

// loops withdraws paths that have been here, and external ones that do not come from their peer.
func (g *Guard) loops(u *update) {
	own := 0
	for _, s := range u.path {
		for _, as := range s.as {
			if as == g.cfg.LocalAS {
				own++
			}
			if as == 0 {
				u.treatAsWithdraw("AS 0 in the AS_PATH") // RFC 7607
				return
			}
		}
	}
	if g.External() && (len(u.path) == 0 || u.path[0].kind != 2 || u.path[0].as[0] != g.open.AS) {
		u.treatAsWithdraw("the AS_PATH does not begin with AS %d", g.open.AS)
		return
	}
	id, _ := netip.AddrFromSlice(u.attrs[attrOriginatorID].value)
	cluster := false
	if g.cfg.ClusterID.Is4() {
		want := g.cfg.ClusterID.As4()
		for b := u.attrs[attrClusterList].value; len(b) >= 4; b = b[4:] {
			cluster = cluster || [4]byte(b) == want
		}
	}
	switch {
	case own > g.cfg.AllowASIn:
		u.treatAsWithdraw("our AS is in the AS_PATH")
	case id.IsValid() && id == g.cfg.LocalID:
		u.treatAsWithdraw("we are the ORIGINATOR_ID")
	case cluster:
		u.treatAsWithdraw("our CLUSTER_ID is in the CLUSTER_LIST")
	default:
		return
	}
	u.looped = true
}

// hostAddr says whether a next hop can be a host's.
func hostAddr(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 224
	}
	if a.Is4In6() {
		// From a speaker that has no IPv6 address for the session. Nothing leads there; a policy may name another.
		return hostAddr(a.Unmap())
	}
	return !a.IsLinkLocalUnicast()
}

// martian says whether a prefix can be nobody's network (RFC 4271 §6.3: it is ignored).
func martian(p netip.Prefix) bool {
	a := p.Addr()
	if a.Is4() {
		return p.Bits() >= 8 && (a.As4()[0] == 0 || a.As4()[0] == 127) || p.Bits() >= 4 && a.IsMulticast()
	}
	return p.Bits() >= 8 && a.IsMulticast() || p.Bits() >= 10 && a.IsLinkLocalUnicast() || p.Bits() == 128 && (a.IsLoopback() || a.IsUnspecified())
}

// noMartians takes them out of what is announced.
func (g *Guard) noMartians(list []netip.Prefix) []netip.Prefix {
	i := slices.IndexFunc(list, martian)
	if i < 0 {
		return list
	}
	g.discard("the prefix %v, which is no network's", list[i])
	return slices.DeleteFunc(list, martian)
}

// parsePath reads an AS path. Confederation segments are not for us (RFC 5065 §5.3).
func parsePath(b []byte, four bool) ([]segment, bool) {
	size := 2
	if four {
		size = 4
	}
	var path []segment
	for len(b) > 0 {
		if len(b) < 2 || b[0] != 1 && b[0] != 2 || b[1] == 0 || len(b) < 2+int(b[1])*size {
			return nil, false
		}
		s := segment{kind: b[0], as: make([]uint32, b[1])}
		b = b[2:]
		for i := range s.as {
			if four {
				s.as[i] = binary.BigEndian.Uint32(b)
			} else {
				s.as[i] = uint32(binary.BigEndian.Uint16(b))
			}
			b = b[size:]
		}
		path = append(path, s)
	}
	return path, true
}

func pathLen(path []segment) int {
	n := 0
	for _, s := range path {
		if s.kind == 1 {
			n++
		} else {
			n += len(s.as)
		}
	}
	return n
}

// parsePrefixes reads prefixes; bits behind a prefix's length are cleared.
func parsePrefixes(b []byte, v6 bool) ([]netip.Prefix, error) {
	width := 32
	if v6 {
		width = 128
	}
	var list []netip.Prefix
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > width || len(b) < 1+n {
			return nil, fmt.Errorf("a prefix of %d bits in %d bytes", bits, len(b)-1)
		}
		var a netip.Addr
		if v6 {
			var x [16]byte
			copy(x[:], b[1:1+n])
			a = netip.AddrFrom16(x)
		} else {
			var x [4]byte
			copy(x[:], b[1:1+n])
			a = netip.AddrFrom4(x)
		}
		list = append(list, netip.PrefixFrom(a, bits).Masked())
		b = b[1+n:]
	}
	return list, nil
}
