package netstack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"

	"github.com/rs/zerolog"
)

// lab is some routers on in-memory links in virtual time.
type lab struct {
	t     testing.TB
	clock *clock.Virtual
	net   *mem.Network
	all   []*router
}

type router struct {
	*Dataplane
	lab  *lab
	name string
	vrf  *VRF

	mu    sync.Mutex
	punts []Punt
	icmp  [][]byte
	log   bytes.Buffer
}

func newLab(t testing.TB) *lab {
	c := clock.NewVirtual(time.Unix(1_700_000_000, 0))
	return &lab{t: t, clock: c, net: mem.NewNetwork(c)}
}

func (l *lab) router(name string) *router {
	r := &router{lab: l, name: name}
	r.Dataplane = New(Options{Clock: l.clock, Log: zerolog.New(&r.log), Punt: func(p Punt) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.punts = append(r.punts, p)
	}})
	r.vrf = r.Default()
	r.vrf.HandleICMP(func(p *packet.Packet) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.icmp = append(r.icmp, bytes.Clone(p.Bytes()))
	})
	l.all = append(l.all, r)
	l.t.Cleanup(r.Close)
	return r
}

func (r *router) eth(name string, d link.Driver, addrs ...string) *Interface {
	r.lab.t.Helper()
	i, err := r.AddEthernet(EthernetConfig{Name: name, Driver: d})
	if err != nil {
		r.lab.t.Fatal(err)
	}
	r.address(i, addrs...)
	i.SetAdminUp(true)
	return i
}

// address does what the RIB does: connected and local routes.
func (r *router) address(i *Interface, addrs ...string) {
	var ps []netip.Prefix
	var cs []fib.Change
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		ps = append(ps, p)
		cs = append(cs,
			fib.Change{Route: fib.Route{Prefix: p.Masked(), NextHops: []fib.NextHop{{Interface: i.Index()}}}},
			fib.Change{Route: fib.Route{Prefix: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Kind: fib.Local}})
	}
	i.SetAddresses(ps)
	// Local routes last: a /32 of ours is not connected.
	slices.SortStableFunc(cs, func(a, b fib.Change) int { return int(a.Route.Kind) - int(b.Route.Kind) })
	i.VRF().Program(cs)
}

func (r *router) loopback(name string, addrs ...string) *Interface {
	i, err := r.AddLoopback(name, nil)
	if err != nil {
		r.lab.t.Fatal(err)
	}
	r.address(i, addrs...)
	return i
}

// route adds a route; via is "addr" or "" for connected.
func (r *router) route(prefix string, i *Interface, vias ...string) {
	c := fib.Change{Route: fib.Route{Prefix: netip.MustParsePrefix(prefix)}}
	for _, via := range vias {
		c.Route.NextHops = append(c.Route.NextHops, fib.NextHop{Interface: i.Index(), Via: netip.MustParseAddr(via)})
	}
	if len(vias) == 0 {
		c.Route.NextHops = []fib.NextHop{{Interface: i.Index()}}
	}
	i.VRF().Program([]fib.Change{c})
}

func (r *router) kind(prefix string, k fib.Kind) {
	r.vrf.Program([]fib.Change{{Route: fib.Route{Prefix: netip.MustParsePrefix(prefix), Kind: k}}})
}

