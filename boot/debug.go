package boot

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/netstack"
	"felloe/routing/bgp"
	"felloe/routing/rib"

	"github.com/rs/zerolog"
)

// debugs is a logger whose debug lines belong to a category.
func (r *Router) debugs(category string) zerolog.Logger {
	return r.log.Hook(zerolog.HookFunc(func(e *zerolog.Event, level zerolog.Level, _ string) {
		if level == zerolog.DebugLevel {
			e.Str("debug", category)
		}
	}))
}

// debugRoutes follows a routing table for `debug ip routing` and `show events`.
func (r *Router) debugRoutes(name string, table *rib.RIB) {
	log := r.debugs("rib")
	table.Subscribe(func(changes []rib.Change) {
		r.countRoutes(name, changes)
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

// debugMessages follows BGP's messages for `debug ip bgp {keepalives|events|updates}`. It runs on the sessions' goroutines.
func (r *Router) debugMessages(vrf string) func(peer netip.Addr, sent bool, kind uint8, length int) {
	return func(peer netip.Addr, sent bool, kind uint8, length int) {
		name, category := "message", "bgp events"
		switch kind { // RFC 4271 §4.1, RFC 2918
		case 1:
			name = "OPEN"
		case 2:
			name, category = "UPDATE", "bgp updates"
		case 3:
			name = "NOTIFICATION"
		case 4:
			name, category = "KEEPALIVE", "bgp keepalives"
		case 5:
			name = "ROUTE-REFRESH"
		}
		if !r.logs.Wants(category) {
			return
		}
		r.log.Debug().Str("debug", category).Str("event", "message").Str("vrf", vrf).Stringer("peer", peer).
			Msgf("BGP: %s %s %s, %d bytes", peer, map[bool]string{true: "sending", false: "received"}[sent], name, length)
	}
}

// debugBGP follows what is said of routes for `debug ip bgp updates`, and sessions for `debug ip bgp events`.
func (r *Router) debugBGP(vrf string, make func(bgp.SpeakerOptions) (bgp.Speaker, error)) func(bgp.SpeakerOptions) (bgp.Speaker, error) {
	return func(o bgp.SpeakerOptions) (bgp.Speaker, error) {
		events := o.Events
		o.Events = func(list []bgp.Event) {
			r.debugEvents(vrf, list)
			events(list)
		}
		s, err := make(o)
		if err != nil {
			return nil, err
		}
		return debuggedSpeaker{s, r, vrf}, nil
	}
}

func (r *Router) debugEvents(vrf string, list []bgp.Event) {
	updates, events := r.logs.Wants("bgp updates"), r.logs.Wants("bgp events")
	if !updates && !events {
		return
	}
	line := func(category string, peer netip.Addr) *zerolog.Event {
		return r.log.Debug().Str("debug", category).Str("event", "bgp").Str("vrf", vrf).Stringer("peer", peer)
	}
	for _, e := range list {
		switch e := e.(type) {
		case *bgp.PathEvent:
			for _, p := range e.Prefixes {
				switch {
				case !updates:
				case e.Attributes == nil:
					line("bgp updates", e.Peer).Stringer("prefix", p).Msgf("BGP: %s rcvd UPDATE about %s -- withdrawn", e.Peer, p)
				default:
					line("bgp updates", e.Peer).Stringer("prefix", p).Msgf("BGP: %s rcvd %s, %s", e.Peer, p, attributeText(e.Attributes))
				}
			}
		case *bgp.StateEvent:
			if events {
				line("bgp events", e.Peer).Msgf("BGP: %s went %s %s", e.Peer, map[bool]string{true: "up", false: "down"}[e.Up], e.Reason)
			}
		case *bgp.RefreshEvent:
			if events {
				line("bgp events", e.Peer).Msgf("BGP: %s wants to be told of %s again", e.Peer, e.Family)
			}
		}
	}
}

// debuggedSpeaker tells what is advertised.
type debuggedSpeaker struct {
	bgp.Speaker
	r   *Router
	vrf string
}

func (s debuggedSpeaker) Advertise(peer netip.Addr, session uint64, list []bgp.Advertisement) {
	if s.r.logs.Wants("bgp updates") {
		for _, a := range list {
			e := s.r.log.Debug().Str("debug", "bgp updates").Str("event", "bgp").Str("vrf", s.vrf).Stringer("peer", peer).Stringer("prefix", a.Prefix)
			if a.Attributes == nil {
				e.Msgf("BGP: %s send unreachable %s", peer, a.Prefix)
			} else {
				e.Msgf("BGP: %s send UPDATE %s, %s", peer, a.Prefix, attributeText(a.Attributes))
			}
		}
	}
	s.Speaker.Advertise(peer, session, list)
}

// attributeText is what matters of a route's attributes.
func attributeText(a *bgp.Attributes) string {
	path := a.PathString()
	if path == "" {
		path = "Local"
	}
	return fmt.Sprintf("next %s, metric %d, path %s, origin %s", a.NextHop, a.MED, path, a.Origin.Letter())
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
