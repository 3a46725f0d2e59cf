package ikeload

import (
	"encoding/binary"
	"net/netip"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
	"felloe/vpn/ikev2"
)

// pair is a pair of Child SAs.
type pair struct {
	s             *session
	id            ikev2.ChildID
	in            *esp.Inbound
	out           *esp.Outbound
	local, remote netip.AddrPort
}

func (l *Load) childUp(a ikev2.ChildUp) {
	s := l.bySA[a.SA]
	if s == nil {
		return
	}
	params := esp.Params{SPI: a.SPIIn, Suite: a.Suite, Mode: a.Mode, ESN: a.ESN, EncrKey: a.KeysIn.Encr, IntegKey: a.KeysIn.Integ,
		Local: a.Local, Remote: a.Remote, Rand: l.o.Rand}
	in, err := esp.NewInbound(params)
	if err != nil {
		l.fail(s, err.Error())
		return
	}
	params.SPI, params.EncrKey, params.IntegKey = a.SPIOut, a.KeysOut.Encr, a.KeysOut.Integ
	out, err := esp.NewOutbound(params)
	if err != nil {
		l.fail(s, err.Error())
		return
	}
	p := &pair{s: s, id: a.Child, in: in, out: out, local: a.Local, remote: a.Remote}
	l.bySPI[a.SPIIn], l.byChild[a.Child] = p, p
	if a.Replaces != 0 {
		return // childRekeyed says when
	}
	s.child, s.out = a.Child, p
	if !s.inner.IsValid() && len(a.TSLocal) > 0 {
		s.inner = a.TSLocal[0].Start
	}
	if s.state == negotiating {
		s.state = up
		l.done(s, "set-up")
	}
}

func (l *Load) childRekeyed(a ikev2.ChildRekeyed) {
	if p := l.byChild[a.New]; p != nil {
		p.s.child, p.s.out = p.id, p
		p.s.rekeyed.child++
		l.done(p.s, "rekey child")
	}
}

func (l *Load) childDown(a ikev2.ChildDown) {
	p := l.byChild[a.Child]
	if p == nil {
		return
	}
	delete(l.byChild, a.Child)
	l.dying = append(l.dying, dying{a.SPIIn, time.Now().Add(a.Linger)})
	if s := p.s; s.out == p {
		s.out, s.child = nil, 0
	}
}

// What an echo request of ours carries, besides the session's number.
const probeLen = 56

// probe sends a session's echo request, again until it is answered.
func (l *Load) probe(s *session) {
	s.tries++
	s.again = time.Now().Add(time.Second)
	if s.out == nil {
		l.fail(s, "no Child SA")
		return
	}
	if s.inner.Is4() != l.o.Probe.Is4() {
		l.fail(s, "no inner address of the probe's family")
		return
	}
	p := packet.Get(8 + probeLen)
	defer p.Release()
	b := p.Append(8 + probeLen)
	clear(b)
	b[0] = 8
	proto, next := uint8(ip.ICMP), uint8(4)
	if l.o.Probe.Is6() {
		b[0], proto, next = 128, ip.ICMPv6, 41
	}
	binary.BigEndian.PutUint16(b[4:], uint16(s.n))
	binary.BigEndian.PutUint16(b[6:], uint16(s.tries))
	binary.BigEndian.PutUint32(b[8:], uint32(s.n))
	binary.BigEndian.PutUint16(b[2:], ip.L4Checksum(s.inner, l.o.Probe, proto, b))
	(&ip.Outer{Src: s.inner, Dst: l.o.Probe, Proto: proto, TTL: 64}).Prepend(p)
	if err := s.out.out.Seal(p, next); err != nil {
		l.fail(s, err.Error())
		return
	}
	l.report.Probes++
	l.wire.Send(Frame{Local: s.out.local, Remote: s.out.remote, ESP: true, Data: p.Bytes()})
}

// opened takes an ESP packet.
func (l *Load) opened(f Frame) {
	if len(f.Data) < 8 {
		return
	}
	pair := l.bySPI[binary.BigEndian.Uint32(f.Data)]
	if pair == nil {
		l.report.UnknownSPI++
		return
	}
	p := packet.From(f.Data)
	defer p.Release()
	if _, err := pair.in.Open(p); err != nil {
		l.report.ESPErrors++
		return
	}
	var h ip.Header
	b := p.Bytes()
	s := pair.s
	if ip.Parse(b, &h) != nil || h.Src != l.o.Probe || h.Dst != s.inner || h.L4 < 0 || len(b) < h.L4+8+4 {
		return
	}
	b = b[h.L4:]
	if (b[0] == 0 && h.Proto == ip.ICMP || b[0] == 129 && h.Proto == ip.ICMPv6) && binary.BigEndian.Uint32(b[8:]) == uint32(s.n) {
		l.done(s, "probe")
		s.tries = 0
	}
}
