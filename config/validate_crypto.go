package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func (v *validator) ikev2() {
	k := &v.c.IKEv2
	named := map[string]bool{}
	for _, p := range k.Policy {
		for _, name := range p.Proposal {
			named[name] = true
		}
	}
	for _, name := range Names(k.Proposal) {
		path := at("ikev2", "proposal", name)
		v.proposal(k.Proposal[name], path)
		if !named[name] && name != Smart {
			v.warnf(path, "no policy names this proposal, so it is not offered; add [ikev2.policy.NAME] proposal = [%q]", name)
		}
	}
	v.policies()
	for _, name := range Names(k.Keyring) {
		v.keyring(k.Keyring[name], at("ikev2", "keyring", name))
	}
	v.profiles = Names(k.Profile)
	for _, name := range v.profiles {
		v.ikeProfile(k.Profile[name], at("ikev2", "profile", name))
	}
}

func (v *validator) proposal(p *IKEProposal, path string) {
	var gcm, cbc Encryption
	for _, e := range p.Encryption {
		if e.AEAD() {
			gcm = e
		} else {
			cbc = e
		}
	}
	switch {
	case gcm != "" && cbc != "":
		v.errorf(path+".encryption", "%s and %s cannot be in one proposal (RFC 7296 §3.3): make two, and name both in the policy", gcm, cbc)
	case gcm != "" && len(p.Integrity) > 0:
		v.errorf(path+".integrity", "%s has its own integrity check: leave this out (the hash for keys is prf)", gcm)
	case gcm != "" && len(p.PRF) == 0 && !v.bad[path+".prf"] && !v.badBelow(path+".prf"):
		v.errorf(path, "prf is missing: with %s it does not follow from integrity; for example prf = [\"sha256\"]", gcm)
	case cbc != "" && len(p.Integrity) == 0 && !v.bad[path+".integrity"] && !v.badBelow(path+".integrity"):
		v.errorf(path, "integrity is missing: %s needs it; for example integrity = [\"sha256\"]", cbc)
	}
	twice(v, path+".encryption", p.Encryption)
	twice(v, path+".integrity", p.Integrity)
	twice(v, path+".prf", p.PRF)
	twice(v, path+".group", p.Group)
	for i, g := range p.Group {
		v.weakGroup(v.item(path+".group", i), g)
	}
}

func (v *validator) weakGroup(path string, g Group) {
	if g == 2 || g == 5 {
		v.warnf(path, "group %d can be broken: prefer 19, 14, 21 or 31", g)
	}
}

func twice[T comparable](v *validator, path string, list []T) {
	for i, x := range list {
		if slices.Contains(list[:i], x) {
			v.warnf(v.item(path, i), "%v is listed twice", x)
		}
	}
}

// policies finds policies that match the same packets.
func (v *validator) policies() {
	seen := map[string]string{}
	for _, name := range Names(v.c.IKEv2.Policy) {
		p := v.c.IKEv2.Policy[name]
		key := fmt.Sprint(p.Match.FVRF, sorted(p.Match.Address.Local))
		if other := seen[key]; other != "" {
			v.warnf(at("ikev2", "policy", name), "policy %q matches the same, and is used", other)
		} else {
			seen[key] = name
		}
	}
}

func sorted[T fmt.Stringer](list []T) []string {
	var out []string
	for _, x := range list {
		out = append(out, x.String())
	}
	slices.Sort(out)
	return out
}

func (v *validator) keyring(k *Keyring, path string) {
	if len(k.Peer) == 0 && !v.badBelow(path) {
		v.warnf(path, "the keyring is empty; add [%s.peer.NAME] with address and pre-shared-key", path)
	}
	addresses := map[netip.Prefix]string{}
	words := map[string]string{}
	for _, name := range Names(k.Peer) {
		p, peer := k.Peer[name], joinPath(path+".peer", name)
		if len(p.Address) == 0 && p.Identity.IsZero() && !v.badBelow(peer) {
			v.errorf(peer, "nobody is meant: give address or identity; everybody is address = [\"0.0.0.0/0\", \"::/0\"]")
		}
		if p.Identity.Any {
			v.errorf(peer+".identity", "a key for any identity is one with address = [\"0.0.0.0/0\", \"::/0\"]")
		}
		for i, a := range p.Address {
			if !a.IsValid() {
				continue // reported
			}
			if other := addresses[a]; other != "" {
				v.errorf(v.item(peer+".address", i), "peer %q has the same address %s: which key is meant cannot be told", other, a)
			}
			addresses[a] = name
		}
		for _, w := range p.Identity.words() {
			if other := words[w]; other != "" {
				v.errorf(peer+".identity", "peer %q has the same identity %s: which key is meant cannot be told", other, w)
			}
			words[w] = name
		}
		v.identityMatch(&p.Identity, peer+".identity")
	}
}

// words lists what is matched, each kind marked.
func (m *IdentityMatch) words() (out []string) {
	add := func(kind string, list []string) {
		for _, w := range list {
			out = append(out, kind+" "+strings.ToLower(w))
		}
	}
	for _, p := range m.Address {
		if p.IsValid() {
			out = append(out, "address "+p.String())
		}
	}
	add("fqdn", m.FQDN)
	add("fqdn-domain", m.FQDNDomain)
	add("email", m.Email)
	add("email-domain", m.EmailDomain)
	for _, w := range m.KeyID {
		out = append(out, "key-id "+w)
	}
	if m.Any {
		out = append(out, "any")
	}
	return out
}

