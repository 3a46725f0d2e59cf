package netstack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/gre"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// ErrNoSA says that a protected session has no SA to send with.
var ErrNoSA = errors.New("session has no SA")

const (
	// minPathMTU4 is the least path MTU that an ICMP error is believed: RFC 1191 §3 allows 68, which only hurts.
	minPathMTU4 = 576
	// pathMTUAge is how long a path MTU is believed before a larger one is tried (RFC 1191 §6.3).
	pathMTUAge = 10 * time.Minute
)

// SessionCounters are what crossed a session. Bytes are those of the packets inside; Data leaves out what was marked as
// control (NHRP).
type SessionCounters struct {
	TxPackets, TxBytes, RxPackets, RxBytes uint64
	TxData, RxData                         uint64
}

// Session is the far end of a tunnel: adjacencies point at it, packets remember it.
type Session struct {
	id     uint64
	tunnel *Tunnel
	adj    *adjacency // leads here

	nbma     atomic.Pointer[netip.Addr]
	sending  atomic.Pointer[sending]
	ends     atomic.Pointer[innerEnds]
	learned  atomic.Int32 // path MTU, 0 when nothing is known
	mtuCache atomic.Uint64
	closed   atomic.Bool
	pins     atomic.Int32 // what points here
	sharers  atomic.Pointer[[]*Session]

	txPackets, txBytes, rxPackets, rxBytes, txData, rxData atomic.Uint64
	noSAAt, movedAt                                        atomic.Int64

	mu      sync.Mutex
	spis    map[uint32]struct{}
	outKeys []outerKey
	age     clock.Timer
}

var _ packet.Session = (*Session)(nil)

// innerEnds are the addresses of the IP header inside an SA in tunnel mode.
type innerEnds struct{ local, remote netip.Addr }

func newSession(t *Tunnel, nbma netip.Addr) *Session {
	s := &Session{id: t.d.sessions.Add(1), tunnel: t, spis: map[uint32]struct{}{}}
	s.nbma.Store(&nbma)
	s.adj = &adjacency{iface: t.iface, always: true}
	s.adj.session.Store(s)
	return s
}

// SessionID is unique in the life of a data plane.
func (s *Session) SessionID() uint64 { return s.id }

// Tunnel of the session.
func (s *Session) Tunnel() *Tunnel { return s.tunnel }

// NBMA is the underlay address of the far end.
func (s *Session) NBMA() netip.Addr { return *s.nbma.Load() }

// SetNBMA changes it: the far end has moved.
func (s *Session) SetNBMA(a netip.Addr) {
	old := s.nbma.Swap(&a)
	if *old != a {
		s.tunnel.byNBMA.remove(*old, func(x *Session) bool { return x == s })
		s.tunnel.byNBMA.set(a, s)
		s.mtuCache.Store(0)
	}
}

// SetInner says which addresses the IP header inside an SA in tunnel mode has, when they are not the tunnel's source
// and the NBMA address: behind a NAT the far end has another address than the one that we see.
func (s *Session) SetInner(local, remote netip.Addr) { s.ends.Store(&innerEnds{local, remote}) }

func (s *Session) inner() innerEnds {
	if e := s.ends.Load(); e != nil {
		return *e
	}
	return innerEnds{s.tunnel.Source(), s.NBMA()}
}

// Counters of the session.
func (s *Session) Counters() SessionCounters {
	return SessionCounters{
		TxPackets: s.txPackets.Load(), TxBytes: s.txBytes.Load(), RxPackets: s.rxPackets.Load(), RxBytes: s.rxBytes.Load(),
		TxData: s.txData.Load(), RxData: s.rxData.Load(),
	}
}

// SetOutbound sets the SA to send with; nil takes it away. A protected session without one sends nothing.
func (s *Session) SetOutbound(o *esp.Outbound) {
	if o == nil {
		s.SetOutbounds(nil)
		return
	}
	s.SetOutbounds([]OutboundSA{{SA: o}})
}

// OutboundSA is an SA to send with and what it may carry (nil: anything).
type OutboundSA struct {
	SA        *esp.Outbound
	Selectors *Selectors
}

