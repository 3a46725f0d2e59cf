package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

const config = "hostname = \"Spoke2\" # die Straße\n"

type files map[string]string

func tempFile(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func fill(t testing.TB, fs filesystem.FileSystem, content files) {
	t.Helper()
	for name, text := range content {
		if dir := path.Dir(name); dir != "." {
			if err := fs.Mkdir("/" + dir); err != nil {
				t.Fatal(err)
			}
		}
		w, err := fs.OpenFile("/"+name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
}

// fatImage makes a FAT of 12, 16 or 32 bits.
func fatImage(t testing.TB, width int, label string, content files) []byte {
	t.Helper()
	size := map[int]int64{12: 1440 << 10, 16: 8 << 20, 32: 36 << 20}[width]
	f := tempFile(t, size)
	b := file.New(f, false)
	var fs filesystem.FileSystem
	var err error
	switch width {
	case 12:
		fs, err = fat12.Create(b, size, 0, 512, label, true)
	case 16:
		fs, err = fat16.Create(b, size, 0, 512, label, true)
	default:
		fs, err = fat32.Create(b, size, 0, 512, label, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	fill(t, fs, content)
	return readAll(t, f)
}

func isoImage(t testing.TB, o iso9660.FinalizeOptions, content files) []byte {
	t.Helper()
	f := tempFile(t, 4<<20)
	fs, err := iso9660.Create(file.New(f, false), 4<<20, 0, 2048, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, fs, content)
	if err := fs.Finalize(o); err != nil {
		t.Fatal(err)
	}
	return readAll(t, f)
}

func readAll(t testing.TB, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(b []byte) (*Volume, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestTheConfigurationIsFoundOnEveryKindOfVolume(t *testing.T) {
	long := strings.Repeat("x", 5000)
	content := files{"felloe.toml": config, "psk.txt": "secret\n", "keys/a rather long file name.pem": long}
	nocloud := files{"user-data": config, "meta-data": "instance-id: 1\n"}
	for _, c := range []struct {
		name, kind string
		image      []byte
		config     string
		others     files
	}{
		{"FAT12", "FAT12", fatImage(t, 12, "FELLOE", content), "felloe.toml", content},
		{"FAT16", "FAT16", fatImage(t, 16, "FELLOE", content), "felloe.toml", content},
		{"FAT32", "FAT32", fatImage(t, 32, "FELLOE", content), "felloe.toml", content},
		{"FAT with a label in lower case", "FAT16", fatImage(t, 16, "felloe", content), "felloe.toml", content},
		{"ISO 9660 with Rock Ridge", "ISO 9660", isoImage(t, iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "FELLOE"}, content), "felloe.toml", content},
		{"ISO 9660 with Joliet, NoCloud", "ISO 9660", isoImage(t, iso9660.FinalizeOptions{Joliet: true, VolumeIdentifier: "cidata"}, nocloud), "user-data", nocloud},
		{"ISO 9660 with both", "ISO 9660", isoImage(t, iso9660.FinalizeOptions{Joliet: true, RockRidge: true, VolumeIdentifier: "cidata"}, nocloud), "user-data", nocloud},
		{"FAT, NoCloud", "FAT16", fatImage(t, 16, "CIDATA", nocloud), "user-data", nocloud},
		{"a single file of another name", "FAT16", fatImage(t, 16, "FELLOE", files{"spoke2.toml": config}), "spoke2.toml", nil},
		{"text on the device", "raw", append([]byte(config), make([]byte, 700)...), "felloe.toml", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := read(c.image)
			if err != nil {
				t.Fatal(err)
			}
			if v.Kind != c.kind || v.Config != c.config || string(v.Files[v.Config]) != config {
				t.Errorf("kind %s, %s = %q", v.Kind, v.Config, v.Files[v.Config])
			}
			for name, text := range c.others {
				if string(v.Files[name]) != text {
					t.Errorf("%s has %d bytes, want %d", name, len(v.Files[name]), len(text))
				}
			}
		})
	}
}

func TestWhatIsWrongWithADiskIsSaid(t *testing.T) {
	good := fatImage(t, 16, "FELLOE", files{"felloe.toml": strings.Repeat(config, 300)})
	iso := isoImage(t, iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "FELLOE"}, files{"felloe.toml": config})
	brokenChain := bytes.Clone(good)
	tableAt := int(binary.LittleEndian.Uint16(good[14:])) * 512
	for c := 3; c < 10; c++ { // every file's second cluster points nowhere
		binary.LittleEndian.PutUint16(brokenChain[tableAt+2*c:], 0xfff0)
	}
	shortChain := bytes.Clone(good)
	for c := 3; c < 10; c++ {
		binary.LittleEndian.PutUint16(shortChain[tableAt+2*c:], 0xffff)
	}
	for _, c := range []struct {
		name  string
		image []byte
		says  string
	}{
		{"a FAT cut short", good[:len(good)/2], "cut short"},
		{"a FAT cut right after its boot sector", good[:512], "cut short"},
		{"an ISO 9660 cut short", iso[:18*2048], "cut short"},
		{"a chain that leads nowhere", brokenChain, "damaged FAT16"},
		{"a chain that ends too early", shortChain, "chain ends after"},
		{"nothing on the volume", fatImage(t, 16, "FELLOE", nil), "is empty"},
		{"other files only", fatImage(t, 16, "FELLOE", files{"readme": "x"}), "has no felloe.toml (it holds readme)"},
		{"two candidates", fatImage(t, 16, "FELLOE", files{"a.toml": config, "b.toml": config}), "several TOML files (a.toml, b.toml)"},
		{"an empty configuration", fatImage(t, 16, "FELLOE", files{"felloe.toml": " \n"}), "felloe.toml is empty"},
		{"a cloud-config", fatImage(t, 16, "CIDATA", files{"user-data": "#cloud-config\n"}), "cloud-config"},
		{"zeros in the text", fatImage(t, 16, "FELLOE", files{"felloe.toml": "hostname = \"\x00\x00"}), "not text: a NUL byte at offset 12"},
		{"text with rubbish behind it", append([]byte(config), 0, 0, 0, 7, 8), "more follows"},
		{"text that is not UTF-8", []byte("hostname = \"\xff\xfe\"\n"), "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.image)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

func TestOtherDisksAreLeftAlone(t *testing.T) {
	for name, image := range map[string][]byte{
		"zeros":             make([]byte, 4096),
		"a FAT of somebody": fatImage(t, 16, "DATA", files{"felloe.toml": config}),
		"the boot disk's":   fatImage(t, 32, "FELLOEBOOT", files{"felloe.toml": config}),
		"binary":            {0x7f, 'E', 'L', 'F', 1, 2, 3},
		"prose":             []byte("Dear reader,\nthis is not a configuration\n"),
		"nothing":           {},
	} {
		if _, err := read(image); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAmongSeveralDisksTheLabelDecides(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	raw := put("raw", []byte(config))
	cidata := put("cidata", fatImage(t, 16, "CIDATA", files{"user-data": config}))
	good := put("felloe", fatImage(t, 16, "FELLOE", files{"felloe.toml": config}))
	bad := put("bad", fatImage(t, 16, "FELLOE", nil))
	other := put("other", make([]byte, 512))
	for _, c := range []struct {
		name    string
		devices []string
		want    string
		err     string
	}{
		{"FELLOE before CIDATA before raw", []string{raw, cidata, good}, good, ""},
		{"CIDATA before raw", []string{other, raw, cidata}, cidata, ""},
		{"the first of two", []string{cidata, raw, cidata}, cidata, ""},
		{"a broken FELLOE is not replaced by another disk", []string{raw, cidata, bad}, "", bad},
		{"none", []string{other, filepath.Join(dir, "absent")}, "", "no configuration disk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := Find(c.devices)
			if c.err != "" {
				if v != nil || err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, %v", v, err)
				}
				return
			}
			if err != nil || v.Device != c.want {
				t.Fatalf("got %v, %v", v, err)
			}
		})
	}
}

func TestSavedFilesAreThereForTheRouterOnly(t *testing.T) {
	v, err := read(fatImage(t, 12, "FELLOE", files{"felloe.toml": config, "keys/psk.txt": "secret"}))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name, err := v.Save(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != config {
		t.Errorf("%s: %q %v", name, b, err)
	}
	st, err := os.Stat(filepath.Join(dir, "keys/psk.txt"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

func FuzzReadNeverPanicsAndStaysWithinItsLimits(f *testing.F) {
	// The volumes begin small: only what is near the front is worth changing.
	small := func(b []byte, n int) []byte { return b[:min(n, len(b))] }
	f.Add(small(fatImage(f, 12, "FELLOE", files{"felloe.toml": config, "keys/long file name.pem": "x"}), 64<<10))
	f.Add(small(fatImage(f, 16, "FELLOE", files{"felloe.toml": config}), 128<<10))
	f.Add(isoImage(f, iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "CIDATA"}, files{"user-data": config}))
	f.Add([]byte(config))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := read(b)
		if err != nil {
			return
		}
		total := 0
		for name, text := range v.Files {
			total += len(text)
			if strings.Contains(name, "..") && path.Clean("/"+name) != "/"+name {
				t.Errorf("a file name leaves the volume: %q", name)
			}
		}
		if total > maxBytes || v.Files[v.Config] == nil {
			t.Errorf("%d bytes, config %q", total, v.Config)
		}
	})
}
