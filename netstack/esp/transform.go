package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"felloe/netstack/packet"
)

// transform is the arithmetic of a suite with its keys. Its methods work on a whole ESP packet:
//
//	b: SPI(4) seq(4) IV(ivLen) | text, trailer included | ICV(icvLen)
type transform struct {
	suite                Suite
	esn                  bool
	ivLen, icvLen, align int

	// AES-GCM
	aead cipher.AEAD
	salt [saltLen]byte

	// AES-CBC with HMAC
	block cipher.Block
	// ivs encrypts sequence numbers to IVs (NIST SP 800-38A appendix C, method 1, with a key of its own).
	ivs    cipher.Block
	states sync.Pool
}

// cbcMode is what both directions of AES-CBC of the standard library are.
type cbcMode interface {
	cipher.BlockMode
	SetIV([]byte)
}

// state is what one worker needs for one packet in CBC and HMAC.
type state struct {
	enc, dec cbcMode
	mac      hash.Hash
	high     [4]byte
	sum      [64]byte
}

func (t *transform) init(p Params) error {
	s := p.Suite
	t.suite, t.esn = s, p.ESN
	t.ivLen, t.icvLen, t.align = s.ivLen(), s.icvLen(), s.align()
	block, err := aes.NewCipher(p.EncrKey[:s.KeyBits/8])
	if err != nil {
		return fmt.Errorf("esp: %s: %w", s, err)
	}
	if s.Encr == ENCR_AES_GCM_16 {
		copy(t.salt[:], p.EncrKey[s.KeyBits/8:])
		if t.aead, err = cipher.NewGCM(block); err != nil {
			return fmt.Errorf("esp: %s: %w", s, err)
		}
		return nil
	}
	t.block = block
	var key [32]byte
	if _, err := io.ReadFull(p.Rand, key[:]); err != nil {
		return fmt.Errorf("esp: no random bytes for the IVs of SPI %#x: %w", p.SPI, err)
	}
	if t.ivs, err = aes.NewCipher(key[:]); err != nil {
		return fmt.Errorf("esp: %s: %w", s, err)
	}
	newHash := s.Integ.params().newHash
	integKey := append([]byte(nil), p.IntegKey...)
	var iv [aes.BlockSize]byte
	_, encOK := cipher.NewCBCEncrypter(block, iv[:]).(cbcMode)
	_, decOK := cipher.NewCBCDecrypter(block, iv[:]).(cbcMode)
	if !encOK || !decOK {
		return errors.New("esp: this Go's AES-CBC cannot change its IV")
	}
	t.states.New = func() any {
		var iv [aes.BlockSize]byte
		st := &state{
			enc: cipher.NewCBCEncrypter(block, iv[:]).(cbcMode),
			dec: cipher.NewCBCDecrypter(block, iv[:]).(cbcMode),
			mac: hmac.New(newHash, integKey),
		}
		st.mac.Reset() // from here on Reset and Sum start from the saved states of the two pads
		return st
	}
	return nil
}

// scratchLen is the room that a nonce and the longest additional data need.
const scratchLen = 12 + 12

// scratch is memory of the packet behind its end, so that nothing escapes to the heap through cipher.AEAD.
func scratch(p *packet.Packet) []byte {
	if p.Tailroom() < scratchLen {
		return make([]byte, scratchLen) // deeply nested jumbo frames only
	}
	n := p.Len()
	s := p.Append(scratchLen)
	p.Truncate(n)
	return s
}

// nonceAndData: RFC 4106 §4 and §5. The data is SPI and sequence number, the latter in 64 bits with ESN.
func (t *transform) nonceAndData(p *packet.Packet, b []byte, seq uint64) (nonce, data []byte) {
	s := scratch(p)
	nonce = s[:12:12]
	copy(nonce, t.salt[:])
	copy(nonce[saltLen:], b[headerLen:headerLen+8])
	if !t.esn {
		return nonce, b[:headerLen:headerLen]
	}
	data = s[12:24:24]
	copy(data, b[:4])
	binary.BigEndian.PutUint64(data[4:], seq)
	return nonce, data
}

// seal encrypts and authenticates the ESP packet that p holds; SPI and the lower half of seq stand in it already.
func (t *transform) seal(p *packet.Packet, seq uint64) {
	b := p.Bytes()
	text := b[headerLen+t.ivLen : len(b)-t.icvLen]
	if t.aead != nil {
		binary.BigEndian.PutUint64(b[headerLen:], seq)
		nonce, data := t.nonceAndData(p, b, seq)
		t.aead.Seal(text[:0], nonce, text, data)
		return
	}
	iv := b[headerLen : headerLen+aes.BlockSize]
	binary.BigEndian.PutUint64(iv, 0)
	binary.BigEndian.PutUint64(iv[8:], seq)
	t.ivs.Encrypt(iv, iv)
	st := t.states.Get().(*state)
	st.enc.SetIV(iv)
	st.enc.CryptBlocks(text, text)
	copy(b[len(b)-t.icvLen:], t.icv(st, b, seq))
	t.states.Put(st)
}

// open authenticates and decrypts the ESP packet that p holds. Its length has been checked with fits. The text is
// undefined when it returns false.
func (t *transform) open(p *packet.Packet, seq uint64) bool {
	b := p.Bytes()
	text := b[headerLen+t.ivLen : len(b)-t.icvLen]
	if t.aead != nil {
		nonce, data := t.nonceAndData(p, b, seq)
		_, err := t.aead.Open(text[:0], nonce, b[headerLen+t.ivLen:], data)
		return err == nil
	}
	st := t.states.Get().(*state)
	ok := subtle.ConstantTimeCompare(t.icv(st, b, seq), b[len(b)-t.icvLen:]) == 1
	if ok {
		st.dec.SetIV(b[headerLen : headerLen+aes.BlockSize])
		st.dec.CryptBlocks(text, text)
	}
	t.states.Put(st)
	return ok
}

// icv is the HMAC over the packet up to the ICV and, with ESN, the upper half of the sequence number that does not
// travel (RFC 4303 §2.2.1).
func (t *transform) icv(st *state, b []byte, seq uint64) []byte {
	st.mac.Reset()
	st.mac.Write(b[:len(b)-t.icvLen])
	if t.esn {
		binary.BigEndian.PutUint32(st.high[:], uint32(seq>>32))
		st.mac.Write(st.high[:])
	}
	return st.mac.Sum(st.sum[:0])[:t.icvLen]
}

// fits tells whether an ESP packet of n bytes can be one of this suite.
func (t *transform) fits(n int) bool {
	text := n - headerLen - t.ivLen - t.icvLen
	return text >= trailerLen && (t.aead != nil || text%t.align == 0)
}

// padding is the number of padding bytes behind a payload.
func (t *transform) padding(payload int) int { return -(payload + trailerLen) & (t.align - 1) }

// fixed is what ESP adds to any payload, without padding.
func (t *transform) fixed() int { return headerLen + t.ivLen + trailerLen + t.icvLen }
