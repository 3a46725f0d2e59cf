package arp

import (
	"net/netip"
	"testing"
)

var sample = Packet{
	Op: Request, SenderMAC: [6]byte{2, 0, 0, 0, 0, 1}, SenderIP: netip.MustParseAddr("192.0.2.1"),
	TargetIP: netip.MustParseAddr("192.0.2.2"),
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	var b [Size]byte
	sample.Put(b[:])
	got, err := Parse(b[:])
	if err != nil || got != sample || got.Gratuitous() || got.Probe() {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestWhatIsNotARPForIPv4OverEthernetIsRefused(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"short":          func(b []byte) []byte { return b[:27] },
		"other hardware": func(b []byte) []byte { b[1] = 6; return b },
		"other protocol": func(b []byte) []byte { b[2] = 0x86; return b },
		"operation 3":    func(b []byte) []byte { b[7] = 3; return b },
		"group sender":   func(b []byte) []byte { b[8] |= 1; return b },
		"null sender":    func(b []byte) []byte { clear(b[8:14]); return b },
	} {
		var b [Size]byte
		sample.Put(b[:])
		if _, err := Parse(damage(b[:])); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	var b [Size]byte
	sample.Put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		var out [Size]byte
		p.Put(out[:])
		if string(out[:]) != string(b[:Size]) {
			t.Fatalf("%x became %x", b, out)
		}
	})
}
