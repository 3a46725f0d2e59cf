package boot

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

// overlayServer is the secure overlay's server, as it is in config's test data but for BGP.
func overlayServer(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../config/testdata/good/secure-overlay.toml")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "[bgp]")
	// GigabitEthernet2 is not there: the second NIC would be its.
	return text
}

// overlayClient is a Felloe client of it, with a static VTI. Its inside is in a VRF too, with addresses that the underlay
// uses as well.
func overlayClient(n int, more string) string {
	return fmt.Sprintf(`
hostname = "client%[1]d"
[vrf.inside]
[interface.GigabitEthernet1]
address = ["10.88.247.%[2]d/27"]
[interface.Loopback0]
vrf = "inside"
address = ["10.122.144.%[3]d/32"]
[interface.Loopback1]
vrf = "inside"
address = ["10.88.247.84/32"]
[interface.Tunnel0]
vrf = "inside"
unnumbered = "Loopback0"
mode = "ipsec ipv4"
source = "GigabitEthernet1"
destination = "10.88.247.84"
protection = "P"
ip-mtu = 1400
[ikev2.proposal.P]
encryption = ["aes-cbc-256"]
integrity = ["sha512"]
group = [14]
[ikev2.policy.P]
proposal = ["P"]
[ikev2.authorization-policy.A]
route = { set-interface = ["Loopback0"] }
[ikev2.profile.P]
match = { identity.remote.any = true }
identity = { local = { fqdn = "client%[1]d.example.com" } }
pre-shared-key = "ciscociscocisco123"
authorization.policy = "A"
[ipsec.transform-set.T]
esp = ["aes-cbc-256", "sha512"]
[ipsec.profile.P]
transform-set = ["T"]
ikev2-profile = "P"
pfs = 14
%[4]s
`, n, 88+n, 144+n, more)
}

// overlay is a server with clients on one switch.
func overlay(t *testing.T, clients int) (*cloud, []*mem.Port) {
	c := newCloud(t)
	link := c.net.Switch("public", mem.Impairment{Delay: time.Millisecond})
	lan := c.net.Switch("lan", mem.Impairment{})
	c.start("server", overlayServer(t), NIC{"server:1", link.Port("server")}, NIC{"server:3", lan.Port("server")})
	var ports []*mem.Port
	for n := 1; n <= clients; n++ {
		name := fmt.Sprintf("client%d", n)
		ports = append(ports, link.Port(name))
		c.start(name, overlayClient(n, ""), NIC{name + ":1", ports[n-1]})
	}
	return c, ports
}

func TestClientsGetAnInterfaceEachOfTheTemplateAndRoutesFollow(t *testing.T) {
	t.Parallel() // it mostly waits
	c, _ := overlay(t, 2)
	for n := 1; n <= 2; n++ {
		name := fmt.Sprintf("client%d", n)
		c.want(name, "show ip route vrf inside", "166.34.121.112")
		c.want("server", "show ip route vrf private-vrf", fmt.Sprintf("10.122.144.%d", 144+n))
		c.want(name, "ping vrf inside 166.34.121.112 source Loopback0 repeat 3 size 1400 df-bit", "(3/3)")
		c.want("server", fmt.Sprintf("ping vrf private-vrf 10.122.144.%d repeat 3", 144+n), "(3/3)")
	}
	// Nothing of it is in the VRFs outside.
	for _, x := range []string{"show ip route vrf public-vrf", "show ip route"} {
		if out := c.exec("server", x); strings.Contains(out, "10.122.144.") || strings.Contains(out, "166.34") {
			t.Errorf("%s:\n%s", x, out)
		}
	}
	if out := c.exec("client1", "show ip route"); strings.Contains(out, "166.34") {
		t.Errorf("the client's outside knows the inside:\n%s", out)
	}
	// A change of what can change keeps the sessions; a new route that is pushed reaches the clients.
	server := overlayServer(t)
	before := c.accesses(t)
	server = strings.Replace(server, "ip-mtu = 1400", "ip-mtu = 1300", 1)
	server = strings.Replace(server, `route.set-interface = ["Loopback1001"]`, `route.set-interface = ["Loopback1001", "Loopback80"]`, 1)
	c.apply("server", server)
	if after := c.accesses(t); after != before {
		t.Errorf("sessions began anew:\n%s\nbefore\n%s", after, before)
	}
	c.want("client1", "show ip route vrf inside", "81.81.81.1")
	c.want("client2", "ping vrf inside 81.81.81.1 source Loopback0 repeat 2", "(2/2)")
	c.want("client1", "ping vrf inside 81.81.81.1 source Loopback0 repeat 2 size 1400", "(2/2)")
	// Clearing what there is makes it anew, and everything is there again: at the template, and at a static VTI.
	for at, kinds := range map[string][]string{"server": {"session", "sa", "ikev2 sa"}, "client1": {"sa"}} {
		for _, kind := range kinds {
			c.exec(at, "clear crypto "+kind)
			c.want("client1", "ping vrf inside 81.81.81.1 source Loopback0 repeat 2", "(2/2)")
			c.want("client2", "ping vrf inside 81.81.81.1 source Loopback0 repeat 2", "(2/2)")
			c.want("server", "show ip route vrf private-vrf", "10.122.144.145", "10.122.144.146")
			if n := strings.Count(c.accesses(t), "\n"); n != 2 {
				t.Errorf("clear crypto %s at %s: %d virtual access interfaces:\n%s", kind, at, n, c.accesses(t))
			}
		}
	}
	// What decides how a session is protected ends it, and the template's end takes all with it.
	c.apply("server", strings.Replace(server, `mode = "ipsec ipv4"`, "mode = \"ipsec ipv4\"\nshutdown = true", 1))
	if out := c.accesses(t); out != "" {
		t.Errorf("a template that is shut has\n%s", out)
	}
	if out := c.exec("server", "show ip route vrf private-vrf"); strings.Contains(out, "10.122.144") {
		t.Errorf("routes are left:\n%s", out)
	}
}

