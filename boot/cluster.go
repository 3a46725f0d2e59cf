package boot

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/packet"
	"felloe/vpn/cluster"
	"felloe/vpn/ikev2"
)

// clusterDriver drives the machine of `[ikev2.cluster]`: its hellos go out and come in by UDP, the virtual address is an address of
// its interface while this router is master, and the IKEv2 machine asks it who shall serve a caller. All on the loop. The
// router has one for its whole life; without a configuration it does nothing.
type clusterDriver struct {
	r    *Router
	spec clusterSpec
	m    *cluster.Machine // nil: there is none
	// peers are the IKE SAs that others have begun with us and that are up: the load.
	peers map[ikev2.SAID]struct{}
	timer clock.Timer
	// leaving are those that were sent to other members, and left is called when they are gone.
	leaving map[ikev2.SAID]struct{}
	left    func()
}

// clusterSpec is what cannot change while the machine runs.
type clusterSpec struct {
	vrf, iface    string
	self, virtual netip.Addr
	port          uint16
}

func newCluster(r *Router) *clusterDriver {
	return &clusterDriver{r: r, peers: map[ikev2.SAID]struct{}{}}
}

// clusterConfig translates the configuration; false: there is no cluster, or its interface has no address there.
func clusterConfig(c *config.Config) (clusterSpec, cluster.Config, bool) {
	k := c.IKEv2.Cluster
	if k == nil {
		return clusterSpec{}, cluster.Config{}, false
	}
	i := c.Interface[k.Interface]
	if i == nil {
		return clusterSpec{}, cluster.Config{}, false
	}
	// An interface has several addresses, but one on the subnet that the members share.
	n := slices.IndexFunc(i.Address, func(p netip.Prefix) bool { return p.Contains(k.Address) })
	if n < 0 {
		return clusterSpec{}, cluster.Config{}, false
	}
	self := i.Address[n].Addr()
	return clusterSpec{vrf: i.VRF, iface: i.Name, self: self, virtual: k.Address, port: k.Port},
		cluster.Config{Self: self, Virtual: k.Address, Members: k.Member, Key: []byte(k.Key.Reveal()), Priority: k.Priority, Preempt: k.Preempt, Hello: k.Hello,
			Hold: k.Hold, MaxSessions: k.MaxSessions, Weight: k.Weight, OverloadLimit: k.OverloadLimit, RedirectTo: k.RedirectTo}, true
}

// remove ends a cluster that the configuration does not have any more, before the interfaces that it needs go.
func (d *clusterDriver) remove(desired *config.Config) {
	if spec, _, ok := clusterConfig(desired); d.m != nil && (!ok || spec != d.spec) {
		d.stop()
	}
}

// apply begins, or changes, what the configuration says.
func (d *clusterDriver) apply(desired *config.Config) {
	spec, cfg, ok := clusterConfig(desired)
	if !ok {
		if k := desired.IKEv2.Cluster; k != nil {
			d.r.problem("[ikev2.cluster] interface: %s has no address on the subnet of %v", k.Interface, k.Address)
		}
		return
	}
	if d.m != nil {
		d.run(d.m.SetConfig(d.r.clock.Now(), cfg))
		d.line()
		return
	}
	v := d.r.vrfs[spec.vrf]
	if v == nil {
		return
	}
	m, err := cluster.New(cfg, d.r.o.Rand, d.r.clock.Now())
	if err != nil {
		d.r.problem("[ikev2.cluster]: %v", err)
		return
	}
	d.m, d.spec = m, spec
	v.net.HandleUDP(spec.port, func(u netstack.UDP) {
		if u.Local.Addr().Unmap() != spec.self {
			return
		}
		// Of what is too long to be a hello a byte too much is enough: the machine counts it.
		from, data := u.Remote.Addr().Unmap(), bytes.Clone(u.Payload[:min(len(u.Payload), cluster.Size+1)])
		d.r.loop.TryPost("cluster hello from "+from.String(), func() {
			if d.m == m {
				d.run(m.Receive(d.r.clock.Now(), from, data))
			}
		})
	})
	d.line()
}

// stop leaves the cluster: the others are told, and the address is given up.
func (d *clusterDriver) stop() {
	if d.m == nil {
		return
	}
	m := d.m
	d.run(m.Resign(d.r.clock.Now()))
	d.m = nil
	if d.timer != nil {
		d.timer.Stop()
	}
	if v := d.r.vrfs[d.spec.vrf]; v != nil {
		v.net.HandleUDP(d.spec.port, nil)
	}
}

// line follows the interface's state, and makes sure that an interface that was made anew has the address.
func (d *clusterDriver) line() {
	if d.m == nil {
		return
	}
	i := d.r.ifs[d.spec.iface]
	d.run(d.m.SetUp(d.r.clock.Now(), i != nil && i.net != nil && i.net.Up()))
	if d.m.Snapshot(d.r.clock.Now()).State == cluster.Master {
		d.own(true)
	}
}

