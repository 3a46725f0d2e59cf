package nhrp

import (
	"net/netip"
	"slices"
	"time"
)

// Kind is how a cache entry came to be.
type Kind uint8

const (
	KindStatic     Kind = iota // a configured map
	KindNHS                    // one of our servers
	KindRegistered             // a client registered it with us
	KindResolved               // the answer to a resolution of ours
	KindImplicit               // learned from a request that somebody sent us
	KindNegative               // refused, or nobody answered
)

// entry is one cache entry. A host entry (one address that is its own next hop) is a neighbour of the tunnel; any
// other resolved one is a shortcut: a route to a prefix over such a neighbour.
type entry struct {
	t        *tunnel
	prefix   netip.Prefix // what we use: the answered prefix, or the longer one that routing has
	answered netip.Prefix
	target   netip.Addr // what was asked for
	kind     Kind
	nextHop  netip.Addr
	session  SessionID
	nbma     netip.Addr
	claimed  netip.Addr // what the far end takes for its NBMA address, when a NAT sees it otherwise
	identity string
	sa       uint64

	unique     bool
	mtu        uint16
	reason     string // negative: why
	created    time.Time
	expires    time.Time // zero: never
	refreshAt  time.Time
	hold       time.Duration
	data       uint64 // the session's data counter at the last look
	used       bool
	active     bool // neighbour or route is set
	routed     bool // shortcut: a route is installed
	override   bool
	parents    []string // as routing was told
	announced  bool     // its installation was told
	wantedTill time.Time
	timer      timer
}

// neighbour reports whether the data plane knows an entry as a neighbour. A point-to-point tunnel has but one, whom no
// address tells: there everything learned is a route.
func (t *tunnel) neighbour(en *entry) bool { return en.host() && !t.cfg.PointToPoint }

// routable reports whether routing has to do with an entry.
func (t *tunnel) routable(en *entry) bool {
	switch en.kind {
	case KindNegative:
		return true
	case KindResolved:
		return !t.neighbour(en)
	case KindImplicit:
		return t.cfg.PointToPoint
	}
	return false
}

func (en *entry) host() bool { return en.prefix.IsSingleIP() && en.prefix.Addr() == en.nextHop }

// bind creates the entry of a prefix or changes it to what is given, keeping its age when the session stays.
func (t *tunnel) bind(now time.Time, prefix netip.Prefix, n entry) *entry {
	en := t.cache[prefix]
	if en == nil {
		en = &entry{t: t, prefix: prefix, created: now}
		t.cache[prefix] = en
	} else {
		switch {
		case en.nextHop != n.nextHop:
			t.deactivate(en)
			en.created, en.announced = now, false
		case en.session != n.session:
			en.created, en.announced = now, false
			if !t.e.up(n.session) {
				t.deactivate(en)
			} else if t.neighbour(en) {
				en.active = false // the new neighbour takes the old one's place without a gap
			}
		}
		en.data, en.used, en.wantedTill = t.e.data(n.session), false, time.Time{}
		t.unlink(en)
	}
	en.kind, en.nextHop, en.session, en.nbma, en.claimed = n.kind, n.nextHop, n.session, n.nbma, n.claimed
	en.identity, en.sa, en.unique, en.mtu, en.reason = n.identity, n.sa, n.unique, n.mtu, n.reason
	en.hold, en.target, en.answered = n.hold, n.target, n.answered
	if !en.answered.IsValid() {
		en.answered = prefix
	}
	t.link(en)
	t.net.withdrawn(en)
	t.net.enter(en)
	if n.hold > 0 {
		en.expires = now.Add(n.hold)
		t.watch(now, en)
	} else {
		en.expires = time.Time{}
		t.e.unset(&en.timer)
	}
	t.activate(now, en)
	return en
}

func (t *tunnel) link(en *entry) {
	if en.session == 0 {
		return
	}
	if l := t.e.lingering[en.session]; l != nil {
		t.e.unset(&l.timer)
		delete(t.e.lingering, en.session)
	}
	set := t.bySession[en.session]
	if set == nil {
		set = map[*entry]struct{}{}
		t.bySession[en.session] = set
	}
	set[en] = struct{}{}
	if en.kind == KindRegistered {
		t.clients[en.session]++
	}
}

