package protect

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"felloe/netstack"
	"felloe/vpn/ikev2"
)

// Template is a virtual template: for each IKE SA of a peer that makes a child under one of its policies, a tunnel is
// cloned, which lives as long as the peer has a child.
type Template struct {
	Name string
	VRF  string // front; empty: "default"
	// ChildPolicies are the policies in the engine's configuration that the template is for, and what a tunnel is then.
	ChildPolicies map[string]netstack.TunnelMode
	// Profile is the IKE profile that OpenTemplate calls with.
	Profile string
	// Clone makes the tunnel. It must be a protected one, and point-to-point. An error refuses the child.
	Clone func(CloneRequest) (*netstack.Tunnel, error)
	// Release is called once with each tunnel that Clone made, when its session is gone.
	Release     func(*netstack.Tunnel)
	VolumeBytes uint64
	IdleTime    time.Duration
}

// CloneRequest is whom a tunnel is for. Peer and IKE are not known yet when it is we who call.
type CloneRequest struct {
	Template          string
	Policy            string
	Mode              netstack.TunnelMode
	Profile           string
	Peer              ikev2.Identity
	IKE               ikev2.SAID
	Local, Remote     netip.AddrPort
	TSLocal, TSRemote []ikev2.TrafficSelector
}

type template struct {
	Template
	accesses map[*tunnel]struct{}
	// byNBMA are its tunnels' sessions by their far end, calling those that we have begun and that nobody has answered, by the
	// tunnel that they go beside, the oldest first.
	byNBMA  map[netip.Addr][]*session
	calling map[*netstack.Tunnel][]*session
	removed bool
}

var errTemplate = errors.New("protect: template")

// Whom to call others tell, and they may lie: maxCalling is how many tunnels of a template may, beside one tunnel, be waiting for
// peers that were called and have not answered. One that has waited for patientCall makes room for another: who is there has
// answered by then.
const (
	maxCalling  = 256
	patientCall = 5 * time.Second
)

// OpenTemplate returns the session with the far end at nbma on a tunnel of a virtual template: one that is there, whoever
// called, or that of a new tunnel, for which IKE is begun from where parent is. When its peer calls at the same time its
// Child SAs join that tunnel. The session is wanted until Close, or until it has been up and has gone.
func (m *Manager) OpenTemplate(name string, nbma netip.Addr, parent *netstack.Tunnel) (*netstack.Session, error) {
	tmpl := m.templates[name]
	if tmpl == nil {
		return nil, fmt.Errorf("%w %s: there is none, or it is shut", errTemplate, name)
	}
	if m.closing != nil {
		return nil, fmt.Errorf("%w %s: the router is shutting down", errTemplate, name)
	}
	nbma = nbma.Unmap()
	s := tmpl.sessionAt(nbma)
	if s == nil {
		if calls := tmpl.calling[parent]; len(calls) >= maxCalling {
			if m.now().Sub(calls[0].since) < patientCall {
				return nil, fmt.Errorf("%w %s: %d peers are being called beside %s already", errTemplate, name, len(calls), parent.Interface().Name())
			}
			m.shut(calls[0], "it has not answered, and others are to be called")
		}
		policy := ""
		for _, p := range slices.Sorted(maps.Keys(tmpl.ChildPolicies)) {
			if tmpl.ChildPolicies[p] == netstack.GREPointToPoint {
				policy = p
				break
			}
		}
		if policy == "" {
			return nil, fmt.Errorf("%w %s: its tunnels are not GRE", errTemplate, name)
		}
		local := parent.Source()
		if !local.IsValid() || local.Is4() != nbma.Is4() {
			return nil, fmt.Errorf("%w %s: tunnel %s has no source address to call %s from", errTemplate, name, parent.Interface().Name(), nbma)
		}
		t, err := m.cloneOf(tmpl, CloneRequest{Template: name, Policy: policy, Mode: netstack.GREPointToPoint, Profile: tmpl.Profile,
			Local: netip.AddrPortFrom(local, portIKE), Remote: netip.AddrPortFrom(nbma, portIKE)})
		if err != nil {
			return nil, err
		}
		t.cfg.Passive = false
		s = m.newSession(t, nbma)
		t.net.SetDefault(s.net)
		s.beside, s.wanted = parent, true
		tmpl.calling[parent] = append(tmpl.calling[parent], s)
	}
	s.lastData = m.now()
	m.connect(s)
	m.run(nil)
	return s.net, nil
}

// sessionAt is a template's session with a far end, one that is up first.
func (t *template) sessionAt(nbma netip.Addr) (best *session) {
	for _, s := range t.byNBMA[nbma] {
		if s.closed || len(s.pairs) == 0 && !s.wanted || s.t.net.Config().Mode != netstack.GREPointToPoint {
			continue
		}
		if best == nil || best.tx == nil && s.tx != nil || (best.tx == nil) == (s.tx == nil) && s.seq < best.seq {
			best = s
		}
	}
	return best
}

// called is the session of a template's tunnel on which we are calling, or have called, the peer of a child.
func (t *template) called(up ikev2.ChildUp, mode netstack.TunnelMode) (best *session) {
	for _, s := range t.byNBMA[up.Remote.Addr()] {
		if s.beside == nil || s.closed || s.t.net.Config().Mode != mode || s.t.cfg.Local != up.Local.Addr() {
			continue
		}
		known := s.peer == up.Peer && s.remote.Port() == up.Remote.Port()
		unknown := s.peer.IsZero() && (up.Remote.Port() == portIKE || up.Remote.Port() == portNATT)
		if (known || unknown) && (best == nil || s.seq < best.seq) {
			best = s
		}
	}
	return best
}

