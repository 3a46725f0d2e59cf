package frag

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

var (
	now = time.Unix(1000, 0)
	a4  = netip.MustParseAddr("192.0.2.1")
	b4  = netip.MustParseAddr("198.51.100.2")
	a6  = netip.MustParseAddr("2001:db8::1")
	b6  = netip.MustParseAddr("2001:db8:1::2")
)

func datagram4(src, dst netip.Addr, id uint16, n int) *packet.Packet {
	p := packet.Get(n)
	b := p.Append(n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	ip.PrependUDP(p, ip.Outer{Src: src, Dst: dst, TTL: 9, ID: id}, 1, 2)
	return p
}

func parse(t testing.TB, p *packet.Packet) ip.Header {
	t.Helper()
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func cut(t testing.TB, p *packet.Packet, id uint32, mtu int) []*packet.Packet {
	h := parse(t, p)
	if h.Version == 4 {
		return ip.Fragment4(p, &h, mtu, nil)
	}
	return ip.Fragment6(p, &h, id, mtu, nil)
}

type drops map[string]int

func (d drops) count(_ *packet.Packet, why error) { d[why.Error()]++ }

func (d drops) total() (n int) {
	for _, k := range d {
		n += k
	}
	return
}

func TestFragmentsInAnyOrderBecomeTheDatagramAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		for range 50 {
			d := drops{}
			table := New(Limits{}, d.count)
			p := datagram4(c[0], c[1], 7, 3000+int(r.UintN(9000)))
			p.Ingress, p.VRF = 5, 6
			want := bytes.Clone(p.Bytes())
			fs := cut(t, p, 7, 1280)
			fs = append(fs, fs[1].Clone()) // one twice
			r.Shuffle(len(fs)-1, func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
			var whole *packet.Packet
			for _, f := range fs {
				h := parse(t, f)
				w, err := table.Add(now, f, &h)
				if err != nil {
					t.Fatal(err)
				}
				if w != nil {
					whole = w
					break
				}
			}
			if whole == nil || whole.Ingress != 5 || whole.VRF != 6 {
				t.Fatal("not whole, or without its context")
			}
			h := parse(t, whole)
			if !bytes.Equal(whole.Bytes()[h.L4:], want[h.L4:]) || !ip.L4Valid(&h, whole.Bytes()) || h.Fragment() {
				t.Fatalf("the datagram differs: %+v", h)
			}
			if table.bytes != 0 || len(d) != 0 || table.Len() != 0 || len(table.sources) != 0 {
				t.Fatalf("left: %d bytes, %v", table.bytes, d)
			}
		}
	}
}

func TestOverlapKillsTheDatagram(t *testing.T) {
	for _, c := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		d := drops{}
		table := New(Limits{}, d.count)
		one := cut(t, datagram4(c[0], c[1], 7, 4000), 7, 1280)
		other := cut(t, datagram4(c[0], c[1], 7, 4000), 7, 1400)
		for _, f := range []*packet.Packet{one[0], one[2]} {
			h := parse(t, f)
			if _, err := table.Add(now, f, &h); err != nil {
				t.Fatal(err)
			}
		}
		h := parse(t, other[1])
		if _, err := table.Add(now, other[1], &h); !errors.Is(err, ErrOverlap) {
			t.Fatalf("got %v", err)
		}
		if table.Len() != 0 || table.bytes != 0 || d[ErrOverlap.Error()] != 3 {
			t.Fatalf("left %d, dropped %v", table.Len(), d)
		}
	}
}

func TestMemoryIsBoundedAndEveryFragmentAccountedFor(t *testing.T) {
	d := drops{}
	limits := Limits{Datagrams: 20, PerSource: 4, Fragments: 5, Bytes: 100_000}
	table := New(limits, d.count)
	sent, r := 0, rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		src := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.UintN(30))})
		fs := cut(t, datagram4(src, b4, uint16(i), 4000), 0, 576)
		for _, f := range fs[1:min(len(fs), 2+int(r.UintN(6)))] {
			h := parse(t, f)
			sent++
			_, _ = table.Add(now, f, &h)
			if table.bytes > limits.Bytes || table.Len() > limits.Datagrams || table.bytes < 0 {
				t.Fatalf("%d bytes, %d datagrams", table.bytes, table.Len())
			}
		}
		fs[0].Release()
	}
	for a, n := range table.sources {
		if n > limits.PerSource {
			t.Fatalf("%v has %d datagrams", a, n)
		}
	}
	if table.Expire(now.Add(time.Minute)) || table.bytes != 0 || len(table.sources) != 0 {
		t.Fatal("something is left after its time")
	}
	if d.total() != sent {
		t.Fatalf("%d fragments sent, %d accounted for: %v", sent, d.total(), d)
	}
}

func TestTheLengthOfAPingOfDeathIsRefused(t *testing.T) {
	d := drops{}
	table := New(Limits{}, d.count)
	fs := cut(t, datagram4(a4, b4, 1, 3000), 0, 1500)
	last := fs[len(fs)-1]
	b := last.Bytes()
	binary.BigEndian.PutUint16(b[6:], 0x1fff)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:20], 0))
	h := parse(t, last)
	if _, err := table.Add(now, last, &h); !errors.Is(err, ErrTooLong) {
		t.Fatalf("got %v", err)
	}
}

func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 3, 1, 8, 3, 0})
	f.Add([]byte{0x80, 3, 1, 0x88, 3, 0})
	f.Add([]byte{0, 3, 1, 2, 3, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		sent, whole := 0, 0
		d := drops{}
		table := New(Limits{Datagrams: 4, PerSource: 3, Bytes: 60_000, Fragments: 9}, d.count)
		// Three bytes a fragment: offset and family, length, more and id.
		for ; len(script) >= 3; script = script[3:] {
			off, n, more := int(script[0]&0x7f)*8, int(script[1])+1, script[2]&1 == 1
			id := uint16(script[2] >> 1 & 7)
			p := packet.Get(n)
			p.Append(n)
			word := uint16(off / 8)
			if script[0]&0x80 == 0 {
				if more {
					word |= 0x2000
				}
				(&ip.Outer{Src: a4, Dst: b4, Proto: 17, TTL: 3, ID: id}).Prepend(p)
				b := p.Bytes()
				binary.BigEndian.PutUint16(b[6:], word)
				b[10], b[11] = 0, 0
				binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:20], 0))
			} else {
				word <<= 3
				if more {
					word |= 1
				}
				b := p.Prepend(8)
				b[0], b[1] = 60, 0 // destination options follow: their bytes are the fuzzer's lengths
				binary.BigEndian.PutUint16(b[2:], word)
				binary.BigEndian.PutUint32(b[4:], uint32(id))
				clear(p.Bytes()[8:])
				if n > 1 {
					p.Bytes()[8] = 17
				}
				(&ip.Outer{Src: a6, Dst: b6, Proto: 44, TTL: 3}).Prepend(p)
			}
			h := parse(t, p)
			before := d.total()
			w, err := table.Add(now, p, &h)
			sent++
			if w != nil {
				h := parse(t, w)
				if h.Fragment() || h.Len != w.Len() {
					t.Fatalf("whole packet reads as %+v of %d", h, w.Len())
				}
				w.Release()
				whole++
			}
			if err != nil && d.total() == before {
				t.Fatal("refused, not counted")
			}
		}
		table.Expire(now.Add(time.Hour))
		if table.bytes != 0 || table.Len() != 0 || len(table.sources) != 0 || d.total() > sent {
			t.Fatalf("left %d bytes, %d datagrams; dropped %d of %d", table.bytes, table.Len(), d.total(), sent)
		}
	})
}
