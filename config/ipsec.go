package config

import "time"

// IPsec holds the objects of IOS's `crypto ipsec`.
type IPsec struct {
	// Algorithms and mode, by name.
	TransformSet map[string]*TransformSet `toml:"transform-set" key:"NAME"`
	// What `protection` names.
	Profile map[string]*IPsecProfile `toml:"profile" key:"NAME"`
}

// TransformSet is how packets are protected.
type TransformSet struct {
	Name string `toml:"-"`
	// A GCM cipher alone, or a CBC cipher and the hash of its integrity check.
	ESP ESP `toml:"esp" required:"true" example:"[\"aes-cbc-256\", \"sha256\"]"`
	// `tunnel` adds an IP header inside; `transport` does without (right for GRE) and takes tunnel mode from a peer that
	// wants it, `transport require` does not.
	Mode IPsecMode `toml:"mode" default:"tunnel"`
}

// ESP is a cipher and its integrity check.
type ESP struct {
	Encryption Encryption
	Integrity  Hash // empty with GCM
}

// String is the TOML form's words: "aes-cbc-256 sha256".
func (e ESP) String() string {
	if e.Integrity == "" {
		return string(e.Encryption)
	}
	return string(e.Encryption) + " " + string(e.Integrity)
}

// IPsecMode is the mode of an ESP SA.
type IPsecMode string

const (
	ModeTunnel           IPsecMode = "tunnel"
	ModeTransport        IPsecMode = "transport"
	ModeTransportRequire IPsecMode = "transport require"
)

// Values lists what may be written.
func (IPsecMode) Values() []string {
	return []string{string(ModeTunnel), string(ModeTransport), string(ModeTransportRequire)}
}

// IPsecProfile is a tunnel's protection.
type IPsecProfile struct {
	Name string `toml:"-"`
	// Free text.
	Description string `toml:"description"`
	// Transform sets in order of preference; the smart defaults when none is given.
	TransformSet []string `toml:"transform-set" ref:"ipsec.transform-set" example:"[\"T-SET\"]"`
	// The IKEv2 profile that negotiates.
	IKEv2Profile string `toml:"ikev2-profile" required:"true" ref:"ikev2.profile" example:"\"IKEV2-PROF\""`
	// Perfect forward secrecy: a Diffie-Hellman exchange of this group for each Child SA after the first; 0 does without.
	PFS Group `toml:"pfs" default:"0" example:"19"`
	// When a Child SA is replaced.
	Lifetime SALifetime `toml:"lifetime" layout:"inline"`
	// Delete SAs that have carried no data for this long; 0 keeps them.
	IdleTime time.Duration `toml:"idle-time" default:"0s" range:"0s,1s..24h" example:"120"`
	// Replay protection.
	Replay Replay `toml:"replay" layout:"inline"`
	// Never begin: wait for the peer to negotiate.
	ResponderOnly bool `toml:"responder-only"`
	// Offer extended (64-bit) sequence numbers first.
	ESN bool `toml:"esn"`
}

// SALifetime is how long a Child SA lives.
type SALifetime struct {
	// In time.
	Seconds time.Duration `toml:"seconds" default:"1h" range:"10s..720h"`
	// In traffic; 0 is no limit.
	Kilobytes uint64 `toml:"kilobytes" default:"4608000" unit:"kilobytes" range:"0,100..4294967295"`
}

// Replay is the anti-replay window.
type Replay struct {
	// Width of the window; 0 switches replay protection off.
	WindowSize int `toml:"window-size" default:"1024" unit:"packets" range:"0,64..65536"`
}
