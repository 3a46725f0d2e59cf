package boot

import (
	"fmt"

	"felloe/manage/cli"
	"felloe/manage/show"
	"felloe/vpn/ikev2"
)

// ShowIKEv2Sessions implements commands.View.
func (r *Router) ShowIKEv2Sessions(only show.Only, detailed bool) cli.Result {
	return show.NewIKEv2Sessions(r.ikeSAs(only, detailed), detailed)
}

// ikeSAs are the IKE SAs as they are shown.
func (r *Router) ikeSAs(only show.Only, detailed bool) show.IKEv2SAs {
	var sas []ikev2.SAInfo
	inside := map[ikev2.SAID]string{}
	r.look(func() {
		for _, s := range r.protect.Sessions() {
			inside[s.IKE] = r.interfaceVRF(s.Tunnel)
		}
		sas = r.engine.Snapshot(r.clock.Now())
	})
	return show.NewIKEv2SAs(sas, only, func(sa *ikev2.SAInfo) string { return inside[sa.ID] }, detailed)
}

// ShowCluster implements commands.View.
func (r *Router) ShowCluster() cli.Result {
	out := show.Cluster{Members: []show.ClusterMember{}}
	r.look(func() {
		if d := r.cluster; d.m != nil {
			now := r.clock.Now()
			out = show.NewCluster(d.m.Snapshot(now), d.spec.iface, d.spec.port, now)
		}
	})
	return out
}

// ShowFlexClients implements commands.View.
func (r *Router) ShowFlexClients(name string) (cli.Result, error) {
	var out show.FlexClients
	r.look(func() {
		out = show.NewFlexClients(r.clients.Snapshot(), name, func(tunnel string) (ivrf, fvrf, source string) {
			if i := r.applied.Interface[tunnel]; i != nil {
				return i.VRF, i.TunnelVRF, i.Source.String()
			}
			return "", "", ""
		}, r.clock.Now())
	})
	if name != "" && len(out.Clients) == 0 {
		return nil, fmt.Errorf("%% There is no client block %s", name)
	}
	return out, nil
}

// ShowHosts implements commands.View.
func (r *Router) ShowHosts() cli.Result {
	c := r.names.cfg.Load()
	return show.NewHosts(r.names.Known(), c.Domain, c.VRF, c.Server, r.clock.Now())
}
