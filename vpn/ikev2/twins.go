package ikev2

import (
	"bytes"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// Two routers that begin an IKE SA with each other at the same time end up with two. Which one stays is decided by both
// alike, without a message:
//
//   - Twins are two established SAs with the same front VRF, remote address, identities and child policies, one begun by
//     each side.
//   - The one whose IKE_SA_INIT holds the lowest of the four nonces goes, as with rekeying (RFC 7296 §2.8.1).
//   - The router that began it deletes it, but only when the other SA is confirmed: the peer has sent something
//     authentic under it after IKE_AUTH. To have that, it sends a probe there. From then on it sends on the winner's
//     child (IKESuperseded; the other router does so at once, since it began the winner and so has it confirmed), and
//     after a grace of two seconds, for packets under way, it deletes the loser, whose child SAs receive until the end.
//   - A router whose peer ought to delete the loser but does not, since it never had it or decides otherwise, does it
//     itself after a minute.
//   - If the winner dies meanwhile, the loser is an ordinary SA again.
//
// INITIAL_CONTACT does not disturb this: it ends only SAs that were established before the sender's first message came,
// and a router sends it only when it has no other SA with that address, begun by itself or established.

// settleTwins is called when an SA is established.
func (s *session) settleTwins() {
	if s.ended {
		return
	}
	for _, o := range s.e.byIdentity.sorted(s.identityKey()) {
		if o == s || !s.twin(o) || o.supersededBy != nil || s.supersededBy != nil {
			continue
		}
		loser, winner := s, o
		if bytes.Compare(o.tie, s.tie) < 0 {
			loser, winner = o, s
		}
		loser.supersededBy = winner
		winner.rivals = append(winner.rivals, loser)
		s.e.touch(loser.cur)
		if winner.confirmed {
			loser.yield()
		} else {
			s.e.touch(winner.cur)
			winner.cur.probe()
		}
	}
}

// yield is called when a loser's winner is known to be up on both sides.
func (s *session) yield() {
	s.e.emit(IKESuperseded{Old: s.id, New: s.supersededBy.id})
	s.supersededBy.log(zerolog.InfoLevel, "both routers began an SA; this one stays", Field{"event", "superseded"}, Field{"other", uint64(s.id)})
	if s.graceEnd = s.e.now.Add(graceSuperseded); !s.initiator {
		s.graceEnd = s.e.now.Add(lingerReplaced)
	}
	s.e.touch(s.cur)
}

func (s *session) twin(o *session) bool {
	return !o.established.IsZero() && o.initiator != s.initiator && o.vrf == s.vrf && o.remote.Addr() == s.remote.Addr() &&
		o.local.Addr() == s.local.Addr() && o.remoteID == s.remoteID && o.localID == s.localID && s.sharesPolicy(o)
}

func (s *session) sharesPolicy(o *session) bool {
	for _, c := range s.kids {
		if o.serves(c.policy.Name) {
			return true
		}
	}
	return false
}

// confirm is called when the peer first speaks under an established SA.
func (s *session) confirm() {
	s.confirmed = true
	for _, o := range s.rivals {
		o.yield()
	}
}

// firstContact says whether INITIAL_CONTACT may be sent (RFC 7296 §2.4): there is no other SA with that peer.
func (s *session) firstContact() bool {
	if s.profile.NoInitialContact {
		return false
	}
	for o := range s.e.byAddress[s.addressKey()] {
		if o != s && (o.initiator || !o.established.IsZero()) {
			return false
		}
	}
	return true
}

// initialContact ends older SAs of the same identity: the peer says that it does not have them. From another address that
// is only a claim when anybody with the same pre-shared key can make it: those are asked whether they live. A certificate
// proves it, and so does a key that the keyring has for that identity alone. Without INITIAL_CONTACT, too, older ones are
// asked, a few: their peer may have lost them.
func (s *session) initialContact(said bool) {
	asked := 0
	for _, o := range s.older() {
		if said && s.replaces(o) {
			o.beganAnew()
			continue
		}
		if asked++; asked <= maxAsked {
			s.e.touch(o.cur)
			o.cur.askQuickly(said) // it says that it does not have that one
		}
	}
}

// maxAsked bounds what one IKE_AUTH has us send to others.
const maxAsked = 32

// replaces says whether an INITIAL_CONTACT ends another SA of the same identity.
func (s *session) replaces(o *session) bool {
	return o.remote.Addr() == s.remote.Addr() || s.proven() && o.proven()
}

func (o *session) beganAnew() {
	o.log(zerolog.InfoLevel, "peer began anew", Field{"event", "initial-contact"}, Field{"notify", message.INITIAL_CONTACT.String()})
	o.fail("peer began anew (INITIAL_CONTACT)", ErrDeleted)
}

// crowded says whether a peer has as many IKE SAs as one may: of one certificate's identity, or of one identity and
// address when it has proven itself by a key, which may be a group's.
func (s *session) crowded() bool {
	all := s.e.byIdentity[s.identityKey()]
	if len(all) < s.e.cfg.MaxSAsPeer {
		return false
	}
	n := 0
	for o := range all {
		if s.replaces(o) {
			n++
		}
	}
	return n >= s.e.cfg.MaxSAsPeer
}
