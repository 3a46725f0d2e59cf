package flexvpn

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"felloe/netstack"
	"felloe/netstack/loop"
	"felloe/vpn/dmvpn"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// Dataplane is where interfaces are made. *netstack.Dataplane is one.
type Dataplane interface {
	VRF(name string) (*netstack.VRF, bool)
	Interface(name string) (*netstack.Interface, bool)
	AddTunnel(netstack.TunnelConfig) (*netstack.Tunnel, error)
	RemoveInterface(*netstack.Interface) error
}

// Protection is tunnel protection. *protect.Manager is one.
type Protection interface {
	AddTemplate(protect.Template) error
	RemoveTemplate(name string)
	SetTemplateLimits(name string, volumeBytes uint64, idle time.Duration)
	SessionInfo(*netstack.Session) (protect.Info, bool)
}

// NHRP makes shortcuts between the peers of a network. *dmvpn.Manager is one.
type NHRP interface {
	Apply(t *netstack.Tunnel, cfg dmvpn.Config) error
	Remove(name string)
}

// Routes is the routing table of a VRF. *rib.RIB is one.
type Routes interface {
	SetInterface(name string, index uint32, up bool, addrs []netip.Prefix)
	RemoveInterface(name string)
	// SetIKE makes a prefix lead over an interface because its IKE peer said so; distance 0 is the usual one.
	SetIKE(prefix netip.Prefix, ifname string, distance uint8, tag uint32)
	DeleteIKE(prefix netip.Prefix, ifname string)
}

// Options are what a Manager is made of. All but Log are needed.
type Options struct {
	Loop       *loop.Loop
	Dataplane  Dataplane
	Protection Protection
	// Routes is the routing table of a VRF, nil when there is none.
	Routes func(vrf string) Routes
	// NHRP is needed for templates with NHRP only.
	NHRP NHRP
	// Outside keeps the way to a shortcut's far end out of tunnels, that one's and its hubs' (an invalid address: not any
	// more). It may be nil.
	Outside func(name, underlay string, template string, far netip.Addr)
	Log     zerolog.Logger
}

// Template is a virtual template.
type Template struct {
	Name     string
	VRF      string // inside
	Underlay string // outside
	// ChildPolicies are the child policies of the engine's configuration that it is for, and what its interfaces are then.
	ChildPolicies map[string]netstack.TunnelMode
	// Mode is the mode as it is configured: another one, if only of another family, begins anew.
	Mode string
	// Profile is the IKE profile that peers are called with for shortcuts.
	Profile string
	// Source is the outer address; the zero Addr takes the one that the peer has called.
	Source netip.Addr
	Key    uint32
	HasKey bool
	TTL    uint8
	// Protection is whatever decides how peers are protected: when it changes they must begin anew.
	Protection any
	Settings
}

// Settings are what changes on the interfaces that there are.
type Settings struct {
	Description      string
	Unnumbered       string
	IPMTU, AdjustMSS int
	Shutdown         bool
	VolumeBytes      uint64
	IdleTime         time.Duration
	NHRP             *dmvpn.Config // nil: none
}

// Manager holds the templates of one router and the interfaces made of them. It runs on the control loop.
type Manager struct {
	o         Options
	templates map[string]*template
	accesses  map[string]*access
	byTunnel  map[*netstack.Tunnel]*access
	free      numbers
	next      int
	sas       map[ikev2.SAID]*sa
	live      map[*netstack.Session]*live
	owners    places // of assigned addresses
	hosts     places // who else says to have an address
	counters  Counters
}

// Counters count since the beginning.
type Counters struct {
	Cloned, Released, Refused uint64
	RoutesLeftOut             uint64 // prefixes of peers that could not become routes
}

type template struct {
	Template
	accesses map[*access]struct{}
}

type access struct {
	name   string
	number int
	tmpl   *template
	tun    *netstack.Tunnel
	req    protect.CloneRequest
	since  time.Time
	live   *live
	up     bool // line protocol, as it was told
	gone   bool
}

var errTemplate = errors.New("flexvpn: virtual template")

