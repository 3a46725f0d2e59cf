package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"felloe/netstack/packet"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// suites are all that IKE can agree on.
var suites = func() (all []Suite) {
	for _, bits := range []int{128, 192, 256} {
		all = append(all, Suite{ENCR_AES_GCM_16, bits, AUTH_NONE})
		for _, integ := range []Integ{AUTH_HMAC_SHA1_96, AUTH_HMAC_SHA2_256_128, AUTH_HMAC_SHA2_384_192, AUTH_HMAC_SHA2_512_256} {
			all = append(all, Suite{ENCR_AES_CBC, bits, integ})
		}
	}
	return all
}()

var (
	gcm256 = Suite{ENCR_AES_GCM_16, 256, AUTH_NONE}
	cbc256 = Suite{ENCR_AES_CBC, 256, AUTH_HMAC_SHA2_256_128}
)

func keyOf(n int, seed byte) []byte {
	k := make([]byte, n)
	for i := range k {
		k[i] = seed + byte(i)*7
	}
	return k
}

func params(s Suite) Params {
	return Params{
		SPI: 0xc0ffee01, Suite: s, Mode: Transport,
		EncrKey: keyOf(s.EncrKeyLen(), 1), IntegKey: keyOf(s.IntegKeyLen(), 99),
		Local: netip.MustParseAddrPort("192.0.2.1:4500"), Remote: netip.MustParseAddrPort("198.51.100.2:4501"),
	}
}

func pair(t testing.TB, p Params) (*Outbound, *Inbound) {
	t.Helper()
	o, err := NewOutbound(p)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInbound(p)
	if err != nil {
		t.Fatal(err)
	}
	return o, in
}

// arrive is a packet as the receiver gets it: a copy in a buffer of its own.
func arrive(p *packet.Packet) *packet.Packet { return packet.From(p.Bytes()) }

func TestEverySuiteSealsAndOpensEveryLength(t *testing.T) {
	for _, s := range suites {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s esn=%v", s, esn), func(t *testing.T) {
				p := params(s)
				p.ESN = esn
				o, in := pair(t, p)
				lengths := []int{0, 1, 2, 13, 14, 15, 16, 17, 64, 1399, 1400, 1401}
				for _, n := range lengths {
					payload := make([]byte, n)
					for i := range payload {
						payload[i] = byte(i)
					}
					sent := packet.From(payload)
					if err := o.Seal(sent, 47); err != nil {
						t.Fatal(err)
					}
					if sent.Len() != n+o.Overhead(n) {
						t.Fatalf("%d bytes became %d, Overhead says %d", n, sent.Len(), n+o.Overhead(n))
					}
					if n >= 14 && bytes.Contains(sent.Bytes(), payload) {
						t.Fatal("the payload is in clear")
					}
					got := arrive(sent)
					next, err := in.Open(got)
					if err != nil || next != 47 || !bytes.Equal(got.Bytes(), payload) {
						t.Fatalf("length %d: next %d, %v", n, next, err)
					}
					if got.SA != packet.SA(in) {
						t.Fatal("the packet does not know its SA")
					}
					sent.Release()
					got.Release()
				}
				if c := in.Counters(); c.Packets != uint64(len(lengths)) || c.Errors() != 0 || c != func() Counters { d := o.Counters(); return d }() {
					t.Fatalf("counters: in %+v, out %+v", c, o.Counters())
				}
			})
		}
	}
}

