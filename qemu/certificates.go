package qemu

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"felloe/vpn/pki"
)

// Certificate is one of a node's that a lab's authority issues when the lab starts: NAME.pem and NAME.key, with ca.pem and
// ca.crl beside them. No key of a lab is ever kept.
type Certificate struct {
	Name      string
	Subject   string
	DNS       []string
	Addresses []netip.Addr
	Key       pki.KeyType
}

// validity of what a lab's authority signs: a lab may stay up for long, and clocks differ.
const validity = 365 * 24 * time.Hour

// Prepare makes the certificates that the lab asks for. They belong beside the configurations, so those, and what else is
// in their folders, are copied below dir first, and the lab uses the copies from then on. A lab without certificates stays
// where it is. dir must be there until the lab is down.
func (l *Lab) Prepare(dir string) error {
	if len(l.Certificates) == 0 || l.prepared {
		return nil
	}
	files, err := issue(l.Certificates, time.Now())
	if err != nil {
		return fmt.Errorf("%s: certificates: %w", l.File, err)
	}
	folders := map[string]string{}
	moved := func(file string) (string, error) {
		from := filepath.Dir(file)
		to := folders[from]
		if to == "" {
			to = filepath.Join(dir, fmt.Sprintf("config%d", len(folders)+1))
			folders[from] = to
			if err := copyFiles(from, to); err != nil {
				return "", err
			}
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
					return "", err
				}
			}
		}
		return filepath.Join(to, filepath.Base(file)), nil
	}
	for _, n := range l.Nodes {
		if n.Config == "" {
			continue
		}
		if n.Config, err = moved(n.Config); err != nil {
			return err
		}
		if n.ConfigEmulated == "" {
			continue
		}
		if n.ConfigEmulated, err = moved(n.ConfigEmulated); err != nil {
			return err
		}
	}
	for _, s := range l.Steps {
		if s.Config == "" {
			continue
		}
		if s.Config, err = moved(s.Config); err != nil {
			return err
		}
	}
	l.prepared = true
	return nil
}

// copyFiles copies the files of a folder, not its folders.
func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// issue makes an authority and has it issue what is asked for.
func issue(all []Certificate, now time.Time) (map[string][]byte, error) {
	from, to := now.UTC().Add(-time.Hour).Truncate(time.Second), now.UTC().Add(validity).Truncate(time.Second)
	key, err := pki.NewKey("", rand.Reader)
	if err != nil {
		return nil, err
	}
	ca, err := pki.NewAuthority(nil, pki.Request{Subject: "CN=Lab CA,O=Lab", NotBefore: from, NotAfter: to}, key, rand.Reader)
	if err == nil {
		err = ca.Sign(from, to, rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"ca.pem": pki.EncodeCertificates(ca.Chain...), "ca.crl": pki.EncodeCRL(ca.CRL)}
	for _, c := range all {
		key, err := pki.NewKey(c.Key, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		cert, err := ca.Issue(pki.Request{Subject: c.Subject, DNS: c.DNS, Addresses: c.Addresses, NotBefore: from, NotAfter: to}, key.Public(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		private, err := pki.EncodeKey(key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		files[c.Name+".pem"], files[c.Name+".key"] = pki.EncodeCertificates(cert), private
	}
	return files, nil
}

func (p *parser) certificates(files []certificateFile) {
	for i, f := range files {
		line := p.line("certificate", i)
		fail := func(format string, args ...any) {
			p.errorf(line, "[[certificate]] "+f.Name, format, args...)
		}
		c := Certificate{Name: f.Name, Subject: f.Subject, DNS: f.DNS, Key: pki.KeyType(f.Key)}
		if !nodeName.MatchString(f.Name) || f.Name == "ca" {
			fail("a certificate needs a name of letters, digits and dashes, and not that of the authority, \"ca\"; %q is none", f.Name)
		}
		if _, err := pki.ParseDN(f.Subject); f.Subject == "" || err != nil {
			fail("subject: %v", errors.Join(errors.New("write it like \"CN=hub,O=Lab\""), err))
		}
		if f.Key != "" && !slices.Contains(pki.KeyTypes, c.Key) {
			fail("key: %q is none of %v", f.Key, pki.KeyTypes)
		}
		for _, text := range f.Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil {
				fail("address: %q is not an address", text)
			}
			c.Addresses = append(c.Addresses, a)
		}
		p.lab.Certificates = slices.DeleteFunc(p.lab.Certificates, func(old Certificate) bool { return old.Name == c.Name })
		p.lab.Certificates = append(p.lab.Certificates, c)
	}
}
