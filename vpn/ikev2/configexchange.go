package ikev2

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

func isRequest(cp *message.CP) bool { return cp != nil && cp.CFG == message.CFG_REQUEST }

// asks says whether we, the initiator, send a CFG_REQUEST.
func (s *session) asks(hs *handshake) bool {
	return len(hs.wanted) > 0 || s.profile.Request && !s.profile.Authorization.IsZero()
}

// configRequest asks for addresses, and for all else that we understand.
func (s *session) configRequest(addresses []netip.Addr) *message.CP {
	c := Configuration{}
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, netip.PrefixFrom(a, a.BitLen()))
		if a.Is4() {
			c.Asks = append(c.Asks, message.INTERNAL_IP4_NETMASK, message.INTERNAL_IP4_DNS)
		} else {
			c.Asks = append(c.Asks, message.INTERNAL_IP6_DNS)
		}
	}
	c.Asks = append(c.Asks, message.INTERNAL_IP4_SUBNET, message.INTERNAL_IP6_SUBNET, message.APPLICATION_VERSION, message.UNITY_DEF_DOMAIN, message.UNITY_PFS)
	if len(addresses) > 0 {
		c.Asks = append(c.Asks, message.INTERNAL_DNS_DOMAIN)
	}
	return c.payload(message.CFG_REQUEST, nil)
}

// authorize asks the Authorizer what the peer may have. Without one, or a profile that says nothing of it, that is nothing.
func (s *session) authorize(p *parts) (Configuration, error) {
	e := s.e
	if e.cfg.Authorize == nil || s.profile.Authorization.IsZero() {
		return Configuration{}, nil
	}
	r := AuthorizeRequest{SA: s.id, Initiator: s.initiator, Profile: s.profile.Name, Authorization: s.profile.Authorization, Peer: s.remoteID,
		Certificate: s.peerCert, VRF: s.vrf, Local: s.local, Remote: s.remote}
	if isRequest(p.cp) && !s.initiator {
		r.HasRequest, r.Wanted = true, e.parse(p.cp)
	}
	var old []*session
	if p.notify(message.INITIAL_CONTACT) != nil && !s.initiator {
		// Who begins anew gets what it had.
		old = slices.DeleteFunc(s.older(), func(o *session) bool { return !s.replaces(o) })
		for _, o := range old {
			o.release()
		}
	}
	c, err := e.cfg.Authorize.Authorize(e.now, r)
	if err != nil {
		if !errors.Is(err, ErrNoAddress) {
			if !errors.Is(err, ErrUnauthorized) {
				err = errors.Join(ErrUnauthorized, err)
			}
			for _, o := range old { // their addresses may be another's at once
				o.beganAnew()
			}
		}
		return Configuration{}, err
	}
	s.leased = e.cfg.Authorize
	return c, nil
}

// release gives back what the Authorizer granted.
func (s *session) release() {
	if a := s.leased; a != nil {
		s.leased = nil
		a.Release(s.id)
	}
}

// parse reads a configuration payload and counts what is ignored.
func (e *Engine) parse(cp *message.CP) Configuration {
	c := parseConfiguration(cp)
	e.counters.UnknownAttributes += uint64(c.Unknown)
	return c
}

// configReply answers a CFG_REQUEST; nil when there is none, or when our profile does not deal in configurations.
func (s *session) configReply(cp *message.CP) message.Payload {
	if !isRequest(cp) || s.leased == nil {
		return nil
	}
	asked := parseConfiguration(cp)
	c := s.assigned
	if c.Version == "" && asked.Wants(message.APPLICATION_VERSION) {
		c.Version = s.e.cfg.Version
	}
	s.logConfig("configuration sent", message.CFG_REPLY, c)
	return c.payload(message.CFG_REPLY, asked.Asks)
}

// tellConfig sends what the peer shall use by CFG_SET, unless it has asked and so has it already.
func (s *session) tellConfig(asked bool) {
	if asked || !s.profile.SetSend || s.ended {
		return
	}
	c := s.assigned.withoutAddresses() // were not asked for
	if c.IsZero() {
		return
	}
	if c.Version == "" {
		c.Version = s.e.cfg.Version
	}
	s.cur.queue(&setConfig{c: c})
}

