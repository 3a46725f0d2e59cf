package suite

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The vectors are from NIST's application-specific key derivation functions (SP 800-135, IKEv2): 132 bytes of DKM.
var kdfVectors = []struct {
	prf                                             PRFID
	shared, ni, nr, spiI, spiR, skeyseed, dkm, gNew string
	rekeyed                                         string
}{
	{
		PRF_HMAC_SHA1,
		"4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52",
		"32b50d5f4a3763f3", "9206a04b26564cb1", "34c9e7c188868785", "3ff77d760d2b2199",
		"a9a7b222b59f8f48645f28a1db5b5f5d7479cba7",
		"a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002a2a63080e514a062768b76606f9fa5e9" +
			"92204fc5a670bde3f10d6b027113936a5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd1119" +
			"8af1670b143d384bd275c5f594cf266b05ebadca855e4249520a441a81157435a7a56cc4",
		"863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330",
		"63e81194946ebd05df7df5ebf5d8750056bf1f1d",
	},
	{
		PRF_HMAC_SHA2_256,
		"0f4d257d7a58fc4545c7d7a88119eee5d5c9690c5b4c989171d3abbfd99d1d29",
		"3f302be1abcb28e1", "8c332ee006064c9b", "40dac39e1e1a8640", "8619a1cf9a6e4c07",
		"5f00d1bd2c58ec224b1e6b71fa0f19a1faa7a193952c444411b47c1a9d8ba6fe",
		"0b137d669b0947d7d026d593f0305ad401ff0c471357d695778a9c7f4b4869ece98aca531188d16041b3bb936d2dbb3b" +
			"4993a6e768a809160de45d0283f273a6cdf6854379e31be72b8d3d1fa990cf9c5b015ca9f918a7df6253c958114a09d4" +
			"e1c19bdcd4db14b29d98db1a74ad405c588662c14a04d0d36aa4ab55e90f8986d12d4aad",
		"25f3b12d6f282739256e39bf54eda53b60ffcf379bb7bcc90c27b4c4c578616c",
		"2d63f6debc92048b4fef3889c4c99ca67d6496e0fac14a2bca9a2d6566ff2398",
	},
	{
		PRF_HMAC_SHA2_384,
		"d3288cd87565101e88fe3bad918f31939d8dd26ff1071f8b2d7f447524e58d7c",
		"fd1b572a8e735591", "6013b0ef88dacd3d", "2116ad07ce61f749", "24880e55f11a65b7",
		"69fe7a1ac94adaeb711295f5fe004b1a8d6a0b65d05692758ce8ad2f7a45f59d7d0b596f51f7dfcf3330061888f6a94f",
		"4f904c2025c90c817ea5ff9b662a6fdb445a73b57cdf09eacd379b95e1f03cacb04cd6deeda4f952191dd9bc1f7a9502" +
			"471a648d74dc06d38112de48a42501f6b1a3ad55c2099cd9a648e5f17e5bf3e34bf9b5953decb768a34f875fe2b78dca" +
			"0c2fcca81ec1a412006dfaed38fa06882e61f4c148105fb8e231fdb33c4d484c001721d4",
		"3358f620539473aee8d07e779764c4c6a9aabddc79a28e136b3bac021dbde44a",
		"e0548c1682e13bce454026b3b1bdf42985b24e4e7408095a7c529de38c3d1fcb04c9fe6868042a34c9614c6c99e3fcea",
	},
}

