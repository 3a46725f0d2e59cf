package ikev2

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// policyFor finds the IKE proposals for a front VRF and a local address.
func (e *Engine) policyFor(vrf string, local netip.Addr) (string, []IKEProposal) {
	for _, p := range e.cfg.Policies {
		if p.VRF != "" && p.VRF != vrf || len(p.Local) > 0 && !contains(p.Local, local) {
			continue
		}
		var list []IKEProposal
		for _, name := range p.Proposals {
			for _, q := range e.cfg.Proposals {
				if q.Name == name {
					list = append(list, q)
				}
			}
		}
		return p.Name, list
	}
	return SmartDefaultPolicy, []IKEProposal{SmartDefaultProposal}
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ikeOffer is the proposals on the wire. An AEAD and a cipher with a MAC cannot share one (RFC 7296 §3.3.2): the order
// of the encryption list decides which comes first.
func ikeOffer(list []IKEProposal, accept bool, spi uint64) []message.Proposal {
	var out []message.Proposal
	for _, p := range list {
		var aead, mac []message.Transform
		var first *[]message.Transform
		for _, e := range p.Encryption {
			to := &mac
			if e.ID.AEAD() {
				to = &aead
			}
			if first == nil {
				first = to
			}
			*to = append(*to, message.Transform{Type: message.TransformENCR, ID: uint16(e.ID), KeyBits: uint16(e.Bits)})
		}
		var prf, integ, groups []message.Transform
		for _, id := range p.prfs() {
			prf = append(prf, message.Transform{Type: message.TransformPRF, ID: uint16(id)})
		}
		for _, id := range p.Integrity {
			integ = append(integ, message.Transform{Type: message.TransformINTEG, ID: uint16(id)})
		}
		for _, id := range p.Groups {
			groups = append(groups, message.Transform{Type: message.TransformDH, ID: uint16(id)})
		}
		if accept {
			for _, id := range p.Accept {
				groups = append(groups, message.Transform{Type: message.TransformDH, ID: uint16(id)})
			}
		}
		add := func(encr, integ []message.Transform) {
			if len(encr) == 0 {
				return
			}
			w := message.Proposal{Number: uint8(len(out) + 1), Protocol: message.ProtoIKE, Transforms: slices.Concat(encr, prf, integ, groups)}
			if spi != 0 {
				w.SPI = be64(spi)
			}
			out = append(out, w)
		}
		if first == &aead {
			add(aead, nil)
			add(mac, integ)
		} else {
			add(mac, integ)
			add(aead, nil)
		}
	}
	return out
}

func (p IKEProposal) prfs() []suite.PRFID {
	if len(p.PRF) > 0 {
		return p.PRF
	}
	var list []suite.PRFID
	for _, i := range p.Integrity {
		if prf, ok := i.PRF(); ok {
			list = append(list, prf)
		}
	}
	if len(list) == 0 {
		list = []suite.PRFID{suite.PRF_HMAC_SHA2_512, suite.PRF_HMAC_SHA2_384, suite.PRF_HMAC_SHA2_256}
	}
	return list
}

// espOffer is a child's proposals on the wire: one for every suite, so that algorithms are not mixed.
func espOffer(list []ESPProposal, spi uint32, pfs bool) []message.Proposal {
	var out []message.Proposal
	for _, p := range list {
		for _, s := range p.Suites {
			w := message.Proposal{Number: uint8(len(out) + 1), Protocol: message.ProtoESP, SPI: be32(spi)}
			w.Transforms = append(w.Transforms, message.Transform{Type: message.TransformENCR, ID: uint16(s.Encr), KeyBits: uint16(s.KeyBits)})
			if s.Integ != esp.AUTH_NONE {
				w.Transforms = append(w.Transforms, message.Transform{Type: message.TransformINTEG, ID: uint16(s.Integ)})
			}
			if pfs {
				for _, g := range p.Groups {
					w.Transforms = append(w.Transforms, message.Transform{Type: message.TransformDH, ID: uint16(g)})
				}
			}
			esn := p.ESN
			if len(esn) == 0 {
				esn = []bool{false}
			}
			for _, on := range esn {
				w.Transforms = append(w.Transforms, message.Transform{Type: message.TransformESN, ID: uint16(b2i(on))})
			}
			out = append(out, w)
		}
	}
	return out
}

// anyGroup lets a peer have PFS although we do not ask for it (as IOS does): none first, then what we can do.
func anyGroup(own []message.Proposal) []message.Proposal {
	for i := range own {
		if len(ofType(own[i].Transforms, message.TransformDH)) == 0 {
			own[i].Transforms = append(own[i].Transforms, message.Transform{Type: message.TransformDH})
			for _, g := range []suite.Group{suite.ECP_256, suite.ECP_384, suite.ECP_521, suite.CURVE25519, suite.MODP_2048,
				suite.MODP_3072, suite.MODP_4096, suite.MODP_1536} {
				own[i].Transforms = append(own[i].Transforms, message.Transform{Type: message.TransformDH, ID: uint16(g)})
			}
		}
	}
	return own
}

// choose is the responder's choice, by its own preference: the first of its own proposals that any offered one allows,
// and of each kind of transform the first of its own. The answer has the offered one's number and no SPI yet; peer is
// the offered one.
func choose(own, offered []message.Proposal) (answer, peer message.Proposal, ok bool) {
	for _, w := range own {
		for _, o := range offered {
			if w.Protocol != o.Protocol {
				continue
			}
			if list, ok := match(w.Transforms, o.Transforms); ok {
				return message.Proposal{Number: o.Number, Protocol: o.Protocol, Transforms: list}, o, true
			}
		}
	}
	return answer, peer, false
}

// match picks one transform of each kind that is on both lists.
func match(own, theirs []message.Transform) ([]message.Transform, bool) {
	var out []message.Transform
	for t := message.TransformENCR; t <= message.TransformESN; t++ {
		mine, yours := ofType(own, t), ofType(theirs, t)
		none := message.Transform{Type: t}
		switch {
		case len(mine) == 0 && len(yours) == 0:
			continue
		case len(yours) == 0:
			// What is left out means none (ESN: no extended numbers), where that is allowed.
			if t == message.TransformENCR || t == message.TransformPRF || !slices.ContainsFunc(mine, same(none)) {
				return nil, false
			}
			continue
		case len(mine) == 0:
			if t != message.TransformINTEG && t != message.TransformDH || !slices.ContainsFunc(yours, same(none)) {
				return nil, false
			}
			out = append(out, none)
			continue
		}
		at := slices.IndexFunc(mine, func(m message.Transform) bool { return slices.ContainsFunc(yours, same(m)) })
		if at < 0 {
			return nil, false
		}
		out = append(out, mine[at])
	}
	// RFC 7296 §3.3.6: a proposal with a kind of transform that we do not know is not acceptable.
	return out, !slices.ContainsFunc(theirs, func(t message.Transform) bool { return t.Type < 1 || t.Type > message.TransformESN })
}

func ofType(list []message.Transform, t message.TransformType) []message.Transform {
	var out []message.Transform
	for _, v := range list {
		if v.Type == t {
			out = append(out, v)
		}
	}
	return out
}

func same(a message.Transform) func(message.Transform) bool {
	return func(b message.Transform) bool {
		return a.Type == b.Type && a.ID == b.ID && a.KeyBits == b.KeyBits && len(b.Attributes) == 0
	}
}

// accepted checks a responder's answer against what we offered (RFC 7296 §2.7: one proposal, one transform of each kind,
// all of them offered).
func accepted(offer []message.Proposal, answer *message.SA) (message.Proposal, error) {
	if answer == nil || len(answer.Proposals) != 1 {
		return message.Proposal{}, fmt.Errorf("%w: not one proposal", ErrNoProposal)
	}
	a := answer.Proposals[0]
	for _, o := range offer {
		if o.Number != a.Number || o.Protocol != a.Protocol {
			continue
		}
		list, ok := match(o.Transforms, a.Transforms)
		if ok && len(a.Transforms) <= len(list) {
			a.Transforms = list
			return a, nil
		}
	}
	return message.Proposal{}, fmt.Errorf("%w: what was chosen was not offered: %s", ErrNoProposal, describe(answer.Proposals))
}

func transformOf(p message.Proposal, t message.TransformType) message.Transform {
	for _, v := range p.Transforms {
		if v.Type == t {
			return v
		}
	}
	return message.Transform{Type: t}
}

func ikeSuite(p message.Proposal) suite.IKE {
	e := transformOf(p, message.TransformENCR)
	return suite.IKE{
		Encr: suite.EncrID(e.ID), KeyBits: int(e.KeyBits),
		PRF:   suite.PRFID(transformOf(p, message.TransformPRF).ID),
		Integ: suite.IntegID(transformOf(p, message.TransformINTEG).ID),
		Group: suite.Group(transformOf(p, message.TransformDH).ID),
	}
}

func espSuite(p message.Proposal) (s esp.Suite, esn bool, g suite.Group) {
	e := transformOf(p, message.TransformENCR)
	s = esp.Suite{Encr: esp.Encr(e.ID), KeyBits: int(e.KeyBits), Integ: esp.Integ(transformOf(p, message.TransformINTEG).ID)}
	return s, transformOf(p, message.TransformESN).ID == 1, suite.Group(transformOf(p, message.TransformDH).ID)
}

// groups are the Diffie-Hellman groups of an offer, in order.
func groups(offer []message.Proposal) []suite.Group {
	var out []suite.Group
	for _, p := range offer {
		for _, t := range ofType(p.Transforms, message.TransformDH) {
			if g := suite.Group(t.ID); g != suite.GROUP_NONE && !slices.Contains(out, g) {
				out = append(out, g)
			}
		}
	}
	return out
}

// withoutDH is what counts of an offer in IKE_AUTH, which has no key exchange (RFC 7296 §1.2).
func withoutDH(list []message.Proposal) []message.Proposal {
	out := slices.Clone(list)
	for i := range out {
		out[i].Transforms = slices.DeleteFunc(slices.Clone(out[i].Transforms), func(t message.Transform) bool { return t.Type == message.TransformDH })
	}
	return out
}

// describe prints an offer in the configuration's words.
func describe(list []message.Proposal) string {
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteString(" | ")
		}
		for j, t := range p.Transforms {
			if j > 0 {
				b.WriteByte(' ')
			}
			switch t.Type {
			case message.TransformENCR:
				b.WriteString(suite.EncrID(t.ID).Word(int(t.KeyBits)))
			case message.TransformPRF:
				b.WriteString("prf-" + suite.PRFID(t.ID).Word())
			case message.TransformINTEG:
				b.WriteString(suite.IntegID(t.ID).Word())
			case message.TransformDH:
				b.WriteString("group-" + suite.Group(t.ID).Word())
			case message.TransformESN:
				b.WriteString([]string{"no-esn", "esn"}[min(t.ID, 1)])
			default:
				fmt.Fprintf(&b, "type-%d-%d", t.Type, t.ID)
			}
		}
		if b.Len() > 600 {
			fmt.Fprintf(&b, " … %d more", len(list)-i-1)
			break
		}
	}
	if len(list) == 0 {
		return "nothing"
	}
	return b.String()
}
