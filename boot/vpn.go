package boot

import (
	"time"

	"felloe/netstack"
	"felloe/vpn/ikev2"
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

// timed is the IKEv2 machine with a milestone at the first message that leaves.
type timed struct {
	*ikev2.Engine
	r *Router
}

func (e timed) Initiate(now time.Time, req ikev2.InitiateRequest) (ikev2.SAID, []ikev2.Action) {
	id, acts := e.Engine.Initiate(now, req)
	e.sent(acts)
	return id, acts
}

func (e timed) Receive(now time.Time, d ikev2.Datagram) []ikev2.Action {
	acts := e.Engine.Receive(now, d)
	e.sent(acts)
	return acts
}

func (e timed) sent(acts []ikev2.Action) {
	for _, a := range acts {
		if _, is := a.(ikev2.Send); is {
			e.r.milestone("first-ike")
			return
		}
	}
}

// sessionEvent tells who joins tunnels of what happened to a session. On the loop.
func (r *Router) sessionEvent(e protect.Event) {
	if e.Kind == protect.Up {
		r.milestone("first-session")
	}
	if e.Successor != nil {
		r.authz.Settle(e.IKE) // who is left is not told the address that the other one gives: it would send there
	}
	// The address, and the way to the far end, are there before what uses them (NHRP answers at once), and stay until that is gone.
	if e.Kind == protect.Down {
		r.dmvpn.HandleEvent(e)
		r.flexvpn.HandleEvent(e)
		r.given.HandleEvent(e)
	} else {
		r.given.HandleEvent(e)
		r.flexvpn.HandleEvent(e)
		r.dmvpn.HandleEvent(e)
	}
	r.clients.handle(e)
	if e.Kind == protect.Up {
		if i := r.ifs[e.Tunnel.Interface().Name()]; i != nil && i.tunnel == e.Tunnel && i.cfg != nil {
			r.reached(i, e)
			i.measured = true
			r.checkMTU(i, e.Session.MTU())
		}
	}
}
