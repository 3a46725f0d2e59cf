package boot

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"felloe/config"
	"felloe/netstack/clock"
	"felloe/netstack/fib"
	"felloe/routing/bfd"
	"felloe/routing/rib"
	"felloe/routing/track"

	"github.com/gaissmai/bart"
)

// tracks are the tracked objects of the router, and what reports of them.
type tracks struct {
	*track.Manager
	r      *Router
	leaves map[int]*trackLeaf
	timer  clock.Timer
	warned map[string]bool
}

// trackLeaf is a leaf as it was applied.
type trackLeaf struct {
	spec  leafSpec
	probe track.Probe
	stop  func()
}

// leafSpec is what a leaf looks at; another one is another object.
type leafSpec struct {
	Kind      string
	VRF       string
	Address   netip.Addr
	Port      uint16
	Size      int
	URL       string
	Status    string
	Source    config.Local
	Interface string
	Routing   bool
	Prefix    netip.Prefix
	Multihop  bool
}

func (r *Router) newTracks() *tracks {
	t := &tracks{Manager: track.New(r.clock.Now, r.log), r: r, leaves: map[int]*trackLeaf{}, warned: map[string]bool{}}
	t.timer = r.loop.After("track delays", time.Hour, func() { t.Tick(); t.arm() })
	t.timer.Stop()
	return t
}

func (t *tracks) arm() {
	if at, ok := t.Deadline(); ok {
		t.timer.Reset(max(at.Sub(t.r.clock.Now()), time.Millisecond))
	} else {
		t.timer.Stop()
	}
}

// Report has what was found count.
func (t *tracks) Report(id int, up bool, reason string) {
	t.Manager.Report(id, up, reason)
	t.arm()
}

// trackObject translates one object.
func trackObject(c *config.Track) (track.Object, leafSpec, track.Probe) {
	o := track.Object{ID: c.Number, Kind: c.Kind(), Description: c.Description, Delay: track.Delay{Up: c.Delay.Up, Down: c.Delay.Down}}
	spec := leafSpec{Kind: o.Kind}
	var probe track.Probe
	asks := func(p *config.TrackProbe) {
		spec.VRF, spec.Source = p.VRF, p.Source
		probe = track.Probe{Interval: p.Interval, Timeout: p.Timeout, Failures: p.Failures, Successes: p.Successes}
	}
	switch {
	case c.ICMPEcho != nil:
		asks(&c.ICMPEcho.TrackProbe)
		spec.Address, spec.Size = c.ICMPEcho.Address, c.ICMPEcho.Size
		o.What = "icmp-echo " + spec.Address.String()
	case c.TCPConnect != nil:
		asks(&c.TCPConnect.TrackProbe)
		spec.Address, spec.Port = c.TCPConnect.Address, c.TCPConnect.Port
		o.What = fmt.Sprintf("tcp-connect %s port %d", spec.Address, spec.Port)
	case c.HTTP != nil:
		asks(&c.HTTP.TrackProbe)
		spec.URL, spec.Status = c.HTTP.URL, fmt.Sprint(c.HTTP.Status)
		o.What = "http " + spec.URL
	case c.Interface != nil:
		spec.Interface, spec.Routing = c.Interface.Name, c.Interface.What == config.TrackIPRouting
		o.What = fmt.Sprintf("interface %s %s", spec.Interface, c.Interface.What)
	case c.Route != nil:
		spec.VRF, spec.Prefix = c.Route.VRF, c.Route.Prefix
		o.What = "route " + spec.Prefix.String() + " reachability"
	case c.BFD != nil:
		spec.VRF, spec.Address, spec.Source, spec.Multihop = c.BFD.VRF, c.BFD.Address, c.BFD.Source, c.BFD.Multihop
		o.What = "bfd " + spec.Address.String()
	case c.Boolean != nil:
		o.Boolean = &track.Boolean{Or: c.Boolean.Operator == config.TrackOr}
		for _, x := range c.Boolean.Object {
			o.Boolean.Terms = append(o.Boolean.Terms, track.Term{ID: x.Track(), Not: x.Not()})
		}
		o.What = "list boolean " + string(c.Boolean.Operator)
		return o, leafSpec{}, probe
	case c.ThresholdPercentage != nil:
		p := c.ThresholdPercentage
		o.Percentage = &track.Percentage{Objects: slices.Clone(p.Object), Up: p.Up, Down: p.Down}
		o.What = "list threshold percentage"
		return o, leafSpec{}, probe
	case c.ThresholdWeight != nil:
		w := c.ThresholdWeight
		o.Weight = &track.Weight{Up: w.Up, Down: w.Down}
		for _, x := range w.Object {
			o.Weight.Objects = append(o.Weight.Objects, track.Weighed{ID: x.Track, Weight: x.Weight})
		}
		o.What = "list threshold weight"
		return o, leafSpec{}, probe
	}
	o.Leaf = spec
	return o, spec, probe
}

