package ikev2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// rekeyIKE is our request for new keys of an IKE SA (RFC 7296 §1.3.2).
type rekeyIKE struct {
	group suite.Group
	again int
	spi   uint64
	ni    []byte
	dh    suite.DH
	offer []message.Proposal
}

func (*rekeyIKE) exchange() message.ExchangeType { return message.CREATE_CHILD_SA }
func (*rekeyIKE) movable() bool                  { return false }

// startRekey replaces the SA's keys unless that is happening already.
func (sa *ikeSA) startRekey() {
	if sa.state != stReady || sa.rekey != nil || sa.peerRekey != nil || sa.s.cur != sa {
		return
	}
	sa.rekey = &rekeyIKE{}
	sa.queue(sa.rekey)
}

func (t *rekeyIKE) begin(sa *ikeSA) ([]message.Payload, bool) {
	e := sa.e
	if sa.state != stReady || sa.peerRekey != nil {
		sa.rekey = nil
		return nil, false
	}
	t.spi = e.newIKESPI()
	e.sas[t.spi] = nil // taken
	_, proposals := e.policyFor(sa.s.vrf, sa.s.local.Addr())
	t.offer = ikeOffer(proposals, false, t.spi)
	list := groups(t.offer)
	if len(list) == 0 {
		t.release(e)
		sa.rekey = nil
		return nil, false
	}
	// The group that we have is the one that the peer can do.
	g := list[0]
	if slices.Contains(list, sa.suite.Group) {
		g = sa.suite.Group
	}
	if slices.Contains(list, t.group) {
		g = t.group
	}
	dh, err := suite.NewDH(g, e.rand)
	if err != nil {
		t.release(e)
		sa.rekey = nil
		return nil, false
	}
	t.dh, t.ni = dh, e.random(nonceSize)
	return []message.Payload{&message.SA{Proposals: t.offer}, &message.Nonce{Data: t.ni}, &message.KE{Group: uint16(g), Data: dh.Public()}}, true
}

func (t *rekeyIKE) release(e *Engine) {
	if sa, taken := e.sas[t.spi]; t.spi != 0 && taken && sa == nil {
		delete(e.sas, t.spi)
	}
	t.spi = 0
}

// done takes the response.
func (t *rekeyIKE) done(sa *ikeSA, p *parts) {
	s, e := sa.s, sa.e
	sa.rekey = nil
	if n := p.failure(); n != nil && p.sa == nil {
		t.release(e)
		t.refused(sa, n)
		return
	}
	next, err := t.accept(sa, p)
	if err != nil {
		t.release(e)
		if s.ended {
			sa.pump()
			return
		}
		// The peer has an SA that we cannot use, and the old one may be gone with it.
		s.log(zerolog.WarnLevel, "rekeying the IKE SA failed", Field{"event", "ike-rekey-failed"}, Field{"reason", err.Error()})
		s.close("rekeying failed: "+err.Error(), sentinel(err, ErrSyntax))
		return
	}
	other := sa.peerRekey
	switch {
	case s.ended:
		// Closed while the request was under way: both sets of keys go. The old one's delete is queued already.
		next.state = stDeleting
		next.queue(&deleteIKE{})
	case other != nil && other.state == stReady && bytes.Compare(lower(next.ni, next.nr), lower(other.ni, other.nr)) < 0:
		// RFC 7296 §2.8.1: both sides rekeyed at once. The SA with the lowest nonce goes; who made it deletes it.
		next.state = stReplaced
		next.until = e.now.Add(lingerReplaced)
		next.queue(&deleteIKE{})
		sa.handOver(other)
	default:
		if other != nil {
			other.retire()
		}
		sa.handOver(next)
		sa.queue(&deleteIKE{})
	}
}

// handOver makes another SA the session's.
func (sa *ikeSA) handOver(next *ikeSA) {
	s := sa.s
	if s.cur == next {
		return
	}
	sa.retire()
	next.ready()
	s.refusals = 0
	s.e.emit(IKERekeyed{s.id, next.spiI, next.spiR})
	s.log(zerolog.InfoLevel, "IKEv2 SA has new keys", Field{"event", "ike-rekeyed"}, Field{"suite", next.suite.String()},
		Field{"initiator", next.initiator})
	next.pump()
}

