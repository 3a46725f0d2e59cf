package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Dissection is what tshark makes of a capture.
type Dissection struct {
	Frames int
	// IKE and ESP count packets; those that did not decrypt are in Problems.
	IKE, ESP int
	// Contents counts the protocols found inside of ESP by tshark's names: "gre", "nhrp", "bgp", "icmp", …
	Contents map[string]int
	NHRP     []NHRP
	Problems []Problem

	doubted []Problem
}

// Problem is a frame that tshark cannot read as it should.
type Problem struct {
	Frame int
	What  string
}

func (p Problem) String() string { return fmt.Sprintf("frame %d: %s", p.Frame, p.What) }

// Dissect has tshark read a capture. keys is the folder of a key log (ikev2_decryption_table, esp_sa) that tshark
// decrypts with; without one ("") what is encrypted stays so, and that is no problem. A frame that is malformed, an IKE
// message or ESP packet that does not decrypt, and one whose integrity check fails are.
func Dissect(ctx context.Context, capture, keys string) (*Dissection, error) {
	d := &Dissection{Contents: map[string]int{}}
	fields := []string{"frame.number", "frame.protocols", "_ws.malformed", "isakmp.exchangetype", "isakmp.enc.data", "isakmp.enc.decrypted",
		"esp.spi", "esp.decrypted_data", "esp.icv_bad", "nhrp.ext.malformed", "nhrp.hdr.bad_checksum", "isakmp.frag.number"}
	args := []string{"-T", "fields", "-E", "separator=|", "-E", "occurrence=a"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := tshark(ctx, capture, keys, args...)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		v := strings.Split(lines.Text(), "|")
		if len(v) != len(fields) {
			return nil, fmt.Errorf("tshark: %q has %d fields, want %d", lines.Text(), len(v), len(fields))
		}
		n, err := strconv.Atoi(v[0])
		if err != nil {
			return nil, fmt.Errorf("tshark: %w", err)
		}
		d.frame(n, v, keys != "")
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("tshark: %w", err)
	}
	return d, d.readNHRP(ctx, capture, keys)
}

func (d *Dissection) frame(n int, v []string, decrypt bool) {
	d.Frames++
	problem := func(format string, args ...any) {
		d.Problems = append(d.Problems, Problem{n, fmt.Sprintf(format, args...)})
	}
	protocols := strings.Split(v[1], ":")
	if v[9] != "" {
		// To be believed only when the packet's own bytes say so too: see readNHRP.
		d.doubted = append(d.doubted, Problem{n, "NHRP: an incomplete authentication extension"})
	} else if v[2] != "" || strings.Contains(v[1], "_ws.malformed") {
		problem("malformed: %s", v[1])
	}
	if v[3] != "" {
		d.IKE++
		if decrypt && v[4] != "" && v[5] == "" {
			problem("an IKE message that does not decrypt")
		}
	}
	if v[6] != "" {
		d.ESP++
		switch {
		case v[8] != "" && v[8] != "0" && v[8] != "False":
			problem("ESP %s: the integrity check fails", v[6])
		case decrypt && v[7] == "":
			problem("ESP %s does not decrypt", v[6])
		}
		inside := false
		for _, p := range protocols {
			if inside {
				d.Contents[p]++
			}
			inside = inside || p == "esp"
		}
		if decrypt && protocols[len(protocols)-1] == "esp" {
			problem("ESP %s holds nothing that tshark knows", v[6])
		}
	}
	if v[10] != "" {
		problem("NHRP: a wrong checksum")
	}
}

// readNHRP reads the bytes of the NHRP packets and the addresses of the headers outside.
func (d *Dissection) readNHRP(ctx context.Context, capture, keys string) error {
	out, err := tshark(ctx, capture, keys, "-Y", "nhrp", "-T", "json", "-x", "-J", "frame eth ip ipv6 nhrp", "--no-duplicate-keys")
	if err != nil {
		return err
	}
	var packets []struct {
		Source struct {
			Layers map[string]json.RawMessage `json:"layers"`
		} `json:"_source"`
	}
	if len(bytes.TrimSpace(out)) == 0 {
		d.Problems = append(d.Problems, d.doubted...)
		return nil
	}
	if err := json.Unmarshal(out, &packets); err != nil {
		return fmt.Errorf("tshark's JSON: %w", err)
	}
	whole := map[int]bool{}
	for _, p := range packets {
		var n NHRP
		l := p.Source.Layers
		var frame map[string]any
		if err := json.Unmarshal(l["frame"], &frame); err != nil {
			return fmt.Errorf("tshark's JSON: %w", err)
		}
		n.Frame, _ = strconv.Atoi(fmt.Sprint(frame["frame.number"]))
		n.Encrypted = strings.Contains(fmt.Sprint(frame["frame.protocols"]), ":esp:")
		if protocols := fmt.Sprint(frame["frame.protocols"]); l["nhrp_raw"] == nil && strings.Contains(protocols, ":icmp") {
			continue // an ICMP error that quotes the beginning of an ESP packet
		}
		raw, err := first(l["frame_raw"])
		if err != nil {
			return fmt.Errorf("frame %d: %w", n.Frame, err)
		}
		n.OuterSrc, n.OuterDst = outer(raw)
		if n.Raw, err = first(l["nhrp_raw"]); err != nil {
			return fmt.Errorf("frame %d: %w", n.Frame, err)
		}
		d.NHRP = append(d.NHRP, n)
		if l, err := n.Layout(); err == nil {
			_, err = l.Authentication()
			whole[n.Frame] = err == nil
		}
	}
	// tshark takes the string's first bytes for an address of the protocol, sixteen of them in an IPv6 network, and
	// complains when the string is shorter. That is its mistake.
	for _, p := range d.doubted {
		if !whole[p.Frame] {
			d.Problems = append(d.Problems, p)
		}
	}
	return nil
}

// first reads the bytes of a "…_raw" entry: [hex, position, length, …], or a list of them.
func first(m json.RawMessage) ([]byte, error) {
	var v []any
	if err := json.Unmarshal(m, &v); err != nil || len(v) == 0 {
		return nil, errors.New("tshark gives no bytes")
	}
	if inner, is := v[0].([]any); is && len(inner) > 0 {
		v = inner
	}
	text, _ := v[0].(string)
	return hex.DecodeString(text)
}

// outer reads the addresses of a frame's outermost IP header.
func outer(f []byte) (src, dst netip.Addr) {
	switch {
	case len(f) >= 34 && f[12] == 0x08 && f[13] == 0x00:
		return netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
	case len(f) >= 54 && f[12] == 0x86 && f[13] == 0xdd:
		return netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54]))
	}
	return
}

// tshark runs it with a configuration folder that holds only the keys.
func tshark(ctx context.Context, capture, keys string, args ...string) ([]byte, error) {
	home, err := os.MkdirTemp("", "felloe-tshark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	all := []string{"-n", "-r", capture}
	if keys != "" {
		all = append(all, "-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE")
		for _, name := range []string{"ikev2_decryption_table", "esp_sa"} {
			b, err := os.ReadFile(filepath.Join(keys, name))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(home, name), b, 0o600)
			}
			if err != nil {
				return nil, fmt.Errorf("key log: %w", err)
			}
		}
	}
	cmd := exec.CommandContext(ctx, "tshark", append(all, args...)...)
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+home, "HOME="+home, "LC_ALL=C.UTF-8", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if strings.Contains(stderr.String(), "cut short in the middle of a packet") {
			return stdout.Bytes(), nil
		}
		return nil, fmt.Errorf("tshark: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