// applyTracks makes the objects be as configured. Those that did not change go on.
func (r *Router) applyTracks(desired *config.Config) {
	t := r.tracks
	var objects []track.Object
	want := map[int]*trackLeaf{}
	for _, n := range desired.TrackNumbers() {
		o, spec, probe := trackObject(desired.Track[n])
		objects = append(objects, o)
		if spec.Kind != "" {
			want[n] = &trackLeaf{spec: spec, probe: probe}
		}
	}
	for n, l := range t.leaves {
		if w := want[n]; w == nil || w.spec != l.spec {
			l.stop()
			delete(t.leaves, n)
		}
	}
	if err := t.Set(objects); err != nil {
		for line := range strings.Lines(err.Error()) {
			r.problem("%s", strings.TrimSpace(line))
		}
	}
	for _, n := range desired.TrackNumbers() {
		switch w, l := want[n], t.leaves[n]; {
		case w == nil:
		case l == nil:
			t.leaves[n] = w
			r.startTrack(n, w)
		case l.probe != w.probe:
			l.probe = w.probe
			probe := w.probe
			r.prompt.post("change a probe", func(now time.Time) { r.prompt.prober.Set(now, n, probe) })
		}
	}
	t.arm()
}

// startTrack begins to look at a leaf.
func (r *Router) startTrack(id int, l *trackLeaf) {
	s := l.spec
	switch s.Kind {
	case "interface", "route":
		l.stop = func() {}
		if s.Kind == "route" {
			r.heedRoutes(s.VRF)
		}
		r.lookAt(id, l)
	case "bfd":
		w := &bfdWatch{vrf: s.VRF, remote: s.Address, source: s.Source, by: "Track", f: func(c bfd.Change) {
			reason := c.Diagnostic.String()
			if c.Up {
				reason = ""
			}
			r.tracks.Report(id, c.Up, reason)
		}}
		if s.Multihop {
			w.mode = bfdMultihop
		}
		r.tracks.Report(id, false, "the session is not up")
		l.stop = r.watchBFD(w)
	default:
		p := r.promptly()
		r.listenEcho(s.VRF)
		probe := l.probe
		p.post("a new probe", func(now time.Time) {
			p.asks.set(id, s)
			p.prober.Set(now, id, probe)
		})
		l.stop = func() {
			p.post("the end of a probe", func(time.Time) {
				p.prober.Remove(id)
				p.asks.remove(id)
			})
		}
	}
}

// lookAt reports an interface or a route as it is now.
func (r *Router) lookAt(id int, l *trackLeaf) {
	s := l.spec
	switch s.Kind {
	case "interface":
		i, ok := r.dp.Interface(s.Interface)
		switch {
		case !ok:
			r.tracks.Report(id, false, "there is no such interface")
		case !i.Up():
			r.tracks.Report(id, false, "line protocol is down")
		case s.Routing && len(i.Addresses()) == 0 && (i.Unnumbered() == nil || len(i.Unnumbered().Addresses()) == 0):
			r.tracks.Report(id, false, "it has no address")
		default:
			r.tracks.Report(id, true, "")
		}
	case "route":
		reason := "there is no route"
		if v := r.vrfs[s.VRF]; v != nil {
			if x, ok := v.rib.Get(s.Prefix); ok && x.Source != rib.NHRP {
				if reason = ""; x.Kind == fib.Discard || x.Kind == fib.Unreachable {
					reason = "the route discards"
				}
			}
		}
		r.tracks.Report(id, reason == "", reason)
	}
}

// lookAtAll reports all interfaces and routes as they are now.
func (r *Router) lookAtAll(kind string) {
	for id, l := range r.tracks.leaves {
		if l.spec.Kind == kind {
			r.lookAt(id, l)
		}
	}
}

// heedRoutes has what depends on a VRF's routes look again when they change.
func (r *Router) heedRoutes(name string) {
	v := r.vrfs[name]
	if v == nil || v.heeded {
		return
	}
	v.heeded = true
	// What has changed since the last look, and whether addresses of ours have: any session may be from another one then.
	changed, ours, pending := new(bart.Lite), false, false
	v.rib.Subscribe(func(changes []rib.Change) {
		for _, c := range changes {
			if len(r.bfdWatch) > 0 {
				changed.Insert(c.Prefix)
				ours = ours || isOurs(c.Old) || isOurs(c.New)
			}
		}
		if pending {
			return
		}
		pending = true
		r.loop.Post("routes changed", func() {
			where, all := changed, ours
			changed, ours, pending = new(bart.Lite), false, false
			for w := range r.bfdWatch {
				if w.vrf == name && (all || where.Lookup(w.remote)) {
					r.resolveBFD(w)
				}
			}
			r.lookAtAll("route")
			r.checkProbes()
		})
	})
}

