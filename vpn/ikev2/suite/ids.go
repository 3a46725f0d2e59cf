package suite

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrUnsupported says that an algorithm or a key length is not one of ours.
var ErrUnsupported = errors.New("algorithm is not supported")

// EncrID is an encryption algorithm (IANA IKEv2 transform type 1).
type EncrID uint16

const (
	ENCR_NULL       EncrID = 11
	ENCR_AES_CBC    EncrID = 12
	ENCR_AES_GCM_16 EncrID = 20
)

// PRFID is a pseudo-random function (transform type 2).
type PRFID uint16

const (
	PRF_HMAC_SHA1     PRFID = 2
	PRF_HMAC_SHA2_256 PRFID = 5
	PRF_HMAC_SHA2_384 PRFID = 6
	PRF_HMAC_SHA2_512 PRFID = 7
)

// IntegID is an integrity algorithm (transform type 3).
type IntegID uint16

const (
	AUTH_NONE              IntegID = 0
	AUTH_HMAC_SHA1_96      IntegID = 2
	AUTH_HMAC_SHA2_256_128 IntegID = 12
	AUTH_HMAC_SHA2_384_192 IntegID = 13
	AUTH_HMAC_SHA2_512_256 IntegID = 14
)

// Group is a key exchange method (transform type 4).
type Group uint16

const (
	GROUP_NONE Group = 0
	MODP_1024  Group = 2
	MODP_1536  Group = 5
	MODP_2048  Group = 14
	MODP_3072  Group = 15
	MODP_4096  Group = 16
	ECP_256    Group = 19
	ECP_384    Group = 20
	ECP_521    Group = 21
	CURVE25519 Group = 31
)

// Groups are the supported groups in the order of their numbers.
var Groups = []Group{MODP_1024, MODP_1536, MODP_2048, MODP_3072, MODP_4096, ECP_256, ECP_384, ECP_521, CURVE25519}

// AEAD reports whether the algorithm authenticates too, so that it goes with AUTH_NONE.
func (e EncrID) AEAD() bool { return e == ENCR_AES_GCM_16 }

// Supported reports whether IKE can use the algorithm with keys of this length.
func (e EncrID) Supported(keyBits int) bool {
	switch e {
	case ENCR_AES_CBC, ENCR_AES_GCM_16:
		return keyBits == 128 || keyBits == 192 || keyBits == 256
	}
	return false
}

// String is the RFC's name.
func (e EncrID) String() string {
	switch e {
	case ENCR_NULL:
		return "ENCR_NULL"
	case ENCR_AES_CBC:
		return "ENCR_AES_CBC"
	case ENCR_AES_GCM_16:
		return "ENCR_AES_GCM_16"
	}
	return "ENCR_" + strconv.Itoa(int(e))
}

// IOS is the word of show commands.
func (e EncrID) IOS() string {
	switch e {
	case ENCR_NULL:
		return "NULL"
	case ENCR_AES_CBC:
		return "AES-CBC"
	case ENCR_AES_GCM_16:
		return "AES-GCM"
	}
	return e.String()
}

// Word is the word of the configuration, with the key length: "aes-cbc-256".
func (e EncrID) Word(keyBits int) string {
	switch e {
	case ENCR_AES_CBC:
		return fmt.Sprintf("aes-cbc-%d", keyBits)
	case ENCR_AES_GCM_16:
		return fmt.Sprintf("aes-gcm-%d", keyBits)
	case ENCR_NULL:
		return "null"
	}
	return e.String()
}

