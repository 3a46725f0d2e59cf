package tcpnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"felloe/netstack/tcpmd5"
	"felloe/routing/bgp"

	"github.com/gaissmai/bart"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ErrNoTable says that a peer needs a tcpmd5.Table and there is none.
var ErrNoTable = errors.New("tcpnet: this stack cannot sign TCP segments or check their TTL")

// Options configure a Network.
type Options struct {
	Stack *stack.Stack
	// Table is the one that the stack's NICs share; nil when they have none.
	Table *tcpmd5.Table
	// Source chooses our address for a destination when the caller has none; nil leaves it to the stack.
	Source func(dst netip.Addr) (netip.Addr, bool)
}

// Network implements bgp.Network. It is safe for concurrent use.
type Network struct {
	o Options

	mu    sync.Mutex
	peers bart.Table[bgp.SocketOptions]
}

var _ bgp.Network = (*Network)(nil)

// New makes a network.
func New(o Options) *Network { return &Network{o: o} }

// SetPeer implements bgp.Network.
func (n *Network) SetPeer(remote netip.Prefix, o bgp.SocketOptions) error {
	if (o.MD5Key != "" || o.MinTTL > 0) && n.o.Table == nil {
		return fmt.Errorf("%w: peer %v", ErrNoTable, remote)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers.Insert(remote.Masked(), o)
	if n.o.Table != nil {
		if o.MD5Key != "" || o.MinTTL > 0 {
			n.o.Table.Set(remote, tcpmd5.Peer{Key: []byte(o.MD5Key), MinTTL: o.MinTTL})
		} else {
			n.o.Table.Delete(remote)
		}
	}
	return nil
}

// RemovePeer implements bgp.Network.
func (n *Network) RemovePeer(remote netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers.Delete(remote.Masked())
	if n.o.Table != nil {
		n.o.Table.Delete(remote)
	}
}

func (n *Network) optionsFor(remote netip.Addr) bgp.SocketOptions {
	n.mu.Lock()
	defer n.mu.Unlock()
	o, _ := n.peers.Lookup(remote)
	return o
}

// DialTCP implements bgp.Network.
func (n *Network) DialTCP(ctx context.Context, local, remote netip.AddrPort, o bgp.SocketOptions) (net.Conn, error) {
	if (o.MD5Key != "" || o.MinTTL > 0) && n.o.Table == nil {
		return nil, fmt.Errorf("%w: peer %v", ErrNoTable, remote.Addr())
	}
	if !local.Addr().IsValid() && n.o.Source != nil {
		if a, ok := n.o.Source(remote.Addr()); ok {
			local = netip.AddrPortFrom(a, local.Port())
		}
	}
	var wq waiter.Queue
	ep, terr := n.o.Stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(remote.Addr()), &wq)
	if terr != nil {
		return nil, failure("dial", remote, terr)
	}
	setTTL(ep, remote.Addr(), o.TTL)
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if local.Addr().IsValid() || local.Port() != 0 {
		if terr = ep.Bind(full(local)); terr != nil {
			ep.Close()
			return nil, failure("bind", local, terr)
		}
	}
	terr = ep.Connect(full(remote))
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Abort()
			return nil, fmt.Errorf("tcpnet: dial %v: %w", remote, ctx.Err())
		case <-ready:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Close()
		return nil, failure("dial", remote, terr)
	}
	return &conn{gonet.NewTCPConn(&wq, ep), ep}, nil
}

// ListenTCP implements bgp.Network.
func (n *Network) ListenTCP(local netip.AddrPort) (net.Listener, error) {
	wq := new(waiter.Queue)
	ep, terr := n.o.Stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(local.Addr()), wq)
	if terr != nil {
		return nil, failure("listen", local, terr)
	}
	ep.SocketOptions().SetReuseAddress(true)
	ep.SocketOptions().SetV6Only(true)
	setTTL(ep, local.Addr(), 255)
	address := full(local)
	if local.Addr().IsUnspecified() {
		address.Addr = tcpip.Address{}
	}
	if terr = ep.Bind(address); terr == nil {
		terr = ep.Listen(128)
	}
	if terr != nil {
		ep.Close()
		return nil, failure("listen", local, terr)
	}
	return &listener{network: n, ep: ep, wq: wq, local: local, closed: make(chan struct{})}, nil
}

type listener struct {
	network *Network
	ep      tcpip.Endpoint
	wq      *waiter.Queue
	local   netip.AddrPort
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.ep.Close()
	})
	return nil
}

func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		default:
		}
		ep, wq, terr := l.ep.Accept(nil)
		if terr == nil {
			if remote, err := ep.GetRemoteAddress(); err == nil {
				a := addrOf(remote.Addr)
				setTTL(ep, a, l.network.optionsFor(a).TTL)
			}
			return &conn{gonet.NewTCPConn(wq, ep), ep}, nil
		}
		if _, wait := terr.(*tcpip.ErrWouldBlock); !wait {
			return nil, failure("accept", l.local, terr)
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-ready:
		}
	}
}

// conn is a gonet connection that can be cut off at once.
type conn struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

// SetLinger is as for *net.TCPConn: zero makes Close send a reset.
func (c *conn) SetLinger(seconds int) error {
	c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: seconds >= 0, Timeout: time.Duration(max(seconds, 0)) * time.Second})
	return nil
}

// Unread says that something has come that was not read yet; the end of the connection is something, too.
func (c *conn) Unread() bool { return c.ep.Readiness(waiter.ReadableEvents) != 0 }

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func full(a netip.AddrPort) tcpip.FullAddress {
	f := tcpip.FullAddress{Port: a.Port()}
	if a.Addr().IsValid() {
		f.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return f
}

func addrOf(a tcpip.Address) netip.Addr {
	x, _ := netip.AddrFromSlice(a.AsSlice())
	return x.Unmap()
}

func setTTL(ep tcpip.Endpoint, remote netip.Addr, ttl uint8) {
	if ttl == 0 {
		return
	}
	if remote.Is4() {
		_ = ep.SetSockOptInt(tcpip.IPv4TTLOption, int(ttl))
	} else {
		_ = ep.SetSockOptInt(tcpip.IPv6HopLimitOption, int(ttl))
	}
}

func failure(op string, a netip.AddrPort, err tcpip.Error) error {
	return fmt.Errorf("tcpnet: %s %v: %s", op, a, err)
}