// isOurs says that a route is an address of ours, or its subnet.
func isOurs(r *rib.Route) bool {
	return r != nil && (r.Source == rib.Local || r.Source == rib.Connected)
}

// checkProbes says once of each probe that its packets go through the tunnel which it guards: when the tunnel is down the
// probe fails, and nothing brings it up again.
func (r *Router) checkProbes() {
	for id, l := range r.tracks.leaves {
		v := r.vrfs[l.spec.VRF]
		if v == nil || !l.spec.Address.IsValid() {
			continue
		}
		_, _, ifname, _, _, ok := v.rib.Lookup("", l.spec.Address)
		if i := r.applied.Interface[ifname]; !ok || i == nil || i.Kind() != config.Tunnel {
			continue
		}
		for name, c := range r.applied.IKEv2.Client {
			if c.ClientConnect != ifname || !r.guards(id, c) {
				continue
			}
			if key := name + " " + strconv.Itoa(id); !r.tracks.warned[key] {
				r.tracks.warned[key] = true
				r.log.Warn().Str("event", "track-through-tunnel").Int("track", id).Str("client", name).Str("tunnel", ifname).
					Msgf("[track.%d] asks %s through %s, the tunnel that [ikev2.client.%s] connects by it: give it a route outside of the tunnel", id, l.spec.Address, ifname, name)
			}
		}
	}
}

// guards says that a client block uses a peer or a source only while the object is up, directly or by way of a list.
func (r *Router) guards(id int, c *config.FlexClient) bool {
	uses := func(n int) bool { return n != 0 && r.consistsOf(n, id, 0) }
	for _, p := range c.Peer {
		if p.TrackState != config.TrackDown && uses(p.Track) {
			return true
		}
	}
	for _, s := range c.Source {
		if uses(s.Track) {
			return true
		}
	}
	return c.Connect.State != config.TrackDown && uses(c.Connect.Track)
}

func (r *Router) consistsOf(n, id, depth int) bool {
	if n == id {
		return true
	}
	c := r.applied.Track[n]
	return c != nil && depth < 32 && slices.ContainsFunc(c.Objects(), func(m int) bool { return r.consistsOf(m, id, depth+1) })
}

// reviewTracks looks at everything again after an Apply.
func (r *Router) reviewTracks() {
	clear(r.tracks.warned)
	for id, l := range r.tracks.leaves {
		if l.probe != (track.Probe{}) {
			r.listenEcho(l.spec.VRF)
		} else {
			r.lookAt(id, l)
		}
		if l.spec.Kind == "route" || l.spec.Address.IsValid() {
			r.heedRoutes(l.spec.VRF)
		}
	}
	r.checkProbes()
}

// trackUsers is who heeds which object.
func trackUsers(c *config.Config) map[int][]string {
	users := map[int][]string{}
	add := func(id int, format string, args ...any) {
		if by := fmt.Sprintf(format, args...); id != 0 && !slices.Contains(users[id], by) {
			users[id] = append(users[id], by)
		}
	}
	for _, n := range c.TrackNumbers() {
		for _, id := range c.Track[n].Objects() {
			add(id, "Track %d", n)
		}
	}
	for _, name := range sorted(c.IKEv2.Client) {
		b := c.IKEv2.Client[name]
		add(b.Connect.Track, "FlexVPN %s", name)
		for _, p := range b.Peer {
			add(p.Track, "FlexVPN %s", name)
		}
		for _, s := range b.Source {
			add(s.Track, "FlexVPN %s", name)
		}
	}
	for _, s := range c.Route {
		where := ""
		if s.VRF != config.DefaultVRF {
			where = " in vrf " + s.VRF
		}
		add(s.Track, "Static route %s%s", s.Prefix, where)
	}
	for _, name := range c.InterfaceNames() {
		if h := c.Interface[name].NHRP; h != nil {
			for _, s := range h.NHS {
				add(s.Track, "NHRP next hop server %s of %s", s.Address, name)
			}
		}
	}
	for _, name := range sorted(c.RouteMap) {
		for _, e := range c.RouteMap[name].Entry {
			for _, id := range e.Match.Track {
				add(id, "Route map %s", name)
			}
		}
	}
	return users
}

// Tracks is all tracked objects.
func (r *Router) Tracks() (out []track.Info) {
	_ = r.call("tracks", func() error { out = r.trackSnapshot(); return nil })
	return out
}

// trackSnapshot is Tracks for who is on the control loop.
func (r *Router) trackSnapshot() []track.Info {
	out := r.tracks.Snapshot()
	users := trackUsers(r.applied)
	for n := range out {
		out[n].TrackedBy = users[out[n].ID]
	}
	if r.prompt == nil {
		return out
	}
	r.prompt.call("show track", func(time.Time) {
		for n := range out {
			if i, ok := r.prompt.prober.Info(out[n].ID); ok {
				out[n].Probe = &i
			}
		}
	})
	return out
}
