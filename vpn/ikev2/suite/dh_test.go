package suite

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"testing"
)

// piFloor is floor(2^bits * pi), by Machin's formula with 64 guard bits.
func piFloor(bits uint) *big.Int {
	one := new(big.Int).Lsh(big.NewInt(1), bits+64)
	arctan := func(x int64) *big.Int {
		t := new(big.Int).Div(one, big.NewInt(x))
		sum, x2 := new(big.Int).Set(t), big.NewInt(x*x)
		for n := int64(3); t.Sign() > 0; n += 2 {
			t.Div(t, x2)
			q := new(big.Int).Div(t, big.NewInt(n))
			if n%4 == 3 {
				sum.Sub(sum, q)
			} else {
				sum.Add(sum, q)
			}
		}
		return sum
	}
	p := new(big.Int).Mul(arctan(5), big.NewInt(4))
	p.Sub(p, arctan(239)).Mul(p, big.NewInt(4))
	return p.Rsh(p, 64)
}

func TestThePrimesFollowTheirFormulaAndAreSafe(t *testing.T) {
	for _, c := range []struct {
		group Group
		bits  uint
		add   int64
	}{
		{MODP_1024, 1024, 129093}, // RFC 2409 §6.2
		{MODP_1536, 1536, 741804}, // RFC 3526 §2
		{MODP_2048, 2048, 124476},
		{MODP_3072, 3072, 1690314},
		{MODP_4096, 4096, 240904},
	} {
		one := big.NewInt(1)
		want := new(big.Int).Lsh(one, c.bits)
		want.Sub(want, new(big.Int).Lsh(one, c.bits-64)).Sub(want, one)
		mid := piFloor(c.bits - 130)
		want.Add(want, mid.Add(mid, big.NewInt(c.add)).Lsh(mid, 64))
		m := modps[c.group]
		mod := m.modulus()
		// p-1 as a residue, plus one.
		got := new(big.Int).SetBytes(mod.Nat().SubOne(mod).Bytes(mod))
		got.Add(got, one)
		if got.Cmp(want) != 0 || m.size != int(c.bits/8) {
			t.Errorf("%v is not the RFC's prime", c.group)
		}
		if q := new(big.Int).Rsh(got, 1); !got.ProbablyPrime(1) || !q.ProbablyPrime(1) {
			t.Errorf("%v is not a safe prime", c.group)
		}
	}
}

