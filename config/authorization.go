package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// IKEAuthorization says which authorization policy a peer gets: the one whose name the mangler makes, or else the one named.
type IKEAuthorization struct {
	// The policy by its name. `"default"`, unless you define it, sends the interface's address and accepts all routes.
	Policy string `toml:"policy" ref:"ikev2.authorization-policy" words:"default" example:"\"SPOKES\""`
	// The policy whose name this mangler makes of the peer's identity; tried before `policy`.
	NameMangler string `toml:"name-mangler" ref:"ikev2.name-mangler" example:"\"BY-DOMAIN\""`
}

// IsZero reports whether there is no authorization.
func (a IKEAuthorization) IsZero() bool { return a == IKEAuthorization{} }

// ConfigExchange says what is exchanged by configuration payloads (RFC 7296 §3.15).
type ConfigExchange struct {
	// Ask the peer for a configuration when this router begins.
	Request bool `toml:"request" default:"true"`
	// Send this router's routes to a peer that has not asked (CFG_SET).
	SetSend bool `toml:"set-send" default:"true"`
	// Accept what a peer sends unasked.
	SetAccept bool `toml:"set-accept" default:"true"`
}

// AuthorizationPolicy is what a peer is given, and what is taken from it.
type AuthorizationPolicy struct {
	Name string `toml:"-"`
	// Pool of the peer's IPv4 address.
	Pool string `toml:"pool" ref:"pool" example:"\"SPOKES\""`
	// Pool of the peer's IPv6 address.
	IPv6Pool string `toml:"ipv6-pool" ref:"pool" example:"\"SPOKES-6\""`
	// Netmask sent with the IPv4 address; none is sent when not given.
	Netmask netip.Addr `toml:"netmask" family:"4" example:"\"255.255.255.224\""`
	// Name servers for the peer.
	DNS []netip.Addr `toml:"dns" example:"[\"10.0.0.1\"]"`
	// Domain of the names behind this router.
	DefDomain string `toml:"def-domain" example:"\"example.com\""`
	// Tell the peer to use perfect forward secrecy.
	PFS bool `toml:"pfs"`
	// Routes.
	Route AuthorizationRoute `toml:"route" layout:"inline"`
}

// AuthorizationRoute says which routes are sent and accepted.
type AuthorizationRoute struct {
	// Send the addresses of these interfaces as host routes; `"self"` is the tunnel interface itself.
	SetInterface []string `toml:"set-interface" ref:"interface" words:"self" example:"[\"Loopback1001\"]"`
	// Send what these access lists permit; nothing for a list that is not there.
	SetAccessList []string `toml:"set-access-list" ref:"access-list" missing:"warning" example:"[\"BEHIND-US\"]"`
	// Send these prefixes.
	SetRemote []netip.Prefix `toml:"set-remote" example:"[\"10.9.0.0/16\"]"`
	// Install the routes that the peer sends.
	Accept bool `toml:"accept" default:"true"`
	// Of what the peer says is behind it, by routes that it sends or by its traffic selectors, install only what this list permits.
	AcceptPrefixList string `toml:"accept-prefix-list" ref:"prefix-list" example:"\"SPOKE1-LAN\""`
	// Administrative distance of the routes to the peer.
	Distance uint8 `toml:"distance" default:"1" range:"1..255"`
	// Tag of the routes to the peer.
	Tag uint32 `toml:"tag"`
}

// Self is the tunnel interface itself in AuthorizationRoute.SetInterface.
const Self = "self"

// SmartAuthorization is the authorization policy "default" where there is no table of that name.
func SmartAuthorization() *AuthorizationPolicy {
	p := Default[AuthorizationPolicy]()
	p.Name = Smart
	p.Route.SetInterface = []string{Self}
	return p
}

// Authorization finds an authorization policy by name, or nil.
func (k *IKEv2) Authorization(name string) *AuthorizationPolicy {
	p := k.AuthorizationPolicy[name]
	if p == nil && name == Smart {
		return SmartAuthorization()
	}
	return p
}

// NameMangler makes a name of an identity. Exactly one of its keys is set.
type NameMangler struct {
	Name string `toml:"-"`
	// Of an ID_FQDN: all of it, the host before the first dot, or the domain behind it.
	FQDN FQDNPart `toml:"fqdn" example:"\"domain\""`
	// Of an ID_RFC822_ADDR: all of it, the user before the @, or the domain behind it.
	Email EmailPart `toml:"email" example:"\"domain\""`
	// Of an ID_DER_ASN1_DN: this part of the name.
	DN DNPart `toml:"dn" example:"\"organization-unit\""`
}

// FQDNPart is a part of a host name.
type FQDNPart string

// Values lists what may be written.
func (FQDNPart) Values() []string { return []string{"all", "hostname", "domain"} }

// EmailPart is a part of a mail address.
type EmailPart string

// Values lists what may be written.
func (EmailPart) Values() []string { return []string{"all", "username", "domain"} }

// DNPart is a part of a distinguished name.
type DNPart string

// Values lists what may be written.
func (DNPart) Values() []string {
	return []string{"common-name", "organization", "organization-unit", "country", "state", "locality"}
}

// Pool is a set of addresses to give away.
type Pool struct {
	Name string `toml:"-"`
	// The addresses: `"FROM-TO"`, a prefix (without the subnet's own and its broadcast address), or one address.
	Addresses []AddressRange `toml:"addresses" required:"true" example:"[\"10.122.144.130-10.122.144.158\"]"`
	// Addresses that are not given away.
	Exclude []AddressRange `toml:"exclude" example:"[\"10.122.144.140\"]"`
}

// AccessList is a standard access list: it permits prefixes and denies the rest.
type AccessList struct {
	Name string `toml:"-"`
	// The prefixes.
	Permit []netip.Prefix `toml:"permit" required:"true" prefix:"bare" example:"[\"10.0.0.0/8\"]"`
}

// AddressRange is all addresses of one family from From to To.
type AddressRange struct{ From, To netip.Addr }

// Contains reports whether an address is in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return a.Is4() == r.From.Is4() && !a.Less(r.From) && !r.To.Less(a)
}

// String is the TOML form.
func (r AddressRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// ParseAddressRange reads "FROM-TO", a prefix or an address.
func ParseAddressRange(s string) (AddressRange, error) {
	r, msg := parseRange(s)
	if msg != "" {
		return r, fmt.Errorf("%s", msg)
	}
	return r, nil
}

// parseRange reads a range, or says what would be right.
func parseRange(s string) (AddressRange, string) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		a, msg := parseAddr(strings.TrimSpace(from))
		if msg != "" {
			return AddressRange{}, msg
		}
		b, msg := parseAddr(strings.TrimSpace(to))
		switch {
		case msg != "":
			return AddressRange{}, msg
		case a.Is4() != b.Is4():
			return AddressRange{}, fmt.Sprintf("%s and %s are of different families", a, b)
		case b.Less(a):
			return AddressRange{}, fmt.Sprintf("the range ends before it begins: \"%s-%s\" is meant?", b, a)
		}
		return AddressRange{a, b}, ""
	}
	p, msg := parsePrefix(s, "bare")
	if msg != "" {
		return AddressRange{}, msg + `; a range is written "10.0.0.10-10.0.0.20"`
	}
	first, last := p.Addr(), lastOf(p)
	if p.Bits() < p.Addr().BitLen()-1 {
		first = first.Next()
		if first.Is4() {
			last = last.Prev()
		}
	}
	return AddressRange{first, last}, ""
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if host := len(b)*8 - p.Bits() - 8*(len(b)-1-i); host > 0 {
			b[i] |= byte(1<<min(host, 8) - 1)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
