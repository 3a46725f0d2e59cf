package boot

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/show"
	"felloe/netstack/fib"
	"felloe/routing/bgp"
	"felloe/routing/rib"
	"felloe/vpn/ikev2"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"
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

// ShowRunningConfig implements commands.View. Secrets are not in it.
func (r *Router) ShowRunningConfig() (cli.Result, error) {
	var text []byte
	err := r.call("show", func() error { text = config.Marshal(r.applied); return nil })
	return cli.Text(text), err
}

func (r *Router) interfaces() []show.Interface {
	var out []show.Interface
	r.look(func() {
		for _, name := range r.applied.InterfaceNames() {
			if i := r.ifs[name]; i != nil {
				out = append(out, r.showInterface(i))
			}
		}
	})
	return out
}

func (r *Router) showInterface(i *iface) show.Interface {
	s := show.Interface{Name: i.name, VRF: i.spec.VRF, Kind: i.spec.Kind.String(), Status: "not present", Protocol: "down", Addresses: []netip.Prefix{},
		NIC: i.spec.NIC, Drops: map[string]uint64{}}
	if i.cfg != nil {
		s.Description = i.cfg.Description
		s.Addresses = append(s.Addresses, i.cfg.Address...)
		s.WantedIPMTU = i.cfg.IPMTU
		if i.cfg.Shutdown {
			s.Status = "administratively down"
		}
	}
	if t := i.spec.Tunnel; t != nil {
		s.Tunnel = &show.TunnelDetail{Mode: string(t.Mode), UnderlayVRF: t.Underlay, TTL: t.TTL}
		if i.cfg != nil {
			s.Tunnel.Source, s.Tunnel.Protection = i.cfg.Source.String(), i.cfg.Protection
		}
		if t.Source.IsValid() && s.Tunnel.Source != t.Source.String() {
			s.Tunnel.Source = t.Source.String() + " (" + s.Tunnel.Source + ")"
		}
		if t.Destination.IsValid() {
			s.Tunnel.Destination = t.Destination.String()
		}
		if t.HasKey {
			s.Tunnel.Key = fmt.Sprint(t.Key)
		}
	}
	if i.net == nil {
		return s
	}
	if i.net.AdminUp() {
		s.Status = map[bool]string{true: "up", false: "down"}[i.net.Up()]
	}
	if i.net.Up() {
		s.Protocol = "up"
	}
	if mac := i.net.MAC(); mac != [6]byte{} {
		s.MAC = net.HardwareAddr(mac[:]).String()
	}
	s.MTU, s.IPMTU = i.net.MTU(), i.net.IPMTU()
	c := i.net.Counters()
	s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes = c.RxPackets, c.RxBytes, c.TxPackets, c.TxBytes
	for k, n := range c.Drops {
		if n > 0 {
			s.Drops[k] = n
		}
	}
	return s
}

// ShowInterfaces implements commands.View.
func (r *Router) ShowInterfaces(name string) (cli.Result, error) {
	all := r.interfaces()
	if name == "" {
		return show.Interfaces{Interfaces: all}, nil
	}
	full, err := matchInterface(name, all)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i show.Interface) bool { return i.Name != full })
	return show.Interfaces{Interfaces: all}, nil
}