// sending is what a session sends on. list is nil when everything goes on first.
type sending struct {
	first *esp.Outbound
	list  []OutboundSA
}

// SetOutbounds sets the SAs to send with: a packet goes on the first whose selectors have it. The first SA stands for
// all where one must (its remote end, NHRP).
func (s *Session) SetOutbounds(list []OutboundSA) {
	s.mu.Lock()
	if s.closed.Load() {
		list = nil
	}
	var n *sending
	if len(list) > 0 {
		n = &sending{first: list[0].SA}
		if len(list) > 1 || list[0].Selectors != nil {
			n.list = slices.Clone(list)
		}
	}
	s.sending.Store(n)
	var keys []outerKey
	for _, x := range list {
		key := outerKey{s.tunnel.cfg.Underlay.id, x.SA.Remote().Addr(), x.SA.SPI()}
		keys = append(keys, key)
		// Of sessions that share an SA the first stands for all: its sharers hear of what it learns.
		if y, ok := s.tunnel.d.outer.get(key); !ok || y != s && !y.sendsOn(x.SA) {
			s.tunnel.d.outer.set(key, s)
		}
	}
	for _, key := range s.outKeys {
		if !slices.Contains(keys, key) {
			s.tunnel.d.outer.remove(key, func(x *Session) bool { return x == s })
		}
	}
	s.outKeys = keys
	s.mu.Unlock()
	s.mtuCache.Store(0)
	s.tunnel.iface.measureAnew()
	s.tunnel.state()
}

// Data is how many packets crossed the session in both directions but for control traffic.
func (s *Session) Data() uint64 { return s.txData.Load() + s.rxData.Load() }

// Outbound is the SA that the session sends with, the first when there are several, nil when there is none.
func (s *Session) Outbound() *esp.Outbound {
	if x := s.sending.Load(); x != nil {
		return x.first
	}
	return nil
}

func (s *Session) sendsOn(o *esp.Outbound) bool {
	x := s.sending.Load()
	return x != nil && (x.first == o || slices.ContainsFunc(x.list, func(y OutboundSA) bool { return y.SA == o }))
}

// Close takes the session out of service: its SAs are forgotten, nothing points at it any more.
func (s *Session) Close() {
	if s.closed.Swap(true) {
		return
	}
	s.SetOutbound(nil)
	t := s.tunnel
	s.mu.Lock()
	for spi := range s.spis {
		t.d.sas.remove(spi, func(in *inbound) bool { return in.session == s })
	}
	s.spis = map[uint32]struct{}{}
	if s.age != nil {
		s.age.Stop()
	}
	s.mu.Unlock()
	s.adj.dead.Store(true)
	s.sharers.Store(nil)
	t.byNBMA.remove(s.NBMA(), func(x *Session) bool { return x == s })
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s.id)
	if s.pins.Load() > 0 {
		t.neigh.each(func(a netip.Addr, adj *adjacency) {
			if adj.session.Load() == s {
				adj.dead.Store(true)
				t.neigh.remove(a, nil)
			}
		})
		t.def.CompareAndSwap(s, nil)
		t.glean.CompareAndSwap(s, nil)
		old := t.multicast.Load()
		list := make([]*Session, 0, len(*old))
		for _, x := range *old {
			if x != s {
				list = append(list, x)
			}
		}
		t.multicast.CompareAndSwap(old, &list)
	}
}

// Closed tells whether the session is out of service.
func (s *Session) Closed() bool { return s.closed.Load() }

// PathMTU is the largest outer packet that reaches the far end, as far as we know.
func (s *Session) PathMTU() int { return s.path(0) }

// SetPathMTU limits the outer packets; 0 takes the limit away.
func (s *Session) SetPathMTU(mtu int) {
	if mtu > 0 {
		floor := minPathMTU4
		if s.NBMA().Is6() {
			floor = ip.MinMTUv6
		}
		mtu = max(mtu, floor)
	}
	s.learned.Store(int32(mtu))
	s.mtuCache.Store(0)
	s.tunnel.iface.measureAnew()
}

