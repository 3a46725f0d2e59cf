package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// State is a session's, as it stands in packets (RFC 5880 §4.1).
type State uint8

const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

var stateNames = [...]string{"AdminDown", "Down", "Init", "Up"}

// Diagnostic says why a session was last down (RFC 5880 §4.1).
type Diagnostic uint8

const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

func (d Diagnostic) String() string {
	if int(d) < len(diagnosticNames) {
		return diagnosticNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

var diagnosticNames = [...]string{"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
	"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down"}

const (
	// Size is the length of a control packet without authentication.
	Size = 24
	// Port and MultihopPort are the UDP ports that control packets go to (RFC 5881 §4, RFC 5883 §5).
	Port         = 3784
	MultihopPort = 4784
	version      = 1
)

// Control is a control packet (RFC 5880 §4.1). Its fields are in the order of the wire. The bits C and D are never set by
// us, and the required minimum of echo packets, which we do not take, is 0.
type Control struct {
	Diagnostic      Diagnostic
	State           State
	Poll, Final     bool
	ControlPlane    bool // C: independent of the control plane
	Demand          bool
	Multiplier      uint8
	Mine, Yours     uint32 // discriminators
	DesiredMinTx    time.Duration
	RequiredMinRx   time.Duration
	RequiredMinEcho time.Duration
}

// What is wrong with a packet. A packet that is refused changes nothing.
var (
	ErrTTL           = errors.New("the packet has crossed a router")
	ErrShort         = errors.New("the packet is shorter than it says, or than one can be")
	ErrVersion       = errors.New("the version is not 1")
	ErrAuthenticated = errors.New("the packet is authenticated, and no authentication is in use")
	ErrField         = errors.New("a field has a value that it must not have")
	ErrUnknown       = errors.New("no session has the discriminator, or none is with this neighbour")
	ErrMismatch      = errors.New("the session with this discriminator is with somebody else")
	ErrFull          = errors.New("too many neighbours began sessions that we answer")
)

// Append adds the packet's bytes.
func (c *Control) Append(b []byte) []byte {
	flags := byte(c.State) << 6
	for _, f := range []struct {
		on  bool
		bit byte
	}{{c.Poll, 1 << 5}, {c.Final, 1 << 4}, {c.ControlPlane, 1 << 3}, {c.Demand, 1 << 1}} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(c.Diagnostic)&31, flags, c.Multiplier, Size)
	b = binary.BigEndian.AppendUint32(b, c.Mine)
	b = binary.BigEndian.AppendUint32(b, c.Yours)
	for _, d := range [...]time.Duration{c.DesiredMinTx, c.RequiredMinRx, c.RequiredMinEcho} {
		b = binary.BigEndian.AppendUint32(b, uint32(d/time.Microsecond))
	}
	return b
}

// Parse reads a packet and applies what RFC 5880 §6.8.6 says of one that nobody has looked up a session for. Bytes behind
// the packet's own length are ignored.
func Parse(b []byte) (Control, error) {
	var c Control
	switch {
	case len(b) < Size:
		return c, ErrShort
	case b[0]>>5 != version:
		return c, ErrVersion
	case b[3] < Size || int(b[3]) > len(b):
		return c, ErrShort
	case b[1]&(1<<2) != 0:
		return c, ErrAuthenticated
	}
	us := func(at int) time.Duration { return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Microsecond }
	c = Control{Diagnostic: Diagnostic(b[0] & 31), State: State(b[1] >> 6), Poll: b[1]&(1<<5) != 0, Final: b[1]&(1<<4) != 0,
		ControlPlane: b[1]&(1<<3) != 0, Demand: b[1]&(1<<1) != 0, Multiplier: b[2], Mine: binary.BigEndian.Uint32(b[4:]),
		Yours: binary.BigEndian.Uint32(b[8:]), DesiredMinTx: us(12), RequiredMinRx: us(16), RequiredMinEcho: us(20)}
	switch {
	case c.Multiplier == 0, b[1]&1 != 0, c.Mine == 0, c.Poll && c.Final, c.Yours == 0 && c.State > Down:
		return c, ErrField
	}
	return c, nil
}
