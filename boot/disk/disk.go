package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"
)

// ErrNone: no device holds anything that looks like a configuration.
var ErrNone = errors.New("no configuration disk: attach a disk labelled FELLOE (or CIDATA) with felloe.toml, " +
	"or one that holds the TOML text itself; `felloe image config` makes one")

// Labels of volumes that may carry a configuration, the preferred first.
const (
	Label        = "FELLOE"
	LabelNoCloud = "CIDATA"
)

// ConfigName is the file that a volume's configuration is in.
const ConfigName = "felloe.toml"

// Limits of what is read: far above any configuration, far below any machine's memory.
const (
	maxFiles     = 1024
	maxDepth     = 4
	maxFileBytes = 4 << 20
	maxBytes     = 16 << 20
	maxDirBytes  = 1 << 20
	maxRawBytes  = 4 << 20
)

// Volume is what a configuration disk holds.
type Volume struct {
	Device string // /dev/vdb
	Kind   string // "FAT12", "FAT16", "FAT32", "ISO 9660", "raw"
	Label  string
	Config string            // name of the configuration among Files
	Files  map[string][]byte // by path without a leading slash
}

// String is the volume's place in words.
func (v *Volume) String() string {
	if v.Kind == "raw" {
		return v.Device
	}
	return fmt.Sprintf("%s on %s (%s %s)", v.Config, v.Device, v.Kind, v.Label)
}

// Find looks at the devices in order. The error is ErrNone when nothing looks like a configuration; any other error
// tells what is wrong with the best candidate.
func Find(devices []string) (*Volume, error) {
	var best *Volume
	var bestErr error
	bestRank := -1
	for _, name := range devices {
		f, err := os.Open(name)
		if err != nil {
			continue // a drive without a medium, for example
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err == nil && size > 0 {
			v, err := Read(f, size)
			if v != nil {
				v.Device = name
			}
			rank := rankOf(v, err)
			if rank > bestRank {
				best, bestErr, bestRank = v, nil, rank
				if err != nil {
					best, bestErr = nil, fmt.Errorf("configuration disk %s: %w", name, err)
				}
			}
		}
		f.Close()
	}
	if bestRank < 0 {
		return nil, ErrNone
	}
	return best, bestErr
}

// rankOf orders candidates; a broken labelled volume stays before raw text: it is what was meant.
func rankOf(v *Volume, err error) int {
	switch {
	case errors.Is(err, ErrNone), v == nil:
		return -1
	case v.Label == Label:
		return 2
	case v.Label == LabelNoCloud:
		return 1
	}
	return 0
}

// Read looks at one device. ErrNone means that it is something else; with any other error the volume still tells its
// kind and label.
func Read(r io.ReaderAt, size int64) (*Volume, error) {
	d := &device{r: r, size: size}
	if fs, err := openFAT(d); fs != nil {
		return readVolume(fs, err)
	}
	if fs, err := openISO(d); fs != nil {
		return readVolume(fs, err)
	}
	return readRaw(d)
}

// fileSystem is a volume that can be listed.
type fileSystem interface {
	kind() string
	label() string
	root() node
	list(dir node) ([]node, error)
	read(file node) ([]byte, error)
}

// node is a file or a directory; what at, size and fixed mean is the file system's.
type node struct {
	name string
	dir  bool
	at   uint32
	size uint32
}

func readVolume(fs fileSystem, damage error) (*Volume, error) {
	label := strings.ToUpper(fs.label())
	if label != Label && label != LabelNoCloud {
		return nil, ErrNone
	}
	v := &Volume{Kind: fs.kind(), Label: label, Files: map[string][]byte{}}
	if damage != nil {
		return v, damage
	}
	total := 0
	if err := v.walk(fs, fs.root(), "", 0, &total); err != nil {
		return v, err
	}
	return v, v.choose()
}

func (v *Volume) walk(fs fileSystem, dir node, prefix string, depth int, total *int) error {
	nodes, err := fs.list(dir)
	if err != nil {
		return fmt.Errorf("directory /%s: %w", prefix, err)
	}
	for _, n := range nodes {
		name := path.Join(prefix, n.name)
		switch {
		case !safeName(n.name):
			return fmt.Errorf("directory /%s: impossible file name %q", prefix, n.name)
		case n.dir && depth >= maxDepth:
			return fmt.Errorf("directories are nested more than %d deep at /%s", maxDepth, name)
		case n.dir:
			if err := v.walk(fs, n, name, depth+1, total); err != nil {
				return err
			}
			continue
		case n.size > maxFileBytes:
			continue // not a configuration, nor a key
		}
		if *total += int(n.size); *total > maxBytes || len(v.Files) >= maxFiles {
			return fmt.Errorf("too much on the volume: at most %d files and %d MiB are read", maxFiles, maxBytes>>20)
		}
		b, err := fs.read(n)
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		v.Files[name] = b
	}
	return nil
}

func safeName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && utf8.ValidString(name) &&
		!strings.ContainsAny(name, "/\\\x00")
}

