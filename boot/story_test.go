package boot

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// logLines are the lines of a router's log without their time.
func logLines(c *cloud, name string) []string {
	var out []string
	for _, e := range c.routers[name].Log().Entries() {
		_, line, _ := strings.Cut(e.String(), ": ")
		out = append(out, line)
	}
	return out
}

func count(lines []string, words ...string) int {
	n := 0
	for _, l := range lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) }) {
			n++
		}
	}
	return n
}

func TestTheLogOfASpokeThatComesUpReadsAsAStory(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Spoke2", "show ip route bgp", "192.168.22.2/32", "192.168.11.1/32")
	lines := logLines(c, "Spoke2")
	story := []string{
		"configuration applied",
		"info: Crypto tunnel v2 is UP.  Peer 172.16.1.1:500",
		"IPsec SAs are installed",
		"%DMVPN-5-NHRP_NHS: Tunnel0: Next Hop Server (Tunnel: 10.10.10.1 NBMA: 172.16.1.1) is UP",
		"%BGP-5-ADJCHANGE: neighbor 10.10.10.1 Up",
	}
	c.want("Spoke2", "show events peer 172.16.1.1", "  The session with 172.16.1.1 came up\n", "ike      Crypto tunnel v2 is UP.  Peer 172.16.1.1:500", "ipsec    IPsec SAs are installed")
	c.want("Spoke2", "show events last 1 | json", `"stories"`)
	at := 0
	for _, l := range lines {
		if at < len(story) && strings.Contains(l, story[at]) {
			at++
		}
	}
	if at < len(story) || len(lines) != len(story) {
		t.Fatalf("%d of the story's %d lines are there:\n%s", at, len(story), strings.Join(lines, "\n"))
	}
}

// rest waits until nothing has happened at a router for so long that what happens next is another story: what came up a moment ago is
// not part of what goes down now.
func (c *cloud) rest(name string) {
	c.t.Helper()
	c.until(func() string {
		all := c.routers[name].Events()
		return unless(len(all) > 0 && c.routers[name].clock.Now().Sub(all[len(all)-1].Time) > 1100*time.Millisecond, "a rest")
	})
}

func TestAFailoverAndTheWayBackAreAStoryEach(t *testing.T) {
	t.Parallel() // it mostly waits
	f := failover(t, clientTunnel, "[logging]\nsession = true\n"+flexClient(trackedPeers))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show crypto ikev2 client flexvpn", "Current state:ACTIVE", "Peer : 172.25.1.1", "Source : GigabitEthernet1 (172.16.1.2)", "Assigned IP address: 10.1.1.100", "track 1 up  in use")
	f.want("spoke1", "show track brief", "1      icmp-echo 172.25.1.1  Up", "2      icmp-echo 172.25.2.1  Up")
	f.want("spoke1", "show ikev2 session", "Status:UP-ACTIVE, IKE count:1, CHILD count:1", "Child sa: Tunnel1")
	f.want("spoke1", "show interfaces Tunnel1", "Internet address is 10.1.1.100/32", "Tunnel source 172.16.1.2 (GigabitEthernet1), destination 172.25.1.1")
	f.rest("spoke1")
	f.wan["hub1"].SetUp(false)
	f.at("spoke1", "172.25.2.1")
	f.want("spoke1", "show events peer 172.25.2.1", "Flex_Client moved from 172.25.1.1 to 172.25.2.1 (Tunnel1)\n  Noticed by track 1: 1 icmp-echo 172.25.1.1 Up -> Down", "Up again after ",
		"the address of Tunnel1 from 10.1.1.100 and 2001:db8:101::100 to 10.1.1.200 and 2001:db8:101::200", "2 routes came to Tunnel1; 2 routes left Tunnel1")
	f.rest("spoke1")
	f.wan["hub1"].SetUp(true)
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show events last 1", "Flex_Client moved from 172.25.2.1 to 172.25.1.1 (Tunnel1)\n  Noticed by a better peer's return", "Moved after ", "from 10.1.1.200 and 2001:db8:101::200 to 10.1.1.100")
	if out := f.exec("spoke1", "show events peer 192.0.2.1"); out != "" {
		t.Errorf("stories about nobody:\n%s", out)
	}
	if out := f.exec("spoke1", "show events | json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"make_before_break": true`) {
		t.Errorf("as JSON:\n%s", out)
	}
	lines := logLines(f.cloud, "spoke1")
	for _, mnemonic := range []string{"%CRYPTO-5-IKEV2_SESSION_STATUS: Crypto tunnel v2 is DOWN.  Peer 172.25.1.1:500 Id: 172.25.1.1", "%CRYPTO-5-IKEV2_SESSION_STATUS: Crypto tunnel v2 is UP.  Peer 172.25.2.1:500 Id: 172.25.2.1",
		"%FLEXVPN-6-FLEXVPN_CONNECTION_DOWN: FlexVPN(Flex_Client) Client_public_addr = 172.16.1.2 Server_public_addr = 172.25.1.1 Assigned_Tunnel_v4_addr = 10.1.1.100",
		"%FLEXVPN-6-FLEXVPN_CONNECTION_UP: FlexVPN(Flex_Client)", "%LINEPROTO-5-UPDOWN: Line protocol on Interface Tunnel1, changed state to down", "%TRACK-6-STATE: 1 "} {
		if count(lines, mnemonic) == 0 {
			t.Errorf("no line %s in\n%s", mnemonic, strings.Join(lines, "\n"))
		}
	}
	f.rest("spoke1")
	f.exec("spoke1", "clear crypto ikev2 client flexvpn Flex_Client")
	f.want("spoke1", "show events last 1", "Flex_Client with 172.25.1.1 was lost and is back (Tunnel1)\n  Noticed by the operator")
	f.at("spoke1", "172.25.1.1")
	for line, word := range map[string]string{"crypto ikev2 client flexvpn connect Flex_Client": "manual", "show crypto ikev2 client flexvpn nobody": "There is no client block nobody", "show track 7": "There is no track 7"} {
		if out, err := f.routers["spoke1"].Exec(t.Context(), line); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v %s", line, err, out)
		}
	}
}

