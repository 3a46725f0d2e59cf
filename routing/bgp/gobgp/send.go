//go:build !js

package gobgp

import (
	"net/netip"
	"sync"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"
)

// sender holds what a peer is still to be told: the last word about each prefix, so that it is bounded by the table
// however slowly the peer reads.
type sender struct {
	mu      sync.Mutex
	pending map[netip.Prefix]*bgp.Attributes
	order   []netip.Prefix
	refresh bool // the peer is to be asked for its paths
	end     bool // End-of-RIB follows what is there
	wake    chan struct{}
}

func newSender() *sender {
	return &sender{pending: make(map[netip.Prefix]*bgp.Attributes), wake: make(chan struct{}, 1)}
}

func (s *sender) add(list []bgp.Advertisement) {
	s.mu.Lock()
	for _, a := range list {
		if _, ok := s.pending[a.Prefix]; !ok {
			s.order = append(s.order, a.Prefix)
		}
		s.pending[a.Prefix] = a.Attributes
	}
	s.mu.Unlock()
	s.poke()
}

// finish makes End-of-RIB follow what there is.
func (s *sender) finish() {
	s.mu.Lock()
	s.end = true
	s.mu.Unlock()
	s.poke()
}

// ask makes the peer be asked for its paths. It does not wait for one that reads slowly.
func (s *sender) ask() {
	s.mu.Lock()
	s.refresh = true
	s.mu.Unlock()
	s.poke()
}

func (s *sender) asked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	yes := s.refresh
	s.refresh = false
	return yes
}

func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what there is, prefixes with the same attributes together, and whether End-of-RIB follows it.
func (s *sender) take() (u *guard.Update, end bool) {
	s.mu.Lock()
	pending, order := s.pending, s.order
	end, s.end = s.end, false
	if len(order) == 0 {
		s.mu.Unlock()
		return nil, end
	}
	s.pending, s.order = make(map[netip.Prefix]*bgp.Attributes), nil
	s.mu.Unlock()
	u = &guard.Update{}
	at := make(map[*bgp.Attributes]int)
	for _, p := range order {
		a := pending[p]
		if a == nil {
			u.Withdrawn = append(u.Withdrawn, p)
			continue
		}
		i, ok := at[a]
		if !ok {
			i = len(u.Reach)
			at[a] = i
			u.Reach = append(u.Reach, guard.Reach{Attributes: a})
		}
		u.Reach[i].Prefixes = append(u.Reach[i].Prefixes, p)
	}
	return u, end
}

// sendHold is how long a peer may take nothing of what it is sent (RFC 9687 §3).
const sendHold = 8 * time.Minute

// sending writes to the peer what it is to be told, until the relay ends.
func (r *relay) sending() {
	select {
	case <-r.over:
		return
	case <-r.alive:
	}
	for {
		select {
		case <-r.over:
			return
		case <-r.send.wake:
		}
		var msgs [][]byte
		r.mu.Lock()
		conn, g := r.conn, r.guard
		if r.send.asked() {
			msgs = g.RefreshRequests()
		}
		r.mu.Unlock()
		open := r.peerOpen()
		u, end := r.send.take()
		if u != nil {
			msgs = append(msgs, u.Encode(open != nil && open.FourOctet)...)
		}
		if end && open != nil && open.Graceful != nil {
			msgs = append(msgs, endOfRIB(open)...)
		}
		for _, m := range msgs {
			if err := r.write(conn, m); err != nil {
				if r.current(conn) {
					r.end(nil, "Peer closed the session")
				}
				return
			}
			if m[18] == guard.UpdateType {
				g.Sent()
			}
		}
	}
}

// endOfRIB are the markers of the families of a session (RFC 4724 §2).
func endOfRIB(open *guard.PeerOpen) (msgs [][]byte) {
	for _, f := range familiesOf(open) {
		msgs = append(msgs, (&guard.Update{EndOfRIB: f}).Encode(open.FourOctet)...)
	}
	return msgs
}

// familiesOf are the families of a session.
func familiesOf(open *guard.PeerOpen) (list []bgp.Family) {
	if open.IPv4 {
		list = append(list, bgp.IPv4)
	}
	if open.IPv6 {
		list = append(list, bgp.IPv6)
	}
	return list
}