// choose finds the configuration among the files.
func (v *Volume) choose() error {
	var names, toml []string
	for n := range v.Files {
		names = append(names, n)
		if !strings.Contains(n, "/") && strings.EqualFold(path.Ext(n), ".toml") {
			toml = append(toml, n)
		}
		if strings.EqualFold(n, ConfigName) {
			v.Config = n
		}
	}
	sort.Strings(names)
	sort.Strings(toml)
	for _, n := range names {
		if v.Config == "" && v.Label == LabelNoCloud && strings.EqualFold(n, "user-data") {
			v.Config = n
		}
	}
	switch {
	case v.Config != "":
	case len(toml) == 1:
		v.Config = toml[0]
	case len(toml) > 1:
		return fmt.Errorf("the volume has several TOML files (%s): name the one to use %s", strings.Join(toml, ", "), ConfigName)
	case len(names) == 0:
		return fmt.Errorf("the volume %s is empty: put %s on it", v.Label, ConfigName)
	default:
		return fmt.Errorf("the volume %s has no %s (it holds %s)", v.Label, ConfigName, strings.Join(names[:min(8, len(names))], ", "))
	}
	return checkText(v.Config, v.Files[v.Config])
}

func checkText(name string, b []byte) error {
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return fmt.Errorf("%s is empty", name)
	case bytes.HasPrefix(b, []byte("#cloud-config")):
		return fmt.Errorf("%s holds a cloud-config; put the router's TOML there instead, or %s beside it", name, ConfigName)
	case bytes.IndexByte(b, 0) >= 0:
		return fmt.Errorf("%s is not text: a NUL byte at offset %d (was the disk cut short, or the file damaged?)", name, bytes.IndexByte(b, 0))
	case !utf8.Valid(b):
		return fmt.Errorf("%s is not UTF-8 text", name)
	}
	return nil
}

// readRaw takes a device that begins with TOML: text up to the padding at its end.
func readRaw(d *device) (*Volume, error) {
	head := make([]byte, min(512, d.size))
	if err := d.readAt(head, 0); err != nil || !looksLikeTOML(head) {
		return nil, ErrNone
	}
	v := &Volume{Kind: "raw", Config: ConfigName}
	b := make([]byte, min(maxRawBytes+1, d.size))
	if err := d.readAt(b, 0); err != nil {
		return v, err
	}
	if end := bytes.IndexByte(b, 0); end >= 0 {
		if rest := bytes.TrimLeft(b[end:], "\x00"); len(rest) > 0 {
			return v, fmt.Errorf("the text ends at offset %d, but more follows at %d: not the bytes of one TOML file", end, len(b)-len(rest))
		}
		b = b[:end]
	}
	if len(b) > maxRawBytes {
		return v, fmt.Errorf("the text is longer than %d MiB", maxRawBytes>>20)
	}
	v.Files = map[string][]byte{ConfigName: b}
	return v, checkText("the text on the device", b)
}

// looksLikeTOML: printable text whose first line with anything on it is a comment, a table or a key.
func looksLikeTOML(head []byte) bool {
	if end := bytes.IndexByte(head, 0); end >= 0 {
		head = head[:end]
	}
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	for _, c := range head {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if line[0] == '#' || line[0] == '[' {
			return true
		}
		key, _, ok := bytes.Cut(line, []byte("="))
		if !ok {
			return false
		}
		return len(bytes.Trim(bytes.TrimSpace(key), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.\"' ")) == 0
	}
	return false
}

// Save writes the files under dir, readable by root only, and returns the configuration's path.
func (v *Volume) Save(dir string) (string, error) {
	for name, b := range v.Files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, filepath.FromSlash(v.Config)), nil
}

// device is a disk with a known end.
type device struct {
	r    io.ReaderAt
	size int64
}

func (d *device) readAt(b []byte, at int64) error {
	if at < 0 || at > d.size || int64(len(b)) > d.size-at {
		return fmt.Errorf("bytes %d to %d lie beyond the disk's end at %d: was it cut short?", at, at+int64(len(b)), d.size)
	}
	if n, err := d.r.ReadAt(b, at); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("cannot read the disk at %d: %w", at, err)
	}
	return nil
}
