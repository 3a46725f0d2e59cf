package netstack

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/link/mem"
)

// dmvpn is a hub and two spokes on an underlay with a router in the middle, with tunnels in any mode.
type dmvpn struct {
	*lab
	inet  *router
	node  [3]*router // hub, spoke 1, spoke 2
	wan   [3]*Interface
	tun   [3]*Tunnel
	links [3]*mem.Link
}

func nbma(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("2001:db8:a%d::%d", n+1, n+1))
	}
	return addr(fmt.Sprintf("172.16.%d.%d", n+1, n+1))
}

func overlay(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("fd00:10::%d", n+1))
	}
	return addr(fmt.Sprintf("10.10.10.%d", n+1))
}

func lan(n int, v6 bool) netip.Addr {
	if v6 {
		return addr(fmt.Sprintf("fd00:192:%d::%d", n+1, n+1))
	}
	return addr(fmt.Sprintf("192.168.%d%d.%d", n+1, n+1, n+1))
}

// newDMVPN makes the network with tunnels of the config (mode, key, protection) over an underlay of the given family.
// There are no sessions yet.
func newDMVPN(t testing.TB, c TunnelConfig, v6 bool) *dmvpn {
	x := &dmvpn{lab: newLab(t)}
	x.inet = x.router("Internet")
	for n, name := range []string{"Hub", "Spoke1", "Spoke2"} {
		r := x.router(name)
		x.node[n] = r
		p, q := x.net.Pair(name, "Internet."+name, mem.Impairment{})
		x.links[n] = p.Link()
		bits := map[bool]int{false: 24, true: 64}[v6]
		me := netip.PrefixFrom(nbma(n, v6), bits)
		gw := me.Masked().Addr().As16()
		gw[15] = 254
		gateway := netip.AddrFrom16(gw).Unmap()
		x.wan[n] = r.eth("GigabitEthernet1", p, me.String())
		x.inet.eth(fmt.Sprintf("GigabitEthernet%d", n+1), q, netip.PrefixFrom(gateway, bits).String())
		def := "0.0.0.0/0"
		if v6 {
			def = "::/0"
		}
		r.route(def, x.wan[n], gateway.String())
		r.loopback("Loopback10", lan(n, false).String()+"/24", lan(n, true).String()+"/64")
		tc := c
		tc.Name, tc.Source = "Tunnel0", nbma(n, v6)
		if tc.Mode != GREMultipoint && n > 0 {
			tc.Destination = nbma(0, v6)
		}
		tun, err := r.AddTunnel(tc)
		if err != nil {
			t.Fatal(err)
		}
		x.tun[n] = tun
		r.address(tun.Interface(), overlay(n, false).String()+"/24", overlay(n, true).String()+"/64")
	}
	// Everything goes by the hub.
	for n := 1; n < 3; n++ {
		for _, six := range []bool{false, true} {
			x.node[0].route(lanNet(n, six), x.tun[0].Interface(), overlay(n, six).String())
			for other := range 3 {
				if other != n {
					x.node[n].route(lanNet(other, six), x.tun[n].Interface(), overlay(0, six).String())
				}
			}
		}
	}
	x.run(time.Second)
	return x
}

func lanNet(n int, v6 bool) string {
	if v6 {
		return netip.PrefixFrom(lan(n, v6), 64).Masked().String()
	}
	return netip.PrefixFrom(lan(n, v6), 24).Masked().String()
}

// join makes sessions between two nodes and points the overlay at them.
func (x *dmvpn) join(a, b int, v6 bool) (ab, ba *Session) {
	ab = x.tun[a].NewSession(nbma(b, v6))
	ba = x.tun[b].NewSession(nbma(a, v6))
	for _, six := range []bool{false, true} {
		x.tun[a].SetNeighbour(overlay(b, six), ab)
		x.tun[b].SetNeighbour(overlay(a, six), ba)
	}
	return ab, ba
}

var nextSPI = uint32(0x1000)

// key installs an SA pair between two sessions of two nodes.
func (x *dmvpn) key(a, b int, ab, ba *Session, mode esp.Mode, suite esp.Suite, encap bool) {
	x.t.Helper()
	one := func(from, to *router, out, in *Session, tag byte) {
		nextSPI++
		port := uint16(0)
		if encap {
			port = natPort
		}
		mk := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = tag + byte(i)
			}
			return b
		}
		local, remote := out.tunnel.Source(), out.NBMA()
		o, err := esp.NewOutbound(esp.Params{SPI: nextSPI, Suite: suite, Mode: mode, EncrKey: mk(suite.EncrKeyLen()), IntegKey: mk(suite.IntegKeyLen()),
			Local: netip.AddrPortFrom(local, port), Remote: netip.AddrPortFrom(remote, port), UDPEncap: encap, Rand: zeroes{}})
		if err != nil {
			x.t.Fatal(err)
		}
		i, err := esp.NewInbound(esp.Params{SPI: nextSPI, Suite: suite, Mode: mode, EncrKey: mk(suite.EncrKeyLen()), IntegKey: mk(suite.IntegKeyLen()),
			Local: netip.AddrPortFrom(remote, port), Remote: netip.AddrPortFrom(local, port), UDPEncap: encap, Rand: zeroes{}})
		if err != nil {
			x.t.Fatal(err)
		}
		if err := to.AddInbound(i, in); err != nil {
			x.t.Fatal(err)
		}
		out.SetOutbound(o)
	}
	one(x.node[a], x.node[b], ab, ba, 1)
	one(x.node[b], x.node[a], ba, ab, 2)
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var _ io.Reader = zeroes{}

var (
	gcm = esp.Suite{Encr: esp.Encr(20), KeyBits: 256}
	cbc = esp.Suite{Encr: esp.Encr(12), KeyBits: 256, Integ: esp.Integ(12)}
)
