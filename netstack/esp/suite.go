package esp

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Number is ESP's IP protocol number.
const Number = 50

// NextNone is the protocol of a dummy packet (RFC 4303 §2.6): whoever opens one drops it without an error.
const NextNone = 59

// Encr is an encryption algorithm by its IANA number (IKEv2 transform type 1).
type Encr uint16

// Integ is an integrity algorithm by its IANA number (IKEv2 transform type 3).
type Integ uint16

const (
	ENCR_AES_CBC    Encr = 12
	ENCR_AES_GCM_16 Encr = 20
)

const (
	AUTH_NONE              Integ = 0
	AUTH_HMAC_SHA1_96      Integ = 2
	AUTH_HMAC_SHA2_256_128 Integ = 12
	AUTH_HMAC_SHA2_384_192 Integ = 13
	AUTH_HMAC_SHA2_512_256 Integ = 14
)

// Mode says what the payload is.
type Mode uint8

const (
	// Transport: the payload is what the outer IP header would have carried (GRE).
	Transport Mode = iota + 1
	// Tunnel: the payload is a whole IP packet.
	Tunnel
)

func (m Mode) String() string {
	switch m {
	case Transport:
		return "transport"
	case Tunnel:
		return "tunnel"
	}
	return fmt.Sprintf("mode-%d", uint8(m))
}

// saltLen is the part of GCM's key material that goes into the nonce (RFC 4106 §4).
const saltLen = 4

// Suite is how an SA protects packets.
type Suite struct {
	Encr    Encr
	KeyBits int // 128, 192 or 256
	Integ   Integ
}

// String is the suite in the words of the configuration: "aes-gcm-256", "aes-cbc-256 sha256".
func (s Suite) String() string {
	switch s.Encr {
	case ENCR_AES_GCM_16:
		return fmt.Sprintf("aes-gcm-%d", s.KeyBits)
	case ENCR_AES_CBC:
		return fmt.Sprintf("aes-cbc-%d %s", s.KeyBits, s.Integ)
	}
	return fmt.Sprintf("encr-%d-%d %s", s.Encr, s.KeyBits, s.Integ)
}

func (i Integ) String() string {
	switch i {
	case AUTH_NONE:
		return "none"
	case AUTH_HMAC_SHA1_96:
		return "sha1"
	case AUTH_HMAC_SHA2_256_128:
		return "sha256"
	case AUTH_HMAC_SHA2_384_192:
		return "sha384"
	case AUTH_HMAC_SHA2_512_256:
		return "sha512"
	}
	return fmt.Sprintf("integ-%d", uint16(i))
}

// Check says whether the suite can be used.
func (s Suite) Check() error {
	if s.KeyBits != 128 && s.KeyBits != 192 && s.KeyBits != 256 {
		return fmt.Errorf("esp: AES key of %d bits (use 128, 192 or 256)", s.KeyBits)
	}
	switch s.Encr {
	case ENCR_AES_GCM_16:
		if s.Integ != AUTH_NONE {
			return fmt.Errorf("esp: %s authenticates by itself, integrity must be none, not %s", s, s.Integ)
		}
		return nil
	case ENCR_AES_CBC:
		if s.Integ.params().newHash == nil {
			return fmt.Errorf("esp: %s: integrity must be one of sha1, sha256, sha384, sha512", s)
		}
		return nil
	}
	return fmt.Errorf("esp: encryption %d is not known (use 12, AES-CBC, or 20, AES-GCM)", s.Encr)
}

// EncrKeyLen is the length of the encryption key material in bytes, GCM's salt included.
func (s Suite) EncrKeyLen() int {
	if s.Encr == ENCR_AES_GCM_16 {
		return s.KeyBits/8 + saltLen
	}
	return s.KeyBits / 8
}

// IntegKeyLen is the length of the integrity key in bytes, 0 for GCM.
func (s Suite) IntegKeyLen() int { return s.Integ.params().keyLen }

func (s Suite) ivLen() int {
	if s.Encr == ENCR_AES_GCM_16 {
		return 8
	}
	return 16
}

func (s Suite) icvLen() int {
	if s.Encr == ENCR_AES_GCM_16 {
		return 16
	}
	return s.Integ.params().icvLen
}

// align is what the length of the encrypted part is a multiple of (RFC 4303 §2.4, RFC 4106 §3.1, RFC 3602 §2.4).
func (s Suite) align() int {
	if s.Encr == ENCR_AES_GCM_16 {
		return 4
	}
	return 16
}

type integParams struct {
	newHash        func() hash.Hash
	keyLen, icvLen int
}

// params: RFC 2404 §3 and RFC 4868 §2.6.
func (i Integ) params() integParams {
	switch i {
	case AUTH_HMAC_SHA1_96:
		return integParams{sha1.New, 20, 12}
	case AUTH_HMAC_SHA2_256_128:
		return integParams{sha256.New, 32, 16}
	case AUTH_HMAC_SHA2_384_192:
		return integParams{sha512.New384, 48, 24}
	case AUTH_HMAC_SHA2_512_256:
		return integParams{sha512.New, 64, 32}
	}
	return integParams{}
}
