package ikev2

import (
	"crypto/x509"
	"net/netip"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/pki"

	"github.com/rs/zerolog"
)

// state is where an IKE SA is in its life.
//
//	initiator: stInit ─► stAuth ─┐
//	                             ├─► stReady ─► stReplaced (rekeyed, or lost a tie) ─┐
//	responder:         stHalf ───┘        └───► stDeleting (our delete is out) ──────┴─► stGone
type state uint8

const (
	stInit state = iota
	stHalf
	stAuth
	stReady
	stReplaced
	stDeleting
	stGone // only answers retransmissions, until its time is over
)

const (
	lingerGone      = 20 * time.Second // a finished SA answers retransmissions
	lingerReplaced  = 60 * time.Second // who should have deleted it had this long
	lingerChild     = 5 * time.Second  // packets on their way to a replaced Child SA
	graceSuperseded = 2 * time.Second  // between the peer's proof that it has the winner and the end of the loser
	holdRekeyed     = 10 * time.Second // a responder of a rekey waits so long for the initiator to be there
)

// session is an IKE SA through all its rekeying: what the world calls by its SAID.
type session struct {
	e         *Engine
	id        SAID
	tag       any
	initiator bool
	vrf       string
	local     netip.AddrPort
	remote    netip.AddrPort
	nat       NAT

	profile   Profile
	policy    string // IKE policy
	childName string // initiator: the first child's policy
	localID   Identity
	remoteID  Identity
	signed    AuthMethod
	verified  AuthMethod

	proofs [2]proof // the pre-shared keys that we, and the peer, were proven by

	signScheme, verifyScheme Scheme
	peerHashes               []message.HashAlgorithm  // SIGNATURE_HASH_ALGORITHMS
	requested                map[message.KeyHash]bool // the peer's CERTREQ
	trustpoint               *pki.Trustpoint          // what we prove ourselves with
	peerCert                 *x509.Certificate        // what the peer proved itself with; nil with a key
	peerTrustpoint           string

	vendors   vendor        // the peer's
	leased    Authorizer    // has granted, and was not told yet that we are gone
	assigned  Configuration // what the Authorizer granted
	received  Configuration // what the peer gave us
	mobike    bool          // both sides do RFC 4555
	addresses []netip.Addr  // more of the peer's (MOBIKE)
	path      path          // what the children's ESP goes by
	refusals  int           // of new keys for the IKE SA, in a row
	peerOffer string        // what the peer last offered for that, in words
	check     *routeCheck   // to send after the response

	cur         *ikeSA
	sas         []*ikeSA // cur and those on their way out
	kids        []*child
	started     time.Time // first message sent or received
	established time.Time // zero before
	ended       bool      // IKEDown was said
	fragments   bool      // both sides do RFC 7383

	lastHeard time.Time // something authentic came
	lastSent  time.Time // for NAT keepalives
	childless time.Time // since when
	hinted    time.Time // last time an unprotected hint made us probe

	tie          []byte // the lower nonce of IKE_SA_INIT
	confirmed    bool   // the peer showed that it has this SA established
	supersededBy *session
	rivals       []*session // that this one supersedes
	graceEnd     time.Time
	said         bool // the log has the reason of the end already

	redirectable   bool       // initiator: we would follow redirects; responder: the peer does
	redirectedFrom netip.Addr // who sent the initiator to the responder
	sentOn         bool       // initiator: the gateway has redirected us
	redirectedTo   netip.Addr // responder: where we have sent the established peer
	redirectEnd    time.Time  // and when it must have gone
}

