package client

import (
	"net/netip"
	"time"
)

// source is the best interface that sessions may come from.
func (c *client) source() (ifname string, local netip.Addr, ok bool) {
	if len(c.cfg.Sources) == 0 {
		return "", netip.Addr{}, true
	}
	for _, s := range c.cfg.Sources {
		if a, ok := c.sourceAddr(s); ok {
			return s.Interface, a, true
		}
	}
	return "", netip.Addr{}, false
}

func (c *client) sourceAddr(s Source) (netip.Addr, bool) {
	x := c.m.sources[s.Interface]
	if !x.up || !c.m.holds(Condition{Track: s.Track}) {
		return netip.Addr{}, false
	}
	for _, a := range x.addrs {
		if a.Is6() == c.cfg.IPv6 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// works says whether a session may still come from there.
func (c *client) works(ifname string, local netip.Addr) bool {
	if len(c.cfg.Sources) == 0 {
		return true
	}
	for _, s := range c.cfg.Sources {
		if s.Interface == ifname {
			a, ok := c.sourceAddr(s)
			return ok && a == local
		}
	}
	return false
}

// expectBetter says when better peers are called: those that could have been had now were not there.
func (c *client) expectBetter() {
	clear(c.retryAt)
	at := c.m.now.Add(c.cfg.ReactivateInterval)
	c.retrySource = at
	for _, p := range c.cfg.Peers[:c.cur.idx] {
		if c.m.holds(p.While) {
			c.retryAt[p.Seq] = at
		}
	}
}

// postpone has those that could have been had when the session that is up was begun wait from now on; who has come back meanwhile
// is called at once.
func (c *client) postpone() {
	at := c.m.now.Add(c.cfg.ReactivateInterval)
	for seq := range c.retryAt {
		c.retryAt[seq] = at
	}
	if !c.retrySource.IsZero() {
		c.retrySource = at
	}
}

// trackChanged has a better peer called at once when its track says that it is there again.
func (c *client) trackChanged(id int) {
	for _, p := range c.cfg.Peers {
		if p.While.Track == id && c.m.holds(p.While) {
			delete(c.retryAt, p.Seq)
			c.hurry() // there is somebody else to try
		}
	}
	for _, s := range c.cfg.Sources {
		if s.Track == id {
			c.retrySource = time.Time{}
		}
	}
}

// reactivate prepares a session with a better peer, or from a better source, when there may be one.
func (c *client) reactivate(source string) {
	a := c.cur
	if b := c.beside; b != nil {
		if !b.redirect && (b.idx < a.idx && !c.m.holds(c.cfg.Peers[b.idx].While) || b.call.ID != 0 && !c.works(b.source, b.local)) {
			c.giveUpBeside("it cannot be used any more")
		} else {
			return
		}
	}
	if !c.cfg.Reactivate {
		return
	}
	for idx, p := range c.cfg.Peers[:a.idx] {
		if c.usable(idx) && !c.m.now.Before(c.retryAt[p.Seq]) {
			c.prepare(&attempt{idx: idx})
			return
		}
	}
	if source != a.source && !c.m.now.Before(c.retrySource) {
		c.retrySource = c.m.now.Add(c.cfg.ReactivateInterval)
		c.prepare(&attempt{idx: a.idx, addrs: []netip.Addr{a.call.Peer}, redirect: a.redirect})
	}
}

// prepare begins with a peer beside the session in use.
func (c *client) prepare(b *attempt) {
	p := c.cfg.Peers[b.idx]
	c.retryAt[p.Seq] = c.m.now.Add(c.cfg.ReactivateInterval)
	c.beside = b
	switch {
	case len(b.addrs) > 0:
	case p.FQDN == "":
		b.addrs = []netip.Addr{p.Address}
	default:
		c.resolve(b)
		return
	}
	c.prepareNext()
}

// prepareNext calls the next address beside the session in use.
func (c *client) prepareNext() {
	b := c.beside
	for len(b.addrs) > 0 {
		to := b.addrs[0]
		b.addrs = b.addrs[1:]
		source, _, _ := c.source()
		switch {
		case to == c.cur.call.Peer && source == c.cur.source && b.idx < c.cur.idx:
			// The better peer's name leads to where we are: so this is it.
			c.cur.idx = b.idx
			c.cur.call.Seq, c.cur.call.FQDN = c.cfg.Peers[b.idx].Seq, c.cfg.Peers[b.idx].FQDN
			c.beside = nil
			return
		case !c.free(to):
			continue
		}
		c.place(b, to, netip.Addr{})
		c.event(Preparing, b, "")
		c.m.host.Prepare(b.call)
		return
	}
	c.beside = nil
}

// prepared moves to what is prepared.
func (c *client) prepared(call uint64) {
	b := c.beside
	if !b.is(call) {
		if !c.active { // its turn came before it was ready
			c.commit(c.cur)
		}
		return
	}
	b.prepared = true
	old := c.cur
	reason := "back to peer " + b.call.Peer.String()
	switch {
	case b.call.RedirectedFrom.IsValid():
		reason = "redirected to " + b.call.Peer.String()
	case b.idx == old.idx:
		reason = "back to source " + b.source
	}
	if err := c.m.host.Commit(b.call, reason); err != nil {
		c.besideFailed(err.Error())
		return
	}
	c.beside, c.cur, c.active = nil, b, false
	c.event(Lost, old, reason)
	c.event(Moved, b, reason)
	c.last = reason
	c.lostAt, c.since = c.m.now, c.m.now
	b.until = c.m.now.Add(AttemptTime)
}

// commit moves to what was prepared beside a session that is gone.
func (c *client) commit(b *attempt) {
	b.prepared = true
	if err := c.m.host.Commit(b.call, c.last); err != nil {
		c.m.host.Abandon(b.call, err.Error())
		c.failed(b.call.ID, err.Error())
		return
	}
	c.event(Moved, b, c.last)
	b.until = c.m.now.Add(AttemptTime)
}

func (c *client) besideFailed(reason string) {
	b := c.beside
	c.event(Failed, b, reason)
	b.call, b.prepared = Call{}, false
	c.prepareNext()
}

func (c *client) giveUpBeside(reason string) {
	b := c.beside
	c.beside = nil
	if b != nil && b.call.ID != 0 {
		c.m.host.Abandon(b.call, reason)
	}
}

// deadlines are when there is something to do.
func (c *client) deadlines() []time.Time {
	out := []time.Time{c.waits}
	if c.cur != nil && !c.active {
		out = append(out, c.cur.until)
	}
	if c.beside != nil {
		out = append(out, c.beside.until)
	} else if c.active && c.cfg.Reactivate {
		for idx, p := range c.cfg.Peers[:c.cur.idx] {
			if c.usable(idx) {
				out = append(out, c.retryAt[p.Seq])
			}
		}
		if source, _, ok := c.source(); ok && source != c.cur.source {
			out = append(out, c.retrySource)
		}
	}
	if c.cfg.BackupInterface != "" {
		switch {
		case c.active && c.raised:
			out = append(out, c.lowersAt)
		case !c.active && !c.raised && c.wanted():
			out = append(out, c.lostAt.Add(BackupDelay))
		}
	}
	return out
}
