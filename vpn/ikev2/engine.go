package ikev2

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// Datagram is a UDP datagram of IKE. Data is without the non-ESP marker; Local has port 500 or 4500.
type Datagram struct {
	VRF           string
	Local, Remote netip.AddrPort
	Data          []byte
}

// InitiateRequest asks for an IKE SA with its first Child SA.
type InitiateRequest struct {
	VRF           string // front VRF; empty: "default"
	Local, Remote netip.Addr
	Port          uint16 // remote port, default 500
	Profile       string // IKE profile
	Child         string // name of the ChildPolicy; empty: an IKE SA without a child (RFC 6023)
	// Addresses has us ask for addresses of our own (CFG_REQUEST), one of each family at most: the unspecified address is any
	// of it, another one a wish, such as what the peer gave us the last time. Needs no Profile.Request. What we got is in the
	// ConfigReceived that comes after IKEUp and before the first ChildUp.
	Addresses []netip.Addr
	MOBIKE    bool    // offer it (RFC 4555): Roam may move our end later
	Trigger   *Packet // what the SA is begun for; see CreateChildFor
	Tag       any     // comes back in the actions
	// RedirectedFrom is the gateway whose Redirected this request follows: it is told to the next one (RFC 5685 §3).
	RedirectedFrom netip.Addr
	// NoRedirect: do not announce that we follow redirects, whatever Config.FollowRedirects says.
	NoRedirect bool
}

// Engine is all IKE SAs of one router. It is not safe for concurrent use: it runs on the control loop.
type Engine struct {
	cfg  Config
	rand io.Reader
	now  time.Time
	out  []Action

	nextSA    SAID
	nextChild ChildID
	sessions  map[SAID]*session
	// profiles and policies are the configuration's by name.
	profiles map[string]int
	policies map[string]int

	byAddress  index[addressKey]
	byIdentity index[identityKey]
	sas        map[uint64]*ikeSA // by the SPI that is ours
	inits      map[initKey]*ikeSA
	children   map[ChildID]*child
	spis       map[uint32]*child // by inbound SPI

	halfOpen     int
	halfOpenFrom map[netip.Addr]int
	cookies      cookieJar
	timers       timers
	dirty        map[*ikeSA]struct{}
	quiet        bucket // log lines that anybody can cause
	hints        bucket // unprotected answers that anybody can cause
	free         bucket // redirects of peers that need not show where they are
	counters     Counters

	tracing func() bool

	warned map[string]bool // about certificates of ours
	lacked map[lackKey]bool
	trails map[trailKey]*trail

	panics bool // tests: do not contain
}

// NewEngine makes an engine; rand is its only source of randomness.
func NewEngine(cfg Config, rand io.Reader) *Engine {
	e := &Engine{
		byAddress:    index[addressKey]{},
		byIdentity:   index[identityKey]{},
		rand:         rand,
		sessions:     map[SAID]*session{},
		sas:          map[uint64]*ikeSA{},
		inits:        map[initKey]*ikeSA{},
		children:     map[ChildID]*child{},
		spis:         map[uint32]*child{},
		halfOpenFrom: map[netip.Addr]int{},
		dirty:        map[*ikeSA]struct{}{},
		trails:       map[trailKey]*trail{},
		quiet:        bucket{rate: 5, size: 20},
		hints:        bucket{rate: 10, size: 20},
		free:         bucket{rate: 10, size: freeRedirects},
	}
	e.SetConfig(cfg)
	return e
}

// SetConfig changes what new exchanges may do. Running SAs stay; they take the new configuration when they rekey. What their
// profile says of their life and of configurations they take at once; see Reauthorize for what they were granted.
func (e *Engine) SetConfig(cfg Config) {
	e.cfg = cfg.withDefaults()
	e.profiles, e.policies = make(map[string]int, len(cfg.Profiles)), make(map[string]int, len(cfg.Children))
	for i, p := range slices.Backward(cfg.Profiles) {
		e.profiles[p.Name] = i
	}
	for i, p := range slices.Backward(cfg.Children) {
		e.policies[p.Name] = i
	}
	for _, s := range e.sessions {
		if p, ok := e.profile(s.profile.Name); ok && !s.established.IsZero() && !s.ended {
			s.profile.adapt(p)
			e.touch(s.cur)
		}
	}
	for sa := range e.dirty {
		e.settle(sa)
	}
}

