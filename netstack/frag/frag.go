package frag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sort"
	"sync"
	"time"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

var (
	ErrOverlap   = errors.New("frag: fragments overlap")
	ErrTooLong   = errors.New("frag: datagram would be longer than an IP packet can be")
	ErrMalformed = errors.New("frag: fragment length is not a multiple of 8")
	ErrLimit     = errors.New("frag: too many fragments wait")
	ErrTimeout   = errors.New("frag: fragments are missing")
)

// Limits bound a table. Zero fields take the defaults.
type Limits struct {
	Datagrams int           // 512 wait at once
	PerSource int           // 64 of one source
	Fragments int           // 128 of one datagram
	Bytes     int           // 8 MiB of buffers
	Timeout   time.Duration // 15 s after the first fragment
}

// Table holds incomplete datagrams. It is safe for concurrent use.
type Table struct {
	limits Limits
	drop   func(p *packet.Packet, why error)

	mu      sync.Mutex
	m       map[key]*datagram
	sources map[netip.Addr]int
	oldest  *datagram // list by arrival of the first fragment
	newest  *datagram
	bytes   int
}

type key struct {
	vrf      uint32
	src, dst netip.Addr
	id       uint32
	proto    uint8 // 0 for IPv6, whose identification alone counts
}

type datagram struct {
	key        key
	since      time.Time
	pieces     []piece // by offset
	have, end  int     // bytes received; length of the data, -1 when not known
	bytes      int
	older, new *datagram
}

type piece struct {
	off, n int
	p      *packet.Packet
	h      ip.Header
}

// New returns an empty table. drop is told of each fragment that will not become a packet, before it is released.
func New(l Limits, drop func(p *packet.Packet, why error)) *Table {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Datagrams, 512)
	def(&l.PerSource, 64)
	def(&l.Fragments, 128)
	def(&l.Bytes, 8<<20)
	if l.Timeout == 0 {
		l.Timeout = 15 * time.Second
	}
	return &Table{limits: l, drop: drop, m: map[key]*datagram{}, sources: map[netip.Addr]int{}}
}

