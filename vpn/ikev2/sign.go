package ikev2

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha1" // for peers without RFC 7427
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"slices"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"
)

// Scheme is a signature scheme or PSK, for people. Hash is empty where there is no choice of one.
type Scheme struct{ Name, Hash string }

// String is the name that a show command prints.
func (s Scheme) String() string { return s.Name }

// scheme is one way to sign: an algorithm with its padding and hash.
type scheme struct {
	kind AuthKind
	pss  bool
	hash message.HashAlgorithm
	salt int // of PSS
}

var hashFuncs = map[message.HashAlgorithm]crypto.Hash{message.HashSHA1: crypto.SHA1, message.HashSHA2_256: crypto.SHA256,
	message.HashSHA2_384: crypto.SHA384, message.HashSHA2_512: crypto.SHA512, message.HashIdentity: 0}

// ourHashes are what we announce and verify. SHA-1 is not among them: RFC 8247 §3.2.1 forbids it with RFC 7427.
var ourHashes = []message.HashAlgorithm{message.HashSHA2_256, message.HashSHA2_384, message.HashSHA2_512, message.HashIdentity}

var (
	oidRSAPSS  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidPKCS1   = map[message.HashAlgorithm]asn1.ObjectIdentifier{
		message.HashSHA1: {1, 2, 840, 113549, 1, 1, 5}, message.HashSHA2_256: {1, 2, 840, 113549, 1, 1, 11},
		message.HashSHA2_384: {1, 2, 840, 113549, 1, 1, 12}, message.HashSHA2_512: {1, 2, 840, 113549, 1, 1, 13}}
	oidECDSA = map[message.HashAlgorithm]asn1.ObjectIdentifier{
		message.HashSHA1: {1, 2, 840, 10045, 4, 1}, message.HashSHA2_256: {1, 2, 840, 10045, 4, 3, 2},
		message.HashSHA2_384: {1, 2, 840, 10045, 4, 3, 3}, message.HashSHA2_512: {1, 2, 840, 10045, 4, 3, 4}}
	oidHash = map[message.HashAlgorithm]asn1.ObjectIdentifier{
		message.HashSHA1: {1, 3, 14, 3, 2, 26}, message.HashSHA2_256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
		message.HashSHA2_384: {2, 16, 840, 1, 101, 3, 4, 2, 2}, message.HashSHA2_512: {2, 16, 840, 1, 101, 3, 4, 2, 3}}
)

// pssParameters is RFC 8017 A.2.3. What is left out there means SHA-1, which is refused.
type pssParameters struct {
	Hash    pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
	MGF     pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
	Salt    int                      `asn1:"explicit,tag:2"`
	Trailer int                      `asn1:"optional,explicit,tag:3,default:1"`
}

// algorithm is the scheme's AlgorithmIdentifier (RFC 7427 appendix A, RFC 8420 appendix A).
func (s scheme) algorithm() []byte {
	id := pkix.AlgorithmIdentifier{Algorithm: oidEd25519}
	switch {
	case s.kind == ECDSASignature:
		id.Algorithm = oidECDSA[s.hash]
	case s.pss:
		hash := pkix.AlgorithmIdentifier{Algorithm: oidHash[s.hash], Parameters: asn1.NullRawValue}
		mgf := pkix.AlgorithmIdentifier{Algorithm: oidMGF1, Parameters: asn1.RawValue{FullBytes: der(hash)}}
		id = pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: asn1.RawValue{FullBytes: der(pssParameters{hash, mgf, s.salt, 1})}}
	case s.kind == RSASignature:
		id = pkix.AlgorithmIdentifier{Algorithm: oidPKCS1[s.hash], Parameters: asn1.NullRawValue}
	}
	return der(id)
}

func der(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err) // only of values of this file
	}
	return b
}

