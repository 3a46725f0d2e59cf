//go:build !js

package gobgp

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"
)

// listen opens the listeners when somebody may connect.
func (s *speaker) listen() {
	if len(s.listeners) > 0 {
		return
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		l, err := s.o.Network.ListenTCP(netip.AddrPortFrom(a, bgp.Port))
		if err != nil {
			if a.Is4() {
				s.notice(netip.Addr{}, 3, "LISTEN", "BGP cannot accept connections: %v", err)
				time.AfterFunc(5*time.Second, func() { s.do(s.listen) })
				return
			}
			s.log.Debug().Err(err).Msg("no BGP over IPv6")
			continue
		}
		s.listeners = append(s.listeners, l)
		go s.accept(l)
	}
}

func (s *speaker) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.contain(func() { s.accepted(c) })
	}
}

// accepted finds out whose a connection is.
func (s *speaker) accepted(c net.Conn) {
	remote := addrPort(c.RemoteAddr()).Addr()
	refuse := func(why string) {
		s.notice(remote, 4, "REFUSED", "connection from %v refused: %s", remote, why)
		write(c, &guard.Notification{Code: guard.Cease, Subcode: guard.ConnectionRejected})
		c.Close()
	}
	s.mu.Lock()
	cfg, p, closed := s.cfg, s.peers[remote], s.closed
	s.mu.Unlock()
	if closed {
		c.Close()
		return
	}
	if p != nil {
		p.offer(c, false)
		return
	}
	template, ok := cfg.Settings(remote)
	if !ok {
		refuse("no such neighbor is configured")
		return
	}
	if template.Shutdown {
		refuse("the peer group is shut down")
		return
	}
	l := rangeOf(&cfg, remote)
	s.mu.Lock()
	if b := s.barred[remote]; b != nil {
		s.mu.Unlock()
		if b.until.IsZero() {
			refuse("it announced too many prefixes; clear ip bgp " + remote.String() + " lets it come again")
		} else {
			refuse("it announced too many prefixes, and may come again in " + max(b.until.Sub(s.so.Now()), 0).Round(time.Second).String())
		}
		return
	}
	n := 0
	for _, p := range s.peers {
		if p.dynamic && l.Range.Contains(p.addr) {
			n++
		}
	}
	s.mu.Unlock()
	if n >= l.LimitOrDefault() {
		refuse(fmt.Sprintf("the limit of %d dynamic neighbors in %v is reached", l.LimitOrDefault(), l.Range))
		return
	}
	if s.o.Admit != nil {
		if err := s.o.Admit(remote); err != nil {
			refuse(err.Error())
			return
		}
	}
	if !s.o.Dynamic.take() {
		_, most := s.o.Dynamic.Count()
		refuse(fmt.Sprintf("the limit of %d dynamic neighbors of the router is reached", most))
		return
	}
	template.Address = netip.Addr{}
	if !s.addPeerAsync(&cfg, remote, template, c) {
		s.o.Dynamic.give()
	}
}

// rangeOf is the longest listen range that an address is in; there is one.
func rangeOf(cfg *bgp.Config, a netip.Addr) (best *bgp.Listen) {
	for i := range cfg.Listen {
		if l := &cfg.Listen[i]; l.Range.Contains(a) && (best == nil || l.Range.Bits() > best.Range.Bits()) {
			best = l
		}
	}
	return best
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}

// write sends a last message.
func write(c net.Conn, n *guard.Notification) {
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write(n.Bytes())
}