// retire leaves an SA to the peer's delete, for a while.
func (sa *ikeSA) retire() {
	if sa.state == stReady {
		sa.state, sa.until = stReplaced, sa.e.now.Add(lingerReplaced)
		sa.e.touch(sa)
	}
}

func (t *rekeyIKE) refused(sa *ikeSA, n *message.Notify) {
	s, e := sa.s, sa.e
	if s.ended {
		return
	}
	if sa.peerRekey != nil {
		// The peer saw only its own rekeying; that one counts.
		sa.handOver(sa.peerRekey)
		return
	}
	switch n.Message {
	case message.TEMPORARY_FAILURE:
		sa.rekeyAt = e.now.Add(2*time.Second + e.jitter(4*time.Second))
	case message.INVALID_KE_PAYLOAD:
		if len(n.Data) == 2 {
			g := suite.Group(binary.BigEndian.Uint16(n.Data))
			if t.again++; t.again <= maxAgain && g != t.dh.Group() && slices.Contains(groups(t.offer), g) {
				t.group = g
				sa.rekey = t
				sa.queue(t)
				return
			}
		}
		fallthrough
	default:
		s.log(zerolog.WarnLevel, "peer refuses new keys for the IKE SA", Field{"event", "ike-rekey-failed"}, Field{"notify", n.Message.String()},
			Field{"offered", describe(t.offer)})
		ours, theirs := describe(t.offer), "not known: it has only said no"
		if n.Message == message.INVALID_KE_PAYLOAD && len(n.Data) == 2 {
			theirs = "group-" + suite.Group(binary.BigEndian.Uint16(n.Data)).Word()
		}
		if s.peerOffer != "" {
			theirs = s.peerOffer
		}
		s.logOffers(s.policy, ours, theirs)
		wait := backOff(s.refusals)
		s.refusals++
		sa.rekeyAt = e.now.Add(wait + e.jitter(wait/3))
	}
	e.touch(sa)
}

// accept makes the new SA from the response.
func (t *rekeyIKE) accept(sa *ikeSA, p *parts) (*ikeSA, error) {
	answer, err := accepted(t.offer, p.sa)
	if err != nil {
		return nil, err
	}
	if p.nonce == nil || p.ke == nil || len(answer.SPI) != 8 || binary.BigEndian.Uint64(answer.SPI) == 0 {
		return nil, fmt.Errorf("%w: nonce, KE or SPI is missing", ErrSyntax)
	}
	chosen := ikeSuite(answer)
	if chosen.Group != t.dh.Group() || p.ke.Group != uint16(chosen.Group) {
		return nil, fmt.Errorf("%w: group %d for a key exchange with group %d", ErrNoProposal, chosen.Group, t.dh.Group())
	}
	shared, err := t.dh.Shared(p.ke.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSyntax, err)
	}
	return sa.successor(true, chosen, t.spi, binary.BigEndian.Uint64(answer.SPI), t.ni, bytes.Clone(p.nonce.Data), shared)
}

// syntax is the error that ends the IKE SA on both sides (RFC 7296 §2.21.3).
func syntax() *message.Notify { return &message.Notify{Message: message.INVALID_SYNTAX} }

// successor makes the SA that takes this one's place (RFC 7296 §2.18).
func (sa *ikeSA) successor(initiator bool, chosen suite.IKE, spiI, spiR uint64, ni, nr, shared []byte) (*ikeSA, error) {
	next := sa.s.newSA(initiator, stReady)
	next.suite, next.spiI, next.spiR, next.ni, next.nr = chosen, spiI, spiR, ni, nr
	skeyseed := sa.prf.RekeySKEYSEED(sa.keys.D, shared, ni, nr)
	clear(shared)
	err := next.setKeys(skeyseed)
	skeyseed.Clear()
	if err != nil {
		sa.e.remove(next)
		return nil, fmt.Errorf("%w: %v", ErrSyntax, err)
	}
	next.setLifetime()
	sa.e.sas[next.ours()] = next
	return next, nil
}