// New makes a Manager without templates.
func New(o Options) (*Manager, error) {
	if o.Loop == nil || o.Dataplane == nil || o.Protection == nil || o.Routes == nil {
		return nil, errors.New("flexvpn: Options need Loop, Dataplane, Protection and Routes")
	}
	return &Manager{o: o, templates: map[string]*template{}, accesses: map[string]*access{}, byTunnel: map[*netstack.Tunnel]*access{},
		sas: map[ikev2.SAID]*sa{}, live: map[*netstack.Session]*live{}, owners: places{}, hosts: places{}}, nil
}

// SetTemplate adds a template or changes it. Its sessions stay when they can.
func (m *Manager) SetTemplate(t Template) error {
	if old := m.templates[t.Name]; old != nil {
		fixed, was := t, old.Template
		fixed.Settings, was.Settings = Settings{}, Settings{}
		if reflect.DeepEqual(fixed, was) {
			m.change(old, t.Settings)
			return nil
		}
		m.RemoveTemplate(t.Name)
	}
	if _, ok := m.o.Dataplane.VRF(t.VRF); !ok {
		return fmt.Errorf("%w %s: no vrf %q", errTemplate, t.Name, t.VRF)
	}
	rec := &template{Template: t, accesses: map[*access]struct{}{}}
	err := m.o.Protection.AddTemplate(protect.Template{
		Name: t.Name, VRF: t.Underlay, ChildPolicies: t.ChildPolicies, VolumeBytes: t.VolumeBytes, IdleTime: t.IdleTime, Profile: t.Profile,
		Clone:   func(r protect.CloneRequest) (*netstack.Tunnel, error) { return m.clone(rec, r) },
		Release: m.release,
	})
	if err != nil {
		return err
	}
	m.templates[t.Name] = rec
	return nil
}

// RemoveTemplate ends a template's sessions, which takes its interfaces away, and forgets it.
func (m *Manager) RemoveTemplate(name string) {
	if m.templates[name] != nil {
		delete(m.templates, name)
		m.o.Protection.RemoveTemplate(name)
	}
}

// Templates are the names of the templates.
func (m *Manager) Templates() []string { return slices.Sorted(maps.Keys(m.templates)) }

// change brings a template's interfaces up to its settings.
func (m *Manager) change(t *template, s Settings) {
	old := t.Settings
	t.Settings = s
	if s.VolumeBytes != old.VolumeBytes || s.IdleTime != old.IdleTime {
		m.o.Protection.SetTemplateLimits(t.Name, s.VolumeBytes, s.IdleTime)
	}
	for a := range t.accesses {
		m.configure(a, old, false)
	}
}

// Refresh has a template's interfaces find the interface again that they take their addresses from: it may have been made
// anew.
func (m *Manager) Refresh() {
	for _, t := range m.templates {
		of, _ := m.o.Dataplane.Interface(t.Unnumbered)
		for a := range t.accesses {
			if i := a.tun.Interface(); i.Unnumbered() != of {
				i.SetUnnumbered(of)
				if m.o.NHRP != nil {
					m.nhrp(a)
				}
			}
		}
	}
}

func (m *Manager) configure(a *access, old Settings, fresh bool) {
	s, i := a.tmpl.Settings, a.tun.Interface()
	if fresh || s.Description != old.Description {
		i.SetDescription(s.Description)
	}
	if fresh || s.Unnumbered != old.Unnumbered {
		of, _ := m.o.Dataplane.Interface(s.Unnumbered)
		i.SetUnnumbered(of)
	}
	if fresh || s.IPMTU != old.IPMTU {
		i.SetIPMTU(s.IPMTU)
	}
	if fresh || s.AdjustMSS != old.AdjustMSS {
		i.SetAdjustMSS(s.AdjustMSS)
	}
	if fresh || s.Shutdown != old.Shutdown {
		i.SetAdminUp(!s.Shutdown)
	}
	if (fresh || s.Unnumbered != old.Unnumbered || !reflect.DeepEqual(s.NHRP, old.NHRP)) && m.o.NHRP != nil {
		m.nhrp(a)
	}
}

