package config

import (
	"net/netip"
	"time"
)

// NHRP is the NHRP part of a GRE tunnel interface.
type NHRP struct {
	// Which NHRP network the interface belongs to; redirects and forwarding stay within one. It is local to the router.
	NetworkID uint32 `toml:"network-id" required:"true" range:"1..4294967295" example:"1"`
	// Authentication string, at most 8 characters. It must be the same in the whole network and is checked on every packet.
	// It crosses the tunnel in clear: it guards against mistakes, the tunnel's protection against attackers.
	Authentication Secret `toml:"authentication" example:"\"DMVPN\""`
	// How long others may keep what this router tells them.
	Holdtime time.Duration `toml:"holdtime" default:"10m" range:"1s..18h12m15s"`
	// How often the router registers with its servers; 0 is a third of `holdtime`.
	RegistrationTimeout time.Duration `toml:"registration-timeout" default:"0s" range:"0s..18h12m15s"`
	// Next hop servers that this router registers with.
	NHS []*NHS `toml:"nhs" layout:"inline" example:"[{ address = \"10.10.10.1\", nbma = \"172.16.1.1\", multicast = true }]"`
	// Static mappings.
	Map []*NHRPMap `toml:"map" layout:"inline" example:"[{ address = \"10.10.10.9\", nbma = \"172.16.9.9\" }]"`
	// Who gets a copy of multicast and broadcast packets: NBMA addresses, and `"dynamic"` for everybody who registers
	// (a hub's word). Servers with `multicast = true` need not be repeated here.
	MapMulticast MulticastMap `toml:"map-multicast" example:"\"dynamic\""`
	// Phase 3 spoke: act on redirects, and install shortcuts. A FlexVPN spoke says as well which template their interfaces are made of.
	NHRPShortcut `toml:"shortcut" layout:"inline" example:"{ virtual-template = 1 }"`
	// Phase 3 hub: tell the sender of a packet that enters and leaves the same NHRP network of a shorter way.
	Redirect bool `toml:"redirect"`
	// Send no second redirect for the same source and destination within this time.
	RedirectTimeout time.Duration `toml:"redirect-timeout" default:"8s" range:"2s..30s"`
	// Register with the unique flag: the server then refuses another NBMA address for the same tunnel address until the
	// registration has expired. IOS's `ip nhrp registration no-unique` is the default here.
	Unique bool `toml:"unique"`
	// Answer requests, but originate none.
	ServerOnly bool `toml:"server-only"`
	// Limit of the NHRP packets that the interface sends.
	MaxSend MaxSend `toml:"max-send" layout:"inline"`
}

// NHS is one next hop server.
type NHS struct {
	// The server's tunnel address.
	Address netip.Addr `toml:"address" required:"true" example:"\"10.10.10.1\""`
	// The server's transport address (IOS: a static `ip nhrp map` as well).
	NBMA netip.Addr `toml:"nbma" required:"true" example:"\"172.16.1.1\""`
	// Send multicast and broadcast packets to it (routing protocols that multicast need this).
	Multicast bool `toml:"multicast"`
	// Preference within its cluster; the lowest number is tried first.
	Priority uint8 `toml:"priority" default:"0"`
	// Servers of one cluster stand in for each other; one of each cluster is used.
	Cluster uint8 `toml:"cluster" default:"0" range:"0..10"`
	// The server is used only while this object is up.
	Track int `toml:"track" ref:"track" range:"1..1000" example:"5"`
}

// NHRPShortcut is `true`, or a table with a template.
type NHRPShortcut struct {
	Shortcut bool `toml:"-"`
	// Number of the Virtual-Template that the interface of a shortcut is made of (IOS: `ip nhrp shortcut virtual-template`).
	ShortcutTemplate int `toml:"virtual-template" range:"1..2147483647" example:"1"`
}

func (NHRPShortcut) short() string { return "Shortcut" }

// NHRPMap is a static mapping.
type NHRPMap struct {
	// Tunnel address.
	Address netip.Addr `toml:"address" required:"true" example:"\"10.10.10.9\""`
	// Transport address.
	NBMA netip.Addr `toml:"nbma" required:"true" example:"\"172.16.9.9\""`
}

// MulticastMap is the value of `map-multicast`.
type MulticastMap struct {
	Dynamic bool         // everybody who registers
	NBMA    []netip.Addr // and these
}

// MaxSend limits sending.
type MaxSend struct {
	// Packets allowed…
	Packets int `toml:"packets" default:"10000" range:"1..65535"`
	// …within this time.
	Every time.Duration `toml:"every" default:"10s" range:"1s..65535s"`
}

// RegistrationInterval is how often to register: RegistrationTimeout, or a third of Holdtime.
func (n *NHRP) RegistrationInterval() time.Duration {
	if n.RegistrationTimeout > 0 {
		return n.RegistrationTimeout
	}
	return n.Holdtime / 3
}