func (v *validator) identityMatch(m *IdentityMatch, path string) {
	check := func(key string, list []string, ok func(string) bool, want string) {
		for i, w := range list {
			if !ok(w) {
				v.errorf(v.item(path+"."+key, i), "%q is not %s", w, want)
			}
		}
	}
	check("fqdn", m.FQDN, isDomain, `a name such as "spoke1.example.com"`)
	check("fqdn-domain", m.FQDNDomain, isDomain, `a domain such as "example.com" (without "*.")`)
	check("email", m.Email, isEmail, `an address such as "spoke1@example.com"`)
	check("email-domain", m.EmailDomain, isDomain, `a domain such as "example.com" (without "@")`)
	check("key-id", m.KeyID, func(s string) bool { return s != "" }, "a key ID")
}

func isDomain(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, " @*/") && !strings.HasPrefix(s, ".")
}

// isHostName reports whether addresses can be asked for: an address has none.
func isHostName(s string) bool {
	_, err := netip.ParseAddr(s)
	return err != nil && isDomain(s)
}

func isEmail(s string) bool {
	user, domain, ok := strings.Cut(s, "@")
	return ok && user != "" && isDomain(domain)
}

func (v *validator) ikeProfile(p *IKEProfile, path string) {
	m := &p.Match.Identity.Remote
	if m.IsZero() && len(p.Match.Certificate) == 0 && !v.badBelow(path+".match") {
		v.errorf(path, "match is missing: say which peers the profile is for; "+
			"for example match = { identity = { remote = { address = \"0.0.0.0/0\" } } }, or { any = true } in place of address")
	}
	v.identityMatch(m, path+".match.identity.remote")
	v.localIdentity(&p.Identity.Local, path+".identity.local")
	if len(p.Authentication.Remote) == 0 && !v.badBelow(path+".authentication") {
		v.errorf(path+".authentication.remote", "the list is empty: expected one or more of %s", quoteList(AuthMethod("").Values()))
	}
	twice(v, path+".authentication.remote", p.Authentication.Remote)
	v.proofs(p, path)
	v.profileTemplate(p, path)
	for _, name := range v.profiles {
		o := v.c.IKEv2.Profile[name]
		if o == p {
			break
		}
		if o.Match.FVRF == p.Match.FVRF && slices.Equal(sorted(o.Match.Address.Local), sorted(p.Match.Address.Local)) && samePeers(&o.Match, &p.Match) {
			v.warnf(path, "profile %q matches the same peers: which of the two is used for a peer that calls cannot be told", name)
		}
	}
}

// samePeers reports whether two profiles match the same peers.
func samePeers(a, b *IKEProfileMatch) bool {
	x, y := &a.Identity.Remote, &b.Identity.Remote
	if (len(a.Certificate) > 0) != (len(b.Certificate) > 0) || len(a.Certificate) > 0 && !share(a.Certificate, b.Certificate) {
		return false
	}
	return share(x.words(), y.words()) || x.IsZero() && y.IsZero()
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(w string) bool { return slices.Contains(b, w) })
}

func (v *validator) localIdentity(i *Identity, path string) {
	n := 0
	for _, set := range []bool{i.Address.IsValid(), i.FQDN != "", i.Email != "", i.KeyID != "", i.Certificate} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		v.errorf(path, "a router has one identity: keep one of address, fqdn, email, key-id and certificate")
	case i.FQDN != "" && !isDomain(i.FQDN):
		v.errorf(path+".fqdn", "%q is not a name such as \"spoke1.example.com\"", i.FQDN)
	case i.Email != "" && !isEmail(i.Email):
		v.errorf(path+".email", "%q is not an address such as \"spoke1@example.com\"", i.Email)
	}
}

func (v *validator) ipsec() {
	for _, name := range Names(v.c.IPsec.Profile) {
		p, path := v.c.IPsec.Profile[name], at("ipsec", "profile", name)
		v.weakGroup(path+".pfs", p.PFS)
		if p.ESN && p.Replay.WindowSize == 0 {
			v.errorf(path+".esn", "extended sequence numbers need replay protection: set replay = { window-size = 1024 }")
		}
	}
}

// ikeFits finds an IKE profile that can never serve the tunnel.
func (v *validator) ikeFits(t *Interface, path string) {
	ip := v.c.IPsec.Profile[t.Protection]
	if ip == nil {
		return
	}
	p := v.c.IKEv2.Profile[ip.IKEv2Profile]
	if p == nil {
		return
	}
	if p.Match.FVRF != "any" && p.Match.FVRF != t.TunnelVRF {
		v.warnf(path+".protection", "ikev2 profile %q is for the routing table %q (match.fvrf), but tunnel-vrf is %q", p.Name, p.Match.FVRF, t.TunnelVRF)
	}
	locals := p.Match.Address.Local
	source, ok := v.c.SourceAddress(t)
	if len(locals) == 0 || !ok {
		return
	}
	for _, l := range locals {
		if l.Interface == t.Source.Interface && l.Interface != "" || l.Address == source {
			return
		}
		if i := v.c.Interface[l.Interface]; i != nil && slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Addr() == source }) {
			return
		}
	}
	v.warnf(path+".protection", "ikev2 profile %q is for packets to %s (match.address.local), but the tunnel's source is %s",
		p.Name, strings.Join(sorted(locals), ", "), t.Source)
}