func (l *lab) run(d time.Duration) { l.clock.Advance(d) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// echo builds a ping of n data bytes.
func echo(src, dst netip.Addr, ttl uint8, seq uint16, n int, df bool) *packet.Packet {
	p := packet.Get(8 + n)
	m := p.Append(8 + n)
	clear(m)
	o := ip.Outer{Src: src, Dst: dst, Proto: ip.ICMP, TTL: ttl, DF: df, ID: seq + 1}
	m[0] = ip.Echo
	if src.Is6() {
		o.Proto, m[0] = ip.ICMPv6, ip.V6Echo
	}
	binary.BigEndian.PutUint16(m[4:], 0xfe11)
	binary.BigEndian.PutUint16(m[6:], seq)
	for i := range m[8:] {
		m[8+i] = byte(i)
	}
	binary.BigEndian.PutUint16(m[2:], ip.L4Checksum(src, dst, o.Proto, m))
	o.Prepend(p)
	return p
}

func probe(src, dst netip.Addr, ttl uint8, port uint16) *packet.Packet {
	p := packet.From([]byte("probe"))
	ip.PrependUDP(p, ip.Outer{Src: src, Dst: dst, TTL: ttl, ID: 7}, 40000, port)
	return p
}

// reply is what came back: from whom, and which ICMP message.
type reply struct {
	from netip.Addr
	typ  uint8
	code uint8
	info uint32
	len  int
}

// ask sends a packet and returns the ICMP answers of the next d.
func (r *router) ask(p *packet.Packet, d time.Duration) []reply {
	r.lab.t.Helper()
	r.mu.Lock()
	r.icmp = nil
	r.mu.Unlock()
	if err := r.vrf.SendIP(p); err != nil {
		r.lab.t.Fatalf("%s: %v", r.name, err)
	}
	r.lab.run(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []reply
	for _, b := range r.icmp {
		var h ip.Header
		if err := ip.Parse(b, &h); err != nil {
			r.lab.t.Fatal(err)
		}
		if !ip.L4Valid(&h, b) {
			r.lab.t.Fatalf("%s got an ICMP message with a wrong checksum from %v", r.name, h.Src)
		}
		m := b[h.L4:]
		out = append(out, reply{h.Src, m[0], m[1], binary.BigEndian.Uint32(m[4:]), h.Len})
	}
	return out
}

// ping reports whether an echo of n bytes is answered.
func (r *router) ping(src, dst string, n int) bool {
	r.lab.t.Helper()
	s, d := addr(src), addr(dst)
	want := uint8(ip.EchoReply)
	if s.Is6() {
		want = ip.V6EchoReply
	}
	for _, a := range r.ask(echo(s, d, 64, 1, n, false), 5*time.Second) {
		if a.typ == want && a.from == d {
			return true
		}
	}
	return false
}

func (r *router) takePunts(reason PuntReason) []Punt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Punt
	r.punts = slices.DeleteFunc(r.punts, func(p Punt) bool {
		if p.Reason == reason {
			out = append(out, p)
			return true
		}
		return false
	})
	return out
}

// explain prints where packets went, for a test that failed.
func (l *lab) explain() {
	for _, r := range l.all {
		l.t.Logf("%s: drops %v", r.name, r.Drops())
		for _, i := range r.Interfaces() {
			c := i.Counters()
			l.t.Logf("  %s up=%v rx %d tx %d drops %v neighbours %v", i.Name(), i.Up(), c.RxPackets, c.TxPackets, c.Drops, i.Neighbours())
		}
		if r.log.Len() > 0 {
			l.t.Log(r.log.String())
		}
	}
}

func (l *lab) noDrops() {
	l.t.Helper()
	for _, r := range l.all {
		if d := r.Drops(); len(d) != 0 {
			l.t.Errorf("%s dropped %v", r.name, slices.Collect(maps.Keys(d)))
		}
	}
}

// three is A - R - B, both families, with routes everywhere.
type three struct {
	*lab
	a, r, b        *router
	ai, ra, rb, bi *Interface
	left, right    *mem.Link
}

func newThree(t testing.TB, left, right mem.Impairment) *three {
	l := newLab(t)
	x := &three{lab: l, a: l.router("A"), r: l.router("R"), b: l.router("B")}
	pa, pra := l.net.Pair("A", "R.left", left)
	prb, pb := l.net.Pair("R.right", "B", right)
	x.left, x.right = pa.Link(), pb.Link()
	x.ai = x.a.eth("Ethernet0", pa, "10.1.0.1/24", "2001:db8:1::1/64")
	x.ra = x.r.eth("Ethernet0", pra, "10.1.0.254/24", "2001:db8:1::fe/64")
	x.rb = x.r.eth("Ethernet1", prb, "10.2.0.254/24", "2001:db8:2::fe/64")
	x.bi = x.b.eth("Ethernet0", pb, "10.2.0.1/24", "2001:db8:2::1/64")
	x.a.route("0.0.0.0/0", x.ai, "10.1.0.254")
	x.a.route("::/0", x.ai, "2001:db8:1::fe")
	x.b.route("0.0.0.0/0", x.bi, "10.2.0.254")
	x.b.route("::/0", x.bi, "2001:db8:2::fe")
	l.run(time.Second)
	return x
}

func (r reply) String() string {
	return fmt.Sprintf("%v type %d code %d info %d", r.from, r.typ, r.code, r.info)
}
