//go:build linux

package gobgp

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/rs/zerolog"
)

// rawPeer is a peer made by hand: a TCP connection to the router at .1, from a host stack at .N.
type rawPeer struct {
	t *testing.T
	net.Conn
	buf []byte
}

func dialRaw(t *testing.T, h *router) *rawPeer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var c net.Conn
	eventually(t, "the router listens", func() (ok bool) {
		var err error
		c, err = h.net.DialTCP(ctx, netip.AddrPort{}, netip.MustParseAddrPort("10.10.10.1:179"), bgp.SocketOptions{})
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return &rawPeer{t, c, make([]byte, guard.MaxLen)}
}

// message is a BGP message of a type.
func message(kind byte, body ...byte) []byte {
	b := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, kind)
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

func (p *rawPeer) send(m ...[]byte) {
	p.t.Helper()
	for _, b := range m {
		if _, err := p.Write(b); err != nil {
			p.t.Fatal(err)
		}
	}
}

// read is the next message of a type; others are skipped. Nil says that the connection ended first.
func (p *rawPeer) read(kind byte) []byte {
	_ = p.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		m, err := guard.ReadMessage(p, p.buf)
		if err != nil {
			return nil
		}
		if m[18] == kind {
			return m
		}
	}
}

// open is an OPEN of AS 65011 with four-octet numbers, or without.
func open(four bool, id byte) []byte {
	body := []byte{4, 0xfd, 0xf3, 0, 90, 10, 10, 10, id}
	if four {
		return message(1, append(body, 8, 2, 6, 65, 4, 0, 0, 0xfd, 0xf3)...)
	}
	return message(1, append(body, 0)...)
}

// up brings the session up.
func (p *rawPeer) up(four bool, id byte) *rawPeer {
	p.t.Helper()
	p.send(open(four, id))
	if p.read(1) == nil {
		p.t.Fatal("no OPEN came")
	}
	p.send(guard.KeepaliveMessage())
	if p.read(4) == nil {
		p.t.Fatal("no KEEPALIVE came")
	}
	return p
}

func TestHostilePeersDoNotHurtTheOthers(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	template := neighbor("10.10.10.0", 0)
	template.Address = netip.Addr{}
	hub := newRouter(t, b, 1, 65010, func(c *bgp.Config) {
		c.Listen = []bgp.Listen{{Range: pfx("10.10.10.0/24"), Template: template}}
	})
	newRouter(t, b, 2, 65012, hubOf(65010))
	eventually(t, "a good neighbour is up", func() bool { return hub.route("192.168.2.2/32") != "" })

	nlri := []byte{24, 198, 51, 100}
	update := func(attrs []byte) []byte {
		body := append([]byte{0, 0, 0, byte(len(attrs))}, attrs...)
		return message(2, append(body, nlri...)...)
	}
	good := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf3, 0x40, 3, 4, 10, 10, 10, 0}
	host := func(n int) *router { return newHost(t, b, n) }

	// The two faults of GoBGP that are public.
	crash := dialRaw(t, host(31)).up(false, 31)
	crash.send(update([]byte{0x40, 1, 1, 0, 0xc0, 17, 6, 2, 1, 0, 1, 0, 0, 0x40, 2, 6, 2, 2, 0xfd, 0xf3, 0x5b, 0xa0, 0x40, 3, 4, 10, 10, 10, 31}))
	eventually(t, "AS4_PATH before AS_PATH is a path", func() bool { return hub.route("198.51.100.0/24") != "" })
	hub.on(func() {
		e, _ := hub.bgp.Prefix(pfx("198.51.100.0/24"))
		if got := e.Paths[0].PathString(); got != "65011 65536" {
			t.Errorf("the AS path is %q", got)
		}
	})
	crash.send(message(2, 0, 2, 32, 10, 0, 0, 0, 0))
	if n := crash.read(3); n == nil || n[19] != 3 || n[20] != 10 {
		t.Errorf("the length underflow got %x", n)
	}

	// What is malformed in one path is withdrawn; the session stays.
	bad := dialRaw(t, host(32)).up(true, 32)
	path := bytes.Clone(good)
	path[len(path)-1] = 32
	bad.send(update(path))
	eventually(t, "the good path is there", func() bool { return hub.route("198.51.100.0/24") == "bgp 10.10.10.32 Tunnel0" })
	path[3] = 9 // ORIGIN
	bad.send(update(path))
	eventually(t, "the malformed one withdraws it", func() bool { return hub.route("198.51.100.0/24") == "" })
	if p := hub.peer("10.10.10.32"); p.State != bgp.Established || p.Malformed != 1 {
		t.Errorf("the hub shows %+v", p)
	}

	// Noise, and things out of turn.
	for i, c := range []struct {
		send      []byte
		code, sub byte
	}{
		{bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10), 1, 1},
		{guard.KeepaliveMessage(), 5, 0},
		{message(2, 0, 0, 0, 0), 5, 0},
		{message(9, 1, 2, 3), 1, 3},
		{message(1, 3, 0xfd, 0xf3, 0, 90, 10, 10, 10, 9, 0), 2, 1},
		{message(1, 4, 0xfd, 0xf2, 0, 90, 10, 10, 10, 9, 0), 2, 2},
	} {
		p := dialRaw(t, host(40+i))
		p.send(c.send)
		if n := p.read(3); n == nil || n[19] != c.code || n[20] != c.sub {
			t.Errorf("%d got %x, want %d/%d", i, n, c.code, c.sub)
		}
	}
	eventually(t, "only living dynamic neighbours are left", func() bool {
		n := 0
		hub.on(func() { n = hub.bgp.Summary().Dynamic })
		return n == 2
	})
	if p := hub.peer("10.10.10.2"); p.Established != 1 || p.Dropped != 0 {
		t.Errorf("the good neighbour suffered: %+v", p)
	}
}

