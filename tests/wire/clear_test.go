package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"felloe/netstack/pcapng"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

func pfx(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

var listed = pfx("10.10.10.0/24", "192.168.22.2/32", "2001:db8:10::/64")

// ip4 is a frame with an IPv4 packet.
func ip4(proto uint8, fragment uint16, payload ...byte) []byte {
	b := make([]byte, 34, 34+len(payload))
	b[12], b[13] = 0x08, 0x00
	b[14], b[23] = 0x45, proto
	binary.BigEndian.PutUint16(b[16:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[20:], fragment)
	copy(b[26:], []byte{172, 16, 1, 1, 172, 16, 3, 3})
	return append(b, payload...)
}

// ip6 is a frame with an IPv6 packet.
func ip6(next uint8, payload ...byte) []byte {
	b := make([]byte, 54, 54+len(payload))
	b[12], b[13] = 0x86, 0xdd
	b[14], b[20] = 0x60, next
	copy(b[22:], []byte{0x20, 1, 0x0d, 0xb8, 0, 1})
	copy(b[38:], []byte{0x20, 1, 0x0d, 0xb8, 0, 3})
	return append(b, payload...)
}

func udp(src, dst uint16, payload ...byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	return append(binary.BigEndian.AppendUint16(b, uint16(8+len(payload))), append([]byte{0, 0}, payload...)...)
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func TestAGREPacketIsFoundUnderWhateverIsAboveIt(t *testing.T) {
	gre := []byte{0, 0, 8, 0, 1, 2, 3, 4}
	tagged := ip4(47, 0, gre...)
	tagged = append(tagged[:12:12], append([]byte{0x81, 0, 0, 5}, tagged[12:]...)...)
	inner4, inner6 := ip4(47, 0, gre...)[14:], ip6(47, gre...)[14:]
	for name, frame := range map[string][]byte{
		"IPv4":                            ip4(47, 0, gre...),
		"IPv6":                            ip6(47, gre...),
		"IPv4 with a VLAN tag":            tagged,
		"a first fragment":                ip4(47, 0x2000, gre...),
		"a later fragment":                ip4(47, 0x2010, gre...),
		"the last fragment":               ip4(47, 0x0010, gre...),
		"IPv6 behind destination options": ip6(60, append([]byte{47, 0, 1, 4, 0, 0, 0, 0}, gre...)...),
		"IPv6 behind a fragment header":   ip6(44, append([]byte{47, 0, 0, 1, 0, 0, 0, 1}, gre...)...),
		"IPv6, a later fragment":          ip6(44, append([]byte{47, 0, 0x10, 1, 0, 0, 0, 1}, gre...)...),
		"IPv4 in IPv4":                    ip4(4, 0, inner4...),
		"IPv6 in IPv4":                    ip4(41, 0, inner6...),
		"IPv6 in IPv6":                    ip6(41, inner6...),
		"IPv6 behind hop by hop and routing": ip6(0, append([]byte{43, 0, 1, 4, 0, 0, 0, 0,
			47, 0, 0, 0, 0, 0, 0, 0}, gre...)...),
	} {
		c := NewClear()
		c.Frame(7, frame)
		f := c.Findings()
		if len(f) != 1 || f[0].Kind != GRE || f[0].Frame != 7 {
			t.Errorf("%s: %v", name, f)
			continue
		}
		if at := len(frame) - len(gre); f[0].Offset != at {
			t.Errorf("%s: offset %d, want %d", name, f[0].Offset, at)
		}
	}
}

func TestWhatMayCrossAnUnderlayLinkIsNoFinding(t *testing.T) {
	arp := append(make([]byte, 12), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 172, 16, 1, 1, 0, 0, 0, 0, 0, 0, 172, 16, 1, 254)
	for name, frame := range map[string][]byte{
		"ARP":                  arp,
		"ESP":                  ip4(50, 0, random(200, 1)...),
		"ESP over IPv6":        ip6(50, random(200, 2)...),
		"ESP in UDP":           ip4(17, 0, udp(4500, 4500, random(200, 3)...)...),
		"IKE":                  ip4(17, 0, udp(500, 500, random(200, 4)...)...),
		"a fragment of IKE":    ip4(17, 0x0080, random(200, 5)...),
		"ICMP":                 ip4(1, 0, 8, 0, 0, 0, 1, 2, 3, 4),
		"an empty frame":       {},
		"a cut IPv4 header":    ip4(47, 0)[:30],
		"a cut IPv6 header":    ip6(47)[:50],
		"a cut extension":      ip6(60, 47, 0),
		"a cut fragment":       ip6(44, 47, 0, 0),
		"a cut UDP header":     ip4(17, 0, 1, 244),
		"a neighbour's digits": ip4(17, 0, udp(514, 514, []byte("from 10.10.1.1, 10.10.10, 10.10.10.256 and 192.168.22.20 at 12:34:56")...)...),
		"a cut VLAN tag":       append(make([]byte, 12), 0x81, 0, 0, 5),
	} {
		c := NewClear(listed...)
		c.Frame(1, frame)
		if f := c.Findings(); len(f) != 0 {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestAnAddressIsFoundAtEveryOffsetOfAFrame(t *testing.T) {
	for _, frame := range [][]byte{ip4(1, 0, make([]byte, 61)...), ip4(50, 0, bytes.Repeat([]byte{0x55}, 77)...), bytes.Repeat([]byte{0xff}, 60)} {
		for _, a := range []netip.Addr{netip.MustParseAddr("10.10.10.3"), netip.MustParseAddr("2001:db8:10::1234"), netip.MustParseAddr("192.168.22.2")} {
			for at := 0; at+a.BitLen()/8 <= len(frame); at++ {
				if at < 24 && a.Is4() || at < 38 {
					continue // over the header itself: it would be another frame
				}
				f := bytes.Clone(frame)
				copy(f[at:], a.AsSlice())
				c := NewClear(listed...)
				c.Frame(3, f)
				// One /24 in a frame of ciphertext may be chance: a second one is none.
				c.Frame(4, f)
				c.Frame(5, f)
				found := false
				for _, x := range c.Findings() {
					found = found || x.Frame == 3 && x.Offset == at && x.Kind == Address && x.Addr == a
				}
				if !found {
					t.Fatalf("%s at %d of % x: %v", a, at, f, c.Findings())
				}
			}
		}
	}
}

func TestALeakedPacketInsideOfCiphertextIsFoundAtOnce(t *testing.T) {
	// NULL encryption: the inner IP header is there, with both addresses.
	b := random(300, 9)
	copy(b[8:], ip4(6, 0)[14:])
	copy(b[8+12:], []byte{10, 10, 10, 1, 10, 10, 10, 3})
	c := NewClear(listed...)
	c.Frame(1, ip4(50, 0, b...))
	if f := c.Findings(); len(f) != 2 || !f[0].Opaque || f[0].Offset != 34+20 || f[1].Offset != 34+24 {
		t.Fatal(f)
	}
}

func TestALoneHitInsideOfMuchCiphertextIsChance(t *testing.T) {
	c := NewClear(listed...)
	hit := random(1400, 1)
	copy(hit[701:], []byte{10, 10, 10, 77})
	c.Frame(0, ip4(50, 0, hit...))
	for n := range 1500 {
		c.Frame(n+1, ip4(50, 0, random(1400, uint64(n+2))...))
	}
	if f := c.Findings(); len(f) != 0 {
		t.Errorf("%v in %s", f, c)
	}
	if hits, expected := c.ByChance(); hits < 1 || expected < 0.1 || expected > 0.2 {
		t.Errorf("%d hits, %.3f expected", hits, expected)
	}
	// Eight more are not.
	for n := range 8 {
		c.Frame(5000+n, ip4(50, 0, hit...))
	}
	if f := c.Findings(); len(f) < 8 {
		t.Errorf("%v in %s", f, c)
	}
}

func TestAnAddressThatIsSpelledOutIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"peer 10.10.10.3 is up":       "10.10.10.3",
		"peer=10.10.10.3.":            "10.10.10.3",
		"[2001:DB8:10::7]:179":        "2001:db8:10::7",
		"via:2001:db8:10:0:0:0:0:7 ":  "2001:db8:10::7",
		"192.168.22.2":                "192.168.22.2",
		"172.16.1.1 and 192.168.22.2": "192.168.22.2",
	} {
		c := NewClear(listed...)
		c.Frame(1, ip4(17, 0, udp(40000, 514, []byte(text)...)...))
		f := c.Findings()
		if len(f) != 1 || f[0].Kind != Text || f[0].Addr.String() != want {
			t.Errorf("%q: %v", text, f)
			continue
		}
		if at := f[0].Offset - 42; !strings.HasPrefix(strings.ToLower(text[at:]), want[:4]) {
			t.Errorf("%q: offset %d", text, at)
		}
	}
}

func TestBothKindsOfCapturesAreRead(t *testing.T) {
	frames := [][]byte{ip4(50, 0, random(64, 1)...), ip4(47, 0, 0, 0, 8, 0), ip6(50, random(64, 2)...)}
	var old, ng bytes.Buffer
	w := pcapgo.NewWriter(&old)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	p, err := pcapng.NewWriter(&ng, pcapng.Section{Application: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wan1", "wan2"} {
		if _, err := p.AddInterface(pcapng.Interface{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1795000000, 0)
	for i, f := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(pcapng.Packet{Interface: i % 2, Time: at}, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"pcap": old.Bytes(), "pcapng": ng.Bytes()} {
		for _, whole := range []bool{true, false} {
			b, want := file, len(frames)
			if !whole {
				b, want = file[:len(file)-11], len(frames)-1
			}
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			c := NewClear(listed...)
			if err := c.File(path); err != nil || c.Frames != want || (len(c.Cut) == 0) != whole {
				t.Errorf("%s, whole %v: %v, %d frames, cut %v", name, whole, err, c.Frames, c.Cut)
			}
			if f := c.Findings(); len(f) != 1 || f[0].Frame != 2 || f[0].Kind != GRE {
				t.Errorf("%s: %v", name, f)
			}
		}
	}
}

func TestACaptureThatDoesNotHoldWholeFramesIsRefused(t *testing.T) {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	f := ip4(50, 0, random(200, 1)...)
	if err := w.WriteFileHeader(64, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: 64, Length: len(f)}, f[:64]); err != nil {
		t.Fatal(err)
	}
	if _, err := Each(&b, func(int, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "64 of 234 bytes") {
		t.Error(err)
	}
	if _, err := Each(strings.NewReader("no capture at all"), func(int, []byte) error { return nil }); err == nil {
		t.Error("a text was read as a capture")
	}
	if _, err := Each(strings.NewReader(""), func(int, []byte) error { return nil }); err == nil {
		t.Error("an empty file was read as a capture")
	}
}

func TestACaptureOfAClearDMVPNIsFullOfFindings(t *testing.T) {
	c := NewClear(pfx("10.255.0.0/24", "10.11.0.1/32", "10.12.0.1/32")...)
	if err := c.File("testdata/frr-nhrp.pcap"); err != nil {
		t.Fatal(err)
	}
	kinds := map[Kind]int{}
	for _, f := range c.Findings() {
		kinds[f.Kind]++
	}
	if kinds[GRE] != c.Frames || kinds[Address] < 2*c.Frames {
		t.Errorf("%s: %v", c, kinds)
	}
}

func FuzzFramesNeverPanic(f *testing.F) {
	for _, b := range [][]byte{ip4(47, 0, 0, 0, 8, 0), ip6(44, 47, 0, 0, 1, 0, 0, 0, 1), ip4(17, 0, udp(500, 500, 1, 2, 3)...), ip4(4, 0, ip6(41)[14:]...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewClear(listed...)
		c.Frame(1, b)
		for _, x := range c.Findings() {
			if x.Offset < 0 || x.Offset > len(b) {
				t.Fatal(x)
			}
		}
		_, _ = NHRP{Raw: b}.Layout()
		_, _ = Each(bytes.NewReader(b), func(int, []byte) error { return nil })
	})
}
