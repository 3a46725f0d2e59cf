package main

import (
	"fmt"
	"net/netip"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/link"
	"felloe/netstack/packet"

	"github.com/rs/zerolog"
)

// vector is how many packets a driver hands over at once.
const vector = 64

// dead is a driver whose wire leads nowhere.
type dead struct {
	mac   [6]byte
	input func([]*packet.Packet)
	sent  int
}

func (d *dead) Start(input func([]*packet.Packet)) error { d.input = input; return nil }
func (d *dead) Send(v []*packet.Packet) {
	d.sent += len(v)
	for _, p := range v {
		p.Release()
	}
}
func (d *dead) Info() link.Info {
	return link.Info{Name: "dead", MAC: d.mac, MTU: 1500, Driver: "dead"}
}
func (d *dead) Stats() link.Stats    { return link.Stats{} }
func (d *dead) OnState(f func(bool)) { f(true) }
func (d *dead) Close() error         { return nil }

// router stands between two wires, LAN and WAN, and has a protected tunnel to a peer on the WAN.
type router struct {
	*netstack.Dataplane
	lan, wan *dead
	peer     *esp.Outbound // what the peer seals with
}

var (
	lanHost = netip.MustParseAddr("10.1.0.1")
	wanOwn  = netip.MustParseAddr("10.2.0.254")
	wanPeer = netip.MustParseAddr("10.2.0.1")
	overlay = netip.MustParseAddr("10.10.10.2")
)

func newRouter(routes int, suite esp.Suite) (*router, error) {
	r := &router{
		Dataplane: netstack.New(netstack.Options{Clock: clock.Real, Log: zerolog.Nop()}),
		lan:       &dead{mac: [6]byte{2, 0, 0, 0, 0, 1}}, wan: &dead{mac: [6]byte{2, 0, 0, 0, 0, 2}},
	}
	if _, err := r.ethernet("GigabitEthernet1", r.lan, "10.1.0.254/24", lanHost); err != nil {
		return nil, err
	}
	wan, err := r.ethernet("GigabitEthernet2", r.wan, wanOwn.String()+"/24", wanPeer)
	if err != nil {
		return nil, err
	}
	vrf := wan.VRF()
	t, err := r.AddTunnel(netstack.TunnelConfig{
		Name: "Tunnel0", VRF: vrf, Underlay: vrf, Mode: netstack.GREMultipoint, Protected: true, Source: wanOwn, TTL: 255,
	})
	if err != nil {
		return nil, err
	}
	t.Interface().SetAddresses([]netip.Prefix{netip.MustParsePrefix("10.10.10.1/24")})
	t.Interface().SetAdminUp(true)
	s := t.NewSession(wanPeer)
	t.SetNeighbour(overlay, s)
	if err := r.protect(s, suite); err != nil {
		return nil, err
	}
	// Half of the routes lead out of the WAN in clear, half through the tunnel.
	changes := []fib.Change{{Route: fib.Route{
		Prefix:   netip.MustParsePrefix("10.10.10.0/24"),
		NextHops: []fib.NextHop{{Interface: t.Interface().Index()}},
	}}}
	for i := range routes / 2 {
		changes = append(changes,
			route(20, i, fib.NextHop{Interface: wan.Index(), Via: wanPeer}),
			route(30, i, fib.NextHop{Interface: t.Interface().Index(), Via: overlay}))
	}
	vrf.Program(changes)
	return r, nil
}

func route(network byte, i int, via fib.NextHop) fib.Change {
	prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{network, byte(i >> 8), byte(i), 0}), 24)
	return fib.Change{Route: fib.Route{Prefix: prefix, NextHops: []fib.NextHop{via}}}
}

func (r *router) ethernet(name string, d *dead, address string, neighbour netip.Addr) (*netstack.Interface, error) {
	i, err := r.AddEthernet(netstack.EthernetConfig{Name: name, Driver: d})
	if err != nil {
		return nil, err
	}
	p := netip.MustParsePrefix(address)
	i.SetAddresses([]netip.Prefix{p})
	i.SetAdminUp(true)
	i.AddStaticNeighbour(neighbour, [6]byte{2, 0, 0, 0, 1, d.mac[5]})
	i.VRF().Program([]fib.Change{
		{Route: fib.Route{Prefix: p.Masked(), NextHops: []fib.NextHop{{Interface: i.Index()}}}},
		{Route: fib.Route{Prefix: netip.PrefixFrom(p.Addr(), 32), Kind: fib.Local}},
	})
	return i, nil
}

// protect gives the session a Child SA and keeps the peer's end of the inbound one.
func (r *router) protect(s *netstack.Session, suite esp.Suite) error {
	p := esp.Params{
		SPI: 0x1001, Suite: suite, Mode: esp.Transport,
		EncrKey: make([]byte, suite.EncrKeyLen()), IntegKey: make([]byte, suite.IntegKeyLen()),
		Local: netip.AddrPortFrom(wanOwn, 0), Remote: netip.AddrPortFrom(wanPeer, 0),
	}
	out, err := esp.NewOutbound(p)
	if err != nil {
		return err
	}
	s.SetOutbound(out)
	p.SPI = 0x1002
	in, err := esp.NewInbound(p)
	if err != nil {
		return err
	}
	if err := r.AddInbound(in, s); err != nil {
		return err
	}
	r.peer, err = esp.NewOutbound(p)
	return err
}

// udp is an IP packet of n bytes.
func udp(src, dst netip.Addr, n int) *packet.Packet {
	p := packet.Get(n)
	clear(p.Append(n - ip.MinV4 - ip.SizeUDP))
	ip.PrependUDP(p, ip.Outer{Src: src, Dst: dst, TTL: 64}, 1000, 2000)
	return p
}

func frame(p *packet.Packet, to *dead) {
	h := p.Prepend(14)
	copy(h, to.mac[:])
	copy(h[6:], []byte{2, 0, 0, 0, 1, to.mac[5], 8, 0})
}

// fill makes a vector of the k-th round: packets of n bytes from the LAN for a network of that many routes.
func (r *router) fill(v []*packet.Packet, network byte, routes, n, k int) {
	for i := range v {
		at := (k*vector + i) * 37 % (routes / 2) // all over the table
		p := udp(lanHost, netip.AddrFrom4([4]byte{network, byte(at >> 8), byte(at), 9}), n)
		frame(p, r.lan)
		v[i] = p
	}
}

// fillSealed makes a vector of what the peer sends through the tunnel to the LAN.
func (r *router) fillSealed(v []*packet.Packet, n, k int) error {
	for i := range v {
		p := udp(netip.AddrFrom4([4]byte{30, 0, byte(k), byte(i)}), lanHost, n)
		copy(p.Prepend(4), []byte{0, 0, 8, 0}) // GRE, IPv4
		if err := r.peer.Seal(p, ip.GRE); err != nil {
			return fmt.Errorf("the peer cannot seal: %w", err)
		}
		(&ip.Outer{Src: wanPeer, Dst: wanOwn, Proto: ip.ESP, TTL: 64, DF: true}).Prepend(p)
		frame(p, r.wan)
		v[i] = p
	}
	return nil
}
