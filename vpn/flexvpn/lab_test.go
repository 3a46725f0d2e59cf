package flexvpn_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	"felloe/tests/natbox"
	"felloe/vpn/dmvpn"
	"felloe/vpn/flexvpn"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/nhrp"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// The lab is FlexVPN in virtual time: hubs with a virtual template, spokes with a tunnel to a hub and a template for
// shortcuts, and the internet between them, with data planes, routing tables and IKE. Routes are what IKE tells.

type lab struct {
	*labkit.Lab
	internet *netstack.Dataplane
	routers  []*router
	wires    int
	nets     networks
	inside   string        // the VRF of tunnels and of what is behind the routers
	sites    map[int]*site // routers that are not on a wire of their own
	ports    map[int]*mem.Port
}

// networks are the addresses: outside, of the tunnels and behind the routers. %d is a router's number.
type networks struct{ wan, gateway, tunnel, lan string }

var (
	v4over4 = networks{"172.16.%d.2/24", "172.16.%d.254/24", "10.1.1.%d", "192.168.%d.0/24"}
	v6over4 = networks{"172.16.%d.2/24", "172.16.%d.254/24", "2001:db8:1::%d", "2001:db8:a:%d::/64"}
	v4over6 = networks{"2001:db8:ff:%d::2/64", "2001:db8:ff:%d::fe/64", "10.1.1.%d", "192.168.%d.0/24"}
	v6over6 = networks{"2001:db8:ff:%d::2/64", "2001:db8:ff:%d::fe/64", "2001:db8:1::%d", "2001:db8:a:%d::/64"}
)

func at(pattern string, n int) string { return fmt.Sprintf(pattern, n) }

func (x networks) outside(n int) netip.Prefix { return netip.MustParsePrefix(at(x.wan, n)) }
func (x networks) inside(n int) netip.Prefix {
	a := netip.MustParseAddr(at(x.tunnel, n))
	return netip.PrefixFrom(a, a.BitLen())
}
func (x networks) behind(n int) netip.Prefix { return netip.MustParsePrefix(at(x.lan, n)) }
func (x networks) host(n int) netip.Addr     { return x.behind(n).Addr().Next() }

func newLab(t *testing.T, nets networks) *lab {
	l := &lab{Lab: labkit.New(t), nets: nets, inside: "default", ports: map[int]*mem.Port{}}
	l.Explain = l.explain
	l.internet = netstack.New(netstack.Options{Clock: l.Clock, Log: zerolog.Nop(), Rand: labkit.Random(99), Punt: labkit.Release})
	t.Cleanup(func() { l.internet.Close() })
	return l
}

// site is a network outside that several routers are on, behind a NAT.
type site struct {
	link         *mem.Link
	wan, gateway string
}

// behind puts routers behind one NAT, whose public address is outside router n's.
func (l *lab) behind(n int, routers ...int) {
	s := &site{link: l.Net.Switch(fmt.Sprint("site", n), mem.Impairment{Delay: time.Millisecond}), wan: "10.9.9.%d/24", gateway: "10.9.9.254"}
	public, far := l.Net.Pair(fmt.Sprint("nat", n), fmt.Sprint("nat", n, "-net"), mem.Impairment{Delay: 5 * time.Millisecond})
	eth, err := l.internet.AddEthernet(netstack.EthernetConfig{Name: fmt.Sprint("Site", n), Driver: far})
	l.check(err)
	gateway := netip.MustParsePrefix(at(l.nets.gateway, n))
	labkit.Address(eth, gateway)
	_, err = natbox.New(s.link.Port("nat"), public, natbox.Config{Inside: netip.MustParsePrefix(s.gateway + "/24"), Outside: l.nets.outside(n),
		Gateway: gateway.Addr(), Clock: l.Clock})
	l.check(err)
	if l.sites == nil {
		l.sites = map[int]*site{}
	}
	for _, r := range routers {
		l.sites[r] = s
	}
}

// outside is a router's address outside, and its gateway.
func (l *lab) outside(n int) (netip.Prefix, netip.Addr) {
	if s := l.sites[n]; s != nil {
		return netip.MustParsePrefix(at(s.wan, n)), netip.MustParseAddr(s.gateway)
	}
	return l.nets.outside(n), netip.MustParsePrefix(at(l.nets.gateway, n)).Addr()
}

// plug connects a router to the internet; one that begins anew to where it was.
func (l *lab) plug(name string, n int) *mem.Port {
	if was := l.ports[n]; was != nil {
		return was
	}
	l.wires++
	port := fmt.Sprintf("%s:%d", name, l.wires)
	if s := l.sites[n]; s != nil {
		return s.link.Port(port)
	}
	a, b := l.Net.Pair(port, port+"-net", mem.Impairment{Delay: 5 * time.Millisecond})
	far, err := l.internet.AddEthernet(netstack.EthernetConfig{Name: fmt.Sprintf("Ethernet%d", l.wires), Driver: b})
	l.check(err)
	labkit.Address(far, netip.MustParsePrefix(at(l.nets.gateway, n)))
	return a
}

