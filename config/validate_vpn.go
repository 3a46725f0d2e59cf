package config

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// proofs checks that a profile has the keys and certificates that its authentication needs.
func (v *validator) proofs(p *IKEProfile, path string) {
	a := &p.Authentication
	auth := path + ".authentication"
	if v.bad[auth] || v.badBelow(auth) || v.bad[path+".keyring"] || v.bad[path+".trustpoint"] || v.badBelow(path+".trustpoint") {
		return
	}
	preShare := a.Local == PreShare || slices.Contains(a.Remote, PreShare)
	theirs := slices.ContainsFunc(a.Remote, AuthMethod.Signature)
	hasKey := p.Keyring != "" || !p.PreSharedKey.IsZero() || v.bad[path+".pre-shared-key"] || v.badBelow(path+".pre-shared-key")
	switch {
	case preShare && !hasKey:
		v.errorf(path, "keyring is missing: pre-share needs keys%s", didYouMean("", Names(v.c.IKEv2.Keyring)))
	case !preShare && p.Keyring != "":
		v.warnf(path+".keyring", "has no effect: neither side proves itself by pre-share")
	case !preShare && !p.PreSharedKey.IsZero():
		v.warnf(path+".pre-shared-key", "has no effect: neither side proves itself by pre-share")
	}
	if a.Local != RSASig && a.RSAPadding == PSS {
		v.warnf(auth+".rsa-padding", "has no effect: this router does not sign with RSA (local = %q); of peers both are accepted", a.Local)
	}
	names := p.Trustpoint
	if len(names) == 0 {
		names = Names(v.c.PKI.Trustpoint)
	}
	own := slices.ContainsFunc(names, func(name string) bool {
		t := v.c.PKI.Trustpoint[name]
		where := at("pki", "trustpoint", name)
		return t != nil && (!t.Certificate.IsZero() || v.bad[where+".certificate"] || v.badBelow(where+".certificate"))
	})
	switch {
	case len(names) == 0 && (a.Local.Signature() || theirs):
		v.errorf(auth, "a signature needs a certification authority: add [pki.trustpoint.NAME] with ca = \"FILE\"")
	case a.Local.Signature() && !own:
		v.errorf(auth+".local", "%s needs a certificate of this router: no trustpoint of the profile (%s) has one", a.Local, strings.Join(names, ", "))
	case p.Identity.Local.Certificate && !own:
		v.errorf(path+".identity.local.certificate", "no trustpoint of the profile has a certificate of this router to take the name from")
	case len(p.Trustpoint) > 0 && !a.Local.Signature() && !theirs:
		v.warnf(path+".trustpoint", "has no effect: neither side proves itself by a signature")
	}
	if len(p.Match.Certificate) > 0 && !theirs {
		v.errorf(path+".match.certificate", "a peer that proves itself by pre-share shows no certificate: add \"rsa-sig\" or another to authentication.remote")
	}
}

// profileTemplate checks a profile's template against the template's protection.
func (v *validator) profileTemplate(p *IKEProfile, path string) {
	key := path + ".virtual-template"
	if p.VirtualTemplate == 0 {
		if _, written := v.c.src.at[path+".virtual-template-mode"]; written {
			v.warnf(path+".virtual-template-mode", "has no effect without virtual-template")
		}
		return
	}
	name := fmt.Sprintf("Virtual-Template%d", p.VirtualTemplate)
	t := v.c.Interface[name]
	if t == nil {
		var have []string
		for _, t := range v.c.InterfacesOf(VirtualTemplate) {
			have = append(have, t.Name)
		}
		v.errorf(key, "no interface %q%s", name, didYouMean(name, have))
		return
	}
	if ip := v.c.IPsec.Profile[t.Protection]; ip != nil && ip.IKEv2Profile != p.Name && v.c.IKEv2.Profile[ip.IKEv2Profile] != nil {
		v.errorf(key, "%s is protected by ipsec profile %q, whose ikev2-profile is %q: give this profile a template and an ipsec profile of its own",
			name, ip.Name, ip.IKEv2Profile)
	}
	for _, o := range v.c.InterfacesOf(Tunnel) {
		if ip := v.c.IPsec.Profile[o.Protection]; ip != nil && ip.IKEv2Profile == p.Name && !o.Shutdown && o.TunnelVRF == t.TunnelVRF && !o.DestinationDynamic && !o.Destination.IsValid() {
			v.warnf(key, "%s is protected by the same ikev2 profile: whether a peer that calls means it or %s cannot be told; give each a profile of its own", o.Name, name)
		}
	}
}