func (t *tunnel) unlink(en *entry) {
	if set := t.bySession[en.session]; set != nil {
		if _, ok := set[en]; ok && en.kind == KindRegistered {
			if t.clients[en.session]--; t.clients[en.session] == 0 {
				delete(t.clients, en.session)
			}
		}
		delete(set, en)
		if len(set) == 0 {
			delete(t.bySession, en.session)
		}
	}
}

// activate makes the data plane and routing follow an entry, once its session can carry packets. Static entries do not
// wait: the session is what packets to them wait for.
func (t *tunnel) activate(now time.Time, en *entry) {
	if en.session == 0 || en.kind == KindNegative {
		return
	}
	s, ok := t.e.host.Session(en.session)
	if !ok || !s.Up && en.kind != KindStatic && en.kind != KindNHS {
		if !en.active && en.wantedTill.IsZero() {
			en.wantedTill = now.Add(t.e.timers.SessionWait)
			t.watch(now, en)
		}
		return
	}
	en.wantedTill = time.Time{}
	if t.neighbour(en) {
		if !en.active {
			en.active = true
			en.data = s.Data
			t.e.host.SetNeighbour(t.cfg.Tunnel, en.nextHop, en.session)
		}
	} else if t.routable(en) {
		if !en.active {
			en.active = true
			en.data = s.Data
		}
		t.route(en)
	}
	if en.kind == KindResolved && !en.announced {
		en.announced = true
		t.event(Event{Kind: EventShortcutInstalled, Session: en.session, Peer: en.nextHop, NBMA: en.nbma, Prefix: en.prefix,
			NextHop: en.nextHop, Reason: en.word()})
	}
	t.watch(now, en)
}

// word says how an entry shows in the routing table.
func (en *entry) word() string {
	switch {
	case en.t.neighbour(en):
		return "neighbour"
	case en.routed && en.override:
		return "next-hop override"
	case en.routed:
		return "route"
	}
	return "no route needed"
}

func (t *tunnel) deactivate(en *entry) {
	if !en.active {
		return
	}
	en.active = false
	if t.neighbour(en) {
		t.e.host.SetNeighbour(t.cfg.Tunnel, en.nextHop, 0)
	} else if en.routed {
		en.routed = false
		t.e.host.DeleteShortcut(t.cfg.VRF, en.prefix, t.cfg.Tunnel)
	}
}

// forget takes an entry away and leaves its session alone.
func (t *tunnel) forget(en *entry, reason string) {
	if t.cache[en.prefix] != en {
		return
	}
	t.deactivate(en)
	t.unlink(en)
	t.e.unset(&en.timer)
	delete(t.cache, en.prefix)
	t.net.withdrawn(en)
	switch en.kind {
	case KindRegistered:
		t.event(Event{Kind: EventUnregistered, Session: en.session, Peer: en.nextHop, NBMA: en.nbma, Identity: en.identity, Reason: reason})
		t.tellMulticast()
	case KindResolved:
		if en.announced {
			kind := EventShortcutRemoved
			if reason == reasonIdle {
				kind = EventShortcutExpired
			}
			t.event(Event{Kind: kind, Session: en.session, Peer: en.nextHop, NBMA: en.nbma, Prefix: en.prefix, NextHop: en.nextHop, Reason: reason})
		}
	}
}

const reasonIdle = "idle"

// remove takes an entry away and lets its session go when nothing needs it any more.
func (t *tunnel) remove(now time.Time, en *entry, reason string) {
	id := en.session
	t.forget(en, reason)
	t.release(now, id, reason)
}

// entries are all entries in the order of their prefixes, so that what happens does not depend on a map's order.
func (t *tunnel) entries() []*entry { return t.some(func(*entry) bool { return true }) }

// some are those entries that a condition holds for.
func (t *tunnel) some(f func(*entry) bool) []*entry {
	var list []*entry
	for _, en := range t.cache {
		if f(en) {
			list = append(list, en)
		}
	}
	sortEntries(list)
	return list
}

func (t *tunnel) entriesOf(id SessionID) []*entry {
	set := t.bySession[id]
	list := make([]*entry, 0, len(set))
	for en := range set {
		list = append(list, en)
	}
	sortEntries(list)
	return list
}

