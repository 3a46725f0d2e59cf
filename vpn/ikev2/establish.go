package ikev2

import (
	"errors"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// wholeChild: a message offers a child or none (RFC 6023), not half of one.
func (p *parts) wholeChild() bool {
	return p.sa != nil && p.tsi != nil && p.tsr != nil || p.childless()
}

func (p *parts) childless() bool { return p.sa == nil && p.tsi == nil && p.tsr == nil }

// firstOffer is what an initiator's IKE_AUTH says besides who it is: CP, the first child, and MOBIKE.
func (sa *ikeSA) firstOffer() ([]message.Payload, error) {
	s, hs := sa.s, sa.hs
	var out []message.Payload
	if s.asks(hs) {
		out = append(out, s.configRequest(hs.wanted))
	}
	switch {
	case hs.child != nil:
		child, ok := hs.child.offerTo(sa, true)
		if !ok {
			return nil, errors.New("the child policy offers nothing")
		}
		out = append(out, child...)
	case !hs.childless:
		return nil, errors.New("peer does not do IKE SAs without a child (RFC 6023), and no child policy is given")
	}
	if hs.mobike {
		out = append(out, &message.Notify{Message: message.MOBIKE_SUPPORTED})
	}
	return out, nil
}

// establish is the responder's end of IKE_AUTH: the peer is who it says. head is our proof.
func (sa *ikeSA) establish(d Datagram, h message.Header, p *parts, head []message.Payload) {
	s := sa.s
	granted, err := s.authorize(p)
	if err != nil && !errors.Is(err, ErrNoAddress) {
		sa.refuseAuth(d, h, err)
		return
	}
	s.assigned = granted
	// RFC 4555 is for tunnel mode: transport mode's selectors are the addresses. Behind a NAT such a peer is followed.
	s.mobike = sa.e.cfg.MOBIKE && p.notify(message.MOBIKE_SUPPORTED) != nil && p.notify(message.USE_TRANSPORT_MODE) == nil
	s.peerAddresses(p)
	sa.uncount()
	sa.ready()
	s.up(p.childless() || err != nil)
	s.initialContact(p.notify(message.INITIAL_CONTACT) != nil)
	payloads := head
	switch {
	case err != nil:
		// RFC 7296 §3.15.4: the IKE SA is there, the child is not.
		s.log(zerolog.WarnLevel, "no address for the peer", Field{"event", "no-address"}, Field{"identity", s.remoteID.String()}, Field{"reason", err.Error()})
		payloads = append(payloads, &message.Notify{Message: message.INTERNAL_ADDRESS_FAILURE})
	default:
		if reply := s.configReply(p.cp); reply != nil {
			payloads = append(payloads, reply)
		}
		if !p.childless() {
			payloads = append(payloads, sa.answerChild(p, true, nil)...)
		}
	}
	if s.mobike {
		payloads = append(payloads, &message.Notify{Message: message.MOBIKE_SUPPORTED})
		payloads = append(payloads, s.additional()...)
	}
	sa.clearHandshake()
	sa.respond(d, h, payloads)
	s.tellConfig(isRequest(p.cp))
	s.settleTwins()
}

// established is the initiator's end of IKE_AUTH.
func (sa *ikeSA) established(p *parts) {
	s, hs := sa.s, sa.hs
	granted, err := s.authorize(p)
	s.assigned = granted
	s.mobike = hs.mobike && p.notify(message.MOBIKE_SUPPORTED) != nil
	s.peerAddresses(p)
	child, asked, wanted := hs.child, s.asks(hs), hs.wanted
	sa.ready()
	s.up(child == nil)
	hs.child = nil
	sa.clearHandshake()
	if err != nil {
		if child != nil {
			child.release(sa.e)
		}
		s.log(zerolog.WarnLevel, "peer is not authorized", Field{"event", "unauthorized"}, Field{"identity", s.remoteID.String()}, Field{"reason", err.Error()})
		s.close("peer is not authorized: "+err.Error(), ErrUnauthorized)
		return
	}
	s.configured(p, asked, wanted)
	if child != nil {
		child.done(sa, p)
	}
	s.tellConfig(false)
	s.settleTwins()
	sa.pump()
}
