package boot

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/link/mem"
	"felloe/vpn/flexvpn/client"
)

// twoWays is a spoke with a second provider, at GigabitEthernet3, and the block's sources.
func twoWays(mode, peers string) string {
	tunnel := strings.NewReplacer(`source = "GigabitEthernet1"`, `source = "dynamic"`, "gre ip", mode).Replace(clientTunnel)
	return flexSpoke(1, tunnel, `[interface.GigabitEthernet3]
address = ["172.16.2.2/24", "2001:db8:16:2::2/64"]
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.2.254"
distance = 20
[[route]]
prefix = "::/0"
via = "2001:db8:16:2::fe"
distance = 20
`+flexClient(peers+`
source = [{ interface = "GigabitEthernet1", track = 1 }, { interface = "GigabitEthernet3" }]
peer-reactivate = true
reactivate-interval = "1s"
[track.1]
icmp-echo = { address = "172.16.1.254", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
`))
}

func TestAClientFallsOverBetweenSourcesByLineProtocolAndByTrack(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, x := range []struct{ mode, peer, first, second string }{
		{"gre ip", "172.25.1.1", "172.16.1.2", "172.16.2.2"},
		{"gre ipv6", "2001:db8:25:1::1", "2001:db8:16:1::2", "2001:db8:16:2::2"},
	} {
		t.Run(x.mode, func(t *testing.T) {
			f := newFlex(t)
			f.run("hub1", strings.Replace(flexHub(1, pushAll, ""), `protection = "P"`, "mode = \""+x.mode+"\"\nprotection = \"P\"", 1))
			f.start("spoke1", twoWays(x.mode, fmt.Sprintf("peer = [{ address = %q }]", x.peer)), append(f.nics["spoke1"], f.nics["spoke2"][0])...)
			from := func(ifname, local string) {
				t.Helper()
				f.until(func() string {
					s := f.client("spoke1")
					return unless(s.State == client.StateActive && s.Call.Source == ifname && s.Call.Local.String() == local, fmt.Sprintf("a session from %s: %+v", ifname, s))
				})
				f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3 timeout 1", "(3/3)")
				f.want("hub1", "show crypto ikev2 sa", local)
			}
			from("GigabitEthernet1", x.first)
			plug := f.nics["spoke1"][0].Driver.(*mem.Port)
			plug.SetCarrier(false)
			from("GigabitEthernet3", x.second)
			plug.SetCarrier(true)
			from("GigabitEthernet1", x.first)
			f.wan["spoke1"].SetUp(false) // the line stays up
			from("GigabitEthernet3", x.second)
			flow := f.flow("spoke1", "192.168.101.1", "192.168.0.1")
			flow.more(20)
			f.wan["spoke1"].SetUp(true)
			from("GigabitEthernet1", x.first)
			flow.more(20)
			if sent, lost := flow.stop(); lost > 0 {
				t.Errorf("%d of %d lost on the way back", lost, sent)
			}
		})
	}
}

// watch looks at a router every few milliseconds until the test ends or stop is called.
func watch(r *Router, look func()) (stop func()) {
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(3 * time.Millisecond):
				r.look(look)
			}
		}
	})
	return sync.OnceFunc(func() { close(end); done.Wait() })
}

