package dmvpn

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/netstack/link/mem"
	"felloe/netstack/loop"
	"felloe/netstack/packet"
	"felloe/routing/rib"
	"felloe/tests/labkit"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// The lab is the scenario: hub, spokes and the internet between them, with data planes, routing tables and (protected)
// IKE, in virtual time.

type lab struct {
	*labkit.Lab
	internet  *netstack.Dataplane
	routers   []*router
	protected bool
	holdtime  time.Duration
	seed      byte
	wires     int
	links     map[string]*mem.Link
}

func newLab(t *testing.T, protected bool) *lab {
	l := &lab{Lab: labkit.New(t), protected: protected, holdtime: time.Minute, links: map[string]*mem.Link{}}
	l.internet = netstack.New(netstack.Options{Clock: l.Clock, Log: zerolog.Nop(), Rand: labkit.Random(99), Punt: labkit.Release})
	l.Explain = func() {
		for _, r := range l.routers {
			t.Logf("%s: %v\n%s", r.name, r.dp.Drops(), r.logs())
		}
	}
	t.Cleanup(func() { l.internet.Close() })
	return l
}

type router struct {
	l       *lab
	name    string
	n       int
	dp      *netstack.Dataplane
	vrf     *netstack.VRF
	loop    *loop.Loop
	rib     *rib.RIB
	protect *protect.Manager
	m       *Manager
	tunnel  *netstack.Tunnel
	cfg     Config

	log     labkit.Log
	mu      sync.Mutex
	events  []nhrp.Event
	got     map[uint16]int
	crossed uint64
}

func ikeConfig() ikev2.Config {
	return ikev2.Config{
		Proposals: []ikev2.IKEProposal{{Name: "P", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_GCM_16, Bits: 256}},
			PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_256}, Groups: []suite.Group{suite.CURVE25519}}},
		Policies: []ikev2.Policy{{Name: "P", Proposals: []string{"P"}}},
		Keyrings: []ikev2.Keyring{{Name: "K", Peers: []ikev2.KeyringPeer{{Name: "any", Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			Local: suite.Key("CISCO123"), Remote: suite.Key("CISCO123")}}}},
		Profiles:   []ikev2.Profile{{Name: "PROF", MatchRemote: []ikev2.IdentityMatch{{Any: true}}, Keyring: "K"}},
		Retransmit: ikev2.Retransmit{Base: time.Second, Max: 2 * time.Second, Tries: 4},
		Children: []ikev2.ChildPolicy{{Name: "Tunnel0", Profile: "PROF", Mode: esp.Transport, Protocol: 47,
			Proposals: []ikev2.ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}}}}}},
	}
}

// add makes router n: WAN 172.16.n.n, tunnel 10.10.10.n, loopback 192.168.nn.n.
func (l *lab) add(name string, n int, cfg Config) *router {
	l.T.Helper()
	l.seed++
	rnd := labkit.Random(l.seed)
	r := &router{l: l, name: name, n: n, got: map[uint16]int{}, cfg: cfg}
	log := zerolog.New(&r.log)
	r.loop = loop.New(l.Clock, log)
	r.dp = netstack.New(netstack.Options{Clock: l.Clock, Log: log, Rand: rnd, Punt: func(p netstack.Punt) {
		if r.m.HandlePunt(p) || r.protect.HandlePunt(p) {
			return
		}
		labkit.Release(p)
	}})
	r.vrf = r.dp.Default()
	r.rib = rib.New(rib.Options{VRF: "default", Output: func(c []fib.Change) { r.vrf.Program(c) },
		Defer: func(f func()) { r.loop.Post("rib", f) }, Now: l.Clock.Now})
	var err error
	r.protect, err = protect.New(protect.Options{Loop: r.loop, Dataplane: r.dp, Engine: ikev2.NewEngine(ikeConfig(), rnd), Log: log, Rand: rnd,
		Events: func(e protect.Event) { r.m.HandleEvent(e) }})
	l.check(err)
	r.m, err = New(Options{Loop: r.loop, Protection: r.protect, Log: log, Rand: rnd, Events: func(e nhrp.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if e.Kind != nhrp.EventPacket {
			r.events = append(r.events, e)
		}
	}})
	l.check(err)
	r.call(func() { r.m.AddVRF("default", r.rib) })

	l.wires++
	port := fmt.Sprintf("%s:%d", name, l.wires)
	a, b := l.Net.Pair(port, port+"-net", mem.Impairment{Delay: 5 * time.Millisecond})
	if l.protected {
		l.watch(a.Link())
	}
	l.links[name] = a.Link()
	outside := fmt.Sprintf("Ethernet%d", l.wires)
	far, err := l.internet.AddEthernet(netstack.EthernetConfig{Name: outside, Driver: b})
	l.check(err)
	labkit.Address(far, netip.MustParsePrefix(fmt.Sprintf("172.16.%d.254/24", n)))
	eth, err := r.dp.AddEthernet(netstack.EthernetConfig{Name: "GigabitEthernet1", Driver: a})
	l.check(err)
	r.address(eth, fmt.Sprintf("172.16.%d.%d/24", n, n))
	lo, err := r.dp.AddLoopback("Loopback10", nil)
	l.check(err)
	r.address(lo, fmt.Sprintf("192.168.%d%d.%d/24", n, n, n))
	r.tunnel, err = r.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", Mode: netstack.GREMultipoint,
		Source: netip.MustParseAddr(fmt.Sprintf("172.16.%d.%d", n, n)), Protected: l.protected})
	l.check(err)
	r.address(r.tunnel.Interface(), fmt.Sprintf("10.10.10.%d/24", n))
	r.tunnel.Interface().SetCapture(func(dir netstack.Direction, p []byte, _ netstack.CaptureMeta) {
		if dir == netstack.In && len(p) >= 20 && p[0]>>4 == 4 && p[16] == 192 && p[17] == 168 {
			r.mu.Lock()
			r.crossed++
			r.mu.Unlock()
		}
	})
	r.route("0.0.0.0/0", fmt.Sprintf("172.16.%d.254", n))
	r.vrf.HandleICMP(func(p *packet.Packet) {
		if seq, ok := labkit.Answer(p); ok {
			r.mu.Lock()
			r.got[seq]++
			r.mu.Unlock()
		}
	})
	if l.protected {
		r.call(func() {
			err = r.protect.AddTunnel(r.tunnel, protect.TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0"})
		})
		l.check(err)
	}
	r.apply()
	l.routers = append(l.routers, r)
	l.Join(r.loop)
	l.T.Cleanup(func() { r.stop() })
	return r
}