// cloneOf makes a tunnel of a template.
func (m *Manager) cloneOf(tmpl *template, r CloneRequest) (*tunnel, error) {
	net, err := tmpl.Clone(r)
	if err == nil && !net.Config().Protected {
		tmpl.Release(net)
		err = fmt.Errorf("%w %s: the clone is not protected", errTemplate, tmpl.Name)
	}
	if err != nil {
		m.counters.CloneFailures++
		m.o.Log.Warn().Str("event", "clone-failed").Str("template", tmpl.Name).Stringer("peer", r.Remote).Stringer("identity", r.Peer).Err(err).
			Msg("no virtual access interface could be made for a peer")
		return nil, err
	}
	t := &tunnel{net: net, name: net.Interface().Name(), template: tmpl, cfg: TunnelProtection{IKEProfile: r.Profile, ChildPolicy: r.Policy,
		VRF: tmpl.VRF, Local: r.Local.Addr(), Passive: true, VolumeBytes: tmpl.VolumeBytes, IdleTime: tmpl.IdleTime}}
	m.keepTunnel(t)
	tmpl.accesses[t] = struct{}{}
	return t, nil
}

// AddTemplate begins to let peers in under a template.
func (m *Manager) AddTemplate(t Template) error {
	t.VRF = cmp.Or(t.VRF, "default")
	switch {
	case m.templates[t.Name] != nil:
		return fmt.Errorf("%w %s is there already", errTemplate, t.Name)
	case t.Clone == nil || t.Release == nil:
		return fmt.Errorf("%w %s: Clone and Release are needed", errTemplate, t.Name)
	}
	for p := range t.ChildPolicies {
		if other := m.templateOf[p]; other != nil {
			return fmt.Errorf("%w %s: the child policy %q is %s's", errTemplate, t.Name, p, other.Name)
		}
	}
	if err := m.listen(t.VRF); err != nil {
		return fmt.Errorf("%w %s: %w", errTemplate, t.Name, err)
	}
	rec := &template{Template: t, accesses: map[*tunnel]struct{}{}, byNBMA: map[netip.Addr][]*session{}, calling: map[*netstack.Tunnel][]*session{}}
	m.templates[t.Name] = rec
	for p := range t.ChildPolicies {
		m.templateOf[p] = rec
	}
	return nil
}

// RemoveTemplate ends the sessions of a template and forgets it.
func (m *Manager) RemoveTemplate(name string) {
	rec := m.templates[name]
	if rec == nil {
		return
	}
	rec.removed = true
	delete(m.templates, name)
	for p := range rec.ChildPolicies {
		delete(m.templateOf, p)
	}
	for _, t := range slices.SortedFunc(maps.Keys(rec.accesses), func(a, b *tunnel) int { return cmp.Compare(a.seq, b.seq) }) {
		for s := range t.sessions {
			m.shut(s, "virtual template is removed")
		}
	}
	m.unlisten(rec.VRF)
	m.run(nil)
}

// cloneFor finds, or makes, the session on a template's tunnel that a peer's child is for.
func (m *Manager) cloneFor(up ikev2.ChildUp) *session {
	tmpl := m.templateOf[up.Policy]
	if tmpl == nil || tmpl.VRF != cmp.Or(up.VRF, "default") {
		return nil
	}
	mode := tmpl.ChildPolicies[up.Policy]
	if ike := m.ikes[up.SA]; ike != nil {
		for _, p := range ike.pairs {
			if s := p.s; s.t.template == tmpl && !s.closed {
				if s.t.net.Config().Mode != mode {
					return nil // GRE and IPsec at once are not one interface
				}
				return s
			}
		}
	}
	if s := tmpl.called(up, mode); s != nil {
		return s
	}
	t, err := m.cloneOf(tmpl, CloneRequest{Template: tmpl.Name, Policy: up.Policy, Mode: mode, Profile: up.Profile, Peer: up.Peer, IKE: up.SA,
		Local: up.Local, Remote: up.Remote, TSLocal: up.TSLocal, TSRemote: up.TSRemote})
	if err != nil {
		return nil
	}
	s := m.newSession(t, up.Remote.Addr())
	t.net.SetDefault(s.net)
	return s
}

// release forgets a template's tunnel.
func (m *Manager) release(t *tunnel) {
	t.removed = true
	m.dropTunnel(t)
	delete(t.template.accesses, t)
	t.template.Release(t.net)
}

// SetTemplateLimits changes what a template's sessions may carry and how long they may idle, those that are there too.
func (m *Manager) SetTemplateLimits(name string, volumeBytes uint64, idle time.Duration) {
	rec := m.templates[name]
	if rec == nil {
		return
	}
	rec.VolumeBytes, rec.IdleTime = volumeBytes, idle
	for t := range rec.accesses {
		t.cfg.VolumeBytes, t.cfg.IdleTime = volumeBytes, idle
	}
}

// Reauthorize is for after a change of the engine's configuration: peers whose keys are others now are told good-bye, and
// every other peer what has changed for it. What has failed for want of something in the configuration is tried again at
// once.
func (m *Manager) Reauthorize() {
	m.run(m.o.Engine.Reauthorize(m.now()))
	for _, s := range m.byNet {
		if s.retry != nil && needsAHand(s.lastErr) {
			s.stopRetry()
			m.connect(s)
		}
	}
	m.run(nil)
}

// SendConfiguration tells the peer of an IKE SA by CFG_SET what it shall use from now on.
func (m *Manager) SendConfiguration(id ikev2.SAID, c ikev2.Configuration) {
	m.run(m.o.Engine.SendConfiguration(m.now(), id, c))
}
