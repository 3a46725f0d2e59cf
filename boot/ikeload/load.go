package ikeload

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// Options are what a load is. Zero values mean the defaults.
type Options struct {
	Peers    int // sessions
	Parallel int // sessions that are in a phase at a time; default 16
	Local    netip.Addr
	Target   netip.Addr
	Port     uint16 // where the first message goes: 500 (the default) or 4500
	UDP      bool   // claim a NAT, so that ESP travels in UDP

	Identity func(n int) ikev2.Identity // of session n, from 1
	Key      suite.Key
	Proposal ikev2.IKEProposal
	ESP      ikev2.ESPProposal
	Lifetime time.Duration // after which we rekey Child SAs; default: no sooner than a day

	// VirtualIP asks for inner addresses of these families (their unspecified addresses) instead of having them from Inner.
	VirtualIP []netip.Addr
	Inner     netip.Prefix   // session n has the n-th address of it
	Remote    []netip.Prefix // the responder's side of the selectors; default everything of Inner's family

	Probe   netip.Addr // inner address that answers echo requests; invalid: none are sent
	Rekey   bool
	Hold    time.Duration // before rekeying, and again before deleting
	Keep    bool          // do not delete
	Timeout time.Duration // of a session in a phase; default a minute

	Rand io.Reader // default crypto/rand
	// Progress is told of each phase that has ended, and of holding as it begins.
	Progress func(line string)
	// Log is told of what the engine warns of.
	Log func(line string)
}

// Wire carries datagrams, for one goroutine that sends.
type Wire interface {
	Send(Frame)
	// Frames are what arrives. It is closed when the wire is broken.
	Frames() <-chan Frame
}

// Frame is a datagram of IKE, or an ESP packet. IKE's ports are 500 or 4500 here, whatever they are on the wire.
type Frame struct {
	Local, Remote netip.AddrPort
	ESP           bool
	Data          []byte // without the non-ESP marker; ESP from its SPI on
}

// Load is many initiators.
type Load struct {
	o        Options
	e        *ikev2.Engine
	wire     Wire
	sessions []*session
	bySA     map[ikev2.SAID]*session
	bySPI    map[uint32]*pair
	byChild  map[ikev2.ChildID]*pair
	deletes  map[exchange]*session // that wait for an answer
	dying    []dying
	phase    *phase
	next     <-chan struct{}
	report   Report
}

// session is one initiator.
type session struct {
	n       int
	id      ikev2.SAID
	state   state
	inner   netip.Addr
	child   ikev2.ChildID
	out     *pair // what is sent on
	warning string
	began   time.Time // of the phase
	tries   int       // of the probe
	again   time.Time // when to try again
	rekeyed struct{ ike, child int }
}

type state int

const (
	idle state = iota
	negotiating
	up
	lost // was up, and ended by itself
	failed
	gone
)

// dying is an inbound SA that lingers.
type dying struct {
	spi uint32
	at  time.Time
}