// Receive takes a datagram. Data may be reused by the caller afterwards.
func (e *Engine) Receive(now time.Time, d Datagram) []Action {
	e.begin(now)
	e.counters.Received++
	d.VRF = vrfName(d.VRF)
	d.Local, d.Remote = unmap(d.Local), unmap(d.Remote)
	e.receive(d)
	return e.finish()
}

// Tick does what is due. Deadline says when it wants to be called next; it changes with every call of the others.
func (e *Engine) Tick(now time.Time) []Action {
	e.begin(now)
	for len(e.timers) > 0 && !e.timers[0].at.After(now) {
		sa := e.timers[0]
		e.guard(sa, func() { sa.due() })
		e.touch(sa)
		e.settle(sa)
	}
	return e.finish()
}

// Deadline is when Tick has something to do, if ever.
func (e *Engine) Deadline() (time.Time, bool) {
	if len(e.timers) == 0 {
		return time.Time{}, false
	}
	return e.timers[0].at, true
}

// CreateChild asks for another Child SA under an IKE SA. The answer is a ChildUp or a ChildFailed.
func (e *Engine) CreateChild(now time.Time, id SAID, policy string, tag any) []Action {
	return e.with(now, id, func(s *session) {
		p, ok := e.childPolicy(policy)
		if !ok {
			e.emit(ChildFailed{s.id, policy, tag, fmt.Sprintf("there is no child policy %q", policy), ErrConfig})
			return
		}
		s.cur.queue(&createChild{policy: p, tag: tag})
	})
}

// Packet is the two ends of a packet that needs a Child SA, as selectors of one address and port.
type Packet struct{ Local, Remote TrafficSelector }

// CreateChildFor is CreateChild for a packet: its selectors go first in the offer, so that a peer that narrows includes
// them, and alone if it takes one pair of addresses only (RFC 7296 §2.9).
func (e *Engine) CreateChildFor(now time.Time, id SAID, policy string, tag any, packet Packet) []Action {
	return e.with(now, id, func(s *session) {
		p, ok := e.childPolicy(policy)
		if !ok {
			e.emit(ChildFailed{s.id, policy, tag, fmt.Sprintf("there is no child policy %q", policy), ErrConfig})
			return
		}
		s.cur.queue(&createChild{policy: p, tag: tag, trigger: &packet})
	})
}

// RekeyIKE and RekeyChild replace keys now; RekeyChild is what a soft limit of volume calls.
func (e *Engine) RekeyIKE(now time.Time, id SAID) []Action {
	return e.with(now, id, func(s *session) { s.cur.startRekey() })
}

// RekeyChild replaces a pair of Child SAs now.
func (e *Engine) RekeyChild(now time.Time, id ChildID) []Action {
	c := e.children[id]
	if c == nil {
		return nil
	}
	return e.with(now, c.s.id, func(*session) { c.startRekey() })
}

// DeleteIKE, DeleteChild and DeleteAll tell the peer; the Down actions come at once.
func (e *Engine) DeleteIKE(now time.Time, id SAID, reason string) []Action {
	e.begin(now)
	if s := e.sessions[id]; s != nil {
		e.guard(s.cur, func() { s.close(reason, ErrLocal) })
	}
	return e.finish()
}

// DeleteChild deletes a pair of Child SAs.
func (e *Engine) DeleteChild(now time.Time, id ChildID, reason string) []Action {
	c := e.children[id]
	if c == nil {
		return nil
	}
	return e.with(now, c.s.id, func(*session) { c.close(reason) })
}

// DeleteAll deletes every IKE SA.
func (e *Engine) DeleteAll(now time.Time, reason string) []Action {
	e.begin(now)
	for _, id := range sortedKeys(e.sessions) {
		if s := e.sessions[id]; s != nil {
			e.guard(s.cur, func() { s.close(reason, ErrLocal) })
		}
	}
	return e.finish()
}

