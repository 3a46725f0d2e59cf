//go:build linux

package gobgp

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/loop"
	"felloe/netstack/tcpmd5"
	"felloe/routing/bgp"
	"felloe/routing/bgp/tcpnet"
	"felloe/routing/rib"

	"github.com/rs/zerolog"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// bus is a subnet: it carries IP packets to the port that has the destination.
type bus struct {
	t     *testing.T
	mu    sync.Mutex
	ports map[netip.Addr]*channel.Endpoint
	cut   map[netip.Addr]bool
}

func newBus(t *testing.T) *bus {
	return &bus{t: t, ports: make(map[netip.Addr]*channel.Endpoint), cut: make(map[netip.Addr]bool)}
}

func (b *bus) port(addrs ...netip.Addr) *channel.Endpoint {
	e := channel.New(4096, 1400, "")
	b.mu.Lock()
	for _, a := range addrs {
		b.ports[a] = e
	}
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	go func() {
		for {
			p := e.ReadContext(ctx)
			if p == nil {
				return
			}
			b.carry(e, p)
			p.DecRef()
		}
	}()
	return e
}

func (b *bus) carry(from *channel.Endpoint, p *stack.PacketBuffer) {
	v := p.ToView()
	raw := v.AsSlice()
	var src, dst netip.Addr
	switch header.IPVersion(raw) {
	case 4:
		src, dst = netip.AddrFrom4([4]byte(raw[12:16])), netip.AddrFrom4([4]byte(raw[16:20]))
	case 6:
		src, dst = netip.AddrFrom16([16]byte(raw[8:24])), netip.AddrFrom16([16]byte(raw[24:40]))
	}
	b.mu.Lock()
	to := b.ports[dst]
	if b.cut[src] || b.cut[dst] || b.ports[src] != from && b.ports[src] != nil { // the latter had the address before
		to = nil
	}
	b.mu.Unlock()
	if to == nil {
		v.Release()
		return
	}
	in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	to.InjectInbound(p.NetworkProtocolNumber, in)
	in.DecRef()
}

func (b *bus) setCut(a string, cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut[ip(a)] = cut
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) lines(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range strings.Split(l.b.String(), "\n") {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// router is a host stack, a RIB and BGP on a bus.
type router struct {
	t    *testing.T
	addr netip.Addr
	loop *loop.Loop
	rib  *rib.RIB
	bgp  *bgp.BGP
	cfg  bgp.Config
	net  *tcpnet.Network
	md5  *tcpmd5.Table
	log  logBuffer
	st   *stack.Stack
	o    Options
}

// newHost makes a host stack at 10.10.10.N and fd00::N.
func newHost(t *testing.T, b *bus, n int) *router {
	r := &router{t: t, addr: ip(fmt.Sprintf("10.10.10.%d", n)), md5: tcpmd5.NewTable(bgp.Port)}
	six := ip(fmt.Sprintf("fd00::%d", n))
	r.st = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := r.st.CreateNIC(1, tcpmd5.New(b.port(r.addr, six), r.md5)); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{r.addr, six} {
		proto := header.IPv4ProtocolNumber
		if a.Is6() {
			proto = header.IPv6ProtocolNumber
		}
		if err := r.st.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddressWithPrefix{
			Address: tcpip.AddrFromSlice(a.AsSlice()), PrefixLen: a.BitLen()}}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	r.st.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	r.net = tcpnet.New(tcpnet.Options{Stack: r.st, Table: r.md5})
	t.Cleanup(r.st.Destroy)
	return r
}

// address gives a host stack one more address.
func (r *router) address(b *bus, a string) {
	r.t.Helper()
	b.mu.Lock()
	b.ports[ip(a)] = b.ports[r.addr]
	b.mu.Unlock()
	if err := r.st.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFromSlice(ip(a).AsSlice()), PrefixLen: 32}}, stack.AddressProperties{}); err != nil {
		r.t.Fatal(err)
	}
}

// newRouter adds a RIB and BGP: router N is in the AS given, with Tunnel0 10.10.10.N/24 and Loopback10 192.168.N.N/24,
// whose host route it announces.
func newRouter(t *testing.T, b *bus, n int, as uint32, change func(*bgp.Config)) *router {
	r := newHost(t, b, n)
	r.cfg = bgp.Config{AS: as, RouterID: r.addr, Networks: []netip.Prefix{pfx(fmt.Sprintf("192.168.%d.%d/32", n, n))}}
	if change != nil {
		change(&r.cfg)
	}
	log := zerolog.New(&r.log).Level(zerolog.InfoLevel)
	r.loop = loop.New(clock.Real, log)
	r.rib = rib.New(rib.Options{Defer: func(f func()) { r.loop.Post("rib", f) }, Log: log})
	r.on(func() {
		r.rib.SetInterface("Tunnel0", 2, true, []netip.Prefix{netip.PrefixFrom(r.addr, 24), pfx(fmt.Sprintf("fd00::%d/64", n))})
		r.rib.SetInterface("Loopback10", 3, true, []netip.Prefix{pfx(fmt.Sprintf("192.168.%d.%d/24", n, n)), pfx(fmt.Sprintf("fd00:%d::1/64", n))})
	})
	t.Cleanup(func() {
		r.stop()
		r.loop.Close()
		if t.Failed() {
			t.Logf("router %d:\n%s", n, r.log.String())
		}
	})
	r.start(log)
	return r
}

func (r *router) start(log zerolog.Logger) {
	r.t.Helper()
	var err error
	r.o.Network = r.net
	r.on(func() {
		r.bgp, err = bgp.New(r.cfg, bgp.Options{RIB: r.rib, Speaker: Speaker(r.o),
			Follows: func(string) bool { return r.cfg.GracefulRestart.Enabled }, // where a hub may take another's place
			Post:    func(f func()) { r.loop.Post("bgp", f) }, Log: log})
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *router) stop() {
	r.on(func() {
		if r.bgp != nil {
			r.bgp.Close()
			r.bgp = nil
		}
	})
}

func (r *router) on(f func()) { _ = r.loop.Call("test", f) }

func (r *router) apply(change func(*bgp.Config)) {
	r.t.Helper()
	var err error
	r.on(func() {
		change(&r.cfg)
		err = r.bgp.Apply(r.cfg)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// route is the hop of a prefix in the RIB, empty when there is none.
func (r *router) route(p string) (s string) {
	r.on(func() {
		if x, ok := r.rib.Get(pfx(p)); ok && len(x.Hops) > 0 {
			s = fmt.Sprintf("%v %v %s", x.Source, x.Hops[0].Via, x.Hops[0].Interface)
		}
	})
	return
}

func (r *router) peer(a string) (n bgp.NeighborInfo) {
	r.on(func() {
		for _, x := range r.bgp.Neighbors() {
			if x.Address == ip(a) {
				n = x
			}
		}
	})
	return
}

func (r *router) up(a string) bool { return r.peer(a).State == bgp.Established }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("it never came to it that %s", what)
}

func neighbor(a string, as uint32, change ...func(*bgp.Neighbor)) bgp.Neighbor {
	n := bgp.Neighbor{Address: ip(a), RemoteAS: as, Timers: bgp.Timers{Keepalive: time.Second, Hold: 9 * time.Second, ConnectRetry: 5 * time.Second}}
	for _, f := range change {
		f(&n)
	}
	return n
}

func with(n ...bgp.Neighbor) func(*bgp.Config) {
	return func(c *bgp.Config) { c.Neighbors = n }
}

func hubLog(r *router) zerolog.Logger { return zerolog.New(&r.log).Level(zerolog.InfoLevel) }
