package ndp

import (
	"errors"
	"net/netip"
	"testing"

	"felloe/netstack/ip"
)

var (
	a = netip.MustParseAddr("2001:db8::1:2:3")
	b = netip.MustParseAddr("2001:db8::7")
)

func read(t *testing.T, p []byte) (Message, error) {
	t.Helper()
	var h ip.Header
	if err := ip.Parse(p, &h); err != nil {
		t.Fatal(err)
	}
	return Parse(&h, p)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, m := range []Message{
		{Type: Solicitation, Target: b, LinkAddr: [6]byte{2, 1}, HasLink: true},
		{Type: Advertisement, Target: a, Flags: Router | Solicited | Override, LinkAddr: [6]byte{2, 9}, HasLink: true},
		{Type: Advertisement, Target: a},
	} {
		p := m.Packet(a, b)
		if got, err := read(t, p.Bytes()); err != nil || got != m {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if g := SolicitedNode(a); g.String() != "ff02::1:ff02:3" || GroupMAC(g) != [6]byte{0x33, 0x33, 0xff, 2, 0, 3} {
		t.Fatalf("group %v %x", g, GroupMAC(g))
	}
}

func TestMessagesFromBeyondTheLinkAreRefused(t *testing.T) {
	p := (&Message{Type: Solicitation, Target: b}).Packet(a, b)
	p.Bytes()[7] = 254
	if _, err := read(t, p.Bytes()); !errors.Is(err, ErrHopLimit) {
		t.Fatalf("got %v", err)
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	zero := netip.IPv6Unspecified()
	for name, p := range map[string][]byte{
		"multicast target":           (&Message{Type: Solicitation, Target: AllNodes}).Packet(a, b).Bytes(),
		"probe with a link address":  (&Message{Type: Solicitation, Target: b, HasLink: true, LinkAddr: [6]byte{2}}).Packet(zero, SolicitedNode(b)).Bytes(),
		"probe to a unicast address": (&Message{Type: Solicitation, Target: b}).Packet(zero, b).Bytes(),
		"solicited to a group":       (&Message{Type: Advertisement, Target: b, Flags: Solicited}).Packet(a, AllNodes).Bytes(),
		"group link address":         (&Message{Type: Solicitation, Target: b, HasLink: true, LinkAddr: [6]byte{3}}).Packet(a, b).Bytes(),
	} {
		if _, err := read(t, p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := (&Message{Type: Solicitation, Target: b, HasLink: true, LinkAddr: [6]byte{2}}).Packet(a, b).Bytes()
	p[40+20]++
	if _, err := read(t, p); !errors.Is(err, ErrMalformed) {
		t.Errorf("wrong checksum: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Message{Type: Solicitation, Target: b, LinkAddr: [6]byte{2, 1}, HasLink: true}).Packet(a, b).Bytes())
	f.Add((&Message{Type: Advertisement, Target: b, Flags: Override}).Packet(a, b).Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		var h ip.Header
		if ip.Parse(p, &h) != nil || h.L4 == 0 || h.Proto != ip.ICMPv6 || h.L4+4 > h.Len {
			return
		}
		// Mend the checksum: the fuzzer need not find it.
		p[h.L4+2], p[h.L4+3] = 0, 0
		sum := ip.L4Checksum(h.Src, h.Dst, ip.ICMPv6, p[h.L4:h.Len])
		p[h.L4+2], p[h.L4+3] = byte(sum>>8), byte(sum)
		if m, err := Parse(&h, p); err == nil {
			q := m.Packet(h.Src, h.Dst)
			_ = ip.Parse(q.Bytes(), &h)
			if again, err := Parse(&h, q.Bytes()); err != nil || again.Target != m.Target {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
	})
}
