package ikev2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// childState is where a pair of Child SAs is in its life.
type childState uint8

const (
	childReady    childState = iota
	childReplaced            // another pair took over; this one waits to be deleted
	childDeleting            // we are deleting it
)

// child is a pair of Child SAs.
type child struct {
	e      *Engine
	s      *session
	id     ChildID
	policy ChildPolicy
	tag    any
	state  childState
	gone   bool // ChildDown was said

	spiIn, spiOut     uint32
	suite             esp.Suite
	mode              esp.Mode
	esn               bool
	pfs               suite.Group
	tsLocal, tsRemote []TrafficSelector
	tie               []byte // the lower nonce of the exchange that made it
	initiator         bool   // of that exchange
	keys              childKeys

	created, rekeyAt, expires time.Time
	until                     time.Time // childReplaced: the peer should have deleted it by then

	refusals  int    // of new keys, in a row
	peerOffer string // what the peer last offered for it, in words

	rekey      *createChild // ours, queued or under way
	peerRekey  *child       // what the peer's rekeying made while ours was under way
	replacedBy *child
	switched   bool // ChildRekeyed was said
}

const maxChildren = 64 // of one IKE SA

// createChild is our request for a pair: a new one, or one that replaces old.
type createChild struct {
	policy ChildPolicy
	tag    any
	old    *child
	// trigger is the packet that it is for; alone: the peer takes one pair of addresses only.
	trigger *Packet
	alone   bool

	group    suite.Group // the peer wants this one
	again    int
	sent     bool
	spi      uint32
	ni       []byte
	dh       suite.DH
	offer    []message.Proposal
	tsLocal  []TrafficSelector
	tsRemote []TrafficSelector
}

func (*createChild) exchange() message.ExchangeType { return message.CREATE_CHILD_SA }
func (*createChild) movable() bool                  { return true }

// offerTo makes the payloads of the offer. In IKE_AUTH there is neither a nonce nor a key exchange.
func (t *createChild) offerTo(sa *ikeSA, first bool) ([]message.Payload, bool) {
	e := sa.e
	if t.spi == 0 {
		t.spi = e.newSPI()
	}
	t.offer = espOffer(t.policy.proposals(), t.spi, !first)
	if len(t.offer) == 0 {
		t.release(e)
		return nil, false
	}
	t.tsLocal, t.tsRemote = t.selectors(sa.s)
	var out []message.Payload
	if t.old != nil {
		out = append(out, &message.Notify{Protocol: message.ProtoESP, SPI: be32(t.old.spiIn), Message: message.REKEY_SA})
	}
	if t.policy.Mode == esp.Transport {
		out = append(out, &message.Notify{Message: message.USE_TRANSPORT_MODE})
	}
	out = append(out, &message.Notify{Message: message.ESP_TFC_PADDING_NOT_SUPPORTED}, &message.SA{Proposals: t.offer})
	if !first {
		t.ni = e.random(nonceSize)
		out = append(out, &message.Nonce{Data: t.ni})
		t.dh = nil
		if list := groups(t.offer); len(list) > 0 {
			g := list[0]
			if slices.Contains(list, t.group) {
				g = t.group
			}
			dh, err := suite.NewDH(g, e.rand)
			if err != nil {
				t.release(e)
				return nil, false
			}
			t.dh = dh
			out = append(out, &message.KE{Group: uint16(g), Data: dh.Public()})
		}
	}
	return append(out, &message.TS{Selectors: t.tsLocal}, &message.TS{Responder: true, Selectors: t.tsRemote}), true
}

// selectors are what is offered: of a rekeyed pair what it has, as long as the policy has that too (RFC 7296 §2.9.2), else
// the policy's; what triggers the pair goes first.
func (t *createChild) selectors(s *session) (local, remote []TrafficSelector) {
	local, remote = t.policy.offered(s)
	if o := t.old; o != nil && !t.policy.hostToHost() && within(o.tsLocal, local) && within(o.tsRemote, remote) {
		local, remote = o.tsLocal, o.tsRemote
	}
	if p := t.trigger; p != nil && t.old == nil && within([]TrafficSelector{p.Local}, local) && within([]TrafficSelector{p.Remote}, remote) {
		local, remote = append([]TrafficSelector{p.Local}, local...), append([]TrafficSelector{p.Remote}, remote...)
	}
	if t.alone {
		local, remote = local[:1], remote[:1]
	}
	return local, remote
}

