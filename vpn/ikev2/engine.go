package ikev2

import (
	"io"
	"net/netip"
	"time"
)

// Datagram is a UDP datagram of IKE. Data is without the non-ESP marker; Local has port 500 or 4500.
type Datagram struct {
	VRF           string
	Local, Remote netip.AddrPort
	Data          []byte
}

// InitiateRequest asks for an IKE SA with its first Child SA.
type InitiateRequest struct {
	VRF           string // front VRF; empty: "default"
	Local, Remote netip.Addr
	Port          uint16 // remote port, default 500
	Profile       string // IKE profile
	Child         string // name of the ChildPolicy
	Tag           any    // comes back in the actions
}

// Engine is all IKE SAs of one router. It is not safe for concurrent use: it runs on the control loop.
type Engine struct {
	cfg  Config
	rand io.Reader
}

// NewEngine makes an engine; rand is its only source of randomness.
func NewEngine(cfg Config, rand io.Reader) *Engine { return &Engine{cfg: cfg, rand: rand} }

// SetConfig changes what new exchanges may do. Running SAs stay; they take the new configuration when they rekey.
func (e *Engine) SetConfig(cfg Config) { e.cfg = cfg }

// Receive takes a datagram. Data may be reused by the caller afterwards.
func (e *Engine) Receive(now time.Time, d Datagram) []Action { return nil }

// Initiate begins an IKE SA. The SAID is 0 when it cannot even begin; the actions then hold an IKEDown that says why.
func (e *Engine) Initiate(now time.Time, r InitiateRequest) (SAID, []Action) { return 0, nil }

// Tick does what is due. Deadline says when it wants to be called next; it changes with every call of the others.
func (e *Engine) Tick(now time.Time) []Action { return nil }
func (e *Engine) Deadline() (time.Time, bool) { return time.Time{}, false }

// CreateChild asks for another Child SA under an IKE SA.
func (e *Engine) CreateChild(now time.Time, id SAID, policy string, tag any) []Action { return nil }

// RekeyIKE and RekeyChild replace keys now; RekeyChild is what a soft limit of volume calls.
func (e *Engine) RekeyIKE(now time.Time, id SAID) []Action      { return nil }
func (e *Engine) RekeyChild(now time.Time, id ChildID) []Action { return nil }

// DeleteIKE, DeleteChild and DeleteAll tell the peer; the Down actions come at once.
func (e *Engine) DeleteIKE(now time.Time, id SAID, reason string) []Action      { return nil }
func (e *Engine) DeleteChild(now time.Time, id ChildID, reason string) []Action { return nil }
func (e *Engine) DeleteAll(now time.Time, reason string) []Action               { return nil }

// Probe asks the peer whether it is alive, now.
func (e *Engine) Probe(now time.Time, id SAID) []Action { return nil }

// NoteTraffic tells of packets of the SA's children since the last note: received ones prove that the peer lives, sent
// ones are what on-demand DPD waits for. Once a second while there is traffic is enough.
func (e *Engine) NoteTraffic(now time.Time, id SAID, received, sent bool) []Action { return nil }

// NoteMoved tells that an authentic ESP packet of the SA's came from a new address (RFC 7296 §2.23).
func (e *Engine) NoteMoved(now time.Time, id SAID, remote netip.AddrPort) []Action { return nil }

// UnknownSPI tells of an ESP packet for no SA of ours: INVALID_SPI goes out inside an IKE SA with that peer, if there
// is one (RFC 7296 §1.5).
func (e *Engine) UnknownSPI(now time.Time, vrf string, local, remote netip.Addr, spi uint32) []Action {
	return nil
}

// DropSA forgets an SA without a word, after a panic in its code. Nothing is sent and no action is made.
func (e *Engine) DropSA(id SAID) {}

// Snapshot is all IKE SAs, in the order of their SAID.
func (e *Engine) Snapshot(now time.Time) []SAInfo { return nil }

// Counters are the counts since the beginning.
func (e *Engine) Counters() Counters { return Counters{} }
