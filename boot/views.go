package boot

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/show"
	"felloe/netstack"
	"felloe/netstack/fib"
	"felloe/routing/rib"
	"felloe/vpn/flexvpn"
	"felloe/vpn/nhrp"
)

// look runs f on the control loop. A router that has stopped shows nothing.
func (r *Router) look(f func()) { _ = r.loop.Call("show", f) }

// inVRF runs f on the control loop with a VRF.
func (r *Router) inVRF(name string, f func(*vrf) error) error {
	return r.call("show", func() error {
		v := r.vrfs[name]
		if v == nil {
			return fmt.Errorf("%% VRF %s does not exist; there are %s", name, strings.Join(sorted(r.vrfs), ", "))
		}
		return f(v)
	})
}

// ShowVersion implements commands.View.
func (r *Router) ShowVersion() cli.Result {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	v := show.Version{Version: r.o.Version, Go: runtime.Version(), Kernel: r.o.Kernel, Memory: mem.Sys - mem.HeapReleased, NICs: []string{}, Problems: []string{}}
	for _, n := range r.o.NICs {
		v.NICs = append(v.NICs, n.Name)
	}
	if r.o.BootTimes != nil {
		v.Boot = r.o.BootTimes()
	}
	r.look(func() {
		v.Hostname = r.applied.Hostname
		v.Uptime = int64(r.clock.Now().Sub(r.start).Seconds())
		v.Problems = append(v.Problems, r.problems...)
	})
	return v
}

// ShowMemory implements commands.View.
func (r *Router) ShowMemory() cli.Result {
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return show.Memory{Heap: mem.HeapAlloc, Objects: mem.HeapObjects, Reserved: mem.Sys - mem.HeapReleased, Resident: resident(),
		Goroutines: runtime.NumGoroutine(), Collections: mem.NumGC}
}

// resident is the process's resident memory.
func resident() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// ShowRunningConfig implements commands.View. Secrets are not in it.
func (r *Router) ShowRunningConfig(ifname string) (cli.Result, error) {
	var text []byte
	err := r.call("show", func() error {
		if ifname == "" {
			text = config.Marshal(r.applied)
			return nil
		}
		full, err := matchInterface(ifname, r.interfaceNames())
		if err != nil {
			return err
		}
		if i := r.applied.Interface[full]; i != nil {
			text = interfaceText(i)
			return nil
		}
		return fmt.Errorf("%% %s is made of a template: see show derived-config interface %s", full, full)
	})
	return cli.Text(text), err
}

// interfaceText is an interface's part of a configuration.
func interfaceText(i *config.Interface) []byte {
	c := config.New()
	c.Interface = map[string]*config.Interface{i.Name: i}
	return config.Marshal(c)
}

// ShowDerivedConfig implements commands.View: what a clone has of its template, with what its peer decided.
func (r *Router) ShowDerivedConfig(ifname string) (cli.Result, error) {
	var text []byte
	err := r.call("show", func() error {
		full, err := matchInterface(ifname, r.interfaceNames())
		if err != nil {
			return err
		}
		if i := r.applied.Interface[full]; i != nil {
			text = interfaceText(i)
			return nil
		}
		a, ok := r.flexvpn.Find(full)
		if !ok {
			return fmt.Errorf("%% %s has no peer", full)
		}
		derived := config.Interface{}
		if t := r.applied.Interface[a.Template]; t != nil {
			derived = *t
		}
		derived.Name, derived.Mode, derived.Source, derived.Destination = full, accessMode(a, derived.Mode), config.Local{Address: a.Local.Addr()}, a.Remote.Addr()
		text = fmt.Appendf(nil, "# Cloned from %s for %s (IKEv2 profile %s)\n%s", a.Template, a.Peer, a.Profile, interfaceText(&derived))
		return nil
	})
	return cli.Text(text), err
}

// accessMode is what a clone is: with `virtual-template-mode = "auto"` the peer may have chosen another mode than the template's.
func accessMode(a flexvpn.Access, template config.TunnelMode) config.TunnelMode {
	v6 := a.Remote.Addr().Is6()
	switch {
	case a.Mode == netstack.VTI && template.VTI(), a.Mode != netstack.VTI && template.GRE():
		return template
	case a.Mode == netstack.VTI:
		return map[bool]config.TunnelMode{false: config.IPsecIPv4, true: config.IPsecIPv6}[v6]
	}
	return map[bool]config.TunnelMode{false: config.GREIP, true: config.GREIPv6}[v6]
}