func (l *lab) check(err error) { l.T.Helper(); l.Check(err) }

// watch looks for what must never be seen on a protected network's wire.
func (l *lab) watch(w *mem.Link) {
	l.Watch(w, func(frame []byte) string {
		for n := byte(1); n <= 9; n++ {
			if bytes.Contains(frame, []byte{10, 10, 10, n}) || bytes.Contains(frame, []byte{192, 168, n * 11, n}) {
				return "an overlay address in clear"
			}
		}
		return ""
	})
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
		}
	}
}

func (r *router) apply() {
	r.l.T.Helper()
	var err error
	r.call(func() { err = r.m.Apply(r.tunnel, r.cfg) })
	r.l.check(err)
}

func (r *router) call(f func()) {
	r.l.T.Helper()
	r.l.check(r.loop.Call("test", f))
}

func (r *router) address(i *netstack.Interface, s string) {
	p := netip.MustParsePrefix(s)
	i.SetAddresses([]netip.Prefix{p})
	i.SetAdminUp(true)
	r.call(func() { r.rib.SetInterface(i.Name(), i.Index(), true, []netip.Prefix{p}) })
}

func (r *router) route(prefix, via string) {
	r.call(func() {
		r.rib.Update(rib.Static, "test "+prefix, netip.MustParsePrefix(prefix), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: netip.MustParseAddr(via)}}}})
	})
}

func (l *lab) run(d time.Duration) { l.Run(d) }

func (l *lab) until(d time.Duration, what string, ok func() bool) { l.T.Helper(); l.Until(d, what, ok) }

func (r *router) logs() string { return r.log.String() }

func (r *router) saw(kind nhrp.EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (r *router) snapshot() (i nhrp.TunnelInfo) {
	r.call(func() {
		for _, t := range r.m.Snapshot() {
			i = t
		}
	})
	return i
}

// echo sends a ping from the router's loopback.
func (r *router) echo(to *router, seq uint16) {
	_ = r.vrf.SendIP(labkit.Echo(netip.MustParseAddr(hostOf(r.n)), netip.MustParseAddr(hostOf(to.n)), seq))
}

func hostOf(n int) string { return fmt.Sprintf("192.168.%d%d.%d", n, n, n) }

func (r *router) answered(seq uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[seq] == 1
}

// ping sends one and waits for its answer; it returns how many data packets crossed the hub for it.
func (l *lab) ping(from, to, hub *router, seq uint16) uint64 {
	l.T.Helper()
	before := hub.transit()
	from.echo(to, seq)
	l.until(3*time.Second, fmt.Sprintf("%s reaches %s (%d)", from.name, to.name, seq), func() bool { return from.answered(seq) })
	return hub.transit() - before
}

// transit counts the packets between LANs that came in on the tunnel.
func (r *router) transit() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.crossed
}

func hubConfig() Config {
	return Config{NetworkID: 1, Authentication: "DMVPN", Holdtime: time.Minute, MulticastDynamic: true, Redirect: true, RedirectInterval: time.Second}
}

func spokeConfig() Config {
	return Config{NetworkID: 1, Authentication: "DMVPN", Holdtime: time.Minute, Shortcut: true,
		NHS: []nhrp.NHS{{Address: netip.MustParseAddr("10.10.10.1"), NBMA: netip.MustParseAddr("172.16.1.1"), Multicast: true}}}
}

// scenario is the hub and two spokes, with the routes that eBGP makes over a hub that is everybody's next hop.
func (l *lab) scenario() (hub, s2, s3 *router) {
	hub = l.add("hub", 1, hubConfig())
	s2, s3 = l.add("spoke2", 2, spokeConfig()), l.add("spoke3", 3, spokeConfig())
	hub.hubRoutes()
	s2.route("192.168.33.3/32", "10.10.10.1")
	s3.route("192.168.22.2/32", "10.10.10.1")
	return hub, s2, s3
}

func (r *router) hubRoutes() {
	r.route("192.168.22.2/32", "10.10.10.2")
	r.route("192.168.33.3/32", "10.10.10.3")
}

func (r *router) responding() bool {
	i := r.snapshot()
	return len(i.NHS) > 0 && i.NHS[0].Flags == "RE"
}

func (l *lab) registered(spokes ...*router) {
	l.T.Helper()
	l.until(20*time.Second, "registrations", func() bool {
		for _, s := range spokes {
			if !s.responding() {
				return false
			}
		}
		return true
	})
}

// nhrpRoute is the routing table's line for a prefix.
func (r *router) nhrpRoute(prefix string) (s string) {
	r.call(func() {
		x, ok := r.rib.Get(netip.MustParsePrefix(prefix))
		if ok {
			hops := x.Hops
			if x.Overridden() {
				hops = x.Override
			}
			s = fmt.Sprint(x.Source, " ", hops)
		}
	})
	return s
}
