package boot

import (
	"slices"
	"strings"
	"testing"
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