func sortEntries(list []*entry) {
	slices.SortFunc(list, func(a, b *entry) int {
		// Neighbours before the routes over them.
		if a.host() != b.host() {
			if a.host() {
				return -1
			}
			return 1
		}
		return a.prefix.Compare(b.prefix)
	})
}

// covering is the most specific entry that holds an address.
func (t *tunnel) covering(a netip.Addr) *entry {
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, _ := a.Prefix(bits)
		if en := t.cache[p]; en != nil {
			return en
		}
	}
	return nil
}

// full reports whether no further entry may be made.
func (t *tunnel) full() bool { return len(t.cache) >= t.e.limits.Cache }

// ends reports whether a tunnel's sessions are ours to end: not that of a configured point-to-point tunnel, nor a hub's with
// its spoke, but those of shortcuts.
func (t *tunnel) ends() bool { return !t.cfg.PointToPoint || t.shortcut }

// linger is a session that no entry needs any more but that may still carry the other side's traffic.
type linger struct {
	t     *tunnel
	data  uint64
	timer timer
}

// lingerInterval is how long a session without entries must be silent before it is closed.
const lingerInterval = 10 * time.Second

// release lets a session go unless something still needs it: at once when it was idle, else once it is silent.
func (t *tunnel) release(now time.Time, id SessionID, reason string) {
	if id == 0 || t.needed(id) || !t.ends() {
		return
	}
	s, ok := t.e.host.Session(id)
	if !ok {
		return
	}
	if reason == reasonIdle || !s.Up {
		t.e.close(id, reason)
		return
	}
	if t.e.lingering[id] != nil {
		return
	}
	l := &linger{t: t, data: s.Data}
	t.e.lingering[id] = l
	t.e.set(&l.timer, now.Add(lingerInterval), func(now time.Time) { t.lingered(now, id, l, reason) })
}

func (t *tunnel) lingered(now time.Time, id SessionID, l *linger, reason string) {
	s, ok := t.e.host.Session(id)
	if ok && s.Up && s.Data != l.data && !t.needed(id) {
		l.data = s.Data
		t.e.set(&l.timer, now.Add(lingerInterval), func(now time.Time) { t.lingered(now, id, l, reason) })
		return
	}
	delete(t.e.lingering, id)
	if ok && !t.needed(id) {
		t.e.close(id, reason)
	}
}

// needed reports whether anything of the tunnel's still uses a session.
func (t *tunnel) needed(id SessionID) bool {
	if len(t.bySession[id]) > 0 || len(t.deferred[id]) > 0 {
		return true
	}
	for _, n := range t.nhs {
		if n.session == id && n.active {
			return true
		}
	}
	for _, m := range t.maps {
		if m.session == id {
			return true
		}
	}
	for _, other := range t.always {
		if other == id {
			return true
		}
	}
	return false
}

// watch arms an entry's timer for what comes next: giving a session up, looking at its use, or its end.
func (t *tunnel) watch(now time.Time, en *entry) {
	if en.kind == KindStatic || en.kind == KindNHS {
		return
	}
	if !en.wantedTill.IsZero() {
		at := en.wantedTill
		if !en.expires.IsZero() && en.expires.Before(at) {
			at = en.expires
		}
		t.e.set(&en.timer, at, func(now time.Time) { t.sessionLate(now, en) })
		return
	}
	if en.expires.IsZero() {
		return
	}
	if en.kind == KindRegistered || en.kind == KindNegative {
		t.e.set(&en.timer, en.expires, func(now time.Time) { t.expired(now, en) })
		return
	}
	// Use counts from a sixth of the hold time before a refresh is due (at most a minute), so that a burst long ago does not
	// keep an idle shortcut. Answers refresh themselves: who asked asks again, so we wait longer for that.
	due := en.hold * 2 / 3
	if en.kind == KindImplicit {
		due = en.hold * 5 / 6
	}
	en.refreshAt = en.expires.Add(due - en.hold)
	window := min(en.hold/6, time.Minute)
	first := en.refreshAt.Add(-window)
	if !first.After(now) {
		first = now.Add(t.e.timers.UsageInterval)
	}
	if first.After(en.expires) {
		first = en.expires
	}
	t.e.set(&en.timer, first, func(now time.Time) { t.baseline(now, en) })
}

