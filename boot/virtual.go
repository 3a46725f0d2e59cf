package boot

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"felloe/config"
	"felloe/netstack"
	"felloe/routing/rib"
	"felloe/vpn/flexvpn"
	"felloe/vpn/ikev2"
)

func (r *Router) newFlexVPN() (*flexvpn.Manager, error) {
	return flexvpn.New(flexvpn.Options{Loop: r.loop, Dataplane: r.dp, Protection: r.protect, NHRP: r.dmvpn, Log: r.log, Outside: r.keepOutside, Routes: func(name string) flexvpn.Routes {
		if v := r.vrfs[name]; v != nil {
			return v.rib
		}
		return nil
	}})
}

// keepOutside keeps the way to the far end of a shortcut out of tunnels: of its own, and of those that its traffic would take
// without it.
func (r *Router) keepOutside(name, underlay, template string, far netip.Addr) {
	v := r.vrfs[underlay]
	if v == nil || !far.IsValid() {
		r.pins.Remove(name)
		return
	}
	o := rib.PinOptions{RIB: v.rib, Far: []netip.Addr{far}}
	for _, n := range sorted(r.ifs) {
		if i := r.ifs[n]; i.tunnel != nil && i.cfg != nil && i.cfg.NHRP != nil && fmt.Sprintf("Virtual-Template%d", i.cfg.NHRP.ShortcutTemplate) == template {
			o.Avoid = append(o.Avoid, n)
		}
	}
	r.pins.Set(name, o)
	v.rib.Flush() // what is sent to it in this turn of the loop goes outside already
}

// outsideWay is the way of an IKE message that the routing table would send into a tunnel with shortcuts: a hub may have told to
// send everything to it, but whoever calls, or is called, for a shortcut is outside. Only what is said to prove who one is
// goes this way; everything else to the same address stays in the tunnel.
func (r *Router) outsideWay(vrf string, to netip.Addr) (*netstack.Interface, netip.Addr) {
	v := r.vrfs[cmp.Or(vrf, config.DefaultVRF)]
	if v == nil || !slices.ContainsFunc(v.rib.Ways(to), r.hasShortcuts) {
		return nil, netip.Addr{}
	}
	for _, i := range r.ifs {
		if i.tunnel != nil && i.tunnel.Config().Destination == to {
			return nil, netip.Addr{} // a tunnel inside the tunnel
		}
	}
	hop, ok := v.rib.Around(to, r.hasShortcuts)
	if !ok {
		return nil, netip.Addr{}
	}
	i, _ := r.dp.Interface(hop.Interface)
	return i, hop.Via
}

// hasShortcuts reports whether an interface is a tunnel beside which shortcuts are made, or one of those.
func (r *Router) hasShortcuts(name string) bool {
	if i := r.ifs[name]; i != nil {
		return i.tunnel != nil && i.cfg != nil && i.cfg.NHRP != nil && i.cfg.NHRP.ShortcutTemplate != 0
	}
	a, ok := r.flexvpn.Find(name)
	return ok && a.Settings.NHRP != nil && a.Settings.NHRP.ShortcutTemplate != 0
}

// templateProtection is what decides how the peers of a template are protected: when it changes they must begin anew. What
// running SAs take over by themselves (dead peer detection, lifetimes, authorization) is not in it.
func templateProtection(ike *ikev2.Config, policies map[string]netstack.TunnelMode) (out []protectionSpec) {
	for _, c := range ike.Children {
		if _, ours := policies[c.Name]; !ours {
			continue
		}
		p := *protectionOf(ike, c.Name)
		p.Child.Lifetime, p.Child.VolumeBytes, p.Child.IdleTime, p.Child.ReplayWindow = 0, 0, 0, 0
		x := &p.Profile
		x.Lifetime, x.DPD, x.NATKeepalive, x.IVRF = 0, ikev2.DPD{}, 0, ""
		x.Authorization, x.Request, x.SetSend, x.SetAccept = ikev2.Authorization{}, false, false, false
		out = append(out, p)
	}
	return out
}

// childPoliciesOf are the child policies of a template, and what its interfaces are under each: the policy of its name,
// and those of `mode auto`, which have a second word.
func childPoliciesOf(ike *ikev2.Config, template string) map[string]netstack.TunnelMode {
	out := map[string]netstack.TunnelMode{}
	for _, c := range ike.Children {
		if c.Name != template && !strings.HasPrefix(c.Name, template+" ") {
			continue
		}
		out[c.Name] = netstack.VTI
		if c.Protocol == 47 {
			out[c.Name] = netstack.GREPointToPoint
		}
	}
	return out
}

