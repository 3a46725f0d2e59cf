package boot

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/link/mem"
	"felloe/vpn/flexvpn/client"
	"felloe/vpn/protect"
)

func TestAClientGoesOnWhenAHubRefuses(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, x := range []struct{ name, old, new string }{
		{"another key", `pre-shared-key = "cisco"`, `pre-shared-key = "juniper"`},
		{"a pool that is empty", "10.1.1.100-10.1.1.120\"]\n[pool.A6]\naddresses = [\"2001:db8:101::100-2001:db8:101::120\"]",
			"10.1.1.100\"]\n[pool.A6]\naddresses = [\"2001:db8:101::100\"]"},
		{"no pool at all", "pool = \"A\"\nipv6-pool = \"A6\"\n", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			f := newFlex(t)
			bad := strings.Replace(flexHub(1, pushAll, ""), x.old, x.new, 1)
			if bad == flexHub(1, pushAll, "") {
				t.Fatal("the hub is a good one")
			}
			f.run("hub1", bad)
			f.run("hub2", flexHub(2, pushAll, ""))
			if strings.HasPrefix(x.name, "a pool") {
				f.run("spoke2", flexSpoke(2, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }]`)))
				f.at("spoke2", "172.25.1.1")
			}
			f.run("spoke1", flexSpoke(1, clientTunnel, flexClient("peer = [{ address = \"172.25.1.1\" }, { address = \"172.25.2.1\" }]\npeer-reactivate = true\nreactivate-interval = \"1s\"")))
			began := time.Now()
			f.at("spoke1", "172.25.2.1")
			t.Logf("at the next hub after %v", time.Since(began).Round(10*time.Millisecond))
			f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3 timeout 1", "(3/3)")
			// It is tried again beside, and that costs nothing.
			refused := func() int { return count(logLines(f.cloud, "spoke1"), "a gateway could not be had", "172.25.1.1") }
			before := refused()
			x := f.flow("spoke1", "192.168.101.1", "192.168.0.2")
			f.until(func() string { return unless(refused() >= before+3, "a third refusal") })
			x.more(20)
			if sent, lost := x.stop(); lost > 0 {
				t.Errorf("%d of %d lost while the first hub was tried again", lost, sent)
			}
			// Nothing of the attempts is left.
			f.until(func() string {
				var n, k protect.Count
				f.routers["spoke1"].look(func() { n = f.routers["spoke1"].protect.Count() })
				f.routers["hub1"].look(func() { k = f.routers["hub1"].protect.Count() })
				return unless(n.Childless <= 1 && k.Childless <= 1, fmt.Sprintf("an end of what has failed: %+v, at the hub %+v", n, k))
			})
			if s := f.client("spoke1"); s.State != client.StateActive || s.Call.Peer.String() != "172.25.2.1" || s.Ups != 1 {
				t.Errorf("%+v", s)
			}
			// The hub has been mended.
			f.apply("hub1", flexHub(1, pushAll, ""))
			f.at("spoke1", "172.25.1.1")
			f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3 timeout 1", "(3/3)")
		})
	}
}

func TestAClientThatNobodyServesTriesAgainWithPausesAndAtOnceWhenTold(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", strings.Replace(flexHub(1, pushAll, ""), `pre-shared-key = "cisco"`, `pre-shared-key = "juniper"`, 1))
	f.run("spoke1", flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }]`)))
	f.until(func() string {
		return unless(count(logLines(f.cloud, "spoke1"), "they are tried again after a pause") >= 3, "a third pause")
	})
	for _, wait := range []string{"1000", "2000", "4000"} {
		if lines := logLines(f.cloud, "spoke1"); count(lines, "they are tried again after a pause", "wait="+wait) != 1 {
			t.Errorf("no pause of %s ms:\n%s", wait, strings.Join(lines, "\n"))
		}
	}
	f.apply("hub1", flexHub(1, pushAll, ""))
	if err := f.routers["spoke1"].ClearClient("Flex_Client"); err != nil {
		t.Fatal(err)
	}
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3 timeout 1", "(3/3)")
}

func TestAClientFollowsItsHubsNameToAnotherAddress(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	var mu sync.Mutex
	names := map[string]string{"hub.example.net": "172.25.1.1"}
	f.nameServer("Internet", "172.16.1.254", func(name string) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		a, there := names[name]
		return a, there
	})
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), flexHub(n, pushAll, ""))
	}
	f.run("spoke1", flexSpoke(1, clientTunnel, flexClient(`peer = [{ fqdn = "hub.example.net", track = 1 }]
[track.1]
icmp-echo = { address = "172.16.1.254", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
[dns]
server = ["172.16.1.254"]
timeout = "200ms"
`)))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show ip route", "T        172.25.1.1/32")
	mu.Lock()
	names["hub.example.net"] = "172.25.2.1"
	mu.Unlock()
	f.forgets("spoke1", "hub.example.net")
	f.exec("hub1", "clear crypto session")
	f.at("spoke1", "172.25.2.1")
	f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3 timeout 1", "(3/3)")
	if out := f.want("spoke1", "show ip route", "T        172.25.2.1/32"); strings.Contains(out, "172.25.1.1/32") {
		t.Errorf("the former address is still kept outside:\n%s", out)
	}
	// Nobody knows the name any more: the session stays, and it is tried again when that has ended.
	mu.Lock()
	delete(names, "hub.example.net")
	mu.Unlock()
	f.forgets("spoke1", "hub.example.net")
	f.at("spoke1", "172.25.2.1")
	f.exec("hub2", "clear crypto session")
	f.until(func() string {
		return unless(count(logLines(f.cloud, "spoke1"), "a gateway's name has no address", "hub.example.net") > 0, "a question about the name")
	})
}

