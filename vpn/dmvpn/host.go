package dmvpn

import (
	"errors"
	"fmt"
	"net/netip"

	"felloe/netstack"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"
)

// host is the world as the NHRP machine sees it.
type host struct{ m *Manager }

var (
	errNoTunnel  = errors.New("the tunnel is not there")
	errNoSession = errors.New("no session could be made")
	errNoNHRP    = errors.New("the virtual template has no NHRP")
)

func (h host) Open(name string, nbma netip.Addr) (nhrp.Session, error) {
	t := h.m.tunnels[name]
	if t == nil {
		return nhrp.Session{}, errNoTunnel
	}
	var s *netstack.Session
	if t.net.Config().Protected {
		s = h.m.o.Protection.Open(t.net, nbma)
	} else {
		s = h.m.plain.Open(t.net, nbma)
	}
	if s == nil {
		return nhrp.Session{}, errNoSession
	}
	h.m.know(t, s)
	info, ok := h.Session(nhrp.SessionID(s.SessionID()))
	if !ok {
		return nhrp.Session{}, errNoSession
	}
	return info, nil
}

func (h host) OpenTemplate(name string, template int, nbma netip.Addr) (nhrp.Session, nhrp.Config, error) {
	t := h.m.tunnels[name]
	if t == nil {
		return nhrp.Session{}, nhrp.Config{}, errNoTunnel
	}
	if h.m.o.Protection == nil {
		return nhrp.Session{}, nhrp.Config{}, errNoSession
	}
	s, err := h.m.o.Protection.OpenTemplate(fmt.Sprintf("Virtual-Template%d", template), nbma, t.net)
	if err != nil {
		return nhrp.Session{}, nhrp.Config{}, err
	}
	made := h.m.tunnels[s.Tunnel().Interface().Name()]
	if made == nil || made.net != s.Tunnel() {
		h.m.o.Protection.Close(s, errNoNHRP.Error())
		return nhrp.Session{}, nhrp.Config{}, errNoNHRP
	}
	h.m.know(made, s)
	info, ok := h.Session(nhrp.SessionID(s.SessionID()))
	if !ok {
		return nhrp.Session{}, nhrp.Config{}, errNoSession
	}
	return info, made.config(), nil
}

func (h host) Peer(name string) (nhrp.Session, bool) {
	t := h.m.tunnels[name]
	if t == nil {
		return nhrp.Session{}, false
	}
	s := t.net.Default()
	if s == nil || s.Closed() {
		return nhrp.Session{}, false
	}
	h.m.know(t, s)
	return h.Session(nhrp.SessionID(s.SessionID()))
}

func (h host) Session(id nhrp.SessionID) (nhrp.Session, bool) {
	k := h.m.sessions[id]
	if k == nil || k.net.Closed() {
		return nhrp.Session{}, false
	}
	t := k.net.Tunnel()
	c := k.net.Counters()
	s := nhrp.Session{ID: id, Tunnel: t.Interface().Name(), NBMA: k.net.NBMA(), Protected: t.Config().Protected,
		Data: c.TxData + c.RxData, Received: c.RxData}
	if !s.Protected {
		s.Up, s.State = true, "UP"
		return s, true
	}
	s.Up, s.State = k.net.Outbound() != nil, "UP"
	if !s.Up || !k.asked {
		info, ok := h.m.o.Protection.SessionInfo(k.net)
		if !s.Up {
			s.State = stateWord(info, ok)
		}
		if ok && !info.Peer.IsZero() && info.IKE != 0 {
			k.asked, k.identity, k.ike = s.Up, info.Peer.String(), uint64(info.IKE)
		}
	}
	s.Identity, s.SA = k.identity, k.ike
	return s, true
}

// stateWord is the state of a session without SAs, in the words of show dmvpn.
func stateWord(i protect.Info, ok bool) string {
	switch {
	case !ok:
		return "DOWN"
	case i.State == protect.StateNegotiating && i.IKE != 0 && !i.Peer.IsZero():
		return "IPSEC"
	case i.State == protect.StateIdle:
		return "DOWN"
	}
	return "IKE"
}

func (h host) Close(id nhrp.SessionID, reason string) {
	k := h.m.sessions[id]
	if k == nil {
		return
	}
	h.m.forget(id)
	if k.net.Tunnel().Config().Protected {
		h.m.o.Protection.Close(k.net, reason)
		return
	}
	h.m.plain.Close(k.net)
}

func (h host) Probe(id nhrp.SessionID) {
	if k := h.m.sessions[id]; k != nil && k.net.Tunnel().Config().Protected {
		h.m.o.Protection.Probe(k.net)
	}
}

func (h host) Send(id nhrp.SessionID, b []byte) {
	k := h.m.sessions[id]
	if k == nil {
		return
	}
	if err := k.net.Tunnel().SendNHRP(k.net, b); err != nil {
		h.m.o.Log.Debug().Str("debug", "nhrp error").Str("event", "nhrp-send").Str("tunnel", k.net.Tunnel().Interface().Name()).
			Stringer("peer", k.net.NBMA()).Err(err).Msg("an NHRP packet could not be sent")
	}
}

func (h host) SetNeighbour(name string, a netip.Addr, id nhrp.SessionID) {
	if t := h.m.tunnels[name]; t != nil {
		t.net.SetNeighbour(a, h.session(id))
	}
}

func (h host) session(id nhrp.SessionID) *netstack.Session {
	if k := h.m.sessions[id]; k != nil {
		return k.net
	}
	return nil
}

func (h host) SetMulticast(name string, ids []nhrp.SessionID) {
	t := h.m.tunnels[name]
	if t == nil {
		return
	}
	list := make([]*netstack.Session, 0, len(ids))
	for _, id := range ids {
		if s := h.session(id); s != nil && !s.Closed() {
			list = append(list, s)
		}
	}
	t.net.SetMulticast(list)
}

func (h host) SetGlean(name string, id nhrp.SessionID) {
	if t := h.m.tunnels[name]; t != nil {
		t.net.SetGleanVia(h.session(id))
	}
}

func (h host) SetShortcut(vrf string, prefix netip.Prefix, name string, nextHop netip.Addr, override bool, parents []string) {
	if r := h.m.vrfs[vrf]; r != nil {
		r.SetNHRP(prefix, name, nextHop, override, parents...)
	}
}

func (h host) DeleteShortcut(vrf string, prefix netip.Prefix, name string) {
	if r := h.m.vrfs[vrf]; r != nil {
		r.DeleteNHRP(prefix, name)
	}
}

func (h host) Lookup(vrf string, dst netip.Addr) (nhrp.Route, bool) {
	r := h.m.vrfs[vrf]
	if r == nil {
		return nhrp.Route{}, false
	}
	prefix, via, ifname, local, discard, ok := r.Lookup(vrf, dst)
	out := nhrp.Route{Prefix: prefix, Via: via, Interface: ifname, Local: local, Discard: discard}
	if ways := r.Ways(dst); len(ways) > 1 {
		out.Others = ways[1:]
	}
	return out, ok
}

func (h host) Event(ev nhrp.Event) {
	h.m.log(ev)
	if h.m.o.Events != nil {
		h.m.o.Events(ev)
	}
}
