package protect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/loop"
	"felloe/netstack/packet"
	"felloe/tests/labkit"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

// lab is some routers on a clock that only run moves.
type lab struct {
	*labkit.Lab
	routers []*router
	seed    byte
	ports   map[string]*mem.Port
	link    *mem.Link

	mu     sync.Mutex
	frames int
	esp    int
	natt   int
	ike    int
}

func newLab(t *testing.T) *lab {
	l := &lab{Lab: labkit.New(t), ports: map[string]*mem.Port{}}
	l.Explain = func() {
		for _, r := range l.routers {
			t.Logf("%s: %v\n%s", r.name, r.dp.Drops(), r.logs())
		}
	}
	return l
}

// overlay are the addresses inside tunnels.
var overlay = []string{"10.10.10.1", "10.10.10.2", "10.10.10.3", "10.20.20.1", "10.20.20.2"}

// watch has every frame of a link counted, and scanned for what must not be seen.
func (l *lab) watch(w *mem.Link) {
	l.Watch(w, func(frame []byte) string {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.frames++
		if len(frame) > 34 && frame[12] == 8 && frame[13] == 0 {
			ihl := 14 + int(frame[14]&15)*4
			switch frame[23] {
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
		for _, a := range overlay {
			for _, b := range overlay {
				pair := append(netip.MustParseAddr(a).AsSlice(), netip.MustParseAddr(b).AsSlice()...)
				if a != b && bytes.Contains(frame, pair) {
					return "overlay addresses in clear"
				}
			}
		}
		return ""
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

	log     labkit.Log
	mu      sync.Mutex
	events  []Event
	replies map[uint16]int
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
	l.T.Helper()
	l.seed++
	rnd := labkit.Random(l.seed, 7)
	r := &router{l: l, name: name, wan: wan.Addr(), tuns: map[string]*netstack.Tunnel{}, replies: map[uint16]int{}, keys: &bytes.Buffer{}}
	log := zerolog.New(&r.log)
	r.loop = loop.New(l.Clock, log)
	r.dp = netstack.New(netstack.Options{Clock: l.Clock, Log: log, Rand: rnd, Punt: func(p netstack.Punt) {
		if !r.m.HandlePunt(p) {
			labkit.Release(p)
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
		l.T.Fatal(err)
	}
	r.eth, err = r.dp.AddEthernet(netstack.EthernetConfig{Name: "GigabitEthernet1", VRF: r.vrf, Driver: d})
	if err != nil {
		l.T.Fatal(err)
	}
	r.address(r.eth, wan)
	r.vrf.HandleICMP(func(p *packet.Packet) {
		if seq, ok := labkit.Answer(p); ok {
			r.mu.Lock()
			r.replies[seq]++
			r.mu.Unlock()
		}
	})
	l.routers = append(l.routers, r)
	l.Join(r.loop)
	l.T.Cleanup(r.stop)
	return r
}

func (r *router) stop() {
	if r.dp == nil {
		return
	}
	r.dp.Close()
	r.loop.Close()
	r.l.Leave(r.loop)
	r.dp = nil
	for i, x := range r.l.routers {
		if x == r {
			r.l.routers = append(r.l.routers[:i], r.l.routers[i+1:]...)
			break
		}
	}
}

func (r *router) address(i *netstack.Interface, p netip.Prefix) { labkit.Address(i, p) }

func (r *router) defaultRoute(via string) {
	r.vrf.Program([]fib.Change{{Route: fib.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Kind: fib.Forward,
		NextHops: []fib.NextHop{{Interface: r.eth.Index(), Via: netip.MustParseAddr(via)}}}}})
}

// tunnel makes a protected tunnel. Without a destination it is a multipoint one.
func (r *router) tunnel(name, addr, dst string, key uint32, p TunnelProtection) *netstack.Tunnel {
	r.l.T.Helper()
	c := netstack.TunnelConfig{Name: name, VRF: r.vrf, Underlay: r.vrf, Mode: netstack.GREMultipoint, Source: r.wan, Key: key, HasKey: key != 0, Protected: true}
	if dst != "" {
		c.Mode, c.Destination = netstack.GREPointToPoint, netip.MustParseAddr(dst)
	}
	t, err := r.dp.AddTunnel(c)
	if err != nil {
		r.l.T.Fatal(err)
	}
	r.address(t.Interface(), netip.MustParsePrefix(addr))
	r.tuns[name] = t
	p.IKEProfile = "PROF"
	if p.ChildPolicy == "" {
		p.ChildPolicy = name
	}
	r.call(func() { err = r.m.AddTunnel(t, p) })
	if err != nil {
		r.l.T.Fatal(err)
	}
	return t
}

func (r *router) call(f func()) {
	r.l.T.Helper()
	if err := r.loop.Call("test", f); err != nil {
		r.l.T.Fatal(err)
	}
}

func (l *lab) run(d time.Duration) { l.Run(d) }

func (l *lab) until(d time.Duration, what string, ok func() bool) { l.T.Helper(); l.Until(d, what, ok) }

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

func (r *router) logs() string { return r.log.String() }

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
	_ = r.vrf.SendIP(labkit.Echo(netip.MustParseAddr(src), netip.MustParseAddr(dst), seq))
}

func (r *router) got(seq uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replies[seq] > 0
}

// ping reports whether an echo is answered within a second.
func (r *router) ping(src, dst string, seq uint16) bool {
	r.l.T.Helper()
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
	l.link = l.Net.Switch("wan", imp)
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
