package ikev2

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/esp"
)

// hub is a router with n established SAs, each with a spoke of its own at an address of its own.
type hub struct {
	t      testing.TB
	now    time.Time
	e      *Engine
	spokes []*Engine
	at     map[netip.Addr]int
	ids    []SAID    // the hub's
	theirs []SAID    // the spokes'
	kids   []ChildID // the hub's
}

func spokeAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func benchConfig(change ...func(*Config)) Config {
	return config(append([]func(*Config){func(c *Config) {
		c.MaxSAs, c.MaxHalfOpen, c.CookieThreshold, c.ChildlessTimeout = 1<<20, 1<<20, 1<<20, -1
		c.Profiles[0].DPD = DPD{Interval: 30 * time.Second, Retry: 2 * time.Second}
		c.Children[0].Mode, c.Children[0].Protocol, c.Children[0].TSLocal, c.Children[0].TSRemote = esp.Tunnel, 0, prefixes("0.0.0.0/0"), prefixes("0.0.0.0/0")
	}}, change...)...)
}

func newHub(t testing.TB, n int) *hub {
	h := &hub{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), at: map[netip.Addr]int{}}
	h.e = NewEngine(benchConfig(), rand.NewChaCha8([32]byte{1}))
	for i := range n {
		h.add(i)
	}
	return h
}

// add has spoke i come up.
func (h *hub) add(i int) {
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], uint32(i)+7)
	s := NewEngine(benchConfig(), rand.NewChaCha8(seed))
	h.spokes = append(h.spokes, s)
	a := spokeAddr(i + 1)
	h.at[a] = i
	id, acts := s.Initiate(h.now, InitiateRequest{Local: a, Remote: addrB, Profile: "prof", Child: "Tunnel0"})
	h.theirs = append(h.theirs, id)
	h.relay(acts, nil)
	if len(h.kids) != i+1 {
		h.t.Fatalf("spoke %d did not come up", i)
	}
}

// relay carries datagrams to and fro until there are none.
func (h *hub) relay(fromSpoke, fromHub []Action) {
	for len(fromSpoke)+len(fromHub) > 0 {
		var hubActs, spokeActs []Action
		for _, x := range fromSpoke {
			if d, ok := x.(Send); ok {
				hubActs = append(hubActs, h.e.Receive(h.now, Datagram{"", d.Remote, d.Local, d.Data})...)
			}
		}
		fromHub = append(fromHub, hubActs...)
		for _, x := range fromHub {
			switch x := x.(type) {
			case Send:
				spokeActs = append(spokeActs, h.spokes[h.at[x.Remote.Addr()]].Receive(h.now, Datagram{"", x.Remote, x.Local, x.Data})...)
			case IKEUp:
				h.ids = append(h.ids, x.SA)
			case ChildUp:
				if x.Replaces == 0 {
					h.kids = append(h.kids, x.Child)
				} else {
					h.kids[h.at[x.Remote.Addr()]] = x.Child
				}
			}
		}
		fromSpoke, fromHub = spokeActs, nil
	}
}

func sizes(b *testing.B, f func(b *testing.B, h *hub)) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := newHub(b, n)
			b.ResetTimer()
			f(b, h)
		})
	}
}

// BenchmarkProbe is the cheapest exchange: a request of the hub's, and its response.
func BenchmarkProbe(b *testing.B) {
	sizes(b, func(b *testing.B, h *hub) {
		for i := range b.N {
			h.now = h.now.Add(time.Microsecond)
			h.relay(nil, h.e.Probe(h.now, h.ids[i%len(h.ids)]))
		}
	})
}

func BenchmarkRekeyChild(b *testing.B) {
	sizes(b, func(b *testing.B, h *hub) {
		for i := range b.N {
			h.now = h.now.Add(time.Microsecond)
			h.relay(nil, h.e.RekeyChild(h.now, h.kids[i%len(h.kids)]))
		}
	})
}

// BenchmarkNewSA is one more spoke that comes and goes.
func BenchmarkNewSA(b *testing.B) {
	sizes(b, func(b *testing.B, h *hub) {
		n := len(h.spokes)
		for range b.N {
			h.now = h.now.Add(time.Microsecond)
			h.add(n)
			h.relay(h.spokes[n].DeleteAll(h.now, "bench"), nil)
			h.now = h.now.Add(time.Microsecond)
			h.spokes, h.ids, h.kids, h.theirs = h.spokes[:n], h.ids[:n], h.kids[:n], h.theirs[:n]
		}
	})
}

// BenchmarkNoise is what strangers can make the hub do: an SPI that it does not have.
func BenchmarkNoise(b *testing.B) {
	sizes(b, func(b *testing.B, h *hub) {
		data, _ := firstRequest(b)
		data[18] = 37 // INFORMATIONAL
		for range b.N {
			h.e.Receive(h.now, Datagram{"", netip.AddrPortFrom(addrB, 500), netip.AddrPortFrom(addrA, 500), data})
			h.e.UnknownSPI(h.now, "", addrB, addrA, 0x1234567)
			if _, ok := h.e.Deadline(); !ok {
				b.Fatal("no deadline")
			}
		}
	})
}

// What a message costs must not grow with the number of SAs. Time is not a thing to assert; how many SAs an operation
// looks at is: the allocations of an exchange are the same with a few and with many.
func TestTheCostOfAnExchangeDoesNotGrowWithTheNumberOfSAs(t *testing.T) {
	cost := func(n int) (out [3]float64) {
		h := newHub(t, n)
		i := 0
		out[0] = testing.AllocsPerRun(20, func() { i++; h.relay(nil, h.e.Probe(h.now, h.ids[i%n])) })
		out[1] = testing.AllocsPerRun(20, func() { i++; h.relay(nil, h.e.RekeyChild(h.now, h.kids[i%n])) })
		out[2] = testing.AllocsPerRun(20, func() { h.e.UnknownSPI(h.now, "", addrB, spokeAddr(1), 0x1234567) })
		return out
	}
	few, many := cost(10), cost(150)
	for i, name := range []string{"probe", "rekey", "unknown SPI"} {
		if many[i] > few[i]*1.5+5 {
			t.Errorf("%s: %v allocations with 10 SAs, %v with 150", name, few[i], many[i])
		}
	}
}

func TestHundredsOfSAsStayThroughARekeyAndGoWithoutATrace(t *testing.T) {
	n := 100
	h := newHub(t, n)
	for i, id := range h.ids {
		h.now = h.now.Add(time.Millisecond)
		h.relay(nil, h.e.RekeyIKE(h.now, id))
		h.relay(nil, h.e.RekeyChild(h.now, h.kids[i]))
	}
	if len(h.e.sessions) != n || len(h.e.children) != n || len(h.e.byAddress) != n || len(h.e.byIdentity) != n {
		t.Fatalf("%d sessions, %d children", len(h.e.sessions), len(h.e.children))
	}
	h.relay(nil, h.e.DeleteAll(h.now, "end"))
	for {
		at, ok := h.e.Deadline()
		if !ok {
			break
		}
		h.now = at
		h.e.Tick(at)
	}
	e := h.e
	if len(e.sessions)+len(e.sas)+len(e.inits)+len(e.children)+len(e.spis)+len(e.byAddress)+len(e.byIdentity)+len(e.timers)+len(e.dirty) != 0 {
		t.Error("something is left")
	}
}
