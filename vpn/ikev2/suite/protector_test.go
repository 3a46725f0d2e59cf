package suite

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
)

type combo struct {
	encr  EncrID
	bits  int
	integ IntegID
}

func combos() (c []combo) {
	for _, bits := range []int{128, 192, 256} {
		c = append(c, combo{ENCR_AES_GCM_16, bits, AUTH_NONE})
		for _, i := range []IntegID{AUTH_HMAC_SHA1_96, AUTH_HMAC_SHA2_256_128, AUTH_HMAC_SHA2_384_192, AUTH_HMAC_SHA2_512_256} {
			c = append(c, combo{ENCR_AES_CBC, bits, i})
		}
	}
	return c
}

func (c combo) String() string { return c.encr.Word(c.bits) + " " + c.integ.Word() }

func (c combo) protector(t testing.TB, fill byte) *Protector {
	t.Helper()
	enc, ig := KeyLens(c.encr, c.bits, c.integ)
	p, err := NewProtector(c.encr, c.bits, c.integ, bytes.Repeat([]byte{fill}, enc), bytes.Repeat([]byte{fill + 1}, ig), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatIsSealedOpensAgain(t *testing.T) {
	for _, c := range combos() {
		p, q := c.protector(t, 1), c.protector(t, 1)
		aad := []byte("IKE header and the generic header of SK")
		for n := range 70 {
			plain := bytes.Repeat([]byte{byte(n)}, n)
			// In place behind the prefix, as the engine does it.
			msg := make([]byte, len(aad), 512)
			copy(msg, aad)
			msg = p.Seal(msg, msg, plain)
			if len(msg) != len(aad)+n+p.Overhead(n) {
				t.Fatalf("%v: %d bytes grew by %d, not %d", c, n, len(msg)-len(aad)-n, p.Overhead(n))
			}
			if p.MaxPlain(p.Overhead(n)+n) < n || p.MaxPlain(p.Overhead(n)+n-1) >= n {
				t.Fatalf("%v: MaxPlain does not invert Overhead at %d", c, n)
			}
			before := bytes.Clone(msg)
			got, err := q.Open(msg, len(aad))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v: %d bytes: %x, %v", c, n, got, err)
			}
			if !bytes.Equal(msg, before) {
				t.Fatalf("%v: Open changed the message", c)
			}
			// Apart from it.
			if got, err := q.Open(append(bytes.Clone(aad), p.Seal(nil, aad, plain)...), len(aad)); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v: %v", c, err)
			}
		}
	}
}

func TestAChangedBitOrAMissingByteIsFound(t *testing.T) {
	for _, c := range combos() {
		p := c.protector(t, 1)
		aad := []byte("prefix")
		msg := p.Seal(bytes.Clone(aad), aad, []byte("payloads"))
		for i := range msg {
			bad := bytes.Clone(msg)
			bad[i] ^= 0x10
			if _, err := p.Open(bad, len(aad)); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v: byte %d: %v", c, i, err)
			}
		}
		for n := range msg {
			if _, err := p.Open(msg[:n], min(n, len(aad))); err == nil {
				t.Errorf("%v: %d of %d bytes opened", c, n, len(msg))
			}
		}
		if _, err := c.protector(t, 9).Open(msg, len(aad)); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: another key opened it", c)
		}
		for _, off := range []int{-1, len(msg) + 1} {
			if _, err := p.Open(msg, off); !errors.Is(err, ErrShort) {
				t.Errorf("%v: offset %d: %v", c, off, err)
			}
		}
	}
}