// parseScheme reads an AlgorithmIdentifier. The hash of PSS and that of its mask must be the same.
func parseScheme(b []byte) (scheme, error) {
	var id pkix.AlgorithmIdentifier
	if rest, err := asn1.Unmarshal(b, &id); err != nil || len(rest) > 0 {
		return scheme{}, fmt.Errorf("%w: the AUTH payload's AlgorithmIdentifier does not parse", ErrAuthentication)
	}
	params := id.Parameters.FullBytes
	none, null := len(params) == 0, bytes.Equal(params, asn1.NullBytes)
	var s scheme
	switch {
	case id.Algorithm.Equal(oidEd25519) && none:
		return scheme{kind: Ed25519Signature, hash: message.HashIdentity}, nil
	case id.Algorithm.Equal(oidRSAPSS):
		var p pssParameters
		if rest, err := asn1.Unmarshal(params, &p); err != nil || len(rest) > 0 || p.Trailer != 1 || p.Salt < 0 || p.Salt > 512 {
			return scheme{}, fmt.Errorf("%w: the parameters of RSASSA-PSS do not parse, or are the SHA-1 ones", ErrAuthentication)
		}
		var mask pkix.AlgorithmIdentifier
		if rest, err := asn1.Unmarshal(p.MGF.Parameters.FullBytes, &mask); err != nil || len(rest) > 0 || !p.MGF.Algorithm.Equal(oidMGF1) ||
			!mask.Algorithm.Equal(p.Hash.Algorithm) {
			return scheme{}, fmt.Errorf("%w: RSASSA-PSS with a mask that is not MGF1 with the same hash", ErrAuthentication)
		}
		s = scheme{RSASignature, true, hashOf(oidHash, p.Hash.Algorithm), p.Salt}
	case hashOf(oidPKCS1, id.Algorithm) != 0 && (none || null):
		s = scheme{kind: RSASignature, hash: hashOf(oidPKCS1, id.Algorithm)}
	case hashOf(oidECDSA, id.Algorithm) != 0 && none:
		s = scheme{kind: ECDSASignature, hash: hashOf(oidECDSA, id.Algorithm)}
	default:
		return scheme{}, fmt.Errorf("%w: signature algorithm %v is not implemented", ErrAuthentication, id.Algorithm)
	}
	if !slices.Contains(ourHashes, s.hash) {
		return scheme{}, fmt.Errorf("%w: signature with hash %v, which we did not announce", ErrAuthentication, s.hash)
	}
	return s, nil
}

func hashOf(list map[message.HashAlgorithm]asn1.ObjectIdentifier, oid asn1.ObjectIdentifier) message.HashAlgorithm {
	for h, o := range list {
		if o.Equal(oid) {
			return h
		}
	}
	return 0
}

// schemeFor is how a key signs for a peer that announced these hashes; classic: none of them fits, and the methods of
// RFC 7296 and RFC 4754 are what is left.
func schemeFor(key crypto.PublicKey, pss bool, announced []message.HashAlgorithm) (s scheme, classic AuthMethod, err error) {
	// The hash that is as strong as the key first, then stronger ones, then weaker ones.
	all := []message.HashAlgorithm{message.HashSHA2_256, message.HashSHA2_384, message.HashSHA2_512}
	best := 0
	switch k := key.(type) {
	case *rsa.PublicKey:
		s, classic = scheme{kind: RSASignature, pss: pss, hash: message.HashSHA1}, message.AuthRSASignature
		switch n := k.N.BitLen(); {
		case n > 7680:
			best = 2
		case n > 3072:
			best = 1
		}
	case *ecdsa.PublicKey:
		s.kind = ECDSASignature
		c := curves[k.Curve.Params().Name]
		classic, s.hash, best = c.method, c.hash, slices.Index(all, c.hash)
	case ed25519.PublicKey:
		s.kind, s.hash = Ed25519Signature, message.HashIdentity
		if !slices.Contains(announced, s.hash) {
			err = fmt.Errorf("%w: Ed25519 needs a peer that announces the IDENTITY hash (RFC 8420); this one announces %s", ErrAuthentication, hashList(announced))
		}
		return s, 0, err
	default:
		return s, 0, fmt.Errorf("%w: no signatures with %s keys", ErrConfig, pki.KeyName(key))
	}
	order := append(slices.Clone(all[best:]), all[:best]...)
	for _, h := range order {
		if slices.Contains(announced, h) {
			s.hash, s.salt = h, hashFuncs[h].Size()
			return s, 0, nil
		}
	}
	if s.pss {
		return s, 0, fmt.Errorf("%w: RSASSA-PSS needs a peer that announces a hash of SHA-2 (RFC 7427); this one announces %s", ErrAuthentication, hashList(announced))
	}
	return s, classic, nil
}

