package cluster

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// link is a few members on one link, in virtual time.
type link struct {
	t      testing.TB
	now    time.Time
	start  time.Time
	nodes  []*node
	flight flights
	order  int
	cut    func(from, to *node) bool
	record []flight // all that was ever sent
	trace  []string
	arp    *node // who announced the virtual address last
}

type node struct {
	l    *link
	m    *Machine
	addr netip.Addr
	cfg  Config
	dead bool
	owns bool
}

type flight struct {
	at       time.Time
	order    int
	from, to netip.Addr
	data     []byte
}

type flights []flight

func (f flights) Len() int { return len(f) }
func (f flights) Less(i, j int) bool {
	return f[i].at.Before(f[j].at) || f[i].at.Equal(f[j].at) && f[i].order < f[j].order
}
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	v := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return v
}

var virtual = netip.MustParseAddr("172.25.1.100")

func hub(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 25, 1, byte(n)}) }

// cluster has members 1 to len(priorities) with these priorities; their interfaces are up.
func cluster(t testing.TB, priorities []uint8, change ...func(n int, c *Config)) *link {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := &link{t: t, now: now, start: now}
	for i, p := range priorities {
		c := Config{Self: hub(i + 1), Virtual: virtual, Key: []byte("key"), Priority: p, Preempt: true, MaxSessions: 100}
		for j := range priorities {
			if j != i {
				c.Members = append(c.Members, hub(j+1))
			}
		}
		for _, f := range change {
			f(i+1, &c)
		}
		l.nodes = append(l.nodes, &node{l: l, addr: c.Self, cfg: c, dead: true})
	}
	for _, n := range l.nodes {
		n.boot()
	}
	return l
}

func (n *node) boot() {
	var err error
	n.l.order++
	if n.m, err = New(n.cfg, rand.NewChaCha8([32]byte{n.addr.As4()[3], byte(n.l.order), byte(n.l.order >> 8)}), n.l.now); err != nil {
		n.l.t.Fatal(err)
	}
	n.dead, n.owns = false, false
	n.do(n.m.SetUp(n.l.now, true))
}

func (n *node) die() { n.dead, n.owns = true, false }

func (n *node) do(acts []Action) {
	l := n.l
	for _, a := range acts {
		switch a := a.(type) {
		case Send:
			l.order++
			f := flight{l.now.Add(time.Millisecond), l.order, n.addr, a.To, a.Data}
			l.record = append(l.record, f)
			heap.Push(&l.flight, f)
		case Own:
			if a.Address != virtual || a.Own == n.owns {
				l.fatalf("%v: %+v", n.addr, a)
			}
			if n.owns = a.Own; n.owns {
				l.arp = n
			}
		case Announce:
			if !n.owns {
				l.fatalf("%v announces what it does not own", n.addr)
			}
			l.arp = n
		case Log:
			l.trace = append(l.trace, fmt.Sprintf("%8.3f %v %s %v", l.now.Sub(l.start).Seconds(), n.addr, a.Msg, a.Fields))
		}
	}
	if n.owns != (n.m.state == Master) {
		l.fatalf("%v is %v and owns %v", n.addr, n.m.state, n.owns)
	}
}

func (l *link) fatalf(format string, args ...any) {
	l.t.Helper()
	l.t.Log("\n" + strings.Join(l.trace, "\n"))
	l.t.Fatalf(format, args...)
}

func (l *link) at(a netip.Addr) *node {
	for _, n := range l.nodes {
		if n.addr == a {
			return n
		}
	}
	return nil
}

func (l *link) run(d time.Duration) {
	l.t.Helper()
	end := l.now.Add(d)
	for steps := 0; ; steps++ {
		next, who := end, -1
		if len(l.flight) > 0 && !l.flight[0].at.After(next) {
			next, who = l.flight[0].at, -2
		}
		for i, n := range l.nodes {
			if !n.dead && n.m.Deadline().Before(next) {
				next, who = n.m.Deadline(), i
			}
		}
		if next.After(l.now) {
			l.now = next
			steps = 0
		}
		if steps > 10000 {
			l.fatalf("time does not pass")
		}
		switch who {
		case -1:
			l.now = end
			return
		case -2:
			l.deliver(heap.Pop(&l.flight).(flight))
		default:
			l.nodes[who].do(l.nodes[who].m.Tick(l.now))
		}
	}
}

func (l *link) deliver(f flight) {
	from, to := l.at(f.from), l.at(f.to)
	if to == nil || to.dead || l.cut != nil && from != nil && l.cut(from, to) {
		return
	}
	data := bytes.Clone(f.data)
	to.do(to.m.Receive(l.now, f.from, data))
	clear(data)
}

// masters names who owns the address.
func (l *link) masters() string {
	var out []string
	for i, n := range l.nodes {
		if n.owns && !n.dead {
			out = append(out, fmt.Sprint(i+1))
		}
	}
	return strings.Join(out, " ")
}

func (l *link) want(masters string) {
	l.t.Helper()
	if got := l.masters(); got != masters {
		l.fatalf("masters %q, want %q", got, masters)
	}
}