// reference builds an ESP packet from the RFCs with the standard library's one-shot primitives and nothing of this
// package.
func reference(t testing.TB, p Params, seq uint64, iv, payload []byte, next byte) []byte {
	t.Helper()
	text := append([]byte(nil), payload...)
	align := 4
	if p.Suite.Encr == ENCR_AES_CBC {
		align = 16
	}
	for i := byte(1); (len(text)+2)%align != 0; i++ {
		text = append(text, i)
	}
	text = append(text, byte(len(text)-len(payload)), next)
	head := binary.BigEndian.AppendUint32(nil, p.SPI)
	head = binary.BigEndian.AppendUint32(head, uint32(seq))
	data := append([]byte(nil), head...)
	if p.ESN {
		data = binary.BigEndian.AppendUint64(head[:4:4], seq)
	}
	keyLen := p.Suite.KeyBits / 8
	block, err := aes.NewCipher(p.EncrKey[:keyLen])
	if err != nil {
		t.Fatal(err)
	}
	out := append(append([]byte(nil), head...), iv...)
	if p.Suite.Encr == ENCR_AES_GCM_16 {
		aead, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		return aead.Seal(out, append(append([]byte(nil), p.EncrKey[keyLen:]...), iv...), text, data)
	}
	encrypted := make([]byte, len(text))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, text)
	out = append(out, encrypted...)
	mac := hmac.New(p.Suite.Integ.params().newHash, p.IntegKey)
	mac.Write(out)
	if p.ESN {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(seq>>32)))
	}
	icvLen := map[Integ]int{AUTH_HMAC_SHA1_96: 12, AUTH_HMAC_SHA2_256_128: 16, AUTH_HMAC_SHA2_384_192: 24, AUTH_HMAC_SHA2_512_256: 32}
	return append(out, mac.Sum(nil)[:icvLen[p.Suite.Integ]]...)
}

func TestBytesAreThoseOfAnIndependentComputation(t *testing.T) {
	payload := []byte("a payload of forty-one bytes, GRE perhaps")
	for _, s := range suites {
		for _, esn := range []bool{false, true} {
			p := params(s)
			p.ESN = esn
			o, in := pair(t, p)
			seq := uint64(77)
			if esn {
				seq = 5<<32 + 77
			}
			o.seq.Store(seq - 1)
			in.window.top = seq - 1
			sent := packet.From(payload)
			if err := o.Seal(sent, 41); err != nil {
				t.Fatal(err)
			}
			iv := sent.Bytes()[8 : 8+s.ivLen()]
			if want := reference(t, p, seq, iv, payload, 41); !bytes.Equal(sent.Bytes(), want) {
				t.Fatalf("%s esn=%v:\n got %x\nwant %x", s, esn, sent.Bytes(), want)
			}
			foreign := make([]byte, s.ivLen())
			for i := range foreign {
				foreign[i] = 0xa0 + byte(i)
			}
			got := packet.From(reference(t, p, seq, foreign, payload, 41))
			if next, err := in.Open(got); err != nil || next != 41 || !bytes.Equal(got.Bytes(), payload) {
				t.Fatalf("%s esn=%v: %d, %v", s, esn, next, err)
			}
			sent.Release()
			got.Release()
		}
	}
}

func TestPublishedVectorsOpen(t *testing.T) {
	// RFC 3602 §4 gives no ICV: the test puts one behind that the standard library computed.
	rfc3602 := Params{
		SPI: 0x4321, Suite: Suite{ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96}, Mode: Transport,
		EncrKey: unhex(t, "90d382b410eeba7ad938c46cec1a82bf"), IntegKey: keyOf(20, 3),
	}
	case5 := unhex(t, "0000432100000001e96e8c08ab465763fd098d45dd3ff893"+
		"f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856"+
		"a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a"+
		"a269add047ad2d5913ac19b7cfbad4a6")
	mac := hmac.New(AUTH_HMAC_SHA1_96.params().newHash, rfc3602.IntegKey)
	mac.Write(case5)
	case5 = append(case5, mac.Sum(nil)[:12]...)

	for _, c := range []struct {
		name          string
		params        Params
		top           uint64
		wire, payload []byte
		next          uint8
	}{
		{
			name: "RFC 3602 case 5, transport mode ping", params: rfc3602, wire: case5, next: 1,
			payload: unhex(t, "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"+
				"202122232425262728292a2b2c2d2e2f3031323334353637"),
		},
		{
			name: "draft-mcgrew-gcm-test, AES-GCM-128 with ESN",
			params: Params{
				SPI: 0x4321, Suite: Suite{ENCR_AES_GCM_16, 128, AUTH_NONE}, Mode: Tunnel, ESN: true,
				EncrKey: unhex(t, "4c80cdefbb5d10da906ac73c3613a6342e443b68"),
			},
			top: 0x87654320ffffffff,
			wire: unhex(t, "0000432100000000"+"4956ed7e3b244cfe"+
				"fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34"+
				"cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce"+
				"61bc17d768fd9732459018148f6cbe722fd04796562dfdb4"),
			payload: unhex(t, "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000"+
				"00000000045f736970045f756470037369700963796265726369747902646b00"+"0021000101020201")[:70],
		},
		{
			name: "draft-mcgrew-gcm-test, AES-GCM-256",
			params: Params{
				SPI: 0x4a2cbfe3, Suite: gcm256, Mode: Tunnel,
				EncrKey: unhex(t, "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344"),
			},
			wire: unhex(t, "4a2cbfe300000002"+"0102030405060708"+
				"ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763"+
				"748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c4915956c96"),
			payload: unhex(t, "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b401010402"),
			next:    1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := NewInbound(c.params)
			if err != nil {
				t.Fatal(err)
			}
			in.window.top = c.top
			p := packet.From(c.wire)
			defer p.Release()
			next, err := in.Open(p)
			if c.top != 0 {
				// This vector's text ends in 01 02 02 01: two bytes of padding, protocol 1.
				c.next, c.payload = 1, c.payload[:68]
			}
			if err != nil || next != c.next || !bytes.Equal(p.Bytes(), c.payload) {
				t.Fatalf("next %d, %v\n got %x\nwant %x", next, err, p.Bytes(), c.payload)
			}
		})
	}
}