// Probe asks the peer whether it is alive, now.
func (e *Engine) Probe(now time.Time, id SAID) []Action {
	return e.with(now, id, func(s *session) { s.cur.probe() })
}

// NoteMoved tells that an authentic ESP packet of the SA's came from a new address (RFC 7296 §2.23).
func (e *Engine) NoteMoved(now time.Time, id SAID, remote netip.AddrPort) []Action {
	return e.with(now, id, func(s *session) {
		s.heard()
		if s.follows() {
			s.move(s.local, unmap(remote))
		}
	})
}

// UnknownSPI tells of an ESP packet for no SA of ours: INVALID_SPI goes out inside an IKE SA with that peer, else, rarely
// enough, as the unprotected hint of RFC 7296 §1.5.
func (e *Engine) UnknownSPI(now time.Time, vrf string, local, remote netip.Addr, spi uint32) []Action {
	e.begin(now)
	e.unknownSPI(vrfName(vrf), local.Unmap(), remote.Unmap(), spi)
	return e.finish()
}

// DropSA forgets an SA without a word, after a panic in its code. Nothing is sent and no action is made.
func (e *Engine) DropSA(id SAID) {
	if s := e.sessions[id]; s != nil {
		e.begin(e.now)
		s.forget()
		e.out = nil
		e.finish()
	}
}

// Counters are the counts since the beginning.
func (e *Engine) Counters() Counters {
	c := e.counters
	c.HalfOpen = e.halfOpen
	return c
}

func (e *Engine) begin(now time.Time) {
	if now.After(e.now) { // time never runs back in here
		e.now = now
	}
	e.out = nil
}

func (e *Engine) finish() []Action {
	for sa := range e.dirty {
		e.settle(sa)
	}
	out := e.out
	e.out = nil
	return out
}

// settle puts an SA's next deadline into the heap.
func (e *Engine) settle(sa *ikeSA) {
	delete(e.dirty, sa)
	at := sa.deadline()
	switch {
	case sa.at.Equal(at):
		return
	case at.IsZero():
		heap.Remove(&e.timers, sa.index)
		sa.at = time.Time{}
	case sa.at.IsZero():
		sa.at = at
		heap.Push(&e.timers, sa)
	default:
		sa.at = at
		heap.Fix(&e.timers, sa.index)
	}
}

func (e *Engine) touch(sa *ikeSA) {
	if sa != nil {
		e.dirty[sa] = struct{}{}
	}
}

func (e *Engine) with(now time.Time, id SAID, f func(*session)) []Action {
	e.begin(now)
	if s := e.sessions[id]; s != nil {
		e.touch(s.cur)
		e.guard(s.cur, func() {
			f(s)
			s.cur.pump()
		})
	}
	return e.finish()
}

// guard contains a panic: it costs the session in whose code it happened.
func (e *Engine) guard(sa *ikeSA, f func()) {
	defer func() {
		if e.panics {
			return
		}
		if cause := recover(); cause != nil {
			e.counters.Panics++
			l := Log{Level: zerolog.ErrorLevel, Msg: "IKEv2 code failed; its SA is dropped", Fields: []Field{
				{"event", "panic"}, {"cause", fmt.Sprint(cause)}, {"stack", string(debug.Stack())}}}
			if sa != nil {
				l.SA, l.VRF, l.Local, l.Remote = sa.s.id, sa.s.vrf, sa.s.local, sa.s.remote
			}
			e.emit(l)
			if sa != nil {
				sa.s.fail("internal error", ErrInternal)
			}
		}
	}()
	f()
}

func (e *Engine) emit(a Action) { e.out = append(e.out, a) }

func (e *Engine) send(vrf string, local, remote netip.AddrPort, data []byte) {
	e.traceDatagram(vrf, local, remote, data, true)
	e.counters.Sent++
	e.emit(Send{Datagram{vrf, local, remote, data}})
}

