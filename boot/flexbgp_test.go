package boot

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

var flows atomic.Uint32

// flow is a hundred echo requests a second from one of a router's addresses.
type flow struct {
	f    *flex
	to   string
	mu   sync.Mutex
	sent int
	got  map[uint16]bool
	end  chan struct{}
	done sync.WaitGroup
}

func (f *flex) flow(router, from, to string) *flow {
	x := &flow{f: f, to: to, got: map[uint16]bool{}, end: make(chan struct{})}
	v, _ := f.routers[router].dp.VRF("default")
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	id := uint16(flows.Add(1))
	v.HandleICMP(func(p *packet.Packet) {
		var h ip.Header
		b := p.Bytes()
		if ip.Parse(b, &h) == nil && h.Version == 4 && h.Proto == ip.ICMP && h.Src == dst && h.Len >= h.L4+8 && b[h.L4] == ip.EchoReply && binary.BigEndian.Uint16(b[h.L4+4:]) == id {
			x.mu.Lock()
			x.got[binary.BigEndian.Uint16(b[h.L4+6:])] = true
			x.mu.Unlock()
		}
	})
	x.done.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for seq := uint16(0); ; seq++ {
			select {
			case <-x.end:
				return
			case <-tick.C:
			}
			p := packet.Get(64)
			b := p.Append(64)
			clear(b)
			b[0] = ip.Echo
			binary.BigEndian.PutUint16(b[4:], id)
			binary.BigEndian.PutUint16(b[6:], seq)
			binary.BigEndian.PutUint16(b[2:], ^ip.Sum(b, 0))
			o := ip.Outer{Src: src, Dst: dst, Proto: ip.ICMP, TTL: 64}
			o.Prepend(p)
			_ = v.SendIP(p)
			x.mu.Lock()
			x.sent++
			x.mu.Unlock()
		}
	})
	return x
}

// more waits until so many more have been answered.
func (x *flow) more(n int) {
	x.f.t.Helper()
	answered := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.got)
	}
	n += answered()
	x.f.until(func() string { return unless(answered() >= n, "an answer from "+x.to) })
}

// stop ends the flow and says how many were sent and lost until now: what was sent before one that is answered has been
// answered by then, or is lost.
func (x *flow) stop() (sent, lost int) {
	x.f.t.Helper()
	x.mu.Lock()
	sent = x.sent
	x.mu.Unlock()
	x.f.until(func() string {
		x.mu.Lock()
		defer x.mu.Unlock()
		for k := sent; k < x.sent; k++ {
			if x.got[uint16(k)] {
				return ""
			}
		}
		return "there is no answer from " + x.to
	})
	close(x.end)
	x.done.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range sent {
		if !x.got[uint16(k)] {
			lost++
		}
	}
	return sent, lost
}

// bgpHub is a hub of scenario 3.
func bgpHub(n int) string {
	return flexHub(n, `{ set-interface = ["self"] }`, fmt.Sprintf(`
[bgp]
as = 65001
router-id = "172.25.%[1]d.1"
network = ["192.168.0.0/24"]
graceful-restart = true
aggregate = [{ prefix = "192.168.0.0/16", summary-only = true }]
[bgp.peer-group.Spokes]
remote-as = 65001
[[bgp.listen]]
range = "10.1.1.0/24"
peer-group = "Spokes"
[bgp.neighbor."192.168.0.%[2]d"]
remote-as = 65001
route-reflector-client = true
next-hop-self-all = true
unsuppress-map = "ALL"
[[route-map.ALL.entry]]
action = "permit"
`, n, 3-n))
}

func TestBGPFollowsAClientToAnotherHubAndBack(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", bgpHub(1))
	f.run("hub2", bgpHub(2))
	f.run("spoke1", flexSpoke(1, clientTunnel, `
[bgp]
as = 65001
network = ["192.168.101.0/24"]
graceful-restart = true
[bgp.neighbor."10.1.1.1"]
remote-as = 65001
`+flexClient(trackedPeers)))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show ip route", "B        192.168.0.0/16 [200/0] via 10.1.1.1")
	f.want("hub2", "show ip route", "B        192.168.101.0/24")
	for _, to := range []string{"192.168.0.2", "192.168.0.1"} {
		f.want("spoke1", "ping "+to+" source GigabitEthernet2 repeat 3", "(3/3)")
	}
	x := f.flow("spoke1", "192.168.101.1", "192.168.0.2")
	x.more(20)
	f.wan["hub1"].SetUp(false)
	f.at("spoke1", "172.25.2.1")
	f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3", "(3/3)")
	sent, lost := x.stop()
	t.Logf("failover by a track of 3 x 100 ms: %d of %d lost", lost, sent)
	if lost > 200 {
		t.Errorf("%d of %d lost at the failover", lost, sent)
	}
	f.want("spoke1", "show ip bgp summary", "10.1.1.1")
	// Hub 1 finds that its own session is dead.
	f.want("hub1", "show ip route", "B        192.168.101.0/24 [200/0] via 192.168.0.2")
	x = f.flow("spoke1", "192.168.101.1", "192.168.0.2")
	y := f.flow("spoke1", "192.168.101.1", "192.168.0.1")
	x.more(20)
	y.more(20)
	f.wan["hub1"].SetUp(true)
	f.at("spoke1", "172.25.1.1")
	f.until(func() string {
		n := 0
		f.routers["hub2"].look(func() { n = len(f.routers["hub2"].flexvpn.List()) })
		return unless(n == 0, "an end of the former session")
	})
	x.more(20)
	y.more(20)
	for name, x := range map[string]*flow{"hub 2": x, "hub 1": y} {
		if sent, lost := x.stop(); lost > 0 {
			t.Errorf("%d of %d to %s lost on the way back", lost, sent, name)
		}
	}
}
