package boot

import (
	"net/netip"
	"reflect"
	"slices"

	"felloe/config"
	"felloe/routing/bfd"
	"felloe/routing/rib"
)

// staticSpec is one prefix's configured paths.
type staticSpec struct {
	paths []staticPath
}

// staticPath is a path with what it depends on.
type staticPath struct {
	rib.Path
	track int
	bfd   bool
}

// staticRoute is an applied prefix. A path that depends on something is in the table while that is up.
type staticRoute struct {
	spec staticSpec
	held []held // a place for each path
	stop []func()
}

// held is what a path waits for.
type held struct{ track, bfd bool }

// staticSpecs translates the static routes, by VRF and prefix.
func staticSpecs(desired *config.Config) map[string]map[string]staticSpec {
	want := map[string]map[string]staticSpec{}
	for _, s := range desired.Route {
		p := staticPath{Path: rib.Path{Source: rib.Static, Distance: s.Distance, Discard: s.Discard, Tag: s.Tag}, track: s.Track, bfd: s.BFD}
		if !s.Discard {
			p.NextHops = []rib.NextHop{{Via: s.Via, Interface: s.Interface}}
		}
		if want[s.VRF] == nil {
			want[s.VRF] = map[string]staticSpec{}
		}
		key := s.Prefix.String()
		spec := want[s.VRF][key]
		spec.paths = append(spec.paths, p)
		want[s.VRF][key] = spec
	}
	return want
}

func (r *Router) applyStatics(desired *config.Config) {
	want := staticSpecs(desired)
	for name, v := range r.vrfs {
		v.rib.Batch(func() {
			for key, s := range v.static {
				if _, keep := want[name][key]; !keep {
					delete(v.static, key)
					s.end()
					v.rib.Withdraw(rib.Static, "config", netip.MustParsePrefix(key))
				}
			}
			for _, key := range sorted(want[name]) {
				if old := v.static[key]; old == nil || !reflect.DeepEqual(old.spec, want[name][key]) {
					r.applyStatic(v, name, key, want[name][key])
				}
			}
		})
	}
}

// applyStatic makes a prefix's paths be as wanted. What is known of the objects and neighbours that they depend on stays
// known, so that a path which goes on is not missing for a moment.
func (r *Router) applyStatic(v *vrf, name, key string, spec staticSpec) {
	old := v.static[key]
	s := &staticRoute{spec: spec, held: make([]held, len(spec.paths))}
	v.static[key] = s
	update := func() {
		if v.static[key] == s {
			v.rib.Update(rib.Static, "config", netip.MustParsePrefix(key), s.paths())
		}
	}
	for n := range spec.paths {
		p := &spec.paths[n]
		s.held[n] = held{track: p.track != 0, bfd: p.bfd}
		if old != nil {
			if o := slices.IndexFunc(old.spec.paths, func(o staticPath) bool {
				return o.track == p.track && o.bfd == p.bfd && slices.Equal(o.NextHops, p.NextHops)
			}); o >= 0 {
				s.held[n] = old.held[o]
			}
		}
		h := &s.held[n]
		if p.track != 0 {
			s.stop = append(s.stop, r.tracks.Watch(p.track, func(up bool) {
				h.track = !up
				update()
			}))
		}
		if p.bfd {
			s.stop = append(s.stop, r.watchBFD(&bfdWatch{vrf: name, remote: p.NextHops[0].Via, ifname: p.NextHops[0].Interface, mode: staticBFD(p), by: "Static",
				up: !h.bfd, f: func(c bfd.Change) {
					h.bfd = !c.Up
					update()
				}}))
		}
	}
	if old != nil {
		old.end()
	}
	update()
}

// staticBFD is the kind of session that a path's next hop has: over the path's interface, or over whatever leads there.
func staticBFD(p *staticPath) bfdMode {
	if p.NextHops[0].Interface != "" {
		return bfdSingleHop
	}
	return bfdAuto
}

func (s *staticRoute) end() {
	for _, stop := range s.stop {
		stop()
	}
}

// paths are those that may be used now.
func (s *staticRoute) paths() (out []rib.Path) {
	for n := range s.spec.paths {
		if s.held[n] == (held{}) {
			out = append(out, s.spec.paths[n].Path)
		}
	}
	return out
}
