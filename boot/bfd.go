package boot

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
	"felloe/routing/bfd"
)

// bfdMode says which kind of session a watch wants.
type bfdMode uint8

const (
	bfdSingleHop bfdMode = iota
	bfdMultihop
	bfdAuto // single hop to a neighbour, multihop to others
)

// bfdWatch is somebody who wants to know of a neighbour. The session that tells it follows the routing table: which
// interface leads there, and from which address.
type bfdWatch struct {
	vrf           string
	local, remote netip.Addr   // local may be the zero Addr
	source        config.Local // or this
	ifname        string       // single hop over this interface only, when it is not empty
	mode          bfdMode
	by            string
	f             func(c bfd.Change)

	key    bfd.Key
	open   bool
	up     bool
	round  int // of key: what an earlier session says is nothing any more
	client *bfd.Client
	timers bfd.Timers
	gone   bool
}

// bgpBFD is what BGP asks of BFD.
type bgpBFD struct{ r *Router }

// Watch implements bgp.BFD. A neighbour that takes BFD away on purpose has not failed (RFC 5882 §4.2), so BGP does not hear
// of it.
func (b bgpBFD) Watch(vrf string, local, remote netip.Addr, multihop bool, f func(up bool)) (stop func()) {
	w := &bfdWatch{vrf: vrf, local: local, remote: remote, by: "BGP", f: func(c bfd.Change) {
		if !c.Remote {
			f(c.Up)
		}
	}}
	if multihop {
		w.mode = bfdMultihop
	}
	return b.r.watchBFD(w)
}

// watchBFD begins a watch. On the control loop, as is what it calls.
func (r *Router) watchBFD(w *bfdWatch) (stop func()) {
	r.promptly()
	r.bfdWatch[w] = struct{}{}
	r.resolveBFD(w)
	return func() {
		if w.gone {
			return
		}
		w.gone = true
		delete(r.bfdWatch, w)
		r.closeBFD(w, false)
	}
}

// resolveBFD finds the session that a watch needs now.
func (r *Router) resolveBFD(w *bfdWatch) {
	if w.gone {
		return
	}
	r.heedRoutes(w.vrf)
	key, ok := r.bfdKey(w)
	timers := r.bfdTimers(key)
	switch {
	case !ok:
		r.closeBFD(w, true)
		return
	case w.open && key == w.key:
		if timers != w.timers {
			w.timers = timers
			r.prompt.post("bfd timers", func(time.Time) { r.prompt.engine.SetTimers(key, timers) })
		}
		return
	}
	if w.open {
		r.closeBFD(w, true)
	}
	w.key, w.open, w.timers = key, true, timers
	round := w.round
	r.listenBFD(w.vrf)
	tell := func(c bfd.Change) {
		r.loop.Post("bfd", func() {
			if w.gone || w.round != round || w.up == c.Up {
				return
			}
			w.up = c.Up
			w.f(c)
		})
	}
	r.prompt.post("bfd session", func(now time.Time) {
		up := false
		w.client = r.prompt.engine.Open(now, key, timers, w.by, func(c bfd.Change) {
			up = up || c.Up
			tell(c)
		})
		if !up {
			tell(bfd.Change{}) // to who took over from another watch, and thinks that it is up
		}
	})
}

// closeBFD lets a watch's session go. A path that is gone is a failure; a watch that ends is none.
func (r *Router) closeBFD(w *bfdWatch, pathGone bool) {
	was := w.up
	w.up = false
	if w.open {
		w.open = false
		w.round++
		r.prompt.post("end of a bfd session", func(now time.Time) { w.client.Close(now, pathGone) })
	}
	if was && !w.gone {
		w.f(bfd.Change{Diagnostic: bfd.PathDown})
	}
}