// ikeSA is one set of keys of a session.
type ikeSA struct {
	e          *Engine
	s          *session
	spiI, spiR uint64
	initiator  bool // of this set of keys
	state      state
	suite      suite.IKE
	keys       suite.Keys
	prf        suite.PRF
	in, out    *suite.Protector
	ni, nr     []byte
	hs         *handshake // until established
	counted    netip.Addr // whose half-open SA this is; invalid: it is none

	// Requests of ours: one at a time.
	sendID  uint32
	pending *request
	tasks   []task
	delayed []delayedTask
	hold    time.Time // no request before this, unless the peer speaks first

	// Requests of the peer's.
	recvID     uint32
	cache      [][]byte // the response to recvID-1
	assembling [2]assembly

	created, rekeyAt, expires time.Time
	until                     time.Time // stHalf, stReplaced, stGone: the end
	rekey                     *rekeyIKE // ours, queued or under way
	peerRekey                 *ikeSA    // what the peer's rekeying made while ours was under way

	at    time.Time // in the heap
	index int
}

func (e *Engine) newSession(d Datagram, initiator bool) *session {
	e.nextSA++
	s := &session{e: e, id: e.nextSA, initiator: initiator, vrf: d.VRF, local: d.Local, remote: d.Remote,
		started: e.now, lastHeard: e.now, lastSent: e.now}
	s.path = path{s.local, s.remote, false}
	e.sessions[s.id] = s
	e.byAddress.add(s.addressKey(), s)
	return s
}

func (s *session) newSA(initiator bool, st state) *ikeSA {
	sa := &ikeSA{e: s.e, s: s, initiator: initiator, state: st, created: s.e.now}
	s.sas = append(s.sas, sa)
	s.e.touch(sa)
	return sa
}

// ours is the SPI that we chose.
func (sa *ikeSA) ours() uint64 {
	if sa.initiator {
		return sa.spiI
	}
	return sa.spiR
}

// setKeys derives everything from SKEYSEED.
func (sa *ikeSA) setKeys(skeyseed suite.Key) error {
	prf, err := suite.NewPRF(sa.suite.PRF)
	if err != nil {
		return err
	}
	k, err := prf.Derive(skeyseed, sa.ni, sa.nr, sa.spiI, sa.spiR, sa.suite.Encr, sa.suite.KeyBits, sa.suite.Integ)
	if err != nil {
		return err
	}
	protector := func(enc, integ suite.Key) (*suite.Protector, error) {
		return suite.NewProtector(sa.suite.Encr, sa.suite.KeyBits, sa.suite.Integ, enc, integ, sa.e.rand)
	}
	i, err := protector(k.Ei, k.Ai)
	if err != nil {
		return err
	}
	r, err := protector(k.Er, k.Ar)
	if err != nil {
		return err
	}
	sa.keys, sa.prf, sa.in, sa.out = k, prf, r, i
	if !sa.initiator {
		sa.in, sa.out = i, r
	}
	sa.logKeys()
	return nil
}

// ready makes an SA the current one of its session and starts its clocks.
func (sa *ikeSA) ready() {
	e, s := sa.e, sa.s
	sa.state, sa.created, sa.until = stReady, e.now, time.Time{}
	sa.setLifetime()
	if old := s.cur; old != nil && old != sa {
		e.touch(old)
		// What waits for its turn goes on under the new keys.
		for _, t := range old.tasks {
			if t.movable() {
				sa.tasks = append(sa.tasks, t)
			}
		}
		old.tasks = keep(old.tasks, func(t task) bool { return !t.movable() })
		sa.delayed = append(sa.delayed, old.delayed...)
		old.delayed = nil
	}
	s.cur = sa
	e.touch(sa)
}

// setLifetime: keys are replaced between 80 and 90 percent of their life; the jitter keeps the two sides apart.
func (sa *ikeSA) setLifetime() {
	life := sa.s.profile.Lifetime
	if life <= 0 {
		life = DefaultIKELifetime
	}
	sa.rekeyAt = sa.e.now.Add(life - life/10 - sa.e.jitter(life/10))
	sa.expires = sa.e.now.Add(life)
}

