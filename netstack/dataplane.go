package netstack

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/frag"
	"felloe/netstack/packet"

	"github.com/rs/zerolog"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// DefaultVRF is the name of the VRF that always exists.
const DefaultVRF = "default"

var (
	ErrExists    = errors.New("already exists")
	ErrNotFound  = errors.New("does not exist")
	ErrInUse     = errors.New("is in use")
	ErrClosed    = errors.New("data plane is closed")
	ErrNoRoute   = errors.New("no route to the destination")
	ErrNoSource  = errors.New("no local address to send from")
	ErrMalformed = errors.New("packet is malformed")
	ErrTooLong   = errors.New("packet is too long")
)

// Options of a data plane.
type Options struct {
	Clock clock.Clock // nil means clock.Real
	Log   zerolog.Logger
	// QuietStates leaves the changes of line protocols to whoever follows them with OnState.
	QuietStates bool
	Rand        io.Reader // nil means crypto/rand
	// Punt is what the data plane hands to the control plane. It runs on data workers and must not block; it owns
	// Punt.Packet.
	Punt func(Punt)
	// WrapHost may wrap the link endpoint of a VRF's host stack, to sign and verify TCP segments for instance.
	WrapHost func(vrf string, ep stack.LinkEndpoint) stack.LinkEndpoint
	// Reassembly bounds the fragments that wait. Zero fields have defaults.
	Reassembly frag.Limits
	// ICMPRate is how many ICMP errors a second the router sends at most; 0 means 1,000.
	ICMPRate int
}

// Dataplane is the forwarding part of one router. All methods are safe for concurrent use.
type Dataplane struct {
	clock clock.Clock
	log   zerolog.Logger
	rand  io.Reader
	opts  Options

	mu      sync.Mutex // configuration
	closed  atomic.Bool
	names   map[string]*Interface
	vrfs    map[string]*VRF
	ifaces  ifaceTable
	vrfByID atomic.Pointer[[]*VRF]
	// ethers are the Ethernet interfaces; followers the tunnels by the name of their source interface; claims the tunnels
	// that want to be found by a key of clear GRE, the first of which is.
	ethers    atomic.Pointer[[]*Interface]
	followers map[string]map[*Tunnel]struct{}
	claims    map[clearKey][]*Tunnel

	sas      cow[uint32, *inbound]
	clear    cow[clearKey, *Tunnel]  // tunnels by what clear GRE looks like
	outer    cow[outerKey, *Session] // sessions by what their outer packets look like, for path MTU
	sessions atomic.Uint64           // last SessionID
	frags    *frag.Table
	fragTime clock.Timer
	fragging atomic.Bool

	icmp       *bucket
	redirects  pairLimiter
	noNeigh    pairLimiter
	unknownSPI pairLimiter
	quotes     *bucket
	errorLog   *bucket
	ipID       atomic.Uint32
	workers    sync.Pool
	drops      dropCounters
	stats      Stats
	mtuGen     atomic.Uint64 // changes when the MTU of any tunnel may have changed
	nested     atomic.Bool   // some tunnel was seen to run inside another one
}

// Stats are counters of what is neither forwarded nor dropped.
type Stats struct {
	Punts, PuntsLimited       atomic.Uint64
	Reassembled, Fragmented   atomic.Uint64
	ICMPErrors, ICMPLimited   atomic.Uint64
	Keepalives, Panics        atomic.Uint64
	ToHost, FromHost, Handled atomic.Uint64
}

