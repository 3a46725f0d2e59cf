package ikev2

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// Redirector decides whether another gateway shall serve a peer (RFC 5685). It is called on the engine's loop and answers at
// once. It may be asked twice: when an IKE_SA_INIT comes (after the cookie, before anything is kept), and when the peer is
// authenticated, before it is given anything.
type Redirector interface {
	Redirect(now time.Time, r RedirectRequest) Verdict
}

// Verdict is what becomes of a peer; the zero value serves it here.
type Verdict struct {
	// Gateway is where it shall call. It counts only for a peer that follows, and not if the peer comes from there, or that is
	// us, or of the other family.
	Gateway netip.Addr
	// Refuse answers an IKE_SA_INIT by TEMPORARY_FAILURE: nobody has room. It does not count when the peer is authenticated.
	Refuse bool
}

// RedirectRequest is who calls.
type RedirectRequest struct {
	VRF           string
	Local, Remote netip.AddrPort
	Follows       bool       // it goes where it is sent
	From          netip.Addr // the gateway that has sent it here; invalid when it came by itself
	// Authenticated: the peer is who it says, and the IKE SA would be made. Else Profile and Peer are not known.
	Authenticated bool
	Profile       string
	Peer          Identity
}

// RedirectStage is when a peer was redirected.
type RedirectStage uint8

const (
	RedirectInit RedirectStage = iota // in IKE_SA_INIT: there was no SA yet
	RedirectAuth                      // in IKE_AUTH: the gateway has proven who it is
	RedirectUp                        // the SA is up, and stays until the driver deletes it
)

func (s RedirectStage) String() string {
	return [...]string{"IKE_SA_INIT", "IKE_AUTH", "established"}[s]
}

// Redirected says that the gateway wants us to call another one: Initiate to To with RedirectedFrom = From.Addr(). At
// RedirectInit and RedirectAuth an IKEDown with ErrRedirected follows. At RedirectUp the SA stays and serves until the driver
// deletes it, when the new one is there; the gateway does it after a while.
type Redirected struct {
	SA            SAID
	Tag           any
	Stage         RedirectStage
	VRF           string
	Local, From   netip.AddrPort
	To            netip.Addr
	Profile       string
	Policy        string // of the first child that was asked for
	Peer          Identity
	Authenticated bool // the gateway has proven itself: not at RedirectInit
}

func (Redirected) action() {}

// Limits of RFC 5685 §5 (MAX_REDIRECTS in REDIRECT_LOOP_DETECT_PERIOD).
const (
	MaxRedirects       = 5
	RedirectLoopPeriod = 300 * time.Second
	// graceRedirected is how long a peer that was redirected may use its SA while it makes another.
	graceRedirected = 30 * time.Second
	// freeRedirects is how many peers are sent away or refused at once before they must show by a cookie that they are where they
	// say.
	freeRedirects = 64
)

// trailKey finds what we have been through with a gateway.
type trailKey struct {
	vrf, profile, child string
	gateway             netip.Addr
}

// trail is the times when a chain of gateways sent us on. All gateways of the chain share it.
type trail struct{ times []time.Time }

func (s *session) trailKey(gateway netip.Addr) trailKey {
	return trailKey{s.vrf, s.profile.Name, s.childName, gateway}
}

// mayFollow notes another redirect, and says whether it may be followed.
func (s *session) mayFollow(to netip.Addr) bool {
	e := s.e
	for k, t := range e.trails {
		if t.times = keep(t.times, func(at time.Time) bool { return e.now.Sub(at) < RedirectLoopPeriod }); len(t.times) == 0 {
			delete(e.trails, k)
		}
	}
	t := e.trails[s.trailKey(s.remote.Addr())]
	if t == nil {
		t = &trail{}
	}
	if len(t.times) >= MaxRedirects {
		return false
	}
	t.times = append(t.times, e.now)
	e.trails[s.trailKey(s.remote.Addr())], e.trails[s.trailKey(to)] = t, t
	return true
}