func (p ChildPolicy) proposals() []ESPProposal {
	if len(p.Proposals) == 0 {
		return DefaultESPProposals
	}
	return p.Proposals
}

// release gives the SPI back that no pair got.
func (t *createChild) release(e *Engine) {
	if t.spi != 0 && e.spis[t.spi] == nil {
		delete(e.spis, t.spi)
	}
	t.spi = 0
}

func (t *createChild) begin(sa *ikeSA) ([]message.Payload, bool) {
	if t.old != nil && (t.old.gone || t.old.state != childReady) {
		t.abandon(sa)
		return nil, false
	}
	t.sent = true
	return t.offerTo(sa, false)
}

// abandon ends the wish without a pair.
func (t *createChild) abandon(sa *ikeSA) {
	t.release(sa.e)
	if t.old != nil && t.old.rekey == t {
		t.old.rekey = nil
		if p := t.old.peerRekey; p != nil && !t.old.gone && t.old.state == childReady {
			t.old.replace(p)
		}
		sa.e.touch(sa.s.cur)
	}
}

// done takes the response, of CREATE_CHILD_SA or of IKE_AUTH.
func (t *createChild) done(sa *ikeSA, p *parts) {
	s, e := sa.s, sa.e
	if s.ended {
		t.release(e)
		return
	}
	if n := p.failure(); n != nil && p.sa == nil {
		t.refused(sa, n)
		return
	}
	c, err := t.accept(sa, p)
	if err == nil && t.old != nil && t.old.state == childDeleting {
		err = ErrLocal // deleted here meanwhile
	}
	if err != nil {
		// The peer has a pair that we do not want.
		spi := t.spi
		t.abandon(sa)
		if p.sa != nil && len(p.sa.Proposals) == 1 && len(p.sa.Proposals[0].SPI) == 4 {
			s.cur.queue(&deleteChild{spi: spi})
		}
		if !errors.Is(err, ErrLocal) {
			if t.old != nil {
				t.old.rekeyLater()
			}
			t.failed(sa, err.Error(), sentinel(err, ErrSyntax))
		}
		return
	}
	old := t.old
	if old != nil {
		old.rekey = nil
	}
	t.spi = 0 // the pair's now
	switch {
	case old == nil:
		c.up(0, true)
	case old.peerRekey != nil && !old.peerRekey.gone && bytes.Compare(c.tie, old.peerRekey.tie) < 0:
		// RFC 7296 §2.8.1: both sides rekeyed at once. The pair with the lowest nonce goes; who made it deletes it.
		c.up(old.id, false)
		c.state, c.replacedBy, c.switched = childReplaced, old.peerRekey, true // nothing was ever sent on it
		if !old.gone {
			old.replace(old.peerRekey)
		}
		s.cur.queue(&deleteChild{c: c, why: "both sides rekeyed at once"})
	default:
		if x := old.peerRekey; x != nil && !x.gone {
			x.state, x.replacedBy, x.until = childReplaced, c, e.now.Add(lingerReplaced)
		}
		c.up(old.id, true)
		if !old.gone {
			old.replace(c)
			old.switchOver()
			s.cur.queue(&deleteChild{c: old, why: "rekeyed"})
		}
	}
}

