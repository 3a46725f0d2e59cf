package protect

import (
	"encoding/binary"
	"net/netip"
	"time"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
)

// ikeSA is what the Manager remembers of an IKE SA.
type ikeSA struct {
	id            ikev2.SAID
	vrf, profile  string
	local, remote netip.AddrPort
	indexed       netip.Addr // where it is in ikesAt
	peer, self    ikev2.Identity
	established   bool
	initiator     bool
	going         bool // deleted here
	alone         bool // for the children of the tunnel that began it only
	pairs         map[ikev2.ChildID]*pair
	rx, tx        uint64 // packets, at the last poll
	carried       Traffic
}

// pair is a pair of Child SAs as it is installed in the data plane.
type pair struct {
	up   ikev2.ChildUp
	s    *session
	slot *slot
	sel  *netstack.Selectors
	key  string // the selectors in words, of a VTI's pair
	in   *esp.Inbound
	out  *esp.Outbound
	// ready: the peer can open what we send on it.
	ready bool
	made  time.Time
	// seen and lastSeen follow what comes in.
	seen     uint64
	lastSeen time.Time
	volume   uint64 // lifetime in bytes, 0 for none
	counted  Traffic
}

const (
	// seqSoft is when a pair without extended sequence numbers is rekeyed for their sake: at three quarters.
	seqSoft = 3 << 30
	// patience is how long the responder of a pair waits for a sign that the peer has it, before it sends on it although
	// it has another one: the peer got our response, or asks for it again.
	patience = 3 * time.Second
	// headStart is how long such a responder waits to say that its session is up when it has no other pair. What
	// answers the peer's packets is sent at once; but what we begin to send right behind our response would find a peer
	// that is still busy with it: strongSwan takes a quarter of a second to have its SAs in the kernel.
	headStart = 300 * time.Millisecond
	// inFlight is how long at least an inbound SA lingers that is not its session's last.
	inFlight = 5 * time.Second
)

// install makes the SAs of a ChildUp. The inbound one is in the data plane when it returns: what comes next in the
// engine's actions may let the peer send.
func (m *Manager) install(s *session, up ikev2.ChildUp) (*pair, error) {
	params := esp.Params{
		SPI: up.SPIIn, Suite: up.Suite, Mode: up.Mode, ESN: up.ESN, Window: up.ReplayWindow,
		EncrKey: up.KeysIn.Encr, IntegKey: up.KeysIn.Integ,
		Local: up.Local, Remote: up.Remote, UDPEncap: up.UDPEncap, Rand: m.o.Rand,
	}
	in, err := esp.NewInbound(params)
	if err != nil {
		return nil, err
	}
	params.SPI, params.EncrKey, params.IntegKey = up.SPIOut, up.KeysOut.Encr, up.KeysOut.Integ
	out, err := esp.NewOutbound(params)
	if err != nil {
		return nil, err
	}
	p := &pair{up: up, s: s, slot: m.slotFor(s, up), sel: selectorsOf(s.t, up), in: in, out: out, ready: up.OutboundReady, made: m.now(), lastSeen: m.now()}
	if s.t.vti() {
		p.key = selectorsKey(up)
	}
	// The keys are in the cipher states now.
	p.up.KeysIn, p.up.KeysOut = ikev2.ChildKey{}, ikev2.ChildKey{}
	if !p.ready {
		// The first packet that comes in on it says that the peer has it.
		in.SetSoftLimit(1, 0, func() { m.loop.Post("first packet on an sa", func() { m.used(p) }) })
	} else {
		m.setVolume(p, true, false)
	}
	m.setVolume(p, false, true)
	m.purge(up.SPIIn)
	if err := m.o.Dataplane.AddInboundFor(in, s.net, p.sel); err != nil {
		return nil, err
	}
	m.pairs[up.Child], m.bySPI[up.SPIIn] = p, p
	s.pairs = append(s.pairs, p)
	if ike := m.ikes[up.SA]; ike != nil {
		ike.pairs[up.Child] = p
	}
	return p, nil
}

