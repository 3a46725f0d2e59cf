package protect

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"felloe/netstack"
	"felloe/netstack/link/mem"
	"felloe/vpn/ikev2"
)

// gateways is a lab with two hubs of the same overlay address and a spoke whose tunnel leads to the one that it is told.
type gateways struct {
	*lab
	hubs  [2]*router
	spoke *router
	tun   *netstack.Tunnel
	// sent are the ESP packets of the spoke by where they went.
	sent map[netip.Addr]int
}

func newGateways(t *testing.T) *gateways {
	t.Helper()
	g := &gateways{lab: newLab(t), sent: map[netip.Addr]int{}}
	g.link = g.Net.Switch("wan", mem.Impairment{Delay: 5 * time.Millisecond})
	g.watch(g.link)
	for k, name := range []string{"hub1", "hub2", "spoke"} {
		port := g.link.Port(name)
		g.ports[name] = port
		r := g.add(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(k + 1)}), 24), port, spec{retransmit: ikev2.Retransmit{Base: 500 * time.Millisecond, Tries: 3}})
		if name == "spoke" {
			g.spoke = r
			continue
		}
		g.hubs[k] = r
		r.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	}
	var err error
	g.tun, err = g.spoke.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel0", VRF: g.spoke.vrf, Underlay: g.spoke.vrf, Mode: netstack.GREPointToPoint, Source: g.spoke.wan, Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	g.spoke.address(g.tun.Interface(), netip.MustParsePrefix("10.10.10.2/24"))
	g.spoke.call(func() {
		if err := g.spoke.m.AddTunnel(g.tun, TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel0", Dynamic: true}); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gateways) addr(hub int) netip.Addr { return g.hubs[hub].wan }

// known makes a hub's neighbour of the spoke, once it has a session with it.
func (g *gateways) known(hub int) {
	g.T.Helper()
	h := g.hubs[hub]
	g.until(10*time.Second, "the hub has a session", func() bool { return h.up() > 0 })
	s := h.sessions()
	h.neighbour("Tunnel0", "10.10.10.2", s[len(s)-1].Session)
}

func (g *gateways) reconnect(hub int) (s *netstack.Session) {
	g.spoke.call(func() { s = g.spoke.m.Reconnect(g.tun, Call{Destination: g.addr(hub)}, "test") })
	return s
}

func (g *gateways) prepare(hub int) (s *netstack.Session) {
	g.spoke.call(func() { s = g.spoke.m.Prepare(g.tun, Call{Destination: g.addr(hub)}) })
	return s
}

func (g *gateways) commit(linger time.Duration) (err error) {
	g.spoke.call(func() { err = g.spoke.m.Commit(g.tun, linger, "moved") })
	return err
}

// history are the spoke's events from a certain one on.
func (g *gateways) history(from int) (out []EventKind) { return g.spoke.kinds()[from:] }

func TestATunnelMovesToAnotherGatewayAtOnce(t *testing.T) {
	g := newGateways(t)
	g.run(time.Second)
	if len(g.spoke.sessions()) != 0 {
		t.Fatal("it calls somebody by itself")
	}
	g.reconnect(0)
	g.known(0)
	if !g.spoke.ping("10.10.10.2", "10.10.10.1", 1) {
		t.Fatal("no answer from hub 1")
	}
	g.ports["hub1"].SetCarrier(false)
	before := g.Clock.Now()
	g.reconnect(1)
	g.until(time.Second, "hub 2 has it", func() bool { return g.spoke.up() == 1 })
	if took := g.Clock.Now().Sub(before); took > 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	g.known(1)
	if !g.spoke.ping("10.10.10.2", "10.10.10.1", 2) || g.tun.Config().Destination != g.addr(1) {
		t.Fatal("no answer from hub 2")
	}
	if got, want := g.history(0), []EventKind{Up, Down, Up}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	g.spoke.call(func() { g.spoke.m.Reconnect(g.tun, Call{}, "off") })
	g.run(time.Minute)
	if n := len(g.spoke.sessions()); n != 0 || g.hubs[1].up() != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestWhatFailsIsToldOnceAndNotTriedAgain(t *testing.T) {
	g := newGateways(t)
	g.ports["hub1"].SetCarrier(false)
	g.reconnect(0)
	g.until(30*time.Second, "it fails", func() bool { return len(g.history(0)) > 0 })
	g.run(time.Minute)
	if got := g.history(0); !slices.Equal(got, []EventKind{Failed}) || len(g.spoke.sessions()) != 0 {
		t.Errorf("events %v, sessions %+v", got, g.spoke.sessions())
	}
	g.spoke.mu.Lock()
	e := g.spoke.events[0]
	g.spoke.mu.Unlock()
	if e.Reason == "" || e.Err == nil {
		t.Errorf("%+v", e)
	}
}

func TestADeadGatewayIsToldAndNotCalledAgain(t *testing.T) {
	g := newGateways(t)
	g.reconnect(0)
	g.known(0)
	g.ports["hub1"].SetCarrier(false)
	g.spoke.call(func() { g.spoke.m.Probe(g.spoke.m.Sessions()[0].Session) })
	g.until(time.Minute, "it is down", func() bool { return len(g.history(0)) == 2 })
	g.run(time.Minute)
	if got := g.history(0); !slices.Equal(got, []EventKind{Up, Down}) || len(g.spoke.sessions()) != 0 {
		t.Errorf("events %v, sessions %+v", got, g.spoke.sessions())
	}
}

func TestAGatewayThatNothingIsSentToIsNoDeadOne(t *testing.T) {
	g := newGateways(t)
	g.spoke.call(func() { g.spoke.m.byTunnel[g.tun].cfg.IdleTime = 5 * time.Second })
	g.reconnect(0)
	g.known(0)
	g.run(time.Minute)
	if got := g.history(0); !slices.Equal(got, []EventKind{Up}) {
		t.Errorf("events %v", got)
	}
}

func TestAMoveThatWasPreparedLosesNoPacketAndNothingGoesTheOldWay(t *testing.T) {
	g := newGateways(t)
	g.reconnect(0)
	g.known(0)
	if g.commit(time.Second) == nil {
		t.Error("it moves to nowhere")
	}
	seq := uint16(0)
	flow := func(d time.Duration) {
		for range int(d / (10 * time.Millisecond)) {
			seq++
			g.spoke.echo("10.10.10.2", "10.10.10.1", seq)
			g.run(10 * time.Millisecond)
		}
	}
	flow(500 * time.Millisecond)
	old := g.spoke.sessions()[0].Session
	next := g.prepare(1)
	flow(1500 * time.Millisecond)
	if got := g.history(0); !slices.Equal(got, []EventKind{Up, Prepared}) {
		t.Fatalf("events %v", got)
	}
	g.known(1)
	if next.Counters().TxPackets != 0 {
		t.Error("what is prepared is used already")
	}
	if err := g.commit(2 * time.Second); err != nil {
		t.Fatal(err)
	}
	sent := old.Counters().TxPackets
	flow(time.Second)
	if g.hubs[0].up() != 1 {
		t.Error("the old one does not receive any more")
	}
	flow(2 * time.Second)
	g.run(inFlight)
	lost := 0
	for i := uint16(1); i <= seq; i++ {
		if !g.spoke.got(i) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d lost; drops %v", lost, seq, g.spoke.dp.Drops())
	}
	if got := g.history(0); !slices.Equal(got, []EventKind{Up, Prepared, Down, Up}) {
		t.Errorf("events %v", got)
	}
	if old.Counters().TxPackets != sent || g.hubs[0].up() != 0 || len(g.spoke.sessions()) != 1 || g.tun.Default() != next {
		t.Errorf("%d packets on the old one, which has %d sessions; ours are %+v", old.Counters().TxPackets-sent, g.hubs[0].up(), g.spoke.sessions())
	}
	g.spoke.mu.Lock()
	defer g.spoke.mu.Unlock()
	if e := g.spoke.events[2]; e.Successor != next || e.Session != old {
		t.Errorf("%+v", e)
	}
}

func TestWhatIsPreparedCanFailOrBeGivenUpAndTheOldOneStays(t *testing.T) {
	g := newGateways(t)
	g.reconnect(0)
	g.known(0)
	g.ports["hub2"].SetCarrier(false)
	g.prepare(1)
	g.until(30*time.Second, "it fails", func() bool { return slices.Contains(g.history(0), Failed) })
	g.ports["hub2"].SetCarrier(true)
	g.prepare(1)
	g.until(5*time.Second, "it is prepared", func() bool { return slices.Contains(g.history(0), Prepared) })
	g.spoke.call(func() { g.spoke.m.Abandon(g.tun, "no need") })
	g.run(5 * time.Second)
	if !g.spoke.ping("10.10.10.2", "10.10.10.1", 1) || g.hubs[1].up() != 0 || g.commit(0) == nil {
		t.Error("the old one is disturbed")
	}
	// One that dies between Prepared and Commit is told too.
	g.prepare(1)
	g.known(1)
	g.run(2 * time.Second)
	g.hubs[1].call(func() { g.hubs[1].m.Reset(g.hubs[1].m.Sessions()[0].Session, "clear") })
	g.until(5*time.Second, "it is gone", func() bool { h := g.history(0); return h[len(h)-1] == Failed })
	if g.commit(0) == nil {
		t.Error("it moves to what is gone")
	}
	if got := g.history(0); !slices.Equal(got, []EventKind{Up, Failed, Prepared, Prepared, Failed}) {
		t.Errorf("events %v", got)
	}
}

func TestNobodyElseMayCallATunnelWhoseGatewayIsChosen(t *testing.T) {
	g := newGateways(t)
	h := g.hubs[0]
	var s *netstack.Session
	h.call(func() { s = h.m.Open(h.tuns["Tunnel0"], g.spoke.wan) })
	g.run(5 * time.Second)
	if len(g.spoke.sessions()) != 0 || g.spoke.counters().Homeless == 0 {
		t.Errorf("%+v", g.spoke.sessions())
	}
	h.call(func() { h.m.Close(s, "test") })
}

func TestEachTunnelThatAsksForAnAddressHasAnIKESAOfItsOwn(t *testing.T) {
	g := newGateways(t)
	other, err := g.spoke.dp.AddTunnel(netstack.TunnelConfig{Name: "Tunnel1", VRF: g.spoke.vrf, Underlay: g.spoke.vrf, Mode: netstack.GREPointToPoint, Source: g.spoke.wan, Key: 7, HasKey: true, Protected: true})
	if err != nil {
		t.Fatal(err)
	}
	g.reconnect(0)
	g.spoke.call(func() {
		c := spec{policies: []string{"Tunnel0", "Tunnel1"}, retransmit: ikev2.Retransmit{Base: 500 * time.Millisecond, Tries: 3}}.config()
		g.spoke.engine.SetConfig(c)
		if err := g.spoke.m.AddTunnel(other, TunnelProtection{IKEProfile: "PROF", ChildPolicy: "Tunnel1", Dynamic: true}); err != nil {
			t.Error(err)
		}
		g.spoke.m.Reconnect(other, Call{Destination: g.addr(0)}, "")
	})
	g.until(5*time.Second, "both are up", func() bool { return g.spoke.up() == 2 })
	if s := g.spoke.sessions(); s[0].IKE == s[1].IKE {
		t.Error("they share one")
	}
}
