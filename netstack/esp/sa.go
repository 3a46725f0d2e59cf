package esp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
)

var (
	// ErrSequenceExhausted says that the SA has sent its last sequence number: it must be replaced.
	ErrSequenceExhausted = errors.New("esp: sequence numbers are exhausted")
	// ErrHardLimit says that the SA has carried as much as it may.
	ErrHardLimit = errors.New("esp: hard limit is reached")
	// ErrNoRoom says that the packet's buffer has no room for header or trailer.
	ErrNoRoom = errors.New("esp: no room in the buffer")
	// ErrReplay says that the sequence number was seen already or is older than the window.
	ErrReplay = errors.New("esp: packet is a replay or too old")
	// ErrAuth says that the integrity check failed.
	ErrAuth = errors.New("esp: integrity check failed")
	// ErrTruncated says that the bytes cannot be a packet of this SA: too short, or no whole number of blocks.
	ErrTruncated = errors.New("esp: packet is truncated")
	// ErrPadding says that an authentic packet has padding other than RFC 4303 §2.4 prescribes.
	ErrPadding = errors.New("esp: padding is wrong")
)

const (
	headerLen    = 8 // SPI and sequence number
	trailerLen   = 2 // pad length and next header
	udpHeaderLen = 8

	// DefaultWindow is the replay window in packets when Params leave it open.
	DefaultWindow = 1024
	// MinWindow and MaxWindow bound the replay window.
	MinWindow = 64
	MaxWindow = 1 << 20
)

// Params is what an SA is made of.
type Params struct {
	SPI   uint32
	Suite Suite
	Mode  Mode
	// EncrKey has Suite.EncrKeyLen bytes, IntegKey Suite.IntegKeyLen. Both are copied.
	EncrKey, IntegKey []byte
	ESN               bool
	// Window is the replay window in packets: 0 means DefaultWindow, negative means none (never with ESN).
	Window int
	// Local and Remote are the outer addresses; the ports count only with UDPEncap.
	Local, Remote netip.AddrPort
	UDPEncap      bool
	// Rand is the source of the key that makes CBC's IVs; nil means crypto/rand.
	Rand io.Reader
}

func (p *Params) check() error {
	if err := p.Suite.Check(); err != nil {
		return err
	}
	switch {
	case p.SPI < 256:
		// RFC 4303 §2.1: 0 is local use, 1 to 255 are reserved.
		return fmt.Errorf("esp: SPI %#x is reserved (use 0x100 and above)", p.SPI)
	case len(p.EncrKey) != p.Suite.EncrKeyLen():
		return fmt.Errorf("esp: %s: encryption key of %d bytes, must be %d", p.Suite, len(p.EncrKey), p.Suite.EncrKeyLen())
	case len(p.IntegKey) != p.Suite.IntegKeyLen():
		return fmt.Errorf("esp: %s: integrity key of %d bytes, must be %d", p.Suite, len(p.IntegKey), p.Suite.IntegKeyLen())
	case p.Mode != Transport && p.Mode != Tunnel:
		return fmt.Errorf("esp: mode %d is neither transport (1) nor tunnel (2)", p.Mode)
	case p.UDPEncap && (p.Local.Port() == 0 || p.Remote.Port() == 0):
		return errors.New("esp: UDP encapsulation needs the ports of both ends")
	case p.Window < 0 && p.ESN:
		return errors.New("esp: extended sequence numbers need a replay window")
	case p.Window > MaxWindow:
		return fmt.Errorf("esp: replay window of %d packets (at most %d)", p.Window, MaxWindow)
	}
	if p.Rand == nil {
		p.Rand = rand.Reader
	}
	return nil
}

// common is what both directions of an SA have.
type common struct {
	transform
	spi  uint32
	mode Mode
	ends atomic.Pointer[Ends]

	packets, bytes atomic.Uint64
	soft           atomic.Pointer[limit]
}

// Ends are where an SA's packets come from and go to, and whether they travel in UDP. They change with MOBIKE, and with
// a NAT that appears.
type Ends struct {
	Local, Remote netip.AddrPort
	UDPEncap      bool
}

// limit is a soft limit: f runs once.
type limit struct {
	packets, bytes uint64
	f              func()
	fired          atomic.Bool
}

func (c *common) init(p Params) error {
	c.spi, c.mode = p.SPI, p.Mode
	c.ends.Store(&Ends{p.Local, p.Remote, p.UDPEncap})
	return c.transform.init(p)
}

// SPI is the security parameter index.
func (c *common) SPI() uint32 { return c.spi }

// Suite is how the SA protects packets.
func (c *common) Suite() Suite { return c.suite }

// Packets is how many packets the SA has carried.
func (c *common) Packets() uint64 { return c.packets.Load() }

// Mode is transport or tunnel.
func (c *common) Mode() Mode { return c.mode }

// ESN tells whether sequence numbers have 64 bits.
func (c *common) ESN() bool { return c.esn }

// UDPEncap tells whether the SA's packets travel in UDP.
func (c *common) UDPEncap() bool { return c.ends.Load().UDPEncap }

// Local is our outer address.
func (c *common) Local() netip.AddrPort { return c.ends.Load().Local }

// Remote is the peer's outer address.
func (c *common) Remote() netip.AddrPort { return c.ends.Load().Remote }

// Ends is a snapshot, not to be changed.
func (c *common) Ends() *Ends { return c.ends.Load() }

// SetEnds replaces all of it at once. Without ports there is no UDP encapsulation.
func (c *common) SetEnds(e Ends) {
	e.UDPEncap = e.UDPEncap && e.Local.Port() != 0 && e.Remote.Port() != 0
	c.ends.Store(&e)
}

// SetRemote follows a peer whose outer address or port changed (a NAT's new mapping, MOBIKE).
func (c *common) SetRemote(remote netip.AddrPort) { c.setEnds(func(e *Ends) { e.Remote = remote }) }

// SetLocal follows a change of our own outer address.
func (c *common) SetLocal(local netip.AddrPort) { c.setEnds(func(e *Ends) { e.Local = local }) }

func (c *common) setEnds(change func(*Ends)) {
	for {
		old := c.ends.Load()
		e := *old
		change(&e)
		if c.ends.CompareAndSwap(old, &e) {
			return
		}
	}
}

// SetSoftLimit has f called, once, by the worker whose packet crosses a limit; f must not block. 0 means no limit of
// that kind. Setting a limit that is already crossed calls f at the next packet.
func (c *common) SetSoftLimit(packets, bytes uint64, f func()) {
	if packets == 0 {
		packets = ^uint64(0)
	}
	if bytes == 0 {
		bytes = ^uint64(0)
	}
	c.soft.Store(&limit{packets: packets, bytes: bytes, f: f})
}

// account counts payloads that went through and calls the soft limit's function.
func (c *common) account(packets, bytes uint64) {
	packets, bytes = c.packets.Add(packets), c.bytes.Add(bytes)
	l := c.soft.Load()
	if l != nil && (packets >= l.packets || bytes >= l.bytes) && !l.fired.Swap(true) && l.f != nil {
		l.f()
	}
}

// Counters tell what an SA has done. Bytes are those of payloads, without ESP's own and without padding.
type Counters struct {
	Packets, Bytes uint64
	// Outbound: packets refused.
	SequenceExhausted, HardLimit, NoRoom uint64
	// Inbound: packets refused.
	Replay, Auth, Truncated, Padding uint64
}

// Errors is the sum of all refusals.
func (c Counters) Errors() uint64 {
	return c.SequenceExhausted + c.HardLimit + c.NoRoom + c.Replay + c.Auth + c.Truncated + c.Padding
}