// refused takes an error of the peer's.
func (t *createChild) refused(sa *ikeSA, n *message.Notify) {
	e, s := sa.e, sa.s
	switch n.Message {
	case message.TEMPORARY_FAILURE:
		if t.old != nil && (t.old.gone || t.old.peerRekey != nil) {
			t.abandon(sa)
			return
		}
		t.release(e)
		if t.again++; t.again <= 10 {
			s.cur.later(time.Second+e.jitter(3*time.Second), t)
			return
		}
	case message.INVALID_KE_PAYLOAD:
		if len(n.Data) == 2 && t.dh != nil {
			g := suite.Group(binary.BigEndian.Uint16(n.Data))
			if t.again++; t.again <= maxAgain && g != t.dh.Group() && slices.Contains(groups(t.offer), g) {
				t.group = g
				t.release(e)
				s.cur.queue(t)
				return
			}
		}
	case message.SINGLE_PAIR_REQUIRED:
		if !t.alone && t.old == nil {
			t.alone = true
			t.release(e)
			s.cur.queue(t)
			return
		}
	case message.CHILD_SA_NOT_FOUND:
		old := t.old
		if old == nil {
			break // to what was no rekeying: a refusal like others
		}
		t.abandon(sa)
		if !old.gone && old.state == childReady {
			// RFC 7296 §2.25: the peer does not have it; a new one takes its place.
			old.down("peer does not know it", 0)
			s.cur.queue(&createChild{policy: t.policy, tag: t.tag})
		}
		return
	}
	old := t.old
	t.abandon(sa)
	cause := ErrRefused
	switch n.Message {
	case message.NO_PROPOSAL_CHOSEN:
		cause = ErrNoProposal
		s.log(zerolog.WarnLevel, "NO_PROPOSAL_CHOSEN: peer accepts no ESP proposal of ours", Field{"event", "no-proposal"},
			Field{"policy", t.policy.Name}, Field{"offered", describe(t.offer)})
		s.logOffers(t.policy.Name, describe(t.offer), t.peerOffer())
	case message.INVALID_KE_PAYLOAD:
		cause = ErrNoProposal
		wants := "a group that it does not name"
		if len(n.Data) == 2 {
			wants = "group-" + suite.Group(binary.BigEndian.Uint16(n.Data)).Word()
		}
		s.log(zerolog.WarnLevel, "INVALID_KE_PAYLOAD: peer wants a group that we do not offer", Field{"event", "no-proposal"},
			Field{"policy", t.policy.Name}, Field{"offered", describe(t.offer)}, Field{"wanted", wants})
		s.logOffers(t.policy.Name, describe(t.offer), wants)
	case message.INTERNAL_ADDRESS_FAILURE, message.FAILED_CP_REQUIRED:
		cause = ErrNoAddress
	case message.TS_UNACCEPTABLE, message.SINGLE_PAIR_REQUIRED:
		cause = ErrSelectors
		s.log(zerolog.WarnLevel, "TS_UNACCEPTABLE: peer accepts no traffic selectors of ours", Field{"event", "no-selectors"},
			Field{"policy", t.policy.Name}, Field{"local", fmt.Sprint(t.tsLocal)}, Field{"remote", fmt.Sprint(t.tsRemote)})
	}
	if old != nil {
		old.rekeyLater()
	}
	t.failed(sa, "peer refuses: "+n.Message.String(), cause)
}

// peerOffer is what the peer last offered for the pair, as far as we know.
func (t *createChild) peerOffer() string {
	if t.old != nil && t.old.peerOffer != "" {
		return t.old.peerOffer
	}
	return "not known: it has only said no"
}

// logOffers says in words what each side wants: one line each.
func (s *session) logOffers(policy, ours, theirs string) {
	s.log(zerolog.WarnLevel, "our offer: "+ours, Field{"event", "offer"}, Field{"side", "local"}, Field{"policy", policy})
	s.log(zerolog.WarnLevel, "peer's offer: "+theirs, Field{"event", "offer"}, Field{"side", "peer"}, Field{"policy", policy})
}

// rekeyLater keeps a pair whose rekeying was refused and tries again, less and less often, until its lifetime is over.
func (c *child) rekeyLater() {
	if c.gone || c.state != childReady {
		return
	}
	wait := backOff(c.refusals)
	c.refusals++
	c.rekeyAt = c.e.now.Add(wait + c.e.jitter(wait/3))
	c.e.touch(c.s.cur)
	c.s.log(zerolog.WarnLevel, "the old child SA is kept", Field{"event", "child-kept"}, Field{"policy", c.policy.Name}, Field{"spi_in", hexSPI(c.spiIn)},
		Field{"spi_out", hexSPI(c.spiOut)}, Field{"retry_in", c.rekeyAt.Sub(c.e.now).Round(time.Second).String()},
		Field{"expires_in", c.expires.Sub(c.e.now).Round(time.Second).String()})
}