type router struct {
	l       *lab
	name    string
	n       int
	dp      *netstack.Dataplane
	vrf     *netstack.VRF // inside
	loop    *loop.Loop
	rib     *rib.RIB // inside
	ribs    map[string]*rib.RIB
	engine  *ikev2.Engine
	protect *protect.Manager
	nhrp    *dmvpn.Manager
	flex    *flexvpn.Manager
	tunnel  *netstack.Tunnel
	wire    *mem.Link
	mute    bool           // tells hubs only
	told    []netip.Prefix // to every peer

	log    labkit.Log
	mu     sync.Mutex
	events []nhrp.Event
	got    map[uint16]int
	ikeUps int
}

// Authorize tells every peer the same, and takes what it tells.
func (r *router) Authorize(_ time.Time, q ikev2.AuthorizeRequest) (ikev2.Configuration, error) {
	if r.mute && !strings.HasPrefix(q.Peer.String(), "hub") {
		return ikev2.Configuration{}, nil
	}
	return ikev2.Configuration{Subnets: r.told, Accept: ikev2.RouteAccept{Accept: true}}, nil
}
func (r *router) Release(ikev2.SAID) {}

func (r *router) ikeConfig(hub netip.Addr) ikev2.Config {
	child := func(name string) ikev2.ChildPolicy {
		return ikev2.ChildPolicy{Name: name, Profile: "PROF", Mode: esp.Transport, Protocol: 47,
			Proposals: []ikev2.ESPProposal{{Suites: []esp.Suite{{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}}}}}
	}
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	c := ikev2.Config{
		Proposals: []ikev2.IKEProposal{{Name: "P", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_GCM_16, Bits: 256}},
			PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_256}, Groups: []suite.Group{suite.CURVE25519}}},
		Policies: []ikev2.Policy{{Name: "P", Proposals: []string{"P"}}},
		Keyrings: []ikev2.Keyring{{Name: "K", Peers: []ikev2.KeyringPeer{{Name: "any", Addresses: []netip.Prefix{any4, any6},
			Local: suite.Key("CISCO123"), Remote: suite.Key("CISCO123")}}}},
		Profiles: []ikev2.Profile{{Name: "PROF", MatchRemote: []ikev2.IdentityMatch{{Any: true}}, Keyring: "K", Identity: ikev2.FQDNIdentity(r.name + ".example.com"),
			Authorization: ikev2.Authorization{Policy: "A"}, Request: true, SetSend: true, SetAccept: true, DPD: ikev2.DPD{Interval: 10 * time.Second, Retry: 2 * time.Second}}},
		Retransmit: ikev2.Retransmit{Base: time.Second, Max: 2 * time.Second, Tries: 4},
		Authorize:  r,
	}
	if hub.IsValid() {
		p := child("Tunnel0")
		p.RemoteAddr = hub
		c.Children = append(c.Children, p)
	}
	c.Children = append(c.Children, child("Virtual-Template1"))
	return c
}