func TestAChangeOfTheLineProtocolIsOneLine(t *testing.T) {
	c := scenario1(t)
	c.exec("Spoke1", "shutdown interface Loopback10")
	c.want("Spoke1", "show logging", "Line protocol on Interface Loopback10, changed state to down")
	c.exec("Spoke1", "no shutdown interface Loopback10")
	c.want("Spoke1", "show logging", "Line protocol on Interface Loopback10, changed state to up")
	if n := count(logLines(c, "Spoke1"), "Loopback10", "rotocol"); n != 2 {
		t.Fatalf("%d lines:\n%s", n, c.exec("Spoke1", "show logging"))
	}
}

func TestATunnelThatIsShutSaysSoAndWhoseDoingItIs(t *testing.T) {
	t.Parallel() // it mostly waits
	f := failover(t, clientTunnel, flexClient(trackedPeers))
	f.at("spoke1", "172.25.1.1")
	f.rest("spoke1")
	f.exec("spoke1", "shutdown interface Tunnel1")
	f.want("spoke1", "show crypto ikev2 client flexvpn", "Current state:IDLE (Tunnel1 is shut down)", "Peer : none")
	f.want("spoke1", "show events last 2", "Flex_Client with 172.25.1.1 ended (Tunnel1)\n  Noticed by a new configuration: ", "Tunnel1 is shut or changed by the configuration", "Line protocol on Interface Tunnel1, changed state to down")
	f.exec("spoke1", "no shutdown interface Tunnel1")
	f.at("spoke1", "172.25.1.1")
	const line = "Line protocol on Interface Tunnel1, changed state to "
	if lines := logLines(f.cloud, "spoke1"); count(lines, line+"down") != 1 || count(lines, line+"up") != 2 {
		t.Errorf("not down once and up twice:\n%s", strings.Join(lines, "\n"))
	}
}

func TestDebuggingTellsOfPacketsWithinItsConditions(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Hub", "show ip nhrp", "10.10.10.2/32", "10.10.10.3/32")
	c.exec("Hub", "debug dmvpn detail all")
	c.exec("Hub", "debug dmvpn condition peer nbma 172.16.2.2")
	c.exec("Spoke1", "clear crypto session")
	c.exec("Spoke2", "clear crypto session")
	for _, words := range [][]string{
		{"debug ikev2 packet: Received packet, IKE_SA_INIT request", "peer=172.16.2.2:500"},
		{"debug ikev2 internal: Received IKE_AUTH request", "IDi", "SA TSi TSr"},
		{"debug ipsec: child SA is up"},
		{"debug nhrp packet: Receive registration request", "src 10.10.10.2 (NBMA 172.16.2.2)"},
		{"debug nhrp packet: Send registration reply", "code success"},
		{"debug tunnel: "},
	} {
		c.want("Hub", "show logging", words...)
	}
	c.want("Hub", "show logging", "Next Hop Client (Tunnel: 10.10.10.3 NBMA: 172.16.3.3) is UP")
	for _, l := range logLines(c, "Hub") {
		if strings.HasPrefix(l, "debug ") && strings.Contains(l, "172.16.3.3") {
			t.Fatalf("outside the condition: %s", l)
		}
		if strings.Contains(l, "DMVPN\"") || strings.Contains(l, "CISCO123") {
			t.Fatalf("a secret: %s", l)
		}
	}
	// By tunnel address and by interface.
	c.exec("Hub", "no debug dmvpn condition")
	c.exec("Hub", "undebug all")
	c.exec("Hub", "clear logging")
	c.exec("Hub", "debug nhrp packet")
	c.exec("Hub", "debug nhrp condition peer tunnel 10.10.10.3")
	c.want("Hub", "show logging", "debug nhrp packet: Receive registration request", "peer-tunnel=10.10.10.3")
	for _, l := range logLines(c, "Hub") {
		if strings.HasPrefix(l, "debug ") && !strings.Contains(l, "peer-tunnel=10.10.10.3") {
			t.Fatalf("outside the condition: %s", l)
		}
	}
	c.exec("Hub", "undebug all")
	c.exec("Hub", "debug ip routing")
	c.exec("Hub", "no debug nhrp condition")
	c.exec("Hub", "shutdown interface Loopback10")
	c.want("Hub", "show logging", "debug rib: RT: del 192.168.11.0/24")
}
