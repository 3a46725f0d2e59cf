package show

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/pki"
)

// Certificate is one certificate in the tables.
type Certificate struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Names       []string  `json:"alternative_names"`
	Key         string    `json:"key"`
	Signature   string    `json:"signature"`
	Authority   bool      `json:"authority"`
	Ours        bool      `json:"ours"`
	Valid       bool      `json:"valid"`
	Trustpoints []string  `json:"trustpoints,omitempty"`
}

// NewCertificate makes the answer of one certificate.
func NewCertificate(c *x509.Certificate, now time.Time) *Certificate {
	out := &Certificate{Subject: pki.Subject(c), Issuer: pki.Issuer(c), Serial: pki.Serial(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Names: []string{}, Key: pki.KeyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(), Authority: c.IsCA, Valid: !now.Before(c.NotBefore) && !now.After(c.NotAfter)}
	out.Names = append(out.Names, c.DNSNames...)
	out.Names = append(out.Names, c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out.Names = append(out.Names, a.Unmap().String())
		}
	}
	return out
}

// PKI is `show crypto pki certificates`.
type PKI struct {
	Certificates []Certificate `json:"certificates"`
}

// NewPKI makes the answer of all trustpoints: our certificates first, then the authorities'.
func NewPKI(points []*pki.Trustpoint, only string, now time.Time) PKI {
	out := PKI{Certificates: []Certificate{}}
	at := map[string]int{}
	put := func(t *pki.Trustpoint, c *x509.Certificate, ours bool) {
		if i, has := at[string(c.Raw)]; has {
			out.Certificates[i].Trustpoints = append(out.Certificates[i].Trustpoints, t.Name)
			return
		}
		x := NewCertificate(c, now)
		x.Ours, x.Trustpoints = ours, []string{t.Name}
		at[string(c.Raw)] = len(out.Certificates)
		out.Certificates = append(out.Certificates, *x)
	}
	for _, ours := range []bool{true, false} {
		for _, t := range points {
			if only != "" && only != t.Name {
				continue
			}
			if ours && len(t.Chain) > 0 {
				put(t, t.Chain[0], true)
			}
			if ours {
				continue
			}
			for _, c := range append(append(append([]*x509.Certificate{}, t.Chain[min(1, len(t.Chain)):]...), t.Intermediates...), t.Roots...) {
				if i, has := at[string(c.Raw)]; has && out.Certificates[i].Trustpoints[len(out.Certificates[i].Trustpoints)-1] == t.Name {
					continue
				}
				put(t, c, false)
			}
		}
	}
	return out
}

// Text implements cli.Result.
func (p PKI) Text(w *cli.Table) {
	for i := range p.Certificates {
		c := &p.Certificates[i]
		w.Line(map[bool]string{true: "CA Certificate", false: "Certificate"}[c.Authority])
		w.Linef("  Status: %s", map[bool]string{true: "Available", false: "Not valid at this time"}[c.Valid])
		w.Linef("  Certificate Serial Number (hex): %s", c.Serial)
		w.Linef("  Certificate Usage: %s", map[bool]string{true: "Signature", false: "General Purpose"}[c.Authority])
		w.Line("  Issuer:")
		names(w, c.Issuer)
		w.Line("  Subject:")
		names(w, c.Subject)
		if len(c.Names) > 0 {
			w.Linef("  Subject alternative names: %s", strings.Join(c.Names, ", "))
		}
		w.Line("  Validity Date:")
		w.Linef("    start date: %s", date(c.NotBefore))
		w.Linef("    end   date: %s", date(c.NotAfter))
		w.Linef("  Subject Key Info: %s, signed with %s", c.Key, c.Signature)
		w.Linef("  Associated Trustpoints: %s", strings.Join(c.Trustpoints, " "))
		w.Line("")
	}
}

// names are the parts of a distinguished name, one a line, as IOS writes them.
func names(w *cli.Table, dn string) {
	part := ""
	flush := func() {
		if k, v, ok := strings.Cut(part, "="); ok {
			part = strings.ToLower(k) + "=" + v
		}
		if part != "" {
			w.Linef("    %s", part)
		}
		part = ""
	}
	escaped := false
	for _, r := range dn {
		if r == ',' && !escaped {
			flush()
			continue
		}
		escaped = r == '\\' && !escaped
		part += string(r)
	}
	flush()
}

