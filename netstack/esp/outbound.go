package esp

import (
	"encoding/binary"
	"sync/atomic"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// padBytes: RFC 4303 §2.4, the padding counts up from 1.
var padBytes = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// Outbound is the sending direction of a Child SA. Make it with NewOutbound; its methods are safe for concurrent use.
type Outbound struct {
	common
	seq    atomic.Uint64 // the last number given out
	maxSeq uint64
	hard   atomic.Pointer[limit]

	exhausted, overLimit, noRoom atomic.Uint64
}

// NewOutbound makes the sending direction of a Child SA.
func NewOutbound(p Params) (*Outbound, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	o := &Outbound{maxSeq: 1<<32 - 1}
	if p.ESN {
		o.maxSeq = 1<<64 - 1
	}
	if err := o.init(p); err != nil {
		return nil, err
	}
	return o, nil
}

// Seal turns p, a payload of protocol next, into an ESP packet from its header to its ICV, and puts the UDP header in
// front when the SA has UDP encapsulation. The outer IP header is the caller's. On an error the packet is as it was.
func (o *Outbound) Seal(p *packet.Packet, next uint8) error {
	if err := o.admit(p); err != nil {
		return err
	}
	seq, n := o.reserve(1)
	if n == 0 {
		return ErrSequenceExhausted
	}
	size := uint64(p.Len())
	o.seal(o.ends.Load(), p, next, seq)
	o.account(1, size)
	return nil
}

// SealVector seals the packets of v in order. It stops at the first that it cannot seal, v[n], and says why; the caller
// drops that one and goes on behind it, if it likes.
func (o *Outbound) SealVector(v []*packet.Packet, next uint8) (n int, err error) {
	return o.SealVectorTo(o.ends.Load(), v, next)
}

// SealVectorTo is SealVector towards ends that the caller has looked at already, for the outer header.
func (o *Outbound) SealVectorTo(e *Ends, v []*packet.Packet, next uint8) (n int, err error) {
	if len(v) == 0 {
		return 0, nil
	}
	var bytes uint64
	seq, granted := o.reserve(uint64(len(v)))
	for n < len(v) {
		// Numbers that a refusal leaves unused are skipped: to the peer they are lost packets.
		if err = o.admit(v[n]); err != nil {
			break
		}
		if uint64(n) == granted {
			err = ErrSequenceExhausted
			break
		}
		bytes += uint64(v[n].Len())
		o.seal(e, v[n], next, seq+uint64(n))
		n++
	}
	if n > 0 {
		o.account(uint64(n), bytes)
	}
	return n, err
}

// admit refuses what must not or cannot be sealed.
func (o *Outbound) admit(p *packet.Packet) error {
	if l := o.hard.Load(); l != nil && (o.packets.Load() >= l.packets || o.bytes.Load() >= l.bytes) {
		o.overLimit.Add(1)
		return ErrHardLimit
	}
	if p.Headroom() < headerLen+udpHeaderLen+o.ivLen || p.Tailroom() < o.padding(p.Len())+trailerLen+o.icvLen {
		o.noRoom.Add(1)
		return ErrNoRoom
	}
	return nil
}

// reserve gives out up to n consecutive sequence numbers from first on.
func (o *Outbound) reserve(n uint64) (first, granted uint64) {
	for {
		last := o.seq.Load()
		granted = min(n, o.maxSeq-last)
		if granted < n {
			o.exhausted.Add(1)
		}
		if granted == 0 || o.seq.CompareAndSwap(last, last+granted) {
			return last + 1, granted
		}
	}
}

func (o *Outbound) seal(e *Ends, p *packet.Packet, next uint8, seq uint64) {
	pad := o.padding(p.Len())
	tail := p.Append(pad + trailerLen + o.icvLen)
	copy(tail[:pad], padBytes[:])
	tail[pad], tail[pad+1] = uint8(pad), next
	head := p.Prepend(headerLen + o.ivLen)
	binary.BigEndian.PutUint32(head, o.spi)
	binary.BigEndian.PutUint32(head[4:], uint32(seq))
	o.transform.seal(p, seq)
	if e.UDPEncap {
		e.prependUDP(p)
	}
}

// prependUDP: RFC 3948 §2.1. Over IPv6 a UDP checksum of zero is not ours to assume (RFC 8200 §8.1), so it is computed.
func (e *Ends) prependUDP(p *packet.Packet) {
	h := p.Prepend(udpHeaderLen)
	binary.BigEndian.PutUint16(h, e.Local.Port())
	binary.BigEndian.PutUint16(h[2:], e.Remote.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(p.Len()))
	binary.BigEndian.PutUint16(h[6:], 0)
	if e.Remote.Addr().Is6() && !e.Remote.Addr().Is4In6() {
		binary.BigEndian.PutUint16(h[6:], ip.L4Checksum(e.Local.Addr(), e.Remote.Addr(), ip.UDP, p.Bytes()))
	}
}

// Overhead is what ESP and UDP add to a payload of that many bytes, without the outer IP header.
func (o *Outbound) Overhead(payload int) int {
	return o.fixed() + o.udpLen() + o.padding(payload)
}

// MaxPayload is the largest payload whose ESP and UDP fit into room bytes, 0 when none does.
func (o *Outbound) MaxPayload(room int) int {
	text := room - o.fixed() - o.udpLen() + trailerLen
	return max(0, text-text%o.align-trailerLen)
}

func (o *Outbound) udpLen() int {
	if o.UDPEncap() {
		return udpHeaderLen
	}
	return 0
}

// SetHardLimit makes Seal refuse with ErrHardLimit once that much was sent. 0 means no limit of that kind. Workers that
// seal at the same moment may pass it by one vector each.
func (o *Outbound) SetHardLimit(packets, bytes uint64) {
	if packets == 0 {
		packets = ^uint64(0)
	}
	if bytes == 0 {
		bytes = ^uint64(0)
	}
	o.hard.Store(&limit{packets: packets, bytes: bytes})
}

// Sequence is the last sequence number given out.
func (o *Outbound) Sequence() uint64 { return o.seq.Load() }

// SequenceLeft is how many more packets the SA can send.
func (o *Outbound) SequenceLeft() uint64 { return o.maxSeq - o.seq.Load() }

// Counters are a snapshot.
func (o *Outbound) Counters() Counters {
	return Counters{
		Packets: o.packets.Load(), Bytes: o.bytes.Load(),
		SequenceExhausted: o.exhausted.Load(), HardLimit: o.overLimit.Load(), NoRoom: o.noRoom.Load(),
	}
}
