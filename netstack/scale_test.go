package netstack

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// crowd is a router with many peers, each with a tunnel interface of its own: 20.a.b.0/24 is behind peer a.b.
type crowd struct {
	*bench
	inside *VRF
	lan    *null
	lanIf  *Interface
	lender *Interface
	tuns   []*Tunnel
}

func newCrowd(t testing.TB, n int) *crowd {
	c := &crowd{bench: newBench(t, 1)}
	var err error
	if c.inside, err = c.AddVRF("inside"); err != nil {
		t.Fatal(err)
	}
	c.lan = &null{mac: [6]byte{2, 7}}
	if c.lanIf, err = c.AddEthernet(EthernetConfig{Name: "Ethernet9", VRF: c.inside, Driver: c.lan}); err != nil {
		t.Fatal(err)
	}
	c.address(c.lanIf, "10.3.0.254/24")
	c.lanIf.SetAdminUp(true)
	if c.lender, err = c.AddLoopback("Loopback1", c.inside); err != nil {
		t.Fatal(err)
	}
	c.address(c.lender, "10.4.0.1/32")
	c.route("172.16.0.0/12", c.ri, "10.2.0.1")
	for range n {
		c.add(t)
	}
	return c
}

func peerOf(k int) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, byte(k >> 8), byte(k)}) }

// add brings one more peer up, as vpn/flexvpn does.
func (c *crowd) add(t testing.TB) *Tunnel {
	k := len(c.tuns)
	tun, err := c.AddTunnel(TunnelConfig{Name: fmt.Sprintf("Virtual-Access%d", k), VRF: c.inside, Mode: VTI, Source: addr("10.2.0.254"), Destination: peerOf(k)})
	if err != nil {
		t.Fatal(err)
	}
	i := tun.Interface()
	i.SetUnnumbered(c.lender)
	i.SetIPMTU(1400)
	i.SetAdjustMSS(1360)
	s := tun.NewSession(peerOf(k))
	tun.SetDefault(s)
	p := esp.Params{SPI: uint32(0x10000 + k), Suite: gcm, Mode: esp.Tunnel, EncrKey: make([]byte, gcm.EncrKeyLen()),
		Local: netip.AddrPortFrom(addr("10.2.0.254"), 0), Remote: netip.AddrPortFrom(peerOf(k), 0)}
	out, err := esp.NewOutbound(p)
	if err != nil {
		t.Fatal(err)
	}
	in, err := esp.NewInbound(p)
	if err != nil {
		t.Fatal(err)
	}
	sel := NewSelectors([]Selector{selectorOf("0.0.0.0/0")}, []Selector{selectorOf(netOf(k).String())})
	if err := c.AddInboundFor(in, s, sel); err != nil {
		t.Fatal(err)
	}
	s.SetOutbounds([]OutboundSA{{out, sel}})
	c.inside.Program([]fib.Change{{Route: fib.Route{Prefix: netOf(k), NextHops: []fib.NextHop{{Interface: i.Index()}}}}})
	c.tuns = append(c.tuns, tun)
	return tun
}

func netOf(k int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(k >> 8), byte(k), 0}), 24)
}

// remove takes the last peer away.
func (c *crowd) remove(t testing.TB) {
	k := len(c.tuns) - 1
	c.inside.Program([]fib.Change{{Route: fib.Route{Prefix: netOf(k)}, Delete: true}})
	c.tuns[k].Default().Close()
	if err := c.RemoveInterface(c.tuns[k].Interface()); err != nil {
		t.Fatal(err)
	}
	c.tuns[k] = nil
	c.tuns = c.tuns[:k]
}

// frames are packets from the LAN for many peers.
func (c *crowd) frames(n int) []*packet.Packet {
	for i := range c.in {
		p := packet.Get(n)
		p.Append(n - 28)
		k := i * 7919 % len(c.tuns)
		ip.PrependUDP(p, ip.Outer{Src: addr("10.3.0.9"), Dst: netOf(k).Addr().Next(), TTL: 64}, 1000, uint16(i))
		h := c.lanIf.ethernetHeader(c.lanIf.mac, true)
		copy(p.Prepend(etherSize), h[:])
		c.in[i] = p
	}
	return c.in[:]
}

var crowds = []int{10, 1000, 5000}

func BenchmarkSessionComesAndGoes(b *testing.B) {
	for _, n := range crowds {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			c := newCrowd(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c.add(b)
				c.remove(b)
			}
		})
	}
}

func BenchmarkForwardToSessions(b *testing.B) {
	for _, n := range crowds {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			c := newCrowd(b, n)
			c.run(b, 200, c.lan, c.frames(200), nil)
		})
	}
}

// BenchmarkForwardWhileSessionsComeAndGo: what a change costs the packets of all the others.
func BenchmarkForwardWhileSessionsComeAndGo(b *testing.B) {
	for _, n := range crowds {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			c := newCrowd(b, n)
			templates := append([]*packet.Packet(nil), c.frames(200)...)
			var v [len(c.in)]*packet.Packet
			b.ResetTimer()
			for range b.N/len(templates) + 1 {
				c.add(b)
				c.remove(b)
				for i, p := range templates {
					v[i] = packet.From(p.Bytes())
				}
				c.lan.input(v[:])
			}
		})
	}
}

func heap() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMemoryAndGoroutinesReturnWhenSessionsAreGone(t *testing.T) {
	c := newCrowd(t, 20)
	c.left.keep, c.right.keep, c.lan.keep = false, false, false
	for range 20 {
		c.remove(t)
	}
	before, routines := heap(), runtime.NumGoroutine()
	for range 2000 {
		c.add(t)
	}
	c.lan.input(c.frames(200))
	full := heap()
	for range 2000 {
		c.remove(t)
	}
	c.lab.run(time.Minute)
	c.log = bytes.Buffer{}
	after := heap()
	t.Logf("%d kB, with 2,000 sessions %d kB (%d bytes each), afterwards %d kB", before/1024, full/1024, (full-before)/2000, after/1024)
	// What stays is bounded by far less than a tenth of what a session takes.
	if after > before+(full-before)/10+1<<16 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	if n := runtime.NumGoroutine(); n > routines+2 {
		t.Errorf("%d goroutines, %d before", n, routines)
	}
	if n := c.sas.len() + c.outer.len() + c.clear.len() + len(c.claims) + len(c.followers); n != 0 {
		t.Errorf("%d entries are left in the tables", n)
	}
	if len(c.names) != 4 {
		t.Errorf("%d interfaces", len(c.names))
	}
}
