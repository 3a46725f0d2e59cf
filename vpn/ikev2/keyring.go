package ikev2

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"

	"felloe/vpn/ikev2/suite"
)

func (e *Engine) profile(name string) (Profile, bool) {
	if i, ok := e.profiles[name]; ok {
		return e.cfg.Profiles[i], true
	}
	return Profile{}, false
}

func (e *Engine) childPolicy(name string) (ChildPolicy, bool) {
	if i, ok := e.policies[name]; ok {
		return e.cfg.Children[i], true
	}
	return ChildPolicy{}, false
}

// profileFor is the responder's choice: the profile for the front VRF and local address whose rules over the remote
// identity fit closest; among equals one that names the VRF, then one that names the local address, then one that has the
// identity the peer asks for, then the first.
func (e *Engine) profileFor(vrf string, local netip.Addr, remote, wanted Identity, leaf *x509.Certificate) (Profile, bool) {
	best, found, bestScore := Profile{}, false, -1
	for _, p := range e.cfg.Profiles {
		if !p.here(vrf, local) {
			continue
		}
		score, ok := p.match(remote, leaf)
		if !ok {
			continue
		}
		score = score*8 + 4*b2i(p.MatchVRF != "*") + 2*b2i(len(p.MatchLocal) > 0) + b2i(!wanted.IsZero() && p.identity(local) == wanted)
		if score > bestScore {
			best, found, bestScore = p, true, score
		}
	}
	return best, found
}

func (p Profile) matchRemote(id Identity) (int, bool) {
	best, found := 0, false
	for _, m := range p.MatchRemote {
		if c, ok := m.Match(id); ok {
			best, found = max(best, c), true
		}
	}
	return best, found
}

// identity is ours: the configured one, or our address.
func (p Profile) identity(local netip.Addr) Identity {
	if p.Identity.IsZero() {
		return AddressIdentity(local)
	}
	return p.Identity
}

// keys finds a peer's entry in a keyring: by identity, the closest rule; or by address, the longest prefix.
func (e *Engine) keys(keyring string, id Identity, addr netip.Addr) (KeyringPeer, error) {
	i := slices.IndexFunc(e.cfg.Keyrings, func(k Keyring) bool { return k.Name == keyring })
	if i < 0 {
		return KeyringPeer{}, fmt.Errorf("%w: there is no keyring %q", ErrNoKey, keyring)
	}
	best, found, score := KeyringPeer{}, false, -1
	for _, p := range e.cfg.Keyrings[i].Peers {
		for _, m := range p.Identity {
			if c, ok := m.Match(id); ok && !id.IsZero() && c+1000 > score {
				best, found, score = p, true, c+1000
			}
		}
		for _, a := range p.Addresses {
			if a.Contains(addr) && a.Bits() > score {
				best, found, score = p, true, a.Bits()
			}
		}
	}
	if !found {
		return best, fmt.Errorf("%w: keyring %q has none for address %v and identity %v", ErrNoKey, keyring, addr, id)
	}
	return best, nil
}

// proof is a pre-shared key as it was found for an SA: by whose identity, at which address.
type proof struct {
	key  suite.Key
	id   Identity
	addr netip.Addr
	own  bool // nobody else has it
}

// signingKey is the pre-shared key that we prove ourselves with. An initiator does not know yet who will answer; if its
// profile allows one identity only, that is the one.
func (s *session) signingKey() (proof, error) {
	id := s.remoteID
	if id.IsZero() && len(s.profile.MatchRemote) == 1 {
		id = s.profile.MatchRemote[0].Exact
	}
	key, err := s.e.keyOf(s.profile, id, s.remote.Addr(), true)
	return proof{key: key, id: id, addr: s.remote.Addr()}, err
}

// verifyingKey is the pre-shared key that the peer must prove itself with.
func (s *session) verifyingKey() (proof, error) {
	key, err := s.e.keyOf(s.profile, s.remoteID, s.remote.Addr(), false)
	entry, _ := s.e.keys(s.profile.Keyring, s.remoteID, s.remote.Addr())
	return proof{key, s.remoteID, s.remote.Addr(), len(entry.Remote) > 0 && entry.personal()}, err
}

// personal says whether an entry's key is one identity's, wherever that is.
func (p KeyringPeer) personal() bool {
	return len(p.Addresses) == 0 && len(p.Identity) == 1 && !p.Identity[0].Exact.IsZero()
}

// proven says whether the peer's identity is more than a claim that everybody with a group's key may make.
func (s *session) proven() bool { return s.peerCert != nil || s.proofs[1].own }

// keyOf is ours or the peer's key by a profile. The profile's own key is for those that the keyring has none for.
func (e *Engine) keyOf(p Profile, id Identity, addr netip.Addr, ours bool) (suite.Key, error) {
	entry, err := e.keys(p.Keyring, id, addr)
	key, own, side := entry.Remote, p.Key.Remote, "remote"
	if ours {
		key, own, side = entry.Local, p.Key.Local, "local"
	}
	if len(own) > 0 && (err != nil || len(key) == 0) {
		return own, nil
	}
	if err == nil && len(key) == 0 {
		err = fmt.Errorf("%w: peer %q of keyring %q has no %s pre-shared key", ErrNoKey, entry.Name, p.Keyring, side)
	}
	return key, err
}

// outdated says whether a pre-shared key that the session was proven by would be another one now, or none.
func (s *session) outdated() bool {
	for i, used := range s.proofs {
		if len(used.key) == 0 {
			continue
		}
		key, err := s.e.keyOf(s.profile, used.id, used.addr, i == 0)
		if err != nil || !suite.EqualMAC(key, used.key) {
			return true
		}
	}
	return false
}