// up is called once, when both sides are authenticated.
func (s *session) up(childless bool) {
	e := s.e
	e.counters.Established++
	s.established, s.childless = e.now, e.now
	s.path = path{s.local, s.remote, s.natted()}
	e.byIdentity.add(s.identityKey(), s)
	s.heard()
	e.emit(IKEUp{SA: s.id, Initiator: s.initiator, Tag: s.tag, VRF: s.vrf, Local: s.local, Remote: s.remote, Profile: s.profile.Name,
		PeerID: s.remoteID, LocalID: s.localID, Suite: s.cur.suite, NAT: s.nat, Assigned: s.assigned, Childless: childless})
	s.log(zerolog.InfoLevel, "IKEv2 SA is up", Field{"event", "ike-up"}, Field{"identity", s.remoteID.String()},
		Field{"suite", s.cur.suite.String()}, Field{"nat_local", s.nat.Local}, Field{"nat_remote", s.nat.Remote},
		Field{"mobike", s.mobike}, Field{"childless", childless})
}

func (s *session) heard() { s.lastHeard = s.e.now }

// close ends a session and tells the peer.
func (s *session) close(reason string, err error) {
	sa := s.cur
	s.end(reason, err)
	for _, o := range s.sas {
		if o != sa && o.state == stReady { // the peer's rekeying was not settled yet
			o.state = stDeleting
			o.queue(&deleteIKE{})
		}
	}
	switch sa.state {
	case stReady:
		sa.state = stDeleting
		sa.tasks = []task{&deleteIKE{}}
		sa.delayed = nil
		sa.hold = time.Time{}
		sa.pump()
	case stAuth:
		// The peer may be established in a moment. The answer is waited for, then deleted.
	default:
		s.e.remove(sa)
	}
}

// end says that a session is gone. Its SAs may linger for their peers' sake; the world forgets them now.
func (s *session) end(reason string, err error) {
	if s.ended {
		return
	}
	s.ended = true
	e := s.e
	for len(s.kids) > 0 {
		s.kids[len(s.kids)-1].down(reason, 0)
	}
	if s.established.IsZero() {
		e.counters.Failed++
	}
	e.emit(IKEDown{SA: s.id, Tag: s.tag, Initiator: s.initiator, Established: !s.established.IsZero(), VRF: s.vrf, Remote: s.remote,
		PeerID: s.remoteID, Reason: reason, Err: err})
	switch line := []Field{{"event", "ike-down"}, {"identity", s.remoteID.String()}, {"reason", reason}}; {
	case s.said:
	case !s.established.IsZero():
		s.log(zerolog.InfoLevel, "IKEv2 SA is down", line...)
	case s.initiator || !s.remoteID.IsZero():
		s.log(zerolog.WarnLevel, "IKEv2 SA did not come up", line...)
	default: // anybody can send a first message and no second one
		e.logPlain(zerolog.DebugLevel, Datagram{VRF: s.vrf, Local: s.local, Remote: s.remote}, "IKEv2 SA did not come up", line...)
	}
	s.unlist()
	s.release()
	s.arrived()
	for _, sa := range s.sas {
		if sa.until.IsZero() {
			sa.until = e.now.Add(lingerReplaced)
			e.touch(sa)
		}
	}
	for _, o := range s.rivals {
		o.supersededBy, o.graceEnd = nil, time.Time{}
		e.touch(o.cur)
	}
	s.rivals = nil
	if w := s.supersededBy; w != nil {
		w.rivals = keep(w.rivals, func(o *session) bool { return o != s })
	}
}

// fail ends a session without a word to the peer, or after it.
func (s *session) fail(reason string, err error) {
	s.end(reason, err)
	for len(s.sas) > 0 {
		s.e.remove(s.sas[len(s.sas)-1])
	}
}

