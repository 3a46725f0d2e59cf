package rib

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/netstack/fib"

	"github.com/gaissmai/bart"
	"github.com/rs/zerolog"
)

// Options configure a RIB.
type Options struct {
	// VRF is the name of the VRF, for logs and Lookup.
	VRF string
	// Output gets what changed in the FIB, in order. It must not call back into the RIB.
	Output func([]fib.Change)
	// Now is the time, for the age of routes; nil is the system's.
	Now func() time.Time
	// Defer runs f later on the control loop (func(f func()) { loop.Post("rib", f) }), so that the changes of one turn
	// become one batch. When it is nil every change is flushed at once.
	Defer func(f func())
	// MaximumPaths bounds the next hops of one route; 0 means 32.
	MaximumPaths int
	// NoResolveViaDefault keeps the default route from resolving next hops.
	NoResolveViaDefault bool
	Log                 zerolog.Logger
}

// RIB is the routing table of one VRF. It belongs to the control loop.
type RIB struct {
	o       Options
	entries map[netip.Prefix]*entry
	high    int                // how many there were in it
	routed  bart.Table[*entry] // entries that have a route, NHRP's left out
	ifaces  map[string]*iface

	nexthops map[netip.Addr]*nexthop
	nhIndex  bart.Table[*nexthop] // the same, as host prefixes, to find those under a prefix

	nhrp bart.Table[*entry] // entries with NHRP information
	pins bart.Table[*entry] // entries of far ends of tunnels

	queue    []*entry // to evaluate
	touched  []*entry // to compare with what is installed
	moved    []*pinned
	tracked  []*nexthop
	deferred bool
	flushing bool

	onChange    []*func()
	subscribers []*subscriber
}

type iface struct {
	name  string
	index uint32
	up    bool
	addrs []netip.Prefix
	users map[*entry]struct{} // entries with a path over it
}

// entry is a prefix with all that is known of it.
type entry struct {
	prefix netip.Prefix
	cands  []candidate // by source, then owner
	best   *selection
	nhrp   []nhrpRoute
	pins   []*pinned

	hops []*nexthop // whose changes concern this entry
	ifs  []*iface

	installed bool
	fib       fib.Route

	old              *selection // as it was before the flush
	dirty, inTouched bool
	tries            uint8
	looped           bool
}

type candidate struct {
	source Source
	owner  string
	paths  []Path // in the order of preference
}

// selection is a chosen route. It is immutable.
type selection struct {
	source   Source
	owner    string
	distance uint8
	metric   uint32
	tag      uint32
	kind     fib.Kind
	paths    []NextHop
	hops     []Hop
	through  []*entry // the entries that resolved the next hops
	since    time.Time
	origin   any
}

// New returns an empty RIB.
func New(o Options) *RIB {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaximumPaths <= 0 {
		o.MaximumPaths = 32
	}
	if o.VRF == "" {
		o.VRF = "default"
	}
	return &RIB{
		o:        o,
		entries:  make(map[netip.Prefix]*entry),
		ifaces:   make(map[string]*iface),
		nexthops: make(map[netip.Addr]*nexthop),
	}
}

// VRF is the name of the VRF.
func (r *RIB) VRF() string { return r.o.VRF }

// Update sets the paths that a source's owner (a protocol instance, a configuration) offers for a prefix; none
// withdraws them. The paths' Source may differ from source (BGP offers internal and external paths as one owner).
func (r *RIB) Update(source Source, owner string, prefix netip.Prefix, paths []Path) {
	if len(paths) == 0 {
		r.Withdraw(source, owner, prefix)
		return
	}
	if !valid(prefix) {
		r.o.Log.Error().Str("vrf", r.o.VRF).Stringer("prefix", prefix).Str("source", source.String()).
			Msg("a route was refused: its prefix is not one of IPv4 or IPv6")
		return
	}
	paths = slices.Clone(paths)
	slices.SortStableFunc(paths, comparePaths)
	e := r.entry(prefix.Masked())
	i, found := e.find(source, owner)
	if !found {
		e.cands = slices.Insert(e.cands, i, candidate{source: source, owner: owner})
	} else if c := &e.cands[i]; slices.EqualFunc(c.paths, paths, func(a, b Path) bool { return a.same(&b) }) {
		origins := false
		for j := range paths {
			origins = origins || c.paths[j].Origin != paths[j].Origin
		}
		if !origins {
			return
		}
	}
	e.cands[i].paths = paths
	r.mark(e)
}