// setConfig is our CFG_SET.
type setConfig struct{ c Configuration }

func (*setConfig) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*setConfig) movable() bool                  { return true }

func (t *setConfig) begin(sa *ikeSA) ([]message.Payload, bool) {
	if sa.s.ended {
		return nil, false
	}
	sa.e.counters.ConfigsSent++
	sa.s.logConfig("configuration sent", message.CFG_SET, t.c)
	return []message.Payload{t.c.payload(message.CFG_SET, nil)}, true
}

// queueConfig queues a CFG_SET instead of one that still waits for its turn.
func (sa *ikeSA) queueConfig(c Configuration) {
	sa.tasks = slices.DeleteFunc(sa.tasks, func(t task) bool { _, old := t.(*setConfig); return old })
	sa.queue(&setConfig{c: c})
}

// done: any response completes it. Many a client answers with an empty one.
func (t *setConfig) done(sa *ikeSA, p *parts) {
	s := sa.s
	if s.ended {
		return
	}
	a := ConfigAcknowledged{SA: s.id}
	if n := p.failure(); n != nil {
		a.Err = ErrRefused
		s.log(zerolog.WarnLevel, "peer refuses its configuration", Field{"event", "config-refused"}, Field{"notify", n.Message.String()})
	} else {
		if p.cp != nil && p.cp.CFG == message.CFG_ACK {
			a.HasACK, a.Accepted = true, sa.e.parse(p.cp)
		}
		s.log(zerolog.InfoLevel, "configuration is acknowledged", Field{"event", "config-acknowledged"}, Field{"cfg_ack", a.HasACK})
	}
	sa.e.emit(a)
}

// configured takes the CFG_REPLY to our CFG_REQUEST, before the first child comes up: the driver can set its tunnel's addresses
// before the first packet. One that we did not ask for is like a CFG_SET that we do not accept.
func (s *session) configured(p *parts, asked bool, wanted []netip.Addr) {
	defer s.lacking(wanted)
	if p.cp == nil || p.cp.CFG != message.CFG_REPLY {
		return
	}
	c := s.e.parse(p.cp)
	if !asked {
		s.e.counters.ConfigsIgnored++
		s.logConfig("configuration ignored: it was not asked for", message.CFG_REPLY, c)
		return
	}
	if len(wanted) == 0 {
		c.Addresses = nil // nobody would use them
	}
	s.received = c
	s.logConfig("configuration received", message.CFG_REPLY, s.received)
	s.e.emit(s.configReceived(message.CFG_REPLY, s.received))
}

// lacking says which of the addresses that we asked for we did not get. Who gives one family only means it so: that is said
// once of each peer.
func (s *session) lacking(wanted []netip.Addr) {
	for _, v4 := range []bool{true, false} {
		family := func(a netip.Addr) bool { return a.Is4() == v4 }
		if !slices.ContainsFunc(wanted, family) || slices.ContainsFunc(s.received.Addresses, func(p netip.Prefix) bool { return family(p.Addr()) }) {
			continue
		}
		name := map[bool]string{true: "IPv4", false: "IPv6"}[v4]
		level := zerolog.WarnLevel
		if len(s.received.Addresses) > 0 {
			key := lackKey{s.profile.Name, s.remoteID.String(), v4}
			if s.e.lacked[key] {
				continue
			}
			if s.e.lacked == nil || len(s.e.lacked) >= maxLacked {
				s.e.lacked = map[lackKey]bool{}
			}
			s.e.lacked[key] = true
			level = zerolog.InfoLevel
		}
		s.log(level, "peer gives us no "+name+" address; its authorization policy needs a pool of that family", Field{"event", "no-address"},
			Field{"identity", s.remoteID.String()}, Field{"family", name})
	}
}

// lackKey is a peer that gives no address of a family; maxLacked bounds how many are remembered.
type lackKey struct {
	profile, identity string
	v4                bool
}

const maxLacked = 1024

func (s *session) configReceived(kind CFGType, c Configuration) ConfigReceived {
	return ConfigReceived{SA: s.id, Kind: kind, VRF: s.vrf, Local: s.local, Remote: s.remote, Profile: s.profile.Name, Peer: s.remoteID, Tag: s.tag,
		Configuration: c, Accept: s.assigned.Accept}
}

