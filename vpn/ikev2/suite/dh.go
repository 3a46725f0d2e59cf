package suite

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"

	"filippo.io/bigmod"
)

// ErrBadPublic says that a peer's public value has the wrong length or is not a valid element of the group. The
// exchange must end (RFC 6989 §2.5: as if the message were malformed).
var ErrBadPublic = errors.New("public value is invalid")

// DH is our half of one key exchange. Use it once.
type DH interface {
	Group() Group
	// Public is what goes into the KE payload.
	Public() []byte
	// Shared validates the peer's public value and returns g^ir, at the group's full length. The result is a
	// secret: keep it in a Key or not at all.
	Shared(peer []byte) ([]byte, error)
}

// PublicLen is the length of a group's public value in bytes, 0 for a group that is not ours.
func PublicLen(g Group) int {
	switch g {
	case ECP_256:
		return 64
	case ECP_384:
		return 96
	case ECP_521:
		return 132
	case CURVE25519:
		return 32
	}
	if m, ok := modps[g]; ok {
		return m.size
	}
	return 0
}

// NewDH makes a key pair with randomness from rand.
func NewDH(g Group, rand io.Reader) (DH, error) {
	if m, ok := modps[g]; ok {
		return newMODP(g, m, rand)
	}
	if curve := curveOf(g); curve != nil {
		return newEC(g, curve, rand)
	}
	return nil, fmt.Errorf("group %v: %w", g, ErrUnsupported)
}

type modpDH struct {
	group   Group
	params  *modp
	private Key
	public  []byte
}

func newMODP(g Group, m *modp, rand io.Reader) (*modpDH, error) {
	x := make(Key, m.exponent)
	if _, err := io.ReadFull(rand, x); err != nil {
		return nil, fmt.Errorf("group %v: private value: %w", g, err)
	}
	// The top bit makes x large enough never to be 0 or 1, at the cost of one bit of its entropy.
	x[0] |= 0x80
	mod := m.modulus()
	two := bigmod.NewNat().SetUint(2).ExpandFor(mod)
	y := bigmod.NewNat().Exp(two, x, mod)
	return &modpDH{g, m, x, y.Bytes(mod)}, nil
}

func (d *modpDH) Group() Group   { return d.group }
func (d *modpDH) Public() []byte { return d.public }

func (d *modpDH) Shared(peer []byte) ([]byte, error) {
	if len(peer) != d.params.size {
		return nil, fmt.Errorf("%v: %w: %d bytes, not %d", d.group, ErrBadPublic, len(peer), d.params.size)
	}
	mod := d.params.modulus()
	y, err := bigmod.NewNat().SetBytes(peer, mod)
	if err != nil || y.IsZero()|y.IsOne()|y.IsMinusOne(mod) != 0 {
		return nil, fmt.Errorf("%v: %w: not between 2 and p-2", d.group, ErrBadPublic)
	}
	return bigmod.NewNat().Exp(y, d.private, mod).Bytes(mod), nil
}

// Format hides the private value.
func (d *modpDH) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.group.String() + " " + hidden)) }

type ecDH struct {
	group   Group
	private *ecdh.PrivateKey
}

func curveOf(g Group) ecdh.Curve {
	switch g {
	case ECP_256:
		return ecdh.P256()
	case ECP_384:
		return ecdh.P384()
	case ECP_521:
		return ecdh.P521()
	case CURVE25519:
		return ecdh.X25519()
	}
	return nil
}

// newEC draws scalars itself, since GenerateKey does not promise to read rand, and a simulation needs that.
func newEC(g Group, curve ecdh.Curve, rand io.Reader) (*ecDH, error) {
	size := 32
	if g != CURVE25519 {
		size = PublicLen(g) / 2
	}
	b := make([]byte, size)
	defer clear(b)
	for range 64 {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("group %v: private value: %w", g, err)
		}
		if g == ECP_521 {
			b[0] &= 1
		}
		// NewPrivateKey refuses 0 and what is not below the order; for the curves here that is rare.
		if k, err := curve.NewPrivateKey(b); err == nil {
			return &ecDH{g, k}, nil
		}
	}
	return nil, fmt.Errorf("group %v: the source of randomness gives no valid private value", g)
}

func (d *ecDH) Group() Group { return d.group }

// Public is x | y without the point format octet (RFC 5903 §7), or the 32 bytes of Curve25519 (RFC 8031 §3.1).
func (d *ecDH) Public() []byte {
	b := d.private.PublicKey().Bytes()
	if d.group != CURVE25519 {
		b = b[1:]
	}
	return b
}

// Shared is the x coordinate (RFC 5903 §7), or the 32 bytes of X25519.
func (d *ecDH) Shared(peer []byte) ([]byte, error) {
	if len(peer) != PublicLen(d.group) {
		return nil, fmt.Errorf("%v: %w: %d bytes, not %d", d.group, ErrBadPublic, len(peer), PublicLen(d.group))
	}
	if d.group != CURVE25519 {
		peer = append([]byte{4}, peer...)
	}
	pub, err := curveOf(d.group).NewPublicKey(peer)
	if err != nil {
		return nil, fmt.Errorf("%v: %w: not a point of the curve", d.group, ErrBadPublic)
	}
	s, err := d.private.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("%v: %w: a point of low order", d.group, ErrBadPublic)
	}
	return s, nil
}

// Format hides the private value.
func (d *ecDH) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.group.String() + " " + hidden)) }
