package boot

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"felloe/config"
	"felloe/manage/events"
	"felloe/netstack"
	"felloe/routing/rib"
)

// past is what has happened. The log tells it, on any goroutine and whoever holds a lock: so it looks at nothing that takes one.
type past struct {
	*events.Recorder
	r      *Router
	vrfs   sync.Map                        // name to *netstack.VRF
	single atomic.Pointer[map[string]bool] // the configured tunnels to one peer
}

func (r *Router) newPast() *past {
	p := &past{r: r}
	p.single.Store(&map[string]bool{})
	p.Recorder = events.New(events.Options{Link: p.link, Single: p.serves})
	r.logs.Follow(p.Log)
	return p
}

// Events implements commands.View.
func (r *Router) Events() []events.Event { return r.past.Events() }

// know learns which interfaces there are.
func (p *past) know(ifs map[string]*iface) {
	single := map[string]bool{}
	for name, i := range ifs {
		if t := i.spec.Tunnel; t != nil && i.spec.Kind == config.Tunnel && t.Mode != config.GREMultipoint {
			single[name] = true
		}
	}
	p.single.Store(&single)
}

// serves reports whether an interface is a tunnel to one peer.
func (p *past) serves(name string) bool {
	return (*p.single.Load())[name] || strings.HasPrefix(name, "Virtual-Access")
}

// link is the tunnel to one peer that an address is reached by.
func (p *past) link(vrf, address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	v, ok := p.vrfs.Load(cmp.Or(vrf, config.DefaultVRF))
	if !ok {
		return ""
	}
	route := v.(*netstack.VRF).FIB().Lookup(a)
	if route == nil || len(route.NextHops) == 0 {
		return ""
	}
	if i, ok := p.r.dp.InterfaceByIndex(route.NextHops[0].Interface); ok && p.serves(i.Name()) {
		return i.Name()
	}
	return ""
}

// countRoutes tells the stories how many routes have left which interfaces for which.
func (r *Router) countRoutes(vrf string, changes []rib.Change) {
	type way struct{ from, to string }
	var last way
	n := map[way]int{}
	for _, c := range changes {
		if w := (way{routeInterfaces(c.Old), routeInterfaces(c.New)}); w.from != w.to {
			last = w
			n[w]++
		}
	}
	if len(n) == 0 {
		return
	}
	now := r.clock.Now()
	if len(n) == 1 {
		r.past.Routes(now, vrf, last.from, last.to, n[last])
		return
	}
	for w, count := range n {
		r.past.Routes(now, vrf, w.from, w.to, count)
	}
}

// routeInterfaces are the interfaces that a route's packets leave by.
func routeInterfaces(route *rib.Route) string {
	if route == nil || route.Source == rib.Local || route.Source == rib.Connected {
		return ""
	}
	hops := route.Hops
	if len(route.Override) > 0 {
		hops = route.Override
	}
	if len(hops) == 1 {
		return hops[0].Interface
	}
	var names []string
	for _, h := range hops {
		if !slices.Contains(names, h.Interface) {
			names = append(names, h.Interface)
		}
	}
	return strings.Join(names, "+")
}
