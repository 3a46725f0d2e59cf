package boot

import (
	"fmt"
	"strings"
	"testing"

	"felloe/vpn/flexvpn/client"
)

// clientTunnel is the tunnel of a client block, and the block with what is given.
const clientTunnel = "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"dynamic\"\nmode = \"gre ip\""

func flexClient(more string) string {
	return "[ikev2.client.Flex_Client]\nclient-connect = \"Tunnel1\"\n" + more
}

// failover starts two hubs and a spoke with a client block.
func failover(t *testing.T, tunnel, block string) *flex {
	f := newFlex(t)
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), flexHub(n, `{ set-interface = ["self"], set-remote = ["192.168.0.0/16"] }`, ""))
	}
	f.run("spoke1", flexSpoke(1, tunnel, block))
	return f
}

func (f *flex) client(name string) (s client.Status) {
	f.routers[name].look(func() { s, _ = f.routers[name].clients.Status("Flex_Client") })
	return s
}

// at waits until a spoke's client has its session with a peer.
func (f *flex) at(spoke, peer string) {
	f.t.Helper()
	f.until(func() string {
		s := f.client(spoke)
		return unless(s.State == client.StateActive && s.Call.Peer.String() == peer, fmt.Sprintf("the session with %s: %+v", peer, s))
	})
}

