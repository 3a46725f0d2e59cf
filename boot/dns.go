package boot

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/dns"
	"felloe/routing/bgp"
	"felloe/routing/bgp/tcpnet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// names finds the addresses of names with the name servers of [dns], through the data plane of their VRF.
type names struct {
	*dns.Resolver
	r   *Router
	cfg atomic.Pointer[config.DNS]
}

// portDNS is where name servers listen.
const portDNS = 53

func newNames(r *Router) *names {
	n := &names{r: r}
	n.cfg.Store(&config.DNS{VRF: config.DefaultVRF})
	n.Resolver = dns.New(r.clock, r.o.Rand, n)
	return n
}

func (n *names) apply(c *config.Config) {
	d := c.DNS
	n.cfg.Store(&d)
	n.SetConfig(dnsConfig(&d))
}

// dnsConfig is what of it the resolver is told; source and VRF are where it asks from.
func dnsConfig(d *config.DNS) dns.Config {
	return dns.Config{Servers: d.Server, Domain: d.Domain, Timeout: d.Timeout, Hosts: d.Host}
}

// Exchange implements dns.Transport. On any goroutine.
func (n *names) Exchange(ctx context.Context, server netip.Addr, query []byte, tcp bool) ([]byte, error) {
	c := n.cfg.Load()
	vrf, ok := n.r.dp.VRF(c.VRF)
	if !ok {
		return nil, fmt.Errorf("there is no vrf %q", c.VRF)
	}
	src, err := n.source(vrf, c, server)
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(server, portDNS)
	var conn net.Conn
	if tcp {
		conn, err = tcpnet.New(tcpnet.Options{Stack: vrf.Stack()}).DialTCP(ctx, netip.AddrPortFrom(src, 0), to, bgp.SocketOptions{})
	} else {
		conn, err = dialUDP(vrf, src, to)
	}
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	if tcp {
		return exchangeTCP(conn, query)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	b := make([]byte, 65535)
	for {
		k, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		// The stack has seen to it that it comes from the server; what is not the answer may be somebody's guess.
		if k >= 12 && b[0] == query[0] && b[1] == query[1] {
			return b[:k], nil
		}
	}
}

func (n *names) source(vrf *netstack.VRF, c *config.DNS, server netip.Addr) (netip.Addr, error) {
	if !c.Source.IsZero() {
		if a := n.r.addressOf(c.Source, server); a.IsValid() && a.Is4() == server.Is4() {
			return a, nil
		}
		return netip.Addr{}, fmt.Errorf("[dns] source %s has no address of the server's family", c.Source)
	}
	a, ok := vrf.SourceFor(server)
	if !ok {
		return a, fmt.Errorf("no route to %s", server)
	}
	return a, nil
}

func dialUDP(vrf *netstack.VRF, src netip.Addr, to netip.AddrPort) (net.Conn, error) {
	proto := ipv4.ProtocolNumber
	if src.Is6() {
		proto = ipv6.ProtocolNumber
	}
	end := func(a netip.Addr, port uint16) *tcpip.FullAddress {
		return &tcpip.FullAddress{NIC: netstack.HostNIC, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
	}
	return gonet.DialUDP(vrf.Stack(), end(src, 0), end(to.Addr(), to.Port()), proto)
}

func exchangeTCP(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, b)
	return b, err
}

// lookup finds a name's addresses and tells f on the control loop.
func (n *names) lookup(name string, v6 bool, f func([]netip.Addr, error)) {
	go func() {
		addrs, err := n.Lookup(context.Background(), name, v6)
		n.r.loop.Post("addresses of "+name, func() { f(addrs, err) })
	}()
}
