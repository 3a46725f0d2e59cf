package protect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/loop"
	"felloe/netstack/packet"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// secret is in every payload that travels in the tunnels: no frame on a wire may hold it.
var secret = []byte("FELLOE-OVERLAY-PAYLOAD")

// lab is some routers on a clock that only run moves.
type lab struct {
	t       *testing.T
	clock   *clock.Virtual
	net     *mem.Network
	routers []*router
	seed    uint64
	ports   map[string]*mem.Port
	link    *mem.Link

	mu     sync.Mutex
	frames int
	leaks  []string
	esp    int
	natt   int
	ike    int
}

func newLab(t *testing.T) *lab {
	v := clock.NewVirtual(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	l := &lab{t: t, clock: v, net: mem.NewNetwork(v), ports: map[string]*mem.Port{}}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range l.leaks {
			t.Error(s)
		}
	})
	return l
}

// watch has every frame of a link scanned.
func (l *lab) watch(w *mem.Link) {
	w.SetCapture(func(at time.Time, from *mem.Port, frame []byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.frames++
		if len(frame) > 34 && frame[12] == 8 && frame[13] == 0 {
			ihl := 14 + int(frame[14]&15)*4
			switch frame[23] {
			case 47:
				l.leaks = append(l.leaks, fmt.Sprintf("%s: a GRE packet in clear from %s", at, from.Name()))
			case 50:
				l.esp++
			case 17:
				if len(frame) > ihl+4 && binary.BigEndian.Uint16(frame[ihl+2:]) == 500 {
					l.ike++
				}
				if len(frame) > ihl+12 && binary.BigEndian.Uint16(frame[ihl+2:]) != 500 && !bytes.Equal(frame[ihl+8:ihl+12], marker) {
					l.natt++
				}
			}
		}
		if bytes.Contains(frame, secret) {
			l.leaks = append(l.leaks, fmt.Sprintf("%s: a payload in clear from %s", at, from.Name()))
		}
		for _, a := range []string{"10.10.10.1", "10.10.10.2", "10.10.10.3", "10.20.20.1", "10.20.20.2"} {
			for _, b := range []string{"10.10.10.1", "10.10.10.2", "10.10.10.3", "10.20.20.1", "10.20.20.2"} {
				pair := append(netip.MustParseAddr(a).AsSlice(), netip.MustParseAddr(b).AsSlice()...)
				if a != b && bytes.Contains(frame, pair) {
					l.leaks = append(l.leaks, fmt.Sprintf("%s: overlay addresses in clear from %s", at, from.Name()))
				}
			}
		}
	})
}

// router is a data plane with an engine and a Manager.
type router struct {
	l      *lab
	name   string
	dp     *netstack.Dataplane
	vrf    *netstack.VRF
	loop   *loop.Loop
	engine *ikev2.Engine
	m      *Manager
	wan    netip.Addr
	eth    *netstack.Interface
	tuns   map[string]*netstack.Tunnel
	keys   *bytes.Buffer

	mu      sync.Mutex
	log     bytes.Buffer
	events  []Event
	replies map[uint16]int
}

func (r *router) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// spec is what differs between routers of the tests.
type spec struct {
	psk         string
	mode        esp.Mode
	suite       esp.Suite
	dpd         ikev2.DPD
	lifetime    time.Duration
	ikeLifetime time.Duration
	pfs         []suite.Group
	volume      uint64
	idle        time.Duration
	retransmit  ikev2.Retransmit
	keylog      bool
	policies    []string // ChildPolicy names; default "Tunnel0"
	keyed       bool     // offer GRE keys: 1 for the first policy, 2 for the second …
	id          ikev2.Identity
	psk6, vti   bool
	responder   bool // responder-only
}

var (
	gcm = esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}
	cbc = esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128}
)