// backOff is 30 s, 1 min, … up to 8 min.
func backOff(refusals int) time.Duration { return 30 * time.Second << min(refusals, 4) }

func (t *createChild) failed(sa *ikeSA, reason string, err error) {
	sa.s.log(zerolog.WarnLevel, "no child SA", Field{"event", "child-failed"}, Field{"policy", t.policy.Name}, Field{"reason", reason})
	if t.old == nil {
		sa.e.emit(ChildFailed{sa.s.id, t.policy.Name, t.tag, reason, err})
	}
}

// accept checks the response and makes the pair; it is not installed yet.
func (t *createChild) accept(sa *ikeSA, p *parts) (*child, error) {
	if p.tsi == nil || p.tsr == nil {
		return nil, fmt.Errorf("%w: response without traffic selectors", ErrSyntax)
	}
	first := p.exchange == message.IKE_AUTH
	answer, err := accepted(t.offer, p.sa)
	if err != nil {
		return nil, err
	}
	if len(answer.SPI) != 4 || binary.BigEndian.Uint32(answer.SPI) == 0 {
		return nil, fmt.Errorf("%w: SPI of %d bytes", ErrSyntax, len(answer.SPI))
	}
	c := &child{e: sa.e, s: sa.s, policy: t.policy, tag: t.tag, spiIn: t.spi, spiOut: binary.BigEndian.Uint32(answer.SPI), mode: esp.Tunnel}
	c.suite, c.esn, c.pfs = espSuite(answer)
	if p.notify(message.USE_TRANSPORT_MODE) != nil {
		if t.policy.Mode != esp.Transport {
			return nil, fmt.Errorf("%w: transport mode was not offered", ErrSyntax)
		}
		c.mode = esp.Transport
	} else if t.policy.Mode == esp.Transport && t.policy.RequireTransport {
		// RFC 7296 §1.3.1.
		return nil, fmt.Errorf("%w, and policy %q demands it", ErrTransport, t.policy.Name)
	}
	var ok bool
	if c.tsLocal, c.tsRemote, ok = agreed(sa.s, c.mode, t.tsLocal, t.tsRemote, p.tsi.Selectors, p.tsr.Selectors); !ok {
		return nil, fmt.Errorf("%w: peer answers %v to %v", ErrSelectors, p.tsi.Selectors, p.tsr.Selectors)
	}
	ni, nr := sa.ni, sa.nr
	var shared []byte
	if !first {
		if p.nonce == nil {
			return nil, fmt.Errorf("%w: response without a nonce", ErrSyntax)
		}
		ni, nr = t.ni, p.nonce.Data
		if c.pfs != suite.GROUP_NONE {
			if t.dh == nil || p.ke == nil || suite.Group(p.ke.Group) != c.pfs || t.dh.Group() != c.pfs {
				return nil, fmt.Errorf("%w: response without the key exchange it chose", ErrSyntax)
			}
			if shared, err = t.dh.Shared(p.ke.Data); err != nil {
				return nil, fmt.Errorf("%w: %v", ErrSyntax, err)
			}
		}
	}
	c.setKeys(sa, shared, ni, nr, true)
	return c, nil
}

