package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
)

// Limits of what is read from a peer.
const (
	MaxCertificates     = 10
	MaxCertificateBytes = 16 << 10
	minRSABits          = 2048
	maxRSABits          = 8192
)

// ParseChain reads a peer's certificates (DER), the leaf first. What is too much or unusable costs nothing more.
func ParseChain(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrMalformed)
	}
	if len(ders) > MaxCertificates {
		return nil, fmt.Errorf("%w: %d certificates, more than %d", ErrMalformed, len(ders), MaxCertificates)
	}
	var out []*x509.Certificate
	for i, der := range ders {
		if len(der) > MaxCertificateBytes {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, more than %d", ErrMalformed, i+1, len(der), MaxCertificateBytes)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %v", ErrMalformed, i+1, err)
		}
		if err := checkKey(c.PublicKey); err != nil {
			return nil, fmt.Errorf("%w: certificate %d (%s): %v", ErrWeak, i+1, name(c), err)
		}
		out = append(out, c)
	}
	return out, nil
}

// checkKey says whether a public key is one that this router works with.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("RSA keys have %d to %d bits here, not %d", minRSABits, maxRSABits, n)
		}
		if k.E < 3 || k.E > 1<<31-1 || k.E&1 == 0 {
			return fmt.Errorf("RSA exponent %d", k.E)
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().Name {
		case "P-256", "P-384", "P-521":
		default:
			return fmt.Errorf("curve %s", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("a public key that is neither RSA, ECDSA nor Ed25519")
	}
	return nil
}

// KeyName is the kind of a public key for people: "RSA-2048", "ECDSA P-256", "Ed25519".
func KeyName(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
