package suite

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
)

type hashInfo struct {
	new            func() hash.Hash
	size, icv      int
	rfc, ios, word string
}

var (
	prfHashes = map[PRFID]hashInfo{
		PRF_HMAC_SHA1:     {sha1.New, 20, 0, "SHA1", "SHA1", "sha1"},
		PRF_HMAC_SHA2_256: {sha256.New, 32, 0, "SHA2_256", "SHA256", "sha256"},
		PRF_HMAC_SHA2_384: {sha512.New384, 48, 0, "SHA2_384", "SHA384", "sha384"},
		PRF_HMAC_SHA2_512: {sha512.New, 64, 0, "SHA2_512", "SHA512", "sha512"},
	}
	// The ICV is half the hash (RFC 4868 §2.3), 96 bits for SHA-1 (RFC 2404).
	integHashes = map[IntegID]hashInfo{
		AUTH_HMAC_SHA1_96:      {sha1.New, 20, 12, "SHA1", "SHA96", "sha1"},
		AUTH_HMAC_SHA2_256_128: {sha256.New, 32, 16, "SHA2_256", "SHA256", "sha256"},
		AUTH_HMAC_SHA2_384_192: {sha512.New384, 48, 24, "SHA2_384", "SHA384", "sha384"},
		AUTH_HMAC_SHA2_512_256: {sha512.New, 64, 32, "SHA2_512", "SHA512", "sha512"},
	}
)

// PRF is a pseudo-random function of RFC 7296 §2.13. It is a value; the zero value is not usable.
type PRF struct {
	id  PRFID
	new func() hash.Hash
	len int
}

// NewPRF returns the function with this number.
func NewPRF(id PRFID) (PRF, error) {
	h, ok := prfHashes[id]
	if !ok {
		return PRF{}, fmt.Errorf("prf %v: %w", id, ErrUnsupported)
	}
	return PRF{id, h.new, h.size}, nil
}

// ID is the function's number.
func (p PRF) ID() PRFID { return p.id }

// KeyLen is the preferred key length in bytes; an HMAC's output has the same.
func (p PRF) KeyLen() int { return p.len }

// Sum is prf(key, parts...): the parts are concatenated.
func (p PRF) Sum(key []byte, parts ...[]byte) []byte {
	m := hmac.New(p.new, key)
	for _, b := range parts {
		m.Write(b)
	}
	return m.Sum(nil)
}

// Plus is prf+(key, seed), n bytes of it (RFC 7296 §2.13). More than 255 blocks are not defined and panic: n never
// comes from the wire.
func (p PRF) Plus(key, seed []byte, n int) []byte {
	if n > 255*p.len {
		panic("suite: prf+ is defined for 255 blocks only")
	}
	out := make([]byte, 0, n+p.len)
	m := hmac.New(p.new, key)
	for i, last := byte(1), []byte(nil); len(out) < n; i++ {
		m.Reset()
		m.Write(last)
		m.Write(seed)
		m.Write([]byte{i})
		out = m.Sum(out)
		last = out[len(out)-p.len:]
	}
	return out[:n]
}

// EqualMAC compares two authenticators in constant time.
func EqualMAC(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