// interfaceNames are those of the configuration, in order, then the cloned ones. On the loop.
func (r *Router) interfaceNames() []string {
	names := r.applied.InterfaceNames()
	var clones []string
	for _, i := range r.dp.Interfaces() {
		if r.ifs[i.Name()] == nil {
			clones = append(clones, i.Name())
		}
	}
	slices.SortFunc(clones, compareInterfaces)
	return append(slices.Clone(names), clones...)
}

// compareInterfaces orders names by their number: Virtual-Access9 before Virtual-Access10.
func compareInterfaces(a, b string) int {
	aw, an := splitInterface(a)
	bw, bn := splitInterface(b)
	return cmp.Or(cmp.Compare(aw, bw), cmp.Compare(len(an), len(bn)), cmp.Compare(an, bn))
}

// interfaces shows those that keep wants; nil is all.
func (r *Router) interfaces(keep func(name string) bool) []show.Interface {
	var out []show.Interface
	r.look(func() {
		for _, name := range r.interfaceNames() {
			if keep != nil && !keep(name) {
				continue
			}
			if i := r.ifs[name]; i != nil {
				out = append(out, r.showInterface(i))
			} else if net, ok := r.dp.Interface(name); ok {
				out = append(out, r.showClone(net))
			}
		}
	})
	return out
}

// InterfaceName implements commands.View.
func (r *Router) InterfaceName(short string) (string, error) {
	var full string
	err := r.call("show", func() error {
		var err error
		full, err = matchInterface(short, r.interfaceNames())
		return err
	})
	return full, err
}

func (r *Router) showInterface(i *iface) show.Interface {
	s := show.Interface{Name: i.name, VRF: i.spec.VRF, Kind: i.spec.Kind.String(), Status: "not present", Protocol: "down", Addresses: []netip.Prefix{},
		NIC: i.spec.NIC, Drops: map[string]uint64{}}
	if i.cfg != nil {
		s.Description = i.cfg.Description
		s.Addresses = append(s.Addresses, i.addresses()...)
		s.Negotiated, s.WantedIPMTU = i.cfg.Negotiated, i.cfg.IPMTU
		if i.cfg.Shutdown {
			s.Status = "administratively down"
		}
	}
	if t := i.spec.Tunnel; t != nil {
		s.Tunnel = &show.TunnelDetail{Mode: string(t.Mode), UnderlayVRF: t.Underlay, TTL: t.TTL}
		if i.cfg != nil {
			s.Tunnel.Source, s.Tunnel.Protection = i.cfg.Source.String(), i.cfg.Protection
		}
		source, destination := t.Source, t.Destination
		if i.tunnel != nil { // a client block may have chosen others
			now := i.tunnel.Config()
			source, destination = now.Source, now.Destination
		}
		if source.IsValid() && s.Tunnel.Source != source.String() {
			s.Tunnel.Source = strings.TrimSuffix(source.String()+" ("+s.Tunnel.Source+")", " ()")
		}
		if destination.IsValid() {
			s.Tunnel.Destination = destination.String()
		}
		if t.HasKey {
			s.Tunnel.Key = fmt.Sprint(t.Key)
		}
	}
	if i.spec.Kind == config.VirtualTemplate && s.Status == "not present" {
		s.Status = "up" // as on IOS: it is there, and carries nothing itself
	}
	if i.net != nil {
		observe(&s, i.net)
	}
	return s
}

// observe adds what the data plane knows.
func observe(s *show.Interface, i *netstack.Interface) {
	if i.AdminUp() {
		s.Status = map[bool]string{true: "up", false: "down"}[i.Up()]
	}
	if i.Up() {
		s.Protocol = "up"
	}
	if mac := i.MAC(); mac != [6]byte{} {
		s.MAC = net.HardwareAddr(mac[:]).String()
	}
	if of := i.Unnumbered(); of != nil {
		s.Unnumbered = of.Name()
		s.Addresses = append([]netip.Prefix{}, of.Addresses()...)
	}
	s.MTU, s.IPMTU = i.MTU(), i.IPMTU()
	c := i.Counters()
	s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes = c.RxPackets, c.RxBytes, c.TxPackets, c.TxBytes
	for k, n := range c.Drops {
		if n > 0 {
			s.Drops[k] = n
		}
	}
}