// own gives the interface the virtual address, or takes it. The data plane announces a new one on the link.
func (d *clusterDriver) own(own bool) {
	i := d.r.ifs[d.spec.iface]
	if i == nil || i.net == nil {
		return
	}
	var want []netip.Prefix
	if own {
		want = []netip.Prefix{netip.PrefixFrom(d.spec.virtual, d.spec.virtual.BitLen())}
	}
	if slices.Equal(i.virtual, want) {
		return
	}
	i.virtual = want
	i.net.SetAddresses(i.addresses())
	d.r.announce(i)
}

// run carries out actions and sets the next timer.
func (d *clusterDriver) run(acts []cluster.Action) {
	r := d.r
	for _, a := range acts {
		switch a := a.(type) {
		case cluster.Send:
			v := r.vrfs[d.spec.vrf]
			if v == nil {
				continue
			}
			if err := v.net.SendUDP(netip.AddrPortFrom(d.spec.self, d.spec.port), netip.AddrPortFrom(a.To, d.spec.port), a.Data,
				netstack.SendOptions{TOS: tosControl, Flags: packet.FlagControl}); err != nil {
				r.log.Debug().Str("debug", "cluster").Str("event", "unsent").Str("vrf", d.spec.vrf).Stringer("peer", a.To).Err(err).Msg("a cluster hello could not be sent")
			}
		case cluster.Own:
			d.own(a.Own)
		case cluster.Announce:
			if i := r.ifs[d.spec.iface]; i != nil && i.net != nil {
				i.net.Announce(a.Address)
			}
		case cluster.Log:
			e := r.log.WithLevel(a.Level).Str("vrf", d.spec.vrf).Str("interface", d.spec.iface)
			for _, f := range a.Fields {
				e = e.Any(f.Key, f.Value)
			}
			e.Msg(a.Msg)
		}
	}
	if d.m == nil {
		return
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	m := d.m
	d.timer = r.loop.After("cluster", max(0, m.Deadline().Sub(r.clock.Now())), func() {
		if d.m == m {
			d.run(m.Tick(r.clock.Now()))
		}
	})
}

// tosControl is DSCP CS6.
const tosControl = 0xc0

// Redirect implements ikev2.Redirector.
func (d *clusterDriver) Redirect(now time.Time, q ikev2.RedirectRequest) ikev2.Verdict {
	if d.m == nil || q.VRF != d.spec.vrf {
		return ikev2.Verdict{}
	}
	if to := q.Local.Addr(); to != d.spec.virtual && to != d.spec.self || q.Authenticated && to == d.spec.virtual {
		return ikev2.Verdict{}
	}
	d.m.SetSessions(len(d.peers))
	c := d.m.Choose(now, cluster.Caller{Local: q.Local.Addr(), Remote: q.Remote, Follows: q.Follows, SentHere: q.From.IsValid()})
	return ikev2.Verdict{Gateway: c.Gateway, Refuse: c.Refuse}
}

// exchanged counts the sessions of our callers.
func (d *clusterDriver) exchanged(a ikev2.Action) {
	switch a := a.(type) {
	case ikev2.IKEUp:
		if !a.Initiator {
			d.peers[a.SA] = struct{}{}
		}
	case ikev2.IKEDown:
		delete(d.peers, a.SA)
		if delete(d.leaving, a.SA); d.left != nil && len(d.leaving) == 0 {
			d.left()
		}
	default:
		return
	}
	if d.m != nil {
		d.m.SetSessions(len(d.peers))
	}
}

// drainTime is how long a hub that shuts down waits for its callers to go to others. They make the new session first, so
// nothing is lost; they may listen on the old one for longer, but that is of use to nobody then.
const drainTime = 1500 * time.Millisecond

// leaveCluster gives the address to another member and sends the callers that follow to others, before the router shuts down.
func (r *Router) leaveCluster(ctx context.Context) {
	gone := make(chan struct{})
	if err := r.call("leave the cluster", func() error { r.cluster.drain(func() { close(gone) }); return nil }); err != nil {
		return
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// drain calls done when the callers that were sent away have gone, or did not in time.
func (d *clusterDriver) drain(done func()) {
	if d.m != nil {
		d.leaving = map[ikev2.SAID]struct{}{}
		for _, id := range sorted(d.peers) {
			if to, ok := d.m.Another(d.r.clock.Now()); ok {
				if acts, ok := d.r.engine.Redirect(d.r.clock.Now(), id, to); ok {
					d.leaving[id] = struct{}{}
					d.r.protect.Do(acts)
				}
			}
		}
		d.run(d.m.Resign(d.r.clock.Now()))
	}
	if len(d.leaving) == 0 {
		done()
		return
	}
	d.r.log.Info().Str("event", "cluster").Str("state", "draining").Int("sessions", len(d.leaving)).Msg("the sessions of this hub are sent to others")
	d.left = sync.OnceFunc(done)
	d.r.loop.After("drain", drainTime, d.left)
}

// clusterInfo is the state of `[ikev2.cluster]`; false: there is none.
func (r *Router) clusterInfo() (cluster.Info, bool) {
	if r.cluster.m == nil {
		return cluster.Info{}, false
	}
	r.cluster.m.SetSessions(len(r.cluster.peers))
	return r.cluster.m.Snapshot(r.clock.Now()), true
}
