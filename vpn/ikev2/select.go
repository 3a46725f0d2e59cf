package ikev2

import (
	"net/netip"
	"slices"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
)

const protoGRE = 47

// hostToHost policies protect what goes between the two outer addresses.
func (p ChildPolicy) hostToHost() bool { return len(p.TSLocal) == 0 && len(p.TSRemote) == 0 }

// selectors are what a policy means for a session, from our point of view.
func (p ChildPolicy) selectors(s *session) (local, remote []TrafficSelector) {
	if p.hostToHost() {
		return []TrafficSelector{host(p.Protocol, s.local.Addr())}, []TrafficSelector{host(p.Protocol, s.remote.Addr())}
	}
	is4 := s.local.Addr().Is4()
	return ranges(p.Protocol, p.TSLocal, is4), ranges(p.Protocol, p.TSRemote, is4)
}

// offered is selectors with the tunnel key's hint in front: the key's halves as ports, as Linux has it.
func (p ChildPolicy) offered(s *session) (local, remote []TrafficSelector) {
	local, remote = p.selectors(s)
	if p.HasGREKey && p.Protocol == protoGRE {
		local, remote = withPort(local, uint16(p.GREKey>>16)), withPort(remote, uint16(p.GREKey))
	}
	return local, remote
}

func withPort(list []TrafficSelector, port uint16) []TrafficSelector {
	if port == 0 { // strongSwan leaves out a half that is zero
		return list
	}
	t := list[0]
	t.StartPort, t.EndPort = port, port
	return append([]TrafficSelector{t}, list...)
}

// keyFit says how well the hint of a tunnel key in a peer's offer fits a policy: 1 the same key, -1 another, 0 no hint.
func (p ChildPolicy) keyFit(tsi, tsr []TrafficSelector) int {
	high, low := singlePort(tsi), singlePort(tsr)
	switch {
	case p.Protocol != protoGRE || high == 0 && low == 0:
		return 0
	case p.HasGREKey && high == uint16(p.GREKey>>16) && low == uint16(p.GREKey):
		return 1
	}
	return -1
}

func singlePort(list []TrafficSelector) uint16 {
	for _, t := range list {
		if t.Protocol == protoGRE && t.StartPort == t.EndPort {
			return t.StartPort
		}
	}
	return 0
}

func host(protocol uint8, a netip.Addr) TrafficSelector {
	return TrafficSelector{Protocol: protocol, EndPort: 65535, Start: a, End: a}
}

// ranges turns prefixes into selectors; none means everything.
func ranges(protocol uint8, list []netip.Prefix, is4 bool) []TrafficSelector {
	if len(list) == 0 {
		list = []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		if is4 {
			list = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
		}
	}
	var out []TrafficSelector
	for _, p := range list {
		p = p.Masked()
		out = append(out, TrafficSelector{Protocol: protocol, EndPort: 65535, Start: p.Addr(), End: message.Last(p)})
	}
	return out
}

// answer narrows a peer's selectors to a policy (RFC 7296 §2.9), from our point of view: theirs is what the peer has,
// ours what it wants of us.
func (p ChildPolicy) answer(s *session, mode esp.Mode, theirs, ours []TrafficSelector) (local, remote []TrafficSelector, ok bool) {
	local, remote = p.selectors(s)
	if mode == esp.Transport {
		theirs = substitute(theirs, s.nat.Remote, s.remote.Addr())
		ours = substitute(ours, s.nat.Local, s.local.Addr())
	} else if p.hostToHost() {
		// In tunnel mode the inner addresses are those behind the NAT: any single host speaks for itself.
		if s.nat.Remote {
			remote = hosts(p.Protocol, theirs)
		}
		if s.nat.Local {
			local = hosts(p.Protocol, ours)
		}
	}
	if s.narrows(p, mode) {
		// Who was given an address speaks for that; unless what it wants is something else altogether.
		if own := intersect(s.givenSelectors(remote), theirs); len(own) > 0 {
			theirs = own
		}
	}
	local, remote = intersect(local, ours), intersect(remote, theirs)
	return local, remote, len(local) > 0 && len(remote) > 0
}

// narrows says whether a peer's selectors are cut down to the address that it was given (RFC 7296 §2.19), as IOS does for
// peers that are not FlexVPN.
func (s *session) narrows(p ChildPolicy, mode esp.Mode) bool {
	return mode == esp.Tunnel && !p.hostToHost() && !s.initiator && len(s.assigned.Addresses) > 0 && s.vendors&vendorFlexVPN == 0
}

// givenSelectors are the addresses that the peer was given, as far as a policy has them.
func (s *session) givenSelectors(policy []TrafficSelector) []TrafficSelector {
	var out []TrafficSelector
	for _, a := range s.assigned.Addresses {
		out = append(out, host(0, a.Addr()))
	}
	return intersect(policy, out)
}

// agreed checks the responder's narrowed selectors against what we offered.
func agreed(s *session, mode esp.Mode, offLocal, offRemote, local, remote []TrafficSelector) ([]TrafficSelector, []TrafficSelector, bool) {
	if mode == esp.Transport {
		local = substitute(local, s.nat.Local, s.local.Addr())
		remote = substitute(remote, s.nat.Remote, s.remote.Addr())
	}
	return local, remote, within(local, offLocal) && within(remote, offRemote)
}

// substitute replaces the addresses of transport-mode selectors by what the NAT makes of them (RFC 7296 §2.23.1): such
// selectors are single hosts.
func substitute(list []TrafficSelector, natted bool, a netip.Addr) []TrafficSelector {
	if !natted {
		return list
	}
	out := slices.Clone(list)
	for i := range out {
		if out[i].Start == out[i].End {
			out[i].Start, out[i].End = a, a
		}
	}
	return out
}

func hosts(protocol uint8, list []TrafficSelector) []TrafficSelector {
	var out []TrafficSelector
	for _, t := range list {
		if t.Start == t.End {
			out = append(out, host(protocol, t.Start))
		}
	}
	return out
}

// intersect is what is in both lists, without what another of the results covers.
func intersect(own, theirs []TrafficSelector) []TrafficSelector {
	var out []TrafficSelector
	for _, t := range theirs {
		for _, o := range own {
			v, ok := overlap(o, t)
			if !ok || slices.ContainsFunc(out, func(x TrafficSelector) bool { return covers(x, v) }) {
				continue
			}
			out = slices.DeleteFunc(out, func(x TrafficSelector) bool { return covers(v, x) })
			if len(out) < message.MaxSelectors {
				out = append(out, v)
			}
		}
	}
	return out
}

func overlap(a, b TrafficSelector) (TrafficSelector, bool) {
	v := TrafficSelector{Protocol: a.Protocol, StartPort: max(a.StartPort, b.StartPort), EndPort: min(a.EndPort, b.EndPort), Start: a.Start, End: a.End}
	if a.Protocol == 0 {
		v.Protocol = b.Protocol
	} else if b.Protocol != 0 && b.Protocol != a.Protocol {
		return v, false
	}
	if a.Start.Is4() != b.Start.Is4() || v.StartPort > v.EndPort {
		return v, false
	}
	if b.Start.Compare(v.Start) > 0 {
		v.Start = b.Start
	}
	if b.End.Compare(v.End) < 0 {
		v.End = b.End
	}
	return v, v.Start.Compare(v.End) <= 0
}

func covers(a, b TrafficSelector) bool {
	v, ok := overlap(a, b)
	return ok && v == b
}

func within(list, of []TrafficSelector) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(t TrafficSelector) bool {
		return !slices.ContainsFunc(of, func(o TrafficSelector) bool { return covers(o, t) })
	})
}