// accesses are the server's Virtual-Access interfaces, one a line.
func (c *cloud) accesses(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	r := c.routers["server"]
	r.look(func() {
		for _, a := range r.flexvpn.List() {
			fmt.Fprintf(&b, "%s %s %s since %s\n", a.Name, a.Peer, a.Remote.Addr(), a.Since)
		}
	})
	return b.String()
}

// static is one end of a static VTI, in a mode, over an underlay of both families.
func static(n int, mode, inside string) string {
	other := 3 - n
	dst := fmt.Sprintf("172.16.0.%d", other)
	if strings.HasPrefix(mode, "ipsec ipv6") {
		dst = fmt.Sprintf("2001:db8::%d", other)
	}
	return fmt.Sprintf(`
hostname = "r%[1]d"
[interface.GigabitEthernet1]
address = ["2001:db8::%[1]d/64", "172.16.0.%[1]d/24"]
[interface.Tunnel0]
mode = "%[2]s"
address = [%[3]s]
source = "GigabitEthernet1"
destination = "%[4]s"
protection = "P"
[ikev2.keyring.K.peer.any]
address = ["0.0.0.0/0", "::/0"]
pre-shared-key = "secret"
[ikev2.profile.P]
match = { identity.remote.any = true }
keyring = "K"
[ipsec.transform-set.T]
esp = ["aes-gcm-256"]
[ipsec.profile.P]
transform-set = ["T"]
ikev2-profile = "P"
`, n, mode, strings.ReplaceAll(inside, "N", fmt.Sprint(n)), dst)
}

func TestAStaticVTICarriesTheFamiliesOfItsModeOverEither(t *testing.T) {
	const v4, v6 = `"10.1.0.N/24"`, `"fd00:1::N/64"`
	for _, x := range []struct {
		mode   string
		v4, v6 bool
	}{
		{"ipsec ipv4", true, false},
		{"ipsec ipv6", false, true},
		{"ipsec ipv4 v6-overlay", false, true},
		{"ipsec ipv6 v4-overlay", true, false},
		{"ipsec dual-overlay", true, true},
	} {
		t.Run(x.mode, func(t *testing.T) {
			c := newCloud(t)
			a, b := c.net.Pair("r1", "r2", mem.Impairment{Delay: time.Millisecond})
			c.start("r1", static(1, x.mode, v4+", "+v6), NIC{"r1", a})
			c.start("r2", static(2, x.mode, v4+", "+v6), NIC{"r2", b})
			for dst, carried := range map[string]bool{"10.1.0.2": x.v4, "fd00:1::2": x.v6} {
				c.want("r1", "show crypto session", "UP-ACTIVE")
				if carried {
					c.want("r1", "ping "+dst+" repeat 3 size 1400", "(3/3)")
					continue
				}
				if out := c.exec("r1", "ping "+dst+" repeat 1 timeout 1"); !strings.Contains(out, "(0/1)") {
					t.Errorf("%s through a tunnel that carries none of its family:\n%s", dst, out)
				}
				if d := c.routers["r1"].Dataplane().Drops(); d["ts-mismatch"] == 0 {
					t.Errorf("drops %v", d)
				}
			}
		})
	}
}

func TestBGPInAVRFRunsThroughTheTunnel(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newCloud(t)
	link := c.net.Switch("public", mem.Impairment{Delay: time.Millisecond})
	lan := c.net.Switch("lan", mem.Impairment{})
	b, err := os.ReadFile("../config/testdata/good/secure-overlay.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.start("server", string(b), NIC{"server:1", link.Port("server")}, NIC{"server:3", lan.Port("server")})
	c.start("client1", overlayClient(2, `
[bgp]
as = 200
router-id = "10.122.144.146"
[bgp.vrf.inside]
timers = { keepalive = "80s", hold = "240s", connect-retry = "2s" }
[bgp.vrf.inside.neighbor."166.34.121.112"]
remote-as = 65000
update-source = "Loopback0"
ebgp-multihop = 10
`), NIC{"client1:1", link.Port("client1")})
	c.want("client1", "show ip route vrf inside bgp", "81.81.81.1/32", "91.91.91.0/24")
	c.want("client1", "ping vrf inside 81.81.81.1 source Loopback0 repeat 3", "(3/3)")
	c.exec("server", "clear crypto session")
	c.want("client1", "ping vrf inside 81.81.81.1 source Loopback0 repeat 3", "(3/3)")
	c.want("client1", "show ip route vrf inside bgp", "81.81.81.1/32", "91.91.91.0/24")
}