// arrived ends the trail that led to an SA's gateway, when the SA was up and ends for another reason than a redirect: who calls
// again then begins anew.
func (s *session) arrived() {
	if t := s.e.trails[s.trailKey(s.remote.Addr())]; t != nil && s.initiator && !s.established.IsZero() && !s.sentOn {
		maps.DeleteFunc(s.e.trails, func(_ trailKey, o *trail) bool { return o == t })
	}
}

// takesRedirects says whether we announce that we follow.
func (s *session) takesRedirects() bool {
	return s.initiator && s.e.cfg.FollowRedirects && s.redirectable
}

// redirectOffer is what an initiator's IKE_SA_INIT says of redirects. REDIRECTED_FROM says as well that it follows them (§3).
func (s *session) redirectOffer() []message.Payload {
	switch {
	case !s.takesRedirects():
		return nil
	case s.redirectedFrom.IsValid():
		return []message.Payload{&message.Notify{Message: message.REDIRECTED_FROM, Data: message.Redirect{Gateway: s.redirectedFrom}.Data()}}
	}
	return []message.Payload{&message.Notify{Message: message.REDIRECT_SUPPORTED}}
}

// redirects reads what an IKE_SA_INIT request says of it.
func (p *parts) redirects() (supported bool, from netip.Addr) {
	if n := p.notify(message.REDIRECTED_FROM); n != nil {
		r, err := message.ParseRedirect(n.Data)
		return err == nil, r.Gateway
	}
	return p.notify(message.REDIRECT_SUPPORTED) != nil, netip.Addr{}
}

// elsewhere asks whether another gateway shall serve a peer. It is never sent back to where it comes from, nor to us.
func (e *Engine) elsewhere(r RedirectRequest) Verdict {
	if e.cfg.Redirect == nil {
		return Verdict{}
	}
	v := e.cfg.Redirect.Redirect(e.now, r)
	if to := v.Gateway.Unmap(); r.Follows && to.IsValid() && to != r.From && to != r.Local.Addr() && to != r.Remote.Addr() && to.Is4() == r.Local.Addr().Is4() {
		return Verdict{Gateway: to}
	}
	return Verdict{Refuse: v.Refuse && !r.Authenticated}
}

// redirectInit answers an IKE_SA_INIT by the address of another gateway (§3), or refuses it, and keeps nothing.
func (e *Engine) redirectInit(d Datagram, h message.Header, p *parts) bool {
	if e.cfg.Redirect == nil {
		return false
	}
	// Nothing is kept here, so half-open SAs bound nothing; but it costs something to decide, and the Redirector counts whom it
	// has sent to another gateway.
	cookie, nonce := message.Peek(d.Data)
	proven := e.cookies.check(e, cookie, nonce, d.Remote, h.SPIi)
	if !proven && e.free.empty(e.now) {
		e.challenge(d, h, cookie, nonce)
		return true
	}
	supported, from := p.redirects()
	v := e.elsewhere(RedirectRequest{VRF: d.VRF, Local: d.Local, Remote: d.Remote, Follows: supported, From: from})
	to := v.Gateway
	if !to.IsValid() && !v.Refuse {
		return false
	}
	if !proven {
		e.free.take(e.now)
	}
	if v.Refuse {
		e.counters.RedirectsRefused++
		e.logPlain(zerolog.WarnLevel, d, "peer is refused: there is no room for it", Field{"event", "redirect"}, Field{"state", "refused"})
		e.answerInit(d, h, &message.Notify{Message: message.TEMPORARY_FAILURE})
		return true
	}
	e.counters.RedirectsSent++
	e.logPlain(zerolog.InfoLevel, d, "peer is redirected", Field{"event", "redirect"}, Field{"state", "sent"}, Field{"exchange", RedirectInit.String()}, Field{"to", to.String()})
	e.answerInit(d, h, &message.Notify{Message: message.REDIRECT, Data: message.Redirect{Gateway: to, Nonce: p.nonce.Data}.Data()})
	// Who begins anew may have lost what it had here.
	asked := 0
	for _, s := range e.withPeer(d.VRF, d.Remote.Addr()) {
		if s.established.IsZero() || e.now.Sub(s.hinted) < 10*time.Second || s.cur.pending != nil || len(s.cur.tasks) > 0 {
			continue
		}
		if asked++; asked > maxAsked || !e.hints.take(e.now) {
			break
		}
		s.hinted = e.now
		e.touch(s.cur)
		e.guard(s.cur, func() { s.cur.askQuickly(true) })
	}
	return true
}

