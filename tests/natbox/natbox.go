package natbox

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/packet"
)

// Config is a NAT. The subnets are those of its two addresses.
type Config struct {
	Inside, Outside netip.Prefix // addresses with the lengths of their subnets
	Gateway         netip.Addr   // outside: where what is not in the outside subnet goes
	// Timeout of an idle mapping; 0 is two minutes.
	Timeout time.Duration
	// FirstPort is the first public port; 0 is 20000. The next ones follow in steps of 7, so that nothing is preserved.
	FirstPort uint16
	Clock     clock.Clock // nil is the real one
}

// Mapping is a host's port and the public port that stands for it.
type Mapping struct {
	Protocol uint8
	Inside   netip.AddrPort
	Port     uint16
	Used     time.Time
}

// Counters count frames.
type Counters struct{ Out, In, Dropped, ESP uint64 }

// NAT is a running one. Its methods are safe for concurrent use.
type NAT struct {
	c    Config
	mu   sync.Mutex
	side [2]side // inside, outside
	out  map[inner]*Mapping
	in   map[public]*Mapping
	// pieces are the ports of datagrams whose first fragment has been seen.
	pieces map[piece]uint16
	next   uint16
	n      Counters
}

type (
	inner struct {
		proto uint8
		from  netip.AddrPort
	}
	public struct {
		proto uint8
		port  uint16
	}
	piece struct {
		src, dst netip.Addr
		id       uint16
		proto    uint8
	}
	side struct {
		driver link.Driver
		own    netip.Prefix
		macs   map[netip.Addr][6]byte
		wait   map[netip.Addr][]*packet.Packet
	}
)

const (
	inside  = 0
	outside = 1

	maxWaiting = 16
	maxPieces  = 1024
)

// New starts a NAT between two links.
func New(in, out link.Driver, c Config) (*NAT, error) {
	if c.Clock == nil {
		c.Clock = clock.Real
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Minute
	}
	if c.FirstPort == 0 {
		c.FirstPort = 20000
	}
	n := &NAT{c: c}
	for i, d := range []link.Driver{in, out} {
		n.side[i] = side{driver: d, own: []netip.Prefix{c.Inside, c.Outside}[i], macs: map[netip.Addr][6]byte{}, wait: map[netip.Addr][]*packet.Packet{}}
	}
	n.Rebind(c.FirstPort)
	for i := range n.side {
		if err := n.side[i].driver.Start(func(v []*packet.Packet) { n.input(i, v) }); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Close ends it; its drivers are closed.
func (n *NAT) Close() error {
	var first error
	for i := range n.side {
		if err := n.side[i].driver.Close(); err != nil && first == nil {
			first = err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.side {
		for a, v := range n.side[i].wait {
			for _, p := range v {
				p.Release()
			}
			delete(n.side[i].wait, a)
		}
	}
	return first
}

// Rebind forgets all mappings; new ones have ports from first on.
func (n *NAT) Rebind(first uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out, n.in, n.pieces, n.next = map[inner]*Mapping{}, map[public]*Mapping{}, map[piece]uint16{}, first
}

// Mappings are those that are alive.
func (n *NAT) Mappings() []Mapping {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []Mapping
	for _, m := range n.out {
		if n.alive(m) {
			all = append(all, *m)
		}
	}
	return all
}

// Counters so far.
func (n *NAT) Counters() Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n
}

func (n *NAT) alive(m *Mapping) bool { return n.c.Clock.Now().Sub(m.Used) < n.c.Timeout }

func (n *NAT) input(from int, v []*packet.Packet) {
	n.mu.Lock()
	var send [2][]*packet.Packet
	for _, p := range v {
		n.frame(from, p, &send)
	}
	n.mu.Unlock()
	for i, v := range send {
		if len(v) > 0 {
			n.side[i].driver.Send(v)
		}
	}
}

func (n *NAT) frame(from int, p *packet.Packet, send *[2][]*packet.Packet) {
	f := p.Bytes()
	if len(f) < 14 {
		n.n.Dropped++
		p.Release()
		return
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0806:
		n.arp(from, f, send)
		p.Release()
	case 0x0800:
		to, next, ok := n.translate(from, f[14:])
		if !ok {
			n.n.Dropped++
			p.Release()
			return
		}
		n.emit(to, next, p, send)
	default:
		n.n.Dropped++
		p.Release()
	}
}

// arp learns who has what and answers for our own address.
func (n *NAT) arp(from int, f []byte, send *[2][]*packet.Packet) {
	if len(f) < 42 {
		return
	}
	s := &n.side[from]
	who, mac := netip.AddrFrom4([4]byte(f[28:32])), [6]byte(f[22:28])
	if who.IsUnspecified() || !s.own.Contains(who) {
		return
	}
	s.macs[who] = mac
	for _, p := range s.wait[who] {
		n.address(s, mac, p)
		send[from] = append(send[from], p)
	}
	delete(s.wait, who)
	if f[21] == 1 && netip.AddrFrom4([4]byte(f[38:42])) == s.own.Addr() {
		send[from] = append(send[from], s.arpFrame(2, mac, who))
	}
}

func (s *side) arpFrame(op byte, to [6]byte, who netip.Addr) *packet.Packet {
	mac := s.driver.Info().MAC
	b := make([]byte, 42)
	copy(b, to[:])
	if op == 1 {
		copy(b, "\xff\xff\xff\xff\xff\xff")
	}
	copy(b[6:], mac[:])
	copy(b[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, op})
	copy(b[22:], mac[:])
	copy(b[28:], s.own.Addr().AsSlice())
	copy(b[32:], to[:])
	copy(b[38:], who.AsSlice())
	return packet.From(b)
}

func (n *NAT) address(s *side, mac [6]byte, p *packet.Packet) {
	own := s.driver.Info().MAC
	b := p.Bytes()
	copy(b, mac[:])
	copy(b[6:], own[:])
}

// emit sends a packet to a neighbour, whom it asks for if he is not known.
func (n *NAT) emit(to int, next netip.Addr, p *packet.Packet, send *[2][]*packet.Packet) {
	s := &n.side[to]
	if mac, ok := s.macs[next]; ok {
		n.address(s, mac, p)
		send[to] = append(send[to], p)
		return
	}
	if len(s.wait[next]) >= maxWaiting {
		n.n.Dropped++
		p.Release()
		return
	}
	s.wait[next] = append(s.wait[next], p)
	send[to] = append(send[to], s.arpFrame(1, [6]byte{}, next))
}

// nextHop is who gets a packet to dst.
func (n *NAT) nextHop(to int, dst netip.Addr) (netip.Addr, bool) {
	if n.side[to].own.Masked().Contains(dst) {
		return dst, true
	}
	return n.c.Gateway, to == outside && n.c.Gateway.IsValid()
}
