package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

// sample is a file with two links, secrets and a few packets.
func sample(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{Hardware: "none", OS: "Felloe", Application: "felloe lab capture", Comment: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	for i, link := range []Interface{
		{Name: "wan-hub", Description: "Hub:GigabitEthernet1 - Internet:GigabitEthernet1", MAC: [6]byte{2, 0, 0, 0, 0, 1}, SpeedMbps: 1000},
		{Name: "tunnel", LinkType: LinkRaw, SnapLen: 20},
	} {
		if id, err := w.AddInterface(link); err != nil || id != i {
			t.Fatal(id, err)
		}
	}
	if err := w.WriteSecrets(SecretsTLS, []byte("CLIENT_RANDOM 00 11\n")); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		frame := append(make([]byte, 12), 0x88, 0xb5, byte(i))
		frame = append(frame, bytes.Repeat([]byte{0xee}, i)...) // every remainder of four
		if err := w.Write(Packet{Interface: 0, Time: start.Add(time.Duration(i)), Direction: Outbound, Comment: "a comment"[:i]}, frame); err != nil {
			t.Fatal(err)
		}
	}
	ip := append([]byte{0x45, 0, 0, 100, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, make([]byte, 80)...)
	if err := w.Write(Packet{Interface: 1, Time: start}, ip); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Packet{Interface: 0, Time: start, Length: 9000, Direction: Inbound}, ip[:64]); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteStatistics(0, start, 7, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Packet{}, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestAnotherReaderReadsWhatIsWritten(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(sample(t)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.SectionInfo(); s.Application != "felloe lab capture" || s.OS != "Felloe" || s.Comment != "a test" {
		t.Fatalf("%+v", s)
	}
	for i := range 7 {
		b, ci, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		switch {
		case i < 5:
			if len(b) != 15+i || b[14] != byte(i) || ci.InterfaceIndex != 0 || !ci.Timestamp.Equal(start.Add(time.Duration(i))) {
				t.Fatalf("packet %d: %+v %x", i, ci, b)
			}
		case i == 5:
			if len(b) != 20 || ci.Length != 100 || ci.InterfaceIndex != 1 {
				t.Fatalf("cut at the interface's length: %+v", ci)
			}
		case i == 6:
			if len(b) != 64 || ci.Length != 9000 {
				t.Fatalf("cut by the caller: %+v", ci)
			}
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Fatal(err)
	}
	for i, want := range []string{"wan-hub", "tunnel"} {
		if got, err := r.Interface(i); err != nil || got.Name != want {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if i, _ := r.Interface(1); i.LinkType != layers.LinkType(LinkRaw) {
		t.Fatalf("%+v", i)
	}
	if i, _ := r.Interface(0); i.Statistics.PacketsReceived != 7 || i.Statistics.PacketsDropped != 1 {
		t.Fatalf("%+v", i.Statistics)
	}
}

func TestEveryBlockIsFramedTwiceAndAligned(t *testing.T) {
	b := sample(t)
	var kinds []uint32
	for len(b) > 0 {
		size := binary.LittleEndian.Uint32(b[4:])
		if size%4 != 0 || int(size) > len(b) || binary.LittleEndian.Uint32(b[size-4:]) != size {
			t.Fatalf("block of %d bytes after %x", size, kinds)
		}
		kinds = append(kinds, binary.LittleEndian.Uint32(b))
		b = b[size:]
	}
	if want := []uint32{blockSection, 1, 1, 10, 6, 6, 6, 6, 6, 6, 6, 5}; len(kinds) != len(want) {
		t.Fatalf("%x", kinds)
	}
}

// With tshark on the machine it has the last word; the other tests stand without it.
func TestTsharkReadsItWhereItIsInstalled(t *testing.T) {
	path, err := exec.LookPath("tshark")
	if err != nil {
		return
	}
	cmd := exec.Command(path, "-r", "-", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.time_epoch")
	cmd.Stdin = bytes.NewReader(sample(t))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); len(lines) != 7 || !strings.HasPrefix(lines[0], "wan-hub\t15\t1795348800.123456789") {
		t.Fatalf("%s", out)
	}
}

func TestAPacketOfAnUnknownInterfaceIsRefused(t *testing.T) {
	w, err := NewWriter(io.Discard, Section{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Packet{Interface: 0}, nil); !errors.Is(err, ErrInterface) {
		t.Fatal(err)
	}
	if err := w.WriteStatistics(-1, start, 0, 0); !errors.Is(err, ErrInterface) {
		t.Fatal(err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAFullDiskIsSaidAtFlush(t *testing.T) {
	w, err := NewWriter(fullDisk{}, Section{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err == nil {
		t.Fatal("no error")
	}
	if _, err := w.AddInterface(Interface{}); err == nil {
		t.Fatal("the error was forgotten")
	}
}

func TestNothingIsAllocatedForAPacket(t *testing.T) {
	w, err := NewWriter(io.Discard, Section{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1400)
	if n := testing.AllocsPerRun(1000, func() {
		if err := w.Write(Packet{Interface: id, Time: start, Direction: Inbound}, b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
