package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// errStop ends a walk early; walkDeb does not report it.
var errStop = errors.New("walk stopped")

// walkDeb calls f for every regular file of a member of a Debian package: "control" or "data". Names have no leading
// "./" and no leading "usr/" (merged-/usr packages and older ones look alike).
func walkDeb(file, member string, f func(name string, r io.Reader) error) error {
	fd, err := os.Open(file)
	if err != nil {
		return err
	}
	defer fd.Close()
	name, body, err := arMember(bufio.NewReaderSize(fd, 1<<20), member+".tar")
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	plain, closer, err := decompress(name, body)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", file, name, err)
	}
	defer closer()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, name, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		clean := strings.TrimPrefix(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), "usr/")
		if err := f(clean, tr); err == errStop {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %s: %w", file, h.Name, err)
		}
	}
}

// arMember finds the member of an ar archive whose name begins with prefix.
func arMember(r io.Reader, prefix string) (string, io.Reader, error) {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return "", nil, errors.New("not a Debian package (no ar header)")
	}
	for {
		h := make([]byte, 60)
		if _, err := io.ReadFull(r, h); err != nil {
			return "", nil, fmt.Errorf("package has no %s member", prefix)
		}
		name := strings.TrimRight(strings.TrimSpace(string(h[:16])), "/")
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 || h[58] != '`' || h[59] != '\n' {
			return "", nil, errors.New("damaged ar header")
		}
		if strings.HasPrefix(name, prefix) {
			return name, io.LimitReader(r, size), nil
		}
		if _, err := io.CopyN(io.Discard, r, size+size&1); err != nil {
			return "", nil, err
		}
	}
}

// decompress chooses the decoder by the name's last suffix.
func decompress(name string, r io.Reader) (io.Reader, func(), error) {
	none := func() {}
	switch path.Ext(name) {
	case ".xz":
		x, err := xz.NewReader(r)
		return x, none, err
	case ".zst":
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, none, err
		}
		return z, z.Close, nil
	case ".gz":
		g, err := gzip.NewReader(r)
		return g, none, err
	case ".tar", ".ko":
		return r, none, nil
	}
	return nil, none, fmt.Errorf("unknown compression %q", path.Ext(name))
}

// debField returns a field of a package's control file, such as "Version".
func debField(file, field string) (string, error) {
	var value string
	err := walkDeb(file, "control", func(name string, r io.Reader) error {
		if name != "control" {
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			if v, ok := strings.CutPrefix(string(line), field+":"); ok {
				value = strings.TrimSpace(v)
			}
		}
		return errStop
	})
	return value, err
}

// debFiles reads the wanted files of a package into memory; all of them must be there.
func debFiles(file string, names ...string) (map[string][]byte, error) {
	out := map[string][]byte{}
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	err := walkDeb(file, "data", func(name string, r io.Reader) error {
		if !want[name] {
			return nil
		}
		b, err := io.ReadAll(r)
		out[name] = b
		if len(out) == len(want) && err == nil {
			return errStop
		}
		return err
	})
	for _, n := range names {
		if err == nil && out[n] == nil {
			err = fmt.Errorf("%s: has no file %s", file, n)
		}
	}
	return out, err
}