func TestNISTKeyDerivationVectors(t *testing.T) {
	for _, c := range kdfVectors {
		p, err := NewPRF(c.prf)
		if err != nil {
			t.Fatal(err)
		}
		ni, nr := unhex(t, c.ni), unhex(t, c.nr)
		seed := p.SKEYSEED(ni, nr, unhex(t, c.shared))
		if !bytes.Equal(seed, unhex(t, c.skeyseed)) {
			t.Errorf("%v: SKEYSEED", c.prf)
		}
		dkm := unhex(t, c.dkm)
		for _, n := range []int{1, 15, p.KeyLen(), p.KeyLen() + 1, len(dkm)} {
			got := p.Plus(seed, join(ni, nr, unhex(t, c.spiI), unhex(t, c.spiR)), n)
			if !bytes.Equal(got, dkm[:n]) {
				t.Errorf("%v: prf+ of %d bytes", c.prf, n)
			}
		}
		// A suite that takes no more than the vector gives: SK_d, 2 SK_a (SHA-1: 20), 2 SK_e (AES-128: 16).
		k, err := p.Derive(seed, ni, nr, binary.BigEndian.Uint64(unhex(t, c.spiI)), binary.BigEndian.Uint64(unhex(t, c.spiR)),
			ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96)
		if err != nil {
			t.Fatal(err)
		}
		all := join(k.D, k.Ai, k.Ar, k.Ei, k.Er, k.Pi, k.Pr)
		if n := min(len(all), len(dkm)); !bytes.Equal(all[:n], dkm[:n]) || len(k.D) != p.KeyLen() || len(k.Pi) != p.KeyLen() || len(k.Ar) != 20 || len(k.Er) != 16 {
			t.Errorf("%v: derived keys", c.prf)
		}
		if got := p.RekeySKEYSEED(k.D, unhex(t, c.gNew), ni, nr); !bytes.Equal(got, unhex(t, c.rekeyed)) {
			t.Errorf("%v: SKEYSEED of a rekey", c.prf)
		}
	}
}

func TestChildKeysFollowTheInitiatorFirst(t *testing.T) {
	p, _ := NewPRF(PRF_HMAC_SHA2_512)
	d, ni, nr, g := Key("secret"), []byte("initiator"), []byte("responder"), []byte("shared")
	for _, pfs := range [][]byte{nil, g} {
		// prf+ spelled out.
		var want, last []byte
		for i := byte(1); i <= 4; i++ {
			m := hmac.New(sha512.New, d)
			m.Write(last)
			m.Write(pfs)
			m.Write(ni)
			m.Write(nr)
			m.Write([]byte{i})
			last = m.Sum(nil)
			want = append(want, last...)
		}
		k := p.ChildKeys(d, pfs, ni, nr, 36, 64)
		if !bytes.Equal(join(k.InitEncr, k.InitInteg, k.RespEncr, k.RespInteg), want[:200]) || len(k.RespInteg) != 64 || len(k.InitEncr) != 36 {
			t.Errorf("PFS %v: keys", pfs != nil)
		}
		k.Clear()
		if k.InitEncr[0]|k.RespInteg[63] != 0 {
			t.Error("Clear left key bytes")
		}
	}
}

func TestPSKAuthIsWhatTheRFCSpells(t *testing.T) {
	for id := range prfHashes {
		p, _ := NewPRF(id)
		psk, msg, nonce, skp, body := Key("CISCO123"), []byte("the first message"), []byte("the other's nonce"), Key("SK_pi"), []byte{1, 0, 0, 0, 172, 16, 3, 3}
		want := p.Sum(p.Sum(psk, []byte("Key Pad for IKEv2")), p.SignedOctets(msg, nonce, skp, body))
		got := p.PSKAuth(psk, msg, nonce, skp, body)
		if !bytes.Equal(got, want) || len(got) != p.KeyLen() || !EqualMAC(got, want) {
			t.Errorf("%v: AUTH", id)
		}
		if EqualMAC(got, p.PSKAuth(Key("CISCO124"), msg, nonce, skp, body)) {
			t.Errorf("%v: another key gives the same AUTH", id)
		}
	}
}

func TestPrfPlusEndsAtItsLastBlock(t *testing.T) {
	p, _ := NewPRF(PRF_HMAC_SHA1)
	if got := p.Plus(Key("k"), nil, 255*20); len(got) != 255*20 {
		t.Fatal(len(got))
	}
	defer func() {
		if recover() == nil {
			t.Error("the counter wrapped silently")
		}
	}()
	p.Plus(Key("k"), nil, 255*20+1)
}