// Trustpoints is `show crypto pki trustpoints`.
type Trustpoints struct {
	Trustpoints []Trustpoint `json:"trustpoints"`
}

// Trustpoint is one of them.
type Trustpoint struct {
	Name       string        `json:"name"`
	CAs        []Certificate `json:"authorities"`
	Own        *Certificate  `json:"certificate,omitempty"`
	CRLs       int           `json:"crls"`
	Revocation bool          `json:"revocation_check"`
	Problem    string        `json:"problem,omitempty"`
}

// NewTrustpoints makes the answer.
func NewTrustpoints(points []*pki.Trustpoint, only string, now time.Time) Trustpoints {
	out := Trustpoints{Trustpoints: []Trustpoint{}}
	for _, t := range points {
		if only != "" && only != t.Name {
			continue
		}
		x := Trustpoint{Name: t.Name, CRLs: len(t.CRLs), Revocation: t.CheckRevocation, CAs: []Certificate{}}
		for _, c := range t.Roots {
			x.CAs = append(x.CAs, *NewCertificate(c, now))
		}
		if len(t.Chain) > 0 {
			x.Own = NewCertificate(t.Chain[0], now)
		}
		out.Trustpoints = append(out.Trustpoints, x)
	}
	return out
}

// Text implements cli.Result.
func (r Trustpoints) Text(w *cli.Table) {
	for _, t := range r.Trustpoints {
		w.Linef("Trustpoint %s:", t.Name)
		for _, c := range t.CAs {
			w.Line("    Subject Name:")
			names(w, c.Subject)
			w.Linef("          Serial Number (hex): %s", c.Serial)
		}
		if t.Own != nil {
			w.Line("    Certificate configured.")
		} else {
			w.Line("    No certificate of this router.")
		}
		check := "none"
		if t.Revocation {
			check = fmt.Sprintf("crl (%d lists)", t.CRLs)
		}
		w.Linef("    Revocation check: %s", check)
		w.Line("")
	}
}

// CRLs is `show crypto pki crls`.
type CRLs struct {
	CRLs []CRL `json:"crls"`
}

// CRL is one revocation list.
type CRL struct {
	Trustpoint string    `json:"trustpoint"`
	Issuer     string    `json:"issuer"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	Number     string    `json:"number,omitempty"`
	Revoked    int       `json:"revoked"`
	Expired    bool      `json:"expired"`
	Checked    bool      `json:"checked"`
}

// NewCRLs makes the answer.
func NewCRLs(points []*pki.Trustpoint, now time.Time) CRLs {
	out := CRLs{CRLs: []CRL{}}
	for _, t := range points {
		for _, l := range t.CRLs {
			x := CRL{Trustpoint: t.Name, Issuer: pki.DNString(l.RawIssuer), ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate, Revoked: len(l.RevokedCertificateEntries),
				Expired: !l.NextUpdate.IsZero() && now.After(l.NextUpdate), Checked: t.CheckRevocation}
			if l.Number != nil {
				x.Number = fmt.Sprintf("%X", l.Number)
			}
			out.CRLs = append(out.CRLs, x)
		}
	}
	return out
}

// Text implements cli.Result.
func (r CRLs) Text(w *cli.Table) {
	for _, l := range r.CRLs {
		w.Line("CRL Issuer Name:")
		names(w, l.Issuer)
		w.Linef("    LastUpdate: %s", date(l.ThisUpdate))
		next := "not given"
		if !l.NextUpdate.IsZero() {
			next = date(l.NextUpdate)
		}
		if l.Expired {
			next += " (expired: certificates of this issuer are refused)"
		}
		w.Linef("    NextUpdate: %s", next)
		if l.Number != "" {
			w.Linef("    CRL number (hex): %s", l.Number)
		}
		w.Linef("    Revoked certificates: %d, checked: %s, trustpoint %s", l.Revoked, yes(l.Checked), l.Trustpoint)
		w.Line("")
	}
}