func TestAClientsTunnelMayBeShutRemovedAndBroughtBackAtAnyMoment(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", flexHub(1, pushAll, ""))
	a := flexSpoke(1, clientTunnel, flexClient("peer = [{ address = \"172.25.1.1\" }, { address = \"172.25.2.1\" }]"))
	shut := strings.Replace(a, "[interface.Tunnel1]\n", "[interface.Tunnel1]\nshutdown = true\n", 1)
	none := flexSpoke(1, clientTunnel, "")
	at, end := strings.Index(none, "[interface.Tunnel1]"), strings.Index(none, "[access-list.lan]")
	none = none[:at] + none[end:]
	var clear, ike atomic.Int32
	heard := make(chan struct{}, 1)
	f.wan["spoke1"].SetCapture(func(_ time.Time, _ *mem.Port, frame []byte) {
		if len(frame) < 42 || frame[12] != 8 || frame[13] != 0 {
			return
		}
		switch frame[23] {
		case 47:
			clear.Add(1)
		case 17:
			ike.Add(1)
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	})
	f.run("spoke1", a)
	gone := func(other string, when string) {
		t.Helper()
		f.apply("spoke1", other)
		f.until(func() string {
			left := ""
			r := f.routers["spoke1"]
			r.look(func() {
				n, s, w := len(r.clients.calls), r.clients.Snapshot(), r.protect.Count()
				if n > 0 || len(s) > 0 && (other == none || s[0].State != client.StateIdle || s[0].Call.ID != 0) || w != (protect.Count{}) {
					left = fmt.Sprintf("%s there are %d calls, %+v, %+v", when, n, s, w)
				}
			})
			return left
		})
	}
	for _, other := range []string{shut, none} {
		for messages := range int32(5) { // of the four until it is up
			gone(other, "to begin with")
			before := ike.Load()
			f.apply("spoke1", a)
			for late := time.After(20 * time.Second); ike.Load() < before+messages; {
				select {
				case <-heard:
				case <-late:
					t.Fatal("it does not negotiate")
				}
			}
			gone(other, fmt.Sprintf("after %d messages", messages))
			f.apply("spoke1", a)
			f.at("spoke1", "172.25.1.1")
			f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 1 timeout 1", "(1/1)")
		}
	}
	// The other hub is silent: it is being called while all of it goes.
	f.wan["hub1"].SetUp(false)
	f.exec("spoke1", "clear crypto session")
	f.until(func() string { return unless(f.client("spoke1").State == client.StateNegotiation, "a call") })
	f.apply("spoke1", none)
	f.apply("spoke1", a)
	f.wan["hub1"].SetUp(true)
	f.at("spoke1", "172.25.1.1")
	if n := clear.Load(); n > 0 {
		t.Errorf("%d packets of GRE in clear", n)
	}
}

func TestADialBackupDoesNotFlapWithItsClient(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), flexHub(n, `{ set-interface = ["self"] }`, ""))
	}
	text := flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1", track = 1 }]
backup-interface = "Tunnel2"
[track.1]
icmp-echo = { address = "172.25.1.1", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
[interface.Tunnel2]
address = "negotiated"
source = "GigabitEthernet1"
destination = "172.25.2.1"
protection = "P"
`))
	f.run("spoke1", text)
	f.at("spoke1", "172.25.1.1")
	f.wan["hub1"].SetUp(false)
	f.until(func() string { return unless(f.routers["spoke1"].lineUp("Tunnel2"), "the backup") })
	// The client comes and goes faster than the backup would: it stays, and serves all the time.
	for range 3 {
		f.wan["hub1"].SetUp(true)
		f.at("spoke1", "172.25.1.1")
		if !f.routers["spoke1"].lineUp("Tunnel2") {
			t.Error("the backup has left at once")
		}
		f.wan["hub1"].SetUp(false)
		f.until(func() string { return unless(f.client("spoke1").State != client.StateActive, "an end of the session") })
		f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 2 timeout 1", "(2/2)")
	}
	lines := logLines(f.cloud, "spoke1")
	if n := count(lines, "the dial backup of client block Flex_Client is brought"); n != 1 {
		t.Errorf("the backup was moved %d times:\n%s", n, strings.Join(lines, "\n"))
	}
	// It is nobody's backup any more: a tunnel like others.
	f.apply("spoke1", strings.Replace(text, `backup-interface = "Tunnel2"`, "", 1))
	f.until(func() string { return unless(f.routers["spoke1"].lineUp("Tunnel2"), "a tunnel of its own") })
	f.wan["hub1"].SetUp(true)
	f.apply("spoke1", text)
	f.at("spoke1", "172.25.1.1")
	f.until(func() string { return unless(!f.routers["spoke1"].lineUp("Tunnel2"), "a backup at rest") })
}
