package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"felloe/boot"
	"felloe/config"
)

// do runs `felloe pki` in the test's directory.
func do(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	status := pkiMain(args, time.Now(), &out, &out)
	return status, out.String()
}

func TestTheDocumentsCommandsMakeWhatItsConfigurationNeeds(t *testing.T) {
	text, err := os.ReadFile("../../docs/pki.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	blocks := regexp.MustCompile("(?s)```(sh|toml)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	commands, configurations := 0, 0
	for _, b := range blocks {
		if b[1] == "toml" {
			configurations++
			if err := os.WriteFile("hub.toml", []byte(b[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			c, diags := config.Load("hub.toml")
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			if diags := boot.CheckPKI(c); len(diags) > 0 {
				t.Fatal(diags)
			}
			continue
		}
		for line := range strings.Lines(b[2]) {
			commands++
			if status, out := do(t, words(line)[2:]...); status != 0 {
				t.Fatalf("%s: %s", line, out)
			}
		}
	}
	if commands != 7 || configurations != 1 {
		t.Errorf("%d commands, %d configurations", commands, configurations)
	}
	for _, n := range []string{"hub.key", "spoke1.key", "spoke2.key", "ca/ca.key"} {
		if info, err := os.Stat(n); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", n, info.Mode(), err)
		}
	}
}

// words splits a command line as a shell does, with double quotes only.
func words(line string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2])
	}
	return out
}

func TestPKISaysWhatIsWrong(t *testing.T) {
	t.Chdir(t.TempDir())
	if status, out := do(t, "ca", "-dir", "ca"); status != 0 || !strings.Contains(out, "ca: authority CN=Lab CA, ECDSA P-256, until 20") {
		t.Fatal(out)
	}
	if status, out := do(t, "ca", "-dir", "other", "-subject", "CN=Other"); status != 0 {
		t.Fatal(out)
	}
	if status, out := do(t, "issue", "-ca", "ca", "-out", "a", "-subject", "CN=a", "-address", "2001:db8::1", "-email", "a@example.com"); status != 0 ||
		!strings.Contains(out, "for email a@example.com, address 2001:db8::1, dn CN=a") {
		t.Fatal(out)
	}
	if err := os.WriteFile("text", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"", 2, "usage: felloe pki"}, {"nonsense", 2, "usage: felloe pki"}, {"ca -nonsense", 2, "flag provided but not defined"},
		{"ca", 1, "-dir is missing"}, {"ca -dir ca", 1, "ca.pem is there already: an authority is not overwritten"}, {"ca -dir x -key rsa-1024", 1, "ecdsa-p256, ecdsa-p384"},
		{"ca -dir x -days 0", 1, "0 days: it is 1 to 36500"}, {"ca -dir x extra", 1, `"extra" is too much`}, {"ca -dir x -issuer nowhere", 1, "`felloe pki ca -dir nowhere` makes an authority"},
		{"issue -ca ca", 1, "-out is missing"}, {"issue -ca ca -out b", 1, "-subject is missing"}, {"issue -ca ca -out a -subject CN=a", 1, "a.key is there already"},
		{"issue -ca ca -out b -subject b", 1, "is not ATTRIBUTE=VALUE"}, {"issue -ca ca -out b -subject CN=b -address x", 2, "invalid value"},
		{"issue -ca ca -out b -subject CN=b -dns a/b", 1, `DNS name "a/b"`}, {"issue -ca ca -out b -subject CN=b -email b", 1, `mail address "b"`},
		{"issue -out b -subject CN=b", 1, "-ca is missing"},
		{"revoke -ca ca nowhere.pem", 1, "neither a file nor a serial number"}, {"revoke -ca ca text", 1, "does not begin with a certificate"},
		{"revoke -ca other a.pem", 1, "a.pem is issued by CN=Lab CA, not by this authority (CN=Other)"},
		{"revoke -ca ca a.pem", 0, "revoked CN=a, serial "}, {"revoke -ca ca a.pem", 1, "is revoked already, since 20"}, {"revoke -ca ca 0A:0b", 0, "2 revoked, until 20"}, {"revoke -ca ca", 0, "2 revoked"},
	} {
		if status, out := do(t, strings.Fields(c.args)...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d %s", c.args, status, out)
		}
	}
	if left, _ := filepath.Glob(".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
