package boot

import (
	"fmt"
	"net/netip"
	"slices"

	"felloe/config"
	"felloe/netstack"
	"felloe/vpn/dmvpn"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
)

// iface is an applied interface. net is nil when the machine has no NIC for it, or its tunnel could not be made.
type iface struct {
	name   string
	spec   interfaceSpec
	cfg    *config.Interface
	live   liveSpec
	net    *netstack.Interface
	tunnel *netstack.Tunnel
	nhrp   *dmvpn.Config
	// assigned are the addresses that the tunnel's peer has given, lastAssigned those of now or of before.
	assigned, lastAssigned []netip.Prefix
	// far is who is, or was last, at the other end of a point-to-point tunnel.
	far string
	// virtual is the address of a cluster of hubs, while this router is its master.
	virtual []netip.Prefix
	// readdressed: this Apply gave it other addresses.
	readdressed bool
	// settled: the Apply that made it is over, so a change of its line protocol is news; up is the state told last.
	settled, up bool
	// measured: a tunnel that had a session, so that its MTU is no guess; mtuSaid is what was said about it.
	measured bool
	mtuSaid  string
	// gone says that callbacks that are still on their way mean nothing any more.
	gone bool
}

// interfaceSpec is what cannot be changed on a living interface: a difference makes it anew.
type interfaceSpec struct {
	Kind   config.Kind
	VRF    string
	NIC    string
	Tunnel *tunnelSpec
}

// tunnelSpec is the same of a tunnel. What protects it is part of it, so a tunnel begins anew with new keys.
type tunnelSpec struct {
	Mode        config.TunnelMode
	Underlay    string
	Source      netip.Addr
	Destination netip.Addr
	Key         uint32
	HasKey      bool
	TTL         uint8
	Protection  *protectionSpec
	NetworkID   uint32
	Shutdown    bool
	Negotiated  bool // its address is its peer's to give
	Dynamic     bool // its destination is a client block's to choose
	FromClient  bool // its source too
	Backup      bool // it calls when a client block has nobody else
}

type protectionSpec struct {
	Child     ikev2.ChildPolicy
	Profile   ikev2.Profile
	Policies  []ikev2.Policy
	Proposals []ikev2.IKEProposal
}

// assignNICs binds Ethernet interfaces to NICs: by MAC address where one is given, else the next free one in order.
func (r *Router) assignNICs(c *config.Config) map[string]*NIC {
	out := map[string]*NIC{}
	taken := map[int]bool{}
	names := c.InterfaceNames()
	for _, n := range names {
		i := c.Interface[n]
		if len(i.MAC) == 0 {
			continue
		}
		at := slices.IndexFunc(r.o.NICs, func(nic NIC) bool {
			mac := nic.Driver.Info().MAC
			return string(mac[:]) == string(i.MAC)
		})
		if at < 0 {
			r.problem("[interface.%s]: no NIC has the MAC address %s", n, i.MAC)
			continue
		}
		taken[at] = true
		out[n] = &r.o.NICs[at]
	}
	next := 0
	for _, n := range names {
		i := c.Interface[n]
		if i.Kind() != config.Ethernet || len(i.MAC) > 0 {
			continue
		}
		for taken[next] {
			next++
		}
		if next >= len(r.o.NICs) {
			r.problem("[interface.%s]: the machine has %d NICs, none is left for it", n, len(r.o.NICs))
			continue
		}
		out[n] = &r.o.NICs[next]
		taken[next] = true
	}
	return out
}

func (r *Router) interfaceSpecs(c *config.Config, nics map[string]*NIC, ike *ikev2.Config) map[string]interfaceSpec {
	out := map[string]interfaceSpec{}
	for n, i := range c.Interface {
		s := interfaceSpec{Kind: i.Kind(), VRF: i.VRF}
		if nic := nics[n]; nic != nil {
			s.NIC = nic.Name
		}
		if s.Kind == config.Tunnel {
			t := &tunnelSpec{Negotiated: i.Negotiated, Dynamic: i.DestinationDynamic, FromClient: i.SourceDynamic, Mode: i.Mode, Underlay: i.TunnelVRF, Destination: i.Destination, TTL: i.TTL, Shutdown: i.Shutdown}
			for _, b := range c.IKEv2.Client {
				t.Backup = t.Backup || b.BackupInterface == n
			}
			t.Source = tunnelSource(c, i)
			if i.Key != nil {
				t.Key, t.HasKey = *i.Key, true
			}
			if i.NHRP != nil {
				t.NetworkID = i.NHRP.NetworkID
			}
			if i.Protection != "" {
				t.Protection = protectionOf(ike, n)
			}
			s.Tunnel = t
		}
		out[n] = s
	}
	return out
}

