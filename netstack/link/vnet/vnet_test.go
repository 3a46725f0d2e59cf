package vnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"felloe/netstack/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// frame builds an Ethernet frame with IP and TCP or UDP headers and no checksums, and the offset of the upper header.
func frame(six bool, proto uint8, tags int, payload []byte) (b []byte, l4 int) {
	b = make([]byte, 12)
	for range tags {
		b = append(b, 0x81, 0, 0, 5)
	}
	src, dst := []byte{192, 0, 2, 1}, []byte{198, 51, 100, 2}
	upper := 20
	if proto == 17 {
		upper = 8
	}
	if six {
		b = append(b, 0x86, 0xdd)
		ip := make([]byte, 40)
		ip[0], ip[6], ip[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(upper+len(payload)))
		ip[8], ip[23], ip[24], ip[39] = 0x20, 1, 0x20, 2
		b = append(b, ip...)
	} else {
		b = append(b, 8, 0)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(20+upper+len(payload)))
		binary.BigEndian.PutUint16(ip[4:], 1000)
		copy(ip[12:], src)
		copy(ip[16:], dst)
		finishIPv4(ip)
		b = append(b, ip...)
	}
	l4 = len(b)
	h := make([]byte, upper)
	binary.BigEndian.PutUint16(h, 1234)
	binary.BigEndian.PutUint16(h[2:], 80)
	if proto == 6 {
		binary.BigEndian.PutUint32(h[4:], 1<<32-1000) // wraps inside the super-frame
		h[12], h[13] = 5<<4, 0x80|0x10|8|1            // CWR ACK PSH FIN
	} else {
		binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	}
	return append(append(b, h...), payload...), l4
}

// valid verifies lengths and checksums with gVisor's eyes and returns the upper header.
func valid(t *testing.T, b []byte) []byte {
	t.Helper()
	off, six, ok := ipOffset(b)
	if !ok {
		t.Fatal("no IP header")
	}
	var l4 []byte
	var src, dst tcpip.Address
	var proto uint8
	if six {
		ip := header.IPv6(b[off:])
		if !ip.IsValid(len(ip)) || int(ip.PayloadLength()) != len(ip)-40 {
			t.Fatal("IPv6 header is wrong")
		}
		l4, src, dst, proto = ip[40:], ip.SourceAddress(), ip.DestinationAddress(), ip.NextHeader()
	} else {
		ip := header.IPv4(b[off:])
		if !ip.IsValid(len(ip)) || int(ip.TotalLength()) != len(ip) || !ip.IsChecksumValid() {
			t.Fatal("IPv4 header is wrong")
		}
		l4, src, dst, proto = ip[20:], ip.SourceAddress(), ip.DestinationAddress(), ip.Protocol()
	}
	sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(proto), src, dst, uint16(len(l4)))
	if checksum.Checksum(l4, sum) != 0xffff {
		t.Fatal("upper checksum is wrong")
	}
	return l4
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31)
	}
	return b
}

func TestASuperFrameBecomesTheFramesOfTheWire(t *testing.T) {
	for _, c := range []struct {
		name        string
		six         bool
		proto, kind uint8
		tags        int
	}{
		{"TCP over IPv4", false, 6, gsoTCP4 | gsoECN, 0},
		{"TCP over IPv6", true, 6, gsoTCP6, 0},
		{"TCP over IPv4 in a VLAN", false, 6, gsoTCP4, 1},
		{"UDP over IPv4", false, 17, gsoUDPL4, 0},
		{"UDP over IPv6 in two VLANs", true, 17, gsoUDPL4, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := pattern(10*1448 + 100)
			b, l4 := frame(c.six, c.proto, c.tags, payload)
			h := Header{Flags: flagNeedsCsum, GSOType: c.kind, GSOSize: 1448, CsumStart: uint16(l4), CsumOffset: 16}
			if c.proto == 17 {
				h.CsumOffset = 6
			}
			var wire [Len]byte
			h.Encode(wire[:])
			v, err := Decode(wire[:]).Packets(b, nil)
			if err != nil || len(v) != 11 {
				t.Fatalf("%d segments, %v", len(v), err)
			}
			var got []byte
			for i, p := range v {
				upper := valid(t, p.Bytes())
				if c.proto == 6 {
					tcp := header.TCP(upper)
					var w uint32 = 1<<32 - 1000
					if tcp.SequenceNumber() != w+uint32(i*1448) {
						t.Fatalf("segment %d: sequence number %d", i, tcp.SequenceNumber())
					}
					want := uint8(0x10)
					if i == 0 {
						want |= 0x80
					}
					if i == 10 {
						want |= 9
					}
					if upper[13] != want {
						t.Fatalf("segment %d: flags %#x, want %#x", i, upper[13], want)
					}
					got = append(got, tcp.Payload()...)
				} else {
					got = append(got, upper[8:]...)
				}
				if !c.six {
					if id := binary.BigEndian.Uint16(p.Bytes()[14+4*c.tags+4:]); id != uint16(1000+i) {
						t.Fatalf("segment %d: IP ID %d", i, id)
					}
				}
			}
			if !bytes.Equal(got, payload) {
				t.Fatal("the payload is not what was sent")
			}
			packet.ReleaseAll(v)
		})
	}
}