func (s spec) config() ikev2.Config {
	if s.psk == "" {
		s.psk = "CISCO123"
	}
	if s.mode == 0 {
		s.mode = esp.Transport
	}
	if s.suite == (esp.Suite{}) {
		s.suite = gcm
	}
	if s.retransmit == (ikev2.Retransmit{}) {
		s.retransmit = ikev2.Retransmit{Base: time.Second, Max: 4 * time.Second, Tries: 5}
	}
	if s.policies == nil {
		s.policies = []string{"Tunnel0"}
	}
	c := ikev2.Config{
		Proposals: []ikev2.IKEProposal{{Name: "P", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_GCM_16, Bits: 256}},
			PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_256}, Groups: []suite.Group{suite.CURVE25519}}},
		Policies: []ikev2.Policy{{Name: "P", Proposals: []string{"P"}}},
		Keyrings: []ikev2.Keyring{{Name: "K", Peers: []ikev2.KeyringPeer{{Name: "any", Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			Local: suite.Key(s.psk), Remote: suite.Key(s.psk)}}}},
		Profiles:   []ikev2.Profile{{Name: "PROF", MatchRemote: []ikev2.IdentityMatch{{Any: true}}, Keyring: "K", DPD: s.dpd, Lifetime: s.ikeLifetime, Identity: s.id}},
		Retransmit: s.retransmit, KeyLog: s.keylog,
	}
	if s.psk6 {
		c.Keyrings[0].Peers[0].Addresses = []netip.Prefix{netip.MustParsePrefix("::/0")}
	}
	for i, name := range s.policies {
		c.Children = append(c.Children, ikev2.ChildPolicy{Name: name, Profile: "PROF", Mode: s.mode, Protocol: 47, Lifetime: s.lifetime,
			VolumeBytes: s.volume, IdleTime: s.idle, ResponderOnly: s.responder, HasGREKey: s.keyed, GREKey: uint32(i + 1),
			Proposals: []ikev2.ESPProposal{{Suites: []esp.Suite{s.suite}, Groups: s.pfs}}})
		if s.vti {
			p, any4 := &c.Children[i], []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			p.Protocol, p.Mode, p.TSLocal, p.TSRemote = 0, esp.Tunnel, any4, any4
		}
	}
	return c
}