func TestAClientMovesToTheNextHubByDeadPeerDetection(t *testing.T) {
	t.Parallel() // it mostly waits
	f := failover(t, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }, { address = "172.25.2.1" }]`))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show ip route", "10.1.1.100/32 is directly connected, Tunnel1")
	f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 3", "(3/3)")
	f.wan["hub1"].SetUp(false) // silently
	f.at("spoke1", "172.25.2.1")
	f.want("spoke1", "show ip route", "10.1.1.200/32 is directly connected, Tunnel1")
	f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3", "(3/3)")
	lines := logLines(f.cloud, "spoke1")
	for _, want := range []string{
		"%FLEXVPN-6-FLEXVPN_CONNECTION_UP: FlexVPN(Flex_Client) Client_public_addr = 172.16.1.2 Server_public_addr = 172.25.1.1 Assigned_Tunnel_v4_addr = 10.1.1.100",
		"%FLEXVPN-6-FLEXVPN_CONNECTION_DOWN: FlexVPN(Flex_Client) Client_public_addr = 172.16.1.2 Server_public_addr = 172.25.1.1 Assigned_Tunnel_v4_addr = 10.1.1.100",
		"%LINEPROTO-5-UPDOWN: Line protocol on Interface Tunnel1, changed state to down",
		"%FLEXVPN-6-FLEXVPN_CONNECTION_UP: FlexVPN(Flex_Client) Client_public_addr = 172.16.1.2 Server_public_addr = 172.25.2.1 Assigned_Tunnel_v4_addr = 10.1.1.200",
	} {
		if count(lines, want) != 1 {
			t.Errorf("%d lines %q in\n%s", count(lines, want), want, strings.Join(lines, "\n"))
		}
	}
	// The first one is there again; the client stays where it is, and has nothing else in mind.
	f.wan["hub1"].SetUp(true)
	f.want("spoke1", "ping 172.25.1.1 repeat 1", "(1/1)")
	if s := f.client("spoke1"); s.State != client.StateActive || s.Call.Peer.String() != "172.25.2.1" || s.Beside.ID != 0 || !s.NextTry.IsZero() {
		t.Errorf("%+v", s)
	}
}

const trackedPeers = `peer = [{ address = "172.25.1.1", track = 1 }, { address = "172.25.2.1", track = 2 }]
peer-reactivate = true
[track.1]
icmp-echo = { address = "172.25.1.1", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
[track.2]
icmp-echo = { address = "172.25.2.1", source = "GigabitEthernet1", interval = "100ms", timeout = "1s" }
`

func TestAClientMovesByATrackAndBackWithoutALoss(t *testing.T) {
	t.Parallel() // it mostly waits
	f := failover(t, clientTunnel, flexClient(trackedPeers))
	f.at("spoke1", "172.25.1.1")
	for range 2 {
		f.wan["hub1"].SetUp(false)
		f.at("spoke1", "172.25.2.1")
		f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 3", "(3/3)")
		x := f.flow("spoke1", "192.168.101.1", "10.1.1.1")
		x.more(20)
		f.wan["hub1"].SetUp(true)
		f.at("spoke1", "172.25.1.1")
		f.want("spoke1", "show ip route", "10.1.1.100/32 is directly connected, Tunnel1")
		x.more(50)
		if sent, lost := x.stop(); lost > 0 {
			t.Errorf("%d of %d lost on the way back", lost, sent)
		}
		// The hub that it has left is not told the address that it has got elsewhere: it would send there what is for it.
		if out := f.exec("hub2", "show ip route"); strings.Contains(out, "10.1.1.100") || !strings.Contains(out, "10.1.1.200/32") {
			t.Errorf("the former hub knows\n%s", out)
		}
	}
	// The former session goes after a while; the hub's interface with it.
	f.until(func() string {
		n := 0
		f.routers["hub2"].look(func() { n = len(f.routers["hub2"].flexvpn.List()) })
		return unless(n == 0, "an end of hub 2's interface")
	})
	if n := count(logLines(f.cloud, "spoke1"), "%LINEPROTO-5-UPDOWN: Line protocol on Interface Tunnel1, changed state to down"); n != 2 {
		t.Errorf("the line protocol went down %d times:\n%s", n, strings.Join(logLines(f.cloud, "spoke1"), "\n"))
	}
}

func TestAClientFindsItsHubsByNameAndConnectsByHand(t *testing.T) {
	t.Parallel() // it mostly waits
	tunnel := strings.Replace(clientTunnel, `source = "GigabitEthernet1"`, `source = "dynamic"`, 1)
	block := flexClient(`peer = [{ fqdn = "hub1" }, { fqdn = "hub2.example.net" }]
connect = "manual"
source = [{ interface = "GigabitEthernet2", track = 9 }, { interface = "GigabitEthernet1" }]
[track.9]
interface = { name = "Loopback9" }
[interface.Loopback9]
address = "10.9.9.9/32"
shutdown = true
[dns]
domain = "example.net"
server = ["172.16.1.254"]
timeout = "100ms"
[dns.host]
"hub2.example.net" = ["172.25.2.1", "2001:db8:25:2::1"]
`)
	f := failover(t, tunnel, block)
	// What it does by itself it has begun when the configuration is applied.
	if s := f.client("spoke1"); s.State != client.StateIdle || s.Tries != 0 || !s.NextTry.IsZero() {
		t.Fatalf("%+v", s)
	}
	if err := f.routers["spoke1"].ConnectClient("Flex_Client"); err != nil {
		t.Fatal(err)
	}
	f.at("spoke1", "172.25.2.1") // no server finds the first
	f.want("spoke1", "ping 192.168.0.2 source GigabitEthernet2 repeat 3", "(3/3)")
	if s := f.client("spoke1"); s.Call.Source != "GigabitEthernet1" {
		t.Errorf("%+v", s)
	}
	if err := f.routers["spoke1"].DisconnectClient("Flex_Client"); err != nil {
		t.Fatal(err)
	}
	f.until(func() string { return unless(!f.routers["spoke1"].lineUp("Tunnel1"), "an end of the session") })
	if err := f.routers["spoke1"].ConnectClient("nobody"); err == nil {
		t.Error("nobody is connected")
	}
}

func TestADialBackupOverIPv4StandsInForAClientOverIPv6(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", strings.Replace(flexHub(1, `{ set-interface = ["self"] }`, ""), `protection = "P"`, "mode = \"gre ipv6\"\nprotection = \"P\"", 1))
	f.run("hub2", flexHub(2, `{ set-interface = ["self"] }`, ""))
	f.run("spoke1", flexSpoke(1, strings.Replace(clientTunnel, "gre ip", "gre ipv6", 1), flexClient(`peer = [{ address = "2001:db8:25:1::1", track = 1 }]
peer-reactivate = true
backup-interface = "Tunnel2"
[track.1]
icmp-echo = { address = "2001:db8:25:1::1", interval = "100ms", timeout = "1s" }
[interface.Tunnel2]
address = "negotiated"
source = "GigabitEthernet1"
destination = "172.25.2.1"
protection = "P"
`)))
	f.at("spoke1", "2001:db8:25:1::1")
	f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 3", "(3/3)")
	f.until(func() string { return unless(!f.routers["spoke1"].lineUp("Tunnel2"), "quiet on the backup") })
	for range 2 {
		f.wan["hub1"].SetUp(false)
		f.until(func() string {
			return unless(f.routers["spoke1"].lineUp("Tunnel2") && !f.routers["spoke1"].lineUp("Tunnel1"), "the backup")
		})
		f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 3", "(3/3)")
		f.wan["hub1"].SetUp(true)
		f.at("spoke1", "2001:db8:25:1::1")
		f.until(func() string { return unless(!f.routers["spoke1"].lineUp("Tunnel2"), "an end of the backup") })
		f.want("spoke1", "ping 10.1.1.1 source GigabitEthernet2 repeat 3", "(3/3)")
	}
}
