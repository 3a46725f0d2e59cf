package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"felloe/vpn/ikev2/message"
)

// MatchesIdentity says whether a certificate speaks for an IKE identity (RFC 4945 §3.1): an FQDN, mail address or address
// is one of its subject alternative names, a distinguished name its subject, a key ID its subject key identifier. A
// common name is no host name, and a wildcard is only itself.
func MatchesIdentity(c *x509.Certificate, t message.IDType, value []byte) error {
	ok := false
	switch t {
	case message.ID_FQDN:
		ok = contains(c.DNSNames, string(value))
	case message.ID_RFC822_ADDR:
		ok = contains(c.EmailAddresses, string(value))
	case message.ID_IPV4_ADDR, message.ID_IPV6_ADDR:
		a, valid := netip.AddrFromSlice(value)
		ok = valid && slices.ContainsFunc(c.IPAddresses, func(ip net.IP) bool {
			b, good := netip.AddrFromSlice(ip)
			return good && a.Unmap() == b.Unmap()
		})
	case message.ID_DER_ASN1_DN:
		ok = sameDN(value, c.RawSubject)
	case message.ID_KEY_ID:
		ok = len(c.SubjectKeyId) > 0 && bytes.Equal(value, c.SubjectKeyId)
	default:
		return fmt.Errorf("%w: no certificate can prove an identity of type %v", ErrIdentity, t)
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %s is for %s", ErrIdentity, name(c), strings.Join(Identities(c), ", "))
}

func contains(list []string, s string) bool {
	return s != "" && slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

// Identities lists what a certificate speaks for, for people.
func Identities(c *x509.Certificate) []string {
	var out []string
	for _, s := range c.DNSNames {
		out = append(out, "fqdn "+escape(s))
	}
	for _, s := range c.EmailAddresses {
		out = append(out, "email "+escape(s))
	}
	for _, ip := range c.IPAddresses {
		out = append(out, "address "+ip.String())
	}
	if s := Subject(c); s != "" {
		out = append(out, "dn "+s)
	}
	const most = 8
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("%d more", len(out)-most))
	}
	if len(out) == 0 {
		out = []string{"nobody"}
	}
	return out
}
