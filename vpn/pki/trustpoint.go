package pki

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trustpoint is one `crypto pki trustpoint`: the authorities that are trusted, and what this router proves itself with.
type Trustpoint struct {
	Name            string
	Roots           []*x509.Certificate // the anchors
	Intermediates   []*x509.Certificate // help to find a path
	Chain           []*x509.Certificate // ours, leaf first, without the anchor; empty: this router has none
	Key             crypto.Signer       // for Chain[0]
	CRLs            []*x509.RevocationList
	CheckRevocation bool

	revoked []revocations // of CRLs, in their order
}

// Part says which of a trustpoint's files an error is about.
type Part string

const (
	PartCA          Part = "ca"
	PartCertificate Part = "certificate"
	PartKey         Part = "key"
	PartCRL         Part = "crl"
)

// FileError is a mistake in one of a trustpoint's files.
type FileError struct {
	Part  Part
	Index int // of the CRL
	Err   error
}

func (e *FileError) Error() string { return string(e.Part) + ": " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// NewTrustpoint reads PEM files: certificates of authorities; the router's own certificate, which others of its chain may
// follow, with its key (PKCS#8, PKCS#1 or SEC 1), or neither; and CRLs in PEM or DER. Errors are *FileError.
func NewTrustpoint(name string, ca, certificate, key []byte, crls [][]byte, check bool) (*Trustpoint, error) {
	t := &Trustpoint{Name: name, CheckRevocation: check}
	if err := t.readAuthorities(ca); err != nil {
		return nil, &FileError{Part: PartCA, Err: err}
	}
	for i, b := range crls {
		if err := t.readCRLs(b); err != nil {
			return nil, &FileError{PartCRL, i, err}
		}
	}
	if check && len(t.CRLs) == 0 {
		return nil, &FileError{Part: PartCRL, Err: errors.New("revocation is to be checked, but there is no CRL")}
	}
	if len(certificate) == 0 && len(key) == 0 {
		return t, nil
	}
	return t, t.readOwn(certificate, key)
}

func (t *Trustpoint) readAuthorities(b []byte) error {
	list, err := readCertificates(b)
	if err != nil {
		return err
	}
	for i, c := range list {
		if !c.IsCA {
			return fmt.Errorf("certificate %d (%s) is not one of an authority (basic constraints)", i+1, name(c))
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("certificate %d (%s) may not sign certificates (key usage)", i+1, name(c))
		}
		if slices.ContainsFunc(t.Roots, c.Equal) || slices.ContainsFunc(t.Intermediates, c.Equal) {
			continue
		}
		issued := slices.ContainsFunc(list, func(o *x509.Certificate) bool { return !o.Equal(c) && mayIssue(o, c) && c.CheckSignatureFrom(o) == nil })
		if issued && !selfIssued(c) {
			t.Intermediates = append(t.Intermediates, c)
		} else {
			t.Roots = append(t.Roots, c)
		}
	}
	return nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

func readCertificates(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("the file is empty; a PEM file with -----BEGIN CERTIFICATE----- is expected")
	}
	n := 0
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		n++
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		default:
			if strings.Contains(block.Type, "PRIVATE KEY") {
				return nil, fmt.Errorf("PEM block %d is a %s; a file of certificates must not have one", n, block.Type)
			}
			continue
		}
		if len(block.Bytes) > MaxCertificateBytes {
			return nil, fmt.Errorf("PEM block %d: a certificate of %d bytes, more than %d", n, len(block.Bytes), MaxCertificateBytes)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %v", n, err)
		}
		if err := checkKey(c.PublicKey); err != nil {
			return nil, fmt.Errorf("PEM block %d (%s): %v", n, name(c), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		if n == 0 && b[0] == 0x30 {
			return nil, errors.New("the file is DER; convert it: openssl x509 -inform der -in FILE -out FILE.pem")
		}
		return nil, errors.New("there is no -----BEGIN CERTIFICATE----- in the file")
	}
	return out, nil
}

func (t *Trustpoint) readOwn(certificate, key []byte) error {
	if len(certificate) == 0 {
		return &FileError{Part: PartCertificate, Err: errors.New("there is a key but no certificate")}
	}
	chain, err := readCertificates(certificate)
	if err != nil {
		return &FileError{Part: PartCertificate, Err: err}
	}
	if len(key) == 0 {
		return &FileError{Part: PartKey, Err: errors.New("there is a certificate but no key")}
	}
	signer, err := ParseKey(key)
	if err != nil {
		return &FileError{Part: PartKey, Err: err}
	}
	at := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return samePublic(c.PublicKey, signer.Public()) })
	if at < 0 {
		return &FileError{Part: PartKey, Err: fmt.Errorf("the key (%s) does not belong to the certificate %s (%s)", KeyName(signer.Public()), name(chain[0]), KeyName(chain[0].PublicKey))}
	}
	leaf := chain[at]
	if err := checkUsage(leaf, true); err != nil {
		return &FileError{Part: PartCertificate, Err: err}
	}
	// Ours must lead to the authorities, whatever the time is: a router's clock may be wrong until NTP has spoken.
	v := verifier{budget: maxSignatures, timeless: true}
	path, err := v.verify(t, append([]*x509.Certificate{leaf}, chain...), time.Time{})
	if err != nil {
		return &FileError{Part: PartCertificate, Err: err}
	}
	t.Key, t.Chain = signer, path
	if last := path[len(path)-1]; len(path) > 1 && slices.ContainsFunc(t.Roots, last.Equal) {
		t.Chain = path[:len(path)-1]
	}
	return nil
}

// ParseKey reads a private key: PEM of PKCS#8, PKCS#1 or SEC 1.
func ParseKey(b []byte) (crypto.Signer, error) {
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			return nil, errors.New("there is no private key in PEM (-----BEGIN PRIVATE KEY-----) in the file")
		}
		b = rest
		var key any
		var err error
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("the key is encrypted, and a router cannot ask for its password; decrypt it: openssl pkey -in FILE -out FILE.key")
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // EC PARAMETERS, a certificate
			continue
		}
		clear(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d (%s): not a private key that can be read", n, block.Type) // never what is in it
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("PEM block %d: a key that cannot sign", n)
		}
		return signer, checkKey(signer.Public())
	}
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// Format keeps the key out of whatever prints or marshals a trustpoint: fmt shows all of an Ed25519 key.
func (t Trustpoint) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("trustpoint " + t.Name)) }

// MarshalText implements encoding.TextMarshaler.
func (t Trustpoint) MarshalText() ([]byte, error) { return []byte("trustpoint " + t.Name), nil }

// HasKey reports whether the router can prove itself with this trustpoint.
func (t *Trustpoint) HasKey() bool { return t.Key != nil && len(t.Chain) > 0 }

// KeyHash is what a CERTREQ payload says of an authority: the SHA-1 hash of its SubjectPublicKeyInfo (RFC 7296 §3.7).
func KeyHash(c *x509.Certificate) [sha1.Size]byte { return sha1.Sum(c.RawSubjectPublicKeyInfo) }

// IssuedBelow reports whether our own certificate is below an authority with one of these key hashes.
func (t *Trustpoint) IssuedBelow(hashes map[[sha1.Size]byte]bool) bool {
	if !t.HasKey() {
		return false
	}
	for _, c := range t.Chain[1:] {
		if hashes[KeyHash(c)] {
			return true
		}
	}
	last := t.Chain[len(t.Chain)-1]
	return slices.ContainsFunc(t.Roots, func(c *x509.Certificate) bool { return hashes[KeyHash(c)] && bytes.Equal(c.RawSubject, last.RawIssuer) })
}
