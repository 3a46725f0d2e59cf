package show

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/netstack/fib"
	"felloe/routing/rib"
)

// Routes is `show ip route` and `show ipv6 route`.
type Routes struct {
	VRF    string  `json:"vrf"`
	Routes []Route `json:"routes"`
	v6     bool
}

// Route is one prefix of the routing table.
type Route struct {
	Code      string       `json:"code"`
	Prefix    netip.Prefix `json:"prefix"`
	Source    string       `json:"source"`
	Distance  uint8        `json:"distance"`
	Metric    uint32       `json:"metric"`
	NextHops  []NextHop    `json:"next_hops"`
	Override  []NextHop    `json:"override,omitempty"`
	Discard   bool         `json:"discard,omitempty"`
	Uptime    int64        `json:"uptime"`
	direct    bool
	shortcutS int64
}

// NextHop is one way of a route.
type NextHop struct {
	Via       string `json:"via,omitempty"`
	Interface string `json:"interface"`
}

// NewRoutes makes the answer. source keeps one source's routes ("bgp", "static", …); "" keeps all.
func NewRoutes(vrf string, routes []rib.Route, v6 bool, source string, now time.Time) Routes {
	out := Routes{VRF: vrf, Routes: []Route{}, v6: v6}
	for i := range routes {
		r := &routes[i]
		if r.Prefix.Addr().Is6() != v6 || !of(r, source) {
			continue
		}
		x := Route{Code: r.Code(), Prefix: r.Prefix, Source: r.Source.String(), Distance: r.Distance, Metric: r.Metric,
			NextHops: []NextHop{}, Discard: r.Kind == fib.Discard, Uptime: seconds(now.Sub(r.Since)),
			direct: r.Source == rib.Connected || r.Source == rib.Local}
		if r.Overridden() {
			x.Code += " %"
			x.shortcutS = seconds(now.Sub(r.OverrideSince))
		}
		for _, h := range r.Hops {
			x.NextHops = append(x.NextHops, NextHop{text(h.Via), h.Interface})
		}
		// The next hop as the source gave it is what an operator looks for, not what it resolves to.
		if len(r.Paths) == len(r.Hops) {
			for j, p := range r.Paths {
				if p.Via.IsValid() {
					x.NextHops[j].Via = p.Via.String()
				}
			}
		}
		for _, h := range r.Override {
			x.Override = append(x.Override, NextHop{text(h.Via), h.Interface})
		}
		out.Routes = append(out.Routes, x)
	}
	return out
}

// of tells whether a route is of a source. What IKE has installed is static, as on IOS.
func of(r *rib.Route, source string) bool {
	return source == "" || r.Source.String() == source || source == "nhrp" && r.Overridden() || source == "static" && r.Source == rib.IKE
}

const routeCodes = `Codes: L - local, C - connected, S - static, B - BGP, D - EIGRP, H - NHRP
       * - candidate default, % - next hop override, T - way to the far end of a tunnel
`

// Text implements cli.Result.
func (r Routes) Text(w *cli.Table) {
	w.Line(strings.TrimRight(routeCodes, "\n"))
	w.Line("")
	if r.VRF != "default" {
		w.Linef("Routing Table: %s", r.VRF)
		w.Line("")
	}
	if !r.v6 {
		gateway := "Gateway of last resort is not set"
		for _, x := range r.Routes {
			if x.Prefix.Bits() == 0 && len(x.NextHops) > 0 {
				gateway = fmt.Sprintf("Gateway of last resort is %s to network 0.0.0.0", or(x.NextHops[0].Via, x.NextHops[0].Interface))
			}
		}
		w.Line(gateway)
		w.Line("")
	}
	for _, x := range r.Routes {
		head := fmt.Sprintf("%-8s %s", x.Code, x.Prefix)
		switch {
		case x.direct:
			for _, h := range x.NextHops {
				w.Linef("%s is directly connected, %s", head, h.Interface)
			}
			continue
		case x.Discard:
			w.Linef("%s is directly connected, Null0", head)
			continue
		}
		if len(x.NextHops) == 0 && len(x.Override) == 0 {
			w.Linef("%s is unreachable", head) // the far end of a tunnel that nothing else leads to
			continue
		}
		head += fmt.Sprintf(" [%d/%d]", x.Distance, x.Metric)
		for i, h := range x.NextHops {
			if i > 0 {
				head = strings.Repeat(" ", len(head))
			}
			if h.Via == "" {
				w.Linef("%s is directly connected, %s, %s", head, Clock(time.Duration(x.Uptime)*time.Second), h.Interface)
			} else {
				w.Linef("%s via %s, %s, %s", head, h.Via, Clock(time.Duration(x.Uptime)*time.Second), h.Interface)
			}
		}
		for _, h := range x.Override {
			w.Linef("%s [NHO][250/255] via %s, %s, %s", strings.Repeat(" ", 8), h.Via, Clock(time.Duration(x.shortcutS)*time.Second), h.Interface)
		}
	}
}