// tunnelSource is where a tunnel's outer packets come from: an address of its destination's family, or of its mode's. A
// template may have none.
func tunnelSource(c *config.Config, i *config.Interface) (a netip.Addr) {
	if i.Destination.IsValid() {
		a, _ = localAddress(c, i.Source, i.Destination)
	} else {
		a, _ = c.SourceAddress(i)
	}
	return a
}

// templateSpecs translates the virtual templates. One that is shut, or that no IKE profile leads to, lets nobody in.
func templateSpecs(c *config.Config, ike *ikev2.Config) map[string]flexvpn.Template {
	out := map[string]flexvpn.Template{}
	for _, i := range c.InterfacesOf(config.VirtualTemplate) {
		policies := childPoliciesOf(ike, i.Name)
		if i.Shutdown || len(policies) == 0 {
			continue
		}
		t := flexvpn.Template{Name: i.Name, VRF: i.VRF, Underlay: i.TunnelVRF, ChildPolicies: policies, Mode: string(i.Mode), TTL: i.TTL,
			Protection: templateProtection(ike, policies), Settings: flexvpn.Settings{Description: i.Description, Unnumbered: i.Unnumbered,
				IPMTU: i.IPMTU, AdjustMSS: i.TCPAdjustMSS}}
		t.Source = tunnelSource(c, i)
		if i.Key != nil {
			t.Key, t.HasKey = *i.Key, true
		}
		for _, child := range ike.Children {
			if _, ours := policies[child.Name]; ours {
				t.VolumeBytes, t.IdleTime, t.Profile = child.VolumeBytes, child.IdleTime, child.Profile
			}
		}
		if i.NHRP != nil {
			cfg := nhrpConfig(i.NHRP)
			t.NHRP = &cfg
		}
		out[i.Name] = t
	}
	return out
}

// removeTemplates ends the sessions of templates that are gone or are in a VRF that is.
func (r *Router) removeTemplates(want map[string]flexvpn.Template, desired *config.Config) {
	there := func(vrf string) bool { return vrf == config.DefaultVRF || desired.VRF[vrf] != nil }
	for _, name := range r.flexvpn.Templates() {
		if t, ok := want[name]; !ok || !there(t.VRF) || !there(t.Underlay) || r.templates[name].VRF != t.VRF || r.templates[name].Underlay != t.Underlay {
			r.flexvpn.RemoveTemplate(name)
			delete(r.templates, name)
		}
	}
}

// endLost ends the sessions that are at addresses outside which the router is about to lose, while their peers can be told: a peer
// that has called does so again, elsewhere, and a shortcut is made anew when it is needed. Configured tunnels have their source
// in their spec.
func (r *Router) endLost(desired *config.Config) {
	type place struct {
		vrf  string
		addr netip.Addr
	}
	lost := map[place]bool{}
	for _, i := range r.applied.Interface {
		for _, p := range i.Address {
			lost[place{i.VRF, p.Addr()}] = true
		}
	}
	for _, i := range desired.Interface {
		for _, p := range i.Address {
			delete(lost, place{i.VRF, p.Addr()})
		}
	}
	if len(lost) == 0 {
		return
	}
	for _, a := range r.flexvpn.List() {
		if a.Session != nil && lost[place{a.Underlay, a.Local.Addr()}] {
			r.protect.Close(a.Session, "our address "+a.Local.Addr().String()+" is taken away")
		}
	}
}

// applyTemplates makes the templates be as wanted.
func (r *Router) applyTemplates(want map[string]flexvpn.Template) {
	for _, name := range sorted(want) {
		if err := r.flexvpn.SetTemplate(want[name]); err != nil {
			r.problem("[interface.%s]: %v", name, err)
			continue
		}
		r.templates[name] = want[name]
	}
	r.flexvpn.Refresh()
}

// applyUnnumbered has the tunnels without addresses of their own find the interface that they use those of.
func (r *Router) applyUnnumbered() {
	for _, i := range r.ifs {
		if i.net == nil || i.cfg == nil || i.spec.Kind != config.Tunnel {
			continue
		}
		var of *netstack.Interface
		if lender := r.ifs[i.cfg.Unnumbered]; lender != nil {
			of = lender.net
		}
		if i.net.Unnumbered() != of {
			i.net.SetUnnumbered(of)
		}
	}
}

// exchanged hears of what concerns an IKE SA as a whole. On the loop.
func (r *Router) exchanged(a ikev2.Action) {
	r.cluster.exchanged(a)
	r.account(a)
	r.given.Exchanged(a)
	r.flexvpn.Exchanged(a)
}