func hashList(list []message.HashAlgorithm) string {
	if len(list) == 0 {
		return "none"
	}
	return fmt.Sprint(list)
}

// curves: RFC 4754 ties each to a hash.
var curves = map[string]struct {
	method AuthMethod
	hash   message.HashAlgorithm
	size   int // of r and of s
	name   string
}{
	"P-256": {message.AuthECDSA256, message.HashSHA2_256, 32, "ECDSA-256"},
	"P-384": {message.AuthECDSA384, message.HashSHA2_384, 48, "ECDSA-384"},
	"P-521": {message.AuthECDSA521, message.HashSHA2_512, 66, "ECDSA-521"},
}

// sign signs octets.
func (s scheme) sign(key crypto.Signer, octets []byte, rand io.Reader) ([]byte, error) {
	h := hashFuncs[s.hash]
	var opts crypto.SignerOpts = h
	if s.pss {
		opts = &rsa.PSSOptions{SaltLength: s.salt, Hash: h}
	}
	return key.Sign(rand, digest(h, octets), opts)
}

func digest(h crypto.Hash, octets []byte) []byte {
	if h == 0 {
		return octets
	}
	f := h.New()
	f.Write(octets)
	return f.Sum(nil)
}

// verify checks a signature, one of RFC 7427 (ECDSA's is DER).
func (s scheme) verify(key crypto.PublicKey, octets, signature []byte) error {
	h := hashFuncs[s.hash]
	ok := false
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch {
		case s.kind != RSASignature:
		case s.pss:
			// A salt is as long as the peer says, which is nothing that it could lie about with profit.
			ok = rsa.VerifyPSS(k, h, digest(h, octets), signature, &rsa.PSSOptions{SaltLength: pssSalt(s.salt), Hash: h}) == nil
		default:
			ok = rsa.VerifyPKCS1v15(k, h, digest(h, octets), signature) == nil
		}
	case *ecdsa.PublicKey:
		ok = s.kind == ECDSASignature && ecdsa.VerifyASN1(k, digest(h, octets), signature)
	case ed25519.PublicKey:
		ok = s.kind == Ed25519Signature && ed25519.Verify(k, octets, signature)
	}
	if !ok {
		return fmt.Errorf("%w: the signature (%v) is not by the key of the certificate (%s)", ErrAuthentication, s, pki.KeyName(key))
	}
	return nil
}

// pssSalt: 0 is "any length" in crypto/rsa.
func pssSalt(n int) int {
	if n == 0 {
		return rsa.PSSSaltLengthAuto
	}
	return n
}

func (s scheme) String() string {
	name := map[AuthKind]string{RSASignature: "RSA", ECDSASignature: "ECDSA", Ed25519Signature: "Ed25519"}[s.kind]
	if s.pss {
		name += "-PSS"
	}
	if s.kind == Ed25519Signature {
		return name
	}
	return name + " with " + s.hash.String()
}

// named is the scheme with a key for show commands.
func (s scheme) named(key crypto.PublicKey) Scheme {
	switch s.kind {
	case ECDSASignature:
		if k, ok := key.(*ecdsa.PublicKey); ok {
			return Scheme{curves[k.Curve.Params().Name].name, s.hash.String()}
		}
	case Ed25519Signature:
		return Scheme{Name: "Ed25519"}
	}
	if s.pss {
		return Scheme{"RSA-PSS", s.hash.String()}
	}
	return Scheme{"RSA", s.hash.String()}
}

// rawECDSA turns a DER signature into r and s, each as long as the curve's order (RFC 4754 §3), and DER is the way back.
func rawECDSA(signature []byte, size int) ([]byte, error) {
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &v); err != nil {
		return nil, err
	}
	return append(v.R.FillBytes(make([]byte, size)), v.S.FillBytes(make([]byte, size))...), nil
}

func derECDSA(raw []byte, size int) ([]byte, error) {
	if len(raw) != 2*size {
		return nil, fmt.Errorf("%w: an ECDSA signature of %d bytes, not %d", ErrAuthentication, len(raw), 2*size)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])})
}
