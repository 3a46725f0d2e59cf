package boot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"felloe/config"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"
)

// CheckPKI says what is wrong with the certificates, keys and revocation lists that a configuration names: what only who
// reads them can know. A valid configuration without trustpoints has nothing of that.
func CheckPKI(c *config.Config) config.Diagnostics {
	var scratch ikev2.Config
	for _, n := range sorted(c.IKEv2.Profile) {
		scratch.Profiles = append(scratch.Profiles, ikev2.Profile{Name: n})
	}
	return pkiConfig(c, &scratch)
}

// pkiConfig gives the machine its trustpoints, and its profiles what they have to do with certificates. A trustpoint with
// a mistake is left out: its peers are refused then, never trusted.
func pkiConfig(c *config.Config, out *ikev2.Config) config.Diagnostics {
	var diags config.Diagnostics
	broken := map[string]bool{}
	for _, n := range sorted(c.PKI.Trustpoint) {
		t, d := trustpoint(c, n)
		diags = append(diags, d...)
		if t != nil {
			out.Trustpoints = append(out.Trustpoints, t)
		} else {
			broken[n] = true
		}
	}
	maps := map[string]*pki.Map{}
	for _, n := range sorted(c.PKI.CertificateMap) {
		maps[n] = certificateMap(n, c.PKI.CertificateMap[n])
	}
	for i := range out.Profiles {
		prof := &out.Profiles[i]
		p := c.IKEv2.Profile[prof.Name]
		if p == nil {
			continue
		}
		prof.Trustpoints = p.Trustpoint
		prof.RSAPSS = p.Authentication.RSAPadding == config.PSS
		prof.CertificateIdentity = p.Identity.Local.Certificate
		for _, m := range p.Match.Certificate {
			if maps[m] != nil {
				prof.MatchCertificate = append(prof.MatchCertificate, maps[m])
			}
		}
		diags = append(diags, checkProfile(c, p, out.Trustpoints, broken)...)
	}
	return diags
}

func trustpoint(c *config.Config, name string) (*pki.Trustpoint, config.Diagnostics) {
	p := c.PKI.Trustpoint[name]
	path := "pki.trustpoint." + name
	var crls [][]byte
	for _, f := range p.CRL {
		crls = append(crls, f.Data)
	}
	key := []byte(p.Key.Reveal())
	defer clear(key)
	t, err := pki.NewTrustpoint(name, p.CA.Data, p.Certificate.Data, key, crls, p.CheckRevocation())
	if err == nil {
		return t, nil
	}
	file := ""
	var fe *pki.FileError
	if errors.As(err, &fe) {
		err = fe.Err
		switch fe.Part {
		case pki.PartCA:
			file = p.CA.Path
		case pki.PartCertificate:
			file = p.Certificate.Path
		case pki.PartCRL:
			if fe.Index < len(p.CRL) {
				file = p.CRL[fe.Index].Path
			}
		}
		path += "." + string(fe.Part)
	}
	if file != "" {
		return nil, config.Diagnostics{c.Diagnose(config.Error, path, "%s: %v", file, err)}
	}
	return nil, config.Diagnostics{c.Diagnose(config.Error, path, "%v", err)}
}

func certificateMap(name string, m *config.CertificateMap) *pki.Map {
	out := &pki.Map{Name: name}
	for _, r := range m.Rule {
		var rule pki.Rule
		for _, f := range []struct {
			field pki.Field
			list  []config.NameMatch
		}{{pki.SubjectName, r.SubjectName}, {pki.IssuerName, r.IssuerName}, {pki.AltSubjectName, r.AltSubjectName}} {
			for _, m := range f.list {
				rule = append(rule, pki.Condition{Field: f.field, Operator: pki.Operator(m.Operator), Value: m.Value})
			}
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

// checkProfile says when a profile's way to prove this router, or to know the peer, has nothing to do it with.
func checkProfile(c *config.Config, p *config.IKEProfile, list []*pki.Trustpoint, broken map[string]bool) config.Diagnostics {
	path := "ikev2.profile." + p.Name
	local := p.Authentication.Local
	remote := slices.ContainsFunc(p.Authentication.Remote, config.AuthMethod.Signature)
	if !local.Signature() && !remote {
		return nil
	}
	var usable []*pki.Trustpoint
	for _, t := range list {
		if len(p.Trustpoint) == 0 || slices.Contains(p.Trustpoint, t.Name) {
			usable = append(usable, t)
		}
	}
	if len(usable) == 0 {
		if len(broken) > 0 {
			return nil // that was said
		}
		return config.Diagnostics{c.Diagnose(config.Error, path+".authentication", "signatures need a trustpoint: [pki.trustpoint.NAME] with the peer's authority in `ca`")}
	}
	if !local.Signature() {
		return nil
	}
	var own *pki.Trustpoint
	var have []string
	for _, t := range usable {
		switch {
		case !t.HasKey():
			have = append(have, t.Name+" has no certificate of this router")
		case ikev2.KindOf(t.Key.Public()) != authMethod(local):
			have = append(have, fmt.Sprintf("%s has one with %s", t.Name, pki.KeyName(t.Key.Public())))
		case own == nil:
			own = t
		}
	}
	if own == nil {
		if len(broken) > 0 {
			return nil
		}
		return config.Diagnostics{c.Diagnose(config.Error, path+".authentication.local", "%s needs a trustpoint with a certificate and key of that kind: %s",
			local, strings.Join(have, ", "))}
	}
	id := identity(p.Identity.Local)
	if id.IsZero() || id.Type == message.ID_DER_ASN1_DN {
		return nil
	}
	if err := pki.MatchesIdentity(own.Chain[0], id.Type, []byte(id.Value)); err != nil {
		return config.Diagnostics{c.Diagnose(config.Warning, path+".identity.local", "peers that check will refuse %v: the certificate of trustpoint %s is for %s",
			id, own.Name, strings.Join(pki.Identities(own.Chain[0]), ", "))}
	}
	return nil
}