// Withdraw takes back what Update set.
func (r *RIB) Withdraw(source Source, owner string, prefix netip.Prefix) {
	e := r.entries[prefix.Masked()]
	if e == nil {
		return
	}
	if i, found := e.find(source, owner); found {
		e.cands = slices.Delete(e.cands, i, i+1)
		r.mark(e)
	}
}

// WithdrawAll takes back everything that the owner has set.
func (r *RIB) WithdrawAll(source Source, owner string) {
	for _, e := range r.sorted() {
		r.Withdraw(source, owner, e.prefix)
	}
}

// SetInterface says what an interface is: its index in the FIB, whether its line protocol is up and which addresses it
// has. From that follow its connected and local routes, and whether paths over it are usable.
func (r *RIB) SetInterface(name string, index uint32, up bool, addrs []netip.Prefix) {
	f := r.iface(name)
	old := interfaceRoutes(f)
	changed := f.index != index || f.up != up
	f.index, f.up, f.addrs = index, up, slices.Clone(addrs)
	now := interfaceRoutes(f)
	for _, p := range old {
		if !slices.Contains(now, p) {
			r.Withdraw(p.source, name, p.prefix)
		}
	}
	for _, p := range now {
		r.Update(p.source, name, p.prefix, []Path{{Source: p.source, NextHops: []NextHop{{Interface: name}}}})
	}
	if changed {
		r.markUsers(f)
		r.touchNHRP(name)
	}
}

// RemoveInterface forgets an interface and its routes.
func (r *RIB) RemoveInterface(name string) {
	f := r.ifaces[name]
	if f == nil {
		return
	}
	r.SetInterface(name, f.index, false, nil)
	if len(f.users) == 0 {
		delete(r.ifaces, name)
	}
}

type interfaceRoute struct {
	source Source
	prefix netip.Prefix
}

func interfaceRoutes(f *iface) []interfaceRoute {
	if !f.up {
		return nil
	}
	var routes []interfaceRoute
	add := func(s Source, p netip.Prefix) {
		if q := (interfaceRoute{s, p}); !slices.Contains(routes, q) {
			routes = append(routes, q)
		}
	}
	for _, a := range f.addrs {
		if !valid(a) || a.Addr().IsLinkLocalUnicast() && a.Addr().Is6() {
			continue // link-local addresses belong to their link, not to the table
		}
		add(Connected, a.Masked())
		add(Local, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	return routes
}

func valid(p netip.Prefix) bool { return p.IsValid() && !p.Addr().Is4In6() }

func (r *RIB) iface(name string) *iface {
	f := r.ifaces[name]
	if f == nil {
		f = &iface{name: name, users: make(map[*entry]struct{})}
		r.ifaces[name] = f
	}
	return f
}

func (r *RIB) markUsers(f *iface) {
	users := make([]*entry, 0, len(f.users))
	for e := range f.users {
		users = append(users, e)
	}
	sortEntries(users)
	for _, e := range users {
		r.mark(e)
	}
}

func (r *RIB) entry(p netip.Prefix) *entry {
	e := r.entries[p]
	if e == nil {
		e = &entry{prefix: p}
		r.entries[p] = e
	}
	return e
}

func (e *entry) find(source Source, owner string) (int, bool) {
	return slices.BinarySearchFunc(e.cands, owner, func(c candidate, owner string) int {
		if c.source != source {
			return int(c.source) - int(source)
		}
		return strings.Compare(c.owner, owner)
	})
}

func (r *RIB) sorted() []*entry {
	list := make([]*entry, 0, len(r.entries))
	for _, e := range r.entries {
		list = append(list, e)
	}
	sortEntries(list)
	return list
}

func sortEntries(list []*entry) {
	slices.SortFunc(list, func(a, b *entry) int { return a.prefix.Compare(b.prefix) })
}