func TestTheNonceOfGCMIsSaltAndIV(t *testing.T) {
	c := combo{ENCR_AES_GCM_16, 256, AUTH_NONE}
	key := bytes.Repeat([]byte{7}, 36)
	copy(key[32:], "salt")
	p, err := NewProtector(c.encr, c.bits, c.integ, key, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	aad := []byte("prefix")
	sealed := p.Seal(nil, aad, []byte("hello"))
	block, _ := aes.NewCipher(key[:32])
	gcm, _ := cipher.NewGCM(block)
	plain, err := gcm.Open(nil, append([]byte("salt"), sealed[:8]...), sealed[8:], aad)
	if err != nil || string(plain) != "hello\x00" {
		t.Fatalf("%q, %v", plain, err)
	}
	if bytes.Equal(sealed[:8], p.Seal(nil, aad, []byte("hello"))[:8]) {
		t.Error("an IV came twice")
	}
}

func TestAPeersPaddingMayBeAnything(t *testing.T) {
	// Two blocks with all of the padding that fits, of arbitrary content, as RFC 7296 §3.14 allows.
	c := combo{ENCR_AES_CBC, 128, AUTH_HMAC_SHA2_256_128}
	p := c.protector(t, 1)
	block, _ := aes.NewCipher(bytes.Repeat([]byte{1}, 16))
	for pad, want := range map[byte]error{0: nil, 15: nil, 31: nil, 32: ErrPad, 255: ErrPad} {
		body := bytes.Repeat([]byte{0xaa}, 32)
		body[31] = pad
		iv := make([]byte, 16)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(body, body)
		msg := append(append([]byte("aad"), iv...), body...)
		msg = append(msg, p.sum(msg[:3], msg[3:])...)
		got, err := p.Open(msg, 3)
		if !errors.Is(err, want) || want == nil && len(got) != 31-int(pad) {
			t.Errorf("pad length %d: %d bytes, %v", pad, len(got), err)
		}
	}
}

func TestSuitesThatAreNoneAreRefused(t *testing.T) {
	for _, c := range []combo{{ENCR_AES_CBC, 256, AUTH_NONE}, {ENCR_AES_GCM_16, 256, AUTH_HMAC_SHA1_96}, {ENCR_AES_CBC, 0, AUTH_HMAC_SHA1_96}, {3, 192, AUTH_HMAC_SHA1_96}, {ENCR_NULL, 0, AUTH_HMAC_SHA1_96}, {ENCR_AES_CBC, 128, 1}} {
		if enc, ig := KeyLens(c.encr, c.bits, c.integ); enc != 0 || ig != 0 {
			t.Errorf("%v has key lengths", c)
		}
		if _, err := NewProtector(c.encr, c.bits, c.integ, nil, nil, rand.Reader); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := NewProtector(ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96, make([]byte, 16), make([]byte, 19), rand.Reader); err == nil {
		t.Error("a short key was taken")
	}
	if _, err := NewPRF(1); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	all := combos()
	for i, c := range all {
		f.Add(byte(i), c.protector(f, 1).Seal([]byte("prefix"), []byte("prefix"), []byte("plaintext")), 6)
	}
	f.Add(byte(0), []byte{}, 0)
	f.Fuzz(func(t *testing.T, which byte, msg []byte, off int) {
		p := all[int(which)%len(all)].protector(t, 1)
		plain, err := p.Open(msg, off)
		if err == nil && len(plain) > len(msg) {
			t.Fatal("more came out than went in")
		}
		if off < 0 || off > len(msg) {
			return
		}
		// What we seal behind any prefix opens.
		aad := msg[:off]
		got, err := p.Open(p.Seal(bytes.Clone(aad), aad, msg[off:]), off)
		if err != nil || !bytes.Equal(got, msg[off:]) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzShared(f *testing.F) {
	keys := map[Group]DH{}
	for _, g := range Groups {
		d, err := NewDH(g, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		keys[g] = d
		other, _ := NewDH(g, rand.Reader)
		f.Add(uint16(g), other.Public())
		f.Add(uint16(g), make([]byte, PublicLen(g)))
	}
	f.Fuzz(func(t *testing.T, g uint16, peer []byte) {
		d, ok := keys[Group(g)]
		if !ok {
			if _, err := NewDH(Group(g), rand.Reader); !errors.Is(err, ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		s, err := d.Shared(peer)
		if err != nil && !errors.Is(err, ErrBadPublic) {
			t.Fatal(err)
		}
		if err == nil && len(bytes.Trim(s, "\x00")) == 0 {
			t.Fatal("a shared secret of zeros")
		}
	})
}

func BenchmarkShared(b *testing.B) {
	for _, g := range Groups {
		b.Run(fmt.Sprint(g), func(b *testing.B) {
			x, _ := NewDH(g, rand.Reader)
			y, _ := NewDH(g, rand.Reader)
			for b.Loop() {
				if _, err := x.Shared(y.Public()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