// add makes router n, with a WAN, its tunnel address on a loopback and a network behind it.
func (l *lab) add(name string, n int, hub netip.Addr) *router {
	l.T.Helper()
	rnd := labkit.Random(byte(n), byte(len(l.routers)))
	r := &router{l: l, name: name, n: n, got: map[uint16]int{}, told: []netip.Prefix{l.nets.inside(n)}, ribs: map[string]*rib.RIB{}}
	log := zerolog.New(&r.log)
	r.loop = loop.New(l.Clock, log)
	r.dp = netstack.New(netstack.Options{Clock: l.Clock, Log: log, Rand: rnd, Punt: func(p netstack.Punt) {
		if !r.nhrp.HandlePunt(p) && !r.protect.HandlePunt(p) {
			labkit.Release(p)
		}
	}})
	if l.inside != "default" {
		_, err := r.dp.AddVRF(l.inside)
		l.check(err)
	}
	for _, v := range r.dp.VRFs() {
		r.ribs[v.Name()] = rib.New(rib.Options{VRF: v.Name(), Output: func(c []fib.Change) { v.Program(c) },
			Defer: func(f func()) { r.loop.Post("rib", f) }, Now: l.Clock.Now})
	}
	r.vrf, _ = r.dp.VRF(l.inside)
	r.rib = r.ribs[l.inside]
	var err error
	r.engine = ikev2.NewEngine(r.ikeConfig(hub), rnd)
	r.protect, err = protect.New(protect.Options{Loop: r.loop, Dataplane: r.dp, Engine: r.engine, Log: log, Rand: rnd,
		Events: func(e protect.Event) {
			r.nhrp.HandleEvent(e)
			r.flex.HandleEvent(e)
		},
		Exchanged: func(a ikev2.Action) {
			if _, up := a.(ikev2.IKEUp); up {
				r.ikeUps++
			}
			r.flex.Exchanged(a)
		}})
	l.check(err)
	r.nhrp, err = dmvpn.New(dmvpn.Options{Loop: r.loop, Protection: r.protect, Log: log, Rand: rnd, Events: func(e nhrp.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if e.Kind != nhrp.EventPacket {
			r.events = append(r.events, e)
		}
	}})
	l.check(err)
	r.flex, err = flexvpn.New(flexvpn.Options{Loop: r.loop, Dataplane: r.dp, Protection: r.protect, NHRP: r.nhrp, Log: log,
		Routes: func(vrf string) flexvpn.Routes { return r.ribs[vrf] }})
	l.check(err)
	r.call(func() {
		for name, table := range r.ribs {
			r.nhrp.AddVRF(name, table)
		}
	})

	wan, gateway := l.outside(n)
	a := l.plug(name, n)
	if l.sites[n] == nil {
		l.ports[n] = a
	}
	r.wire = a.Link()
	l.Watch(r.wire, nil)
	eth, err := r.dp.AddEthernet(netstack.EthernetConfig{Name: "GigabitEthernet1", Driver: a})
	l.check(err)
	r.address(eth, wan)
	lan, err := r.dp.AddLoopback("Loopback10", r.vrf)
	l.check(err)
	r.address(lan, netip.PrefixFrom(l.nets.host(n), l.nets.behind(n).Bits()))
	everything := netip.PrefixFrom(gateway, 0).Masked()
	r.call(func() {
		r.ribs["default"].Update(rib.Static, "wan", everything, []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Via: gateway}}}})
	})
	r.vrf.HandleICMP(func(p *packet.Packet) {
		if seq, ok := labkit.Answer(p); ok {
			r.mu.Lock()
			r.got[seq]++
			r.mu.Unlock()
		}
	})
	l.routers = append(l.routers, r)
	l.Join(r.loop)
	l.T.Cleanup(func() { r.stop() })
	return r
}

// template makes Virtual-Template1, unnumbered to an interface.
func (r *router) template(unnumbered string, n *dmvpn.Config) {
	r.l.T.Helper()
	r.call(func() {
		r.l.check(r.flex.SetTemplate(flexvpn.Template{Name: "Virtual-Template1", VRF: r.l.inside, Underlay: "default", Profile: "PROF",
			ChildPolicies: map[string]netstack.TunnelMode{"Virtual-Template1": netstack.GREPointToPoint},
			Settings:      flexvpn.Settings{Unnumbered: unnumbered, NHRP: n}}))
	})
}

func hubNHRP() *dmvpn.Config {
	return &dmvpn.Config{NetworkID: 1, Holdtime: time.Minute, Redirect: true, RedirectInterval: time.Second}
}

func spokeNHRP() *dmvpn.Config {
	return &dmvpn.Config{NetworkID: 1, Holdtime: time.Minute, Redirect: true, RedirectInterval: time.Second, Shortcut: true, ShortcutTemplate: 1}
}

// hub makes router n a hub: it tells its spokes the summaries of everything.
func (l *lab) hub(n int) *router {
	r := l.add(fmt.Sprintf("hub%d", n), n, netip.Addr{})
	lo, err := r.dp.AddLoopback("Loopback0", r.vrf)
	l.check(err)
	r.address(lo, l.nets.inside(n))
	for _, s := range []string{"192.168.0.0/16", "10.1.1.0/24", "2001:db8:a::/48", "2001:db8:1::/64"} {
		if p := netip.MustParsePrefix(s); p.Addr().Is4() == l.nets.inside(n).Addr().Is4() {
			r.told = append(r.told, p)
		}
	}
	r.template("Loopback0", hubNHRP())
	return r
}

