package nhrp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// crowd is a Host around a hub with many spokes, on a tunnel each or all on one.
type crowd struct {
	lonely
	e   *Engine
	far map[string]SessionID
	via map[netip.Addr]string
}

func (h *crowd) Peer(tunnel string) (Session, bool) { return h.Session(h.far[tunnel]) }

func (h *crowd) Lookup(_ string, dst netip.Addr) (Route, bool) {
	name, ok := h.via[dst]
	return Route{Prefix: hostPrefix(dst), Interface: name}, ok
}

func crowdAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(n >> 8), byte(n)}) }
func crowdNBMA(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 20, byte(n >> 8), byte(n)}) }

// comes brings spoke n up on a tunnel of its own.
func (h *crowd) comes(n int) {
	cfg := Config{Tunnel: fmt.Sprint("Virtual-Access", n), NetworkID: 1, Holdtime: time.Hour, Addresses: []netip.Addr{ip("10.10.10.1")}, NBMA: ip("172.16.1.1"),
		Redirect: true, PointToPoint: true, Clone: true}
	s := h.open(cfg.Tunnel, crowdNBMA(n))
	s.Up = true
	h.far[cfg.Tunnel], h.via[crowdAddr(n)] = s.ID, cfg.Tunnel
	h.e.Apply(epoch, cfg)
	h.e.SessionUp(epoch, *s)
}

func (h *crowd) goes(n int) {
	name := fmt.Sprint("Virtual-Access", n)
	id := h.far[name]
	delete(h.sessions, id)
	h.e.SessionDown(epoch, name, id, "gone")
	delete(h.far, name)
	delete(h.via, crowdAddr(n))
	h.e.Remove(epoch, name)
}

func newCrowd(t testing.TB, n int) *crowd {
	h := &crowd{lonely: lonely{t: t, noSecret: true, sessions: map[SessionID]*Session{}, neighbours: map[netip.Addr]SessionID{}, shortcuts: map[shortcutKey]netip.Addr{}},
		far: map[string]SessionID{}, via: map[netip.Addr]string{}}
	h.e = New(Options{Host: h, Rand: source{rand.NewPCG(1, 1)}})
	for k := range n {
		h.comes(k)
	}
	return h
}

func benchmarkCrowd(b *testing.B, f func(b *testing.B, h *crowd, n int)) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("%d spokes", n), func(b *testing.B) {
			h := newCrowd(b, n)
			b.ResetTimer()
			for range b.N {
				f(b, h, n)
			}
		})
	}
}

func BenchmarkASpokeComesAndGoes(b *testing.B) {
	benchmarkCrowd(b, func(_ *testing.B, h *crowd, n int) {
		h.comes(n)
		h.goes(n)
	})
}

func BenchmarkRoutesChange(b *testing.B) {
	benchmarkCrowd(b, func(_ *testing.B, h *crowd, _ int) { h.e.RoutesChanged(epoch) })
}

// BenchmarkAForgedPurgeReply is what a spoke can make a hub do for a packet that answers nothing.
func BenchmarkAForgedPurgeReply(b *testing.B) {
	p := everyType("10.10.10.1", "10.20.0.1")[5]
	data, err := p.Encode()
	if err != nil {
		b.Fatal(err)
	}
	benchmarkCrowd(b, func(_ *testing.B, h *crowd, _ int) {
		h.e.Receive(epoch, From{Tunnel: "Virtual-Access1", Session: h.far["Virtual-Access1"]}, data)
	})
}
