package ikev2

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// world is a few engines joined by a wire, in virtual time. Nothing in it knows a wall clock or a true random number: a
// test that fails fails again.
type world struct {
	t      testing.TB
	now    time.Time
	start  time.Time
	seed   byte
	nodes  []*node
	flight flights
	order  int
	sent   int // datagrams of IKE so far

	delay time.Duration
	// wire decides over each datagram: the delays after which copies of it arrive; none: it is lost. nil: one, after delay.
	wire func(n int, d Datagram) []time.Duration
	// mangle may change a datagram's bytes on the way.
	mangle func(n int, d *Datagram)
	trace  []string

	traffic time.Duration // between packets of data, 0 for none
	nextPkt time.Time
	packets int
	lost    []string
}

type node struct {
	w       *world
	name    string
	addr    netip.Addr
	e       *Engine
	cfg     Config
	nat     *natBox
	dead    bool // answers nothing
	actions []Action

	ups   map[ChildID]ChildUp
	in    map[uint32]*inbound
	out   ChildID // what data goes out on, 0 for none
	ready map[ChildID]bool
	ikes  map[SAID]IKEUp
	downs []IKEDown
	// next is what the data plane would have switched to by the first packet on a new pair.
	rxPkts, txPkts int
	follow         bool // a driver that follows redirects
}

type inbound struct {
	up    ChildUp
	until time.Time
}

// natBox rewrites a node's source address and port.
type natBox struct {
	addr  netip.Addr
	base  uint16
	ports map[uint16]uint16 // inside port → outside port
}