func TestAnyChangedBitIsNoticed(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		o, in := pair(t, params(s))
		sent := packet.From([]byte("thirty-two bytes of GRE payload."))
		if err := o.Seal(sent, 47); err != nil {
			t.Fatal(err)
		}
		for bit := range sent.Len() * 8 {
			p := arrive(sent)
			p.Bytes()[bit/8] ^= 1 << (bit % 8)
			if _, err := in.Open(p); err == nil {
				t.Fatalf("%s: bit %d changed and the packet opened", s, bit)
			}
			p.Release()
		}
		if c := in.Counters(); c.Packets != 0 || c.Auth == 0 {
			t.Fatalf("%+v", c)
		}
		p := arrive(sent)
		if _, err := in.Open(p); err != nil {
			t.Fatalf("%s: forgeries moved the window: %v", s, err)
		}
		p.Release()
		sent.Release()
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		o, in := pair(t, params(s))
		sent := packet.From([]byte("payload"))
		if err := o.Seal(sent, 47); err != nil {
			t.Fatal(err)
		}
		for n := range sent.Len() {
			p := packet.From(sent.Bytes()[:n])
			if _, err := in.Open(p); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrAuth) {
				t.Fatalf("%s cut to %d: %v", s, n, err)
			}
			p.Release()
		}
		sent.Release()
	}
}

func TestAnAuthenticPacketWithWrongPaddingIsRefused(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		for _, text := range [][]byte{
			{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 2, 47},   // 1 3 is not 1 2
			{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 15, 47},  // more padding than text
			{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 47}, // far more
			{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 47},   // 0 1 is not 1 2
		} {
			o, in := pair(t, params(s))
			p := sealText(o, text)
			if _, err := in.Open(p); !errors.Is(err, ErrPadding) {
				t.Fatalf("%s %v: %v", s, text, err)
			}
			if c := in.Counters(); c.Padding != 1 || in.Sequence() != 1 {
				t.Fatalf("%+v, top %d", c, in.Sequence())
			}
			p.Release()
		}
	}
}

// sealText seals a text that has its trailer already.
func sealText(o *Outbound, text []byte) *packet.Packet {
	p := packet.From(text)
	clear(p.Append(o.icvLen))
	head := p.Prepend(headerLen + o.ivLen)
	seq, _ := o.reserve(1)
	binary.BigEndian.PutUint32(head, o.spi)
	binary.BigEndian.PutUint32(head[4:], uint32(seq))
	o.transform.seal(p, seq)
	return p
}

