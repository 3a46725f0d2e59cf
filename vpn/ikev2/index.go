package ikev2

import (
	"cmp"
	"net/netip"
	"slices"
)

// So that a message's cost does not grow with the number of SAs, sessions are found by the peer's address and, the
// established ones, by who the two sides are.

type addressKey struct {
	vrf    string
	remote netip.Addr
}

type identityKey struct {
	vrf           string
	remote, local Identity
}

// index is a set of sessions by a key.
type index[K comparable] map[K]map[*session]struct{}

func (x index[K]) add(k K, s *session) {
	if x[k] == nil {
		x[k] = map[*session]struct{}{}
	}
	x[k][s] = struct{}{}
}

func (x index[K]) remove(k K, s *session) {
	delete(x[k], s)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

// sorted are the sessions of a key, in the order of their SAID.
func (x index[K]) sorted(k K) []*session {
	if len(x[k]) == 0 {
		return nil
	}
	out := make([]*session, 0, len(x[k]))
	for s := range x[k] {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return out
}

func (s *session) addressKey() addressKey { return addressKey{s.vrf, s.remote.Addr()} }
func (s *session) identityKey() identityKey {
	return identityKey{s.vrf, s.remoteID.canonical(), s.localID.canonical()}
}

// unlist takes a session out of all tables; it is gone.
func (s *session) unlist() {
	delete(s.e.sessions, s.id)
	s.e.byAddress.remove(s.addressKey(), s)
	s.e.byIdentity.remove(s.identityKey(), s)
}

// path is where ESP goes.
type path struct {
	local, remote netip.AddrPort
	encap         bool
}

// setPath changes an SA's addresses.
func (s *session) setPath(local, remote netip.AddrPort) {
	listed := s.e.sessions[s.id] == s
	if listed {
		s.e.byAddress.remove(s.addressKey(), s)
	}
	s.local, s.remote = local, remote
	if listed {
		s.e.byAddress.add(s.addressKey(), s)
	}
}

// float moves to port 4500 (RFC 7296 §2.23, RFC 4555 §3.3).
func (s *session) float() {
	local, remote := netip.AddrPortFrom(s.local.Addr(), portNATT), s.remote
	if remote.Port() == portIKE {
		remote = netip.AddrPortFrom(remote.Addr(), portNATT)
	}
	s.setPath(local, remote)
}

// moved tells the driver where the children's ESP goes now.
func (s *session) moved() {
	old := s.path
	s.path = s.here()
	if s.path == old {
		return
	}
	s.e.emit(PeerMoved{SA: s.id, Local: s.local, Old: old.remote, New: s.remote, OldLocal: old.local, UDPEncap: s.path.encap, NAT: s.nat})
}

// withPeer are the sessions with an address, in the order of their SAID.
func (e *Engine) withPeer(vrf string, remote netip.Addr) []*session {
	return e.byAddress.sorted(addressKey{vrf, remote})
}

// older are the established SAs of the same identities from before this one's first message.
func (s *session) older() []*session {
	return slices.DeleteFunc(s.e.byIdentity.sorted(s.identityKey()), func(o *session) bool {
		return o == s || !o.established.Before(s.started)
	})
}
