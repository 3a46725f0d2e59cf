package gre

import (
	"bytes"
	"encoding/hex"
	"errors"
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

func TestHeadersHaveTheLayoutOfTheRFCs(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       Header
	}{
		{"plain IPv4", "00000800", Header{Protocol: ProtocolIPv4}},
		{"plain IPv6", "000086dd", Header{Protocol: ProtocolIPv6}},
		// As FRR's nhrpd sends it on a GRE with key 1.
		{"NHRP with a key", "2000200100000001", Header{Protocol: ProtocolNHRP, HasKey: true, Key: 1}},
		{"sequence", "1000080000000007", Header{Protocol: ProtocolIPv4, HasSeq: true, Seq: 7}},
		{"key and sequence", "30000800deadbeef00000007", Header{Protocol: ProtocolIPv4, HasKey: true, Key: 0xdeadbeef, HasSeq: true, Seq: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			got, n, err := Parse(wire)
			if err != nil || n != len(wire) || got != c.want {
				t.Fatalf("Parse: %+v, %d, %v; want %+v", got, n, err, c.want)
			}
			p := packet.From([]byte("payload"))
			defer p.Release()
			Prepend(p, c.want)
			if want := append(wire, "payload"...); !bytes.Equal(p.Bytes(), want) {
				t.Fatalf("Prepend: %x, want %x", p.Bytes(), want)
			}
		})
	}
}

func TestChecksumCoversHeaderAndPayload(t *testing.T) {
	for _, payload := range []string{"", "even", "odd"} {
		p := packet.From([]byte(payload))
		Prepend(p, Header{Protocol: ProtocolIPv4, HasChecksum: true, HasKey: true, Key: 42})
		h, n, err := Parse(p.Bytes())
		if err != nil || n != 12 || !h.HasChecksum || h.Key != 42 {
			t.Fatalf("%q: %+v, %d, %v", payload, h, n, err)
		}
		for i := range p.Bytes() {
			p.Bytes()[i] ^= 0x08
			if _, _, err := Parse(p.Bytes()); err == nil {
				t.Fatalf("%q: a flipped bit in byte %d went unnoticed", payload, i)
			}
			p.Bytes()[i] ^= 0x08
		}
		p.Release()
	}
}

func TestWhatTheRFCForbidsIsRefused(t *testing.T) {
	for _, c := range []struct {
		wire string
		want error
	}{
		{"", ErrTruncated},
		{"000008", ErrTruncated},
		{"2000080000", ErrTruncated},
		{"b000080000000000000000010000", ErrTruncated},
		{"00010800", ErrVersion},
		{"2001880b00000000", ErrVersion},
		{"40000800", ErrReserved},
		{"08000800", ErrReserved},
		{"04000800", ErrReserved},
		{"8000080012340000", ErrChecksum},
	} {
		if _, _, err := Parse(unhex(t, c.wire)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.wire, err, c.want)
		}
	}
	if _, _, err := Parse(unhex(t, "03f80800")); err != nil {
		t.Errorf("bits 6 to 12 must be ignored: %v", err)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	p := packet.From(make([]byte, 1400))
	defer p.Release()
	h := Header{Protocol: ProtocolIPv4, HasKey: true, Key: 1}
	if n := testing.AllocsPerRun(100, func() {
		Prepend(p, h)
		_, n, _ := Parse(p.Bytes())
		p.TrimFront(n)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"00000800", "2000200100000001", "30000800deadbeef00000007", "8000080012340000", "b0000800"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			return
		}
		if n != h.Len() || n > len(b) {
			t.Fatalf("length %d of a header of %d in %d bytes", n, h.Len(), len(b))
		}
		q := packet.From(b[n:])
		defer q.Release()
		Prepend(q, h)
		again, m, err := Parse(q.Bytes())
		if h.Checksum, again.Checksum = 0, 0; err != nil || m != n || again != h {
			t.Fatalf("%+v came back as %+v (%v)", h, again, err)
		}
	})
}
