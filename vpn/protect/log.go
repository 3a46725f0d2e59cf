package protect

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"felloe/vpn/ikev2"

	"github.com/rs/zerolog"
)

var (
	randReader io.Reader = rand.Reader
	noAddr     netip.Addr
)

// random is a number in [0, 1).
func (m *Manager) random() float64 {
	var b [8]byte
	if _, err := io.ReadFull(m.o.Rand, b[:]); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

// quietFor is how long the same complaint about the same peer is not repeated.
const quietFor = 5 * time.Minute

// quiet holds back what was said a moment ago. It is bounded, since the peers it is about may be anybody.
type quiet struct {
	said map[netip.Addr]map[string]time.Time
}

const maxQuiet = 1024

func newQuiet() *quiet { return &quiet{said: map[netip.Addr]map[string]time.Time{}} }

// allow tells whether what has not been said about the peer for d; if so, it counts as said now.
func (q *quiet) allow(peer netip.Addr, what string, now time.Time, d time.Duration) bool {
	if at, ok := q.said[peer][what]; ok && now.Sub(at) < d {
		return false
	}
	if q.said[peer] == nil {
		for other := range q.said {
			if len(q.said) < maxQuiet {
				break
			}
			delete(q.said, other) // any: who is told of twice does no harm
		}
		q.said[peer] = map[string]time.Time{}
	}
	q.said[peer][what] = now
	return true
}

func (q *quiet) forget(peer netip.Addr) {
	delete(q.said, peer)
}

func spi(v uint32) string { return fmt.Sprintf("0x%08x", v) }

// LogSessions makes a notification of the line that says that a session has come or gone (IOS: `crypto logging session`).
// Without it the line is there for information.
func (m *Manager) LogSessions(on bool) { m.logSessions = on }

func (m *Manager) status(e *zerolog.Event) *zerolog.Event {
	if m.logSessions {
		return e.Str("mnemonic", "CRYPTO-5-IKEV2_SESSION_STATUS")
	}
	return e
}

func (m *Manager) logIKEUp(a ikev2.IKEUp) {
	m.status(m.o.Log.Info().Str("event", "ike-up")).
		Stringer("peer", a.Remote).Str("vrf", a.VRF).Stringer("identity", a.PeerID).Str("profile", a.Profile).
		Stringer("suite", a.Suite).Bool("initiator", a.Initiator).Bool("nat", a.NAT.Local || a.NAT.Remote).
		Msgf("Crypto tunnel v2 is UP.  Peer %s Id: %s", a.Remote, a.PeerID)
}

func (m *Manager) logIKERekeyed(a ikev2.IKERekeyed) {
	e := m.o.Log.Info().Str("event", "ike-rekeyed")
	if ike := m.ikes[a.SA]; ike != nil {
		e = e.Stringer("peer", ike.remote).Str("vrf", ike.vrf)
	}
	e.Msg("IKE SA has new keys")
}

func (m *Manager) logIKEDown(a ikev2.IKEDown) {
	if a.Established {
		m.status(m.o.Log.Info().Str("event", "ike-down")).
			Stringer("peer", a.Remote).Str("vrf", a.VRF).Stringer("identity", a.PeerID).Str("reason", a.Reason).
			Msgf("Crypto tunnel v2 is DOWN.  Peer %s Id: %s", a.Remote, a.PeerID)
		return
	}
	if errors.Is(a.Err, ikev2.ErrSuperseded) || errors.Is(a.Err, ikev2.ErrLocal) || errors.Is(a.Err, ikev2.ErrRedirected) {
		return
	}
	name := failureName(a.Err)
	e := m.o.Log.Warn()
	if !m.quiet.allow(a.Remote.Addr(), name, m.now(), quietFor) {
		e = m.o.Log.Debug().Str("debug", "ikev2 error")
	}
	e = e.Str("event", name).Str("mnemonic", "IKEV2-3-NEG_ABORT").Stringer("peer", a.Remote).Str("vrf", a.VRF).Str("reason", a.Reason)
	if s, ok := a.Tag.(*session); ok {
		e = e.Str("tunnel", s.t.name)
	}
	e.Msgf("Negotiation aborted due to ERROR: %s", cmpReason(a.Reason, a.Err))
}

func cmpReason(why string, err error) string {
	if why == "" && err != nil {
		return err.Error()
	}
	return why
}

// failureName is the event's name of a negotiation that came to nothing.
func failureName(err error) string {
	for _, f := range []struct {
		err  error
		name string
	}{
		{ikev2.ErrAuthentication, "auth-failed"}, {ikev2.ErrNoKey, "no-key"}, {ikev2.ErrNoProfile, "no-profile"},
		{ikev2.ErrNoProposal, "no-proposal"}, {ikev2.ErrSelectors, "selectors-refused"}, {ikev2.ErrTransport, "transport-refused"},
		{ikev2.ErrTimeout, "peer-silent"}, {ikev2.ErrDead, "peer-dead"}, {ikev2.ErrConfig, "config-incomplete"},
		{ikev2.ErrLimit, "too-many-sas"}, {ikev2.ErrSyntax, "invalid-message"},
	} {
		if errors.Is(err, f.err) {
			return f.name
		}
	}
	return "ike-failed"
}

func (m *Manager) pairFields(e *zerolog.Event, p *pair) *zerolog.Event {
	return e.Str("tunnel", p.s.t.name).Stringer("peer", p.up.Remote).Str("vrf", p.s.t.cfg.VRF).
		Str("spi", spi(p.up.SPIIn)).Str("spi_out", spi(p.up.SPIOut))
}

func (m *Manager) logChildUp(p *pair) {
	if p.up.Replaces != 0 {
		return // said when sending moves to it
	}
	m.pairFields(m.o.Log.Info().Str("event", "child-up"), p).Stringer("suite", p.up.Suite).Stringer("mode", p.up.Mode).
		Bool("encap", p.up.UDPEncap).Msg("IPsec SAs are installed")
}

func (m *Manager) logRekeyed(p *pair, a ikev2.ChildRekeyed) {
	m.pairFields(m.o.Log.Info().Str("event", "child-rekeyed"), p).Msg("IPsec SAs have new keys")
}

func (m *Manager) logChildDown(p *pair, a ikev2.ChildDown) {
	if a.ReplacedBy != 0 {
		return
	}
	m.pairFields(m.o.Log.Info().Str("event", "child-down"), p).Str("reason", a.Reason).Msg("IPsec SAs are deleted")
}

func (m *Manager) logChildFailed(s *session, a ikev2.ChildFailed) {
	e := m.o.Log.Warn()
	if !m.quiet.allow(s.nbma, failureName(a.Err), m.now(), quietFor) {
		e = m.o.Log.Debug().Str("debug", "ipsec error")
	}
	e.Str("event", "child-failed").Str("tunnel", s.t.name).Stringer("peer", s.nbma).Str("vrf", s.t.cfg.VRF).
		Str("reason", cmpReason(a.Reason, a.Err)).Msg("no IPsec SAs could be agreed on")
}

func (m *Manager) logInstall(s *session, up ikev2.ChildUp, err error) {
	m.o.Log.Error().Str("event", "child-failed").Str("tunnel", s.t.name).Stringer("peer", up.Remote).Str("vrf", s.t.cfg.VRF).
		Str("spi", spi(up.SPIIn)).Err(err).Msg("IPsec SAs could not be installed")
}

func (m *Manager) logHomeless(up ikev2.ChildUp) {
	if m.quiet.allow(up.Remote.Addr(), "homeless", m.now(), quietFor) {
		m.o.Log.Warn().Str("event", "child-refused").Stringer("peer", up.Remote).Str("vrf", up.VRF).Stringer("identity", up.Peer).
			Str("policy", up.Policy).Msg("a peer's IPsec SAs are deleted: no tunnel with this policy is for it (look at tunnel source and destination)")
	}
}

func (m *Manager) logUnknownSPI(vrf string, remote netip.Addr, v uint32) {
	e := m.o.Log.Info()
	if !m.quiet.allow(remote, "unknown spi said", m.now(), quietFor) {
		e = m.o.Log.Debug().Str("debug", "ipsec error")
	}
	e.Str("event", "unknown-spi").Str("mnemonic", "CRYPTO-4-RECVD_PKT_INV_SPI").Stringer("peer", remote).Str("vrf", vrf).Str("spi", spi(v)).
		Msgf("decaps: rec'd IPSEC packet has invalid spi for srcaddr=%s, spi=%s", remote, spi(v))
}

// logSession logs what happened to a session; Up and Down are said by the SAs' own lines.
func (m *Manager) logSession(s *session, ev Event) {
	switch ev.Kind {
	case Moved:
		m.o.Log.Info().Str("event", "peer-moved").Str("tunnel", s.t.name).Stringer("from", ev.From).Stringer("peer", ev.Remote).Str("vrf", s.t.cfg.VRF).
			Msg("the peer has a new address or port")
	default:
		m.o.Log.Debug().Str("debug", "tunnel").Str("event", "session").Str("tunnel", s.t.name).Stringer("peer", ev.Remote).
			Str("vrf", s.t.cfg.VRF).Stringer("state", ev.Kind).Str("reason", ev.Reason).Msg("tunnel session")
	}
}

// ours are the engine's events that the Manager has a line of its own for, with the tunnel's name in it.
var ours = map[string]bool{"ike-up": true, "ike-down": true, "ike-rekeyed": true, "child-up": true, "child-down": true,
	"child-failed": true, "auth-failed": true, "moved": true}

// logEngine passes the engine's own lines on: those that the Manager has too, and repeated complaints about one peer,
// only when debugging.
func (m *Manager) logEngine(a ikev2.Log) {
	level, event, debug := a.Level, "", "ikev2 internal"
	for _, f := range a.Fields {
		switch v, _ := f.Value.(string); f.Key {
		case "event":
			event = v
		case "debug":
			debug = ""
		}
	}
	switch {
	case event == "child-up", event == "child-down":
		level, debug = zerolog.DebugLevel, "ipsec"
	case event == "child-failed":
		level, debug = zerolog.DebugLevel, "ipsec error"
	case event == "auth-failed", event == "malformed", event == "decrypt-failed":
		level, debug = zerolog.DebugLevel, "ikev2 error"
	case ours[event]:
		level = zerolog.DebugLevel
	case level >= zerolog.WarnLevel && !m.quiet.allow(a.Remote.Addr(), event, m.now(), quietFor):
		level, debug = zerolog.DebugLevel, "ikev2 error"
	}
	var e *zerolog.Event
	switch {
	case level >= zerolog.ErrorLevel:
		e = m.o.Log.Error()
	case level == zerolog.WarnLevel:
		e = m.o.Log.Warn()
	case level == zerolog.InfoLevel:
		e = m.o.Log.Info()
	default:
		if e = m.o.Log.Debug(); debug != "" {
			e = e.Str("debug", debug)
		}
	}
	for _, f := range a.Fields {
		e = e.Interface(f.Key, f.Value)
	}
	if a.Remote.IsValid() {
		e = e.Stringer("peer", a.Remote)
	}
	if a.VRF != "" {
		e = e.Str("vrf", a.VRF)
	}
	e.Msg(a.Msg)
}