// learnPathMTU believes an ICMP error for a while.
func (s *Session) learnPathMTU(mtu int) {
	if mtu >= s.path(0) {
		return
	}
	s.SetPathMTU(mtu)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return
	}
	if s.age == nil {
		s.age = s.tunnel.d.clock.AfterFunc(pathMTUAge, func() { s.SetPathMTU(0) })
	} else {
		s.age.Reset(pathMTUAge)
	}
}

// remote is the outer destination.
func (s *Session) remote() netip.Addr {
	if o := s.Outbound(); o != nil && o.Remote().Addr().IsValid() {
		return o.Remote().Addr()
	}
	return s.NBMA()
}

// path is the MTU of the underlay on the way to the far end, below so many tunnels.
func (s *Session) path(depth int) int {
	path := 1500
	to := s.remote()
	if e := s.tunnel.cfg.Underlay.fib.Lookup(to); e != nil {
		if hop := e.Select(0); hop != nil {
			if i := s.tunnel.d.iface(hop.Interface); i != nil {
				if hop.Via.IsValid() {
					to = hop.Via
				}
				path = i.mtuTo(to, depth+1)
			}
		}
	}
	if l := int(s.learned.Load()); l > 0 {
		path = min(path, l)
	}
	return path
}

// mtu is the largest packet that fits the session: the path's MTU without what the SA and the encapsulation add, or
// what "ip mtu" says when that is less.
func (s *Session) mtu() int {
	gen := s.tunnel.generation() + 1
	c := s.mtuCache.Load()
	if c>>16 == gen {
		return int(c & 0xffff)
	}
	m := s.mtuBelow(0)
	s.mtuCache.Store(gen<<16 | uint64(m))
	return m
}

func (s *Session) mtuBelow(depth int) int {
	m := s.MTUOf(s.path(depth))
	if limit := int(s.tunnel.iface.ipMTU.Load()); limit > 0 {
		m = min(m, limit)
	}
	return m
}

// mtuTo is the largest packet to a neighbour on an interface, below so many tunnels: a tunnel may lead through itself,
// until somebody notices.
func (i *Interface) mtuTo(next netip.Addr, depth int) int {
	if i.tunnel == nil {
		return i.IPMTU()
	}
	if depth > 0 && !i.d.nested.Load() {
		i.d.nested.Store(true)
	}
	if s := i.tunnel.sessionFor(next); s != nil && depth < maxHops/2 {
		return s.mtuBelow(depth)
	}
	return ip.MinMTUv6
}

// MTU is the largest packet that fits the session.
func (s *Session) MTU() int { return s.mtu() }

// MTUOf is the largest packet inside whose outer packet is at most path long, on whichever SA it goes.
func (s *Session) MTUOf(path int) int {
	x := s.sending.Load()
	if x == nil || x.list == nil {
		return s.mtuOn(s.Outbound(), path)
	}
	m := 0xffff
	for _, y := range x.list {
		m = min(m, s.mtuOn(y.SA, path))
	}
	return m
}

func (s *Session) mtuOn(o *esp.Outbound, path int) int {
	t := s.tunnel
	room := path - outerSize(s.remote())
	if o != nil {
		room = o.MaxPayload(room)
		if o.Mode() == esp.Tunnel && t.cfg.Mode != VTI {
			room -= outerSize(s.inner().remote)
		}
	} else if t.cfg.Protected {
		room -= 56
	}
	return min(max(room-t.greSize(), 68), 0xffff)
}

// limit lets something happen once in a second.
func (s *Session) limit(at *atomic.Int64, now time.Time) bool {
	old, n := at.Load(), now.UnixNano()
	return (old == 0 || n-old >= int64(punts)) && at.CompareAndSwap(old, n)
}

// run takes packets of the session that start at their GRE header.
func (s *Session) run(w *worker, v []*packet.Packet) {
	if list := s.sharers.Load(); list != nil {
		s.runShared(w, v, *list)
		return
	}
	s.decapsulate(w, v)
}

func (s *Session) decapsulate(w *worker, v []*packet.Packet) {
	n := 0
	for k := 0; k < len(v); {
		k, n = s.greInput(w, v, k, n)
	}
	s.receive(w, v[:n])
}