// setVolume sets the soft limits. Who began the pair rekeys at four fifths, the other at nine tenths, so that both do
// not at the same moment.
func (m *Manager) setVolume(p *pair, in, out bool) {
	volume, packets := p.s.t.cfg.VolumeBytes, uint64(0)
	if volume > 0 {
		p.volume = volume
		p.out.SetHardLimit(0, volume)
		if p.up.Initiator {
			volume = volume / 10 * 8
		} else {
			volume = volume / 10 * 9
		}
	}
	if !p.up.ESN {
		packets = seqSoft
	}
	if volume == 0 && packets == 0 {
		return
	}
	f := func() { m.loop.Post("soft limit of an sa", func() { m.worn(p) }) }
	if in {
		p.in.SetSoftLimit(packets, volume, f)
	}
	if out {
		p.out.SetSoftLimit(packets, volume, f)
	}
}

// spent tells whether a pair has carried what it may: nothing leaves on it any more, and its peer, which has a limit of
// its own, has had a quarter more. New keys should have been there long ago; they were refused, or are not ours to ask for.
func (p *pair) spent() bool {
	return p.volume > 0 && (p.out.Counters().Bytes >= p.volume || p.in.Counters().Bytes >= p.volume+p.volume/4)
}

// worn is called on the loop when a soft limit was crossed.
func (m *Manager) worn(p *pair) {
	if m.pairs[p.up.Child] != p {
		return
	}
	m.counters.VolumeRekeys++
	m.run(m.o.Engine.RekeyChild(m.now(), p.up.Child))
}

// used is called on the loop when the first packet came in on a pair.
func (m *Manager) used(p *pair) {
	if m.pairs[p.up.Child] != p {
		return
	}
	m.setVolume(p, true, false)
	p.ready = true
	m.choose(p)
	m.markAll(p.s)
	m.run(nil)
}

// choose decides what a session sends on for p's packets, now that p is new or has become ready.
//
//   - Without anything to send on: p.
//   - A pair that replaces the present one takes over when the peer is ready for it.
//   - Two pairs under one IKE SA, each side having made one: both decide for the lower SPIs, and the other idles out.
//   - A pair of another IKE SA: the newer one, when the peer is ready for it; IKESuperseded says it otherwise.
func (m *Manager) choose(p *pair) {
	cur := p.slot.tx
	switch {
	case cur == nil:
		m.sendOn(p.s, p.slot, p)
	case cur == p || !p.ready || m.replaced(p):
	case p.up.Replaces == cur.up.Child, m.replaced(cur):
		m.sendOn(p.s, p.slot, p)
	case p.up.SA == cur.up.SA:
		if lowerSPIs(p, cur) {
			m.sendOn(p.s, p.slot, p)
		}
	case p.up.SA > cur.up.SA:
		m.sendOn(p.s, p.slot, p)
	}
}

// chooseAgain decides what a slot sends on when its pair is gone.
func (m *Manager) chooseAgain(s *session, x *slot) {
	var best *pair
	for _, p := range s.pairs {
		if p.slot == x && (best == nil || better(p, best)) {
			best = p
		}
	}
	m.sendOn(s, x, best)
}

// better orders pairs to send on: ready ones first, then the newer IKE SA's, then the newer.
func better(x, y *pair) bool {
	switch {
	case x.ready != y.ready:
		return x.ready
	case x.up.SA != y.up.SA:
		return x.up.SA > y.up.SA
	}
	return x.up.Child > y.up.Child
}

// replaced tells whether another pair of the session replaces this one and is ready.
func (m *Manager) replaced(p *pair) bool {
	for _, x := range p.s.pairs {
		if x.up.Replaces == p.up.Child && x.ready {
			return true
		}
	}
	return false
}

