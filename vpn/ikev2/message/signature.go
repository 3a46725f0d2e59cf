package message

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
)

// HashAlgorithm is a hash function of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7, RFC 8420 §2).
type HashAlgorithm uint16

const (
	HashSHA1     HashAlgorithm = 1
	HashSHA2_256 HashAlgorithm = 2
	HashSHA2_384 HashAlgorithm = 3
	HashSHA2_512 HashAlgorithm = 4
	HashIdentity HashAlgorithm = 5
)

var hashNames = map[HashAlgorithm]string{HashSHA1: "SHA1", HashSHA2_256: "SHA2-256", HashSHA2_384: "SHA2-384", HashSHA2_512: "SHA2-512", HashIdentity: "IDENTITY"}

func (h HashAlgorithm) String() string { return name(hashNames, h, "HASH_") }

// MaxHashAlgorithms and MaxAuthorities are how many are read of a SIGNATURE_HASH_ALGORITHMS and of a CERTREQ; more are
// left unread, since both are lists of what a peer would like.
const (
	MaxHashAlgorithms = 64
	MaxAuthorities    = 512
)

// HashAlgorithms is the notification that lists these.
func HashAlgorithms(list ...HashAlgorithm) *Notify {
	n := &Notify{Message: SIGNATURE_HASH_ALGORITHMS}
	for _, h := range list {
		n.Data = binary.BigEndian.AppendUint16(n.Data, uint16(h))
	}
	return n
}

// HashAlgorithms reads a SIGNATURE_HASH_ALGORITHMS notification (RFC 7427 §4).
func (p *Notify) HashAlgorithms() ([]HashAlgorithm, error) {
	if len(p.Data)%2 != 0 {
		return nil, fmt.Errorf("%v: %w: %d bytes", p.Message, ErrLength, len(p.Data))
	}
	var out []HashAlgorithm
	for b := p.Data; len(b) > 0 && len(out) < MaxHashAlgorithms; b = b[2:] {
		out = append(out, HashAlgorithm(binary.BigEndian.Uint16(b)))
	}
	return out, nil
}

// KeyHash is the SHA-1 hash of an authority's SubjectPublicKeyInfo.
type KeyHash = [sha1.Size]byte

// Authorities is the CERTREQ that asks for X.509 certificates below these (RFC 7296 §3.7).
func Authorities(list ...KeyHash) *CERTREQ {
	p := &CERTREQ{Encoding: CertX509Signature}
	for _, h := range list {
		p.Data = append(p.Data, h[:]...)
	}
	return p
}

// Authorities reads the hashes of a CERTREQ for X.509 certificates.
func (p *CERTREQ) Authorities() ([]KeyHash, error) {
	if len(p.Data)%sha1.Size != 0 {
		return nil, fmt.Errorf("CERTREQ: %w: %d bytes are not whole hashes", ErrLength, len(p.Data))
	}
	var out []KeyHash
	for b := p.Data; len(b) > 0 && len(out) < MaxAuthorities; b = b[sha1.Size:] {
		out = append(out, KeyHash(b))
	}
	return out, nil
}

// Signature takes the data of an AUTH payload with AuthDigitalSignature apart: the AlgorithmIdentifier (DER) and the
// signature (RFC 7427 §3).
func (p *AUTH) Signature() (algorithm, signature []byte, err error) {
	if len(p.Data) < 1 || len(p.Data) < 1+int(p.Data[0]) {
		return nil, nil, fmt.Errorf("AUTH: %w", ErrShort)
	}
	n := 1 + int(p.Data[0])
	if n == 1 || n == len(p.Data) {
		return nil, nil, fmt.Errorf("AUTH: %w: no algorithm or no signature", ErrLength)
	}
	return p.Data[1:n:n], p.Data[n:], nil
}

// DigitalSignature is the AUTH payload of RFC 7427.
func DigitalSignature(algorithm, signature []byte) *AUTH {
	data := append([]byte{uint8(len(algorithm))}, algorithm...)
	return &AUTH{Method: AuthDigitalSignature, Data: append(data, signature...)}
}