func TestSecretsNeverPrint(t *testing.T) {
	k := Key("CISCO123")
	dh, _ := newMODP(MODP_1024, modps[MODP_1024], strings.NewReader(strings.Repeat("CISCO123", 100)))
	ec, _ := newEC(ECP_256, curveOf(ECP_256), strings.NewReader(strings.Repeat("CISCO123", 100)))
	pr, err := NewProtector(ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96, []byte("CISCO123CISCO123"), []byte("CISCO123CISCO123CISC"), nil)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Key  Key
		Keys Keys
		PSK  *Key
	}
	for _, v := range []any{k, &k, Keys{D: k, Er: k}, ChildKeys{InitEncr: k}, holder{k, Keys{Pi: k}, &k}, dh, ec, pr} {
		js, _ := json.Marshal(v)
		var out []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		out = append(out, string(js), fmt.Sprint(v))
		for _, s := range out {
			for _, leak := range []string{"CISCO", "434953434f", "434953434F", "67 73 83", "0x43, 0x49", "Q0lTQ08"} {
				if strings.Contains(s, leak) {
					t.Errorf("%T prints %q", v, s)
				}
			}
		}
	}
}

func TestWordsReadBackAsTheirAlgorithms(t *testing.T) {
	for _, w := range []string{"aes-cbc-128", "aes-cbc-192", "aes-cbc-256", "aes-gcm-128", "aes-gcm-192", "aes-gcm-256"} {
		if e, bits, err := ParseEncr(w); err != nil || e.Word(bits) != w {
			t.Errorf("%s: %v", w, err)
		}
	}
	for _, w := range []string{"sha1", "sha256", "sha384", "sha512"} {
		i, err := ParseInteg(w)
		p, err2 := ParsePRF(w)
		q, ok := i.PRF()
		if err != nil || err2 != nil || !ok || i.Word() != w || p.Word() != w || p != q {
			t.Errorf("%s: %v %v", w, err, err2)
		}
	}
	for _, w := range []string{"", "3des", "aes-cbc-512", "md5"} {
		_, _, e1 := ParseEncr(w)
		_, e2 := ParseInteg(w)
		_, e3 := ParsePRF(w)
		if !errors.Is(e1, ErrUnsupported) || !errors.Is(e2, ErrUnsupported) || !errors.Is(e3, ErrUnsupported) {
			t.Errorf("%q was taken", w)
		}
	}
	if _, ok := AUTH_NONE.PRF(); ok {
		t.Error("no integrity has a prf")
	}
	for got, want := range map[string]string{
		ENCR_AES_GCM_16.String(): "ENCR_AES_GCM_16", ENCR_AES_CBC.IOS(): "AES-CBC", EncrID(3).String(): "ENCR_3",
		PRF_HMAC_SHA2_512.String(): "PRF_HMAC_SHA2_512", PRF_HMAC_SHA2_512.IOS(): "SHA512", PRFID(1).String(): "PRF_1",
		AUTH_HMAC_SHA2_256_128.String(): "AUTH_HMAC_SHA2_256_128", AUTH_HMAC_SHA1_96.String(): "AUTH_HMAC_SHA1_96",
		AUTH_HMAC_SHA1_96.IOS(): "SHA96", AUTH_NONE.IOS(): "None", MODP_2048.String(): "MODP_2048", CURVE25519.IOS(): "31",
		IKE{ENCR_AES_CBC, 256, PRF_HMAC_SHA2_256, AUTH_HMAC_SHA2_256_128, MODP_2048}.String(): "aes-cbc-256 sha256 prf-sha256 group 14",
		IKE{ENCR_AES_GCM_16, 128, PRF_HMAC_SHA2_384, AUTH_NONE, ECP_384}.String():             "aes-gcm-128 prf-sha384 group 20",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