// outside keeps the way to the far end of a shortcut out of tunnels: its hub may have told us to send everything to it. It
// must have proven who it is: before, anybody could have what goes to any address sent outside.
func (m *Manager) outside(a *access) {
	if m.o.Outside == nil {
		return
	}
	var far netip.Addr
	if n := a.tmpl.NHRP; n != nil && n.ShortcutTemplate != 0 && !a.req.Peer.IsZero() {
		far = a.req.Remote.Addr()
	}
	m.o.Outside(a.name, a.tmpl.Underlay, a.tmpl.Name, far)
}

// nhrp has an interface take part in the NHRP network of its template, or not any more.
func (m *Manager) nhrp(a *access) {
	m.outside(a)
	cfg := a.tmpl.NHRP
	if cfg == nil || a.req.Mode == netstack.VTI {
		m.o.NHRP.Remove(a.name)
		return
	}
	own := *cfg
	own.Clone = true
	if err := m.o.NHRP.Apply(a.tun, own); err != nil {
		m.o.Log.Error().Str("event", "nhrp").Str("interface", a.name).Err(err).Msg("NHRP could not be started on a virtual access interface")
	}
}

// clone makes the interface of a peer.
func (m *Manager) clone(t *template, r protect.CloneRequest) (*netstack.Tunnel, error) {
	tun, n, err := m.makeTunnel(t, r)
	if err != nil {
		m.counters.Refused++
		return nil, err
	}
	a := &access{name: tun.Interface().Name(), number: n, tmpl: t, tun: tun, req: r, since: m.o.Loop.Now()}
	m.accesses[a.name], m.byTunnel[tun] = a, a
	t.accesses[a] = struct{}{}
	m.counters.Cloned++
	m.configure(a, Settings{}, true)
	tun.Interface().OnState(func(bool) {
		m.o.Loop.Post("line protocol of "+a.name, func() { m.lineProtocol(a) })
	})
	m.lineProtocol(a)
	m.o.Log.Debug().Str("debug", "ikev2 flexvpn").Str("event", "cloned").Str("interface", a.name).Str("template", t.Name).
		Stringer("peer", r.Remote).Stringer("identity", r.Peer).Msg("virtual access interface is made")
	return tun, nil
}

func (m *Manager) makeTunnel(t *template, r protect.CloneRequest) (*netstack.Tunnel, int, error) {
	inside, ok := m.o.Dataplane.VRF(t.VRF)
	if !ok {
		return nil, 0, fmt.Errorf("%w %s: no vrf %q", errTemplate, t.Name, t.VRF)
	}
	outside, ok := m.o.Dataplane.VRF(t.Underlay)
	if !ok {
		return nil, 0, fmt.Errorf("%w %s: no vrf %q", errTemplate, t.Name, t.Underlay)
	}
	if t.Source.IsValid() && t.Source != r.Local.Addr() {
		return nil, 0, fmt.Errorf("%w %s: the peer has called %s, not the template's source %s", errTemplate, t.Name, r.Local.Addr(), t.Source)
	}
	n := m.number()
	tun, err := m.o.Dataplane.AddTunnel(netstack.TunnelConfig{Name: fmt.Sprintf("Virtual-Access%d", n), VRF: inside, Underlay: outside, Mode: r.Mode,
		Source: r.Local.Addr(), Destination: r.Remote.Addr(), Key: t.Key, HasKey: t.HasKey, Protected: true, TTL: t.TTL})
	if err != nil {
		heap.Push(&m.free, n)
		return nil, 0, err
	}
	return tun, n, nil
}

// release takes the interface of a peer away.
func (m *Manager) release(tun *netstack.Tunnel) {
	a := m.byTunnel[tun]
	if a == nil {
		return
	}
	m.counters.Released++
	a.gone = true
	if a.live != nil {
		m.ended(a.live)
	}
	delete(m.accesses, a.name)
	delete(m.byTunnel, tun)
	delete(a.tmpl.accesses, a)
	if m.o.NHRP != nil {
		m.o.NHRP.Remove(a.name)
	}
	if m.o.Outside != nil {
		m.o.Outside(a.name, a.tmpl.Underlay, a.tmpl.Name, netip.Addr{})
	}
	if r := m.o.Routes(a.tmpl.VRF); r != nil {
		r.SetInterface(a.name, tun.Interface().Index(), false, nil)
		// When the table has settled nothing of it depends on the interface any more, and it can be forgotten.
		m.o.Loop.Post("forget "+a.name, func() {
			if m.accesses[a.name] == nil {
				r.RemoveInterface(a.name)
			}
		})
	}
	if err := m.o.Dataplane.RemoveInterface(tun.Interface()); err != nil {
		m.o.Log.Error().Str("event", "release").Str("interface", a.name).Err(err).Msg("a virtual access interface could not be removed")
	}
	m.told(a, false)
	heap.Push(&m.free, a.number)
}

