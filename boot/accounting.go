package boot

import (
	"fmt"

	"felloe/config"
	"felloe/vpn/authz"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
)

// Accounting: `accounting = true` of an IKEv2 profile has one line written when a session of it begins and one when it ends,
// with what it carried, how long it lasted and why it ended. The last ones are kept for show commands.

// books are the accounts, and the profiles whose sessions are in them. On the loop.
type books struct {
	authz.Accounting
	profiles map[string]bool
}

func (b *books) configure(c *config.Config) {
	b.profiles = map[string]bool{}
	for n, p := range c.IKEv2.Profile {
		b.profiles[n] = p.Accounting
	}
}

func (r *Router) carried(sa ikev2.SAID, t protect.Traffic) { r.books.Carried(sa, authz.Traffic(t)) }

// account writes the lines.
func (r *Router) account(a ikev2.Action) {
	b := &r.books
	switch a := a.(type) {
	case ikev2.IKEUp:
		if !b.profiles[a.Profile] {
			return
		}
		s := b.Start(r.clock.Now(), authz.Session{SA: a.SA, Initiator: a.Initiator, Profile: a.Profile, Policy: a.Assigned.Policy, VRF: a.VRF,
			Peer: a.PeerID, Remote: a.Remote, Addresses: a.Assigned.Addresses})
		r.log.Info().Str("event", "accounting").Str("state", "start").Stringer("peer", s.Remote).Str("vrf", s.VRF).Stringer("identity", s.Peer).
			Str("profile", s.Profile).Str("policy", s.Policy).Strs("addresses", prefixTexts(s.Addresses)).Uint64("session", uint64(s.SA)).
			Msgf("session %d of %s has begun", s.SA, s.Peer)
	case ikev2.PeerMoved:
		b.Moved(a.SA, a.New)
	case ikev2.IKEDown:
		b.Moved(a.SA, a.Remote)
		s, ok := b.Stop(r.clock.Now(), a.SA, a.Reason)
		if !ok {
			return
		}
		t, took := s.Traffic, s.Duration(s.Ended)
		r.log.Info().Str("event", "accounting").Str("state", "stop").Stringer("peer", s.Remote).Str("vrf", s.VRF).Stringer("identity", s.Peer).
			Str("profile", s.Profile).Str("policy", s.Policy).Strs("addresses", prefixTexts(s.Addresses)).Uint64("session", uint64(s.SA)).
			Uint64("packets_in", t.PacketsIn).Uint64("bytes_in", t.BytesIn).Uint64("packets_out", t.PacketsOut).Uint64("bytes_out", t.BytesOut).
			Int64("seconds", int64(took.Seconds())).Str("reason", s.Cause).
			Msgf("session %d of %s has ended after %s: in %s, out %s", s.SA, s.Peer, took.Round(1e9), volume(t.PacketsIn, t.BytesIn), volume(t.PacketsOut, t.BytesOut))
	}
}

func volume(packets, bytes uint64) string {
	return fmt.Sprintf("%d packets with %d bytes", packets, bytes)
}