// showClone is an interface that a template was cloned to.
func (r *Router) showClone(i *netstack.Interface) show.Interface {
	s := show.Interface{Name: i.Name(), VRF: i.VRF().Name(), Kind: "Virtual Access interface", Description: i.Description(), Status: "administratively down", Protocol: "down",
		Addresses: append([]netip.Prefix{}, i.Addresses()...), Drops: map[string]uint64{}}
	if t := i.Tunnel(); t != nil {
		c := t.Config()
		s.Tunnel = &show.TunnelDetail{Mode: map[bool]string{true: "ipsec", false: "gre ip"}[c.Mode == netstack.VTI], Source: c.Source.String(), UnderlayVRF: c.Underlay.Name(), TTL: c.TTL}
		if c.Destination.IsValid() {
			s.Tunnel.Destination = c.Destination.String()
		}
		if c.HasKey {
			s.Tunnel.Key = fmt.Sprint(c.Key)
		}
	}
	if a, ok := r.flexvpn.Find(i.Name()); ok {
		s.Template, s.Peer = a.Template, a.Peer.String()
		if s.Tunnel != nil {
			mode := config.TunnelMode("")
			if t := r.applied.Interface[a.Template]; t != nil {
				mode, s.Tunnel.Protection, s.WantedIPMTU = t.Mode, t.Protection, t.IPMTU
			}
			s.Tunnel.Mode = string(accessMode(a, mode))
			if a.Remote.IsValid() {
				s.Tunnel.Destination = a.Remote.Addr().String()
			}
		}
	}
	observe(&s, i)
	return s
}

// ShowInterfaces implements commands.View.
func (r *Router) ShowInterfaces(name string) (cli.Result, error) {
	if name == "" {
		return show.Interfaces{Interfaces: r.interfaces(nil)}, nil
	}
	full, err := r.InterfaceName(name)
	if err != nil {
		return nil, err
	}
	return show.Interfaces{Interfaces: r.interfaces(func(n string) bool { return n == full })}, nil
}