func TestAPartialChecksumIsCompleted(t *testing.T) {
	for _, six := range []bool{false, true} {
		for _, proto := range []uint8{6, 17} {
			b, l4 := frame(six, proto, 0, pattern(101))
			at := headers{ip: 14, six: six, protocol: proto}
			field := 16
			if proto == 17 {
				field = 6
			}
			binary.BigEndian.PutUint16(b[l4+field:], checksum.Combine(uint16(at.pseudo(b)), uint16(len(b)-l4)))
			h := Header{Flags: flagNeedsCsum, CsumStart: uint16(l4), CsumOffset: uint16(field)}
			v, err := h.Packets(b, nil)
			if err != nil || len(v) != 1 {
				t.Fatal(err)
			}
			valid(t, v[0].Bytes())
			packet.ReleaseAll(v)
		}
	}
}

func TestAMissingChecksumIsComputedWithoutAHeader(t *testing.T) {
	for _, six := range []bool{false, true} {
		for _, proto := range []uint8{6, 17} {
			b, _ := frame(six, proto, 1, pattern(33))
			FinishChecksum(b)
			valid(t, b)
			padded := append(bytes.Clone(b), 0xee, 0xee, 0xee)
			FinishChecksum(padded)
			if !bytes.Equal(padded[:len(b)], b) {
				t.Fatal("Ethernet's padding went into the checksum")
			}
		}
	}
}

func TestAFrameWithNothingToDoIsCopied(t *testing.T) {
	b, _ := frame(false, 6, 0, pattern(10))
	v, err := Header{}.Packets(b, nil)
	if err != nil || len(v) != 1 || !bytes.Equal(v[0].Bytes(), b) {
		t.Fatal(err)
	}
	packet.ReleaseAll(v)
}

func TestHeadersThatLieAreRefused(t *testing.T) {
	b, l4 := frame(false, 6, 0, pattern(3000))
	good := Header{Flags: flagNeedsCsum, GSOType: gsoTCP4, GSOSize: 1448, CsumStart: uint16(l4), CsumOffset: 16}
	for name, change := range map[string]func(*Header){
		"checksum beyond the end":         func(h *Header) { h.GSOType = 0; h.CsumStart = uint16(len(b) - 16) },
		"no checksum start":               func(h *Header) { h.Flags = 0 },
		"segments of nothing":             func(h *Header) { h.GSOSize = 0 },
		"a million segments":              func(h *Header) { h.GSOSize = 1 },
		"upper header inside the lower":   func(h *Header) { h.CsumStart = 20 },
		"upper header beyond the end":     func(h *Header) { h.CsumStart = uint16(len(b)) },
		"IPv6 that is IPv4":               func(h *Header) { h.GSOType = gsoTCP6 },
		"an unknown kind":                 func(h *Header) { h.GSOType = 3 },
		"a checksum that is not TCP's":    func(h *Header) { h.CsumOffset = 6 },
		"a TCP header in TCP's payload":   func(h *Header) { h.CsumStart += 24 },
		"UDP with TCP's checksum offset ": func(h *Header) { h.GSOType = gsoUDPL4 },
	} {
		h := good
		change(&h)
		if v, err := h.Packets(bytes.Clone(b), nil); err == nil || len(v) != 0 {
			t.Errorf("%s: %d packets, %v", name, len(v), err)
		}
	}
	if _, err := good.Packets(make([]byte, 70000), nil); !errors.Is(err, ErrSize) {
		t.Error(err)
	}
}

func FuzzPackets(f *testing.F) {
	for _, six := range []bool{false, true} {
		b, l4 := frame(six, 6, 0, pattern(200))
		kind := uint8(gsoTCP4)
		if six {
			kind = gsoTCP6
		}
		f.Add(b, uint8(1), kind, uint16(64), uint16(l4), uint16(16))
		f.Add(b, uint8(1), uint8(0), uint16(0), uint16(l4), uint16(16))
	}
	f.Fuzz(func(t *testing.T, b []byte, flags, kind uint8, size, start, offset uint16) {
		FinishChecksum(bytes.Clone(b))
		h := Header{Flags: flags, GSOType: kind, GSOSize: size, CsumStart: start, CsumOffset: offset}
		v, err := h.Packets(bytes.Clone(b), nil)
		if err != nil && len(v) != 0 {
			t.Fatal("packets and an error")
		}
		if len(v) > maxSegments {
			t.Fatalf("%d segments", len(v))
		}
		for _, p := range v {
			if p.Len() > len(b) {
				t.Fatal("a segment is longer than its super-frame")
			}
		}
		packet.ReleaseAll(v)
	})
}
