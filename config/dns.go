package config

import (
	"net/netip"
	"time"
)

// DNS is where the router finds the addresses of names (IOS: `ip name-server`, `ip domain name`, `ip host`).
type DNS struct {
	// Name servers in order of preference.
	Server []netip.Addr `toml:"server" example:"[\"10.0.0.53\"]"`
	// The routing table that they are in.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// Where questions come from: an interface's name or one of the router's addresses.
	Source Local `toml:"source" example:"\"Loopback0\""`
	// What is put behind a name without a dot.
	Domain string `toml:"domain" example:"\"example.com\""`
	// How long to wait for an answer before the next server is asked.
	Timeout time.Duration `toml:"timeout" default:"2s" range:"100ms..30s"`
	// Names that no server is asked for, with their addresses.
	Host HostTable `toml:"host" example:"{ \"hub1.example.com\" = [\"172.25.1.1\", \"2001:db8:25::1\"] }"`
}

// HostTable holds the addresses of names, which are in lower case.
type HostTable map[string][]netip.Addr
