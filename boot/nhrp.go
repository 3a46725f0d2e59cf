package boot

import (
	"reflect"

	"felloe/config"
	"felloe/vpn/dmvpn"
	"felloe/vpn/nhrp"
)

func (r *Router) newDMVPN() (*dmvpn.Manager, error) {
	return dmvpn.New(dmvpn.Options{Loop: r.loop, Protection: r.protect, Log: r.log, Rand: r.o.Rand})
}

// nhrpConfig translates the NHRP part of a tunnel.
func nhrpConfig(n *config.NHRP) dmvpn.Config {
	out := dmvpn.Config{NetworkID: n.NetworkID, Authentication: n.Authentication.Reveal(), Holdtime: n.Holdtime, RegistrationTimeout: n.RegistrationInterval(),
		Multicast: n.MapMulticast.NBMA, MulticastDynamic: n.MapMulticast.Dynamic, Shortcut: n.Shortcut, ShortcutTemplate: n.ShortcutTemplate, Redirect: n.Redirect,
		RedirectInterval: n.RedirectTimeout, Unique: n.Unique, ServerOnly: n.ServerOnly,
		MaxSend: nhrp.MaxSend{Packets: n.MaxSend.Packets, Every: n.MaxSend.Every}}
	for _, s := range n.NHS {
		out.NHS = append(out.NHS, nhrp.NHS{Address: s.Address, NBMA: s.NBMA, Multicast: s.Multicast, Priority: s.Priority, Cluster: s.Cluster})
	}
	for _, m := range n.Map {
		out.Maps = append(out.Maps, nhrp.Map{Address: m.Address, NBMA: m.NBMA})
	}
	return out
}

// serverTracks are the objects that are tracked for a tunnel's servers; 0: none.
func serverTracks(n *config.NHRP) (out []int) {
	for _, s := range n.NHS {
		out = append(out, s.Track)
	}
	return out
}

// judgeServers says which servers of a tunnel are not to be used, and collects what is tracked for them.
func (r *Router) judgeServers(n *config.NHRP, cfg *dmvpn.Config, objects map[int]bool) {
	for i, id := range serverTracks(n) {
		if id != 0 {
			up, known := r.tracks.State(id)
			cfg.NHS[i].Down = known && !up
			objects[id] = true
		}
	}
}

// watchServers has NHRP hear of the objects that are tracked for its servers.
func (r *Router) watchServers(objects map[int]bool) {
	for id, stop := range r.servers {
		if !objects[id] {
			stop()
			delete(r.servers, id)
		}
	}
	if r.servers == nil {
		r.servers = map[int]func(){}
	}
	for id := range objects {
		if r.servers[id] == nil {
			r.servers[id] = r.tracks.Watch(id, func(bool) {
				r.loop.Post("next hop server's track", func() { r.applyNHRP(r.applied) })
			})
		}
	}
}

// applyNHRP runs NHRP where the configuration says so. A tunnel whose NHRP did not change is not touched.
func (r *Router) applyNHRP(desired *config.Config) {
	objects := map[int]bool{}
	for _, name := range desired.InterfaceNames() {
		c, i := desired.Interface[name], r.ifs[name]
		if i == nil || i.tunnel == nil {
			continue
		}
		if c.NHRP == nil {
			if i.nhrp != nil {
				r.dmvpn.Remove(name)
				i.nhrp = nil
			}
			continue
		}
		cfg := nhrpConfig(c.NHRP)
		r.judgeServers(c.NHRP, &cfg, objects)
		if i.nhrp != nil && reflect.DeepEqual(*i.nhrp, cfg) {
			if i.readdressed {
				r.dmvpn.Refresh(name)
			}
			continue
		}
		if err := r.dmvpn.Apply(i.tunnel, cfg); err != nil {
			r.problem("[interface.%s.nhrp]: %v", name, err)
			continue
		}
		i.nhrp = &cfg
	}
	r.watchServers(objects)
}
