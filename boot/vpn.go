package boot

import (
	"felloe/netstack"
	"felloe/vpn/protect"
)

// punt takes what the data plane asks of the control plane. It runs on data workers: it only queues.
func (r *Router) punt(p netstack.Punt) {
	r.debugPunt(p)
	if r.protect.HandlePunt(p) || r.dmvpn.HandlePunt(p) {
		return
	}
	r.punted.Add(1)
	if p.Packet != nil {
		p.Packet.Release()
	}
}

// sessionEvent tells who joins tunnels of what happened to a session. On the loop.
func (r *Router) sessionEvent(e protect.Event) {
	if e.Kind == protect.Up {
		r.milestone("first-session")
	}
	r.dmvpn.HandleEvent(e)
	if e.Kind == protect.Up {
		if i := r.ifs[e.Tunnel.Interface().Name()]; i != nil && i.tunnel == e.Tunnel && i.cfg != nil {
			i.measured = true
			r.checkMTU(i)
		}
	}
}
