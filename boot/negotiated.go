package boot

import (
	"net/netip"
	"slices"

	"felloe/config"
	"felloe/netstack"
	"felloe/routing/rib"
)

// Addresses that peers give (`address = "negotiated"`) are an interface's own beside the configured ones: in the data plane,
// in the routing table, for NHRP, for BGP's update-source and for what authorization policies tell of the interface. Until
// there is one the interface's line protocol is down.

// addresses are an interface's own ones now.
func (i *iface) addresses() []netip.Prefix {
	if i.cfg == nil {
		return nil
	}
	return slices.Concat(i.cfg.Address, i.assigned, i.virtual)
}

// assign gives a tunnel the addresses that its peer has assigned; none when the session is gone.
func (r *Router) assign(t *netstack.Tunnel, addrs []netip.Prefix) {
	i := r.ifs[t.Interface().Name()]
	if i == nil || i.tunnel != t || i.cfg == nil || !i.cfg.Negotiated || slices.Equal(i.assigned, addrs) {
		return
	}
	i.assigned = addrs
	if len(addrs) == 0 {
		t.SetHold(true)
	} else {
		i.lastAssigned = addrs
	}
	i.net.SetAddresses(i.addresses())
	if len(addrs) > 0 {
		t.SetHold(false)
	}
	r.announce(i)
	if len(addrs) > 0 {
		r.log.Info().Str("event", "address-assigned").Str("tunnel", i.name).Stringer("peer", t.Config().Destination).Strs("addresses", prefixTexts(addrs)).
			Msg("the peer has given the tunnel its address")
	}
	if i.nhrp != nil {
		r.dmvpn.Refresh(i.name)
	}
	if len(addrs) > 0 {
		r.clients.readdressed(t, addrs)
	}
	r.renumbered(len(addrs) > 0)
}

func prefixTexts(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for n, p := range list {
		out[n] = p.String()
	}
	return out
}

// renumbered brings up to date what was made of interfaces' addresses. An address that is gone is told to nobody any more;
// BGP keeps it until there is another one: most often it comes back.
func (r *Router) renumbered(up bool) {
	r.authz.SetConfig(authzConfig(r.numbered(r.applied, false), r.policies))
	r.reviewBFD()
	if up {
		r.protect.Reauthorize()
		r.applyBGP(r.numbered(r.applied, true))
	}
}

// numbered is a configuration with the addresses that peers have given beside the configured ones; with those that an
// interface had before its session was gone when past ones count.
func (r *Router) numbered(c *config.Config, past bool) *config.Config {
	var out *config.Config
	for name, i := range r.ifs {
		o := c.Interface[name]
		given := i.assigned
		if past {
			given = i.lastAssigned
		}
		if o == nil || !o.Negotiated || len(given) == 0 {
			continue
		}
		if out == nil {
			x := *c
			x.Interface = make(map[string]*config.Interface, len(c.Interface))
			for n, y := range c.Interface {
				x.Interface[n] = y
			}
			out = &x
		}
		y := *o
		y.Address = append(slices.Clone(o.Address), given...)
		out.Interface[name] = &y
	}
	if out == nil {
		return c
	}
	return out
}

// pinFar keeps the far end of a tunnel, and whoever else it may call, outside of it.
func (r *Router) pinFar(i *iface, far []netip.Addr, prefer string) {
	o := rib.PinOptions{Far: far, Prefer: prefer}
	if v := r.vrfs[i.spec.Tunnel.Underlay]; v != nil {
		o.RIB = v.rib
	}
	r.pins.Set(i.name, o)
}