// spoke makes router n a spoke of a hub. It tells its own address and the network behind it, unless shy: then that is
// known to the hub only, which has a route.
func (l *lab) spoke(n int, hub *router, shy bool) *router {
	outside := l.nets.outside(hub.n).Addr()
	wan, _ := l.outside(n)
	r := l.add(fmt.Sprintf("spoke%d", n), n, outside)
	if !shy {
		r.told = append(r.told, l.nets.behind(n))
	}
	var err error
	r.tunnel, err = r.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", VRF: r.vrf, Mode: netstack.GREPointToPoint, Source: wan.Addr(), Destination: outside, Protected: true})
	l.check(err)
	r.address(r.tunnel.Interface(), l.nets.inside(n))
	r.template("Tunnel0", spokeNHRP())
	r.call(func() {
		l.check(r.nhrp.Apply(r.tunnel, *spokeNHRP()))
		l.check(r.protect.AddTunnel(r.tunnel, protect.TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0"}))
	})
	l.until(10*time.Second, "the hub knows "+r.name, func() bool { return hub.match(l.nets.inside(n).Addr()) != "" })
	if shy {
		via := hub.match(l.nets.inside(n).Addr())
		hub.call(func() {
			hub.rib.Update(rib.Static, "lan", l.nets.behind(n), []rib.Path{{Source: rib.Static, NextHops: []rib.NextHop{{Interface: via}}}})
		})
	}
	l.run(time.Second)
	return r
}

// match is the interface that packets to an address leave by.
func (r *router) match(a netip.Addr) (name string) {
	r.call(func() {
		if x, ok := r.rib.Match(a); ok {
			if hops := x.Hops; x.Overridden() {
				name = x.Override[0].Interface
			} else if len(hops) > 0 {
				name = hops[0].Interface
			}
		}
	})
	if name == "GigabitEthernet1" {
		return ""
	}
	return name
}

func (l *lab) check(err error) { l.T.Helper(); l.Check(err) }

func (r *router) stop() {
	if r.dp == nil {
		return
	}
	r.dp.Close()
	r.loop.Close()
	r.l.Leave(r.loop)
	r.dp = nil
	r.l.routers = slices.DeleteFunc(r.l.routers, func(x *router) bool { return x == r })
}

func (r *router) call(f func()) {
	r.l.T.Helper()
	r.l.check(r.loop.Call("test", f))
}

func (r *router) address(i *netstack.Interface, p netip.Prefix) {
	i.SetAddresses([]netip.Prefix{p})
	i.SetAdminUp(true)
	r.call(func() { r.ribs[i.VRF().Name()].SetInterface(i.Name(), i.Index(), true, []netip.Prefix{p}) })
}

func (l *lab) run(d time.Duration) { l.Run(d) }

func (l *lab) until(d time.Duration, what string, ok func() bool) { l.T.Helper(); l.Until(d, what, ok) }

func (l *lab) fail(format string, args ...any) {
	l.T.Helper()
	l.explain()
	l.T.Fatalf(format, args...)
}

// explain tells how things stand.
func (l *lab) explain() {
	for _, r := range l.routers {
		var routes []string
		r.call(func() {
			for _, x := range r.rib.Routes() {
				routes = append(routes, fmt.Sprint(x.Prefix, " ", x.Source, " ", x.Hops, " % ", x.Override))
			}
		})
		l.T.Logf("%s: %v\n%s\n%s\n%s", r.name, r.dp.Drops(), strings.Join(r.shown(), "\n"), strings.Join(routes, "\n"), r.logs())
	}
}

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

// shown are a router's NHRP entries in words.
func (r *router) shown() (out []string) {
	r.call(func() {
		for _, t := range r.nhrp.Snapshot() {
			for _, e := range t.Cache {
				out = append(out, fmt.Sprint(t.Name, " ", e.Prefix, " ", e.NextHop, " ", e.NBMA, " ", e.Flags))
			}
		}
	})
	return out
}

// accesses are a router's Virtual-Access interfaces and who is behind them.
func (r *router) accesses() (out []string) {
	r.call(func() {
		for _, a := range r.flex.List() {
			out = append(out, fmt.Sprint(a.Name, " ", a.Peer))
		}
	})
	return out
}

// ikes is how many IKE SAs a router has.
func (r *router) ikes() (n int) {
	r.call(func() { n = len(r.engine.Snapshot(r.l.Clock.Now())) })
	return n
}

// echo sends a ping from the network behind the router.
func (r *router) echo(to *router, seq uint16) {
	_ = r.vrf.SendIP(labkit.Echo(r.l.nets.host(r.n), r.l.nets.host(to.n), seq))
}

func (r *router) answered(seq uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[seq] == 1
}

// forwarded is how many packets have come to a router through tunnels.
func (r *router) forwarded() (n uint64) {
	for _, i := range r.dp.Interfaces() {
		if i.Kind() == netstack.TunnelKind {
			n += i.Counters().RxPackets
		}
	}
	return n
}

var sequence uint16

// ping sends one and waits for its answer; it tells whether that went over the hub.
func (l *lab) ping(from, to, hub *router) bool {
	l.T.Helper()
	sequence++
	seq := sequence
	before := hub.forwarded()
	from.echo(to, seq)
	l.until(3*time.Second, fmt.Sprintf("%s reaches %s", from.name, to.name), func() bool { return from.answered(seq) })
	return hub.forwarded() != before
}