// New makes a data plane with the VRF "default".
func New(o Options) *Dataplane {
	if o.Clock == nil {
		o.Clock = clock.Real
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Punt == nil {
		o.Punt = func(p Punt) {
			if p.Packet != nil {
				p.Packet.Release()
			}
		}
	}
	if o.ICMPRate == 0 {
		o.ICMPRate = 1000
	}
	d := &Dataplane{
		clock: o.Clock, log: o.Log, rand: o.Rand, opts: o,
		names: map[string]*Interface{}, vrfs: map[string]*VRF{}, followers: map[string]map[*Tunnel]struct{}{}, claims: map[clearKey][]*Tunnel{},
		icmp: newBucket(o.ICMPRate, max(o.ICMPRate/5, 10)), errorLog: newBucket(10, 10), quotes: newBucket(10, 10),
	}
	d.sas.hash = hashUint32
	d.clear.hash = func(k clearKey) uint32 { return hashAddr(k.local) ^ hashAddr(k.remote)*31 ^ k.key*0x9e3779b1>>16 }
	d.outer.hash = func(k outerKey) uint32 { return hashAddr(k.remote) ^ hashUint32(k.id+k.vrf) }
	d.redirects.bucket = newBucket(1000, 200)
	d.noNeigh.bucket = newBucket(1000, 200)
	d.unknownSPI.bucket = newBucket(100, 20)
	d.ethers.Store(&[]*Interface{})
	d.vrfByID.Store(&[]*VRF{})
	d.frags = frag.New(o.Reassembly, func(p *packet.Packet, _ error) { d.count(p, dropReassembly) })
	d.fragTime = d.clock.AfterFunc(time.Hour, d.expireFragments)
	d.fragTime.Stop()
	d.workers.New = func() any { return &worker{d: d} }
	var seed [4]byte
	_, _ = io.ReadFull(o.Rand, seed[:])
	d.ipID.Store(binary.BigEndian.Uint32(seed[:]))
	if _, err := d.AddVRF(DefaultVRF); err != nil {
		panic(err) // the first VRF of an empty data plane cannot exist
	}
	return d
}

// Close removes all interfaces and ends the host stacks.
func (d *Dataplane) Close() {
	if d.closed.Swap(true) {
		return
	}
	for _, i := range d.Interfaces() {
		_ = d.RemoveInterface(i)
	}
	d.fragTime.Stop()
	d.frags.Expire(d.clock.Now().Add(24 * time.Hour))
	for _, v := range d.VRFs() {
		v.close()
	}
}

// Stats are the data plane's counters.
func (d *Dataplane) Stats() *Stats { return &d.stats }

// Clock is the data plane's clock.
func (d *Dataplane) Clock() clock.Clock { return d.clock }

// Drops counts the packets that ended here, by reason.
func (d *Dataplane) Drops() map[string]uint64 { return d.drops.snapshot() }

// AddVRF makes a VRF.
func (d *Dataplane) AddVRF(name string) (*VRF, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil, ErrClosed
	}
	if _, ok := d.vrfs[name]; ok {
		return nil, fmt.Errorf("vrf %q: %w", name, ErrExists)
	}
	ids := *d.vrfByID.Load()
	v, err := newVRF(d, name, uint32(len(ids)))
	if err != nil {
		return nil, err
	}
	ids = append(slices.Clone(ids), v)
	d.vrfByID.Store(&ids)
	d.vrfs[name] = v
	return v, nil
}

// VRF finds a VRF by name.
func (d *Dataplane) VRF(name string) (*VRF, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.vrfs[name]
	return v, ok
}

// Default is the VRF that always exists.
func (d *Dataplane) Default() *VRF { return (*d.vrfByID.Load())[0] }

// RemoveVRF ends a VRF that no interface uses.
func (d *Dataplane) RemoveVRF(name string) error {
	if name == DefaultVRF {
		return fmt.Errorf("vrf %q: %w", name, ErrInUse)
	}
	d.mu.Lock()
	v, ok := d.vrfs[name]
	if !ok {
		d.mu.Unlock()
		return fmt.Errorf("vrf %q: %w", name, ErrNotFound)
	}
	if v.uses.Load() > 0 {
		user := "an interface"
		for _, i := range d.names {
			if i.vrf == v || i.tunnel != nil && i.tunnel.cfg.Underlay == v {
				user = "interface " + i.name
				break
			}
		}
		d.mu.Unlock()
		return fmt.Errorf("vrf %q: %s: %w", name, user, ErrInUse)
	}
	delete(d.vrfs, name)
	ids := slices.Clone(*d.vrfByID.Load())
	ids[v.id] = nil
	d.vrfByID.Store(&ids)
	d.mu.Unlock()
	v.close()
	return nil
}

// VRFs lists the VRFs by their age.
func (d *Dataplane) VRFs() []*VRF {
	return slices.DeleteFunc(slices.Clone(*d.vrfByID.Load()), func(v *VRF) bool { return v == nil })
}

func (d *Dataplane) vrf(id uint32) *VRF {
	if all := *d.vrfByID.Load(); int(id) < len(all) {
		return all[id]
	}
	return nil
}

// Interface finds an interface by name.
func (d *Dataplane) Interface(name string) (*Interface, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.names[name]
	return i, ok
}

// InterfaceByIndex finds an interface by index.
func (d *Dataplane) InterfaceByIndex(index uint32) (*Interface, bool) {
	i := d.iface(index)
	return i, i != nil
}

func (d *Dataplane) iface(index uint32) *Interface { return d.ifaces.get(index) }

// register gives the interface its index and makes it known.
func (d *Dataplane) register(i *Interface) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	if _, ok := d.names[i.name]; ok {
		return fmt.Errorf("interface %s: %w", i.name, ErrExists)
	}
	d.ifaces.add(i)
	d.names[i.name] = i
	if i.kind == Ethernet {
		listed(&d.ethers, i, true)
	}
	if t := i.tunnel; t != nil && t.cfg.SourceInterface != "" {
		if d.followers[t.cfg.SourceInterface] == nil {
			d.followers[t.cfg.SourceInterface] = map[*Tunnel]struct{}{}
		}
		d.followers[t.cfg.SourceInterface][t] = struct{}{}
	}
	i.vrf.uses.Add(1)
	if i.tunnel != nil {
		i.tunnel.cfg.Underlay.uses.Add(1)
	}
	return nil
}

