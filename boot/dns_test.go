package boot

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"felloe/netstack"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// nameServer answers at an address of a router's: over UDP that the answer is too long, over TCP with it.
func (f *flex) nameServer(router, at string, find func(name string) (string, bool)) (asked *atomic.Int32) {
	f.t.Helper()
	asked = &atomic.Int32{}
	v, _ := f.routers[router].dp.VRF("default")
	here := &tcpip.FullAddress{NIC: netstack.HostNIC, Addr: tcpip.AddrFromSlice(netip.MustParseAddr(at).AsSlice()), Port: portDNS}
	udp, err := gonet.DialUDP(v.Stack(), here, nil, ipv4.ProtocolNumber)
	if err != nil {
		f.t.Fatal(err)
	}
	tcp, err := gonet.ListenTCP(v.Stack(), *here, ipv4.ProtocolNumber)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
	answer := func(b []byte, cut bool) []byte {
		var m dnsmessage.Message
		if m.Unpack(b) != nil {
			return nil
		}
		asked.Add(1)
		m.Response, m.Truncated = true, cut
		q := m.Questions[0]
		a, there := find(strings.TrimSuffix(q.Name.String(), "."))
		switch {
		case cut:
		case !there:
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()}}}
		}
		b, _ = m.Pack()
		return b
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(answer(b[:n], true), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				b := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				b = answer(b, false)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			}(c)
		}
	}()
	return asked
}

// forgets waits until what a router knows of a name holds no longer.
func (f *flex) forgets(router, name string) {
	f.t.Helper()
	r := f.routers[router]
	f.until(func() string {
		for _, h := range r.names.Known() {
			if h.Name == name && !r.clock.Now().After(h.Expires) {
				return "the answer still holds"
			}
		}
		return ""
	})
}

func TestAClientAsksItsNameServersThroughTheDataPlane(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	names := map[string]string{"hub2.example.net": "172.25.2.1"}
	asked := f.nameServer("Internet", "172.16.1.254", func(name string) (string, bool) { a, there := names[name]; return a, there })
	f.run("hub2", flexHub(2, `{ set-interface = ["self"] }`, ""))
	f.run("spoke1", flexSpoke(1, clientTunnel, flexClient(`peer = [{ fqdn = "hub1.example.net" }, { fqdn = "hub2" }]
[dns]
server = ["172.16.1.253", "172.16.1.254"]
domain = "example.net"
source = "GigabitEthernet1"
timeout = "200ms"
`)))
	f.at("spoke1", "172.25.2.1")
	f.want("spoke1", "show hosts", "hub2.example.net", "172.25.2.1")
	n := asked.Load()
	if n < 4 {
		t.Errorf("%d questions, and each name takes one by UDP and one by TCP", n)
	}
	// Another call asks anew: the answer was for a second.
	f.forgets("spoke1", "hub2.example.net")
	f.exec("hub2", "clear crypto session")
	f.until(func() string { return unless(asked.Load() > n, "another question") })
	f.at("spoke1", "172.25.2.1")
}