// Add takes the fragment p with header h; p is the table's. It returns the whole packet when p was the last one of it.
func (t *Table) Add(now time.Time, p *packet.Packet, h *ip.Header) (*packet.Packet, error) {
	start := h.L4
	if h.Version == 6 {
		start = h.FragHdr + ip.SizeFragHdr // extension headers behind it are data here
	}
	n := h.Len - start
	switch {
	case h.L4 == 0 || n <= 0 || h.MF && n%8 != 0: // RFC 7112: the first fragment has all headers
		t.refuse(p, ErrMalformed)
		return nil, ErrMalformed
	case h.FragOff+n+start > 65535:
		t.refuse(p, ErrTooLong)
		return nil, ErrTooLong
	}
	k := key{p.VRF, h.Src, h.Dst, h.ID, 0}
	if h.Version == 4 {
		k.proto = h.Proto
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	d := t.m[k]
	if d == nil {
		if t.sources[k.src] >= t.limits.PerSource {
			t.refuse(p, ErrLimit)
			return nil, ErrLimit
		}
		for len(t.m) >= t.limits.Datagrams {
			t.end(t.oldest, ErrLimit)
		}
		d = &datagram{key: k, since: now, end: -1}
		t.link(d)
	}
	size := p.Len() + p.Headroom() + p.Tailroom()
	if len(d.pieces) >= t.limits.Fragments {
		t.end(d, ErrLimit)
		t.refuse(p, ErrLimit)
		return nil, ErrLimit
	}
	for t.bytes+size > t.limits.Bytes && t.oldest != d {
		t.end(t.oldest, ErrLimit)
	}
	if t.bytes+size > t.limits.Bytes {
		t.end(d, ErrLimit)
		t.refuse(p, ErrLimit)
		return nil, ErrLimit
	}
	switch err := d.insert(piece{h.FragOff, n, p, *h}, !h.MF); err {
	case nil:
	case errRepeated:
		p.Release()
		return nil, nil
	default:
		t.end(d, err)
		t.refuse(p, err)
		return nil, err
	}
	d.bytes += size
	t.bytes += size
	if d.end < 0 || d.have < d.end {
		return nil, nil
	}
	whole, err := d.join()
	if err != nil {
		t.end(d, err)
		return nil, err
	}
	t.unlink(d)
	for _, f := range d.pieces {
		f.p.Release()
	}
	return whole, nil
}

var errRepeated = errors.New("frag: fragment is there already")

func (d *datagram) insert(f piece, last bool) error {
	if last {
		if d.end >= 0 && d.end != f.off+f.n {
			return ErrOverlap
		}
	} else if d.end >= 0 && f.off+f.n > d.end {
		return ErrOverlap
	}
	i := sort.Search(len(d.pieces), func(i int) bool { return d.pieces[i].off >= f.off })
	if i < len(d.pieces) {
		next := &d.pieces[i]
		if next.off == f.off && next.n == f.n {
			return errRepeated
		}
		if f.off+f.n > next.off {
			return ErrOverlap
		}
		if last {
			return ErrOverlap // something lies behind the end
		}
	}
	if i > 0 && d.pieces[i-1].off+d.pieces[i-1].n > f.off {
		return ErrOverlap
	}
	if last {
		d.end = f.off + f.n
	}
	d.pieces = append(d.pieces, piece{})
	copy(d.pieces[i+1:], d.pieces[i:])
	d.pieces[i] = f
	d.have += f.n
	return nil
}

// join builds the whole packet.
func (d *datagram) join() (*packet.Packet, error) {
	first := &d.pieces[0]
	head := first.h.L4
	if first.h.Version == 6 {
		head = first.h.FragHdr // what comes before it goes in front of the whole, RFC 8200 §4.5
	}
	total := head + d.end
	if total > 65535 {
		return nil, ErrTooLong
	}
	w := packet.Get(total)
	w.CopyContext(first.p)
	w.Flow = 0
	b := w.Append(total)
	copy(b, first.p.Bytes()[:head])
	for _, f := range d.pieces {
		copy(b[head+f.off:], f.p.Bytes()[f.h.Len-f.n:f.h.Len])
	}
	if first.h.Version == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(total))
		b[6], b[7], b[10], b[11] = 0, 0, 0, 0
		binary.BigEndian.PutUint16(b[10:], ^ip.Sum(b[:head], 0))
		return w, nil
	}
	binary.BigEndian.PutUint16(b[4:], uint16(total-ip.SizeV6))
	// The header in front of the fragment header takes over its next-header field.
	next := first.p.Bytes()[first.h.FragHdr]
	if head == ip.SizeV6 {
		b[6] = next
		return w, nil
	}
	off := ip.SizeV6
	for {
		n := off + 8 + int(b[off+1])*8
		if n >= head {
			b[off] = next
			return w, nil
		}
		off = n
	}
}

// Expire ends what has waited too long and reports whether something still waits.
func (t *Table) Expire(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return len(t.m) > 0
}

func (t *Table) expire(now time.Time) {
	for t.oldest != nil && now.Sub(t.oldest.since) >= t.limits.Timeout {
		t.end(t.oldest, ErrTimeout)
	}
}

// Len is the number of incomplete datagrams.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

func (t *Table) refuse(p *packet.Packet, why error) {
	t.drop(p, why)
	p.Release()
}

func (t *Table) end(d *datagram, why error) {
	t.unlink(d)
	for _, f := range d.pieces {
		t.refuse(f.p, why)
	}
	d.pieces = nil
}

func (t *Table) link(d *datagram) {
	t.m[d.key] = d
	t.sources[d.key.src]++
	d.older = t.newest
	if t.newest != nil {
		t.newest.new = d
	} else {
		t.oldest = d
	}
	t.newest = d
}

func (t *Table) unlink(d *datagram) {
	delete(t.m, d.key)
	if t.sources[d.key.src]--; t.sources[d.key.src] == 0 {
		delete(t.sources, d.key.src)
	}
	t.bytes -= d.bytes
	if d.older != nil {
		d.older.new = d.new
	} else {
		t.oldest = d.new
	}
	if d.new != nil {
		d.new.older = d.older
	} else {
		t.newest = d.older
	}
}
