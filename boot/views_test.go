package boot

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

const cpeConfig = `
hostname = "Client"
[interface.GigabitEthernet1]
address = ["10.88.247.89/27"]
[interface.Tunnel0]
mode = "ipsec ipv4"
address = ["10.122.144.146/27"]
source = "GigabitEthernet1"
destination = "10.88.247.84"
protection = "P"
[ikev2.proposal.P]
encryption = ["aes-cbc-256"]
integrity = ["sha512"]
group = [16]
[ikev2.policy.P]
proposal = ["P"]
[ikev2.authorization-policy.TELL]
route = { set-remote = ["10.122.144.128/27"] }
[ikev2.profile.P]
match = { identity = { remote = { any = true } } }
pre-shared-key = "ciscociscocisco123"
authorization = { policy = "TELL" }
[ipsec.transform-set.T]
esp = ["aes-cbc-256", "sha512"]
[ipsec.profile.P]
transform-set = ["T"]
ikev2-profile = "P"
pfs = 14
[bgp]
as = 200
[bgp.neighbor."166.34.121.112"]
remote-as = 65000
ebgp-multihop = 10
timers = { keepalive = 80, hold = 240, connect-retry = "2s" }
`

// cpeAndServer is the lab secure-overlay in memory, with a client of our own.
func cpeAndServer(t *testing.T) *cloud {
	c := newCloud(t)
	text, err := os.ReadFile("../qemu/labs/secure-overlay/server.toml")
	if err != nil {
		t.Fatal(err)
	}
	server, _, _ := strings.Cut(string(text), "[lab]")
	server = strings.Replace(server, "remote-as     = 200", "remote-as     = 200\nsoft-reconfiguration-inbound = true\nprefix-list = { out = \"TO-UCPES\" }", 1) + `
[prefix-list.TO-UCPES]
entry = [{ permit = "0.0.0.0/0", le = 32 }]
`
	a, b := c.net.Pair("Server:Gi1", "Client:Gi1", mem.Impairment{})
	lan, far := c.net.Pair("Server:Gi3", "Lan", mem.Impairment{})
	t.Cleanup(func() { _ = far.Close() })
	c.start("Server", server, NIC{"Server:Gi1", a}, NIC{"Server:Gi3", lan})
	c.start("Client", cpeConfig, NIC{"Client:Gi1", b})
	return c
}

