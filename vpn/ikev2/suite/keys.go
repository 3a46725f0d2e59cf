package suite

import (
	"encoding/binary"
	"fmt"
)

// Keys are the seven secrets of an IKE SA (RFC 7296 §2.14). i is the original initiator, r the responder.
type Keys struct {
	D, Ai, Ar, Ei, Er, Pi, Pr Key
}

// Clear overwrites all of them.
func (k Keys) Clear() {
	for _, s := range []Key{k.D, k.Ai, k.Ar, k.Ei, k.Er, k.Pi, k.Pr} {
		s.Clear()
	}
}

// ChildKeys are the keys of a pair of Child SAs: Init protects what the initiator of the exchange sends.
type ChildKeys struct {
	InitEncr, InitInteg, RespEncr, RespInteg Key
}

// Clear overwrites all of them.
func (k ChildKeys) Clear() {
	for _, s := range []Key{k.InitEncr, k.InitInteg, k.RespEncr, k.RespInteg} {
		s.Clear()
	}
}

// SKEYSEED is prf(Ni | Nr, g^ir) of a new IKE SA (RFC 7296 §2.14).
func (p PRF) SKEYSEED(ni, nr, shared []byte) Key {
	return p.Sum(join(ni, nr), shared)
}

// RekeySKEYSEED is prf(SK_d (old), g^ir (new) | Ni | Nr) (RFC 7296 §2.18). p is the *old* SA's function; the keys are
// then derived with the new one's.
func (p PRF) RekeySKEYSEED(oldD Key, shared, ni, nr []byte) Key {
	return p.Sum(oldD, shared, ni, nr)
}

// Derive cuts the seven keys off prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) (RFC 7296 §2.14).
func (p PRF) Derive(skeyseed Key, ni, nr []byte, spiI, spiR uint64, encr EncrID, keyBits int, integ IntegID) (Keys, error) {
	enc, ig := KeyLens(encr, keyBits, integ)
	if enc == 0 {
		return Keys{}, fmt.Errorf("%v with %d bits and %v: %w", encr, keyBits, integ, ErrUnsupported)
	}
	seed := join(ni, nr)
	seed = binary.BigEndian.AppendUint64(seed, spiI)
	seed = binary.BigEndian.AppendUint64(seed, spiR)
	k := cutter(p.Plus(skeyseed, seed, 3*p.len+2*ig+2*enc))
	return Keys{
		D:  k.cut(p.len),
		Ai: k.cut(ig), Ar: k.cut(ig),
		Ei: k.cut(enc), Er: k.cut(enc),
		Pi: k.cut(p.len), Pr: k.cut(p.len),
	}, nil
}

// ChildKeys is KEYMAT of a Child SA, prf+(SK_d, [g^ir (new) |] Ni | Nr), cut up (RFC 7296 §2.17). shared is nil without
// PFS. The lengths are in bytes; a GCM key's includes its salt.
func (p PRF) ChildKeys(d Key, shared, ni, nr []byte, encrLen, integLen int) ChildKeys {
	k := cutter(p.Plus(d, join(shared, ni, nr), 2*(encrLen+integLen)))
	return ChildKeys{
		InitEncr: k.cut(encrLen), InitInteg: k.cut(integLen),
		RespEncr: k.cut(encrLen), RespInteg: k.cut(integLen),
	}
}

// SignedOctets is what a peer authenticates: its first message | the other's nonce | prf(SK_p, its ID payload's body)
// (RFC 7296 §2.15). The message is the first one with the final answer's cookie or KE, as it stood on the wire, without
// a non-ESP marker; idBody is the ID payload from the ID type on (the generic header off).
func (p PRF) SignedOctets(message, otherNonce []byte, skp Key, idBody []byte) []byte {
	return join(message, otherNonce, p.Sum(skp, idBody))
}

// PSKAuth is the AUTH payload's data for a pre-shared key:
// prf(prf(key, "Key Pad for IKEv2"), SignedOctets) (RFC 7296 §2.15).
func (p PRF) PSKAuth(psk Key, message, otherNonce []byte, skp Key, idBody []byte) []byte {
	return p.Sum(p.Sum(psk, []byte("Key Pad for IKEv2")), message, otherNonce, p.Sum(skp, idBody))
}

// cutter hands out a buffer piece by piece; each piece's capacity ends where it ends.
type cutter []byte

func (c *cutter) cut(n int) Key {
	k := Key((*c)[:n:n])
	*c = (*c)[n:]
	return k
}

func join(parts ...[]byte) []byte {
	n := 16
	for _, b := range parts {
		n += len(b)
	}
	out := make([]byte, 0, n)
	for _, b := range parts {
		out = append(out, b...)
	}
	return out
}