// New makes a load.
func New(o Options, w Wire) (*Load, error) {
	if o.Peers <= 0 {
		return nil, fmt.Errorf("%d peers are none", o.Peers)
	}
	if o.Local = o.Local.Unmap(); !o.Local.IsValid() || !o.Target.IsValid() || o.Local.Is4() != o.Target.Unmap().Is4() {
		return nil, fmt.Errorf("no way from %v to %v", o.Local, o.Target)
	}
	if o.Parallel <= 0 {
		o.Parallel = 16
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Lifetime <= 0 {
		o.Lifetime = 24 * time.Hour
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	for _, f := range []*func(string){&o.Progress, &o.Log} {
		if *f == nil {
			*f = func(string) {}
		}
	}
	l := &Load{o: o, wire: w, bySA: map[ikev2.SAID]*session{}, bySPI: map[uint32]*pair{}, byChild: map[ikev2.ChildID]*pair{}, deletes: map[exchange]*session{}}
	cfg, err := l.config()
	if err != nil {
		return nil, err
	}
	l.e = ikev2.NewEngine(cfg, o.Rand)
	l.report = Report{Target: o.Target.String(), Peers: o.Peers, Parallel: o.Parallel, Lost: map[string]int{}}
	return l, nil
}

// config is the engine's: a profile and a child policy for each session.
func (l *Load) config() (ikev2.Config, error) {
	o := &l.o
	cfg := ikev2.Config{
		Proposals: []ikev2.IKEProposal{o.Proposal}, Policies: []ikev2.Policy{{Name: "load", Proposals: []string{o.Proposal.Name}}},
		MaxSAs: 1 << 20, ChildlessTimeout: -1, ForceNAT: o.UDP,
	}
	if len(o.Proposal.Groups) == 0 {
		cfg.Policies = nil // the smart default
	}
	esps := []ikev2.ESPProposal{o.ESP}
	if len(o.ESP.Suites) == 0 {
		esps = slices.Clone(ikev2.DefaultESPProposals)
		esps[0].Groups = o.ESP.Groups
	}
	inner := o.Inner.Addr()
	seen := map[ikev2.Identity]int{}
	for n := 1; n <= o.Peers; n++ {
		s := &session{n: n}
		id := o.Identity(n)
		if other := seen[id]; other > 0 {
			return cfg, fmt.Errorf("the sessions %d and %d have the same identity %v", other, n, id)
		}
		seen[id] = n
		name := fmt.Sprint(n)
		p := ikev2.ChildPolicy{Name: name, Profile: name, Proposals: esps, Mode: esp.Tunnel, Lifetime: o.Lifetime}
		v4, v6 := inner.Is4(), inner.Is6()
		if len(o.VirtualIP) == 0 {
			if inner = inner.Next(); !o.Inner.Contains(inner) {
				return cfg, fmt.Errorf("%v has no %d addresses", o.Inner, o.Peers)
			}
			s.inner = inner
			p.TSLocal = []netip.Prefix{netip.PrefixFrom(inner, inner.BitLen())}
		} else {
			v4 = slices.ContainsFunc(o.VirtualIP, netip.Addr.Is4)
			v6 = slices.ContainsFunc(o.VirtualIP, netip.Addr.Is6)
			p.TSLocal = everything(v4, v6)
		}
		if p.TSRemote = o.Remote; len(p.TSRemote) == 0 {
			p.TSRemote = everything(v4, v6)
		}
		cfg.Children = append(cfg.Children, p)
		cfg.Profiles = append(cfg.Profiles, ikev2.Profile{Name: name, MatchRemote: []ikev2.IdentityMatch{{Any: true}}, MatchVRF: "*", Identity: id,
			Key: ikev2.ProfileKey{Local: o.Key, Remote: o.Key}, Lifetime: 7 * 24 * time.Hour, NoInitialContact: true})
		l.sessions = append(l.sessions, s)
	}
	return cfg, nil
}

func everything(v4, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	if v4 {
		out = append(out, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	if v6 {
		out = append(out, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return out
}

// Run goes through all phases. next ends a hold before its time. When ctx ends, the sessions that are up are deleted.
func (l *Load) Run(ctx context.Context, next <-chan struct{}) *Report {
	l.next = next
	l.run(ctx, "set-up", l.sessions, func(s *session) { l.initiate(s) })
	probe := func() {
		if l.o.Probe.IsValid() {
			l.run(ctx, "probe", l.up(), func(s *session) { l.probe(s) })
		}
	}
	probe()
	l.hold(ctx)
	if l.o.Rekey {
		l.run(ctx, "rekey child", l.up(), func(s *session) { l.do(l.e.RekeyChild(time.Now(), s.child)) })
		probe()
		l.run(ctx, "rekey ike", l.up(), func(s *session) { l.do(l.e.RekeyIKE(time.Now(), s.id)) })
		probe()
		l.hold(ctx)
	}
	for _, s := range l.sessions {
		l.report.RekeyedIKE += s.rekeyed.ike
		l.report.RekeyedChild += s.rekeyed.child
		if s.state == up && s.out == nil {
			l.report.Lost["its Child SA is gone"]++
		}
	}
	l.report.Up = len(l.up())
	if !l.o.Keep {
		// Deleting is not stopped by what has stopped the rest; its own time limits it.
		l.run(context.WithoutCancel(ctx), "delete", l.up(), func(s *session) { l.remove(s) })
	}
	c := l.e.Counters()
	l.report.Sent, l.report.Received, l.report.Retransmitted = c.Sent, c.Received, c.Retransmitted
	l.report.Stopped = ctx.Err() != nil
	return &l.report
}

func (l *Load) up() []*session {
	return slices.DeleteFunc(slices.Clone(l.sessions), func(s *session) bool { return s.state != up })
}

func (l *Load) initiate(s *session) {
	s.state = negotiating
	id, acts := l.e.Initiate(time.Now(), ikev2.InitiateRequest{Local: l.o.Local, Remote: l.o.Target, Port: l.o.Port, Profile: fmt.Sprint(s.n),
		Child: fmt.Sprint(s.n), Addresses: l.o.VirtualIP, Tag: s})
	if s.id = id; id != 0 {
		l.bySA[id] = s
	}
	l.do(acts)
}

// hold lets time pass; the sessions are kept.
func (l *Load) hold(ctx context.Context) {
	if l.o.Hold <= 0 || ctx.Err() != nil {
		return
	}
	began := time.Now()
	l.o.Progress(fmt.Sprintf("holding %d sessions for %v at most", len(l.up()), l.o.Hold))
	var ike, child int
	look := began.Add(time.Second)
	for end := began.Add(l.o.Hold); time.Now().Before(end); {
		until := end
		if look.Before(end) {
			until = look
		}
		if !l.wait(ctx, until, l.next) {
			break
		}
		if now := time.Now(); !now.Before(look) {
			look = now.Add(time.Second)
			if i, c := l.rekeys(); i > ike || c > child {
				ike, child = i, c
				l.o.Progress(fmt.Sprintf("of %d sessions each IKE SA was rekeyed %d times at least, each Child SA %d times", len(l.up()), ike, child))
			}
		}
	}
	l.o.Progress(fmt.Sprintf("held %d sessions for %v", len(l.up()), time.Since(began).Round(time.Second)))
}

// rekeys is how often every session that is up was rekeyed at least, by either side.
func (l *Load) rekeys() (ike, child int) {
	for i, s := range l.up() {
		if i == 0 {
			ike, child = s.rekeyed.ike, s.rekeyed.child
		}
		ike, child = min(ike, s.rekeyed.ike), min(child, s.rekeyed.child)
	}
	return ike, child
}

// wait does the next thing that happens, until a time at the latest; false: it was interrupted.
func (l *Load) wait(ctx context.Context, until time.Time, stop <-chan struct{}) bool {
	if at, ok := l.e.Deadline(); ok && at.Before(until) {
		until = at
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	case f, ok := <-l.wire.Frames():
		if !ok {
			return false
		}
		l.receive(f)
		for range 64 { // and what else is there already
			select {
			case f, ok := <-l.wire.Frames():
				if ok {
					l.receive(f)
				}
				continue
			default:
			}
			break
		}
	case <-t.C:
	}
	now := time.Now()
	if at, ok := l.e.Deadline(); ok && !at.After(now) {
		l.do(l.e.Tick(now))
	}
	for len(l.dying) > 0 && !l.dying[0].at.After(now) {
		delete(l.bySPI, l.dying[0].spi)
		l.dying = l.dying[1:]
	}
	return true
}

func (l *Load) receive(f Frame) {
	if f.ESP {
		l.opened(f)
		return
	}
	if x, ok := exchangeOf(f.Data, true); ok && l.deletes[x] != nil {
		l.done(l.deletes[x], "delete")
		delete(l.deletes, x)
	}
	l.do(l.e.Receive(time.Now(), ikev2.Datagram{Local: f.Local, Remote: f.Remote, Data: f.Data}))
}

// do carries out the engine's actions.
func (l *Load) do(acts []ikev2.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case ikev2.Send:
			l.wire.Send(Frame{Local: a.Local, Remote: a.Remote, Data: a.Data})
		case ikev2.ConfigReceived:
			if s := l.bySA[a.SA]; s != nil && len(a.Configuration.Addresses) > 0 && len(l.o.VirtualIP) > 0 {
				s.inner = a.Configuration.Addresses[0].Addr()
			}
		case ikev2.ChildUp:
			l.childUp(a)
		case ikev2.ChildRekeyed:
			l.childRekeyed(a)
		case ikev2.ChildDown:
			l.childDown(a)
		case ikev2.ChildFailed:
			if s := l.bySA[a.SA]; s != nil {
				l.fail(s, reason(a.Reason, a.Err))
			}
		case ikev2.IKERekeyed:
			if s := l.bySA[a.SA]; s != nil {
				s.rekeyed.ike++
				l.done(s, "rekey ike")
			}
		case ikev2.IKEDown:
			l.ikeDown(a)
		case ikev2.PeerMoved:
			if s := l.bySA[a.SA]; s != nil && s.out != nil {
				s.out.local, s.out.remote = a.Local, a.New
			}
		case ikev2.Log:
			if a.Level >= zerolog.WarnLevel && a.Level < zerolog.NoLevel {
				l.warn(a)
			}
		}
	}
}

func (l *Load) ikeDown(a ikev2.IKEDown) {
	s, ok := a.Tag.(*session)
	if !ok {
		return
	}
	why := reason(a.Reason, a.Err)
	switch {
	case l.phase != nil && l.phase.name == "delete" && s.state == up:
		s.state = gone
	case s.state == up:
		s.state = lost
		l.report.Lost[why]++
		l.fail(s, why)
	default:
		l.fail(s, why)
	}
}

// warn keeps what the engine says of a session: the reason, should it not come through.
func (l *Load) warn(a ikev2.Log) {
	var b strings.Builder
	b.WriteString(a.Msg)
	for _, f := range a.Fields {
		fmt.Fprintf(&b, " %s=%v", f.Key, f.Value)
	}
	if s := l.bySA[a.SA]; s != nil {
		s.warning = a.Msg
		fmt.Fprintf(&b, " session=%d", s.n)
	}
	l.o.Log(b.String())
}

// reason is why, in words that are the same for all sessions.
func reason(text string, err error) string {
	switch {
	case err == nil:
		return text
	case text == "" || strings.Contains(err.Error(), text):
		return err.Error()
	case strings.Contains(text, err.Error()):
		return text
	}
	return err.Error() + ": " + text
}