// add makes a router with its WAN interface on the port.
func (l *lab) add(name string, wan netip.Prefix, d link.Driver, s spec) *router {
	l.t.Helper()
	l.seed++
	rnd := &locked{r: rand.NewChaCha8([32]byte{byte(l.seed), 7})}
	r := &router{l: l, name: name, wan: wan.Addr(), tuns: map[string]*netstack.Tunnel{}, replies: map[uint16]int{}, keys: &bytes.Buffer{}}
	log := zerolog.New(r)
	r.loop = loop.New(l.clock, log)
	r.dp = netstack.New(netstack.Options{Clock: l.clock, Log: log, Rand: rnd, Punt: func(p netstack.Punt) {
		if !r.m.HandlePunt(p) && p.Packet != nil {
			p.Packet.Release()
		}
	}})
	r.vrf, _ = r.dp.VRF("default")
	r.engine = ikev2.NewEngine(s.config(), rnd)
	var err error
	r.m, err = New(Options{Loop: r.loop, Dataplane: r.dp, Engine: r.engine, Log: log, Rand: rnd, KeyLog: KeyLogWriter(r.keys), Events: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	r.eth, err = r.dp.AddEthernet(netstack.EthernetConfig{Name: "GigabitEthernet1", VRF: r.vrf, Driver: d})
	if err != nil {
		l.t.Fatal(err)
	}
	r.address(r.eth, wan)
	r.vrf.HandleICMP(func(p *packet.Packet) {
		b := p.Bytes()
		if len(b) >= 28 && b[9] == 1 && b[20] == 0 {
			r.mu.Lock()
			r.replies[binary.BigEndian.Uint16(b[26:])]++
			r.mu.Unlock()
		}
	})
	l.routers = append(l.routers, r)
	l.t.Cleanup(r.stop)
	return r
}

// locked makes a source of randomness safe for the data plane's workers.
type locked struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (l *locked) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

func (r *router) stop() {
	if r.dp == nil {
		return
	}
	r.dp.Close()
	r.loop.Close()
	r.dp = nil
	for i, x := range r.l.routers {
		if x == r {
			r.l.routers = append(r.l.routers[:i], r.l.routers[i+1:]...)
			break
		}
	}
}

// address gives an interface its address, routes and life.
func (r *router) address(i *netstack.Interface, p netip.Prefix) {
	i.SetAddresses([]netip.Prefix{p})
	i.SetAdminUp(true)
	r.vrf.Program([]fib.Change{
		{Route: fib.Route{Prefix: p.Masked(), Kind: fib.Forward, NextHops: []fib.NextHop{{Interface: i.Index()}}}},
		{Route: fib.Route{Prefix: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Kind: fib.Local}},
	})
}

func (r *router) defaultRoute(via string) {
	r.vrf.Program([]fib.Change{{Route: fib.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Kind: fib.Forward,
		NextHops: []fib.NextHop{{Interface: r.eth.Index(), Via: netip.MustParseAddr(via)}}}}})
}

// tunnel makes a protected tunnel. Without a destination it is a multipoint one.
func (r *router) tunnel(name, addr, dst string, key uint32, p TunnelProtection) *netstack.Tunnel {
	r.l.t.Helper()
	c := netstack.TunnelConfig{Name: name, VRF: r.vrf, Underlay: r.vrf, Mode: netstack.GREMultipoint, Source: r.wan, Key: key, HasKey: key != 0, Protected: true}
	if dst != "" {
		c.Mode, c.Destination = netstack.GREPointToPoint, netip.MustParseAddr(dst)
	}
	t, err := r.dp.AddTunnel(c)
	if err != nil {
		r.l.t.Fatal(err)
	}
	r.address(t.Interface(), netip.MustParsePrefix(addr))
	r.tuns[name] = t
	p.IKEProfile = "PROF"
	if p.ChildPolicy == "" {
		p.ChildPolicy = name
	}
	r.call(func() { err = r.m.AddTunnel(t, p) })
	if err != nil {
		r.l.t.Fatal(err)
	}
	return t
}

func (r *router) call(f func()) {
	r.l.t.Helper()
	if err := r.loop.Call("test", f); err != nil {
		r.l.t.Fatal(err)
	}
}

// settle lets everything that is due now happen.
func (l *lab) settle() {
	for {
		l.clock.Advance(0)
		for _, r := range l.routers {
			_ = r.loop.Call("settle", func() {})
		}
		if at, ok := l.clock.Next(); !ok || at.After(l.clock.Now()) {
			return
		}
	}
}

// run lets time pass.
func (l *lab) run(d time.Duration) {
	end := l.clock.Now().Add(d)
	for {
		l.settle()
		at, ok := l.clock.Next()
		if !ok || at.After(end) {
			l.clock.Advance(end.Sub(l.clock.Now()))
			l.settle()
			return
		}
		l.clock.Advance(at.Sub(l.clock.Now()))
	}
}

// until runs till ok, and fails when that takes longer than d.
func (l *lab) until(d time.Duration, what string, ok func() bool) {
	l.t.Helper()
	for end := l.clock.Now().Add(d); ; l.run(10 * time.Millisecond) {
		l.settle()
		if ok() {
			return
		}
		if !l.clock.Now().Before(end) {
			for _, r := range l.routers {
				l.t.Logf("%s: %v\n%s", r.name, r.dp.Drops(), r.logs())
			}
			l.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func (r *router) sessions() (out []Info) {
	r.call(func() { out = r.m.Sessions() })
	return out
}

func (r *router) up() int {
	n := 0
	for _, i := range r.sessions() {
		if i.State == StateUp {
			n++
		}
	}
	return n
}

func (r *router) counters() (c Counters) {
	r.call(func() { c = r.m.Counters() })
	return c
}

func (r *router) logs() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// lines are the log lines of an event at level info or above.
func (r *router) lines(event string) (out []map[string]any) {
	for line := range strings.Lines(r.logs()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["event"] == event && m["level"] != "debug" {
			out = append(out, m)
		}
	}
	return out
}

// kinds are the events so far. What a responder tells before its session is up is apart.
func (r *router) kinds() (out []EventKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind != Answering && e.Kind != Lapsed {
			out = append(out, e.Kind)
		}
	}
	return out
}

// echo sends an ICMP echo request over IPv4.
func (r *router) echo(src, dst string, seq uint16) {
	b := make([]byte, 28, 100)
	b = append(b, secret...)
	b[0], b[8], b[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], netip.MustParseAddr(src).AsSlice())
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	b[20] = 8
	binary.BigEndian.PutUint16(b[24:], 77)
	binary.BigEndian.PutUint16(b[26:], seq)
	binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
	binary.BigEndian.PutUint16(b[22:], sum(b[20:]))
	p := packet.From(b)
	_ = r.vrf.SendIP(p)
}

func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func (r *router) got(seq uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replies[seq] > 0
}

// ping reports whether an echo is answered within a second.
func (r *router) ping(src, dst string, seq uint16) bool {
	r.l.t.Helper()
	r.echo(src, dst, seq)
	for range 20 {
		r.l.run(50 * time.Millisecond)
		if r.got(seq) {
			return true
		}
	}
	return false
}

// neighbour makes the overlay address reachable through a session.
func (r *router) neighbour(tun, addr string, s *netstack.Session) {
	r.tuns[tun].SetNeighbour(netip.MustParseAddr(addr), s)
}

// pair is a hub with a multipoint tunnel and a spoke with a point-to-point one, on one link.
func (l *lab) pair(hub, spoke spec, imp mem.Impairment) (h, s *router) {
	l.link = l.net.Switch("wan", imp)
	l.watch(l.link)
	a, b := l.link.Port("hub"), l.link.Port("spoke")
	l.ports["hub"], l.ports["spoke"] = a, b
	h = l.add("hub", netip.MustParsePrefix("172.16.0.1/24"), a, hub)
	s = l.add("spoke", netip.MustParsePrefix("172.16.0.2/24"), b, spoke)
	return h, s
}

// cut cuts the link silently, or mends it.
func (l *lab) cut(cut bool) { l.link.SetUp(!cut) }

// replug gives the place of a port that was closed to a new one.
func (l *lab) replug(old *mem.Port) *mem.Port { return old.Link().Port(old.Name()) }