// configAnswer answers a configuration payload in an INFORMATIONAL request.
func (sa *ikeSA) configAnswer(p *parts) []message.Payload {
	s := sa.s
	if p.cp == nil || s.ended {
		return nil
	}
	switch p.cp.CFG {
	case message.CFG_SET:
		c := s.e.parse(p.cp)
		if !s.profile.SetAccept {
			s.e.counters.ConfigsIgnored++
			s.logConfig("configuration ignored: the profile takes none", message.CFG_SET, c)
			return []message.Payload{&message.CP{CFG: message.CFG_ACK}}
		}
		// What a peer sets replaces what it has set, or replied, before; but for the addresses that it gave to who asked, which
		// last as long as the SA. It is no CFG_SET's to give some.
		c.Addresses = s.received.Addresses
		s.received = c
		s.e.counters.ConfigsReceived++
		s.logConfig("configuration received", message.CFG_SET, c)
		s.e.emit(s.configReceived(message.CFG_SET, c))
		return []message.Payload{acknowledge(p.cp)}
	case message.CFG_REQUEST:
		c := s.e.parse(p.cp)
		s.e.emit(s.configReceived(message.CFG_REQUEST, c))
		if reply := s.configReply(p.cp); reply != nil {
			return []message.Payload{reply}
		}
	}
	return nil
}

func (s *session) logConfig(msg string, kind CFGType, c Configuration) {
	fields := []Field{{"event", "config"}, {"cfg", kind.String()}, {"attributes", c.String()}}
	if c.Policy != "" {
		fields = append(fields, Field{"authorization_policy", c.Policy})
	}
	if c.Unknown > 0 {
		fields = append(fields, Field{"ignored_attributes", c.Unknown})
	}
	s.log(zerolog.InfoLevel, msg, fields...)
}

// Refresher is an Authorizer that can tell what an SA would be granted now, after a change of policies or routes, or of
// what its profile says of authorization.
type Refresher interface {
	Refresh(sa SAID, a Authorization) (Configuration, bool)
}

// Reauthorize is for after a SetConfig. It ends the IKE SAs whose pre-shared key is another one now, or gone, and has every
// other peer told by CFG_SET what has changed for it. Addresses stay as they are. When what is accepted of
// the peer's subnets has changed, the driver is told by a ConfigReceived with what the peer has said last.
func (e *Engine) Reauthorize(now time.Time) []Action {
	e.begin(now)
	for _, id := range sortedKeys(e.sessions) {
		if s := e.sessions[id]; s != nil && !s.established.IsZero() && !s.ended && s.outdated() {
			e.guard(s.cur, func() { s.close("its pre-shared key has changed", ErrLocal) })
		}
	}
	r, ok := e.cfg.Authorize.(Refresher)
	if !ok {
		return e.finish()
	}
	for _, id := range sortedKeys(e.sessions) {
		s := e.sessions[id]
		if s == nil || s.leased == nil || s.established.IsZero() {
			continue
		}
		c, ok := r.Refresh(id, s.profile.Authorization)
		if !ok || c.equal(s.assigned) {
			continue
		}
		old := s.assigned
		s.assigned = c
		if c.Accept != old.Accept {
			e.emit(s.configReceived(message.CFG_SET, s.received))
		}
		old.Accept, old.Policy = c.Accept, c.Policy // the peer is not told these
		if s.profile.SetSend && !c.equal(old) {
			e.touch(s.cur)
			e.guard(s.cur, func() { s.cur.queueConfig(c.withoutAddresses()) })
		}
	}
	return e.finish()
}

func (c Configuration) withoutAddresses() Configuration {
	c.Addresses = nil
	return c
}

func (c Configuration) equal(o Configuration) bool {
	return slices.Equal(c.Addresses, o.Addresses) && slices.Equal(c.DNS, o.DNS) && slices.Equal(c.Domains, o.Domains) && slices.Equal(c.Subnets, o.Subnets) &&
		c.Version == o.Version && (c.PFS == nil) == (o.PFS == nil) && (c.PFS == nil || *c.PFS == *o.PFS) && c.Accept == o.Accept && c.Policy == o.Policy
}