// baseline is the first look at a session's counter: from here on a change means that it is in use.
func (t *tunnel) baseline(now time.Time, en *entry) {
	if s, ok := t.e.host.Session(en.session); ok {
		en.data = s.Data
	}
	if !now.Before(en.expires) {
		t.expired(now, en)
		return
	}
	at := en.refreshAt
	if !at.After(now) {
		at = now.Add(t.e.timers.UsageInterval)
	}
	t.lookAt(en, at)
}

func (t *tunnel) lookAt(en *entry, at time.Time) {
	if at.After(en.expires) {
		at = en.expires
	}
	t.e.set(&en.timer, at, func(now time.Time) { t.look(now, en) })
}

func (t *tunnel) look(now time.Time, en *entry) {
	s, ok := t.e.host.Session(en.session)
	if ok && s.Data != en.data {
		en.data, en.used = s.Data, true
	}
	if !now.Before(en.expires) {
		t.expired(now, en)
		return
	}
	if en.used && t.dependents(en).IsZero() && !(en.kind == KindImplicit && now.Before(en.refreshAt)) {
		// A neighbour with shortcuts over it is refreshed by their refresh: the answer names it too.
		t.resolve(now, en.target, "refresh", en)
	}
	t.lookAt(en, now.Add(t.e.timers.UsageInterval))
}

// dependents is when the last shortcut over a neighbour ends; zero without one.
func (t *tunnel) dependents(en *entry) (last time.Time) {
	if !en.host() {
		return last
	}
	for other := range t.bySession[en.session] {
		if other != en && other.nextHop == en.nextHop && other.kind == KindResolved && other.expires.After(last) {
			last = other.expires
		}
	}
	return last
}

func (t *tunnel) expired(now time.Time, en *entry) {
	if last := t.dependents(en); last.After(now) {
		en.expires = last
		t.lookAt(en, last)
		return
	}
	reason := reasonIdle
	switch {
	case en.kind == KindRegistered:
		reason = "not refreshed"
	case en.used:
		reason = "refresh unanswered"
	}
	t.remove(now, en, reason)
	if en.kind == KindRegistered {
		t.retryClaims(now)
	}
}

// sessionLate gives up an entry whose session did not come up.
func (t *tunnel) sessionLate(now time.Time, en *entry) {
	t.forget(en, "session did not come up")
	if !t.needed(en.session) && t.ends() {
		t.e.close(en.session, "did not come up")
	}
	if en.kind == KindResolved {
		t.event(Event{Kind: EventResolutionFailed, Session: en.session, Peer: en.nextHop, NBMA: en.nbma, Prefix: en.prefix, Reason: "session did not come up"})
		t.negative(now, en.target, "session did not come up")
	}
}

// negative remembers that a destination has no answer, so that packets to it do not ask again and again.
func (t *tunnel) negative(now time.Time, target netip.Addr, reason string) {
	if t.cfg.Clone {
		// It would go with the session that did not come up. Who redirects is at the end of a configured tunnel.
		for _, o := range t.net.parents {
			o.negative(now, target, reason)
		}
		return
	}
	if !target.IsValid() || t.cache[hostPrefix(target)] != nil || t.full() {
		return
	}
	t.bind(now, hostPrefix(target), entry{kind: KindNegative, target: target, hold: t.e.timers.Negative, reason: reason})
}

// tellMulticast tells the data plane whom multicast goes to, when that changed.
func (t *tunnel) tellMulticast() {
	var list []SessionID
	for _, id := range t.always {
		list = append(list, id)
	}
	for _, n := range t.nhs {
		if n.active && n.Multicast && n.session != 0 {
			list = append(list, n.session)
		}
	}
	if t.cfg.MulticastDynamic {
		for id := range t.clients {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if !slices.Equal(list, t.multicast) {
		t.multicast = list
		t.e.host.SetMulticast(t.cfg.Tunnel, slices.Clone(list))
	}
}

// tellGlean tells the data plane which server takes packets whose next hop is not resolved yet.
func (t *tunnel) tellGlean() {
	var id SessionID
	if n := t.server(0); n != nil {
		id = n.session
	}
	if id != t.glean {
		t.glean = id
		t.e.host.SetGlean(t.cfg.Tunnel, id)
	}
}