// createChildRequest is the responder's side of CREATE_CHILD_SA in its three shapes.
func (sa *ikeSA) createChildRequest(p *parts) []message.Payload {
	one := func(n *message.Notify) []message.Payload { return []message.Payload{n} }
	temporary := &message.Notify{Message: message.TEMPORARY_FAILURE}
	if p.sa == nil || p.nonce == nil || len(p.sa.Proposals) == 0 {
		return one(syntax())
	}
	if sa.state != stReady || sa.s.ended {
		return one(temporary) // §2.25.2: closing, or replaced
	}
	if p.sa.Proposals[0].Protocol == message.ProtoIKE {
		return sa.rekeyRequest(p)
	}
	if p.tsi == nil || p.tsr == nil {
		return one(syntax())
	}
	if sa.pending != nil && sa.rekey != nil && sa.pending.task == task(sa.rekey) {
		return one(temporary) // §2.25.2: rekeying the IKE SA
	}
	n := p.notify(message.REKEY_SA)
	if n == nil {
		return sa.answerChild(p, false, nil)
	}
	var old *child
	if len(n.SPI) == 4 && n.Protocol == message.ProtoESP {
		old = sa.s.child(binary.BigEndian.Uint32(n.SPI))
	}
	switch {
	case old == nil:
		return one(&message.Notify{Protocol: n.Protocol, SPI: n.SPI, Message: message.CHILD_SA_NOT_FOUND})
	case old.state != childReady, old.peerRekey != nil:
		return one(temporary) // §2.25.1: closing it
	}
	return sa.answerChild(p, false, old)
}

// rekeyRequest is the responder's side of new keys for the IKE SA.
func (sa *ikeSA) rekeyRequest(p *parts) []message.Payload {
	s, e := sa.s, sa.e
	one := func(n *message.Notify) []message.Payload { return []message.Payload{n} }
	if p.ke == nil {
		return one(syntax())
	}
	if sa.peerRekey != nil || s.cur != sa {
		return one(&message.Notify{Message: message.TEMPORARY_FAILURE})
	}
	if sa.pending != nil {
		switch sa.pending.task.(type) {
		case *createChild, *deleteChild: // §2.25.1
			return one(&message.Notify{Message: message.TEMPORARY_FAILURE})
		}
	}
	_, proposals := e.policyFor(s.vrf, s.local.Addr())
	own := ikeOffer(proposals, true, 0)
	answer, peer, ok := choose(own, p.sa.Proposals)
	if !ok || len(peer.SPI) != 8 || binary.BigEndian.Uint64(peer.SPI) == 0 {
		s.log(zerolog.WarnLevel, "NO_PROPOSAL_CHOSEN: no IKE proposal of the peer's is acceptable", Field{"event", "no-proposal"},
			Field{"exchange", "CREATE_CHILD_SA"}, Field{"offered", describe(p.sa.Proposals)}, Field{"accepted", describe(own)})
		s.logOffers(s.policy, describe(own), describe(p.sa.Proposals))
		s.peerOffer = describe(p.sa.Proposals)
		return one(&message.Notify{Message: message.NO_PROPOSAL_CHOSEN})
	}
	chosen := ikeSuite(answer)
	if p.ke.Group != uint16(chosen.Group) {
		return one(&message.Notify{Message: message.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, uint16(chosen.Group))})
	}
	dh, err := suite.NewDH(chosen.Group, e.rand)
	var shared []byte
	if err == nil {
		shared, err = dh.Shared(p.ke.Data)
	}
	if err != nil {
		return one(syntax())
	}
	spi, nr := e.newIKESPI(), e.random(nonceSize)
	next, err := sa.successor(false, chosen, binary.BigEndian.Uint64(peer.SPI), spi, bytes.Clone(p.nonce.Data), nr, shared)
	if err != nil {
		return one(&message.Notify{Message: message.NO_PROPOSAL_CHOSEN})
	}
	sa.peerRekey = next
	if sa.rekey == nil || sa.pending == nil || sa.pending.task != task(sa.rekey) {
		sa.rekey = nil // if it was only queued, it is not needed any more
		// The initiator learns of the new SA from our response; until it speaks there, it may not have got it.
		next.hold = e.now.Add(holdRekeyed)
		sa.handOver(next)
	}
	answer.SPI = be64(spi)
	return []message.Payload{&message.SA{Proposals: []message.Proposal{answer}}, &message.Nonce{Data: nr},
		&message.KE{Group: uint16(chosen.Group), Data: dh.Public()}}
}
