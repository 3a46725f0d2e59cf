package ikev2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// initKey finds the half-open SA that an IKE_SA_INIT request is a retransmission for.
type initKey struct {
	vrf    string
	remote netip.AddrPort
	spiI   uint64
}

// handshake is what an SA needs until it is established.
type handshake struct {
	key       initKey // responder
	request   []byte  // the IKE_SA_INIT messages as they were on the wire, for AUTH
	response  []byte
	dh        suite.DH
	peerKE    []byte // responder: the shared secret is computed when IKE_AUTH comes
	proposals []IKEProposal
	offer     []message.Proposal
	cookie    []byte
	again     int
	child     *createChild // nil: none is wanted
	profile   Profile
	wanted    []netip.Addr // addresses that we ask for
	mobike    bool         // we offer it
	childless bool         // the responder can do without a child (RFC 6023)
}

const (
	maxAgain  = 5 // cookies and other groups, before we give up
	nonceSize = 32
)

// Initiate begins an IKE SA. The SAID is 0 when it cannot even begin; the actions then hold an IKEDown that says why.
func (e *Engine) Initiate(now time.Time, r InitiateRequest) (SAID, []Action) {
	e.begin(now)
	vrf := vrfName(r.VRF)
	if r.Port == 0 {
		r.Port = portIKE
	}
	remote := netip.AddrPortFrom(r.Remote.Unmap(), r.Port)
	refuse := func(err error, format string, args ...any) (SAID, []Action) {
		reason := fmt.Sprintf(format, args...)
		e.counters.Failed++
		e.emit(IKEDown{Tag: r.Tag, Initiator: true, VRF: vrf, Remote: remote, Reason: reason, Err: err})
		e.emit(Log{Level: zerolog.WarnLevel, VRF: vrf, Remote: remote, Msg: "cannot begin an IKEv2 SA", Fields: []Field{{"event", "ike-down"}, {"reason", reason}}})
		return 0, e.finish()
	}
	profile, ok := e.profile(r.Profile)
	if !ok {
		return refuse(ErrConfig, "there is no IKEv2 profile %q", r.Profile)
	}
	var first *createChild
	if r.Child != "" {
		child, ok := e.childPolicy(r.Child)
		if !ok {
			return refuse(ErrConfig, "there is no child policy %q", r.Child)
		}
		first = &createChild{policy: child, tag: r.Tag, trigger: r.Trigger}
	}
	if !r.Local.IsValid() || !r.Remote.IsValid() || r.Local.Unmap().Is4() != r.Remote.Unmap().Is4() || r.Local.Unmap() == r.Remote.Unmap() {
		return refuse(ErrConfig, "no usable addresses: from %v to %v", r.Local, r.Remote)
	}
	if len(e.sas) >= e.cfg.MaxSAs {
		return refuse(ErrLimit, "there are %d IKE SAs already", len(e.sas))
	}
	d := Datagram{VRF: vrf, Local: netip.AddrPortFrom(r.Local.Unmap(), portIKE), Remote: remote}
	if r.Port == portNATT {
		d.Local = netip.AddrPortFrom(d.Local.Addr(), portNATT)
	}
	policy, proposals := e.policyFor(vrf, d.Local.Addr())
	offer := ikeOffer(proposals, false, 0)
	if len(groups(offer)) == 0 {
		return refuse(ErrConfig, "policy %q names no proposal with a group", policy)
	}
	s := e.newSession(d, true)
	s.tag, s.profile, s.policy, s.childName = r.Tag, profile, policy, r.Child
	s.redirectable, s.redirectedFrom = !r.NoRedirect, r.RedirectedFrom.Unmap()
	s.localID = profile.identity(d.Local.Addr())
	sa := s.newSA(true, stInit)
	s.cur = sa
	sa.spiI = e.newIKESPI()
	e.sas[sa.spiI] = sa
	sa.ni = e.random(nonceSize)
	sa.hs = &handshake{proposals: proposals, offer: offer, profile: profile, child: first, wanted: r.Addresses, mobike: r.MOBIKE}
	if err := s.canProve(); err != nil {
		s.fail(err.Error(), ErrNoKey)
		return 0, e.finish()
	}
	dh, err := suite.NewDH(groups(offer)[0], e.rand)
	if err != nil {
		s.fail(err.Error(), ErrConfig)
		return 0, e.finish()
	}
	sa.hs.dh = dh
	sa.sendInit()
	return s.id, e.finish()
}