// forget is fail without actions.
func (s *session) forget() {
	s.ended = true
	for _, o := range s.rivals {
		o.supersededBy, o.graceEnd = nil, time.Time{}
		s.e.touch(o.cur)
	}
	if w := s.supersededBy; w != nil {
		w.rivals = keep(w.rivals, func(o *session) bool { return o != s })
	}
	s.rivals = nil
	for _, c := range s.kids {
		c.free()
	}
	s.kids = nil
	s.unlist()
	s.release()
	for len(s.sas) > 0 {
		s.e.remove(s.sas[len(s.sas)-1])
	}
}

// remove takes an SA out of all tables. Its keys are overwritten.
func (e *Engine) remove(sa *ikeSA) {
	sa.uncount()
	sa.clearHandshake()
	if e.sas[sa.ours()] == sa {
		delete(e.sas, sa.ours())
	}
	sa.dropTasks()
	sa.cache = nil
	sa.state, sa.until = stGone, time.Time{}
	sa.keys.Clear()
	sa.s.sas = keep(sa.s.sas, func(x *ikeSA) bool { return x != sa })
	e.touch(sa)
}

// finish lets an SA answer retransmissions for a while and nothing else.
func (sa *ikeSA) finish() {
	if !sa.s.established.IsZero() { // a failed one counts as half-open until it is forgotten
		sa.uncount()
	}
	sa.state, sa.until = stGone, sa.e.now.Add(lingerGone)
	sa.dropTasks()
	sa.e.touch(sa)
}

// dropTasks forgets what was to be asked, and frees what was reserved for it.
func (sa *ikeSA) dropTasks() {
	list := sa.tasks
	if sa.pending != nil {
		list = append(list, sa.pending.task)
	}
	for _, d := range sa.delayed {
		list = append(list, d.task)
	}
	if sa.hs != nil && sa.hs.child != nil {
		list = append(list, sa.hs.child)
	}
	for _, t := range list {
		sa.drop(t)
	}
	sa.pending, sa.tasks, sa.delayed = nil, nil, nil
}

// drop frees what was reserved for a task that will not be done.
func (sa *ikeSA) drop(t task) {
	switch t := t.(type) {
	case *createChild:
		t.abandon(sa)
	case *rekeyIKE:
		t.release(sa.e)
	}
}

func (sa *ikeSA) clearHandshake() {
	if sa.hs == nil {
		return
	}
	if k := sa.hs.key; sa.e.inits[k] == sa {
		delete(sa.e.inits, k)
	}
	if sa.hs.child != nil {
		sa.hs.child.release(sa.e)
	}
	sa.hs = nil
}

func (s *session) child(spiOut uint32) *child {
	for _, c := range s.kids {
		if c.spiOut == spiOut {
			return c
		}
	}
	return nil
}

// follows says whether authentic messages from elsewhere move the session (RFC 7296 §2.23: not when we are behind a NAT
// ourselves).
func (s *session) follows() bool { return s.nat.Remote && !s.nat.Local && !s.established.IsZero() }

func (s *session) move(local, remote netip.AddrPort) {
	if remote == s.remote {
		return
	}
	s.log(zerolog.InfoLevel, "peer behind NAT has moved", Field{"event", "moved"}, Field{"to", remote.String()})
	s.setPath(local, remote)
	s.moved()
}

func (st state) String() string {
	switch st {
	case stInit, stHalf, stAuth:
		return "IN-NEG"
	case stReady:
		return "READY"
	}
	return "DELETE"
}

func keep[T any](list []T, f func(T) bool) []T {
	out := list[:0]
	for _, v := range list {
		if f(v) {
			out = append(out, v)
		}
	}
	clear(list[len(out):])
	return out
}

func (sa *ikeSA) header(x message.ExchangeType, id uint32, response bool) message.Header {
	h := message.Header{SPIi: sa.spiI, SPIr: sa.spiR, Major: 2, Exchange: x, MessageID: id}
	if sa.initiator {
		h.Flags |= message.FlagInitiator
	}
	if response {
		h.Flags |= message.FlagResponse
	}
	return h
}