// protectionOf collects all that decides how a tunnel is protected, but the keys of keyrings: those end the IKE SAs that
// they are for, and no others (ikev2.Engine.Reauthorize). A tunnel that is shut has none in ike.
func protectionOf(ike *ikev2.Config, tunnel string) *protectionSpec {
	p := &protectionSpec{Policies: ike.Policies, Proposals: ike.Proposals}
	for _, c := range ike.Children {
		if c.Name == tunnel {
			p.Child = c
		}
	}
	for _, x := range ike.Profiles {
		if x.Name == p.Child.Profile {
			p.Profile = x
		}
	}
	return p
}

func (r *Router) addInterface(name string, spec interfaceSpec, nic *NIC) {
	i := &iface{name: name, spec: spec}
	r.ifs[name] = i
	v := r.vrfs[spec.VRF]
	if v == nil {
		r.problem("[interface.%s]: no vrf %q", name, spec.VRF)
		return
	}
	var err error
	switch spec.Kind {
	case config.VirtualTemplate:
		return // its peers have the interfaces: see virtual.go
	case config.Loopback:
		i.net, err = r.dp.AddLoopback(name, v.net)
	case config.Ethernet:
		if nic == nil {
			return // assignNICs has said so
		}
		i.net, err = r.dp.AddEthernet(netstack.EthernetConfig{Name: name, VRF: v.net, Driver: nic.Driver})
	case config.Tunnel:
		if spec.Tunnel.Shutdown {
			return
		}
		err = r.addTunnel(i, v)
	}
	if err != nil {
		r.problem("[interface.%s]: %v", name, err)
		return
	}
	if i.net != nil {
		i.net.OnState(func(bool) {
			r.loop.Post("line protocol of "+name, func() {
				if !i.gone {
					r.lineProtocol(i)
				}
			})
		})
	}
}

func (r *Router) addTunnel(i *iface, v *vrf) error {
	t := i.spec.Tunnel
	under := r.vrfs[t.Underlay]
	if under == nil {
		r.problem("[interface.%s]: no vrf %q", i.name, t.Underlay)
		return nil
	}
	if !t.Source.IsValid() && !t.FromClient {
		r.problem("[interface.%s] source: the interface that it names has no address of the right family", i.name)
		return nil
	}
	mode := map[config.TunnelMode]netstack.TunnelMode{config.GREMultipoint: netstack.GREMultipoint, config.GREIP: netstack.GREPointToPoint,
		config.GREIPv6: netstack.GREPointToPoint}[t.Mode]
	if t.Mode.VTI() {
		mode = netstack.VTI
	}
	tun, err := r.dp.AddTunnel(netstack.TunnelConfig{Name: i.name, VRF: v.net, Underlay: under.net, Mode: mode, Source: t.Source,
		Destination: t.Destination, Key: t.Key, HasKey: t.HasKey, Protected: t.Protection != nil, TTL: t.TTL, NetworkID: t.NetworkID, Hold: t.Negotiated})
	if err != nil {
		return err
	}
	i.tunnel, i.net = tun, tun.Interface()
	if t.Destination.IsValid() && mode != netstack.GREMultipoint {
		r.pinFar(i, []netip.Addr{t.Destination}, "")
	}
	switch {
	case t.Protection != nil:
		var ask []netip.Addr
		if t.Negotiated {
			ask = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		}
		return r.protect.AddTunnel(tun, protect.TunnelProtection{Ask: ask, Dynamic: t.Dynamic, OnTraffic: t.Backup, IKEProfile: t.Protection.Child.Profile, ChildPolicy: t.Protection.Child.Name,
			VRF: t.Underlay, Local: t.Source, VolumeBytes: t.Protection.Child.VolumeBytes, IdleTime: t.Protection.Child.IdleTime})
	case t.Destination.IsValid() && mode != netstack.GREMultipoint:
		tun.SetDefault(tun.NewSession(t.Destination))
	}
	return nil
}

// liveSpec is what may change on a living interface.
type liveSpec struct {
	Description string
	MTU, IPMTU  int
	AdjustMSS   int
	Addresses   []netip.Prefix
	Unnumbered  string
	AdminUp     bool
}

func liveSpecOf(c *config.Interface) liveSpec {
	return liveSpec{c.Description, c.MTU, c.IPMTU, c.TCPAdjustMSS, c.Address, c.Unnumbered, !c.Shutdown}
}

