package boot

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

// crypto is what hubs and spokes of these tests have in common.
const flexCrypto = `
[ikev2]
dpd = { interval = "10s", retry = "2s", mode = "periodic" }
[ikev2.keyring.K.peer.any]
address = ["0.0.0.0/0", "::/0"]
pre-shared-key = "cisco"
[ipsec.transform-set.T]
esp = ["aes-gcm-256"]
mode = "transport"
[ipsec.profile.P]
transform-set = ["T"]
ikev2-profile = "F"
`

// flexHub is a hub at 172.25.N.1 and 2001:db8:25:N::1 with a LAN 192.168.0.N/24; more is put behind.
func flexHub(n int, route, more string) string {
	return fmt.Sprintf(`
hostname = "hub%[1]d"
[interface.GigabitEthernet1]
address = ["172.25.%[1]d.1/24", "2001:db8:25:%[1]d::1/64"]
[interface.GigabitEthernet2]
address = ["192.168.0.%[1]d/24", "2001:db8:168::%[1]d/64"]
[interface.Loopback100]
address = ["10.1.1.1/32", "2001:db8:101::1/128"]
[interface.Virtual-Template1]
unnumbered = "Loopback100"
protection = "P"
[pool.A]
addresses = ["10.1.1.%[1]d00-10.1.1.%[1]d20"]
[pool.A6]
addresses = ["2001:db8:101::%[1]d00-2001:db8:101::%[1]d20"]
[access-list.all]
permit = ["0.0.0.0/0", "::/0"]
[ikev2.profile.F]
match = { identity.remote.any = true }
keyring = "K"
authorization.policy = "default"
virtual-template = 1
[ikev2.authorization-policy.default]
pool = "A"
ipv6-pool = "A6"
route = %[2]s
[[route]]
prefix = "0.0.0.0/0"
via = "172.25.%[1]d.254"
[[route]]
prefix = "::/0"
via = "2001:db8:25:%[1]d::fe"
%[3]s
`, n, route, flexCrypto+more)
}

// flexSpoke is a spoke at 172.16.N.2 with a LAN 192.168.10N.1/24 and Tunnel1, whose text is given; more is put behind.
func flexSpoke(n int, tunnel, more string) string {
	return fmt.Sprintf(`
hostname = "spoke%[1]d"
[interface.GigabitEthernet1]
address = ["172.16.%[1]d.2/24", "2001:db8:16:%[1]d::2/64"]
[interface.GigabitEthernet2]
address = ["192.168.10%[1]d.1/24", "2001:db8:10%[1]d::1/64"]
[interface.Tunnel1]
protection = "P"
%[2]s
[access-list.lan]
permit = ["192.168.10%[1]d.0/24", "2001:db8:10%[1]d::/64"]
[ikev2.profile.F]
match = { identity.remote.any = true }
keyring = "K"
identity.local.fqdn = "spoke%[1]d.example.com"
authorization.policy = "default"
[ikev2.authorization-policy.default]
route = { set-interface = ["self"], set-access-list = ["lan"] }
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.%[1]d.254"
distance = 10
[[route]]
prefix = "::/0"
via = "2001:db8:16:%[1]d::fe"
distance = 10
%[3]s
`, n, tunnel, flexCrypto+more)
}

// flexInternet joins hubs and spokes.
const flexInternet = `
hostname = "Internet"
[interface.GigabitEthernet1]
address = ["172.25.1.254/24", "2001:db8:25:1::fe/64"]
[interface.GigabitEthernet2]
address = ["172.25.2.254/24", "2001:db8:25:2::fe/64"]
[interface.GigabitEthernet3]
address = ["172.16.1.254/24", "2001:db8:16:1::fe/64"]
[interface.GigabitEthernet4]
address = ["172.16.2.254/24", "2001:db8:16:2::fe/64"]
`

// flex is the underlay: an internet with links to two hubs and two spokes, and the LAN of the hubs.
type flex struct {
	*cloud
	wan  map[string]*mem.Link
	nics map[string][]NIC
}

func newFlex(t *testing.T) *flex {
	f := &flex{cloud: newCloud(t), wan: map[string]*mem.Link{}, nics: map[string][]NIC{}}
	var internet []NIC
	lan := f.net.Switch("lan", mem.Impairment{})
	for _, name := range []string{"hub1", "hub2", "spoke1", "spoke2"} {
		far, near := f.net.Pair("Internet:"+name, name+":1", mem.Impairment{Delay: 2 * time.Millisecond})
		f.wan[name] = near.Link()
		internet = append(internet, NIC{"Internet:" + name, far})
		inside := lan
		if strings.HasPrefix(name, "spoke") {
			inside = f.net.Switch(name+" lan", mem.Impairment{})
		}
		f.nics[name] = []NIC{{name + ":1", near}, {name + ":2", inside.Port(name)}}
	}
	f.start("Internet", flexInternet, internet...)
	return f
}

