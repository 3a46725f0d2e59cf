package boot

import (
	"context"
	"strings"
	"testing"

	"felloe/netstack/link/mem"
)

// mistaken is the scenario's network, two of whose spokes have a mistake each.
func mistaken(t *testing.T, spoke1, spoke2 string) *cloud {
	c := newCloud(t)
	var wan []NIC
	far := map[string]NIC{}
	for _, n := range []string{"Hub", "Spoke1", "Spoke2"} {
		a, b := c.net.Pair("Internet:"+n, n+":Gi1", mem.Impairment{})
		wan = append(wan, NIC{"Internet:" + n, a})
		far[n] = NIC{n + ":Gi1", b}
	}
	c.start("Internet", internet, wan...)
	c.start("Hub", hub, far["Hub"])
	c.start("Spoke1", spoke1, far["Spoke1"])
	c.start("Spoke2", spoke2, far["Spoke2"])
	return c
}

func change(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("no %q to change", old)
	}
	return strings.ReplaceAll(text, old, new)
}

func TestWrongKeysAndStringsAreSaidOnceShownAndMended(t *testing.T) {
	t.Parallel() // it mostly waits
	c := mistaken(t, change(t, spoke(1), "CISCO123", "cisco123"), change(t, spoke(2), `authentication = "DMVPN"`, `authentication = "dmvpn"`))

	c.want("Spoke1", "show logging", "%IKEV2-3-NEG_ABORT: ", "AUTHENTICATION_FAILED", "peer=172.16.1.1:500")
	c.want("Spoke1", "show crypto session", "Session status: DOWN", "Last error: ", "uthenticat")
	c.want("Hub", "show logging", "%IKEV2-3-NEG_ABORT: ", "peer=172.16.2.2:500")
	c.want("Hub", "show logging", "wrong NHRP authentication", "peer=172.16.3.3")
	c.want("Spoke2", "show crypto session", "UP-ACTIVE")
	c.want("Spoke2", "show ip nhrp nhs", "10.10.10.1       E ", "authentication")
	for _, n := range []string{"Spoke1", "Spoke2"} {
		if out := c.exec(n, "show ip route bgp"); strings.Contains(out, "via ") {
			t.Errorf("%s has BGP routes:\n%s", n, out)
		}
	}
	if n := count(logLines(c, "Spoke1"), "NEG_ABORT"); n != 1 {
		t.Errorf("the wrong key is said %d times:\n%s", n, c.exec("Spoke1", "show logging"))
	}
	if n := count(logLines(c, "Hub"), "wrong NHRP authentication"); n != 1 {
		t.Errorf("the wrong string is said %d times:\n%s", n, c.exec("Hub", "show logging"))
	}
	c.apply("Spoke1", spoke(1))
	c.apply("Spoke2", spoke(2))
	for _, n := range []string{"Spoke1", "Spoke2"} {
		c.want(n, "show ip nhrp nhs", "10.10.10.1       RE ")
		c.want(n, "show ip route bgp", "192.168.11.1/32")
	}
}

func TestAWrongASAndAWrongMTUAreSaidShownAndMended(t *testing.T) {
	t.Parallel() // it mostly waits
	c := mistaken(t, change(t, spoke(1), "as = 65011", "as = 65019"), change(t, spoke(2), `mode = "gre multipoint"`, "mode = \"gre multipoint\"\nip-mtu = 1600"))

	c.want("Spoke2", "show logging", "[interface.Tunnel0] ip-mtu 1600 is more than the interface carries; ")
	c.want("Spoke2", "show interfaces Tunnel0", "(1600 is configured, which is more than it carries)")
	c.want("Spoke2", "show ip route bgp", "192.168.11.1/32")
	c.want("Spoke1", "show ip nhrp nhs", "10.10.10.1       RE ")
	c.want("Spoke1", "show logging", "BGP", "10.10.10.1", "AS")
	c.want("Spoke1", "show ip bgp neighbors", "Last reset due to ", "AS")
	if out := c.exec("Spoke1", "show ip bgp summary"); strings.Contains(out, "Established") {
		t.Errorf("a session with the wrong AS:\n%s", out)
	}
	c.apply("Spoke1", spoke(1))
	c.apply("Spoke2", spoke(2))
	c.want("Spoke1", "show ip route bgp", "192.168.11.1/32", "192.168.33.3/32")
	if out := c.want("Spoke2", "show interfaces Tunnel0", "IP MTU"); strings.Contains(out, "is configured, which") {
		t.Errorf("the MTU is not mended:\n%s", out)
	}
}

func TestABrokenConfigurationLeavesTheRouterAsItIsWithAllErrorsListed(t *testing.T) {
	c := newCloud(t)
	a, _ := c.net.Pair("r", "x", mem.Impairment{})
	r := c.start("r", hub, NIC{"r", a})
	before := state(t, r)
	broken := change(t, change(t, hub, "10.10.10.1/24", "10.10.10.1/240"), `protection = "PROTECT"`, `protection = "PROTECTT"`) + "\nnonsense = 1\n"
	_, err := r.Replace(context.Background(), broken)
	if err == nil {
		t.Fatal("it was applied")
	}
	for _, word := range []string{"10.10.10.1/240", `did you mean "PROTECT"`, "nonsense", "as it was"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is missing in\n%v", word, err)
		}
	}
	if after := state(t, r); after != before {
		t.Errorf("it changed something:\n%s\nbefore\n%s", after, before)
	}
}

func TestAPanicOfAnEngineLeavesForwardingAlone(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Spoke2", "show ip route bgp", "192.168.22.2/32", "192.168.11.1/32")
	c.want("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 3", "(3/3)")
	r := c.routers["Hub"]
	for range 3 {
		r.loop.Post("a broken engine", func() { panic("injected") })
	}
	out := c.exec("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 5 interval 20")
	if !strings.Contains(out, "(5/5)") {
		t.Errorf("forwarding suffered:\n%s", out)
	}
	if n := count(logLines(c, "Hub"), "event=panic"); n != 3 || r.loop.Panics() != 3 {
		t.Errorf("%d lines of %d panics", n, r.loop.Panics())
	}
	c.want("Hub", "show ip bgp summary", "10.10.10.3")
	c.want("Hub", "show counters", "panics")
}