func TestTwoBlocksOfAGroupAreNeverAtOnePeerWhateverHappens(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), flexHub(n, `{ set-interface = ["self"] }`, ""))
	}
	f.run("spoke2", strings.NewReplacer("172.25.3.1/24", "172.16.2.2/24", "2001:db8:25:3::1", "2001:db8:16:2::2", "172.25.3.254", "172.16.2.254", "2001:db8:25:3::fe", "2001:db8:16:2::fe",
		"10.1.1.300-10.1.1.320", "10.1.1.50-10.1.1.60").Replace(flexHub(3, `{ set-interface = ["self"] }`, "")))
	peers := `peer = [{ address = "172.25.1.1", track = 1 }, { address = "172.25.2.1", track = 2 }, { address = "172.16.2.2", track = 3 }]
peer-reactivate = true
reactivate-interval = "1s"
backup-group = "G"
`
	probe := `icmp-echo = { address = "%s", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
`
	text := flexSpoke(1, clientTunnel, flexClient(peers)+`
[ikev2.client.Other]
client-connect = "Tunnel2"
`+peers+`
[interface.Tunnel2]
protection = "P"
`+clientTunnel+"\n[track.1]\n"+fmt.Sprintf(probe, "172.25.1.1")+"[track.2]\n"+fmt.Sprintf(probe, "172.25.2.1")+"[track.3]\n"+fmt.Sprintf(probe, "172.16.2.2"))
	f.run("spoke1", text)
	r := f.routers["spoke1"]
	both := func() (a, b client.Status) {
		r.look(func() {
			a, _ = r.clients.Status("Flex_Client")
			b, _ = r.clients.Status("Other")
		})
		return a, b
	}
	var met atomic.Pointer[string]
	stop := watch(r, func() {
		a, _ := r.clients.Status("Flex_Client")
		b, _ := r.clients.Status("Other")
		for _, x := range []netip.Addr{a.Call.Peer, a.Beside.Peer} {
			if x.IsValid() && (x == b.Call.Peer || x == b.Beside.Peer) {
				s := fmt.Sprintf("%+v\n%+v", a, b)
				met.Store(&s)
			}
		}
		// What is in the data plane counts.
		i, k := r.ifs["Tunnel1"], r.ifs["Tunnel2"]
		if i != nil && k != nil && i.tunnel != nil && k.tunnel != nil {
			if x, y := i.tunnel.Config().Destination, k.tunnel.Config().Destination; x.IsValid() && x == y {
				s := fmt.Sprintf("both tunnels lead to %s", x)
				met.Store(&s)
			}
		}
	})
	defer stop()
	at := func(one, other string) {
		t.Helper()
		f.until(func() string {
			a, b := both()
			return unless(a.State == client.StateActive && b.State == client.StateActive && a.Call.Peer.String() == one && b.Call.Peer.String() == other,
				fmt.Sprintf("%s and %s: %+v\n%+v", one, other, a, b))
		})
	}
	at("172.25.1.1", "172.25.2.1")
	f.wan["hub1"].SetUp(false)
	at("172.16.2.2", "172.25.2.1")
	f.wan["hub1"].SetUp(true)
	at("172.25.1.1", "172.25.2.1")
	f.wan["hub2"].SetUp(false)
	at("172.25.1.1", "172.16.2.2")
	f.wan["hub1"].SetUp(false)
	f.until(func() string {
		a, b := both()
		return unless(a.State != client.StateActive && b.State == client.StateActive, fmt.Sprintf("one without a hub: %+v\n%+v", a, b))
	})
	f.wan["hub1"].SetUp(true)
	f.wan["hub2"].SetUp(true)
	f.until(func() string {
		a, b := both()
		return unless(a.State == client.StateActive && b.State == client.StateActive && a.Call.Seq+b.Call.Seq == 3, fmt.Sprintf("both at the best: %+v\n%+v", a, b))
	})
	stop()
	if s := met.Load(); s != nil {
		t.Errorf("they met: %s", *s)
	}
	// Blocks that are put into a group while they are at one peer part.
	alone := strings.ReplaceAll(text, `backup-group = "G"`, "")
	f.apply("spoke1", alone)
	at("172.25.1.1", "172.25.1.1")
	f.apply("spoke1", text)
	f.until(func() string {
		a, b := both()
		return unless(a.State == client.StateActive && b.State == client.StateActive && a.Call.Peer != b.Call.Peer, fmt.Sprintf("two peers: %+v\n%+v", a, b))
	})
}

func TestOnDemandProbesMoveAClientWhenThereIsTrafficAndOnlyThen(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	dpd := func(text, mode string) string {
		return strings.Replace(text, `dpd = { interval = "10s", retry = "2s", mode = "periodic" }`, `dpd = { interval = "1s", retry = "1s", mode = "`+mode+`" }`, 1)
	}
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), dpd(flexHub(n, pushAll, ""), "periodic"))
	}
	f.run("spoke1", dpd(flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }, { address = "172.25.2.1" }]`)), "on-demand"))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3", "(3/3)")
	f.want("hub1", "show ip route", "192.168.101.0/24") // all is told: no configuration is on its way any more
	var asked atomic.Int32
	f.wan["spoke1"].SetCapture(func(_ time.Time, from *mem.Port, frame []byte) {
		const flags, response = 14 + 20 + 8 + 19, 0x20 // of IKE in UDP in IPv4
		if from.Name() == "spoke1:1" && len(frame) > flags && frame[12] == 8 && frame[13] == 0 && frame[23] == 17 && frame[flags]&response == 0 {
			asked.Add(1)
		}
	})
	f.wan["hub1"].SetUp(false)
	// The hub probes with the same times whether there is traffic or not. When it has found the spoke dead, the spoke, did it probe
	// without traffic, would have sent all of its probes.
	f.until(func() string {
		n := 0
		f.routers["hub1"].look(func() { n = f.routers["hub1"].protect.Count().IKE })
		return unless(n == 0, "an end of the session at the hub")
	})
	if s := f.client("spoke1"); s.State != client.StateActive || s.Call.Peer.String() != "172.25.1.1" || asked.Load() > 0 {
		t.Fatalf("it has sent %d requests, or moved, without traffic: %+v", asked.Load(), s)
	}
	began := time.Now()
	x := f.flow("spoke1", "192.168.101.1", "192.168.0.2")
	f.at("spoke1", "172.25.2.1")
	t.Logf("moved %v after the first packet", time.Since(began).Round(100*time.Millisecond))
	f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3", "(3/3)")
	x.stop()
}

func TestAClientCallsAtOnceWhenTheLineIsBackThatItsTunnelSendsFrom(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", flexHub(1, pushAll, ""))
	plug := f.nics["spoke1"][0].Driver.(*mem.Port)
	plug.SetCarrier(false)
	f.run("spoke1", flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }]`)))
	var next time.Time
	f.until(func() string {
		s := f.client("spoke1")
		next = s.NextTry
		return unless(s.State == client.StateWaiting && next.Sub(f.routers["spoke1"].clock.Now()) > 1500*time.Millisecond, fmt.Sprintf("a long pause: %+v", s))
	})
	plug.SetCarrier(true)
	f.at("spoke1", "172.25.1.1")
	if s := f.client("spoke1"); !s.Since.Before(next) {
		t.Errorf("it has waited for the end of its pause")
	}
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 1 timeout 1", "(1/1)")
}