// sendInit sends the first request, or sends it again with a cookie or another group. Its message id stays 0.
func (sa *ikeSA) sendInit() {
	e, s, hs := sa.e, sa.s, sa.hs
	var payloads []message.Payload
	if hs.cookie != nil {
		payloads = append(payloads, &message.Notify{Message: message.COOKIE, Data: hs.cookie})
	}
	payloads = append(payloads, &message.SA{Proposals: hs.offer}, &message.KE{Group: uint16(hs.dh.Group()), Data: hs.dh.Public()}, &message.Nonce{Data: sa.ni})
	payloads = append(payloads, e.natNotifies(sa.spiI, 0, s.local, s.remote)...)
	if !e.cfg.Fragmentation.Disabled {
		payloads = append(payloads, &message.Notify{Message: message.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	payloads = append(payloads, s.redirectOffer()...)
	payloads = append(payloads, s.signatureOffer(false)...)
	if !s.profile.Authorization.IsZero() {
		payloads = append(payloads, (vendorFlexVPN | vendorDynamicRoute).payloads()...)
	}
	m := message.Message{Header: sa.header(message.IKE_SA_INIT, 0, false), Payloads: payloads}
	hs.request = m.Encode()
	sa.sendID, sa.pending = 0, nil
	sa.request(nil, message.IKE_SA_INIT, [][]byte{hs.request})
}

func (e *Engine) receiveInit(d Datagram, h message.Header) {
	if h.Response() {
		sa := e.sas[h.SPIi]
		if sa == nil || sa.state != stInit || h.Initiator() || h.MessageID != 0 || sa.s.vrf != d.VRF || sa.s.remote.Addr() != d.Remote.Addr() {
			e.counters.WindowDropped++
			return
		}
		e.touch(sa)
		e.guard(sa, func() { sa.initResponse(d, h) })
		return
	}
	if !h.Initiator() || h.SPIr != 0 || h.MessageID != 0 {
		e.counters.Malformed++
		return
	}
	key := initKey{d.VRF, d.Remote, h.SPIi}
	if sa := e.inits[key]; sa != nil {
		// RFC 7296 §2.1: only the same bytes are a retransmission.
		if sa.state == stHalf && bytes.Equal(sa.hs.request, d.Data) {
			e.counters.Resent++
			e.send(d.VRF, d.Local, d.Remote, sa.hs.response)
		} else {
			e.counters.WindowDropped++
		}
		return
	}
	if e.admit(d, h) {
		e.initRequest(d, h, key)
	}
}

// initRequest is the responder's side. Nothing is kept until the request is acceptable as a whole.
func (e *Engine) initRequest(d Datagram, h message.Header, key initKey) {
	m, err := message.Decode(d.Data)
	var p *parts
	if err == nil {
		p, err = sortPayloads(h.Exchange, m.Payloads)
	}
	if c, ok := err.(errCritical); ok {
		e.answerInit(d, h, &message.Notify{Message: message.UNSUPPORTED_CRITICAL_PAYLOAD, Data: []byte{uint8(c)}})
		return
	}
	if err == nil && (p.sa == nil || p.ke == nil || p.nonce == nil) {
		err = fmt.Errorf("SA, KE or nonce is missing")
	}
	if err != nil {
		e.malformed(d, err)
		if e.hints.take(e.now) {
			e.answerInit(d, h, &message.Notify{Message: message.INVALID_SYNTAX})
		}
		return
	}
	if n := p.notify(message.NO_NATS_ALLOWED); n != nil && !bytes.Equal(n.Data, noNATs(d.Remote, d.Local)) {
		e.answerInit(d, h, &message.Notify{Message: message.UNEXPECTED_NAT_DETECTED}) // RFC 4555 §3.9
		return
	}
	if e.redirectInit(d, h, p) {
		return
	}
	policy, proposals := e.policyFor(d.VRF, d.Local.Addr())
	own := ikeOffer(proposals, true, 0)
	answer, _, ok := choose(own, p.sa.Proposals)
	if !ok {
		e.counters.Failed++
		e.logPlain(zerolog.WarnLevel, d, "NO_PROPOSAL_CHOSEN: no IKE proposal of the peer's is acceptable", Field{"event", "no-proposal"},
			Field{"exchange", "IKE_SA_INIT"}, Field{"policy", policy}, Field{"offered", describe(p.sa.Proposals)}, Field{"accepted", describe(own)})
		e.answerInit(d, h, &message.Notify{Message: message.NO_PROPOSAL_CHOSEN})
		return
	}
	chosen := ikeSuite(answer)
	if p.ke.Group != uint16(chosen.Group) {
		e.answerInit(d, h, &message.Notify{Message: message.INVALID_KE_PAYLOAD, Data: binary.BigEndian.AppendUint16(nil, uint16(chosen.Group))})
		return
	}
	if len(p.ke.Data) != suite.PublicLen(chosen.Group) {
		e.malformed(d, suite.ErrBadPublic)
		return
	}
	dh, err := suite.NewDH(chosen.Group, e.rand)
	if err != nil {
		e.malformed(d, err)
		return
	}

	s := e.newSession(d, false)
	sa := s.newSA(false, stHalf)
	s.cur, s.policy = sa, policy
	sa.spiI, sa.spiR = h.SPIi, e.newIKESPI()
	e.sas[sa.spiR] = sa
	sa.suite = chosen
	sa.ni, sa.nr = bytes.Clone(p.nonce.Data), e.random(nonceSize)
	s.tie = lower(sa.ni, sa.nr)
	sa.hs = &handshake{key: key, request: bytes.Clone(d.Data), dh: dh, peerKE: bytes.Clone(p.ke.Data)}
	e.inits[key] = sa
	s.redirectable, s.redirectedFrom = p.redirects()
	sa.count()
	sa.until = e.now.Add(e.cfg.HalfOpenTimeout)
	sa.recvID = 1
	s.setNAT(detectNAT(p, h.SPIi, 0, d))
	s.fragments = !e.cfg.Fragmentation.Disabled && p.notify(message.IKEV2_FRAGMENTATION_SUPPORTED) != nil

	payloads := []message.Payload{&message.SA{Proposals: []message.Proposal{answer}},
		&message.KE{Group: uint16(chosen.Group), Data: dh.Public()}, &message.Nonce{Data: sa.nr}}
	payloads = append(payloads, e.natNotifies(sa.spiI, sa.spiR, d.Local, d.Remote)...)
	if s.fragments {
		payloads = append(payloads, &message.Notify{Message: message.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	s.noteSignatures(p)
	payloads = append(payloads, s.signatureOffer(true)...)
	s.vendors = knownVendors(p.vendors)
	payloads = append(payloads, &message.Notify{Message: message.CHILDLESS_IKEV2_SUPPORTED})
	payloads = append(payloads, s.vendors.payloads()...)
	resp := message.Message{Header: sa.header(message.IKE_SA_INIT, 0, true), Payloads: payloads}
	sa.hs.response = resp.Encode()
	e.send(d.VRF, d.Local, d.Remote, sa.hs.response)
}

// answerInit answers an IKE_SA_INIT request without keeping anything.
func (e *Engine) answerInit(d Datagram, h message.Header, n *message.Notify) {
	m := message.Message{Header: message.Header{SPIi: h.SPIi, Major: 2, Exchange: message.IKE_SA_INIT, Flags: message.FlagResponse},
		Payloads: []message.Payload{n}}
	e.send(d.VRF, d.Local, d.Remote, m.Encode())
}

// derive computes the responder's keys at the first sign of IKE_AUTH. False: the SA is gone.
func (sa *ikeSA) derive() bool {
	if sa.in != nil {
		return true
	}
	shared, err := sa.hs.dh.Shared(sa.hs.peerKE)
	if err == nil {
		err = sa.keysFrom(shared)
	}
	if err != nil {
		sa.s.fail("key exchange: "+err.Error(), ErrSyntax)
		return false
	}
	return true
}

func (sa *ikeSA) keysFrom(shared []byte) error {
	prf, err := suite.NewPRF(sa.suite.PRF)
	if err != nil {
		return err
	}
	skeyseed := prf.SKEYSEED(sa.ni, sa.nr, shared)
	clear(shared)
	defer skeyseed.Clear()
	return sa.setKeys(skeyseed)
}

// initResponse is the initiator's side. What makes no sense is ignored, since anybody may have sent it; what refuses us
// is believed: who can read our SPI can also hold the messages up.
func (sa *ikeSA) initResponse(d Datagram, h message.Header) {
	e, s, hs := sa.e, sa.s, sa.hs
	m, err := message.Decode(d.Data)
	var p *parts
	if err == nil {
		p, err = sortPayloads(h.Exchange, m.Payloads)
	}
	if err != nil {
		e.malformed(d, err)
		return
	}
	if n := p.notify(message.COOKIE); n != nil {
		if len(n.Data) == 0 || len(n.Data) > 64 || bytes.Equal(n.Data, hs.cookie) {
			e.counters.Malformed++
			return
		}
		if hs.again++; hs.again > maxAgain {
			s.fail("peer keeps asking for cookies", ErrRefused)
			return
		}
		hs.cookie = bytes.Clone(n.Data)
		sa.sendInit()
		return
	}
	if n := p.notify(message.INVALID_KE_PAYLOAD); n != nil {
		sa.otherGroup(d, n)
		return
	}
	if n := p.notify(message.REDIRECT); n != nil {
		sa.initRedirected(d, n)
		return
	}
	if n := p.failure(); n != nil {
		reason := "peer refuses: " + n.Message.String()
		cause := ErrRefused
		if n.Message == message.NO_PROPOSAL_CHOSEN {
			cause = ErrNoProposal
			reason += ", offered was " + describe(hs.offer)
		}
		s.fail(reason, cause)
		return
	}
	if p.sa == nil || p.ke == nil || p.nonce == nil || h.SPIr == 0 {
		e.malformed(d, fmt.Errorf("SA, KE, nonce or SPI is missing"))
		return
	}
	answer, err := accepted(hs.offer, p.sa)
	if err != nil {
		e.malformed(d, err)
		return
	}
	chosen := ikeSuite(answer)
	if chosen.Group != hs.dh.Group() || p.ke.Group != uint16(chosen.Group) {
		e.malformed(d, fmt.Errorf("%w: group %d for a key exchange with group %d", ErrNoProposal, chosen.Group, hs.dh.Group()))
		return
	}
	shared, err := hs.dh.Shared(p.ke.Data)
	if err != nil {
		e.malformed(d, err)
		return
	}
	sa.suite, sa.spiR, sa.nr = chosen, h.SPIr, bytes.Clone(p.nonce.Data)
	s.tie = lower(sa.ni, sa.nr)
	if err := sa.keysFrom(shared); err != nil {
		s.fail("key exchange: "+err.Error(), ErrSyntax)
		return
	}
	hs.response = bytes.Clone(d.Data)
	s.setNAT(detectNAT(p, sa.spiI, sa.spiR, d))
	s.vendors = knownVendors(p.vendors)
	hs.childless = p.notify(message.CHILDLESS_IKEV2_SUPPORTED) != nil
	if (s.natted() || hs.mobike) && s.local.Port() == portIKE {
		// RFC 7296 §2.23: float as soon as a NAT is seen. RFC 4555 §3.3: who can do MOBIKE floats in any case.
		s.float()
	}
	s.fragments = !e.cfg.Fragmentation.Disabled && p.notify(message.IKEV2_FRAGMENTATION_SUPPORTED) != nil
	s.noteSignatures(p)
	sa.pending = nil
	sa.state = stAuth
	sa.sendAuth()
}

func (sa *ikeSA) otherGroup(d Datagram, n *message.Notify) {
	e, s, hs := sa.e, sa.s, sa.hs
	if len(n.Data) != 2 {
		e.counters.Malformed++
		return
	}
	g := suite.Group(binary.BigEndian.Uint16(n.Data))
	// A group that we did not offer would be a way to weaken us (RFC 7296 §2.7).
	if g == hs.dh.Group() || !slices.Contains(groups(hs.offer), g) {
		e.malformed(d, fmt.Errorf("peer wants group %d, which was not offered or is the one it got", g))
		return
	}
	if hs.again++; hs.again > maxAgain {
		s.fail("peer keeps asking for other groups", ErrRefused)
		return
	}
	dh, err := suite.NewDH(g, e.rand)
	if err != nil {
		e.malformed(d, err)
		return
	}
	s.log(zerolog.DebugLevel, "peer wants another group", Field{"event", "invalid-ke"}, Field{"group", int(g)})
	hs.dh = dh
	sa.sendInit()
}

func (s *session) setNAT(n NAT) {
	s.nat = n
	s.nat.Local = n.Local || s.e.cfg.ForceNAT
}

func (s *session) natted() bool { return s.nat.Local || s.nat.Remote }

// lower is the nonce that ties are broken by.
func lower(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return bytes.Clone(a)
	}
	return bytes.Clone(b)
}
