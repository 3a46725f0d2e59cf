package ikev2

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"
)

// Identity is who a peer says it is: the content of an IDi or IDr payload. Value is the bytes of the payload as a
// string (an address has 4 or 16 of them), so that an Identity can be compared and be the key of a map.
type Identity struct {
	Type  message.IDType
	Value string
}

// AddressIdentity is the identity that is an address.
func AddressIdentity(a netip.Addr) Identity {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return Identity{message.ID_IPV4_ADDR, string(b[:])}
	}
	b := a.As16()
	return Identity{message.ID_IPV6_ADDR, string(b[:])}
}

// FQDNIdentity is a host or domain name; EmailIdentity a mail address; KeyIdentity opaque bytes.
func FQDNIdentity(name string) Identity  { return Identity{message.ID_FQDN, name} }
func EmailIdentity(mail string) Identity { return Identity{message.ID_RFC822_ADDR, mail} }
func KeyIdentity(key string) Identity    { return Identity{message.ID_KEY_ID, key} }

// Fold is the same identity for all spellings of it: names and mail addresses are the same in lower and upper case.
func (i Identity) Fold() Identity {
	if folds(i.Type) {
		i.Value = strings.ToLower(i.Value)
	}
	return i
}

// canonical is Fold for distinguished names, too: their letter case, string types and runs of spaces do not matter either.
// What comes out is for comparing only.
func (i Identity) canonical() Identity {
	if i.Type == message.ID_DER_ASN1_DN {
		if s := pki.DNString([]byte(i.Value)); s != "" {
			i.Value = strings.ToLower(strings.Join(strings.Fields(s), " "))
		}
		return i
	}
	return i.Fold()
}

// IsZero reports whether there is no identity.
func (i Identity) IsZero() bool { return i == Identity{} }

// Addr is the address of an address identity.
func (i Identity) Addr() (netip.Addr, bool) {
	if i.Type != message.ID_IPV4_ADDR && i.Type != message.ID_IPV6_ADDR {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice([]byte(i.Value))
}

// String is the identity for people: an address, a name (also a distinguished one), or hexadecimal for what does not print.
func (i Identity) String() string {
	if i.IsZero() {
		return "none"
	}
	if a, ok := i.Addr(); ok {
		return a.String()
	}
	if i.Type == message.ID_DER_ASN1_DN {
		if s := pki.DNString([]byte(i.Value)); s != "" {
			return s
		}
	}
	for _, c := range []byte(i.Value) {
		if c < 0x20 || c > 0x7e {
			return hex.EncodeToString([]byte(i.Value))
		}
	}
	return i.Value
}

// IdentityMatch is one rule over identities. The zero value matches nothing.
type IdentityMatch struct {
	Any    bool           // every identity
	Prefix netip.Prefix   // identities that are an address in it; 0.0.0.0/0 and ::/0 are any IPv4, any IPv6 address
	Exact  Identity       // this one
	Type   message.IDType // with Domain: ID_FQDN or ID_RFC822_ADDR
	Domain string         // names below this domain ("example.com" matches "a.example.com"), mail addresses at it
}

// Match reports whether the rule fits, and how closely: the larger the closer.
func (m IdentityMatch) Match(id Identity) (closeness int, ok bool) {
	switch {
	case !m.Exact.IsZero():
		if m.Exact == id || m.Exact.Type == id.Type && folds(id.Type) && strings.EqualFold(m.Exact.Value, id.Value) {
			return 1000, true
		}
	case m.Prefix.IsValid():
		if a, isAddr := id.Addr(); isAddr && m.Prefix.Contains(a) {
			return 100 + m.Prefix.Bits(), true
		}
	case m.Domain != "":
		if id.Type != m.Type {
			break
		}
		domain := strings.ToLower(m.Domain)
		value := strings.ToLower(id.Value)
		if m.Type == message.ID_FQDN && (value == domain || strings.HasSuffix(value, "."+domain)) ||
			m.Type == message.ID_RFC822_ADDR && strings.HasSuffix(value, "@"+domain) {
			return 100 + len(domain), true
		}
	case m.Any:
		return 1, true
	}
	return 0, false
}

// String is the rule in the words of the configuration.
func (m IdentityMatch) String() string {
	switch {
	case !m.Exact.IsZero():
		return m.Exact.String()
	case m.Prefix.IsValid():
		return m.Prefix.String()
	case m.Domain != "":
		return fmt.Sprintf("domain %s", m.Domain)
	case m.Any:
		return "any"
	}
	return "nothing"
}

func folds(t message.IDType) bool { return t == message.ID_FQDN || t == message.ID_RFC822_ADDR }
