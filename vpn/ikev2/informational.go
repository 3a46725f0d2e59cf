package ikev2

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"
)

// probe asks whether the peer is alive: an empty request (RFC 7296 §2.4).
// A quick one gives up sooner.
type probe struct{ quick bool }

func (*probe) exchange() message.ExchangeType         { return message.INFORMATIONAL }
func (*probe) movable() bool                          { return true }
func (*probe) begin(*ikeSA) ([]message.Payload, bool) { return nil, true }
func (*probe) done(*ikeSA, *parts)                    {}

// askQuickly is probe for a peer that seems to have lost the SA.
func (sa *ikeSA) askQuickly(quick bool) {
	if sa.state == stReady && sa.pending == nil && len(sa.tasks) == 0 {
		sa.queue(&probe{quick: quick})
	}
}

// probe queues one unless a request is under way or waiting, which tells as much.
func (sa *ikeSA) probe() { sa.askQuickly(false) }

// deleteIKE deletes the SA that it goes out on (RFC 7296 §1.4.1).
type deleteIKE struct{}

func (*deleteIKE) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*deleteIKE) movable() bool                  { return false }
func (*deleteIKE) done(sa *ikeSA, _ *parts)       { sa.e.remove(sa) }
func (*deleteIKE) begin(*ikeSA) ([]message.Payload, bool) {
	return []message.Payload{&message.Delete{Protocol: message.ProtoIKE}}, true
}

// tellSPI says inside an SA that an ESP packet came with an SPI that is not ours (RFC 7296 §1.5).
type tellSPI struct{ spi uint32 }

func (*tellSPI) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*tellSPI) movable() bool                  { return true }
func (*tellSPI) done(*ikeSA, *parts)            {}
func (t *tellSPI) begin(sa *ikeSA) ([]message.Payload, bool) {
	if sa.e.spis[t.spi] != nil {
		return nil, false
	}
	return []message.Payload{&message.Notify{Message: message.INVALID_SPI, Data: be32(t.spi)}}, true
}

// informationalRequest is a request of the peer's: empty, with deletes, or with notifications.
func (sa *ikeSA) informationalRequest(d Datagram, h message.Header, p *parts) {
	s := sa.s
	var answer []message.Payload
	var ours [][]byte
	for _, del := range p.deletes {
		switch del.Protocol {
		case message.ProtoIKE:
			sa.respond(d, h, nil)
			sa.deletedByPeer()
			return
		case message.ProtoESP:
			if del.SPISize != 4 {
				continue
			}
			for _, spi := range del.SPIs {
				if spi, ok := s.childDeleted(binary.BigEndian.Uint32(spi)); ok {
					ours = append(ours, be32(spi))
				}
			}
		}
	}
	if len(ours) > 0 {
		answer = append(answer, &message.Delete{Protocol: message.ProtoESP, SPISize: 4, SPIs: ours})
	}
	answer = append(answer, sa.mobikeAnswer(p)...)
	answer = append(answer, sa.configAnswer(p)...)
	sa.respond(d, h, answer)
	if c := s.check; c != nil {
		// One that still waits for its turn is about where the peer was.
		s.cur.tasks = slices.DeleteFunc(s.cur.tasks, func(t task) bool { _, old := t.(*routeCheck); return old })
		s.check = nil
		s.cur.queue(c)
	}
	for _, n := range p.notifies {
		switch n.Message {
		case message.AUTHENTICATION_FAILED:
			// RFC 7296 §2.21.2: the initiator did not accept our proof.
			s.authFailed(s.localID, "peer does not accept our identity or key")
			s.end("peer refuses us: AUTHENTICATION_FAILED", ErrAuthentication)
			sa.finish()
			return
		case message.INVALID_SPI:
			if len(n.Data) == 4 && !s.ended {
				s.peerLacks(binary.BigEndian.Uint32(n.Data))
			}
		case message.REDIRECT:
			s.upRedirected(n)
		}
	}
}

// deletedByPeer ends this set of keys, and the session if they are the current ones.
func (sa *ikeSA) deletedByPeer() {
	s := sa.s
	switch {
	case s.ended:
	case sa == s.cur && sa.peerRekey != nil && sa.peerRekey.state == stReady:
		// RFC 7296 §2.25.2: closed while we were rekeying it, and the peer's own rekeying is what remains.
		next := sa.peerRekey
		sa.state = stReplaced
		sa.handOver(next)
	case sa == s.cur:
		s.end("peer deleted it", ErrDeleted)
	case s.cur.hold.After(s.e.now):
		s.cur.hold = time.Time{} // the initiator of the rekey is there
	}
	if sa.rekey != nil {
		sa.rekey.release(sa.e)
		sa.rekey = nil
	}
	sa.finish()
}

// childDeleted takes the peer's delete of a pair; spi is the peer's. It returns our SPI for the answer: not when we are
// deleting the pair ourselves (RFC 7296 §1.4.1).
func (s *session) childDeleted(spi uint32) (uint32, bool) {
	c := s.child(spi)
	if c == nil {
		return 0, false
	}
	if c.replacedBy == nil && c.peerRekey != nil && !c.peerRekey.gone {
		c.replacedBy = c.peerRekey // the peer's rekeying counts, ours came to nothing or will lose
	}
	c.switchOver()
	linger, reason := time.Duration(0), "peer deleted it"
	if c.replacedBy != nil {
		linger, reason = lingerChild, "rekeyed"
	}
	deleting := c.state == childDeleting
	c.down(reason, linger)
	return c.spiIn, !deleting
}

// peerLacks ends a pair that the peer, authentically, does not have.
func (s *session) peerLacks(spi uint32) {
	c := s.child(spi)
	// A pair that is being replaced or deleted may be gone there already; a new one may not be there yet.
	if c == nil || c.state != childReady || c.rekey != nil || s.e.now.Sub(c.created) < 2*time.Second {
		return
	}
	c.close("peer does not know its SPI")
}

// unknownSPI answers an ESP packet for no SA of ours.
func (e *Engine) unknownSPI(vrf string, local, remote netip.Addr, spi uint32) {
	e.counters.UnknownESP++
	if !e.hints.take(e.now) {
		return
	}
	for _, s := range e.withPeer(vrf, remote) {
		if !s.established.IsZero() {
			if s.cur.pending == nil && len(s.cur.tasks) == 0 {
				e.guard(s.cur, func() { s.cur.queue(&tellSPI{spi}) })
			}
			return
		}
	}
	m := message.Message{Header: message.Header{Major: 2, Exchange: message.INFORMATIONAL, Flags: message.FlagInitiator},
		Payloads: []message.Payload{&message.Notify{Message: message.INVALID_SPI, Data: be32(spi)}}}
	e.send(vrf, netip.AddrPortFrom(local, portIKE), netip.AddrPortFrom(remote, portIKE), m.Encode())
}