// changeInterface sets what differs from before.
func (r *Router) changeInterface(i *iface, c *config.Interface) {
	fresh := i.cfg == nil
	old, want := i.live, liveSpecOf(c)
	i.cfg, i.live = c, want
	i.readdressed = fresh || !slices.Equal(old.Addresses, want.Addresses)
	if i.net == nil {
		return
	}
	if fresh || old.Description != want.Description {
		i.net.SetDescription(want.Description)
	}
	if fresh && want.MTU != 0 || !fresh && old.MTU != want.MTU && (want.MTU != 0 || i.net.Driver() != nil) {
		i.net.SetMTU(want.MTU)
	}
	if fresh || old.IPMTU != want.IPMTU {
		i.net.SetIPMTU(want.IPMTU)
	}
	r.checkMTU(i, i.net.MTU())
	if fresh || old.AdjustMSS != want.AdjustMSS {
		i.net.SetAdjustMSS(want.AdjustMSS)
	}
	if i.readdressed {
		i.net.SetAddresses(i.addresses())
		r.announce(i)
	}
	if fresh || old.AdminUp != want.AdminUp {
		i.net.SetAdminUp(want.AdminUp)
	}
}

// checkMTU says once when an interface is to send longer packets than it can carry, has: what it can carry is used instead.
func (r *Router) checkMTU(i *iface, has int) {
	nic := 0
	if d := i.net.Driver(); d != nil {
		nic = d.Info().MTU
	}
	what := ""
	switch {
	case nic > 0 && i.cfg.MTU > nic:
		what = fmt.Sprintf("mtu %d is more than the NIC carries, %d, which is used", i.cfg.MTU, nic)
	case i.cfg.IPMTU > has && (i.tunnel == nil || i.measured):
		what = fmt.Sprintf("ip-mtu %d is more than the interface carries; %d is used", i.cfg.IPMTU, has)
	}
	if what != "" && what != i.mtuSaid {
		r.log.Warn().Str("event", "mtu").Str("interface", i.name).Msgf("[interface.%s] %s", i.name, what)
	}
	i.mtuSaid = what
}

// lineProtocol follows an interface's state: log, routes.
func (r *Router) lineProtocol(i *iface) {
	r.announce(i)
	if r.cluster.m != nil && r.cluster.spec.iface == i.name {
		r.cluster.line()
	}
	up := i.net.Up()
	if !i.settled || i.up == up {
		return
	}
	i.up = up
	r.tellLineProtocol(i.name, up)
	if up {
		r.clients.lineUp(i.name)
	}
}

func (r *Router) tellLineProtocol(name string, up bool) {
	state := map[bool]string{true: "up", false: "down"}[up]
	r.log.Info().Str("event", "line-protocol").Str("mnemonic", "LINEPROTO-5-UPDOWN").Str("interface", name).Str("state", state).
		Msgf("Line protocol on Interface %s, changed state to %s", name, state)
}

// settle ends an Apply: the state that its new interfaces have come to is where their story begins.
func (r *Router) settle() {
	r.past.know(r.ifs)
	for _, i := range r.ifs {
		if !i.settled && i.net != nil {
			i.settled, i.up = true, i.net.Up()
		}
	}
	// One that was taken away, or made anew, and was up.
	for _, name := range sorted(r.fell) {
		if i := r.ifs[name]; i == nil || !i.up {
			r.tellLineProtocol(name, false)
		}
	}
	clear(r.fell)
}

// announce tells the RIB what an interface is now.
func (r *Router) announce(i *iface) {
	if v := r.vrfs[i.spec.VRF]; v != nil && i.net != nil && i.cfg != nil {
		v.rib.SetInterface(i.name, i.net.Index(), i.net.Up(), i.addresses())
		r.lookAtAll("interface")
	}
	if r.clients.interested(i.name) {
		r.clients.source(i.name)
	}
}

func (r *Router) removeInterface(name string) {
	i := r.ifs[name]
	if i.tunnel != nil && i.spec.Tunnel.Dynamic {
		r.clients.gone(name)
	}
	if i.settled && i.up {
		r.fell[name] = true
	}
	delete(r.ifs, name)
	i.gone = true
	if i.net == nil {
		return
	}
	if i.tunnel != nil {
		r.pins.Remove(name)
		r.dmvpn.Remove(name)
		if i.spec.Tunnel.Protection != nil {
			r.protect.RemoveTunnel(i.tunnel)
		}
	}
	if v := r.vrfs[i.spec.VRF]; v != nil {
		v.rib.RemoveInterface(name)
		v.rib.Flush()
	}
	if err := r.dp.RemoveInterface(i.net); err != nil {
		r.problem("interface %s: %v", name, err)
	}
}

// tunnels lists the tunnels that NHRP runs on.
func (r *Router) tunnels() []string {
	var out []string
	for _, n := range sorted(r.ifs) {
		if r.ifs[n].nhrp != nil {
			out = append(out, n)
		}
	}
	return out
}
