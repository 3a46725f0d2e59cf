package ikev2

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// MOBIKE (RFC 4555): the initiator may change the addresses of an SA. What a request does to us, the responder:
//
//	UPDATE_SA_ADDRESSES   the SA is where the request came from; NAT is detected anew; we ask there (COOKIE2) and on the
//	                      answer the children follow (PeerMoved, in UDP or not)
//	ADDITIONAL_…          the peer's other addresses are noted, for show commands
//	COOKIE2               is given back
//	NO_NATS_ALLOWED       the addresses must be these
//
// IKE goes between ports 4500 as soon as both sides do MOBIKE; ESP does not travel in UDP for that.

const maxAdditional = 64

// noNATs is what NO_NATS_ALLOWED holds of a message (§4.2.6).
func noNATs(from, to netip.AddrPort) []byte {
	b := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	return binary.BigEndian.AppendUint16(b, to.Port())
}

// peerAddresses notes the other addresses that a peer says it has. A message with some replaces all (§3.6).
func (s *session) peerAddresses(p *parts) {
	if !s.mobike {
		return
	}
	var list []netip.Addr
	said := false
	for _, n := range p.notifies {
		switch n.Message {
		case message.NO_ADDITIONAL_ADDRESSES:
			said = true
		case message.ADDITIONAL_IP4_ADDRESS, message.ADDITIONAL_IP6_ADDRESS:
			said = true
			a, ok := netip.AddrFromSlice(n.Data)
			if ok && a.Is4() == (n.Message == message.ADDITIONAL_IP4_ADDRESS) && len(list) < maxAdditional && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	if said {
		s.addresses = list
		s.log(zerolog.DebugLevel, "peer has other addresses", Field{"event", "mobike"}, Field{"addresses", list})
	}
}

// additional are our own other addresses, where the child policies leave us the choice.
func (s *session) additional() []message.Payload {
	if !s.wanders() {
		return nil
	}
	var out []message.Payload
	for _, a := range s.e.cfg.Addresses[s.vrf] {
		if a = a.Unmap(); a == s.local.Addr() || len(out) == maxAdditional {
			continue
		}
		t := message.ADDITIONAL_IP4_ADDRESS
		if a.Is6() {
			t = message.ADDITIONAL_IP6_ADDRESS
		}
		out = append(out, &message.Notify{Message: t, Data: a.AsSlice()})
	}
	return out
}

// wanders says whether our end may change: the policies of all children leave the local address open.
func (s *session) wanders() bool {
	return len(s.kids) > 0 && !slices.ContainsFunc(s.kids, func(c *child) bool { return c.policy.LocalAddr.IsValid() })
}

// acceptable: may the SA go between these addresses? Transport mode's selectors are its addresses; such SAs do not move.
func (s *session) acceptable(d Datagram) bool {
	a, local := d.Remote.Addr(), d.Local.Addr()
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == local {
		return false
	}
	if slices.ContainsFunc(s.kids, func(c *child) bool { return c.mode == esp.Transport }) {
		return a == s.remote.Addr() && local == s.local.Addr()
	}
	return local == s.local.Addr() || s.wanders() && slices.Contains(s.e.cfg.Addresses[s.vrf], local)
}

// mobikeAnswer is the part of an INFORMATIONAL response that RFC 4555 asks for.
func (sa *ikeSA) mobikeAnswer(p *parts) []message.Payload {
	s, e := sa.s, sa.e
	var out []message.Payload
	if n := p.notify(message.COOKIE2); n != nil && len(n.Data) >= 8 && len(n.Data) <= 64 {
		out = append(out, &message.Notify{Message: message.COOKIE2, Data: bytes.Clone(n.Data)})
	}
	if !s.mobike || s.ended || sa != s.cur {
		return out
	}
	d := p.at
	if n := p.notify(message.NO_NATS_ALLOWED); n != nil && !bytes.Equal(n.Data, noNATs(d.Remote, d.Local)) {
		s.log(zerolog.WarnLevel, "peer allows no NAT, and there is one", Field{"event", "mobike"}, Field{"seen", d.Remote.String()})
		return append(out, &message.Notify{Message: message.UNEXPECTED_NAT_DETECTED})
	}
	detects := p.notify(message.NAT_DETECTION_SOURCE_IP) != nil || p.notify(message.NAT_DETECTION_DESTINATION_IP) != nil
	if p.notify(message.UPDATE_SA_ADDRESSES) != nil && !s.initiator {
		if !s.acceptable(d) {
			s.log(zerolog.WarnLevel, "peer's new address is not acceptable", Field{"event", "mobike"}, Field{"to", d.Remote.String()}, Field{"to_local", d.Local.String()})
			return append(out, &message.Notify{Message: message.UNACCEPTABLE_ADDRESSES})
		}
		nat := s.nat
		if detects {
			nat = detectNAT(p, sa.spiI, sa.spiR, d)
		}
		s.relocate(d, nat)
	}
	s.peerAddresses(p)
	if detects {
		out = append(out, e.natNotifies(sa.spiI, sa.spiR, d.Local, d.Remote)...)
	}
	return out
}

// here is where the SA is now; its children's path follows.
func (s *session) here() path { return path{s.local, s.remote, s.natted()} }

// relocate moves the IKE SA at once and the children when the peer has answered from there (§3.7).
func (s *session) relocate(d Datagram, nat NAT) {
	s.setNAT(nat)
	s.log(zerolog.InfoLevel, "peer has moved", Field{"event", "moved"}, Field{"from", s.remote.String()}, Field{"to", d.Remote.String()},
		Field{"nat_local", s.nat.Local}, Field{"nat_remote", s.nat.Remote}, Field{"udp_encap", s.natted()})
	s.setPath(d.Local, d.Remote)
	s.again()
	if s.path != s.here() {
		s.check = &routeCheck{path: s.here()}
	}
}

// again begins the tries of a request anew that was under way to the old address.
func (s *session) again() {
	if q := s.cur.pending; q != nil {
		q.sent, q.interval, q.next = 0, s.e.cfg.Retransmit.Base, s.e.now
		s.e.touch(s.cur)
	}
}

// routeCheck asks the peer, at its new address, for what only it can know.
type routeCheck struct {
	path   path
	cookie []byte
}

func (*routeCheck) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*routeCheck) movable() bool                  { return true }

func (t *routeCheck) begin(sa *ikeSA) ([]message.Payload, bool) {
	s := sa.s
	if s.ended || t.path != s.here() {
		return nil, false // it has moved on
	}
	t.cookie = sa.e.random(16)
	return []message.Payload{&message.Notify{Message: message.COOKIE2, Data: t.cookie}}, true
}

func (t *routeCheck) done(sa *ikeSA, p *parts) {
	s := sa.s
	if s.ended {
		return
	}
	if n := p.notify(message.COOKIE2); n == nil || !bytes.Equal(n.Data, t.cookie) {
		// §4.2.5: such a peer is not to be trusted.
		s.close("peer does not show that it is at its new address", ErrSyntax)
		return
	}
	if t.path == s.here() {
		s.moved()
	}
}

// Roam moves our end of an SA that we began with InitiateRequest.MOBIKE: the peer is told from the new address.
func (e *Engine) Roam(now time.Time, id SAID, local, remote netip.Addr) []Action {
	return e.with(now, id, func(s *session) {
		if !s.mobike || !s.initiator {
			return
		}
		s.setPath(netip.AddrPortFrom(local.Unmap(), s.local.Port()), netip.AddrPortFrom(remote.Unmap(), s.remote.Port()))
		s.again()
		s.cur.queue(&updateAddresses{})
	})
}

// updateAddresses is the initiator's UPDATE_SA_ADDRESSES.
type updateAddresses struct{ local, remote netip.AddrPort }

func (*updateAddresses) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*updateAddresses) movable() bool                  { return true }

func (t *updateAddresses) begin(sa *ikeSA) ([]message.Payload, bool) {
	s := sa.s
	t.local, t.remote = s.local, s.remote
	return append([]message.Payload{&message.Notify{Message: message.UPDATE_SA_ADDRESSES}}, sa.e.natNotifies(sa.spiI, sa.spiR, s.local, s.remote)...), true
}

func (t *updateAddresses) done(sa *ikeSA, p *parts) {
	s := sa.s
	if s.ended || *t != (updateAddresses{s.local, s.remote}) {
		return // we have moved on, and tell again
	}
	if n := p.failure(); n != nil {
		s.log(zerolog.WarnLevel, "peer does not accept our new address", Field{"event", "mobike"}, Field{"notify", n.Message.String()})
		return
	}
	if p.notify(message.NAT_DETECTION_SOURCE_IP) != nil {
		s.setNAT(detectNAT(p, sa.spiI, sa.spiR, p.at))
	}
	s.log(zerolog.InfoLevel, "we have moved", Field{"event", "moved"}, Field{"udp_encap", s.natted()})
	s.moved()
}
