package config

import (
	"net/netip"
)

// Config is one router's whole desired state: what a TOML file (or several) says, with every default filled in.
// Tables are maps by name or lists in file order; a nil pointer is a table that is not there.
//
// Make one with Parse, Load or New. A struct literal has no defaults in it: see Default.
type Config struct {
	// The router's name: its prompt, its log lines, and nothing else.
	Hostname string `toml:"hostname" default:"felloe" example:"\"Spoke2\""`
	// Where log lines go.
	Logging Logging `toml:"logging"`
	// Debugging that is on from the start, as the console's `debug` command would switch it on.
	Debug []DebugTopic `toml:"debug" example:"[\"crypto ikev2\"]"`
	// Things for laboratories only. Never set them on a router that protects anything.
	Lab Lab `toml:"lab"`
	// Routing tables beside `default`, by name.
	VRF map[string]*VRF `toml:"vrf" key:"NAME"`
	// Interfaces by their full IOS-style names: GigabitEthernet1, GigabitEthernet0/0/0, TenGigabitEthernet1/0, Ethernet1/0,
	// Loopback10, Tunnel0, Virtual-Template1.
	Interface map[string]*Interface `toml:"interface" key:"NAME"`
	// IKEv2: who may talk, with which keys.
	IKEv2 IKEv2 `toml:"ikev2"`
	// IPsec: how the traffic is protected.
	IPsec IPsec `toml:"ipsec"`
	// Certificates: whose are trusted, and which are this router's own.
	PKI PKI `toml:"pki"`
	// Addresses that authorization policies give away, by name.
	Pool map[string]*Pool `toml:"pool" key:"NAME"`
	// Where names are looked up.
	DNS DNS `toml:"dns"`
	// Lists of prefixes that authorization policies tell their peers of.
	AccessList map[string]*AccessList `toml:"access-list" key:"NAME"`
	// Lists of prefixes for BGP and for what peers of IKEv2 may send, by name.
	PrefixList map[string]*PrefixList `toml:"prefix-list" key:"NAME"`
	// Lists of AS paths for route maps, by name.
	ASPathList map[string]*ASPathList `toml:"as-path-list" key:"NAME"`
	// Lists of communities for route maps, by name.
	CommunityList map[string]*CommunityList `toml:"community-list" key:"NAME"`
	// What is done with BGP's routes, by name.
	RouteMap map[string]*RouteMap `toml:"route-map" key:"NAME"`
	// Objects that are up or down, by number: hosts, interfaces, routes, and combinations of them.
	Track map[int]*Track `toml:"track" key:"NUMBER"`
	// Bidirectional forwarding detection, beside what interfaces say.
	BFD BFDSettings `toml:"bfd"`
	// Static routes, in file order.
	Route []*Route `toml:"route"`
	// The BGP speaker. There is none without this table.
	BGP *BGP `toml:"bgp"`

	src *source // where each key was read; not part of the value
}

// VRF is a routing table of its own.
type VRF struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description" example:"\"towards the provider\""`
	// Route distinguisher: `ASN:NUMBER` or `ADDRESS:NUMBER`. It is shown with the VRF's BGP table, and tells VRFs apart.
	RD string `toml:"rd" example:"\"65000:7\""`
}

// DefaultVRF is the routing table that always exists.
const DefaultVRF = "default"

// Logging says where log lines go.
type Logging struct {
	// Size of the ring that `show logging` prints.
	Buffered int `toml:"buffered" default:"262144" unit:"bytes" range:"4096..67108864"`
	// The least severe message that the serial console prints by itself.
	Console LogLevel `toml:"console" default:"debugging"`
	// The least severe message that the ring keeps.
	Level LogLevel `toml:"level" default:"debugging"`
	// Write a line when a crypto session comes or goes (IOS: `crypto logging session`).
	Session bool `toml:"session"`
}

// Lab holds what only a laboratory may switch on.
type Lab struct {
	// Write the keys of every IKE and Child SA, so that captures can be decrypted: `true` for the console's own place
	// for it, or the path of a file. Everybody who reads that file reads the traffic.
	KeyLog KeyLog `toml:"key-log" example:"\"/var/lab/keys.txt\""`
}

// Route is one static route.
type Route struct {
	// The destination. Bits behind the prefix length must be zero.
	Prefix netip.Prefix `toml:"prefix" required:"true" example:"\"0.0.0.0/0\""`
	// Address of the next hop; it may be reached through another route.
	Via netip.Addr `toml:"via" example:"\"172.16.3.254\""`
	// Interface that leads to the destination, with or without `via`.
	Interface string `toml:"interface" ref:"interface" example:"\"Tunnel0\""`
	// Drop what matches (`Null0`).
	Discard bool `toml:"discard"`
	// Administrative distance: the lowest wins among sources of the same prefix. 255 is never used.
	Distance uint8 `toml:"distance" default:"1" range:"1..255"`
	// Tag that travels with the route.
	Tag uint32 `toml:"tag"`
	// What the route is for.
	Name string `toml:"name" example:"\"the internet\""`
	// The routing table that the route belongs to.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// The route is used while this object is up.
	Track int `toml:"track" ref:"track" range:"1..1000" example:"1"`
	// The route is used while a BFD session with `via` is up.
	BFD bool `toml:"bfd"`
}
