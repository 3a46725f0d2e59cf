package wire

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"felloe/netstack/pcapng"
)

func TestAPacketOfASessionThatIsOverIsFound(t *testing.T) {
	var (
		end   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		peer  = netip.MustParseAddr("172.16.3.3")
		peer6 = netip.AddrFrom16([16]byte(ip6(50)[38:54]))
	)
	spi := func(v uint32) []byte { return append(binary.BigEndian.AppendUint32(nil, v), random(40, 1)...) }
	for name, c := range map[string]struct {
		frame []byte
		after time.Duration
		late  bool
	}{
		"ESP before the end":            {ip4(50, 0, spi(7)...), -time.Second, false},
		"ESP on its way":                {ip4(50, 0, spi(7)...), 90 * time.Millisecond, false},
		"ESP after it":                  {ip4(50, 0, spi(7)...), 110 * time.Millisecond, true},
		"ESP in UDP after it":           {ip4(17, 0, udp(4500, 4500, spi(7)...)...), time.Second, true},
		"ESP in UDP from another port":  {ip4(17, 0, udp(4500, 61000, spi(7)...)...), time.Second, true},
		"ESP over IPv6 after it":        {ip6(50, spi(8)...), time.Second, true},
		"ESP in UDP over IPv6":          {ip6(17, udp(4500, 4500, spi(8)...)...), time.Second, true},
		"another session":               {ip4(50, 0, spi(9)...), time.Second, false},
		"the same SPI to somebody else": {ip6(50, spi(7)...), time.Second, false},
		"IKE":                           {ip4(17, 0, udp(4500, 4500, spi(0)...)...), time.Second, false},
		"another port":                  {ip4(17, 0, udp(53, 53, spi(7)...)...), time.Second, false},
		"a later fragment":              {ip4(50, 0x0010, spi(7)...), time.Second, false},
		"a cut packet":                  {ip4(50, 0, 0, 0, 0), time.Second, false},
		"a cut UDP header":              {ip4(17, 0, 17, 148, 17, 148), time.Second, false},
		"an empty frame":                {nil, time.Second, false},
	} {
		e := Ended{Grace: 100 * time.Millisecond}
		e.End(end.Add(time.Hour), peer, 7) // the first end counts
		e.End(end, peer, 7)
		e.End(end, peer6, 8)
		e.Frame(3, end.Add(c.after), c.frame)
		if f := e.Findings(); len(f) == 1 != c.late || c.late && f[0].Frame != 3 {
			t.Errorf("%s: %v in %s", name, f, &e)
		}
		if want := strings.Contains(name, "before"); e.Known == 1 != want {
			t.Errorf("%s: %s", name, &e)
		}
	}
}

func TestTheTimesOfACaptureAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pcapng")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pcapng.NewWriter(f, pcapng.Section{})
	if err != nil {
		t.Fatal(err)
	}
	i, err := w.AddInterface(pcapng.Interface{Name: "wan"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	for n := range 3 {
		if err := w.Write(pcapng.Packet{Interface: i, Time: at.Add(time.Duration(n) * time.Second)}, ip4(50, 0, 0, 0, 0, 7, 1, 2, 3, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	e := Ended{Grace: time.Millisecond}
	e.End(at.Add(1500*time.Millisecond), netip.MustParseAddr("172.16.3.3"), 7)
	if err := e.File(file); err != nil {
		t.Fatal(err)
	}
	if f := e.Findings(); len(f) != 1 || f[0].Frame != 3 || f[0].After != 500*time.Millisecond || e.Known != 2 {
		t.Errorf("%v in %s", f, &e)
	}
}