func TestTrafficFlowPaddingAndDummyPacketsOpen(t *testing.T) {
	o, in := pair(t, params(gcm256))
	// RFC 4303 §2.7: zeroes between payload and padding; the payload's own length says where it ends.
	p := sealText(o, append(bytes.Repeat([]byte{0}, 62), 0, 4))
	if next, err := in.Open(p); err != nil || next != 4 || p.Len() != 62 {
		t.Fatalf("%d, %v, %d bytes", next, err, p.Len())
	}
	p.Release()
	p = sealText(o, []byte{0xaa, 0xbb, 0, NextNone})
	if next, err := in.Open(p); err != nil || next != NextNone {
		t.Fatalf("%d, %v", next, err)
	}
	p.Release()
}

func TestUDPEncapsulationPutsPortsAndLengthInFront(t *testing.T) {
	p := params(gcm256)
	p.UDPEncap = true
	o, in := pair(t, p)
	sent := packet.From([]byte("payload"))
	if err := o.Seal(sent, 47); err != nil {
		t.Fatal(err)
	}
	b := sent.Bytes()
	if want := []byte{4500 >> 8, 4500 & 0xff, 4501 >> 8, 4501 & 0xff, 0, byte(len(b)), 0, 0}; !bytes.Equal(b[:8], want) {
		t.Fatalf("UDP header %x, want %x", b[:8], want)
	}
	if len(b) != 7+o.Overhead(7) {
		t.Fatal("Overhead forgets UDP")
	}
	sent.TrimFront(8)
	if next, err := in.Open(sent); err != nil || next != 47 || string(sent.Bytes()) != "payload" {
		t.Fatalf("%d, %v", next, err)
	}
	sent.Release()

	o.SetRemote(netip.MustParseAddrPort("203.0.113.9:1024"))
	sent = packet.From([]byte("payload"))
	if err := o.Seal(sent, 47); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint16(sent.Bytes()[2:]); got != 1024 || o.Remote().Port() != 1024 {
		t.Fatalf("the peer moved to port 1024, sent to %d", got)
	}
	sent.Release()
}