// receive looks at the fixed header, then at the SPI; only what belongs to an SA or may begin one goes further.
func (e *Engine) receive(d Datagram) {
	h, err := message.DecodeHeader(d.Data)
	if err != nil {
		e.malformed(d, err)
		return
	}
	e.traceDatagram(d.VRF, d.Local, d.Remote, d.Data, false)
	if h.Major != 2 || h.SPIi == 0 && h.Exchange != message.INFORMATIONAL {
		e.counters.Malformed++
		if h.Major > 2 && !h.Response() && h.SPIi != 0 {
			e.answerPlain(d, h, &message.Notify{Message: message.INVALID_MAJOR_VERSION})
		}
		return
	}
	if h.Exchange == message.IKE_SA_INIT {
		e.guard(nil, func() { e.receiveInit(d, h) })
		return
	}
	ours := h.SPIr
	if !h.Initiator() {
		ours = h.SPIi
	}
	sa := e.sas[ours]
	if sa == nil || sa.spiI != h.SPIi || sa.spiR != h.SPIr || sa.initiator == h.Initiator() || sa.s.vrf != d.VRF {
		e.stranger(d, h)
		return
	}
	e.touch(sa)
	e.touch(sa.s.cur)
	e.guard(sa, func() { sa.receive(d, h) })
}

// stranger answers a request for an SA that we do not have (RFC 7296 §2.21.4), and takes the hint when a peer says the
// same of us.
func (e *Engine) stranger(d Datagram, h message.Header) {
	e.counters.UnknownSPI++
	if h.Response() {
		return
	}
	if h.Exchange == message.INFORMATIONAL && (h.NextPayload == message.TypeNotify || h.SPIi == 0) {
		// §1.5: not part of an exchange, never answered.
		e.hint(d)
		return
	}
	e.answerPlain(d, h, &message.Notify{Message: message.INVALID_IKE_SPI})
}

// answerPlain is an unprotected answer to a request, rarely.
func (e *Engine) answerPlain(d Datagram, h message.Header, n *message.Notify) {
	if h.Response() || !e.hints.take(e.now) {
		return
	}
	flags := message.FlagResponse
	if !h.Initiator() {
		flags |= message.FlagInitiator
	}
	m := message.Message{Header: message.Header{SPIi: h.SPIi, SPIr: h.SPIr, Major: 2, Exchange: h.Exchange, Flags: flags, MessageID: h.MessageID},
		Payloads: []message.Payload{n}}
	e.send(d.VRF, d.Local, d.Remote, m.Encode())
}

func (e *Engine) malformed(d Datagram, err error) {
	e.counters.Malformed++
	e.logPlain(zerolog.DebugLevel, d, "malformed IKE message", Field{"event", "malformed"}, Field{"error", err.Error()})
}

// random returns n random bytes. Without randomness there is nothing safe to do.
func (e *Engine) random(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(e.rand, b); err != nil {
		panic("ikev2: no randomness: " + err.Error())
	}
	return b
}

// jitter is a random duration in [0, d).
func (e *Engine) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(e.random(8)) % uint64(d))
}

// newIKESPI is an SPI that is not in use.
func (e *Engine) newIKESPI() uint64 {
	for {
		spi := binary.BigEndian.Uint64(e.random(8))
		if _, used := e.sas[spi]; spi != 0 && !used {
			return spi
		}
	}
}

// newSPI is an inbound SPI for a Child SA. Those up to 255 are reserved (RFC 4303 §2.1).
func (e *Engine) newSPI() uint32 {
	for {
		spi := binary.BigEndian.Uint32(e.random(4))
		if _, used := e.spis[spi]; spi > 255 && !used {
			e.spis[spi] = nil // taken; child.go puts the pair there, or frees it
			return spi
		}
	}
}

func vrfName(vrf string) string {
	if vrf == "" {
		return "default"
	}
	return vrf
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func sortedKeys[K ~uint64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ErrInternal says that the SA's own code failed.
var ErrInternal = errors.New("internal error")

// bucket is a token bucket.
type bucket struct {
	rate, size float64
	tokens     float64
	last       time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.empty(now) {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) empty(now time.Time) bool {
	if b.last.IsZero() {
		b.tokens = b.size
	} else {
		b.tokens = min(b.size, b.tokens+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	return b.tokens < 1
}