// RemoveInterface takes an interface out of service and forgets it. Its index is not used again.
func (d *Dataplane) RemoveInterface(i *Interface) error {
	d.mu.Lock()
	if d.names[i.name] != i {
		d.mu.Unlock()
		return fmt.Errorf("interface %s: %w", i.name, ErrNotFound)
	}
	delete(d.names, i.name)
	d.mu.Unlock()
	i.SetAdminUp(false)
	i.SetUnnumbered(nil)
	i.SetAddresses(nil)
	d.mu.Lock()
	d.ifaces.remove(i)
	if i.kind == Ethernet {
		listed(&d.ethers, i, false)
	}
	if t := i.tunnel; t != nil && t.cfg.SourceInterface != "" {
		delete(d.followers[t.cfg.SourceInterface], t)
		if len(d.followers[t.cfg.SourceInterface]) == 0 {
			delete(d.followers, t.cfg.SourceInterface)
		}
	}
	d.mu.Unlock()
	i.close()
	i.vrf.uses.Add(-1)
	if i.tunnel != nil {
		i.tunnel.cfg.Underlay.uses.Add(-1)
	}
	return nil
}

// count notes a drop for the reason, at the packet's ingress interface too.
func (d *Dataplane) count(p *packet.Packet, why drop) {
	d.drops[why].Add(1)
	if i := d.iface(p.Ingress); i != nil {
		i.drops[why].Add(1)
	}
}

// drop counts and releases.
func (d *Dataplane) drop(p *packet.Packet, why drop) {
	d.count(p, why)
	p.Release()
}

func (d *Dataplane) dropAll(v []*packet.Packet, why drop) {
	for i, p := range v {
		if p != nil {
			d.drop(p, why)
			v[i] = nil
		}
	}
}

// contained notes a panic that cost one packet. The packet itself is left to the garbage collector: who panicked with
// it may have released it.
func (d *Dataplane) contained(stage string, cause any) {
	d.drops[dropPanic].Add(1)
	d.stats.Panics.Add(1)
	if d.errorLog.allow(d.clock.Now()) {
		d.log.Error().Str("event", "panic").Str("work", stage).Interface("cause", cause).
			Bytes("stack", debug.Stack()).Msg("contained a panic: one packet is lost")
	}
}

// guard ends a panic of the work that it is deferred in.
func (d *Dataplane) guard(work string) {
	if cause := recover(); cause != nil {
		d.contained(work, cause)
	}
}

func (d *Dataplane) expireFragments() {
	defer d.guard("reassembly timer")
	if d.frags.Expire(d.clock.Now()) && !d.closed.Load() {
		d.fragTime.Reset(time.Second)
		return
	}
	d.fragging.Store(false)
}

// inbound is an SA that may receive, with its session and what may come in on it (nil: anything).
type inbound struct {
	sa      *esp.Inbound
	session *Session
	sel     *Selectors
}

// AddInbound lets packets in on an SA; they belong to session s from then on.
func (d *Dataplane) AddInbound(in *esp.Inbound, s *Session) error {
	return d.AddInboundFor(in, s, nil)
}

// AddInboundFor is AddInbound for an SA that was negotiated for some packets only: what else comes out of it is dropped
// (RFC 4301 §5.2). It counts for a VTI; a GRE tunnel's SA carries nothing but GRE between its ends anyway.
func (d *Dataplane) AddInboundFor(in *esp.Inbound, s *Session, sel *Selectors) error {
	if in.SPI() < 256 { // RFC 4303 §2.1
		return fmt.Errorf("spi %#x is reserved: %w", in.SPI(), ErrMalformed)
	}
	if old, ok := d.sas.get(in.SPI()); ok && old.sa != in {
		return fmt.Errorf("spi %#x: %w", in.SPI(), ErrExists)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return fmt.Errorf("spi %#x: session to %v: %w", in.SPI(), s.NBMA(), ErrClosed)
	}
	in.SetOwner(s)
	s.spis[in.SPI()] = struct{}{}
	d.sas.set(in.SPI(), &inbound{in, s, sel})
	return nil
}

// RemoveInbound ends reception on an SA.
func (d *Dataplane) RemoveInbound(spi uint32) {
	if in, ok := d.sas.get(spi); ok {
		in.session.mu.Lock()
		delete(in.session.spis, spi)
		in.session.mu.Unlock()
		d.sas.remove(spi, func(x *inbound) bool { return x == in })
	}
}

// Inbound finds a receiving SA and its session.
func (d *Dataplane) Inbound(spi uint32) (*esp.Inbound, *Session, bool) {
	if in, ok := d.sas.get(spi); ok {
		return in.sa, in.session, true
	}
	return nil, nil, false
}

// clearKey is what identifies a tunnel from a clear GRE packet.
type clearKey struct {
	vrf           uint32
	local, remote netip.Addr // remote is the zero Addr for a multipoint tunnel
	key           uint32
	hasKey        bool
}

// outerKey is what identifies a session from one of its own outer packets that comes back in an ICMP error.
type outerKey struct {
	vrf    uint32
	remote netip.Addr
	id     uint32 // SPI, the peer's: two peers may have the same
}