// Template finds the Virtual-Template of a profile, or nil.
func (c *Config) Template(p *IKEProfile) *Interface {
	if p == nil || p.VirtualTemplate == 0 {
		return nil
	}
	return c.Interface[fmt.Sprintf("Virtual-Template%d", p.VirtualTemplate)]
}

func (v *validator) authorization() {
	k := &v.c.IKEv2
	named := map[string]bool{Smart: true}
	mangled := false // a name that is made of an identity may be any
	for _, p := range k.Profile {
		named[p.Authorization.Policy] = true
		mangled = mangled || p.Authorization.NameMangler != ""
	}
	for _, name := range Names(k.AuthorizationPolicy) {
		path := at("ikev2", "authorization-policy", name)
		v.authorizationPolicy(k.AuthorizationPolicy[name], path)
		if !mangled && !named[name] && !v.badBelow("ikev2.profile") {
			v.warnf(path, "no ikev2 profile names it (authorization = { policy = %q }), so nobody gets what it says", name)
		}
	}
	for _, name := range Names(k.NameMangler) {
		m, path := k.NameMangler[name], at("ikev2", "name-mangler", name)
		n := 0
		for _, set := range []bool{m.FQDN != "", m.Email != "", m.DN != ""} {
			if set {
				n++
			}
		}
		if n != 1 && !v.badBelow(path) {
			v.errorf(path, "exactly one of fqdn, email and dn says what the name is made of, got %d of them", n)
		}
	}
}

func (v *validator) authorizationPolicy(p *AuthorizationPolicy, path string) {
	for _, family := range []struct {
		key, pool string
		v4        bool
	}{{"pool", p.Pool, true}, {"ipv6-pool", p.IPv6Pool, false}} {
		pool := v.c.Pool[family.pool]
		if pool == nil || v.badBelow(at("pool", pool.Name)) || v.bad[at("pool", pool.Name, "addresses")] {
			continue
		}
		if !slices.ContainsFunc(pool.Addresses, func(r AddressRange) bool { return r.From.Is4() == family.v4 }) {
			v.errorf(path+"."+family.key, "pool %q has no %s addresses", pool.Name, familyName(family.v4))
		}
	}
	if p.Netmask.IsValid() {
		b := p.Netmask.As4()
		mask := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		switch {
		case mask<<bits.LeadingZeros32(^mask) != 0 || mask == 0:
			v.errorf(path+".netmask", "%s is not a netmask such as \"255.255.255.0\"", p.Netmask)
		case p.Pool == "" && !v.bad[path+".pool"]:
			v.warnf(path+".netmask", "has no effect without pool: it is sent with the peer's address")
		}
	}
	for i, a := range p.DNS {
		if a.IsValid() && (a.IsUnspecified() || a.IsMulticast()) {
			v.errorf(v.item(path+".dns", i), "%s is not the address of a server", a)
		}
	}
	twice(v, path+".dns", p.DNS)
	if p.DefDomain != "" && !isDomain(p.DefDomain) {
		v.errorf(path+".def-domain", "%q is not a domain such as \"example.com\"", p.DefDomain)
	}
	twice(v, path+".route.set-remote", p.Route.SetRemote)
	for i, name := range p.Route.SetInterface {
		key := v.item(path+".route.set-interface", i)
		o := v.c.Interface[name]
		switch {
		case o == nil: // reported, or "self"
		case o.Kind() == VirtualTemplate:
			v.errorf(key, "%s is a template: the interface that is made of it is %q", name, Self)
		case len(o.Address) == 0 && !o.Negotiated && o.Unnumbered == "" && !v.badBelow(at("interface", name)):
			v.errorf(key, "%s has no address to tell of", name)
		default:
			v.policyVRF(p, o, key)
		}
	}
}