// matchInterface finds the interface that a name or an abbreviation ("gi1", "Lo10", "Tu0") means.
func matchInterface(name string, all []show.Interface) (string, error) {
	word, number := splitInterface(name)
	var found []string
	for _, i := range all {
		w, n := splitInterface(i.Name)
		if n == number && strings.HasPrefix(strings.ToLower(w), strings.ToLower(word)) {
			found = append(found, i.Name)
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
func (r *Router) ShowInterfaceBrief(v6 bool) cli.Result { return show.NewBrief(r.interfaces(), v6) }

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

// ShowCEF implements commands.View.
func (r *Router) ShowCEF(name string, v6 bool) (cli.Result, error) {
	out := show.CEF{Entries: []show.CEFEntry{}}
	err := r.inVRF(name, func(v *vrf) error {
		for entry := range v.net.FIB().Routes {
			route := entry.Route
			if route.Prefix.Addr().Is6() != v6 {
				continue
			}
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
			out.Entries = append(out.Entries, e)
		}
		return nil
	})
	slices.SortFunc(out.Entries, func(a, b show.CEFEntry) int { return a.Prefix.Compare(b.Prefix) })
	return out, err
}

// ShowNeighbours implements commands.View.
func (r *Router) ShowNeighbours(v6 bool) cli.Result {
	out := show.Neighbours{Neighbours: []show.Neighbour{}, V6: v6}
	r.look(func() {
		for _, name := range sorted(r.ifs) {
			i := r.ifs[name]
			if i.net == nil || i.spec.Kind != config.Ethernet {
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
	return out
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
		c, p := r.engine.Counters(), r.protect.Counters()
		for k, n := range map[string]uint64{
			"ike-received": c.Received, "ike-sent": c.Sent, "ike-malformed": c.Malformed, "ike-decrypt-failed": c.DecryptFailed, "ike-unknown-spi": c.UnknownSPI,
			"ike-window-dropped": c.WindowDropped, "ike-retransmitted": c.Retransmitted, "ike-cookies-sent": c.CookiesSent, "ike-half-open-refused": c.HalfOpenRefused,
			"ike-auth-failed": c.AuthFailed, "ike-up": p.IKEUps, "ike-down": p.IKEDowns, "ike-failed": p.IKEFailures, "ike-rekeyed": p.IKERekeys, "child-up": p.ChildUps, "child-down": p.ChildDowns,
			"child-failed": p.ChildFailures, "child-rekeyed": p.ChildRekeys, "contained": p.Contained, "no-sa": p.NoSA, "panics": r.loop.Panics(), "punts-refused": r.loop.Refused() + r.punted.Load(),
			"punts": d.Punts.Load(), "punts-limited": d.PuntsLimited.Load(), "reassembled": d.Reassembled.Load(), "fragmented": d.Fragmented.Load(),
			"icmp-errors": d.ICMPErrors.Load(), "icmp-limited": d.ICMPLimited.Load(), "nat-keepalives": d.Keepalives.Load(), "worker-panics": d.Panics.Load(),
		} {
			out.Events[k] = n
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

// around tells the crypto tables what is beside the sessions. On the loop.
func (r *Router) around() show.Around {
	return show.Around{IVRF: r.interfaceVRF, Egress: r.egress}
}

// interfaceVRF is the VRF of an interface, virtual ones included. On the loop.
func (r *Router) interfaceVRF(name string) string {
	if i, ok := r.dp.Interface(name); ok {
		return i.VRF().Name()
	}
	return ""
}

// egress is the interface that packets to an address leave by.
func (r *Router) egress(vrf string, to netip.Addr) (string, int) {
	v, ok := r.dp.VRF(vrf)
	if !ok || !to.IsValid() {
		return "", 0
	}
	route := v.FIB().Lookup(to)
	if route == nil || len(route.NextHops) == 0 {
		return "", 0
	}
	i, ok := r.dp.InterfaceByIndex(route.NextHops[0].Interface)
	if !ok {
		return "", 0
	}
	return i.Name(), i.IPMTU()
}

// ShowIKEv2SAs implements commands.View.
func (r *Router) ShowIKEv2SAs(only show.Only, detailed bool) cli.Result {
	var out show.IKEv2SAs
	r.look(func() {
		inside := map[ikev2.SAID]string{}
		for _, s := range r.protect.Sessions() {
			inside[s.IKE] = r.interfaceVRF(s.Tunnel)
		}
		out = show.NewIKEv2SAs(r.engine.Snapshot(r.clock.Now()), only, func(sa *ikev2.SAInfo) string { return inside[sa.ID] }, detailed)
	})
	return out
}

func (r *Router) sessions() []protect.Info {
	var out []protect.Info
	r.look(func() { out = r.protect.Sessions() })
	return out
}

// ShowIPsecSAs implements commands.View.
func (r *Router) ShowIPsecSAs(only show.Only, detail bool) cli.Result {
	var out show.IPsecSAs
	r.look(func() { out = show.NewIPsecSAs(r.protect.Sessions(), only, r.around(), detail, r.clock.Now()) })
	return out
}

// ShowCryptoSessions implements commands.View.
func (r *Router) ShowCryptoSessions(only show.Only, kind show.SessionKind) cli.Result {
	var out show.CryptoSessions
	r.look(func() {
		now := r.clock.Now()
		out = show.NewCryptoSessions(r.protect.Sessions(), r.engine.Snapshot(now), only, r.around(), kind, now)
	})
	return out
}

// ShowCryptoSockets implements commands.View.
func (r *Router) ShowCryptoSockets() cli.Result {
	source := map[string]netip.Addr{}
	r.look(func() {
		for n, i := range r.ifs {
			if i.spec.Tunnel != nil {
				source[n] = i.spec.Tunnel.Source
			}
		}
	})
	return show.NewCryptoSockets(r.sessions(), func(tunnel string) netip.Addr { return source[tunnel] })
}

func (r *Router) inBGP(name string, f func(*bgp.BGP)) error {
	return r.inVRF(name, func(*vrf) error {
		s := r.bgps[name]
		if s == nil {
			return fmt.Errorf("%% BGP is not configured in VRF %s", name)
		}
		f(s.bgp)
		return nil
	})
}

// ShowBGP implements commands.View.
func (r *Router) ShowBGP(name string, v6 bool) (cli.Result, error) {
	var out show.BGPTable
	err := r.inBGP(name, func(b *bgp.BGP) {
		f := bgp.IPv4
		if v6 {
			f = bgp.IPv6
		}
		s := b.Summary()
		out = show.BGPTable{RouterID: s.RouterID, Version: s.Version, Entries: b.Table(f)}
	})
	return out, err
}

// ShowBGPSummary implements commands.View.
func (r *Router) ShowBGPSummary(name string) (cli.Result, error) {
	var out show.BGPSummary
	err := r.inBGP(name, func(b *bgp.BGP) { out = show.BGPSummary{Summary: b.Summary()} })
	return out, err
}

// ShowBGPNeighbors implements commands.View.
func (r *Router) ShowBGPNeighbors(name string, only netip.Addr) (cli.Result, error) {
	out := show.BGPNeighbors{Neighbors: []bgp.NeighborInfo{}}
	err := r.inBGP(name, func(b *bgp.BGP) {
		out.AS = b.Config().AS
		for _, n := range b.Neighbors() {
			if !only.IsValid() || n.Address == only {
				out.Neighbors = append(out.Neighbors, n)
			}
		}
	})
	return out, err
}