func (f *flex) run(name, text string) *Router { return f.start(name, text, f.nics[name]...) }

const pushAll = `{ set-interface = ["self"], set-access-list = ["all"] }`

func TestATunnelIsGivenItsAddressesAndADefaultRouteThatDoesNotSwallowItsOwnPackets(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, x := range []struct{ name, mode, dst string }{
		{"over IPv4", "gre ip", "172.25.1.1"},
		{"over IPv6", "gre ipv6", "2001:db8:25:1::1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			f := newFlex(t)
			hub := strings.Replace(flexHub(1, pushAll, ""), `protection = "P"`, "mode = \""+x.mode+"\"\nprotection = \"P\"", 1)
			tunnel := fmt.Sprintf("mode = %q\naddress = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = %q", x.mode, x.dst)
			f.run("spoke1", flexSpoke(1, tunnel, ""))
			out := f.exec("spoke1", "show ip interface brief")
			if !strings.Contains(out, "Tunnel1") || f.routers["spoke1"].lineUp("Tunnel1") {
				t.Fatalf("the tunnel is up without an address:\n%s", out)
			}
			f.run("hub1", hub)
			f.want("spoke1", "show ip route", "10.1.1.100/32 is directly connected, Tunnel1", "S*       0.0.0.0/0", "0.0.0.0/0 [1/0]")
			f.want("spoke1", "show ipv6 route", "2001:db8:101::100/128", "::/0 [1/0]")
			family := "show ip route"
			pinned := "T        172.25.1.1/32 [10/0] via 172.16.1.254"
			if strings.Contains(x.dst, ":") {
				family, pinned = "show ipv6 route", "T        2001:db8:25:1::1/128 [10/0] via 2001:db8:16:1::fe"
			}
			f.want("spoke1", family, pinned)
			f.want("hub1", "show ip route", "192.168.101.0/24", "10.1.1.100/32")
			f.want("spoke1", "ping 192.168.0.1 repeat 3", "(3/3)")
			f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3 size 1300", "(3/3)")
			f.want("spoke1", "ping 2001:db8:168::1 repeat 3", "(3/3)")
			f.want("hub1", "ping 10.1.1.100 repeat 3", "(3/3)")
			// The session ends: the address, the route and the pin go with it; and all of it comes back.
			f.exec("hub1", "clear crypto session")
			f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3", "(3/3)")
			f.want("spoke1", family, pinned)
			f.apply("hub1", strings.Replace(hub, "[interface.Virtual-Template1]", "[interface.Virtual-Template1]\nshutdown = true", 1))
			f.until(func() string {
				return unless(!f.routers["spoke1"].lineUp("Tunnel1") && !strings.Contains(f.exec("spoke1", "show ip route"), "Tunnel1"), "an end of it")
			})
			f.want("spoke1", family, "/0 [10/0]")
			f.apply("hub1", hub)
			f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3", "(3/3)")
		})
	}
}

func (r *Router) lineUp(name string) bool {
	up := false
	r.look(func() { up = r.ifs[name] != nil && r.ifs[name].net != nil && r.ifs[name].net.Up() })
	return up
}

func TestBGPAndATemplateUseTheAddressThatAPeerHasGiven(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	hub := flexHub(1, `{ set-interface = ["self"] }`, `
[bgp]
as = 65001
router-id = "172.25.1.1"
network = ["192.168.0.0/24"]
[bgp.peer-group.Spokes]
remote-as = 65001
update-source = "Loopback100"
[[bgp.listen]]
range = "10.1.1.0/24"
peer-group = "Spokes"
`)
	f.run("hub1", hub)
	f.run("spoke1", flexSpoke(1, "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.1.1\"", `
[interface.Virtual-Template1]
unnumbered = "Tunnel1"
protection = "P"
[bgp]
as = 65001
network = ["192.168.101.0/24"]
[bgp.neighbor."10.1.1.1"]
remote-as = 65001
update-source = "Tunnel1"
`))
	f.want("hub1", "show ip bgp summary", "*10.1.1.100")
	f.want("spoke1", "show ip route", "B        192.168.0.0/24 [200/0] via 10.1.1.1")
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3", "(3/3)")
	// Another address: BGP begins anew from there.
	f.apply("hub1", strings.Replace(hub, "10.1.1.100-10.1.1.120", "10.1.1.110-10.1.1.120", 1))
	f.exec("spoke1", "clear crypto session")
	f.want("hub1", "show ip bgp summary", "*10.1.1.110")
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 3", "(3/3)")
}