func (s *Session) greInput(w *worker, v []*packet.Packet, k, n int) (next, kept int) {
	defer func() {
		if cause := recover(); cause != nil {
			w.d.contained("gre input", cause)
			next, kept = k+1, n
		}
	}()
	for ; k < len(v); k++ {
		p := v[k]
		v[k] = nil
		g, size, err := gre.Parse(p.Bytes())
		if err != nil {
			w.d.drop(p, dropGRE)
			continue
		}
		if !s.hasKey(g) {
			w.d.drop(p, dropNoTunnel)
			continue
		}
		p.TrimFront(size)
		switch {
		case g.Protocol == gre.ProtocolNHRP:
			s.nhrp(p)
			continue
		case p.Len() == 0,
			g.Protocol == gre.ProtocolIPv4 && p.Bytes()[0]>>4 != 4,
			g.Protocol == gre.ProtocolIPv6 && p.Bytes()[0]>>4 != 6:
			w.d.drop(p, dropMalformed)
			continue
		case g.Protocol != gre.ProtocolIPv4 && g.Protocol != gre.ProtocolIPv6:
			w.d.drop(p, dropGREProtocol)
			continue
		}
		v[n] = p
		n++
	}
	return k, n
}

// own makes the session and its tunnel the packet's context.
func (s *Session) own(p *packet.Packet) {
	p.Session, p.Ingress, p.VRF, p.Flow = s, s.tunnel.iface.index, s.tunnel.cfg.VRF.id, 0
	p.Flags &^= packet.FlagMulticastLink | packet.FlagLocal
}

func (s *Session) nhrp(p *packet.Packet) {
	i := s.tunnel.iface
	s.own(p)
	s.rxPackets.Add(1)
	s.rxBytes.Add(uint64(p.Len()))
	i.rxPackets.Add(1)
	i.rxBytes.Add(uint64(p.Len()))
	s.tunnel.d.punt(Punt{Reason: PuntNHRP, Packet: p, Interface: i, Session: s, VRF: s.tunnel.cfg.VRF})
}

// receive hands IP packets of the session to the tunnel's interface.
func (s *Session) receive(w *worker, v []*packet.Packet) {
	if len(v) == 0 {
		return
	}
	var bytes uint64
	for _, p := range v {
		s.own(p)
		bytes += uint64(p.Len())
	}
	s.rxPackets.Add(uint64(len(v)))
	s.rxData.Add(uint64(len(v)))
	s.rxBytes.Add(bytes)
	s.tunnel.iface.captured(In, v)
	w.input(s.tunnel.iface, v)
}

// SendNHRP sends an NHRP packet through a session.
func (t *Tunnel) SendNHRP(s *Session, nhrp []byte) error {
	switch {
	case s.tunnel != t:
		return fmt.Errorf("tunnel %s: session %d is another tunnel's: %w", t.iface.name, s.id, ErrNotFound)
	case s.closed.Load():
		return fmt.Errorf("tunnel %s: peer %v: %w", t.iface.name, s.NBMA(), ErrClosed)
	case t.cfg.Mode == VTI:
		return fmt.Errorf("tunnel %s: no NHRP without GRE: %w", t.iface.name, ErrMalformed)
	case !t.iface.up.Load():
		return fmt.Errorf("tunnel %s: interface is down", t.iface.name)
	case len(nhrp) > 9000:
		return fmt.Errorf("tunnel %s: NHRP packet of %d bytes: %w", t.iface.name, len(nhrp), ErrTooLong)
	case t.cfg.Protected && s.Outbound() == nil:
		return fmt.Errorf("tunnel %s: peer %v: %w", t.iface.name, s.NBMA(), ErrNoSA)
	}
	p := packet.From(nhrp)
	p.Flags = packet.FlagLocal | packet.FlagControl
	p.VRF = t.cfg.VRF.id
	w := t.d.worker()
	defer w.done()
	one := append(w.local[:0], p)
	s.encapsulate(w, one, gre.ProtocolNHRP)
	return nil
}