// lowerSPIs is a comparison that gives the same at both ends.
func lowerSPIs(a, b *pair) bool {
	al, ah := min(a.up.SPIIn, a.up.SPIOut), max(a.up.SPIIn, a.up.SPIOut)
	bl, bh := min(b.up.SPIIn, b.up.SPIOut), max(b.up.SPIIn, b.up.SPIOut)
	return al < bl || al == bl && ah < bh
}

// sendOn makes p what the session sends on for a slot's packets; nil means that it must not send those.
func (m *Manager) sendOn(s *session, x *slot, p *pair) {
	if x.tx == p && p != nil {
		return
	}
	x.tx = p
	m.arrange(s)
	if p := s.tx; p != nil {
		s.setShared(nil)
		s.ike, s.remote, s.peer, s.self, s.nat = p.up.SA, p.up.Remote, p.up.Peer, p.up.LocalID, p.up.NAT
		s.setNBMA(p.up.Remote.Addr())
		s.setInner(p)
	}
	m.setOutbound(s)
	m.markAll(s)
}

// setInner tells the data plane the addresses of the IP header inside a tunnel mode SA: those of the selectors, when they
// are single hosts. Behind a NAT they are not the ones outside.
func (s *session) setInner(p *pair) {
	local, remote := p.up.Local.Addr(), p.up.Remote.Addr()
	if p.up.Mode == esp.Tunnel {
		if a, ok := host(p.up.TSLocal); ok {
			local = a
		}
		if a, ok := host(p.up.TSRemote); ok {
			remote = a
		}
	}
	s.net.SetInner(local, remote)
}

func host(ts []ikev2.TrafficSelector) (a netip.Addr, ok bool) {
	for _, t := range ts {
		if t.Start != t.End || a.IsValid() && a != t.Start {
			return netip.Addr{}, false
		}
		a = t.Start
	}
	return a.Unmap(), a.IsValid()
}

// uninstall takes a pair off its session. Its inbound SA stays for linger, for packets on their way.
func (m *Manager) uninstall(p *pair, linger time.Duration) {
	s, spi := p.s, p.up.SPIIn
	m.carry(p)
	delete(m.pairs, p.up.Child)
	if m.bySPI[spi] == p {
		delete(m.bySPI, spi)
	}
	if ike := m.ikes[p.up.SA]; ike != nil {
		delete(ike.pairs, p.up.Child)
	}
	for i, x := range s.pairs {
		if x == p {
			s.pairs = append(s.pairs[:i:i], s.pairs[i+1:]...)
			break
		}
	}
	if len(s.pairs) > 0 || s.retired && !s.closed {
		// The peer goes on with another pair; what it sent on this one may still be on its way.
		linger = max(linger, inFlight)
	}
	if linger <= 0 || s.closed {
		m.o.Dataplane.RemoveInbound(spi)
	} else {
		m.lingering[spi] = p
		if s.lingering == nil {
			s.lingering = map[uint32]struct{}{}
		}
		s.lingering[spi] = struct{}{}
		m.linger[spi] = m.loop.After("old sa", linger, func() {
			m.purge(spi)
			if s.retired {
				m.mark(s)
				m.run(nil)
			}
		})
	}
	if p.slot.tx == p {
		m.chooseAgain(s, p.slot)
	}
	m.mark(s)
}

// purge removes an inbound SA that lingers.
func (m *Manager) purge(spi uint32) {
	if t := m.linger[spi]; t != nil {
		t.Stop()
		m.carry(m.lingering[spi])
		delete(m.lingering[spi].s.lingering, spi)
		delete(m.linger, spi)
		delete(m.lingering, spi)
		m.o.Dataplane.RemoveInbound(spi)
	}
}

// purgeSession removes all inbound SAs of a session that linger.
func (m *Manager) purgeSession(s *session) {
	for spi := range s.lingering {
		m.purge(spi)
	}
}

func (m *Manager) dropPair(p *pair, why string) {
	p.s.downWhy = why
	m.uninstall(p, 0)
}

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
