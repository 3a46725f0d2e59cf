package ip

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"felloe/netstack/packet"

	gchecksum "gvisor.dev/gvisor/pkg/tcpip/checksum"
)

var (
	a4 = netip.MustParseAddr("192.0.2.1")
	b4 = netip.MustParseAddr("198.51.100.2")
	a6 = netip.MustParseAddr("2001:db8::1")
	b6 = netip.MustParseAddr("2001:db8:1::2")
)

func udp(src, dst netip.Addr, n int, df bool) *packet.Packet {
	p := packet.Get(n)
	for i := range p.Append(n) {
		p.Bytes()[i] = byte(i * 7)
	}
	PrependUDP(p, Outer{Src: src, Dst: dst, TTL: 64, TOS: 0x28, DF: df, ID: 77}, 1000, 2000)
	return p
}

func TestTheSumIsRFC1071s(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		init := uint16(r.Uint32())
		if got, want := Sum(b, uint32(init)), gchecksum.Checksum(b, init); got != want && ^got != 0 && ^want != 0 {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
}

func TestWhatIsWrittenIsReadInBothFamilies(t *testing.T) {
	for _, c := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		p := udp(c[0], c[1], 333, false)
		var h Header
		if err := Parse(p.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		src, dst, ok := h.Ports(p.Bytes())
		if h.Src != c[0] || h.Dst != c[1] || h.Proto != UDP || h.TTL != 64 || h.TOS != 0x28 || h.Len != p.Len() || !ok || src != 1000 || dst != 2000 {
			t.Fatalf("read %+v %d %d", h, src, dst)
		}
		if !L4Valid(&h, p.Bytes()) {
			t.Fatal("the checksum is wrong")
		}
		p.Bytes()[h.L4+20] ^= 1
		if L4Valid(&h, p.Bytes()) {
			t.Fatal("a damaged datagram passes")
		}
		DecTTL(p.Bytes())
		SetTOS(p.Bytes(), 0xb8)
		if err := Parse(p.Bytes(), &h); err != nil || h.TTL != 63 || h.TOS != 0xb8 {
			t.Fatalf("after a hop: %v %+v", err, h)
		}
		p.Release()
	}
}

func TestTTLUpdateKeepsTheChecksumRightForEveryValue(t *testing.T) {
	p := udp(a4, b4, 8, false)
	for id := range 65536 {
		b := p.Bytes()
		(&Outer{Src: a4, Dst: b4, Proto: UDP, TTL: byte(1 + id%255), ID: uint16(id)}).Put(b, 16)
		DecTTL(b)
		if Sum(b[:20], 0) != 0xffff {
			t.Fatalf("id %d", id)
		}
	}
}

func TestFragmentsCarryTheWholeDatagram(t *testing.T) {
	p := udp(a4, b4, 4000, false)
	want := bytes.Clone(p.Bytes())
	var h Header
	_ = Parse(p.Bytes(), &h)
	var whole []byte
	frags := Fragment4(p, &h, 1400, nil)
	// A fragment is cut further on a narrower link.
	_ = Parse(frags[1].Bytes(), &h)
	frags = append(append(frags[:1:1], Fragment4(frags[1], &h, 576, nil)...), frags[2:]...)
	for i, f := range frags {
		if err := Parse(f.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		if f.Len() > 1400 || h.FragOff != len(whole) || h.MF != (i < len(frags)-1) || h.ID != 77 || !h.Fragment() {
			t.Fatalf("fragment %d: %+v", i, h)
		}
		whole = append(whole, f.Bytes()[h.L4:]...)
	}
	if !bytes.Equal(whole, want[20:]) {
		t.Fatal("the data differs")
	}
	p = udp(a6, b6, 4000, false)
	want = bytes.Clone(p.Bytes())
	_ = Parse(p.Bytes(), &h)
	whole = nil
	for _, f := range Fragment6(p, &h, 99, 1280, nil) {
		if err := Parse(f.Bytes(), &h); err != nil || f.Len() > 1280 || h.FragOff != len(whole) || h.ID != 99 || h.FragHdr != 40 {
			t.Fatalf("%v %+v", err, h)
		}
		whole = append(whole, f.Bytes()[h.L4:]...)
	}
	if !bytes.Equal(whole, want[40:]) {
		t.Fatal("the data differs")
	}
}

func TestOptionsOfTheFirstFragmentOnlyAreBlankedInTheOthers(t *testing.T) {
	p := udp(a4, b4, 100, false)
	b := bytes.Clone(p.Bytes())
	opts := []byte{7, 3, 4, 0x94, 4, 0, 0, 0} // record route (not copied), router alert (copied)
	with := append(append(bytes.Clone(b[:20]), opts...), b[20:]...)
	with[0] = 0x47
	binary.BigEndian.PutUint16(with[2:], uint16(len(with)))
	with[10], with[11] = 0, 0
	binary.BigEndian.PutUint16(with[10:], ^Sum(with[:28], 0))
	q := packet.From(with)
	var h Header
	if err := Parse(q.Bytes(), &h); err != nil {
		t.Fatal(err)
	}
	f := Fragment4(q, &h, 28+48, nil)
	if !bytes.Equal(f[0].Bytes()[20:28], opts) || !bytes.Equal(f[1].Bytes()[20:28], []byte{1, 1, 1, 0x94, 4, 0, 0, 0}) {
		t.Fatalf("%x %x", f[0].Bytes()[20:28], f[1].Bytes()[20:28])
	}
}

func TestMSSIsLoweredWithTheChecksumNeverRaised(t *testing.T) {
	for _, pad := range [][]byte{{}, {1}} {
		for _, c := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
			opts := append(append([]byte{}, pad...), 2, 4, 5, 0xb4)
			for len(opts)%4 != 0 {
				opts = append(opts, 1)
			}
			seg := make([]byte, 20+len(opts))
			seg[12], seg[13] = byte(len(seg)/4)<<4, 2
			copy(seg[20:], opts)
			binary.BigEndian.PutUint16(seg[16:], L4Checksum(c[0], c[1], TCP, seg))
			p := packet.From(seg)
			(&Outer{Src: c[0], Dst: c[1], Proto: TCP, TTL: 9}).Prepend(p)
			var h Header
			_ = Parse(p.Bytes(), &h)
			if ClampMSS(&h, p.Bytes(), 1460) {
				t.Fatal("1460 was raised or touched")
			}
			if !ClampMSS(&h, p.Bytes(), 1357) || !L4Valid(&h, p.Bytes()) {
				t.Fatal("not clamped, or with a wrong checksum")
			}
			if got := binary.BigEndian.Uint16(p.Bytes()[h.L4+22+len(pad):]); got != 1357 {
				t.Fatalf("mss %d", got)
			}
			p.Release()
		}
	}
}

func TestErrorsAreAboutWhatMayBeAnswered(t *testing.T) {
	ask := func(p *packet.Packet) bool {
		var h Header
		if err := Parse(p.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		return Answerable(&h, p.Bytes(), false)
	}
	ok := udp(a4, b4, 2000, false)
	if !ask(ok) || !ask(udp(a6, b6, 20, false)) {
		t.Fatal("a datagram may be answered")
	}
	if ask(udp(a4, netip.MustParseAddr("224.0.0.5"), 9, false)) || ask(udp(a6, netip.MustParseAddr("ff02::1"), 9, false)) || ask(udp(a4, Broadcast, 9, false)) {
		t.Fatal("multicast was to be answered")
	}
	var h Header
	_ = Parse(ok.Bytes(), &h)
	e := NewError(TTLExceeded(4), b4, &h, ok.Bytes())
	if e.Len() != 576 || ask(e) {
		t.Fatal("an error is to be answered, or is too long")
	}
	_ = Parse(e.Bytes(), &h)
	if got, quoted, is := IsError(&h, e.Bytes()); !is || got.Type != TimeExceeded || len(quoted) != 548 || !L4Valid(&h, e.Bytes()) {
		t.Fatalf("%v %v %d", got, is, len(quoted))
	}
	f := Fragment4(ok, mustParse(ok), 576, nil)
	if !ask(f[0]) || ask(f[1]) {
		t.Fatal("only the first fragment may be answered")
	}
}

func mustParse(p *packet.Packet) *Header {
	var h Header
	if err := Parse(p.Bytes(), &h); err != nil {
		panic(err)
	}
	return &h
}

func TestFragmentsOfOneDatagramHaveOneFlow(t *testing.T) {
	p := udp(a4, b4, 4000, false)
	f := Fragment4(p, mustParse(p), 1500, nil)
	flow := mustParse(f[0]).Flow(f[0].Bytes())
	for _, q := range f {
		if mustParse(q).Flow(q.Bytes()) != flow {
			t.Fatal("flows differ")
		}
	}
}

func TestSourceRoutesAreSeen(t *testing.T) {
	if !sourceRoute([]byte{1, 1, 131, 7, 4, 1, 2, 3, 4}) || sourceRoute([]byte{7, 3, 131, 0}) || sourceRoute([]byte{7, 0}) {
		t.Fatal("options misread")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(udp(a4, b4, 30, true).Bytes())
	f.Add(udp(a6, b6, 30, true).Bytes())
	p := udp(a6, b6, 3000, true)
	for _, q := range Fragment6(p, mustParse(p), 1, 1280, nil) {
		f.Add(q.Bytes())
	}
	f.Add([]byte{0x60, 0, 0, 0, 0, 8, 0, 64, 39: 1, 40: 43, 41: 255, 47: 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		if Parse(b, &h) != nil {
			return
		}
		if h.Len > len(b) || h.L4 > h.Len {
			t.Fatalf("offsets beyond the packet: %+v of %d", h, len(b))
		}
		h.Ports(b)
		h.Flow(b)
		L4Valid(&h, b)
		IsError(&h, b)
		if Answerable(&h, b, true) {
			NewError(TooBig(h.Version, 1400), h.Dst, &h, b).Release()
		}
		p := packet.From(b[:min(len(b), 60000)])
		if Parse(p.Bytes(), &h) == nil {
			ClampMSS(&h, p.Bytes(), 1000)
			if h.TTL > 0 {
				DecTTL(p.Bytes())
			}
			var out []*packet.Packet
			if h.Version == 4 {
				out = Fragment4(p, &h, 576, nil)
			} else {
				out = Fragment6(p, &h, 1, 1280, nil)
			}
			packet.ReleaseAll(out)
		}
	})
}

func TestPlain4AgreesWithTheWholeChecks(t *testing.T) {
	for first := range 256 {
		a := netip.AddrFrom4([4]byte{byte(first), 0, 0, 1})
		want := !BadSource(a) && !BadDestination(a) && !a.IsMulticast()
		if Plain4(byte(first)) != want {
			t.Errorf("%v: plain is %v", a, !want)
		}
	}
}

func TestParseLeavesNothingOfTheHeaderBefore(t *testing.T) {
	p := packet.From([]byte("12345678"))
	PrependUDP(p, Outer{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"), TTL: 9}, 1, 2)
	var clean Header
	if err := Parse(p.Bytes(), &clean); err != nil {
		t.Fatal(err)
	}
	used := Header{
		Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), Len: 7, L4: 7, ID: 7, FragOff: 7, FragHdr: 7,
		Version: 6, Proto: 7, TTL: 7, TOS: 7, DF: true, MF: true, SourceRoute: true,
	}
	if err := Parse(p.Bytes(), &used); err != nil || used != clean {
		t.Fatalf("got %+v (%v), want %+v", used, err, clean)
	}
}