func TestAPeerThatKeepsTheNewerOfTwoConnections(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.9", 65011, func(n *bgp.Neighbor) { n.Passive, n.Timers = true, bgp.Timers{} })))
	h := newHost(t, b, 9)
	first := dialRaw(t, h)
	first.send(open(true, 9))
	if first.read(1) == nil {
		t.Fatal("no OPEN came")
	}
	second := dialRaw(t, h)
	if n := first.read(3); n == nil || n[19] != guard.Cease || n[20] != guard.CollisionResolution {
		t.Fatalf("the older connection got %x", n)
	}
	second.up(true, 9)
	eventually(t, "the session is up", func() bool { return hub.up("10.10.10.9") })
	third := dialRaw(t, h)
	third.send(open(true, 9))
	if n := third.read(3); n == nil || n[20] != guard.CollisionResolution {
		t.Fatalf("a connection beside a session that is up got %x", n)
	}
	if p := hub.peer("10.10.10.9"); p.Dropped != 0 {
		t.Error("the session suffered")
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	b := newBus(t)
	settled := func() int {
		n := runtime.NumGoroutine()
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			if m := runtime.NumGoroutine(); m == n {
				break
			} else {
				n = m
			}
		}
		return n
	}
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011)))
	spoke := newRouter(t, b, 2, 65011, hubOf(65010))
	hub.stop()
	spoke.stop()
	before := settled()
	for range 3 {
		hub.start(hubLog(hub))
		spoke.start(hubLog(spoke))
		eventually(t, "the session is up", func() bool { return hub.up("10.10.10.2") })
		hub.stop()
		spoke.stop()
	}
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+4 })
}

func TestAnEngineWaitsForThePeersThatGoBGPHasNotLetGoOf(t *testing.T) {
	cfg := bgp.Config{AS: 65010, RouterID: ip("10.10.10.1")}
	e, err := startEngine(&cfg, zerolog.Nop(), func(*api.WatchEventResponse) {})
	if err != nil {
		t.Fatal(err)
	}
	const peers = 20
	for n := range peers {
		addr := netip.AddrFrom4([4]byte{10, 10, 10, byte(2 + n)})
		to := neighbor(addr.String(), 65011)
		if err := e.addPeer(&cfg, addr, &to); err != nil {
			t.Fatal(err)
		}
	}
	for n := range peers {
		if err := e.deletePeer(netip.AddrFrom4([4]byte{10, 10, 10, byte(2 + n)})); err != nil {
			t.Fatal(err)
		}
	}
	e.close()
	// What tells of them is a line of GoBGP's log: with another wording each close would wait in vain.
	if n := e.freed.Load(); n != peers {
		t.Fatalf("GoBGP has let go of %d peers of %d", n, peers)
	}
}