// policyVRF finds an interface that the peers who are told of it cannot reach.
func (v *validator) policyVRF(p *AuthorizationPolicy, o *Interface, key string) {
	for _, name := range Names(v.c.IKEv2.Profile) {
		profile := v.c.IKEv2.Profile[name]
		if t := v.c.Template(profile); t != nil && profile.Authorization.Policy == p.Name && t.VRF != o.VRF {
			v.warnf(key, "%s is in the routing table %q, but peers of ikev2 profile %q are in %q (%s): they cannot reach it", o.Name, o.VRF, name, t.VRF, t.Name)
			return
		}
	}
}

func (v *validator) pools() {
	type part struct {
		pool string
		r    AddressRange
	}
	var seen []part
	for _, name := range Names(v.c.Pool) {
		p, path := v.c.Pool[name], at("pool", name)
		for i, r := range p.Addresses {
			if !r.From.IsValid() {
				continue // reported
			}
			key := v.item(path+".addresses", i)
			for _, o := range seen {
				if o.r.From.Is4() != r.From.Is4() || r.To.Less(o.r.From) || o.r.To.Less(r.From) {
					continue
				}
				if o.pool == name {
					v.errorf(key, "%s overlaps with %s of the same pool", r, o.r)
				} else {
					v.warnf(key, "%s overlaps with %s of pool %q: where both are used in one routing table an address may be given away twice", r, o.r, o.pool)
				}
				break
			}
			seen = append(seen, part{name, r})
			if r.From.IsUnspecified() || r.From.IsLoopback() || r.To.IsMulticast() || r.From.IsMulticast() {
				v.errorf(key, "%s holds addresses that no host can have", r)
			}
		}
		left := false
		for i, x := range p.Exclude {
			if x.From.IsValid() && !slices.ContainsFunc(p.Addresses, func(r AddressRange) bool { return r.From.IsValid() && r.Contains(x.From) || x.Contains(r.From) }) && !v.badBelow(path+".addresses") {
				v.warnf(v.item(path+".exclude", i), "%s is not in the pool", x)
			}
		}
		for _, r := range p.Addresses {
			covered := slices.ContainsFunc(p.Exclude, func(x AddressRange) bool { return x.From.IsValid() && x.Contains(r.From) && x.Contains(r.To) })
			left = left || !covered
		}
		if !left && len(p.Addresses) > 0 {
			v.errorf(path+".exclude", "nothing is left of the pool")
		}
	}
	for _, name := range Names(v.c.AccessList) {
		twice(v, at("access-list", name, "permit"), v.c.AccessList[name].Permit)
	}
}

func (v *validator) pki() {
	for _, name := range Names(v.c.PKI.Trustpoint) {
		t, path := v.c.PKI.Trustpoint[name], at("pki", "trustpoint", name)
		if v.badBelow(path) {
			continue
		}
		switch {
		case !t.Certificate.IsZero() && t.Key.IsZero():
			v.errorf(path+".certificate", "a certificate without its key proves nothing: add key = { file = \"FILE\" }")
		case t.Certificate.IsZero() && !t.Key.IsZero():
			v.errorf(path+".key", "a key without its certificate: add certificate = \"FILE\"")
		}
		switch {
		case t.RevocationCheck == RevocationCRL && len(t.CRL) == 0:
			v.errorf(path+".revocation-check", "there is no revocation list to look into: add crl = [\"FILE\"]")
		case t.RevocationCheck == RevocationNone && len(t.CRL) > 0:
			v.warnf(path+".revocation-check", "%q: certificates that the revocation list names are accepted", RevocationNone)
		}
	}
	for _, name := range Names(v.c.PKI.CertificateMap) {
		m, path := v.c.PKI.CertificateMap[name], at("pki", "certificate-map", name)
		for i, r := range m.Rule {
			if key := v.item(path+".rule", i); r != nil && len(r.SubjectName)+len(r.IssuerName)+len(r.AltSubjectName) == 0 && !v.badBelow(key) {
				v.errorf(key, "the rule says nothing: give subject-name, issuer-name or alt-subject-name")
			}
		}
	}
}
