package boot

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/netstack"
	"felloe/routing/rib"

	"github.com/rs/zerolog"
)

// netstackLines leaves out what the router says itself, in IOS's words: see lineProtocol.
var netstackLines = zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, msg string) {
	if msg == "line protocol changed" {
		e.Discard()
	}
})

// debugs is a logger whose debug lines belong to a category.
func (r *Router) debugs(category string) zerolog.Logger {
	return r.log.Hook(zerolog.HookFunc(func(e *zerolog.Event, level zerolog.Level, _ string) {
		if level == zerolog.DebugLevel {
			e.Str("debug", category)
		}
	}))
}

// debugRoutes follows a routing table for `debug ip routing`.
func (r *Router) debugRoutes(name string, table *rib.RIB) {
	log := r.debugs("rib")
	table.Subscribe(func(changes []rib.Change) {
		if !r.logs.Debugging() {
			return
		}
		for _, c := range changes {
			e := log.Debug().Str("vrf", name).Stringer("prefix", c.Prefix)
			switch {
			case c.Old == nil && c.New != nil:
				e.Str("event", "route-added").Msgf("RT: add %s", routeText(c.Prefix, c.New))
			case c.New == nil && c.Old != nil:
				e.Str("event", "route-removed").Msgf("RT: del %s", routeText(c.Prefix, c.Old))
			case c.New != nil:
				e.Str("event", "route-changed").Msgf("RT: change %s", routeText(c.Prefix, c.New))
			default:
				e.Discard()
			}
		}
	})
}

func routeText(p netip.Prefix, r *rib.Route) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s [%d/%d]", p, r.Source, r.Distance, r.Metric)
	for _, h := range r.Hops {
		if h.Via.IsValid() {
			fmt.Fprintf(&b, " via %s", h.Via)
		}
		fmt.Fprintf(&b, " %s", h.Interface)
	}
	for _, h := range r.Override {
		fmt.Fprintf(&b, ", next hop override %s %s", h.Via, h.Interface)
	}
	return b.String()
}

// debugPunt tells what the data plane asked for, for `debug tunnel`. It runs on data workers.
func (r *Router) debugPunt(p netstack.Punt) {
	if !r.logs.Debugging() {
		return
	}
	e := r.log.Debug().Str("debug", "tunnel").Str("event", "punt").Str("reason", fmt.Sprint(p.Reason))
	if p.Interface != nil {
		e = e.Str("interface", p.Interface.Name())
	}
	if p.Session != nil {
		e = e.Str("tunnel", p.Session.Tunnel().Interface().Name()).Stringer("peer", p.Session.NBMA())
	}
	if p.NextHop.IsValid() && p.Reason == netstack.PuntNoNeighbour {
		e = e.Stringer("peer-tunnel", p.NextHop)
	}
	e.Msg("the data plane asks the control plane")
}
