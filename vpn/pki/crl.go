package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// revocations is a CRL made ready for looking things up. issuer is whose signature it has been checked against.
type revocations struct {
	list   map[string]x509.RevocationListEntry
	issuer *x509.Certificate
}

// Limits of a file of CRLs.
const maxRevoked = 1 << 20

var (
	oidDeltaCRL         = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingDistPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

func (t *Trustpoint) readCRLs(b []byte) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("the file is empty; a CRL in PEM or DER is expected")
	}
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		return t.addCRL(b)
	}
	found := false
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "X509 CRL" {
			continue
		}
		found = true
		if err := t.addCRL(block.Bytes); err != nil {
			return fmt.Errorf("PEM block %d: %w", n, err)
		}
	}
	if !found {
		return errors.New("there is no -----BEGIN X509 CRL----- in the file")
	}
	return nil
}

func (t *Trustpoint) addCRL(der []byte) error {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("not a CRL: %v", err)
	}
	for _, e := range l.Extensions {
		switch {
		case e.Id.Equal(oidDeltaCRL):
			return errors.New("it is a delta CRL; only whole ones are used")
		case e.Id.Equal(oidIssuingDistPoint):
			return errors.New("it is for a part of the certificates only (issuing distribution point); only whole ones are used")
		case e.Critical:
			return fmt.Errorf("it has a critical extension %v, which is unknown here", e.Id)
		}
	}
	if len(l.RevokedCertificateEntries) > maxRevoked {
		return fmt.Errorf("it has %d entries, more than %d", len(l.RevokedCertificateEntries), maxRevoked)
	}
	r := revocations{list: make(map[string]x509.RevocationListEntry, len(l.RevokedCertificateEntries))}
	for _, e := range l.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical { // a certificate issuer: an indirect CRL
				return fmt.Errorf("the entry for serial %s has a critical extension %v, which is unknown here", serial(e.SerialNumber.Bytes()), x.Id)
			}
		}
		r.list[string(e.SerialNumber.Bytes())] = e
	}
	// An authority's CRL with a wrong signature is a mistake of the file; that of one that is not here yet shows later.
	known := false
	for _, list := range [][]*x509.Certificate{t.Roots, t.Intermediates} {
		for _, c := range list {
			if !bytes.Equal(c.RawSubject, l.RawIssuer) {
				continue
			}
			known = true
			if r.signed(l, c) {
				r.issuer = c
			}
		}
	}
	if known && r.issuer == nil {
		return fmt.Errorf("the CRL of %q is not signed by the authority of that name in ca", DNString(l.RawIssuer))
	}
	t.CRLs, t.revoked = append(t.CRLs, l), append(t.revoked, r)
	return nil
}

func (r *revocations) signed(l *x509.RevocationList, issuer *x509.Certificate) bool {
	return r.issuer != nil && r.issuer.Equal(issuer) ||
		(issuer.KeyUsage == 0 || issuer.KeyUsage&x509.KeyUsageCRLSign != 0) && l.CheckSignatureFrom(issuer) == nil
}

// revocation looks a certificate up in its issuer's newest CRL.
func (t *Trustpoint) revocation(c, issuer *x509.Certificate, now time.Time) error {
	best := -1
	bad := false
	for i, l := range t.CRLs {
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || best >= 0 && !l.ThisUpdate.After(t.CRLs[best].ThisUpdate) {
			continue
		}
		if t.revoked == nil || !t.revoked[i].signed(l, issuer) {
			bad = true
			continue
		}
		best = i
	}
	if best < 0 {
		if bad {
			return fmt.Errorf("%w: the CRL of %q in trustpoint %s is not signed by it", ErrCRL, Subject(issuer), t.Name)
		}
		return fmt.Errorf("%w: trustpoint %s has no CRL of %q, the issuer of %s", ErrCRL, t.Name, Subject(issuer), name(c))
	}
	l := t.CRLs[best]
	if e, ok := t.revoked[best].list[string(c.SerialNumber.Bytes())]; ok {
		return &RevokedError{Subject: Subject(c), Serial: Serial(c), When: e.RevocationTime, Reason: reasons[e.ReasonCode]}
	}
	switch {
	case now.Before(l.ThisUpdate):
		return fmt.Errorf("%w: the CRL of %q in trustpoint %s is valid from %s on, and it is %s here", ErrCRL, Subject(issuer), t.Name, day(l.ThisUpdate), day(now))
	case !l.NextUpdate.IsZero() && now.After(l.NextUpdate):
		return fmt.Errorf("%w: the CRL of %q in trustpoint %s has expired on %s; install a newer one", ErrCRL, Subject(issuer), t.Name, day(l.NextUpdate))
	}
	return nil
}

// reasons are RFC 5280 §5.3.1's.
var reasons = map[int]string{1: "key compromise", 2: "CA compromise", 3: "affiliation changed", 4: "superseded", 5: "cessation of operation",
	6: "certificate hold", 9: "privilege withdrawn", 10: "AA compromise"}
