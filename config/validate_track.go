package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// tracks checks objects, and what they are made of.
func (v *validator) tracks() {
	for _, n := range v.c.TrackNumbers() {
		t, path := v.c.Track[n], at("track", strconv.Itoa(n))
		switch kinds := t.kinds(); {
		case len(kinds) == 0 && !v.badBelow(path):
			v.errorf(path, "what is tracked is missing; for example icmp-echo = { address = \"172.25.1.1\" }")
		case len(kinds) > 1:
			v.errorf(path+"."+kinds[1], "an object is of one kind, and there is %s already: make an object of each, and combine them with boolean", kinds[0])
		}
		if p := t.ICMPEcho; p != nil {
			v.host(p.Address, p.Source, p.VRF, path+".icmp-echo", "address")
		}
		if p := t.TCPConnect; p != nil {
			v.host(p.Address, p.Source, p.VRF, path+".tcp-connect", "address")
		}
		if p := t.HTTP; p != nil {
			v.trackURL(p, path+".http")
		}
		if p := t.Interface; p != nil {
			if i := v.c.Interface[p.Name]; i != nil && i.Kind() == VirtualTemplate {
				v.errorf(path+".interface.name", "%s is a template, which is never up", p.Name)
			}
		}
		if p := t.BFD; p != nil {
			v.host(p.Address, p.Source, p.VRF, path+".bfd", "address")
			if p.Multihop && !v.bad[path+".bfd.address"] && p.Address.IsValid() && v.connected(p.Address, p.VRF) {
				v.warnf(path+".bfd.multihop", "%s is on a connected subnet: the other end will not expect a multihop session, unless it says so, too", p.Address)
			}
			if !p.Multihop && p.Address.IsValid() && !v.connected(p.Address, p.VRF) && !v.anyNegotiated(p.VRF) && !v.bad[path+".bfd.address"] {
				v.errorf(path+".bfd", "%s is on no connected subnet: set multihop = true", p.Address)
			}
		}
		v.combined(t, path)
		v.trackCircle(n, path)
	}
}

// connected reports whether an address is on a subnet of an interface.
func (v *validator) connected(a netip.Addr, vrf string) bool {
	return v.anyAddress(vrf, func(p netip.Prefix) bool { return p.Contains(a) }) || a.Is6() && a.IsLinkLocalUnicast()
}

// anyNegotiated reports whether a tunnel's subnet is not known before it is up, or not at all.
func (v *validator) anyNegotiated(vrf string) bool {
	for _, i := range v.c.Interface {
		if i.VRF == vrf && (i.Negotiated || i.Unnumbered != "" && i.Kind() == Tunnel) {
			return true
		}
	}
	return false
}

// host checks who is asked, as a key says, and from where.
func (v *validator) host(a netip.Addr, source Local, vrf, path, key string) {
	key = path + "." + key
	switch {
	case !a.IsValid(): // reported
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		v.errorf(key, "%s is not the address of a host", a)
	case v.ownerIn(vrf, a) != nil:
		v.errorf(key, "%s is an address of this router (%s)", a, v.ownerIn(vrf, a).Name)
	case source.Address.IsValid() && source.Address.Is4() != a.Is4():
		v.errorf(path+".source", "%s is of another family than %s", source.Address, a)
	}
	v.sourceVRF(source, vrf, "the host", path+".source")
}

func (v *validator) trackURL(p *TrackHTTP, path string) {
	key := path + ".url"
	var a netip.Addr
	switch u, err := url.Parse(p.URL); {
	case p.URL == "": // reported
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		v.errorf(key, "%q is not an address such as \"http://10.0.0.1/health\"", p.URL)
	case u.User != nil: // whatever it is, it is nobody's business
		v.errorf(key, "users and passwords are not sent: leave out what is before the @")
	case u.Scheme == "https":
		v.errorf(key, "pages are asked for in clear: use http://%s, or tcp-connect with the port", u.Host)
	default:
		if a, err = netip.ParseAddr(u.Hostname()); err != nil {
			v.hostName(strings.ToLower(u.Hostname()), key)
		}
	}
	v.host(a, p.Source, p.VRF, path, "url")
	twice(v, path+".status", p.Status)
}