// lineProtocol tells the routing table, and the log, of an interface's state.
func (m *Manager) lineProtocol(a *access) {
	if a.gone {
		return
	}
	i := a.tun.Interface()
	if r := m.o.Routes(a.tmpl.VRF); r != nil {
		r.SetInterface(a.name, i.Index(), i.Up(), nil)
	}
	m.told(a, i.Up())
}

func (m *Manager) told(a *access, up bool) {
	if a.up == up {
		return
	}
	a.up = up
	state := map[bool]string{true: "up", false: "down"}[up]
	m.o.Log.Info().Str("event", "line-protocol").Str("mnemonic", "LINEPROTO-5-UPDOWN").Str("interface", a.name).Stringer("peer", a.req.Remote).Str("state", state).
		Msgf("Line protocol on Interface %s, changed state to %s", a.name, state)
}

// number is the lowest free one.
func (m *Manager) number() int {
	if len(m.free) > 0 {
		return heap.Pop(&m.free).(int)
	}
	m.next++
	return m.next
}

// numbers is a heap of the free numbers.
type numbers []int

func (n numbers) Len() int           { return len(n) }
func (n numbers) Less(i, j int) bool { return n[i] < n[j] }
func (n numbers) Swap(i, j int)      { n[i], n[j] = n[j], n[i] }
func (n *numbers) Push(x any)        { *n = append(*n, x.(int)) }
func (n *numbers) Pop() any {
	last := (*n)[len(*n)-1]
	*n = (*n)[:len(*n)-1]
	return last
}

// Access is a Virtual-Access interface as it stands, for show commands.
type Access struct {
	Name, Template string
	Policy         string // child policy of its first SA
	Profile        string // IKE
	Peer           ikev2.Identity
	IKE            ikev2.SAID
	Local, Remote  netip.AddrPort
	VRF, Underlay  string
	Mode           netstack.TunnelMode
	Key            uint32
	HasKey         bool
	TTL            uint8
	Settings       Settings
	Since          time.Time
	Up             bool
	Interface      *netstack.Interface
	Session        *netstack.Session // nil before it is up
	Assigned       []netip.Prefix    // the peer's addresses, by us
	Routes         []Route
}

// List are the interfaces by their number.
func (m *Manager) List() []Access {
	out := make([]Access, 0, len(m.accesses))
	for _, a := range slices.SortedFunc(maps.Values(m.accesses), func(a, b *access) int { return cmp.Compare(a.number, b.number) }) {
		out = append(out, m.access(a))
	}
	return out
}

// Find is one interface.
func (m *Manager) Find(name string) (Access, bool) {
	a := m.accesses[name]
	if a == nil {
		return Access{}, false
	}
	return m.access(a), true
}

func (m *Manager) access(a *access) Access {
	t := a.tmpl
	out := Access{Name: a.name, Template: t.Name, Policy: a.req.Policy, Profile: a.req.Profile, Peer: a.req.Peer, IKE: a.req.IKE, Local: a.req.Local, Remote: a.req.Remote,
		VRF: t.VRF, Underlay: t.Underlay, Mode: a.req.Mode, Key: t.Key, HasKey: t.HasKey, TTL: t.TTL, Settings: t.Settings, Since: a.since,
		Up: a.tun.Interface().Up(), Interface: a.tun.Interface()}
	if out.TTL == 0 {
		out.TTL = 255
	}
	if s := m.sas[a.req.IKE]; s != nil {
		out.Assigned = slices.Clone(s.assigned)
	}
	if a.live != nil {
		out.Session, out.Routes = a.live.session, a.live.list()
	}
	return out
}

// Counters are the counts since the beginning.
func (m *Manager) Counters() Counters { return m.counters }