func TestUDPOverIPv6HasAValidChecksum(t *testing.T) {
	p := params(gcm256)
	p.UDPEncap = true
	p.Local, p.Remote = netip.MustParseAddrPort("[2001:db8::1]:4500"), netip.MustParseAddrPort("[2001:db8::2]:4500")
	o, _ := pair(t, p)
	for n := range 20 {
		sent := packet.From(make([]byte, n))
		if err := o.Seal(sent, 41); err != nil {
			t.Fatal(err)
		}
		src, dst := p.Local.Addr().As16(), p.Remote.Addr().As16()
		pseudo := append(append(src[:], dst[:]...), 0, 0, 0, byte(sent.Len()), 0, 0, 0, 17)
		var sum uint32
		for all := append(pseudo, sent.Bytes()...); len(all) > 0; {
			if len(all) == 1 {
				all = append(all, 0)
			}
			sum += uint32(all[0])<<8 | uint32(all[1])
			all = all[2:]
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		if sum != 0xffff {
			t.Fatalf("sum %#x", sum)
		}
		sent.Release()
	}
}

func TestOverheadAndMaxPayloadAgree(t *testing.T) {
	for _, s := range suites {
		for _, udp := range []bool{false, true} {
			p := params(s)
			p.UDPEncap = udp
			o, _ := pair(t, p)
			for room := range 1600 {
				n := o.MaxPayload(room)
				if n > 0 && n+o.Overhead(n) > room {
					t.Fatalf("%s: %d bytes do not fit %d", s, n, room)
				}
				if m := n + 1; m+o.Overhead(m) <= room {
					t.Fatalf("%s: %d bytes would fit %d, MaxPayload says %d", s, m, room, n)
				}
			}
		}
	}
}

func TestTheLastSequenceNumberIsSentAndNoneAfterIt(t *testing.T) {
	for _, esn := range []bool{false, true} {
		p := params(gcm256)
		p.ESN = esn
		o, _ := pair(t, p)
		o.seq.Store(o.maxSeq - 3)
		v := make([]*packet.Packet, 5)
		for i := range v {
			v[i] = packet.From([]byte("payload"))
		}
		n, err := o.SealVector(v, 47)
		if n != 3 || !errors.Is(err, ErrSequenceExhausted) {
			t.Fatalf("esn=%v: sealed %d, %v", esn, n, err)
		}
		if string(v[3].Bytes()) != "payload" {
			t.Fatal("a refused packet must stay as it was")
		}
		for range 3 {
			if err := o.Seal(v[4], 47); !errors.Is(err, ErrSequenceExhausted) {
				t.Fatal(err)
			}
		}
		if c := o.Counters(); c.Packets != 3 || c.SequenceExhausted != 4 || o.SequenceLeft() != 0 {
			t.Fatalf("%+v", c)
		}
		packet.ReleaseAll(v)
	}
}

func TestLimitsSoftThenHard(t *testing.T) {
	o, in := pair(t, params(gcm256))
	var soft, softIn int
	o.SetSoftLimit(0, 250, func() { soft++ })
	in.SetSoftLimit(2, 0, func() { softIn++ })
	o.SetHardLimit(5, 0)
	for i := range 7 {
		p := packet.From(make([]byte, 100))
		err := o.Seal(p, 47)
		if wantErr := i >= 5; wantErr != errors.Is(err, ErrHardLimit) {
			t.Fatalf("packet %d: %v", i, err)
		}
		if err == nil {
			if _, err := in.Open(p); err != nil {
				t.Fatal(err)
			}
		}
		if want := min(1, i/2); i < 5 && (soft != want || softIn != min(1, (i+1)/2)) {
			t.Fatalf("after packet %d: soft %d, inbound %d", i, soft, softIn)
		}
		p.Release()
	}
	if soft != 1 || softIn != 1 {
		t.Fatalf("soft limits fired %d and %d times", soft, softIn)
	}
	if c := o.Counters(); c.HardLimit != 2 || c.Bytes != 500 {
		t.Fatalf("%+v", c)
	}
}

func TestABufferWithoutRoomIsRefusedUnharmed(t *testing.T) {
	o, _ := pair(t, params(cbc256))
	p := packet.From([]byte("payload"))
	defer p.Release()
	p.Append(p.Tailroom() - 17) // the trailer and the ICV alone need 18
	n := p.Len()
	if err := o.Seal(p, 47); !errors.Is(err, ErrNoRoom) || p.Len() != n || o.Counters().NoRoom != 1 {
		t.Fatal(err)
	}
	p.Truncate(7)
	p.Prepend(p.Headroom() - 8)
	if err := o.Seal(p, 47); !errors.Is(err, ErrNoRoom) {
		t.Fatal(err)
	}
}

func TestCBCsIVsNeitherRepeatNorCount(t *testing.T) {
	a, _ := pair(t, params(cbc256))
	b, _ := pair(t, params(cbc256))
	seen := map[string]bool{}
	for range 1000 {
		for _, o := range []*Outbound{a, b} {
			p := packet.From([]byte("payload"))
			if err := o.Seal(p, 47); err != nil {
				t.Fatal(err)
			}
			iv := string(p.Bytes()[8:24])
			if seen[iv] {
				t.Fatal("an IV came twice")
			}
			seen[iv] = true
			p.Release()
		}
	}
	zero := 0
	for iv := range seen {
		if iv[:8] == "\x00\x00\x00\x00\x00\x00\x00\x00" {
			zero++
		}
	}
	if zero > 0 {
		t.Fatalf("%d of 2,000 IVs start like a counter", zero)
	}
}

func TestVectorsOpenWithOneAnswerEach(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		o, in := pair(t, params(s))
		const n = 150 // more than two chunks
		v, w := make([]*packet.Packet, n), make([]*packet.Packet, 0, n+3)
		for i := range v {
			v[i] = packet.From(fmt.Appendf(nil, "payload %d", i))
		}
		if done, err := o.SealVector(v, 47); done != n || err != nil {
			t.Fatal(done, err)
		}
		for _, p := range v {
			w = append(w, arrive(p))
		}
		w[10].Bytes()[20] ^= 1                             // forged
		w = append(w, arrive(v[3]), arrive(v[149]))        // replayed, one in the same chunk as the first
		w = append(w, packet.From([]byte("0123456789ab"))) // short
		next, errs := make([]uint8, len(w)), make([]error, len(w))
		in.OpenVector(w, next, errs)
		for i := range w {
			var want error
			switch i {
			case 10:
				want = ErrAuth
			case 150, 151:
				want = ErrReplay
			case 152:
				want = ErrTruncated
			}
			if !errors.Is(errs[i], want) || want == nil && (next[i] != 47 || string(w[i].Bytes()) != fmt.Sprintf("payload %d", i)) {
				t.Fatalf("%s: packet %d: %v, want %v", s, i, errs[i], want)
			}
		}
		if c := in.Counters(); c.Packets != n-1 || c.Auth != 1 || c.Replay != 2 || c.Truncated != 1 {
			t.Fatalf("%+v", c)
		}
		packet.ReleaseAll(v)
		packet.ReleaseAll(w)
	}
}

