package ikev2

import (
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// childKeys is set between setKeys and up.
type childKeys struct{ in, out ChildKey }

// setKeys derives a pair's keys (RFC 7296 §2.17). initiator: of this exchange.
func (c *child) setKeys(sa *ikeSA, shared, ni, nr []byte, initiator bool) {
	k := sa.prf.ChildKeys(sa.keys.D, shared, ni, nr, c.suite.EncrKeyLen(), c.suite.IntegKeyLen())
	clear(shared)
	c.keys.out, c.keys.in = ChildKey{k.InitEncr, k.InitInteg}, ChildKey{k.RespEncr, k.RespInteg}
	if !initiator {
		c.keys.in, c.keys.out = c.keys.out, c.keys.in
	}
	c.initiator = initiator
	c.tie = lower(ni, nr)
}

// up makes a pair known. ready: the peer has its inbound SA.
func (c *child) up(replaces ChildID, ready bool) {
	e, s := c.e, c.s
	e.nextChild++
	c.id = e.nextChild
	c.created = e.now
	life := c.policy.Lifetime
	if life <= 0 {
		life = DefaultChildLifetime
	}
	c.expires = e.now.Add(life)
	if !c.policy.ResponderOnly {
		c.rekeyAt = e.now.Add(life - life/10 - e.jitter(life/10))
	}
	e.children[c.id], e.spis[c.spiIn] = c, c
	s.kids = append(s.kids, c)
	s.childless = time.Time{}
	e.touch(s.cur)
	e.emit(ChildUp{
		Child: c.id, SA: s.id, IKEInitiator: s.initiator, Initiator: c.initiator, Policy: c.policy.Name, Tag: c.tag, Profile: s.profile.Name,
		Peer: s.remoteID, LocalID: s.localID, AuthMethod: s.verified, VRF: s.vrf, Local: s.local, Remote: s.remote, UDPEncap: s.natted(), NAT: s.nat,
		Mode: c.mode, Suite: c.suite, ESN: c.esn, PFS: c.pfs, SPIIn: c.spiIn, SPIOut: c.spiOut, KeysIn: c.keys.in, KeysOut: c.keys.out,
		TSLocal: c.tsLocal, TSRemote: c.tsRemote, ReplayWindow: c.policy.ReplayWindow, OutboundReady: ready, Replaces: replaces, Expires: c.expires,
		VolumeBytes: c.policy.VolumeBytes, IdleTime: c.policy.IdleTime, ResponderOnly: c.policy.ResponderOnly,
	})
	c.logKeys()
	c.keys = childKeys{}
	s.log(zerolog.InfoLevel, "child SA is up", Field{"event", "child-up"}, Field{"policy", c.policy.Name}, Field{"spi_in", hexSPI(c.spiIn)},
		Field{"spi_out", hexSPI(c.spiOut)}, Field{"suite", c.suite.String()}, Field{"mode", c.mode.String()}, Field{"rekeys", uint64(replaces)})
}

// replace says that another pair takes over. Sending moves when the peer is surely ready: when it deletes this one.
func (c *child) replace(by *child) {
	c.state, c.replacedBy = childReplaced, by
	c.until = c.e.now.Add(lingerReplaced)
	c.e.touch(c.s.cur)
}

// switchOver says that sending moves to the pair that replaces this one.
func (c *child) switchOver() {
	if c.replacedBy != nil && !c.switched && !c.replacedBy.gone {
		c.switched = true
		c.e.emit(ChildRekeyed{c.id, c.replacedBy.id})
	}
}

// down says that a pair is gone and frees it.
func (c *child) down(reason string, linger time.Duration) {
	if c.gone {
		return
	}
	e, s := c.e, c.s
	d := ChildDown{Child: c.id, SA: s.id, Policy: c.policy.Name, Tag: c.tag, SPIIn: c.spiIn, SPIOut: c.spiOut, Linger: linger, Reason: reason}
	if c.replacedBy != nil && !c.replacedBy.gone {
		d.ReplacedBy = c.replacedBy.id
	}
	e.emit(d)
	c.free()
	s.log(zerolog.InfoLevel, "child SA is down", Field{"event", "child-down"}, Field{"policy", c.policy.Name}, Field{"spi_in", hexSPI(c.spiIn)},
		Field{"spi_out", hexSPI(c.spiOut)}, Field{"reason", reason})
}

func (c *child) free() {
	c.gone = true
	delete(c.e.children, c.id)
	if c.e.spis[c.spiIn] == c {
		delete(c.e.spis, c.spiIn)
	}
	c.s.kids = keep(c.s.kids, func(x *child) bool { return x != c })
	if len(c.s.kids) == 0 {
		c.s.childless = c.e.now
	}
	c.e.touch(c.s.cur)
}

// startRekey replaces the pair unless that is happening already.
func (c *child) startRekey() {
	if c.policy.ResponderOnly || c.gone || c.state != childReady || c.rekey != nil {
		return
	}
	c.rekey = &createChild{policy: c.currentPolicy(), tag: c.tag, old: c}
	c.s.cur.queue(c.rekey)
}

// close deletes the pair: the world forgets it now, the peer is told.
func (c *child) close(reason string) {
	if c.gone {
		return
	}
	sa := c.s.cur
	c.down(reason, 0)
	if c.state != childDeleting {
		c.state = childDeleting
		sa.queue(&deleteChild{c: c, why: reason})
	}
}

// deleteChild tells the peer that a pair is gone; spi is ours of one that we never installed.
type deleteChild struct {
	c    *child
	spi  uint32
	why  string
	sent bool
}

func (*deleteChild) exchange() message.ExchangeType { return message.INFORMATIONAL }
func (*deleteChild) movable() bool                  { return true }

func (t *deleteChild) begin(sa *ikeSA) ([]message.Payload, bool) {
	spi := t.spi
	if t.c != nil {
		if t.c.gone && t.c.state != childDeleting {
			return nil, false // the peer was faster
		}
		t.c.state = childDeleting
		spi = t.c.spiIn
	}
	t.sent = true
	return []message.Payload{&message.Delete{Protocol: message.ProtoESP, SPISize: 4, SPIs: [][]byte{be32(spi)}}}, true
}

func (t *deleteChild) done(sa *ikeSA, _ *parts) {
	if t.c == nil || t.c.gone {
		return
	}
	t.c.switchOver()
	linger := time.Duration(0)
	if t.c.replacedBy != nil {
		linger = lingerChild
	}
	t.c.down(t.why, linger)
}

func hexSPI(spi uint32) string {
	const digits = "0123456789abcdef"
	b := []byte("0x00000000")
	for i := range 8 {
		b[9-i] = digits[spi>>(4*i)&15]
	}
	return string(b)
}