func TestAServerOfVRFsShowsItselfInIOSsWords(t *testing.T) {
	t.Parallel() // it mostly waits
	c := cpeAndServer(t)
	c.want("Server", "show crypto session", "Interface: Virtual-Access1", "Session status: UP-ACTIVE", "Peer: 10.88.247.89 port ")
	c.want("Server", "show ip bgp vpnv4 vrf private-vrf summary", "*10.122.144.146", "Dynamically created neighbors: 1/(100 max), Subnet ranges: 1", "Total dynamically created neighbors: 1/(255 max)")
	c.want("Client", "show ip route bgp", "81.81.81.1/32", "91.91.91.0/24")
	c.want("Server", "ping vrf private-vrf 10.122.144.146 source Loopback1001 repeat 3 interval 10", "(3/3)")
	for line, words := range map[string][]string{
		"show crypto session detail":                               {"fvrf: public-vrf ivrf: private-vrf", "Capabilities:", "#pkts dec'ed", "Phase1_id: 10.88.247.89"},
		"show crypto session ivrf private-vrf remote 10.88.247.89": {"UP-ACTIVE"},
		"show crypto session brief":                                {"ivrf = private-vrf", "Vi1", "UA"},
		"show processes memory":                                    {"Goroutines: "},
		"show crypto session summary":                              {"Crypto sessions: 1", "UP-ACTIVE 1", "IKEv2 SAs: 1", "IPsec SAs: 2"},
		"show crypto ikev2 sa detailed":                            {"public-vrf/private-vrf", "READY", "Authorization policy: uCPE-author-pol", "166.34.121.112 255.255.255.255", "10.122.144.128 255.255.255.224", "DPD configured for 60 seconds, retry 2, on-demand"},
		"show crypto ikev2 sa remote 10.88.247.89 fvrf public-vrf": {"READY"},
		"show crypto ikev2 stats":                                  {"Total incoming IKEv2 SA Count:    1", "Child SAs: up 1"},
		"show crypto ikev2 profile":                                {"IKEv2 profile: uCPE-profile", "Fvrf: public-vrf", "Virtual-template: 1 mode auto", "Ivrf: private-vrf"},
		"show crypto ikev2 authorization policy uCPE-author-pol":   {"route set interface Loopback1001", " pfs"},
		"show crypto ipsec profile":                                {"DH group:  group14", "28800 seconds"},
		"show crypto ipsec sa vrf private-vrf": {"interface: Virtual-Access1", "protected vrf: private-vrf", "plaintext mtu 1422", "path mtu 1500", "ip mtu idb GigabitEthernet1",
			"transform: esp-256-aes esp-sha512-hmac ,", "={Tunnel, }", "PFS (Y/N): N, DH group: none", "IV size: 16 bytes", "replay detection support: Y", "Status: ACTIVE"},
		"show vrf":                                     {"65000:7", "Vi1", "Lo1001", "public-vrf"},
		"show vrf detail public-vrf":                   {"Gi1", "Tunnels with their outer packets here"},
		"show ip route vrf private-vrf static":         {"10.122.144.128/27", "Virtual-Access1"},
		"show ip route vrf private-vrf 10.122.144.146": {"Virtual-Access1"},
		"show ip route vrf private-vrf 81.81.81.1/32":  {"Loopback80"},
		"show ip cef vrf private-vrf 10.122.144.146":   {"Virtual-Access1"},
		"show ip arp vrf public-vrf":                   {"10.88.247.89"},
		"show ip interface brief":                      {"Virtual-Access1", "166.34.121.112", "Virtual-Template1"},
		"show interfaces Virtual-Access 1":             {"line protocol is up", "Using address of Loopback1001 (166.34.121.112)", "cloned from Virtual-Template1", "Tunnel transport VRF is public-vrf", "destination 10.88.247.89"},
		"show derived-config interface vi1":            {"[interface.Virtual-Access1]", `unnumbered = "Loopback1001"`, `destination = "10.88.247.89"`, `protection = "uCPE-ips-prof"`},
		"show running-config interface Loopback80":     {"81.81.81.1/32"},
		"show ip bgp vpnv4 all":                        {"Route Distinguisher: 65000:7 (default for vrf private-vrf)", " *>  81.81.81.1/32     0.0.0.0                  0         32768 ?", "10.122.144.128/27"},
		"show ip bgp vpnv4 all summary":                {"vrf private-vrf", "*10.122.144.146"},
		"show bgp vpnv4 unicast vrf private-vrf":       {"166.34.121.112/32"},
		"show ip bgp summary":                          {"BGP router identifier 166.34.121.112, local AS number 65000", "Total dynamically created neighbors: 1/(255 max), Subnet ranges: 1"},
		"show ip bgp vpnv4 vrf private-vrf 81.81.81.1": {"entry for 65000:7:81.81.81.1/32", "Origin incomplete", "sourced, best"},
		"show ip bgp vpnv4 all neighbors 10.122.144.146": {"*10.122.144.146,  vrf private-vrf,  remote AS 200, external link", "Member of peer-group uCPEs", "subnet range group: 10.122.144.0/24", "BGP state = Established",
			"Hold time is 240", "Outgoing update prefix filter list is TO-UCPES"},
		"show ip bgp vpnv4 all neighbors 10.122.144.146 advertised-routes": {"81.81.81.1/32", "Total number of prefixes 4"},
		"show ip bgp vpnv4 all neighbors 10.122.144.146 received-routes":   {"Total number of prefixes 0"},
		"show ip prefix-list detail TO-UCPES":                              {"seq 5 permit 0.0.0.0/0 le 32 (hit count: "},
	} {
		c.want("Server", line, words...)
		if out := c.exec("Server", line+" | json"); !strings.HasPrefix(out, "{") && !strings.HasPrefix(out, "\"") {
			t.Errorf("%s | json: %s", line, out)
		}
	}
	if out := c.exec("Server", "show derived-config interface vi1"); strings.Contains(out, "ttl") || !strings.Contains(out, `tunnel-vrf = "public-vrf"`) {
		t.Errorf("what is a default is shown, or what is none is not:\n%s", out)
	}
	for _, command := range c.routers["Server"].Commands().Commands() {
		line, _, _ := strings.Cut(strings.NewReplacer("[", "<", "{", "<").Replace(command.Pattern), " <")
		if strings.HasPrefix(line, "show ") && !strings.Contains(command.Pattern[len(line):], " interface <") {
			ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
			if out, err := c.routers["Server"].Exec(ctx, line+" | json"); err == nil && !json.Valid([]byte(out)) || err != nil && strings.Contains(err.Error(), "JSON") {
				t.Errorf("%s | json: %v %s", line, err, out)
			}
			stop()
		}
	}
	for line, word := range map[string]string{
		"show crypto session ivrf public-vrf": "Interface", "show crypto ipsec sa peer 10.88.247.90": "interface", "show crypto ikev2 sa fvrf private-vrf": "READY",
		"show crypto ipsec sa interface GigabitEthernet1": "interface:",
	} {
		if out := c.exec("Server", line); strings.Contains(out, word) {
			t.Errorf("%s shows too much:\n%s", line, out)
		}
	}
	tree := c.routers["Server"].Commands()
	for line, want := range map[string]string{
		"show ip route vrf pr":              "show ip route vrf private-vrf ",
		"show interfaces virtual-a":         "show interfaces Virtual-Access1 ",
		"show ip bgp vpnv4 all neighbors 1": "show ip bgp vpnv4 all neighbors 10.122.144.146 ",
		"show crypto ikev2 profile u":       "show crypto ikev2 profile uCPE-profile ",
		"show ip prefix-list T":             "show ip prefix-list TO-UCPES ",
		"clear crypto session remote 1":     "clear crypto session remote 10.88.247.89 ",
	} {
		if got := tree.Complete(line); got != want {
			t.Errorf("%q is completed to %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{"show ip route vrf nowhere", "show crypto session ivrf nowhere", "show crypto ikev2 profile nobody", "show ip bgp vpnv4 vrf public-vrf", "show interfaces Virtual-Access9",
		"show ip bgp vpnv4 all neighbors 10.0.0.1 routes", "show derived-config interface Virtual-Access9", "show vrf nowhere", "clear ip bgp 10.0.0.1"} {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		if out, err := c.routers["Server"].Exec(ctx, line); err == nil {
			t.Errorf("%s should be refused:\n%s", line, out)
		}
		stop()
	}
}

// ids are the IKE SA and the inbound SPI that a router's only session has.
func ids(c *cloud, name string) (ike, spi string) {
	c.t.Helper()
	for line := range strings.Lines(c.want(name, "show crypto ikev2 sa detailed", "READY")) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "Local spi: "); ok {
			ike, _, _ = strings.Cut(s, " ")
		}
	}
	for line := range strings.Lines(c.want(name, "show crypto ipsec sa", "inbound esp sas:\n      spi:")) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "spi: "); ok && spi == "" {
			spi = s
		}
	}
	return ike, strings.TrimSpace(spi)
}