// combined checks objects that are made of others.
func (v *validator) combined(t *Track, path string) {
	if p := t.ThresholdPercentage; p != nil && p.Up <= p.Down {
		v.errorf(path+".threshold-percentage", "up (%d) must be above down (%d)", p.Up, p.Down)
	}
	w := t.ThresholdWeight
	if w == nil || v.badBelow(path+".threshold-weight") {
		return
	}
	sum := 0
	seen := map[int]bool{}
	for i, o := range w.Object {
		if sum += o.Weight; seen[o.Track] {
			v.errorf(v.item(path+".threshold-weight.object", i)+".track", "%d is listed twice", o.Track)
		}
		seen[o.Track] = true
	}
	switch {
	case w.Up <= w.Down:
		v.errorf(path+".threshold-weight", "up (%d) must be above down (%d)", w.Up, w.Down)
	case w.Up > sum:
		v.errorf(path+".threshold-weight.up", "%d is never reached: all objects together weigh %d", w.Up, sum)
	}
}

// trackCircle finds an object that depends on itself, and the shortest way on which it does.
func (v *validator) trackCircle(n int, path string) {
	from := map[int]int{} // what an object was first found in
	for queue := []int{n}; len(queue) > 0; queue = queue[1:] {
		t := v.c.Track[queue[0]]
		if t == nil {
			continue
		}
		for _, o := range t.Objects() {
			if o == n {
				way := []string{strconv.Itoa(n)}
				for at := queue[0]; at != n; at = from[at] {
					way = append(way, strconv.Itoa(at))
				}
				way = append(way, strconv.Itoa(n))
				slices.Reverse(way)
				v.errorf(path+"."+v.c.Track[n].Kind(), "the object depends on itself (%s)", strings.Join(way, " → "))
				return
			}
			if _, seen := from[o]; !seen {
				from[o] = queue[0]
				queue = append(queue, o)
			}
		}
	}
}

// absence finds static routes whose object is up because they are not there, and the shortest way on which it is.
func (v *validator) absence() {
	type state struct {
		track int
		not   bool // behind an odd number of opposites
	}
	type step struct {
		state
		way string
	}
	type prefix struct {
		prefix netip.Prefix
		vrf    string
	}
	routes := map[prefix][]*Route{}
	for _, r := range v.c.Route {
		routes[prefix{r.Prefix, r.VRF}] = append(routes[prefix{r.Prefix, r.VRF}], r)
	}
	for i, r := range v.c.Route {
		seen := map[state]bool{}
		queue := []step{{state{r.Track, false}, strconv.Itoa(r.Track)}}
	search:
		for ; len(queue) > 0; queue = queue[1:] {
			x := queue[0]
			t := v.c.Track[x.track]
			if t == nil || seen[x.state] {
				continue
			}
			seen[x.state] = true
			if b := t.Boolean; b != nil {
				for _, o := range b.Object {
					queue = append(queue, step{state{o.Track(), x.not != o.Not()}, fmt.Sprint(x.way, " → ", o)})
				}
			} else if p := t.Route; p == nil {
				for _, o := range t.Objects() {
					queue = append(queue, step{state{o, x.not}, fmt.Sprint(x.way, " → ", o)})
				}
			} else {
				for _, o := range routes[prefix{p.Prefix, p.VRF}] {
					way := fmt.Sprint(x.way, " → ", o.Prefix)
					if x.not && o.Prefix == r.Prefix && o.VRF == r.VRF {
						v.warnf(v.item("route", i)+".track", "the object is up while this route is not there (%s): the route would come and go without end", way)
						break search
					}
					queue = append(queue, step{state{o.Track, x.not}, fmt.Sprint(way, " → ", o.Track)})
				}
			}
		}
	}
}

// multihopBFD checks the timers of multihop sessions.
func (v *validator) multihopBFD() {
	for i, m := range v.c.BFD.Multihop {
		path := v.item("bfd.multihop", i)
		for _, o := range v.c.BFD.Multihop[:i] {
			if m.Destination.IsValid() && o.Destination == m.Destination && o.VRF == m.VRF {
				v.errorf(path+".destination", "%s is listed twice", m.Destination)
			}
		}
		if a := m.Source.Address; a.IsValid() && m.Destination.IsValid() && a.Is4() != m.Destination.Addr().Is4() {
			v.errorf(path+".source", "%s is of another family than %s", a, m.Destination)
		}
		v.sourceVRF(m.Source, m.VRF, "the neighbours", path+".source")
	}
}
