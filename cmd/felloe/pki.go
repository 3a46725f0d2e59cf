package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"felloe/vpn/pki"
)

const pkiUsage = `usage: felloe pki ca|issue|revoke …: certificates for a lab; an authority is a directory with ca.pem, ca.key and ca.crl
  ca -dir DIR [-subject "CN=Lab CA"] [-key KIND] [-days 3650] [-crl-days 365] [-issuer DIR]
      make an authority; with -issuer one below another, with that one's chain in ca.pem
  issue -ca DIR -out NAME -subject "CN=spoke1,OU=spokes" [-dns NAME]… [-email MAIL]… [-address IP]… [-key KIND] [-days 825]
      make NAME.pem (the certificate, then the authorities between it and the root) and NAME.key
  revoke -ca DIR [-crl-days 365] [CERTIFICATE.pem|SERIAL]…
      put certificates on DIR/ca.crl; without any it is only signed again, with a new date
KIND is one of ecdsa-p256 (the default), ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096, ed25519.
`

// pkiMain is `felloe pki`.
func pkiMain(args []string, now time.Time, out, errs io.Writer) int {
	commands := map[string]func(*flag.FlagSet, []string, time.Time, io.Writer) error{"ca": pkiCA, "issue": pkiIssue, "revoke": pkiRevoke}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(errs, pkiUsage)
		return 2
	}
	f := flag.NewFlagSet("felloe pki "+args[0], flag.ContinueOnError)
	f.SetOutput(errs)
	f.Usage = func() { fmt.Fprint(errs, pkiUsage) }
	err := commands[args[0]](f, args[1:], now, out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintf(errs, "felloe pki %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

func pkiCA(f *flag.FlagSet, args []string, now time.Time, out io.Writer) error {
	dir := f.String("dir", "", "")
	subject := f.String("subject", "CN=Lab CA", "")
	kind := f.String("key", "", "")
	days := f.Int("days", 3650, "")
	crlDays := f.Int("crl-days", 365, "")
	issuer := f.String("issuer", "", "")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("-dir is missing: where the authority shall be")
	}
	for _, n := range []string{"ca.pem", "ca.key", "ca.crl"} {
		if _, err := os.Stat(filepath.Join(*dir, n)); err == nil {
			return fmt.Errorf("%s is there already: an authority is not overwritten", filepath.Join(*dir, n))
		}
	}
	r := pki.Request{Subject: *subject, NotBefore: since(now), PathLen: 1}
	var err error
	if r.NotAfter, err = until(now, *days); err != nil {
		return err
	}
	var parent *pki.Authority
	if *issuer != "" {
		if parent, err = readAuthority(*issuer); err != nil {
			return err
		}
		r.PathLen = 0
		if end := parent.Certificate().NotAfter; r.NotAfter.After(end) {
			r.NotAfter = end
		}
	}
	key, err := pki.NewKey(pki.KeyType(*kind), rand.Reader)
	if err != nil {
		return err
	}
	a, err := pki.NewAuthority(parent, r, key, rand.Reader)
	if err != nil {
		return err
	}
	end, err := until(now, *crlDays)
	if err == nil {
		err = a.Sign(since(now), end, rand.Reader)
	}
	if err != nil {
		return err
	}
	private, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	if err := write(filepath.Join(*dir, "ca.key"), private, 0o600, true); err != nil {
		return err
	}
	if err := write(filepath.Join(*dir, "ca.pem"), pki.EncodeCertificates(a.Chain...), 0o644, true); err != nil {
		return err
	}
	if err := write(filepath.Join(*dir, "ca.crl"), pki.EncodeCRL(a.CRL), 0o644, true); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: authority %s, %s, until %s\n", *dir, pki.Subject(a.Certificate()), pki.KeyName(key.Public()), r.NotAfter.Format(time.DateOnly))
	return nil
}

func pkiIssue(f *flag.FlagSet, args []string, now time.Time, out io.Writer) error {
	dir := f.String("ca", "", "")
	name := f.String("out", "", "")
	subject := f.String("subject", "", "")
	kind := f.String("key", "", "")
	days := f.Int("days", 825, "")
	var r pki.Request
	list := func(flag string, add func(string) error) { f.Func(flag, "", add) }
	list("dns", func(s string) error { r.DNS = append(r.DNS, s); return nil })
	list("email", func(s string) error { r.Email = append(r.Email, s); return nil })
	list("address", func(s string) error {
		a, err := netip.ParseAddr(s)
		r.Addresses = append(r.Addresses, a)
		return err
	})
	if err := parse(f, args, 0); err != nil {
		return err
	}
	switch {
	case *name == "":
		return errors.New("-out is missing: the name of the files, without .pem")
	case *subject == "":
		return errors.New(`-subject is missing: who the certificate is for, such as "CN=spoke1,OU=spokes"`)
	}
	a, err := readAuthority(*dir)
	if err != nil {
		return err
	}
	r.Subject, r.NotBefore = *subject, since(now)
	if r.NotAfter, err = until(now, *days); err != nil {
		return err
	}
	end := a.Certificate().NotAfter
	if now.After(end) {
		return fmt.Errorf("the authority has expired on %s", end.Format(time.DateOnly))
	}
	if r.NotAfter.After(end) {
		r.NotAfter = end
	}
	key, err := pki.NewKey(pki.KeyType(*kind), rand.Reader)
	if err != nil {
		return err
	}
	c, err := a.Issue(r, key.Public(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	chain := []*x509.Certificate{c}
	for _, i := range a.Chain {
		if pki.Subject(i) != pki.Issuer(i) { // the root is what the other side has
			chain = append(chain, i)
		}
	}
	if err := write(*name+".key", private, 0o600, true); err != nil {
		return err
	}
	if err := write(*name+".pem", pki.EncodeCertificates(chain...), 0o644, true); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s.pem: %s, serial %s, %s, until %s, for %s\n", *name, pki.Subject(c), pki.Serial(c), pki.KeyName(key.Public()),
		c.NotAfter.Format(time.DateOnly), strings.Join(pki.Identities(c), ", "))
	return nil
}

func pkiRevoke(f *flag.FlagSet, args []string, now time.Time, out io.Writer) error {
	dir := f.String("ca", "", "")
	crlDays := f.Int("crl-days", 365, "")
	if err := parse(f, args, -1); err != nil {
		return err
	}
	a, err := readAuthority(*dir)
	if err != nil {
		return err
	}
	end, err := until(now, *crlDays)
	if err != nil {
		return err
	}
	var said strings.Builder
	for _, arg := range f.Args() {
		serial, text, err := serialOf(arg, a)
		if err != nil {
			return err
		}
		if err := a.Revoke(serial, now, since(now), end, rand.Reader); err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		fmt.Fprintf(&said, "revoked %s\n", text)
	}
	if f.NArg() == 0 {
		if err := a.Sign(since(now), end, rand.Reader); err != nil {
			return err
		}
	}
	file := filepath.Join(*dir, "ca.crl")
	if err := write(file, pki.EncodeCRL(a.CRL), 0o644, false); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s%s: %d revoked, until %s; give it to every router\n", said.String(), file, len(a.CRL.RevokedCertificateEntries), end.Format(time.DateOnly))
	return nil
}

// serialOf is what a file or a number in hexadecimal names.
func serialOf(arg string, a *pki.Authority) (*big.Int, string, error) {
	b, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		if n, ok := new(big.Int).SetString(strings.ReplaceAll(arg, ":", ""), 16); ok && n.Sign() > 0 {
			return n, "serial " + arg, nil
		}
		return nil, "", fmt.Errorf("%q is neither a file nor a serial number in hexadecimal", arg)
	}
	if err != nil {
		return nil, "", err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, "", fmt.Errorf("%s does not begin with a certificate in PEM", arg)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", arg, err)
	}
	if c.CheckSignatureFrom(a.Certificate()) != nil {
		return nil, "", fmt.Errorf("%s is issued by %s, not by this authority (%s)", arg, pki.Issuer(c), pki.Subject(a.Certificate()))
	}
	return c.SerialNumber, fmt.Sprintf("%s, serial %s", pki.Subject(c), pki.Serial(c)), nil
}

func readAuthority(dir string) (*pki.Authority, error) {
	if dir == "" {
		return nil, errors.New("-ca is missing: the authority's directory")
	}
	var files [3][]byte
	for i, n := range []string{"ca.pem", "ca.key", "ca.crl"} {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil && (n != "ca.crl" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("%w; `felloe pki ca -dir %s` makes an authority", err, dir)
		}
		files[i] = b
	}
	a, err := pki.ReadAuthority(files[0], files[1], files[2])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return a, nil
}

func parse(f *flag.FlagSet, args []string, most int) error {
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp // it has been said
	}
	if most >= 0 && f.NArg() > most {
		return fmt.Errorf("%q is too much; see `felloe pki`", f.Arg(most))
	}
	return nil
}

// since is a little before now: clocks differ.
func since(now time.Time) time.Time { return now.UTC().Add(-time.Hour).Truncate(time.Second) }

func until(now time.Time, days int) (time.Time, error) {
	if days < 1 || days > 36500 {
		return time.Time{}, fmt.Errorf("%d days: it is 1 to 36500", days)
	}
	return now.UTC().AddDate(0, 0, days).Truncate(time.Second), nil
}

// write makes a file whole or not at all; a new one must not be there yet.
func write(file string, b []byte, mode fs.FileMode, fresh bool) error {
	if fresh {
		if _, err := os.Stat(file); err == nil {
			return fmt.Errorf("%s is there already", file)
		}
	}
	t, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = t.Write(b)
	if err == nil {
		err = t.Chmod(mode)
	}
	if e := t.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(t.Name(), file)
	}
	if err != nil {
		os.Remove(t.Name())
	}
	return err
}
