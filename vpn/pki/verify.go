package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxSignatures is how many signatures are checked in search of a path. A path has at most maxPath certificates.
const (
	maxSignatures = 24
	maxPath       = 8
)

// Verify finds a path from chain[0] to an anchor of the trustpoint, which is everything that the package says. The
// result is that path, leaf first, anchor last.
func (t *Trustpoint) Verify(chain []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	path, _, err := Verify([]*Trustpoint{t}, chain, now)
	return path, err
}

// Verify tries the trustpoints in their order. The error is that of the one where the chain came farthest.
func Verify(list []*Trustpoint, chain []*x509.Certificate, now time.Time) ([]*x509.Certificate, *Trustpoint, error) {
	v := verifier{budget: maxSignatures}
	var worst error
	for _, t := range list {
		path, err := v.verify(t, chain, now)
		if err == nil {
			return path, t, nil
		}
		if worst == nil || errors.Is(worst, ErrUnknownCA) {
			worst = err
		}
	}
	if worst == nil {
		worst = fmt.Errorf("%w: there is no trustpoint", ErrUnknownCA)
	}
	return nil, nil, worst
}

// verifier is one search, with what it may still cost.
type verifier struct {
	budget   int
	timeless bool // our own chain when it is loaded

	t    *Trustpoint
	sent []*x509.Certificate // a peer's certificates but the leaf
	now  time.Time
	path []*x509.Certificate
	// missing is the last certificate whose issuer was not found; failed is what was wrong with the first path.
	missing *x509.Certificate
	failed  error
}

func (v *verifier) verify(t *Trustpoint, chain []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if len(chain) == 0 || len(chain) > MaxCertificates+1 {
		return nil, fmt.Errorf("%w: a chain of %d", ErrMalformed, len(chain))
	}
	leaf := chain[0]
	if err := checkUsage(leaf, true); err != nil {
		return nil, err
	}
	v.t, v.sent, v.now, v.missing, v.failed = t, chain[1:], now, nil, nil
	v.path = append(v.path[:0], leaf)
	if v.search() {
		return slices.Clone(v.path), nil
	}
	switch {
	case v.failed != nil:
		return nil, v.failed
	case v.budget <= 0:
		return nil, fmt.Errorf("%w: too many candidates for the issuers of %s", ErrUnknownCA, name(leaf))
	}
	// A dead end's own date explains more than an issuer that is missing.
	if err := v.dates(leaf); err != nil {
		return nil, err
	}
	if v.missing == nil {
		v.missing = leaf
	}
	return nil, fmt.Errorf("%w: %s is issued by %q, which trustpoint %s does not have and the peer did not send", ErrUnknownCA, name(v.missing), Issuer(v.missing), t.Name)
}

// search goes up from the last certificate of the path; true: the path is complete and good.
func (v *verifier) search() bool {
	last := v.path[len(v.path)-1]
	if slices.ContainsFunc(v.t.Roots, last.Equal) {
		return v.check()
	}
	if len(v.path) == maxPath {
		return false
	}
	found := false
	for i, list := range [][]*x509.Certificate{v.t.Roots, v.t.Intermediates, v.sent} {
		for _, issuer := range list {
			if !mayIssue(issuer, last) || slices.ContainsFunc(v.path, func(p *x509.Certificate) bool { return p.Equal(issuer) }) {
				continue
			}
			if i > 0 && slices.ContainsFunc(v.t.Roots, issuer.Equal) {
				continue // had its turn
			}
			if v.budget <= 0 {
				return false
			}
			v.budget--
			if err := last.CheckSignatureFrom(issuer); err != nil {
				var weak x509.InsecureAlgorithmError
				if errors.As(err, &weak) {
					v.fail(fmt.Errorf("%w: %s is signed with %v", ErrWeak, name(last), last.SignatureAlgorithm))
				}
				continue
			}
			found = true
			v.path = append(v.path, issuer)
			if i == 0 && v.check() || i > 0 && v.search() {
				return true
			}
			v.path = v.path[:len(v.path)-1]
		}
	}
	if !found {
		v.missing = last
	}
	return false
}

func (v *verifier) fail(err error) bool {
	if v.failed == nil {
		v.failed = err
	}
	return false
}

// mayIssue compares names and key identifiers: what costs nothing.
func mayIssue(issuer, c *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) && issuer.IsCA &&
		(len(c.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId))
}

// check looks at a whole path whose signatures are good.
func (v *verifier) check() bool {
	if !v.timeless {
		for _, c := range v.path {
			if err := v.dates(c); err != nil {
				return v.fail(err)
			}
		}
	}
	for i, c := range v.path[1:] {
		if i < len(v.path)-2 { // an anchor is the operator's choice
			if err := checkUsage(c, false); err != nil {
				return v.fail(err)
			}
		}
	}
	if err := v.constraints(); err != nil {
		return v.fail(err)
	}
	if v.t.CheckRevocation && !v.timeless {
		for i, c := range v.path[:len(v.path)-1] {
			if err := v.t.revocation(c, v.path[i+1], v.now); err != nil {
				return v.fail(err)
			}
		}
	}
	return true
}

func (v *verifier) dates(c *x509.Certificate) error {
	switch {
	case v.timeless:
	case v.now.Before(c.NotBefore):
		return fmt.Errorf("%w: %s is valid from %s on, and it is %s here", ErrNotYetValid, name(c), day(c.NotBefore), day(v.now))
	case v.now.After(c.NotAfter):
		return fmt.Errorf("%w: %s, on %s", ErrExpired, name(c), day(c.NotAfter))
	}
	return nil
}

// constraints has crypto/x509 check what is between the certificates of the path: basic constraints, path lengths, name
// constraints, critical extensions. Nothing is searched there, since there is only this path.
func (v *verifier) constraints() error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: v.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for i, c := range v.path[1:] {
		if i == len(v.path)-2 {
			o.Roots.AddCert(c)
		} else {
			o.Intermediates.AddCert(c)
		}
	}
	leaf := v.path[0]
	if len(v.path) == 1 {
		o.Roots.AddCert(leaf)
	}
	if v.timeless {
		o.CurrentTime = leaf.NotAfter // a time at which the leaf is valid; others may not be
		for _, c := range v.path {
			if c.NotAfter.Before(o.CurrentTime) {
				o.CurrentTime = c.NotAfter
			}
		}
	}
	_, err := leaf.Verify(o)
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && v.timeless && invalid.Reason == x509.Expired:
		return nil // there never is a time at which all are valid: Verify says so when it is used
	case errors.As(err, &invalid) && invalid.Cert != nil:
		return fmt.Errorf("%w: %s: %v", ErrConstraint, name(invalid.Cert), err)
	}
	return fmt.Errorf("%w: %s: %v", ErrConstraint, name(leaf), err)
}

var ikeIntermediate = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 8, 2, 2}
var ipsecIKE = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 17}

// checkUsage looks at key usage (of a leaf) and extended key usage (of all).
func checkUsage(c *x509.Certificate, leaf bool) error {
	if leaf && c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return fmt.Errorf("%w: %s has a key usage without digitalSignature", ErrUsage, name(c))
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageIPSECEndSystem, x509.ExtKeyUsageIPSECTunnel:
			return nil
		}
	}
	for _, u := range c.UnknownExtKeyUsage {
		if u.Equal(ipsecIKE) || u.Equal(ikeIntermediate) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s has an extended key usage without ipsecIKE, serverAuth, clientAuth or any", ErrUsage, name(c))
}