// ParseEncr reads a configuration's word.
func ParseEncr(word string) (e EncrID, keyBits int, err error) {
	for _, e := range []EncrID{ENCR_AES_CBC, ENCR_AES_GCM_16} {
		for _, bits := range []int{128, 192, 256} {
			if e.Word(bits) == word {
				return e, bits, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("encryption %q: %w: use aes-cbc-128, -192, -256, aes-gcm-128, -192 or -256", word, ErrUnsupported)
}

// String is the RFC's name.
func (p PRFID) String() string {
	if h, ok := prfHashes[p]; ok {
		return "PRF_HMAC_" + h.rfc
	}
	return "PRF_" + strconv.Itoa(int(p))
}

// IOS is the word of show commands.
func (p PRFID) IOS() string {
	if h, ok := prfHashes[p]; ok {
		return h.ios
	}
	return p.String()
}

// Word is the word of the configuration.
func (p PRFID) Word() string {
	if h, ok := prfHashes[p]; ok {
		return h.word
	}
	return p.String()
}

// ParsePRF reads a configuration's word.
func ParsePRF(word string) (PRFID, error) {
	for id, h := range prfHashes {
		if h.word == word {
			return id, nil
		}
	}
	return 0, fmt.Errorf("prf %q: %w: use sha1, sha256, sha384 or sha512", word, ErrUnsupported)
}

// String is the RFC's name.
func (i IntegID) String() string {
	if i == AUTH_NONE {
		return "NONE"
	}
	if h, ok := integHashes[i]; ok {
		return fmt.Sprintf("AUTH_HMAC_%s_%d", h.rfc, h.icv*8)
	}
	return "AUTH_" + strconv.Itoa(int(i))
}

// IOS is the word of show commands (Hash:).
func (i IntegID) IOS() string {
	if i == AUTH_NONE {
		return "None"
	}
	if h, ok := integHashes[i]; ok {
		return h.ios
	}
	return i.String()
}

// Word is the word of the configuration.
func (i IntegID) Word() string {
	if i == AUTH_NONE {
		return "none"
	}
	if h, ok := integHashes[i]; ok {
		return h.word
	}
	return i.String()
}

// ParseInteg reads a configuration's word.
func ParseInteg(word string) (IntegID, error) {
	for id, h := range integHashes {
		if h.word == word {
			return id, nil
		}
	}
	return 0, fmt.Errorf("integrity %q: %w: use sha1, sha256, sha384 or sha512", word, ErrUnsupported)
}

// PRF is the pseudo-random function over the same hash: what a proposal without a prf line means.
func (i IntegID) PRF() (PRFID, bool) {
	h, ok := integHashes[i]
	if !ok {
		return 0, false
	}
	p, err := ParsePRF(h.word)
	return p, err == nil
}

// Supported reports whether the group is one of ours.
func (g Group) Supported() bool { return PublicLen(g) > 0 }

// String is the RFC's name.
func (g Group) String() string {
	switch g {
	case GROUP_NONE:
		return "NONE"
	case MODP_1024:
		return "MODP_1024"
	case MODP_1536:
		return "MODP_1536"
	case MODP_2048:
		return "MODP_2048"
	case MODP_3072:
		return "MODP_3072"
	case MODP_4096:
		return "MODP_4096"
	case ECP_256:
		return "ECP_256"
	case ECP_384:
		return "ECP_384"
	case ECP_521:
		return "ECP_521"
	case CURVE25519:
		return "CURVE25519"
	}
	return "GROUP_" + strconv.Itoa(int(g))
}

// Word is the word of the configuration and of show commands: the number.
func (g Group) Word() string { return strconv.Itoa(int(g)) }

// IOS is the same as Word.
func (g Group) IOS() string { return g.Word() }

// IKE is the algorithms of one IKE SA.
type IKE struct {
	Encr    EncrID
	KeyBits int
	PRF     PRFID
	Integ   IntegID // AUTH_NONE with an AEAD
	Group   Group
}

// String is the suite in the configuration's words: "aes-cbc-256 sha256 prf-sha256 group 14".
func (s IKE) String() string {
	w := s.Encr.Word(s.KeyBits)
	if s.Integ != AUTH_NONE {
		w += " " + s.Integ.Word()
	}
	return w + " prf-" + s.PRF.Word() + " group " + s.Group.Word()
}