// redirectAuth answers an authentic IKE_AUTH by the address of another gateway (§6): who we are, but no child.
func (sa *ikeSA) redirectAuth(d Datagram, h message.Header, head []message.Payload) bool {
	s := sa.s
	to := sa.e.elsewhere(RedirectRequest{VRF: s.vrf, Local: s.local, Remote: s.remote, Follows: s.redirectable, From: s.redirectedFrom, Authenticated: true,
		Profile: s.profile.Name, Peer: s.remoteID}).Gateway
	if !to.IsValid() {
		return false
	}
	sa.e.counters.RedirectsSent++
	sa.clearHandshake()
	sa.respond(d, h, append(head, &message.Notify{Message: message.REDIRECT, Data: message.Redirect{Gateway: to}.Data()}))
	s.said = true
	s.log(zerolog.InfoLevel, "peer is redirected", Field{"event", "redirect"}, Field{"state", "sent"}, Field{"exchange", RedirectAuth.String()},
		Field{"identity", s.remoteID.String()}, Field{"to", to.String()})
	// The peer deletes the SA; until then it is there for nothing else. As one that failed it counts as half-open until it is gone:
	// no other limit holds for what is never up.
	sa.state = stReplaced
	s.end("peer is redirected to "+to.String(), ErrRedirected)
	return true
}

// initRedirected takes a REDIRECT in answer to our IKE_SA_INIT. Anybody may have sent it who saw the request: what proves that is
// our nonce, and nothing more is believed than by any other refusal.
func (sa *ikeSA) initRedirected(d Datagram, n *message.Notify) {
	s := sa.s
	r, err := message.ParseRedirect(n.Data)
	switch {
	case !s.takesRedirects():
		err = fmt.Errorf("%w: we did not say that we follow", message.ErrRedirect)
	case err == nil && !bytes.Equal(r.Nonce, sa.ni):
		err = fmt.Errorf("%w: its nonce is not that of our request", message.ErrRedirect)
	}
	if err != nil {
		sa.e.malformed(d, err)
		return
	}
	if to, err := s.destination(r, RedirectInit); err != nil {
		s.fail(err.Error(), err)
	} else {
		s.fail("peer redirects us to "+to.String(), ErrRedirected)
	}
}

// authRedirected takes a REDIRECT in an authentic IKE_AUTH response.
func (sa *ikeSA) authRedirected(n *message.Notify) {
	s := sa.s
	r, err := message.ParseRedirect(n.Data)
	if err == nil && !s.takesRedirects() {
		err = fmt.Errorf("%w: we did not say that we follow", message.ErrRedirect)
	}
	var to netip.Addr
	if err == nil {
		to, err = s.destination(r, RedirectAuth)
	}
	if err != nil {
		s.end(err.Error(), sentinel(err, ErrRefused))
	} else {
		s.end("peer redirects us to "+to.String(), ErrRedirected)
	}
	// §6: the gateway has an SA now that nobody needs.
	sa.state = stDeleting
	sa.clearHandshake()
	sa.queue(&deleteIKE{})
}