func TestEachClearTakesAwayWhatItIsFor(t *testing.T) {
	t.Parallel() // it mostly waits
	c := cpeAndServer(t)
	c.want("Client", "show ip route bgp", "81.81.81.1/32")
	ike, spi := ids(c, "Server")

	if out := c.exec("Client", "clear crypto session peer 10.88.247.99"); !strings.HasPrefix(out, "0 cleared") {
		t.Errorf("somebody else's session: %s", out)
	}
	c.want("Client", "ping 166.34.121.112 source Tunnel0 repeat 3 interval 10", "(3/3)")
	c.exec("Server", "clear crypto sa counters")
	c.want("Server", "show crypto ipsec sa", "#pkts encaps: 0, ", "#pkts decaps: 0, ")

	// Only the IPsec SAs: the client, who wants them, makes new ones under the same IKE SA.
	c.exec("Client", "clear crypto sa peer 10.88.247.84")
	c.until(func() string {
		i, s := ids(c, "Server")
		return unless(i == ike && s != spi, "new IPsec SAs under the old IKE SA")
	})
	_, spi = ids(c, "Server")

	c.exec("Client", "clear crypto ikev2 sa remote 10.88.247.84")
	c.until(func() string {
		i, s := ids(c, "Server")
		return unless(i != ike && s != spi, "a new IKE SA with new IPsec SAs")
	})
	ike, spi = ids(c, "Server")

	c.exec("Client", "clear crypto session")
	c.until(func() string { i, s := ids(c, "Server"); return unless(i != ike && s != spi, "a new session") })
	c.want("Server", "show crypto session", "Virtual-Access", "UP-ACTIVE")
	c.want("Client", "show ip route bgp", "81.81.81.1/32")
}

func TestBGPIsDebuggedAndClearedByVRF(t *testing.T) {
	t.Parallel() // it mostly waits
	c := cpeAndServer(t)
	c.want("Client", "show ip route bgp", "81.81.81.1/32")
	for _, topic := range []string{"updates", "events"} {
		c.exec("Server", "debug ip bgp "+topic)
	}
	c.exec("Server", "clear ip bgp vrf private-vrf 10.122.144.146 soft out")
	c.want("Server", "show logging", "debug bgp updates: BGP: 10.122.144.146 send UPDATE 81.81.81.1/32", "path 65000, origin ?")
	c.want("Server", "show ip bgp vpnv4 all neighbors", "Connections established 1; dropped 0")
	c.exec("Server", "clear bgp vpnv4 unicast vrf private-vrf *")
	c.want("Server", "show logging", "debug bgp events: BGP: 10.122.144.146 went down")
	c.want("Server", "show ip bgp vpnv4 all summary", "*10.122.144.146")
	c.want("Client", "show ip route bgp", "81.81.81.1/32")
	c.exec("Server", "clear ip bgp *")
	c.want("Client", "show ip bgp neighbors", "dropped 2")
	c.want("Client", "show ip route bgp", "81.81.81.1/32")
}
