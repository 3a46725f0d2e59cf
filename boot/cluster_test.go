package boot

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/config"
	"felloe/netstack/link/mem"
	"felloe/vpn/cluster"
	"felloe/vpn/ikev2"
)

// clusterHub is one of three hubs on one link, whose cluster has the address 172.25.1.100.
func clusterHub(n int, more string) string {
	var others []string
	for k := 1; k <= 3; k++ {
		if k != n {
			others = append(others, fmt.Sprintf("%q", fmt.Sprintf("172.25.1.%d", k)))
		}
	}
	return fmt.Sprintf(`
hostname = "hub%[1]d"
[interface.GigabitEthernet1]
address = ["172.25.1.%[1]d/24"]
[interface.Loopback100]
address = ["10.1.1.1/32"]
[interface.Virtual-Template1]
unnumbered = "Loopback100"
protection = "P"
[pool.A]
addresses = ["10.1.%[1]d.100-10.1.%[1]d.120"]
[ikev2.profile.F]
match = { identity.remote.any = true }
keyring = "K"
authorization.policy = "default"
virtual-template = 1
accounting = true
[ikev2.authorization-policy.default]
pool = "A"
route = { set-interface = ["self"] }
[ikev2.cluster]
address = "172.25.1.100"
interface = "GigabitEthernet1"
priority = %[2]d
hello = "100ms"
hold = "2s"
key = "cluster secret"
member = [%[3]s]
%[4]s
`, n, 130-10*n, strings.Join(others, ", "), more+flexCrypto)
}

// clusterHubs starts the three hubs of a cluster on a link, with what another text stands for in their configurations.
func (c *cloud) clusterHubs(wan *mem.Link, instead *strings.Replacer) {
	c.t.Helper()
	for n := 1; n <= 3; n++ {
		name := fmt.Sprintf("hub%d", n)
		c.start(name, instead.Replace(clusterHub(n, "")), NIC{name, wan.Port(name)})
	}
}

// clusterLab is three hubs and a host on one link.
func clusterLab(t *testing.T) *cloud {
	c := newCloud(t)
	wan := c.net.Switch("wan", mem.Impairment{})
	c.clusterHubs(wan, strings.NewReplacer())
	c.start("host", "hostname = \"host\"\n[interface.GigabitEthernet1]\naddress = [\"172.25.1.50/24\"]\n", NIC{"host", wan.Port("host")})
	return c
}

// members is what a hub thinks of its cluster.
func (c *cloud) members(name string) (info cluster.Info) {
	r := c.routers[name]
	_ = r.call("cluster", func() error { info, _ = r.clusterInfo(); return nil })
	return info
}

func TestAClustersAddressIsItsMastersAndMovesWhenThatOneGoes(t *testing.T) {
	t.Parallel()
	c := clusterLab(t)
	master := func(want string) {
		t.Helper()
		c.until(func() string {
			for n := 1; n <= 3; n++ {
				name := fmt.Sprintf("hub%d", n)
				if c.routers[name] == nil {
					continue
				}
				info := c.members(name)
				owns := strings.Contains(c.exec(name, "show ip route connected"), "172.25.1.100/32")
				if (name == want) != (info.State == cluster.Master) || owns != (name == want) || info.State != cluster.Init && info.Master != netip.MustParseAddr("172.25.1."+want[3:]) {
					return fmt.Sprintf("%s of %s: %v, owns %v, master %v", name, want, info.State, owns, info.Master)
				}
			}
			return ""
		})
		c.want("host", "ping 172.25.1.100 repeat 1", "(1/1)")
	}
	master("hub1")
	// It shuts down: the next one takes over at once.
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	_ = c.routers["hub1"].Shutdown(ctx)
	delete(c.routers, "hub1")
	master("hub2")
	// Its interface goes down, and comes again.
	c.apply("hub2", strings.Replace(clusterHub(2, ""), "address = [\"172.25.1.2/24\"]", "address = [\"172.25.1.2/24\"]\nshutdown = true", 1))
	master("hub3")
	c.apply("hub2", clusterHub(2, ""))
	master("hub2")
	// The configuration has no cluster any more.
	text := clusterHub(2, "")
	at, end := strings.Index(text, "[ikev2.cluster]"), strings.Index(text, "[ikev2]\n")
	c.apply("hub2", text[:at]+text[end:])
	c.until(func() string {
		return unless(c.members("hub3").State == cluster.Master && !strings.Contains(c.exec("hub2", "show ip route connected"), "172.25.1.100"), "another master")
	})
}

// Members know each other by their addresses on the link that they share.
func TestAMemberIsKnownByItsAddressInTheClustersSubnet(t *testing.T) {
	for _, x := range []struct{ addresses, virtual, member, want string }{
		{`"10.9.9.9/24", "172.25.1.1/24"`, "172.25.1.100", "172.25.1.2", "172.25.1.1"},
		{`"fe80::1/64", "2001:db8::1/64"`, "2001:db8::100", "2001:db8::2", "2001:db8::1"},
		{`"10.9.9.9/24", "2001:db8:9::1/64", "2001:db8::1/64"`, "2001:db8::100", "2001:db8::2", "2001:db8::1"},
	} {
		c, diags := config.Parse("hub.toml", fmt.Appendf(nil, `
[interface.GigabitEthernet1]
address = [%s]
[ikev2.cluster]
address = %q
interface = "GigabitEthernet1"
key = "k"
member = [%q]
`, x.addresses, x.virtual, x.member))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		if spec, k, ok := clusterConfig(c); !ok || spec.self.String() != x.want || k.Self != spec.self {
			t.Errorf("%s: %+v", x.virtual, spec)
		}
	}
}

func TestTheMasterSpreadsCallersByTheSessionsThatHubsHave(t *testing.T) {
	t.Parallel()
	c := clusterLab(t)
	c.until(func() string {
		info := c.members("hub1")
		for _, m := range info.Members[1:] {
			if m.State != "backup" {
				return fmt.Sprintf("%v is %s", m.Address, m.State)
			}
		}
		return unless(info.State == cluster.Master, "a master")
	})
	r := c.routers["hub1"]
	got := map[netip.Addr]int{}
	_ = r.call("ask", func() error {
		for n := range 10 {
			r.cluster.exchanged(ikev2.IKEUp{SA: ikev2.SAID(1000 + n)})
		}
		for n := range 20 {
			q := ikev2.RedirectRequest{VRF: "default", Local: netip.MustParseAddrPort("172.25.1.100:500"), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 500), Follows: true}
			got[r.cluster.Redirect(r.clock.Now(), q).Gateway]++
		}
		q := ikev2.RedirectRequest{VRF: "default", Local: netip.MustParseAddrPort("172.25.1.1:500"), Follows: true}
		if v := r.cluster.Redirect(r.clock.Now(), q); v != (ikev2.Verdict{}) {
			t.Errorf("%+v", v)
		}
		for n := range 10 {
			r.cluster.exchanged(ikev2.IKEDown{SA: ikev2.SAID(1000 + n)})
		}
		if len(r.cluster.peers) != 0 {
			t.Errorf("%d sessions are left", len(r.cluster.peers))
		}
		return nil
	})
	if got[netip.MustParseAddr("172.25.1.2")] != 10 || got[netip.MustParseAddr("172.25.1.3")] != 10 {
		t.Errorf("%v", got)
	}
}

// clusterEffects is what a configuration makes of `[ikev2.cluster]`, and of accounting.
func clusterEffects(c *config.Config) any {
	var b books
	b.configure(c)
	spec, k, ok := clusterConfig(c)
	return []any{spec, k, ok, b.profiles}
}
