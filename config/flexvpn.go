package config

import (
	"net/netip"
	"time"
)

// FlexClient is a client block: it finds a hub for the one tunnel that is bound to it (IOS: `crypto ikev2 client flexvpn`).
type FlexClient struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// Hubs in order of preference.
	Peer []*FlexPeer `toml:"peer" layout:"inline" required:"true" example:"[{ address = \"172.25.1.1\" }, { fqdn = \"hub2.example.com\" }]"`
	// The tunnel that is connected. It has `destination = "dynamic"`, and no other block names it.
	ClientConnect string `toml:"client-connect" required:"true" ref:"interface" example:"\"Tunnel1\""`
	// When the tunnel is connected: always (`auto`), when the operator says so (`manual`), or while a tracked object is in a state.
	Connect ClientMode `toml:"connect" layout:"inline" example:"{ track = 10, state = \"down\" }"`
	// Where the session may come from: the first whose line protocol and track are up. It needs `source = "dynamic"` on the tunnel.
	Source []*FlexSource `toml:"source" layout:"inline" example:"[{ interface = \"GigabitEthernet1\" }, { interface = \"GigabitEthernet2\" }]"`
	// Go back to a better peer when it is there again: when its track goes up, or without a track when it answers IKE.
	PeerReactivate bool `toml:"peer-reactivate"`
	// How often a better peer without a track is asked whether it is there again.
	ReactivateInterval time.Duration `toml:"reactivate-interval" default:"30s" range:"1s..1h"`
	// Blocks of one group never use the same peer at once.
	BackupGroup string `toml:"backup-group" example:"\"A\""`
	// Dial backup: this tunnel is up while the client has no session, and only then.
	BackupInterface string `toml:"backup-interface" ref:"interface" example:"\"Tunnel2\""`
}

// FlexPeer is one hub of a client block: by address or by name.
type FlexPeer struct {
	// Place in the list; 1 more than the one before when not given. The lowest is the best.
	Seq uint32 `toml:"seq" range:"1..65535" example:"1"`
	// Its address.
	Address netip.Addr `toml:"address" example:"\"172.25.1.1\""`
	// Its name, which `[dns]` finds the addresses of.
	FQDN string `toml:"fqdn" example:"\"hub2.example.com\""`
	// The family of addresses to ask for; that of the tunnel's outer packets when not given.
	Family AddressFamily `toml:"family" example:"\"ipv4\""`
	// The peer is used only while this object is in `track-state`.
	Track int `toml:"track" ref:"track" range:"1..1000" example:"1"`
	// The state that counts.
	TrackState TrackState `toml:"track-state" default:"up"`
}

// OrderedPeers lists the peers by sequence number, each with its number.
func (c *FlexClient) OrderedPeers() []FlexPeer {
	return ordered(c.Peer, 1, func(p *FlexPeer) *uint32 { return &p.Seq })
}

// FlexSource is one place that a client's session may come from.
type FlexSource struct {
	// Place in the list; 1 more than the one before when not given. The lowest is the best.
	Seq uint32 `toml:"seq" range:"1..65535" example:"1"`
	// The interface.
	Interface string `toml:"interface" required:"true" ref:"interface" example:"\"GigabitEthernet1\""`
	// It is used only while this object is up.
	Track int `toml:"track" ref:"track" range:"1..1000" example:"3"`
}

// OrderedSources lists the sources by sequence number, each with its number.
func (c *FlexClient) OrderedSources() []FlexSource {
	return ordered(c.Source, 1, func(s *FlexSource) *uint32 { return &s.Seq })
}

// ClientMode is a word, or a table with a track.
type ClientMode struct {
	// When: see above. A track alone means `track`.
	Mode ConnectMode `toml:"mode" default:"auto"`
	// The object.
	Track int `toml:"track" ref:"track" range:"1..1000" example:"10"`
	// The state in which the tunnel is connected.
	State TrackState `toml:"state" default:"up"`
}

func (ClientMode) short() string { return "Mode" }

func (m *ClientMode) settle() {
	if m.Track != 0 && m.Mode == ConnectAuto {
		m.Mode = ConnectTrack
	}
}

// ConnectMode is when a client connects.
type ConnectMode string

const (
	ConnectAuto   ConnectMode = "auto"
	ConnectManual ConnectMode = "manual"
	ConnectTrack  ConnectMode = "track"
)

// Values lists what may be written.
func (ConnectMode) Values() []string {
	return []string{string(ConnectAuto), string(ConnectManual), string(ConnectTrack)}
}

// ClientOf is the block that a tunnel is bound to, or nil.
func (k *IKEv2) ClientOf(tunnel string) *FlexClient {
	var found *FlexClient
	for _, c := range k.Client {
		if c.ClientConnect == tunnel && tunnel != "" && (found == nil || compareNatural(c.Name, found.Name) < 0) {
			found = c
		}
	}
	return found
}

// IKECluster is a group of hubs that share their clients by load (IOS: `crypto ikev2 cluster`). Spokes call its address; the
// elected master, who owns it, redirects them to the hub with the least load (RFC 5685).
type IKECluster struct {
	// The address that spokes call.
	Address netip.Addr `toml:"address" required:"true" example:"\"172.25.1.100\""`
	// The interface on whose subnet it is.
	Interface string `toml:"interface" required:"true" ref:"interface" example:"\"GigabitEthernet1\""`
	// The highest becomes master.
	Priority uint8 `toml:"priority" default:"100" range:"1..254"`
	// How often members tell each other of their load.
	Hello time.Duration `toml:"hello" default:"1s" range:"100ms..1m"`
	// A member that is silent for this long is gone.
	Hold time.Duration `toml:"hold" default:"3s" range:"300ms..5m"`
	// UDP port of the members' messages.
	Port uint16 `toml:"port" default:"2012" range:"1024..65535"`
	// Take the address back from a member of lower priority.
	Preempt bool `toml:"preempt" default:"true"`
	// The key that the members' messages are signed with (HMAC-SHA-256).
	Key Secret `toml:"key" required:"true" example:"{ file = \"cluster-key.txt\" }"`
	// The other members' addresses.
	Member []netip.Addr `toml:"member" required:"true" example:"[\"172.25.1.2\", \"172.25.1.3\"]"`
	// How many sessions this hub may have; 0 is no limit.
	MaxSessions int `toml:"max-sessions" default:"1000" range:"0..1000000"`
	// This hub's share of the sessions, compared with the others'.
	Weight int `toml:"weight" default:"100" range:"1..1000"`
	// At this part of `max-sessions` the hub takes no more clients.
	OverloadLimit int `toml:"overload-limit" default:"100" unit:"per cent" range:"50..100"`
	// Where clients that are sent to this hub call it; the interface's own address when not given.
	RedirectTo netip.Addr `toml:"redirect-to" example:"\"172.25.1.1\""`
}