func TestSeveralWorkersShareAnSA(t *testing.T) {
	for _, s := range []Suite{gcm256, cbc256} {
		p := params(s)
		p.Window = 1 << 15
		o, in := pair(t, p)
		const workers, each = 4, 500
		sent := make(chan *packet.Packet, workers*each)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					p := packet.From(fmt.Appendf(nil, "%d/%d", w, i))
					if err := o.Seal(p, 47); err != nil {
						t.Error(err)
					}
					sent <- p
				}
			})
		}
		wg.Wait()
		close(sent)
		var twice []*packet.Packet
		for p := range sent {
			twice = append(twice, p, arrive(p))
		}
		rand.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		work := make(chan *packet.Packet, len(twice))
		for _, p := range twice {
			work <- p
		}
		close(work)
		for range workers {
			wg.Go(func() {
				for p := range work {
					if _, err := in.Open(p); err != nil && !errors.Is(err, ErrReplay) {
						t.Error(err)
					}
					p.Release()
				}
			})
		}
		wg.Wait()
		if c := in.Counters(); c.Packets != workers*each || c.Replay != workers*each {
			t.Fatalf("%s: %+v", s, c)
		}
	}
}

func TestParametersThatCannotWorkAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"reserved SPI":       func(p *Params) { p.SPI = 255 },
		"short key":          func(p *Params) { p.EncrKey = p.EncrKey[1:] },
		"integrity with GCM": func(p *Params) { p.Suite.Integ = AUTH_HMAC_SHA2_256_128 },
		"integrity key":      func(p *Params) { p.IntegKey = make([]byte, 32) },
		"CBC alone":          func(p *Params) { p.Suite = Suite{ENCR_AES_CBC, 256, AUTH_NONE} },
		"odd key size":       func(p *Params) { p.Suite.KeyBits = 512 },
		"unknown encryption": func(p *Params) { p.Suite.Encr = 3 },
		"no mode":            func(p *Params) { p.Mode = 0 },
		"UDP without ports":  func(p *Params) { p.UDPEncap, p.Remote = true, netip.AddrPort{} },
		"ESN without window": func(p *Params) { p.ESN, p.Window = true, -1 },
		"huge window":        func(p *Params) { p.Window = MaxWindow + 1 },
	} {
		p := params(gcm256)
		change(&p)
		if _, err := NewOutbound(p); err == nil {
			t.Errorf("%s: outbound was made", name)
		}
		if _, err := NewInbound(p); err == nil {
			t.Errorf("%s: inbound was made", name)
		}
	}
}

func TestSuitesAreNamedLikeTheConfiguration(t *testing.T) {
	for s, want := range map[Suite]string{gcm256: "aes-gcm-256", cbc256: "aes-cbc-256 sha256", {ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96}: "aes-cbc-128 sha1"} {
		if s.String() != want {
			t.Errorf("%q, want %q", s.String(), want)
		}
	}
}

func TestAnOwnerCanBeSetAndChanged(t *testing.T) {
	_, in := pair(t, params(gcm256))
	if in.Owner() != nil {
		t.Fatal("an owner before it was set")
	}
	in.SetOwner("a session")
	in.SetOwner(42)
	if in.Owner() != 42 {
		t.Fatal(in.Owner())
	}
}
