//go:build !js

package gobgp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"felloe/routing/bgp/guard"
)

// collide decides between the connection that is relayed and another one with the same peer, which is p.rival
// (RFC 4271 §6.8).
func (p *peer) collide(r *relay, o *offer) {
	s := p.s
	refuse := func() {
		write(o.conn, &guard.Notification{Code: guard.Cease, Subcode: guard.CollisionResolution})
		o.conn.Close()
	}
	if r.established() {
		p.decided(o)
		if !o.outbound && p.knowsGraceful(r) {
			// Who comes anew has forgotten the session (RFC 4724 §4.2).
			if p.wait(o) {
				r.end(nil, "Peer closed the session")
				return
			}
			refuse()
			return
		}
		// The session that is up stays, unless its peer has forgotten it: a restarted peer answers with a reset when it
		// hears of the old connection, and the new one is taken when the old one is gone.
		r.keepalive() // which a peer that does not know the connection answers with a reset
		if o.outbound || !p.wait(o) {
			refuse()
			return
		}
		time.AfterFunc(probeFor, func() {
			s.mu.Lock()
			late := p.waiting == o && p.relay == r
			if late {
				p.waiting = nil
			}
			s.mu.Unlock()
			if late {
				refuse()
			}
		})
		return
	}
	// outbound says that the connection that we dialled stays. When the same side dialled twice, it has given the first
	// one up.
	outbound := o.outbound
	if r.isOutbound() != o.outbound {
		id, err := p.remoteID(r, o)
		switch {
		case err != nil:
			outbound = !o.outbound
		case id.IsValid():
			s.mu.Lock()
			c := s.cfg.RouterID.Compare(id)
			if c == 0 && s.cfg.AS > p.n.RemoteAS { // RFC 6286 §2.3
				c = 1
			}
			s.mu.Unlock()
			outbound = c > 0
		}
		if err == nil && r.isOrphaned() {
			outbound = o.outbound
		}
	}
	p.decided(o)
	switch {
	case o.outbound == outbound && r.switchTo(o):
		return
	case o.outbound == outbound && r.isOver() && p.wait(o):
		return
	}
	refuse()
	if r.isOrphaned() {
		r.end(nil, "Peer closed the session")
	}
}

// decided ends the time in which a connection is a rival.
func (p *peer) decided(o *offer) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.rival == o {
		p.rival = nil
	}
}

// wait keeps a connection until GoBGP can take it, if none waits yet.
func (p *peer) wait(o *offer) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.waiting != nil || p.gone {
		return false
	}
	p.waiting = o
	p.dropLater(o)
	p.poke()
	return true
}

// remoteID is the peer's BGP identifier: from the OPEN of the relayed connection, or from that of the new one,
// whichever comes first. A router like this one sends its OPEN on one of them only. An identifier that is not valid
// means that the relayed connection is no more.
func (p *peer) remoteID(r *relay, o *offer) (netip.Addr, error) {
	defer func() { _ = o.conn.SetReadDeadline(time.Time{}) }()
	var got []byte
	buf := make([]byte, guard.MaxLen)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if open := r.peerOpen(); open != nil && len(got) == 0 {
			return open.ID, nil
		}
		if (r.isOver() || r.isOrphaned()) && len(got) == 0 {
			return netip.Addr{}, nil
		}
		want := guard.HeaderLen
		if len(got) >= want {
			n, err := guard.Length(got)
			if err != nil {
				return netip.Addr{}, err
			}
			if len(got) == n {
				id, ok := guard.OpenID(got)
				if !ok {
					return netip.Addr{}, fmt.Errorf("no OPEN came first")
				}
				o.open = got
				return id, nil
			}
			want = n
		}
		_ = o.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := o.conn.Read(buf[:want-len(got)])
		got = append(got, buf[:n]...)
		var t net.Error
		if err != nil && !(errors.As(err, &t) && t.Timeout()) {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, fmt.Errorf("no OPEN came")
}