// bfdKey is the session that a watch needs as the routes are.
func (r *Router) bfdKey(w *bfdWatch) (bfd.Key, bool) {
	k := bfd.Key{VRF: w.vrf, Local: w.local, Remote: w.remote}
	v := r.vrfs[w.vrf]
	if v == nil {
		return k, false
	}
	_, via, ifname, local, discard, ok := v.rib.Lookup("", w.remote)
	if !ok || local || discard {
		return k, false
	}
	switch w.mode {
	case bfdMultihop:
		k.Multihop = true
	case bfdAuto:
		_, near := v.rib.Adjacent(w.remote)
		k.Multihop = !near
	case bfdSingleHop:
		if via.IsValid() {
			return k, false
		}
	}
	if !k.Multihop {
		if w.ifname != "" && ifname != w.ifname {
			return k, false
		}
		k.Interface = ifname
	}
	source := w.source
	if k.Multihop && source.IsZero() {
		if m := r.applied.MultihopBFD(w.vrf, w.remote); m != nil {
			source = m.Source
		}
	}
	if !k.Local.IsValid() && !source.IsZero() {
		k.Local = r.addressOf(source, w.remote)
		return k, k.Local.IsValid()
	}
	if !k.Local.IsValid() {
		k.Local, ok = v.net.SourceFor(w.remote)
	}
	return k, ok
}