// answerChild is the responder's side: of IKE_AUTH (first), of CREATE_CHILD_SA for a new pair, or for one that replaces
// old. It returns the payloads of the response.
func (sa *ikeSA) answerChild(p *parts, first bool, old *child) []message.Payload {
	e, s := sa.e, sa.s
	refuse := func(n *message.Notify) []message.Payload { return []message.Payload{n} }
	if len(s.kids) >= maxChildren {
		return refuse(&message.Notify{Message: message.NO_ADDITIONAL_SAS})
	}
	var candidates []ChildPolicy
	if old != nil {
		candidates = []ChildPolicy{old.currentPolicy()}
	} else {
		candidates = s.candidates(p)
	}
	offered := p.sa.Proposals
	if first {
		offered = withoutDH(offered)
	}
	var best *selection
	var why error
	for _, policy := range candidates {
		sel, err := s.selection(policy, p, offered, first)
		if err != nil {
			if why == nil || errors.Is(err, ErrSelectors) {
				why = err
			}
			continue
		}
		if best == nil {
			best = sel
		}
		// RFC 7296 §2.9: the first selectors may be the packet that it is all about; who has those goes first.
		if within(p.tsi.Selectors[:1], sel.remote) && within(p.tsr.Selectors[:1], sel.local) {
			best = sel
			break
		}
	}
	if best == nil {
		n := &message.Notify{Message: message.NO_PROPOSAL_CHOSEN}
		msg := "NO_PROPOSAL_CHOSEN: no child policy accepts the peer's offer"
		if why == nil {
			why = fmt.Errorf("%w: no child policy belongs to profile %q", ErrConfig, s.profile.Name)
			n.Message = message.TS_UNACCEPTABLE
		}
		if errors.Is(why, ErrSelectors) {
			n.Message = message.TS_UNACCEPTABLE
			msg = "TS_UNACCEPTABLE: no child policy accepts the peer's traffic selectors"
		}
		s.log(zerolog.WarnLevel, msg, Field{"event", "child-refused"}, Field{"exchange", p.exchange.String()},
			Field{"identity", s.remoteID.String()}, Field{"offered", describe(p.sa.Proposals)},
			Field{"remote", fmt.Sprint(p.tsi.Selectors)}, Field{"local", fmt.Sprint(p.tsr.Selectors)}, Field{"reason", why.Error()})
		if errors.Is(why, ErrNoProposal) {
			s.logOffers(candidates[0].Name, describe(espOffer(candidates[0].proposals(), 0, !first)), describe(p.sa.Proposals))
		}
		if old != nil {
			old.peerOffer = describe(p.sa.Proposals)
			s.log(zerolog.WarnLevel, "the old child SA is kept", Field{"event", "child-kept"}, Field{"policy", old.policy.Name},
				Field{"spi_in", hexSPI(old.spiIn)}, Field{"spi_out", hexSPI(old.spiOut)}, Field{"expires_in", old.expires.Sub(e.now).Round(time.Second).String()})
		}
		return refuse(n)
	}
	c := &child{e: e, s: s, policy: best.policy, mode: best.mode, tsLocal: best.local, tsRemote: best.remote,
		spiOut: binary.BigEndian.Uint32(best.peer.SPI)}
	if old != nil {
		c.tag = old.tag
	}
	c.suite, c.esn, c.pfs = espSuite(best.answer)
	ni, nr := sa.ni, sa.nr
	var shared []byte
	var extra []message.Payload
	if !first {
		ni, nr = p.nonce.Data, e.random(nonceSize)
		extra = append(extra, &message.Nonce{Data: nr})
		if c.pfs != suite.GROUP_NONE {
			if p.ke == nil || suite.Group(p.ke.Group) != c.pfs {
				return refuse(&message.Notify{Message: message.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, uint16(c.pfs))})
			}
			dh, err := suite.NewDH(c.pfs, e.rand)
			if err == nil {
				shared, err = dh.Shared(p.ke.Data)
			}
			if err != nil {
				s.log(zerolog.WarnLevel, "key exchange of a child SA failed", Field{"event", "child-refused"}, Field{"reason", err.Error()})
				return refuse(syntax())
			}
			extra = append(extra, &message.KE{Group: uint16(c.pfs), Data: dh.Public()})
		}
	}
	c.spiIn = e.newSPI()
	c.setKeys(sa, shared, ni, nr, false)
	if old == nil {
		c.up(0, false)
	} else {
		c.up(old.id, false)
		if old.rekey != nil && old.rekey.sent {
			old.peerRekey = c // RFC 7296 §2.8.1: who wins is known when our response is here
		} else {
			if old.rekey != nil {
				old.rekey.abandon(sa)
			}
			old.replace(c)
		}
	}
	best.answer.SPI = be32(c.spiIn)
	var out []message.Payload
	if c.mode == esp.Transport {
		out = append(out, &message.Notify{Message: message.USE_TRANSPORT_MODE})
	}
	out = append(out, &message.Notify{Message: message.ESP_TFC_PADDING_NOT_SUPPORTED}, &message.SA{Proposals: []message.Proposal{best.answer}})
	out = append(out, extra...)
	return append(out, &message.TS{Selectors: c.tsRemote}, &message.TS{Responder: true, Selectors: c.tsLocal})
}

