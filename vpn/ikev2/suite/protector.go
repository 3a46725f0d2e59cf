package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

var (
	// ErrIntegrity says that a protected payload is not what its sender made: drop the message, keep the SA.
	ErrIntegrity = errors.New("integrity check failed")
	// ErrShort says that a message is too short, or of a length that the cipher cannot have made.
	ErrShort = errors.New("protected payload has an impossible length")
	// ErrPad says that the padding of an authentic payload is wrong: the peer errs.
	ErrPad = errors.New("padding is longer than its payload")
)

const (
	gcmSalt, gcmIV, gcmTag = 4, 8, 16
)

// KeyLens are the lengths of SK_e and SK_a in bytes; SK_e of GCM includes the salt (RFC 5282 §7.1). Both are 0 for a
// combination that IKE cannot use.
func KeyLens(encr EncrID, keyBits int, integ IntegID) (enc, ig int) {
	if !encr.Supported(keyBits) {
		return 0, 0
	}
	if encr.AEAD() {
		if integ != AUTH_NONE {
			return 0, 0
		}
		return keyBits/8 + gcmSalt, 0
	}
	h, ok := integHashes[integ]
	if !ok {
		return 0, 0
	}
	return keyBits / 8, h.size
}

// Protector seals or opens the SK (or SKF) payload's content in one direction (RFC 7296 §3.14, RFC 5282).
//
//	message prefix .. generic header of SK | IV | ciphertext( plaintext | padding | pad length ) | ICV
//	└────────────── aad ─────────────────┘
//
// It is not safe for concurrent use.
type Protector struct {
	rand  io.Reader
	block cipher.Block // CBC
	mac   hash.Hash    // CBC
	icv   int
	aead  cipher.AEAD // GCM
	salt  [gcmSalt]byte
	iv    uint64 // GCM: the next one; a counter from a random start never repeats under a key
}

// NewProtector makes the protector of one direction's keys. The keys must have the lengths that KeyLens tells.
func NewProtector(encr EncrID, keyBits int, integ IntegID, encKey, integKey []byte, rand io.Reader) (*Protector, error) {
	enc, ig := KeyLens(encr, keyBits, integ)
	if enc == 0 {
		return nil, fmt.Errorf("%v with %d bits and %v: %w", encr, keyBits, integ, ErrUnsupported)
	}
	if len(encKey) != enc || len(integKey) != ig {
		return nil, fmt.Errorf("%v with %d bits and %v: keys of %d and %d bytes, not %d and %d",
			encr, keyBits, integ, len(encKey), len(integKey), enc, ig)
	}
	p := &Protector{rand: rand}
	block, err := aes.NewCipher(encKey[:keyBits/8])
	if err != nil {
		return nil, err
	}
	if !encr.AEAD() {
		h := integHashes[integ]
		p.block, p.mac, p.icv = block, hmac.New(h.new, integKey), h.icv
		return p, nil
	}
	p.icv = gcmTag
	copy(p.salt[:], encKey[keyBits/8:])
	if p.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	var start [gcmIV]byte
	if _, err := io.ReadFull(rand, start[:]); err != nil {
		return nil, fmt.Errorf("initialization vector: %w", err)
	}
	p.iv = binary.BigEndian.Uint64(start[:])
	return p, nil
}

// IVLen is the length of the IV in front of the ciphertext.
func (p *Protector) IVLen() int {
	if p.aead != nil {
		return gcmIV
	}
	return aes.BlockSize
}

// Overhead is what Seal adds to a plaintext of this length: IV, padding, pad length and ICV.
func (p *Protector) Overhead(plain int) int { return p.IVLen() + p.padding(plain) + 1 + p.icv }

// MaxPlain is the longest plaintext that Seal turns into at most room bytes; negative when not even an empty one fits.
func (p *Protector) MaxPlain(room int) int {
	n := room - p.IVLen() - p.icv
	if p.aead == nil {
		n -= ((n % aes.BlockSize) + aes.BlockSize) % aes.BlockSize
	}
	return n - 1
}

func (p *Protector) padding(plain int) int {
	if p.aead != nil {
		return 0 // RFC 5282 §3: no alignment is needed
	}
	return (aes.BlockSize - (plain+1)%aes.BlockSize) % aes.BlockSize
}

// Seal appends IV | ciphertext | ICV to dst. aad is everything of the message before the IV, with the final lengths in
// its headers (Overhead tells them); dst may be aad itself, the message is then what Seal returns. plaintext must not
// overlap dst's spare room. Without randomness for an IV there is nothing safe to do: Seal panics.
func (p *Protector) Seal(dst, aad, plaintext []byte) []byte {
	pad := p.padding(len(plaintext))
	ivAt := len(dst)
	dst = grow(dst, p.Overhead(len(plaintext))+len(plaintext))
	iv := dst[ivAt : ivAt+p.IVLen()]
	body := dst[ivAt+p.IVLen() : len(dst)-p.icv]
	n := copy(body, plaintext)
	clear(body[n : n+pad])
	body[n+pad] = byte(pad)

	if p.aead != nil {
		binary.BigEndian.PutUint64(iv, p.iv)
		p.iv++
		p.aead.Seal(body[:0], p.nonce(iv), body, aad)
		return dst
	}
	if _, err := io.ReadFull(p.rand, iv); err != nil {
		panic("suite: no randomness for an initialization vector: " + err.Error())
	}
	cipher.NewCBCEncrypter(p.block, iv).CryptBlocks(body, body)
	copy(dst[len(dst)-p.icv:], p.sum(aad, dst[ivAt:len(dst)-p.icv]))
	return dst
}

// Open checks and decrypts a message that ends with IV | ciphertext | ICV; the IV begins at ivOffset. It returns the
// plaintext without its padding in memory of its own and leaves the message as it is (a retransmission is recognized
// by its bytes).
func (p *Protector) Open(message []byte, ivOffset int) ([]byte, error) {
	if ivOffset < 0 || ivOffset > len(message) {
		return nil, ErrShort
	}
	aad, rest := message[:ivOffset], message[ivOffset:]
	n := len(rest) - p.IVLen() - p.icv
	if n < 1 || p.aead == nil && n%aes.BlockSize != 0 {
		return nil, ErrShort
	}
	iv, body, icv := rest[:p.IVLen()], rest[p.IVLen():p.IVLen()+n], rest[p.IVLen()+n:]
	plain := make([]byte, n)
	if p.aead != nil {
		if _, err := p.aead.Open(plain[:0], p.nonce(iv), rest[p.IVLen():], aad); err != nil {
			return nil, ErrIntegrity
		}
	} else {
		if !EqualMAC(p.sum(aad, rest[:p.IVLen()+n]), icv) {
			return nil, ErrIntegrity
		}
		cipher.NewCBCDecrypter(p.block, iv).CryptBlocks(plain, body)
	}
	// RFC 7296 §3.14: any padding content and length is accepted.
	pad := int(plain[n-1])
	if pad+1 > n {
		return nil, ErrPad
	}
	return plain[: n-1-pad : n-1-pad], nil
}

func (p *Protector) sum(aad, rest []byte) []byte {
	p.mac.Reset()
	p.mac.Write(aad)
	p.mac.Write(rest)
	return p.mac.Sum(nil)[:p.icv]
}

func (p *Protector) nonce(iv []byte) []byte {
	return append(p.salt[:len(p.salt):len(p.salt)], iv...)
}

// Format hides the keys.
func (p *Protector) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("protector " + hidden)) }

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	out := make([]byte, len(b)+n)
	copy(out, b)
	return out
}