// addressOf is the address that a configured source has now, of the other address's family.
func (r *Router) addressOf(source config.Local, like netip.Addr) netip.Addr {
	if source.Address.IsValid() {
		return source.Address
	}
	i, ok := r.dp.Interface(source.Interface)
	if !ok {
		return netip.Addr{}
	}
	if of := i.Unnumbered(); of != nil && len(i.Addresses()) == 0 {
		i = of
	}
	for _, p := range i.Addresses() {
		if p.Addr().Is4() == like.Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// bfdTimers are those of a session: the interface's or its template's, or of the multihop list, or the defaults.
func (r *Router) bfdTimers(k bfd.Key) bfd.Timers {
	if k.Multihop {
		if m := r.applied.MultihopBFD(k.VRF, k.Remote); m != nil {
			return timersOf(&m.BFD)
		}
		return timersOf(nil)
	}
	name := k.Interface
	if a, ok := r.flexvpn.Find(name); ok {
		name = a.Template
	}
	return interfaceTimers(r.applied, name)
}

// interfaceTimers are those of the sessions over an interface.
func interfaceTimers(c *config.Config, name string) bfd.Timers {
	if i := c.Interface[name]; i != nil {
		return timersOf(i.BFD)
	}
	return timersOf(nil)
}

func timersOf(c *config.BFD) bfd.Timers {
	if c == nil {
		c = config.Default[config.BFD]()
	}
	return bfd.Timers{Interval: c.Interval, MinRx: c.MinRx, Multiplier: c.Multiplier}
}

// answerBFD says whether a session that a neighbour begins may be. On the prompt loop.
func (r *Router) answerBFD(k bfd.Key) (bfd.Timers, bool) {
	rules := r.bfdPassive.Load()
	if rules == nil {
		return bfd.Timers{}, false
	}
	for _, x := range *rules {
		if x.vrf == k.VRF && x.destination.Contains(k.Remote) {
			return x.timers, x.passive && (!x.local.IsValid() || x.local == k.Local)
		}
	}
	return bfd.Timers{}, false
}

// passiveRule is one [[bfd.multihop]], the longest prefixes first.
type passiveRule struct {
	vrf         string
	destination netip.Prefix
	source      config.Local
	local       netip.Addr // of source, when there is one
	timers      bfd.Timers
	passive     bool
}

// bfdRules translates the list of multihop neighbours.
func bfdRules(c *config.Config) []passiveRule {
	var rules []passiveRule
	for _, m := range c.BFD.Multihop {
		rules = append(rules, passiveRule{vrf: m.VRF, destination: m.Destination, source: m.Source, passive: m.Passive, timers: timersOf(&m.BFD)})
	}
	slices.SortStableFunc(rules, func(a, b passiveRule) int { return b.destination.Bits() - a.destination.Bits() })
	return rules
}

// reviewBFD brings everything up to date with the configuration that was applied, and with the addresses that interfaces have
// been given since.
func (r *Router) reviewBFD() {
	rules := bfdRules(r.applied)
	for n := range rules {
		x := &rules[n]
		if !x.source.IsZero() {
			x.local = r.addressOf(x.source, x.destination.Addr())
			x.passive = x.passive && x.local.IsValid()
		}
		if x.passive {
			r.promptly()
			r.listenBFD(x.vrf)
		}
	}
	r.bfdPassive.Store(&rules)
	if r.prompt != nil {
		r.resolveAllBFD()
		r.prompt.post("review bfd", func(now time.Time) { r.prompt.engine.Review(now) })
	}
}

func (r *Router) resolveAllBFD() {
	for w := range r.bfdWatch {
		r.resolveBFD(w)
	}
}

// listenBFD takes BFD's packets of a VRF.
func (r *Router) listenBFD(name string) {
	v := r.vrfs[name]
	if v == nil || v.bfd {
		return
	}
	v.bfd = true
	p := r.prompt
	take := func(multihop bool) func(netstack.UDP) {
		return func(u netstack.UDP) {
			ctx := bfd.Context{VRF: name, Local: u.Local.Addr(), Remote: u.Remote.Addr(), HopLimit: u.HopLimit, Multihop: multihop}
			if i, ok := r.dp.InterfaceByIndex(u.Packet.Ingress); ok {
				ctx.Interface = i.Name()
			}
			p.packet(ctx, u.Payload)
		}
	}
	v.net.HandleUDP(bfd.Port, take(false))
	v.net.HandleUDP(bfd.MultihopPort, take(true))
}

// bfdHost is the world outside of the BFD engine. On the prompt loop.
type bfdHost struct{ p *prompt }

func (h bfdHost) Number(mine uint32, used bool) { h.p.filter.Number(mine, used) }

// Send implements bfd.Host. A single hop packet leaves by its interface, whatever shortcuts there are. None of them calls a
// peer or asks for a shortcut: BFD looks at what there is.
func (h bfdHost) Send(k bfd.Key, port uint16, b []byte) {
	const flags = packet.FlagControl | packet.FlagNoTrigger
	if k.Multihop {
		if v, ok := h.p.r.dp.VRF(k.VRF); ok {
			_ = v.SendUDP(netip.AddrPortFrom(k.Local, port), netip.AddrPortFrom(k.Remote, bfd.MultihopPort), b,
				netstack.SendOptions{TTL: 255, TOS: tosControl, Flags: flags})
		}
		return
	}
	i, ok := h.p.r.dp.Interface(k.Interface)
	if !ok || !i.Up() {
		return
	}
	pkt := packet.From(b)
	ip.PrependUDP(pkt, ip.Outer{Src: k.Local, Dst: k.Remote, TTL: 255, TOS: tosControl}, port, bfd.Port)
	pkt.Flags = flags
	_ = i.SendIP(pkt)
}

// Changed implements bfd.Host.
func (h bfdHost) Changed(i bfd.Info, c bfd.Change) {
	e := h.p.r.log.Info().Str("event", "bfd").Stringer("peer", i.Remote).Str("vrf", i.VRF)
	if i.Interface != "" {
		e = e.Str("interface", i.Interface)
	}
	if c.Up {
		e.Str("mnemonic", "BFDFSM-6-BFD_SESS_UP").Str("state", "up").Msgf("BFD-SYSLOG: BFD session ld:%d handle:%d is going UP", i.Mine, i.Mine)
		return
	}
	reason := c.Diagnostic.String()
	if c.Remote {
		reason = "neighbor administratively down"
	}
	word := strings.ToUpper(reason)
	if c.Diagnostic == bfd.DetectionTimeExpired && !c.Remote {
		word = "DETECT TIMER EXPIRED" // IOS's
	}
	e.Str("mnemonic", "BFDFSM-6-BFD_SESS_DOWN").Str("state", "down").Str("reason", reason).
		Msgf("BFD-SYSLOG: BFD session ld:%d handle:%d,is going Down Reason: %s", i.Mine, i.Mine, word)
}

// BFD is all BFD sessions, and what was counted.
func (r *Router) BFD() (sessions []bfd.Info, counters bfd.Counters) {
	_ = r.call("bfd", func() error { sessions, counters = r.bfdSnapshot(); return nil })
	return sessions, counters
}

// bfdSnapshot is BFD for who is on the control loop.
func (r *Router) bfdSnapshot() (sessions []bfd.Info, counters bfd.Counters) {
	p := r.prompt
	if p == nil {
		return []bfd.Info{}, counters
	}
	p.call("show bfd", func(now time.Time) {
		sessions, counters = p.engine.Snapshot(now), p.filter.Count(p.engine.Counters())
	})
	return sessions, counters
}
