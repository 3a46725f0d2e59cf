package config

import (
	"net"
	"net/netip"
	"strings"
)

// Interface is an Ethernet, Loopback, Tunnel or Virtual-Template interface; its name's type word says which, and which keys it may have.
type Interface struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description" example:"\"to the internet\""`
	// Keep the interface administratively down.
	Shutdown bool `toml:"shutdown"`
	// The routing table that the interface belongs to (IOS: `vrf forwarding`).
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// IPv4 and IPv6 addresses with the length of their subnet. The first IPv4 address is the primary one. `"negotiated"`, alone or
	// beside others: those that the peer of a protected point-to-point tunnel gives.
	Address    []netip.Prefix `toml:"address" prefix:"host" word:"negotiated=Negotiated" only:"ethernet,loopback,tunnel" example:"[\"172.16.3.3/24\", \"2001:db8:3::3/64\"]"`
	Negotiated bool           `toml:"-"` // address has "negotiated"
	// Use the addresses of this interface of the same routing table, most often a Loopback, instead of own ones.
	Unnumbered string `toml:"unnumbered" only:"tunnel,virtual-template" ref:"interface" example:"\"Loopback1001\""`
	// Ethernet: bind the NIC that has this MAC address, instead of the next one in PCI order.
	MAC net.HardwareAddr `toml:"mac" only:"ethernet" example:"\"52:54:00:12:34:56\""`
	// The largest packet that the link carries. Ethernet 1500 and Loopback 1514 when not given; a tunnel's follows from its path.
	MTU int `toml:"mtu" implied:"by type" unit:"bytes" range:"68..65535" only:"ethernet,loopback"`
	// The largest IP packet sent through the interface; 0 derives it (for a tunnel: path MTU minus what SA and encapsulation add).
	IPMTU int `toml:"ip-mtu" default:"0" unit:"bytes" range:"0,68..65535" example:"1400"`
	// Lower the MSS of TCP connections that pass, in both directions; 0 leaves it alone.
	TCPAdjustMSS int `toml:"tcp-adjust-mss" default:"0" unit:"bytes" range:"0,500..65495" example:"1360"`

	// What the tunnel carries and how many far ends it has.
	Mode TunnelMode `toml:"mode" default:"gre ip" only:"tunnel,virtual-template"`
	// Where the tunnel's outer packets come from: an interface's name or one of the router's addresses. A template without it
	// takes peers that call any address of `tunnel-vrf`. `"dynamic"` leaves it to the client block that the tunnel is bound to.
	Source        Local `toml:"source" word:"dynamic=SourceDynamic" only:"tunnel,virtual-template" example:"\"GigabitEthernet1\""`
	SourceDynamic bool  `toml:"-"` // source is "dynamic"
	// The far end of a point-to-point tunnel. Without it the tunnel takes whoever the protection lets in. `"dynamic"` leaves it to
	// the client block that the tunnel is bound to.
	Destination        netip.Addr `toml:"destination" word:"dynamic=DestinationDynamic" only:"tunnel" example:"\"172.16.1.1\""`
	DestinationDynamic bool       `toml:"-"` // destination is "dynamic"
	// GRE key; both ends must agree.
	Key *uint32 `toml:"key" only:"tunnel,virtual-template" example:"100"`
	// TTL (hop limit) of the outer packets.
	TTL uint8 `toml:"ttl" default:"255" range:"1..255" only:"tunnel,virtual-template"`
	// IPsec profile that protects the tunnel. A protected tunnel carries nothing in clear, ever.
	Protection string `toml:"protection" only:"tunnel,virtual-template" ref:"ipsec.profile" example:"\"IPSEC-IKEV2\""`
	// The routing table of the outer packets (IOS: `tunnel vrf`).
	TunnelVRF string `toml:"tunnel-vrf" default:"default" only:"tunnel,virtual-template" ref:"vrf"`
	// Timers of single-hop BFD sessions over the interface. Without this table they are the defaults of its keys.
	BFD *BFD `toml:"bfd" layout:"inline" only:"ethernet,tunnel,virtual-template" example:"{ interval = \"100ms\", min-rx = \"100ms\", multiplier = 3 }"`
	// NHRP on a GRE tunnel.
	NHRP *NHRP `toml:"nhrp" only:"tunnel,virtual-template"`
}

// TunnelMode is what IOS calls `tunnel mode`.
type TunnelMode string

const (
	GREMultipoint TunnelMode = "gre multipoint"
	GREIP         TunnelMode = "gre ip"
	GREIPv6       TunnelMode = "gre ipv6"
	IPsecIPv4     TunnelMode = "ipsec ipv4"
	IPsecIPv6     TunnelMode = "ipsec ipv6"

	IPsecIPv4OverlayV6 TunnelMode = "ipsec ipv4 v6-overlay"
	IPsecIPv6OverlayV4 TunnelMode = "ipsec ipv6 v4-overlay"
	IPsecDual          TunnelMode = "ipsec dual-overlay"
)

// Values lists what may be written.
func (TunnelMode) Values() []string {
	return []string{string(GREMultipoint), string(GREIP), string(GREIPv6), string(IPsecIPv4), string(IPsecIPv6),
		string(IPsecIPv4OverlayV6), string(IPsecIPv6OverlayV4), string(IPsecDual)}
}

// GRE reports whether packets have a GRE header.
func (m TunnelMode) GRE() bool { return m == GREMultipoint || m == GREIP || m == GREIPv6 }

// VTI reports whether the tunnel carries IP straight in IPsec tunnel mode.
func (m TunnelMode) VTI() bool { return strings.HasPrefix(string(m), "ipsec ") }

// Overlay says which families a VTI carries inside: the one of its name, or what follows it.
func (m TunnelMode) Overlay() (v4, v6 bool) {
	switch m {
	case IPsecIPv4, IPsecIPv6OverlayV4:
		return true, false
	case IPsecIPv6, IPsecIPv4OverlayV6:
		return false, true
	}
	return true, true
}

// Local names one of the router's own addresses: by interface, or directly. The zero Local is not set.
type Local struct {
	Interface string
	Address   netip.Addr
}

// IsZero reports whether nothing was given.
func (l Local) IsZero() bool { return l == Local{} }

// String is the TOML form.
func (l Local) String() string {
	if l.Interface != "" {
		return l.Interface
	}
	if l.Address.IsValid() {
		return l.Address.String()
	}
	return ""
}
