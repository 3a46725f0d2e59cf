package ikev2

import (
	"crypto/x509"
	"errors"
	"fmt"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"

	"github.com/rs/zerolog"
)

// ikeAuth is the initiator's IKE_AUTH exchange.
type ikeAuth struct{}

func (ikeAuth) exchange() message.ExchangeType         { return message.IKE_AUTH }
func (ikeAuth) begin(*ikeSA) ([]message.Payload, bool) { return nil, false }
func (ikeAuth) movable() bool                          { return false }
func (ikeAuth) done(sa *ikeSA, p *parts)               { sa.authResponse(p) }
func (i Identity) payload(responder bool) *message.ID {
	return &message.ID{Responder: responder, IDType: i.Type, Data: []byte(i.Value)}
}
func identityOf(p *message.ID) Identity { return Identity{p.IDType, string(p.Data)} }

// sendAuth makes the initiator's IKE_AUTH request.
func (sa *ikeSA) sendAuth() {
	s := sa.s
	between := sa.e.certRequest(s.profile)
	if s.firstContact() {
		between = append(between, &message.Notify{Message: message.INITIAL_CONTACT})
	}
	payloads, err := sa.prove(false, between...)
	if err != nil {
		s.fail(err.Error(), sentinel(err, ErrNoKey))
		return
	}
	rest, err := sa.firstOffer()
	if err != nil {
		s.fail(err.Error(), ErrConfig)
		return
	}
	payloads = append(payloads, rest...)
	sa.sendID = 1
	sa.request(ikeAuth{}, message.IKE_AUTH, sa.seal(message.IKE_AUTH, 1, false, payloads))
}

// authRequest is the responder's side of IKE_AUTH.
func (sa *ikeSA) authRequest(d Datagram, h message.Header, p *parts) {
	s, e := sa.s, sa.e
	if p.idi == nil || !p.wholeChild() {
		sa.invalidSyntax(d, h, "IKE_AUTH without IDi, SA or traffic selectors")
		return
	}
	s.remoteID = identityOf(p.idi)
	refuse := func(err error) { sa.refuseAuth(d, h, err) }
	var wanted Identity
	if p.idr != nil {
		wanted = identityOf(p.idr)
	}
	leaf := e.leafOf(p)
	profile, ok := e.profileFor(s.vrf, s.local.Addr(), s.remoteID, wanted, leaf)
	if !ok {
		refuse(noProfile("none has a", leaf, fmt.Sprintf(", local address %v and vrf %s", s.local.Addr(), s.vrf)))
		return
	}
	s.profile = profile
	s.noteSignatures(p)
	if p.auth == nil {
		refuse(fmt.Errorf("%w: peer wants EAP, profile %q does not", ErrAuthentication, profile.Name))
		return
	}
	if err := sa.verifyPeer(p.idi, p.auth, p.others); err != nil {
		refuse(err)
		return
	}
	proof, err := sa.prove(true)
	if err != nil {
		refuse(err)
		return
	}
	if sa.redirectAuth(d, h, proof) {
		return
	}
	if p.notify(message.INITIAL_CONTACT) == nil && s.crowded() {
		refuse(fmt.Errorf("%w: this peer has %d IKE SAs already", ErrLimit, e.cfg.MaxSAsPeer))
		return
	}
	sa.establish(d, h, p, proof)
}

// refuseAuth ends an attempt whose initiator is not who it should be, or may not have what it wants.
func (sa *ikeSA) refuseAuth(d Datagram, h message.Header, err error) {
	s := sa.s
	s.authFailed(s.remoteID, err.Error())
	sa.respond(d, h, []message.Payload{&message.Notify{Message: message.AUTHENTICATION_FAILED}})
	s.end(fmt.Sprintf("authentication failed for peer %v (identity %v: %v)", s.remote, s.remoteID, err), sentinel(err, ErrAuthentication))
	sa.finish()
}

// authResponse is the initiator's side of IKE_AUTH.
func (sa *ikeSA) authResponse(p *parts) {
	s, e := sa.s, sa.e
	if s.ended {
		// Closed meanwhile. A peer that is established must be told.
		if p.auth == nil {
			e.remove(sa)
			return
		}
		sa.state = stDeleting
		sa.clearHandshake()
		sa.queue(&deleteIKE{})
		return
	}
	if p.idr == nil || p.auth == nil {
		n := p.failure()
		switch {
		case n == nil:
			s.fail("peer's IKE_AUTH response has no IDr or AUTH", ErrSyntax)
		case n.Message == message.AUTHENTICATION_FAILED:
			s.authFailed(s.localID, "peer does not accept our identity or key")
			s.fail("peer refuses us: AUTHENTICATION_FAILED", ErrAuthentication)
		default:
			s.fail("peer refuses: "+n.Message.String(), ErrRefused)
		}
		return
	}
	s.remoteID = identityOf(p.idr)
	var err error
	leaf := e.leafOf(p)
	if _, ok := s.profile.match(s.remoteID, leaf); !ok {
		err = noProfile(fmt.Sprintf("profile %q has no", s.profile.Name), leaf, "")
	} else {
		err = sa.verifyPeer(p.idr, p.auth, p.others)
	}
	if err != nil {
		s.authFailed(s.remoteID, err.Error())
		s.end(fmt.Sprintf("authentication failed for peer %v (identity %v: %v)", s.remote, s.remoteID, err), sentinel(err, ErrAuthentication))
		// RFC 7296 §2.21.2: the responder believes that the SA is up.
		sa.state = stDeleting
		sa.clearHandshake()
		sa.queue(&tellFailure{})
		return
	}
	if n := p.notify(message.REDIRECT); n != nil {
		sa.authRedirected(n)
		return
	}
	s.confirmed = true
	sa.established(p)
}

func (s *session) authFailed(id Identity, reason string) {
	s.e.counters.AuthFailed++
	s.said = true
	s.log(zerolog.WarnLevel, "authentication failed", Field{"event", "auth-failed"}, Field{"identity", id.String()},
		Field{"id_type", id.Type.String()}, Field{"profile", s.profile.Name}, Field{"reason", reason})
}

// noProfile says what no match rule fits.
func noProfile(who string, leaf *x509.Certificate, where string) error {
	certificate := ""
	if leaf != nil {
		certificate = fmt.Sprintf(", the certificate of %q", pki.Subject(leaf))
	}
	return fmt.Errorf("%w: %s match rule for this identity%s%s", ErrNoProfile, who, certificate, where)
}

// tellFailure says that the responder did not authenticate itself.
type tellFailure struct{}

func (*tellFailure) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*tellFailure) movable() bool                  { return false }
func (*tellFailure) done(sa *ikeSA, _ *parts)       { sa.e.remove(sa) }
func (*tellFailure) begin(*ikeSA) ([]message.Payload, bool) {
	return []message.Payload{&message.Notify{Message: message.AUTHENTICATION_FAILED}}, true
}

// sentinel is the package's error that err wraps.
func sentinel(err, other error) error {
	for _, s := range []error{ErrNoProfile, ErrNoKey, ErrUnauthorized, ErrNoAddress, ErrLimit, ErrRedirectLoop, ErrRefused, ErrAuthentication, ErrNoProposal, ErrSelectors, ErrTransport} {
		if errors.Is(err, s) {
			return s
		}
	}
	return other
}