func TestBothSidesOfEveryGroupShareASecret(t *testing.T) {
	for _, g := range Groups {
		a, err := NewDH(g, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := NewDH(g, rand.Reader)
		if len(a.Public()) != PublicLen(g) || a.Group() != g || !g.Supported() {
			t.Fatalf("%v: public value of %d bytes", g, len(a.Public()))
		}
		s1, err1 := a.Shared(b.Public())
		s2, err2 := b.Shared(a.Public())
		if err1 != nil || err2 != nil || !bytes.Equal(s1, s2) || len(s1) == 0 {
			t.Fatalf("%v: %v %v", g, err1, err2)
		}
		if bytes.Equal(a.Public(), b.Public()) {
			t.Fatalf("%v: two key pairs are one", g)
		}
	}
}

func TestMODPAgreesWithAnotherImplementation(t *testing.T) {
	for g, m := range modps {
		d, err := newMODP(g, m, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		mod := m.modulus()
		p := new(big.Int).SetBytes(mod.Nat().SubOne(mod).Bytes(mod))
		p.Add(p, big.NewInt(1))
		x := new(big.Int).SetBytes(d.private)
		if y := new(big.Int).Exp(big.NewInt(2), x, p); !bytes.Equal(y.FillBytes(make([]byte, m.size)), d.public) {
			t.Errorf("%v: public value", g)
		}
		peer, _ := NewDH(g, rand.Reader)
		s, err := d.Shared(peer.Public())
		want := new(big.Int).Exp(new(big.Int).SetBytes(peer.Public()), x, p).FillBytes(make([]byte, m.size))
		if err != nil || !bytes.Equal(s, want) {
			t.Errorf("%v: shared secret (%v)", g, err)
		}
	}
}

func TestASharedSecretKeepsItsLeadingZeros(t *testing.T) {
	// A peer's public value of 2 gives 2^x: choose x so small that the secret is short.
	m := modps[MODP_2048]
	d := &modpDH{MODP_2048, m, Key{8}, nil}
	peer := make([]byte, m.size)
	peer[m.size-1] = 2
	s, err := d.Shared(peer)
	want := make([]byte, m.size)
	want[m.size-2] = 1
	if err != nil || !bytes.Equal(s, want) {
		t.Fatalf("%x, %v", s, err)
	}
}

func TestInvalidPublicValuesAreRefused(t *testing.T) {
	for g, m := range modps {
		d, _ := NewDH(g, rand.Reader)
		mod := m.modulus()
		one := make([]byte, m.size)
		one[m.size-1] = 1
		minusOne := mod.Nat().SubOne(mod).Bytes(mod)
		p := append([]byte(nil), minusOne...)
		p[m.size-1] |= 1
		all := bytes.Repeat([]byte{0xff}, m.size)
		for name, y := range map[string][]byte{
			"zero": make([]byte, m.size), "one": one, "p-1": minusOne, "p": p, "beyond p": all,
			"short": one[1:], "long": append([]byte{0}, minusOne...), "nothing": nil,
		} {
			if s, err := d.Shared(y); !errors.Is(err, ErrBadPublic) || s != nil {
				t.Errorf("%v: %s: %v", g, name, err)
			}
		}
	}
	for _, g := range []Group{ECP_256, ECP_384, ECP_521} {
		d, _ := NewDH(g, rand.Reader)
		off := append([]byte(nil), d.Public()...)
		off[len(off)-1] ^= 1
		for name, y := range map[string][]byte{
			"infinity": make([]byte, PublicLen(g)), "off the curve": off, "short": off[1:], "with a format octet": append([]byte{4}, d.Public()...),
		} {
			if _, err := d.Shared(y); !errors.Is(err, ErrBadPublic) {
				t.Errorf("%v: %s: %v", g, name, err)
			}
		}
	}
	d, _ := NewDH(CURVE25519, rand.Reader)
	low, _ := hex.DecodeString("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
	for _, y := range [][]byte{make([]byte, 32), low, nil, make([]byte, 31)} {
		if _, err := d.Shared(y); !errors.Is(err, ErrBadPublic) {
			t.Errorf("curve25519: %x: %v", y, err)
		}
	}
	if _, err := NewDH(22, rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("group 22: %v", err)
	}
	if _, err := NewDH(ECP_256, bytes.NewReader(nil)); err == nil {
		t.Error("a key pair came from no randomness")
	}
}

func TestRFC5903Vectors(t *testing.T) {
	for _, c := range []struct {
		group                  Group
		i, gix, giy, r, gr, sh string
	}{
		{ECP_256, // §8.1
			"C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
			"DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180",
			"5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
			"C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
			"D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF6356FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
			"D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"},
		{ECP_384, // §8.2
			"099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
			"667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA",
			"9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
			"41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
			"E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
			"11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746"},
		{ECP_521, // §8.3
			"0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
			"0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E",
			"017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
			"0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
			"00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
			"01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA"},
	} {
		a, err := newEC(c.group, curveOf(c.group), bytes.NewReader(unhex(t, c.i)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := newEC(c.group, curveOf(c.group), bytes.NewReader(unhex(t, c.r)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Public(), unhex(t, c.gix+c.giy)) || !bytes.Equal(b.Public(), unhex(t, c.gr)) {
			t.Errorf("%v: public values", c.group)
		}
		s1, err1 := a.Shared(b.Public())
		s2, err2 := b.Shared(a.Public())
		if err1 != nil || err2 != nil || !bytes.Equal(s1, unhex(t, c.sh)) || !bytes.Equal(s1, s2) {
			t.Errorf("%v: shared secret %x %v %v", c.group, s1, err1, err2)
		}
	}
}

func TestRFC7748Vector(t *testing.T) { // §6.1
	a, _ := newEC(CURVE25519, curveOf(CURVE25519), bytes.NewReader(unhex(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")))
	b, _ := newEC(CURVE25519, curveOf(CURVE25519), bytes.NewReader(unhex(t, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")))
	if !bytes.Equal(a.Public(), unhex(t, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")) ||
		!bytes.Equal(b.Public(), unhex(t, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")) {
		t.Error("public values")
	}
	s, err := a.Shared(b.Public())
	if err != nil || !bytes.Equal(s, unhex(t, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")) {
		t.Errorf("shared secret %x, %v", s, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ExampleGroup() {
	fmt.Println(MODP_2048, MODP_2048.Word(), ECP_521, CURVE25519, Group(99))
	// Output: MODP_2048 14 ECP_521 CURVE25519 GROUP_99
}
