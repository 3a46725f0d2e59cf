package ikev2

import (
	"errors"

	"felloe/vpn/ikev2/message"
)

// wholeChild: a message offers a child or none (RFC 6023), not half of one.
func (p *parts) wholeChild() bool {
	return p.sa != nil && p.tsi != nil && p.tsr != nil
}

func (p *parts) childless() bool { return p.sa == nil && p.tsi == nil && p.tsr == nil }

// firstOffer is what an initiator's IKE_AUTH says besides who it is: CP, the first child, and MOBIKE.
func (sa *ikeSA) firstOffer() ([]message.Payload, error) {
	child, ok := sa.hs.child.offerTo(sa, true)
	if !ok {
		return nil, errors.New("the child policy offers nothing")
	}
	return child, nil
}

// establish is the responder's end of IKE_AUTH: the peer is who it says. head is our proof.
func (sa *ikeSA) establish(d Datagram, h message.Header, p *parts, head []message.Payload) {
	s := sa.s
	sa.uncount()
	sa.ready()
	s.up()
	s.initialContact(p.notify(message.INITIAL_CONTACT) != nil)
	payloads := append(head, sa.answerChild(p, true, nil)...)
	sa.clearHandshake()
	sa.respond(d, h, payloads)
	s.settleTwins()
}

// established is the initiator's end of IKE_AUTH.
func (sa *ikeSA) established(p *parts) {
	s := sa.s
	sa.ready()
	s.up()
	child := sa.hs.child
	sa.hs.child = nil
	sa.clearHandshake()
	child.done(sa, p)
	s.settleTwins()
	sa.pump()
}