// matchInterface finds the interface that a name or an abbreviation ("gi1", "Lo10", "Tu0", "Vi1") means.
func matchInterface(name string, all []string) (string, error) {
	word, number := splitInterface(name)
	var found []string
	for _, full := range all {
		w, n := splitInterface(full)
		if n != number {
			continue
		}
		switch lw := strings.ToLower(word); {
		case strings.HasPrefix(strings.ToLower(w), lw), strings.EqualFold(show.Short(full), name):
			found = append(found, full)
		}
	}
	// "Vi1" is Virtual-Access1, as on IOS, though Virtual-Template1 begins with it too.
	if len(found) > 1 {
		if exact := slices.IndexFunc(found, func(f string) bool { return strings.EqualFold(show.Short(f), name) }); exact >= 0 {
			return found[exact], nil
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%% There is no interface %s", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%% %s may be %s", name, strings.Join(found, ", "))
}

func splitInterface(name string) (word, number string) {
	at := strings.IndexAny(name, "0123456789")
	if at < 0 {
		return name, ""
	}
	return strings.TrimSpace(name[:at]), name[at:]
}

// ShowInterfaceBrief implements commands.View.
func (r *Router) ShowInterfaceBrief(v6 bool) cli.Result { return show.NewBrief(r.interfaces(nil), v6) }

// ShowRoutes implements commands.View.
func (r *Router) ShowRoutes(name string, v6 bool, source string) (cli.Result, error) {
	var out show.Routes
	err := r.inVRF(name, func(v *vrf) error {
		out = show.NewRoutes(name, v.rib.Routes(), v6, source, r.clock.Now())
		return nil
	})
	return out, err
}

// ShowRouteTo implements commands.View.
func (r *Router) ShowRouteTo(name string, dst netip.Addr) (cli.Result, error) {
	var out show.Routes
	err := r.inVRF(name, func(v *vrf) error {
		route, ok := v.rib.Match(dst)
		if !ok {
			return fmt.Errorf("%% Network not in table")
		}
		out = show.NewRoutes(name, []rib.Route{route}, dst.Is6(), "", r.clock.Now())
		return nil
	})
	return out, err
}

// ShowRouteOf implements commands.View.
func (r *Router) ShowRouteOf(name string, p netip.Prefix) (cli.Result, error) {
	var out show.Routes
	err := r.inVRF(name, func(v *vrf) error {
		route, ok := v.rib.Get(p)
		if !ok {
			return fmt.Errorf("%% Network not in table")
		}
		out = show.NewRoutes(name, []rib.Route{route}, p.Addr().Is6(), "", r.clock.Now())
		return nil
	})
	return out, err
}

// ShowCEF implements commands.View. The table is read where the data plane reads it, not on the control loop.
func (r *Router) ShowCEF(name string, v6 bool, dst netip.Addr) (cli.Result, error) {
	var table *fib.Table
	if err := r.inVRF(name, func(v *vrf) error { table = v.net.FIB(); return nil }); err != nil {
		return nil, err
	}
	out := show.CEF{Entries: []show.CEFEntry{}}
	if dst.IsValid() {
		entry := table.Lookup(dst)
		if entry == nil {
			return nil, errors.New("% Network not in table")
		}
		out.Entries = append(out.Entries, r.cefEntry(entry))
		return out, nil
	}
	for entry := range table.Routes {
		if entry.Route.Prefix.Addr().Is6() == v6 {
			out.Entries = append(out.Entries, r.cefEntry(entry))
		}
	}
	slices.SortFunc(out.Entries, func(a, b show.CEFEntry) int { return a.Prefix.Compare(b.Prefix) })
	return out, nil
}

func (r *Router) cefEntry(entry *fib.Entry) show.CEFEntry {
	route := entry.Route
	e := show.CEFEntry{Prefix: route.Prefix, NextHops: []show.NextHop{}}
	switch route.Kind {
	case fib.Local:
		e.Action = "receive"
	case fib.Discard:
		e.Action = "drop"
	case fib.Unreachable:
		e.Action = "unreachable"
	default:
		e.Action = "forward"
	}
	for _, h := range route.NextHops {
		n := show.NextHop{Interface: fmt.Sprint(h.Interface)}
		if i, ok := r.dp.InterfaceByIndex(h.Interface); ok {
			n.Interface = i.Name()
		}
		if h.Via.IsValid() {
			n.Via = h.Via.String()
		}
		e.NextHops = append(e.NextHops, n)
	}
	return e
}

// ShowNeighbours implements commands.View.
func (r *Router) ShowNeighbours(vrf string, v6 bool) (cli.Result, error) {
	out := show.Neighbours{Neighbours: []show.Neighbour{}, V6: v6}
	if vrf != "" {
		if err := r.CheckVRF(vrf); err != nil {
			return nil, err
		}
	}
	r.look(func() {
		for _, name := range sorted(r.ifs) {
			i := r.ifs[name]
			if i.net == nil || i.spec.Kind != config.Ethernet || vrf != "" && i.spec.VRF != vrf {
				continue
			}
			for _, n := range i.net.Neighbours() {
				if n.Addr.Is6() != v6 {
					continue
				}
				x := show.Neighbour{Address: n.Addr, Interface: name, State: n.State.String(), Age: int64(n.Age.Seconds())}
				if n.MAC != [6]byte{} {
					x.MAC = net.HardwareAddr(n.MAC[:]).String()
				}
				out.Neighbours = append(out.Neighbours, x)
			}
		}
	})
	return out, nil
}

// CheckVRF implements commands.View.
func (r *Router) CheckVRF(name string) error { return r.inVRF(name, func(*vrf) error { return nil }) }

// ShowVRFs implements commands.View.
func (r *Router) ShowVRFs(name string, ip, detail bool) (cli.Result, error) {
	out := show.VRFs{VRFs: []show.VRF{}, IP: ip, Detail: detail}
	if name != "" {
		if err := r.CheckVRF(name); err != nil {
			return nil, err
		}
	}
	var tables []*fib.Table
	r.look(func() {
		inside, outside := map[string][]string{}, map[string][]string{}
		for _, n := range r.interfaceNames() {
			i, ok := r.dp.Interface(n)
			if !ok {
				continue
			}
			inside[i.VRF().Name()] = append(inside[i.VRF().Name()], n)
			if t := i.Tunnel(); t != nil {
				under := t.Config().Underlay.Name()
				outside[under] = append(outside[under], n)
			}
		}
		for _, n := range sorted(r.vrfs) {
			if name != "" && n != name || name == "" && n == config.DefaultVRF {
				continue
			}
			v := show.VRF{Name: n, ID: r.vrfs[n].net.ID(), Interfaces: append([]string{}, inside[n]...), Outside: append([]string{}, outside[n]...)}
			if c := r.applied.VRF[n]; c != nil {
				v.RD, v.Description = c.RD, c.Description
			}
			if s := r.bgps[n]; s != nil {
				v.BGP = s.bgp.Config().AS
			}
			out.VRFs = append(out.VRFs, v)
			tables = append(tables, r.vrfs[n].net.FIB())
		}
	})
	for n, t := range tables {
		for e := range t.Routes {
			if e.Route.Prefix.Addr().Is6() {
				out.VRFs[n].IPv6++
			} else {
				out.VRFs[n].IPv4++
			}
		}
	}
	return out, nil
}

// ShowCounters implements commands.View.
func (r *Router) ShowCounters() cli.Result {
	out := show.Counters{Drops: map[string]uint64{}, Events: map[string]uint64{}}
	r.look(func() {
		for k, n := range r.dp.Drops() {
			if n > 0 {
				out.Drops[k] = n
			}
		}
		d := r.dp.Stats()
		c, p, f := r.engine.Counters(), r.protect.Counters(), r.flexvpn.Counters()
		for k, n := range map[string]uint64{
			"ike-received": c.Received, "ike-sent": c.Sent, "ike-malformed": c.Malformed, "ike-decrypt-failed": c.DecryptFailed, "ike-unknown-spi": c.UnknownSPI,
			"ike-window-dropped": c.WindowDropped, "ike-retransmitted": c.Retransmitted, "ike-cookies-sent": c.CookiesSent, "ike-half-open-refused": c.HalfOpenRefused,
			"ike-auth-failed": c.AuthFailed, "ike-up": p.IKEUps, "ike-down": p.IKEDowns, "ike-failed": p.IKEFailures, "ike-rekeyed": p.IKERekeys, "child-up": p.ChildUps, "child-down": p.ChildDowns,
			"child-failed": p.ChildFailures, "child-rekeyed": p.ChildRekeys, "contained": p.Contained, "homeless": p.Homeless, "clone-failed": p.CloneFailures, "access-cloned": f.Cloned, "access-released": f.Released,
			"access-refused": f.Refused, "peer-routes-left-out": f.RoutesLeftOut, "no-sa": p.NoSA, "panics": r.loop.Panics(), "punts-refused": r.loop.Refused() + r.punted.Load(),
			"punts": d.Punts.Load(), "punts-limited": d.PuntsLimited.Load(), "reassembled": d.Reassembled.Load(), "fragmented": d.Fragmented.Load(),
			"icmp-errors": d.ICMPErrors.Load(), "icmp-limited": d.ICMPLimited.Load(), "nat-keepalives": d.Keepalives.Load(), "worker-panics": d.Panics.Load(),
		} {
			out.Events[k] = n
		}
		if p := r.prompt; p != nil {
			out.Events["panics"] += p.loop.Panics()
			out.Events["bfd-and-probes-lost"] = p.lost()
		}
	})
	return out
}

func (r *Router) nhrp() []nhrp.TunnelInfo {
	var out []nhrp.TunnelInfo
	r.look(func() { out = r.dmvpn.Snapshot() })
	return out
}

// ShowDMVPN implements commands.View.
func (r *Router) ShowDMVPN(detail bool) cli.Result {
	return show.NewDMVPN(r.nhrp(), detail, r.clock.Now())
}

// ShowNHRP implements commands.View.
func (r *Router) ShowNHRP(v6 bool, part string) cli.Result {
	t := r.nhrp()
	switch part {
	case "nhs":
		return show.NewNHRPServers(t, v6)
	case "traffic":
		return show.NewNHRPTraffic(t)
	case "multicast":
		return show.NewNHRPMulticast(t)
	}
	return show.NewNHRPCache(t, v6, part == "shortcut", r.clock.Now())
}