// upRedirected takes a REDIRECT in an INFORMATIONAL request (§5): the SA stays until the driver has another one.
func (s *session) upRedirected(n *message.Notify) {
	r, err := message.ParseRedirect(n.Data)
	if err == nil && (!s.takesRedirects() || s.ended || s.established.IsZero()) {
		err = fmt.Errorf("%w: we did not say that we follow", message.ErrRedirect)
	}
	if err == nil {
		_, err = s.destination(r, RedirectUp)
	}
	if err != nil {
		s.log(zerolog.WarnLevel, "redirect is not followed", Field{"event", "redirect"}, Field{"state", "ignored"}, Field{"reason", err.Error()})
	}
}

// destination is where a redirect leads, if it is to be followed; the driver has been told.
func (s *session) destination(r message.Redirect, stage RedirectStage) (netip.Addr, error) {
	e := s.e
	refuse := func(cause error, format string, args ...any) (netip.Addr, error) {
		e.counters.RedirectsIgnored++
		return netip.Addr{}, fmt.Errorf("%w: %s", cause, fmt.Sprintf(format, args...))
	}
	to := r.Gateway
	switch {
	case !to.IsValid():
		return refuse(ErrRefused, "peer redirects us to %q, and only addresses are followed", r.FQDN)
	case to.Is4() != s.local.Addr().Is4():
		return refuse(ErrRefused, "peer redirects us to %v, which %v cannot reach", to, s.local.Addr())
	case to == s.remote.Addr(), to == s.local.Addr():
		return refuse(ErrRefused, "peer redirects us to %v, which is itself or us", to)
	case !s.mayFollow(to):
		return refuse(ErrRedirectLoop, "%d redirects in %v; the next would be to %v", MaxRedirects, RedirectLoopPeriod, to)
	}
	e.counters.RedirectsFollowed++
	e.emit(Redirected{SA: s.id, Tag: s.tag, Stage: stage, VRF: s.vrf, Local: s.local, From: s.remote, To: to, Profile: s.profile.Name,
		Policy: s.childName, Peer: s.remoteID, Authenticated: stage != RedirectInit})
	s.log(zerolog.DebugLevel, "peer redirects us", Field{"event", "redirect"}, Field{"state", "followed"}, Field{"exchange", stage.String()}, Field{"to", to.String()})
	s.said, s.sentOn = stage != RedirectUp, true
	return to, nil
}

// redirect tells an established peer to call another gateway.
type redirect struct{ to netip.Addr }

func (*redirect) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*redirect) movable() bool                  { return true }

func (t *redirect) begin(sa *ikeSA) ([]message.Payload, bool) {
	s := sa.s
	if s.ended {
		return nil, false
	}
	sa.e.counters.RedirectsSent++
	s.log(zerolog.InfoLevel, "peer is redirected", Field{"event", "redirect"}, Field{"state", "sent"}, Field{"exchange", RedirectUp.String()},
		Field{"identity", s.remoteID.String()}, Field{"to", t.to.String()})
	return []message.Payload{&message.Notify{Message: message.REDIRECT, Data: message.Redirect{Gateway: t.to}.Data()}}, true
}

func (t *redirect) done(sa *ikeSA, p *parts) {
	s := sa.s
	if s.ended || p.failure() != nil {
		return
	}
	s.redirectedTo, s.redirectEnd = t.to, sa.e.now.Add(graceRedirected)
	sa.e.touch(s.cur)
}

// Redirect has an established peer call another gateway (RFC 5685 §5). It keeps its SA until it has another, or half a minute.
// False: it does not follow redirects, or began none with us, or cannot go there.
func (e *Engine) Redirect(now time.Time, id SAID, to netip.Addr) ([]Action, bool) {
	s := e.sessions[id]
	to = to.Unmap()
	if s == nil || s.initiator || s.ended || s.established.IsZero() || !s.redirectable || !to.IsValid() || to == s.local.Addr() || to == s.remote.Addr() ||
		to.Is4() != s.local.Addr().Is4() {
		return nil, false
	}
	return e.with(now, id, func(s *session) {
		s.cur.tasks = slices.DeleteFunc(s.cur.tasks, func(t task) bool { _, old := t.(*redirect); return old })
		s.cur.queue(&redirect{to})
	}), true
}