type flight struct {
	at    time.Time
	order int
	d     Datagram // as it arrives: Local is the receiver's
	data  func()
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

var (
	addrA = netip.MustParseAddr("192.0.2.1")
	addrB = netip.MustParseAddr("198.51.100.2")
	addrC = netip.MustParseAddr("203.0.113.3")
)

func newWorld(t testing.TB, seed byte) *world {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &world{t: t, now: start, start: start, seed: seed, delay: 10 * time.Millisecond}
}

func (w *world) add(name string, addr netip.Addr, cfg Config) *node {
	n := &node{w: w, name: name, addr: addr, cfg: cfg}
	w.nodes = append(w.nodes, n)
	n.boot()
	return n
}

// boot starts a node with nothing, as after a power failure.
func (n *node) boot() {
	seed := [32]byte{n.w.seed, byte(len(n.w.nodes)), byte(len(n.actions)), byte(n.w.order), byte(n.w.order >> 8)}
	copy(seed[8:], n.name)
	n.e = NewEngine(n.cfg, rand.NewChaCha8(seed))
	n.e.panics = true
	n.dead = false
	n.ups, n.in, n.ready, n.ikes = map[ChildID]ChildUp{}, map[uint32]*inbound{}, map[ChildID]bool{}, map[SAID]IKEUp{}
	n.out = 0
}

// psk is a configuration with one profile, one keyring and one policy for GRE, as a test changes it.
func config(change ...func(*Config)) Config {
	c := Config{
		Proposals: []IKEProposal{{Name: "p", Encryption: []Encryption{{suite.ENCR_AES_GCM_16, 256}}, PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_256},
			Groups: []suite.Group{suite.CURVE25519}}},
		Policies: []Policy{{Name: "pol", Proposals: []string{"p"}}},
		Keyrings: []Keyring{{Name: "ring", Peers: []KeyringPeer{{Name: "any", Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"),
			netip.MustParsePrefix("::/0")}, Local: suite.Key("CISCO123"), Remote: suite.Key("CISCO123")}}}},
		Profiles: []Profile{{Name: "prof", MatchRemote: []IdentityMatch{{Any: true}}, Keyring: "ring"}},
		Children: []ChildPolicy{{Name: "Tunnel0", Profile: "prof", Mode: esp.Transport, Protocol: 47,
			Proposals: []ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}}}}}},
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func (w *world) tracef(format string, args ...any) {
	if len(w.trace) > 2000 {
		w.trace = append(w.trace[:0], w.trace[1000:]...)
	}
	w.trace = append(w.trace, fmt.Sprintf("%9.3f ", w.now.Sub(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) dump() {
	w.t.Helper()
	w.t.Log("\n" + strings.Join(w.trace, "\n"))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.dump()
	w.t.Fatalf(format, args...)
}

func (n *node) initiate(remote netip.Addr) SAID {
	return n.initiateAs(InitiateRequest{Local: n.addr, Remote: remote, Profile: "prof", Child: "Tunnel0", Tag: "tag"})
}

func (n *node) initiateAs(r InitiateRequest) SAID {
	id, acts := n.e.Initiate(n.w.now, r)
	n.do(acts)
	return id
}

// do carries out actions as a driver would.
func (n *node) do(acts []Action) {
	w := n.w
	n.actions = append(n.actions, acts...)
	for _, a := range acts {
		switch a := a.(type) {
		case Send:
			w.send(n, a.Datagram)
		case Log:
			w.tracef("%s log %s %v", n.name, a.Msg, a.Fields)
			for _, f := range a.Fields {
				if f.Key == "" {
					w.fatalf("a log field without a name: %v", a)
				}
			}
		case IKEUp:
			w.tracef("%s IKEUp %d %v", n.name, a.SA, a.PeerID)
			n.ikes[a.SA] = a
		case IKEDown:
			w.tracef("%s IKEDown %d %s", n.name, a.SA, a.Reason)
			delete(n.ikes, a.SA)
			n.downs = append(n.downs, a)
			for id, u := range n.ups {
				if u.SA == a.SA {
					w.fatalf("%s: IKE SA %d went before its child %d", n.name, a.SA, id)
				}
			}
		case ChildUp:
			w.tracef("%s ChildUp %d in %08x out %08x replaces %d ready %v", n.name, a.Child, a.SPIIn, a.SPIOut, a.Replaces, a.OutboundReady)
			if _, ok := n.ikes[a.SA]; !ok {
				w.fatalf("%s: a child without an IKE SA: %+v", n.name, a)
			}
			if n.in[a.SPIIn] != nil {
				w.fatalf("%s: SPI %08x is used twice", n.name, a.SPIIn)
			}
			n.ups[a.Child] = a
			n.in[a.SPIIn] = &inbound{up: a}
			n.ready[a.Child] = a.OutboundReady
			if n.out == 0 && a.OutboundReady {
				n.out = a.Child
			}
		case ChildRekeyed:
			w.tracef("%s ChildRekeyed %d → %d", n.name, a.Old, a.New)
			if _, ok := n.ups[a.New]; !ok {
				w.fatalf("%s: rekeyed to a pair that is not there: %+v", n.name, a)
			}
			n.ready[a.New] = true
			if n.out == a.Old {
				n.out = a.New
			}
		case ChildDown:
			w.tracef("%s ChildDown %d (%s) replaced by %d linger %v", n.name, a.Child, a.Reason, a.ReplacedBy, a.Linger)
			if _, ok := n.ups[a.Child]; !ok {
				w.fatalf("%s: ChildDown for %d, which is not up", n.name, a.Child)
			}
			delete(n.ups, a.Child)
			if a.Linger == 0 {
				delete(n.in, a.SPIIn)
			} else {
				n.in[a.SPIIn].until = w.now.Add(a.Linger)
			}
			if n.out == a.Child {
				n.out = n.another()
			}
		case IKESuperseded:
			w.tracef("%s IKESuperseded %d by %d", n.name, a.Old, a.New)
			for _, id := range sortedKeys(n.ups) {
				if n.ups[id].SA == a.New {
					n.out = id
				}
			}
		case PeerMoved:
			w.tracef("%s PeerMoved %+v", n.name, a)
			if _, ok := n.ikes[a.SA]; !ok {
				w.fatalf("%s: moved without an IKE SA: %+v", n.name, a)
			}
			for id, u := range n.ups {
				if u.SA == a.SA {
					u.Local, u.Remote, u.UDPEncap = a.Local, a.New, a.UDPEncap
					n.ups[id] = u
				}
			}
		case Redirected:
			w.tracef("%s Redirected %d to %v (%v)", n.name, a.SA, a.To, a.Stage)
			if n.follow {
				n.initiateAs(InitiateRequest{VRF: a.VRF, Local: n.addr, Remote: a.To, Profile: a.Profile, Child: a.Policy, Tag: a.Tag, RedirectedFrom: a.From.Addr()})
			}
		case ConfigReceived, ConfigAcknowledged:
			w.tracef("%s %T %+v", n.name, a, a)
		case ChildFailed, IKERekeyed, Keepalive, KeyLog:
			w.tracef("%s %T %+v", n.name, a, a)
		default:
			w.fatalf("unknown action %T", a)
		}
	}
}

// another is what a driver would send on when its pair is gone.
func (n *node) another() ChildID {
	best := ChildID(0)
	for _, id := range sortedKeys(n.ups) {
		if n.ready[id] {
			best = id
		}
	}
	return best
}

func (w *world) send(from *node, d Datagram) {
	n := w.sent
	w.sent++
	d.Data = bytes.Clone(d.Data)
	src, dst := d.Local, d.Remote
	if from.nat != nil {
		src = from.nat.out(src)
	}
	arrival := Datagram{VRF: "default", Local: dst, Remote: src, Data: d.Data}
	if w.mangle != nil {
		w.mangle(n, &arrival)
	}
	delays := []time.Duration{w.delay}
	if w.wire != nil {
		delays = w.wire(n, arrival)
	}
	w.tracef("%s → %v #%d %s %d bytes %v", from.name, dst, n, summary(d.Data), len(d.Data), map[bool]string{true: "LOST"}[len(delays) == 0])
	for _, delay := range delays {
		w.order++
		heap.Push(&w.flight, flight{at: w.now.Add(delay), order: w.order, d: arrival})
	}
}

func summary(b []byte) string {
	h, err := message.DecodeHeader(b)
	if err != nil {
		return "?"
	}
	return fmt.Sprintf("%v id %d response %v spi %04x/%04x", h.Exchange, h.MessageID, h.Response(), uint16(h.SPIi), uint16(h.SPIr))
}

func (b *natBox) out(src netip.AddrPort) netip.AddrPort {
	if b.ports == nil {
		b.ports = map[uint16]uint16{}
	}
	if _, ok := b.ports[src.Port()]; !ok {
		b.ports[src.Port()] = b.base + uint16(len(b.ports))
	}
	return netip.AddrPortFrom(b.addr, b.ports[src.Port()])
}

// find is the node that a datagram to this address reaches, and the address it sees itself by.
func (w *world) find(dst netip.AddrPort) (*node, netip.AddrPort) {
	for _, n := range w.nodes {
		if n.nat == nil {
			if n.addr == dst.Addr() {
				return n, dst
			}
			continue
		}
		for in, out := range n.nat.ports {
			if n.nat.addr == dst.Addr() && out == dst.Port() {
				return n, netip.AddrPortFrom(n.addr, in)
			}
		}
	}
	return nil, dst
}

func (w *world) deliver(d Datagram) {
	n, local := w.find(d.Local)
	if n == nil || n.dead {
		return
	}
	d.Local = local
	data := bytes.Clone(d.Data)
	n.do(n.e.Receive(w.now, Datagram{VRF: d.VRF, Local: d.Local, Remote: d.Remote, Data: data}))
	clear(data) // the engine must not have kept it
}

// step does the next thing that happens before end.
func (w *world) step(end time.Time) bool {
	next := end
	what := -1
	if len(w.flight) > 0 && !w.flight[0].at.After(next) {
		next, what = w.flight[0].at, -2
	}
	for i, n := range w.nodes {
		if at, ok := n.e.Deadline(); ok && !n.dead && at.Before(next) {
			next, what = at, i
		}
	}
	if w.traffic > 0 && w.nextPkt.Before(next) {
		next, what = w.nextPkt, -3
	}
	if next.After(w.now) {
		w.now = next
	}
	switch what {
	case -1:
		return false
	case -2:
		f := heap.Pop(&w.flight).(flight)
		if f.data != nil {
			f.data()
		} else {
			w.deliver(f.d)
		}
	case -3:
		w.data()
		w.nextPkt = w.now.Add(w.traffic)
	default:
		w.nodes[what].do(w.nodes[what].e.Tick(w.now))
	}
	return true
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	stuck, at := 0, w.now
	for w.step(end) {
		if stuck++; w.now.After(at) {
			stuck, at = 0, w.now
		}
		if stuck > 10_000 {
			w.fatalf("time does not pass")
		}
	}
	w.now = end
}

// data sends one packet from every node that can, and watches it arrive.
func (w *world) data() {
	for _, n := range w.nodes {
		if n.out == 0 || n.dead {
			continue
		}
		up := n.ups[n.out]
		w.packets++
		n.txPkts++
		from := n
		w.order++
		heap.Push(&w.flight, flight{at: w.now.Add(w.delay), order: w.order, data: func() {
			to, _ := w.find(netip.AddrPortFrom(up.Remote.Addr(), up.Remote.Port()))
			if to == nil || to.dead {
				return
			}
			in := to.in[up.SPIOut]
			if in == nil || !in.until.IsZero() && !w.now.Before(in.until) {
				w.lost = append(w.lost, fmt.Sprintf("%v %s on child %d spi %08x", w.now.Sub(w.start), from.name, up.Child, up.SPIOut))
				w.tracef("%s's packet on %08x LOST at %s", from.name, up.SPIOut, to.name)
				return
			}
			if !bytes.Equal(in.up.KeysIn.Encr, up.KeysOut.Encr) || !bytes.Equal(in.up.KeysIn.Integ, up.KeysOut.Integ) {
				w.fatalf("keys differ: %s's child %d and %s's %d", from.name, up.Child, to.name, in.up.Child)
			}
			to.rxPkts++
			// The first packet on a pair shows that the peer has it.
			id := in.up.Child
			if _, live := to.ups[id]; live && !to.ready[id] {
				to.ready[id] = true
				if to.out == 0 || to.ups[id].Replaces == to.out {
					to.out = id
				}
			}
		}})
	}
}

// child is a node's only pair, when it has exactly one.
func (n *node) child() ChildUp {
	n.w.t.Helper()
	if len(n.ups) != 1 {
		n.w.fatalf("%s has %d pairs", n.name, len(n.ups))
	}
	for _, u := range n.ups {
		return u
	}
	return ChildUp{}
}

// oneSession checks that two nodes have exactly one SA and one pair with each other, which fit.
func (w *world) oneSession(a, b *node) {
	w.t.Helper()
	if len(a.ikes) != 1 || len(b.ikes) != 1 {
		w.fatalf("%s has %d IKE SAs, %s has %d", a.name, len(a.ikes), b.name, len(b.ikes))
	}
	ca, cb := a.child(), b.child()
	if ca.SPIIn != cb.SPIOut || ca.SPIOut != cb.SPIIn || ca.Suite != cb.Suite || ca.Mode != cb.Mode || ca.ESN != cb.ESN {
		w.fatalf("pairs do not fit:\n%+v\n%+v", ca, cb)
	}
	if w.packets > 0 && (a.out != ca.Child || b.out != cb.Child) {
		w.fatalf("data does not go out on the pair: %d %d", a.out, b.out)
	}
	if len(a.e.Snapshot(w.now)) != 1 || len(b.e.Snapshot(w.now)) != 1 {
		w.fatalf("snapshots: %v\n%v", a.e.Snapshot(w.now), b.e.Snapshot(w.now))
	}
}

// quiet checks that nothing is left of finished things.
func (w *world) clean(n *node) {
	w.t.Helper()
	e := n.e
	if len(e.sessions)+len(e.sas)+len(e.inits)+len(e.children)+len(e.spis)+e.halfOpen+len(e.halfOpenFrom)+len(e.timers)+len(e.byAddress)+len(e.byIdentity) != 0 {
		w.fatalf("%s still has sessions %d sas %d inits %d children %d spis %d half-open %d/%d timers %d", n.name, len(e.sessions), len(e.sas),
			len(e.inits), len(e.children), len(e.spis), e.halfOpen, len(e.halfOpenFrom), len(e.timers))
	}
}

func find[T Action](n *node) []T {
	var out []T
	for _, a := range n.actions {
		if v, ok := a.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

func (n *node) logged(text string) bool {
	return slices.ContainsFunc(find[Log](n), func(l Log) bool {
		return l.Level >= zerolog.InfoLevel && strings.Contains(l.Msg+fmt.Sprint(l.Fields), text)
	})
}

// pair is the usual world: A and B, not connected yet.
func pair(t testing.TB, seed byte, change ...func(*Config)) (*world, *node, *node) {
	w := newWorld(t, seed)
	a := w.add("A", addrA, config(change...))
	b := w.add("B", addrB, config(change...))
	return w, a, b
}

// connected is a pair with a session.
func connected(t testing.TB, seed byte, change ...func(*Config)) (*world, *node, *node) {
	t.Helper()
	w, a, b := pair(t, seed, change...)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	return w, a, b
}

func (n *node) sa() SAID {
	n.w.t.Helper()
	if len(n.ikes) != 1 {
		n.w.fatalf("%s has %d IKE SAs", n.name, len(n.ikes))
	}
	return sortedKeys(n.ikes)[0]
}