// selection is a policy with what it makes of an offer.
type selection struct {
	policy        ChildPolicy
	mode          esp.Mode
	answer, peer  message.Proposal
	local, remote []TrafficSelector
}

// candidates are the policies that an offer may be for, the likeliest first: one for the tunnel key that the offer hints
// at; then one that has no pair with this peer yet; then in the order of the configuration.
func (s *session) candidates(p *parts) []ChildPolicy {
	type ranked struct {
		p    ChildPolicy
		rank int
	}
	var list []ranked
	for _, c := range s.e.cfg.Children {
		if c.Profile != "" && c.Profile != s.profile.Name || vrfName(c.VRF) != s.vrf || c.LocalAddr.IsValid() && c.LocalAddr != s.local.Addr() {
			continue
		}
		if c.CallsOnly || c.RemoteAddr.IsValid() && c.RemoteAddr != s.remote.Addr() {
			continue
		}
		rank := -4*c.keyFit(p.tsi.Selectors, p.tsr.Selectors) + 2*b2i(!c.speaks(p.tsi.Selectors, p.tsr.Selectors))
		if s.serves(c.Name) {
			rank++
		}
		list = append(list, ranked{c, rank})
	}
	slices.SortStableFunc(list, func(a, b ranked) int { return a.rank - b.rank })
	out := make([]ChildPolicy, len(list))
	for i := range list {
		out[i] = list[i].p
	}
	return out
}

// speaks says whether an offer names the policy's protocol: between GRE and everything decides what the peer says, not
// what is a subset of what.
func (p ChildPolicy) speaks(tsi, tsr []TrafficSelector) bool {
	other := func(t TrafficSelector) bool { return t.Protocol != p.Protocol }
	return !slices.ContainsFunc(tsi, other) && !slices.ContainsFunc(tsr, other)
}

// serves says whether a policy has a pair under this IKE SA.
func (s *session) serves(policy string) bool {
	return slices.ContainsFunc(s.kids, func(c *child) bool { return c.policy.Name == policy && c.state == childReady })
}

// selection tries one policy.
func (s *session) selection(policy ChildPolicy, p *parts, offered []message.Proposal, first bool) (*selection, error) {
	sel := &selection{policy: policy, mode: esp.Tunnel}
	if policy.Mode == esp.Transport && p.notify(message.USE_TRANSPORT_MODE) != nil {
		sel.mode = esp.Transport
	}
	if policy.RequireTransport && sel.mode != esp.Transport {
		return nil, fmt.Errorf("%w, and policy %q demands it", ErrTransport, policy.Name)
	}
	own := espOffer(policy.proposals(), 0, !first)
	if !first {
		own = anyGroup(own)
	}
	var ok bool
	if sel.answer, sel.peer, ok = choose(own, offered); !ok || len(sel.peer.SPI) != 4 || binary.BigEndian.Uint32(sel.peer.SPI) == 0 {
		return nil, fmt.Errorf("%w: policy %q accepts %s", ErrNoProposal, policy.Name, describe(espOffer(policy.proposals(), 0, !first)))
	}
	if sel.local, sel.remote, ok = policy.answer(s, sel.mode, p.tsi.Selectors, p.tsr.Selectors); !ok {
		local, remote := policy.selectors(s)
		return nil, fmt.Errorf("%w: policy %q has local %v and remote %v", ErrSelectors, policy.Name, local, remote)
	}
	return sel, nil
}

// currentPolicy is the configuration's policy of this name now, or the one the pair was made by.
func (c *child) currentPolicy() ChildPolicy {
	if p, ok := c.e.childPolicy(c.policy.Name); ok {
		return p
	}
	return c.policy
}
