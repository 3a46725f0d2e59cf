package tcpmd5

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Peer is what counts for the segments from and to a remote prefix.
type Peer struct {
	// Key signs and verifies; empty does neither.
	Key []byte
	// MinTTL is the least TTL or hop limit of what comes from there; 0 is any.
	MinTTL uint8
}

// Reason says why a segment was dropped.
type Reason string

// The reasons, as the counters name them.
const (
	Missing    Reason = "tcp-md5-missing"
	Bad        Reason = "tcp-md5-bad"
	Unexpected Reason = "tcp-md5-unexpected"
	LowTTL     Reason = "tcp-ttl-security"
	Unreadable Reason = "tcp-md5-unreadable"
)

// Counters count segments.
type Counters struct {
	Signed, Verified                             uint64
	Missing, Bad, Unexpected, LowTTL, Unreadable uint64
}

// Table says which peers' segments are signed. It is safe for concurrent use; share one among the endpoints of a VRF.
type Table struct {
	// Port is the TCP port, on either side, that the table is about.
	Port uint16
	// OnDrop, when set, hears of dropped segments: the first of a peer and reason, then the 2nd, 4th, 8th and so on. It
	// must not block. Set it before the table is used.
	OnDrop func(remote netip.Addr, why Reason, count uint64)

	mu    sync.Mutex
	peers atomic.Pointer[bart.Fast[*Peer]]
	drops map[dropKey]uint64

	signed, verified, missing, bad, unexpected, lowTTL, unreadable atomic.Uint64
}

type dropKey struct {
	remote netip.Addr
	why    Reason
}

// NewTable returns an empty table for a port (179 for BGP).
func NewTable(port uint16) *Table { return &Table{Port: port} }

// Set makes p count for a remote prefix; the longest prefix that covers an address decides.
func (t *Table) Set(remote netip.Prefix, p Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.Key = slices.Clone(p.Key)
	old := t.peers.Load()
	if old == nil {
		old = new(bart.Fast[*Peer])
	}
	t.peers.Store(old.InsertPersist(remote.Masked(), &p))
}

// Delete ends what Set began.
func (t *Table) Delete(remote netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.peers.Load()
	if old == nil {
		return
	}
	if now := old.DeletePersist(remote.Masked()); now.Size() > 0 {
		t.peers.Store(now)
	} else {
		t.peers.Store(nil)
	}
}

// Counters are the table's counters.
func (t *Table) Counters() Counters {
	return Counters{t.signed.Load(), t.verified.Load(), t.missing.Load(), t.bad.Load(), t.unexpected.Load(),
		t.lowTTL.Load(), t.unreadable.Load()}
}

func (t *Table) dropped(remote netip.Addr, why Reason) {
	switch why {
	case Missing:
		t.missing.Add(1)
	case Bad:
		t.bad.Add(1)
	case Unexpected:
		t.unexpected.Add(1)
	case LowTTL:
		t.lowTTL.Add(1)
	case Unreadable:
		t.unreadable.Add(1)
	}
	if t.OnDrop == nil {
		return
	}
	t.mu.Lock()
	if t.drops == nil || len(t.drops) > 1024 {
		t.drops = make(map[dropKey]uint64)
	}
	k := dropKey{remote, why}
	t.drops[k]++
	n := t.drops[k]
	t.mu.Unlock()
	if n&(n-1) == 0 {
		t.OnDrop(remote, why, n)
	}
}

// outgoing returns the packet to send in the place of b: nil with pass when b may go as it is, nil without when it
// must not go.
func (t *Table) outgoing(peers *bart.Fast[*Peer], b []byte) (signed []byte, pass bool) {
	s, err := parse(b)
	if err != nil || s.sourcePort() != t.Port && s.destPort() != t.Port {
		return nil, true
	}
	p, ok := peers.Lookup(s.dst)
	if !ok || len(p.Key) == 0 {
		return nil, true
	}
	if signed, err = s.sign(p.Key); err != nil {
		t.dropped(s.dst, Unreadable)
		return nil, false
	}
	t.signed.Add(1)
	return signed, true
}

// incoming says whether the packet may come in, and whether it was changed on the way.
func (t *Table) incoming(peers *bart.Fast[*Peer], b []byte) (pass, changed bool) {
	s, err := parse(b)
	if err == errNotTCP {
		return true, false
	}
	p, ok := peers.Lookup(s.src)
	if !ok {
		return true, false
	}
	if err != nil {
		// Whether the ports are ours can't be seen. A peer whose sessions are signed has no reason to do this.
		t.dropped(s.src, Unreadable)
		return false, false
	}
	if s.sourcePort() != t.Port && s.destPort() != t.Port {
		return true, false
	}
	if s.ttl < p.MinTTL {
		t.dropped(s.src, LowTTL)
		return false, false
	}
	if len(p.Key) == 0 {
		if o, _ := option(s.options(), kindMD5); o != nil {
			t.dropped(s.src, Unexpected)
			return false, false
		}
		return true, false
	}
	switch s.verify(p.Key) {
	case missing:
		t.dropped(s.src, Missing)
		return false, false
	case bad:
		t.dropped(s.src, Bad)
		return false, false
	}
	t.verified.Add(1)
	return true, s.lowerMSS()
}
