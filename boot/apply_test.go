package boot

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/link/mem"
	"felloe/vpn/pki"
)

// arbitrary is a configuration of what may come and go: Loopbacks, tunnels of all kinds, statics, VRFs, BGP neighbours.
func arbitrary(rng *rand.Rand) string {
	var b strings.Builder
	has := func(n int) bool { return rng.IntN(n) == 0 }
	fmt.Fprintf(&b, "hostname = \"r\"\n[interface.GigabitEthernet1]\naddress = [\"172.16.1.%d/24\"]\n", 1+rng.IntN(2))
	vrf := has(2)
	if vrf {
		b.WriteString("[vrf.red]\n")
	}
	for n := range 4 {
		if has(2) {
			continue
		}
		fmt.Fprintf(&b, "[interface.Loopback%d]\naddress = [\"10.%d.0.%d/24\"]\n", n, n, 1+rng.IntN(3))
		if vrf && has(2) {
			b.WriteString("vrf = \"red\"\n")
		}
		if has(4) {
			b.WriteString("shutdown = true\n")
		}
	}
	for n := range 3 {
		if has(2) {
			continue
		}
		fmt.Fprintf(&b, "[interface.Tunnel%d]\nsource = \"GigabitEthernet1\"\naddress = [\"10.10%d.0.%d/24\"]\nkey = %d\n", n, n, 1+rng.IntN(2), n+1)
		protected := has(2)
		if protected {
			b.WriteString("protection = \"PROTECT\"\n")
		}
		if has(2) {
			fmt.Fprintf(&b, "mode = \"gre multipoint\"\n[interface.Tunnel%d.nhrp]\nnetwork-id = %d\nholdtime = %d\nredirect = %v\n", n, 1+n, 60+rng.IntN(2), has(2))
			if has(2) {
				fmt.Fprintf(&b, "map = [{ address = \"10.10%d.0.9\", nbma = \"172.16.9.9\" }]\n", n)
			}
		} else {
			fmt.Fprintf(&b, "destination = \"172.16.%d.2\"\n", 2+n)
		}
	}
	for n := range 4 {
		if has(2) {
			fmt.Fprintf(&b, "[[route]]\nprefix = \"10.20%d.0.0/16\"\n%s\n", n, []string{`via = "172.16.1.254"`, `discard = true`}[rng.IntN(2)])
		}
	}
	if has(2) {
		fmt.Fprintf(&b, "[bgp]\nas = %d\nrouter-id = \"1.1.1.1\"\n", 65000+rng.IntN(2))
		if has(2) {
			b.WriteString("redistribute = { static = true }\n")
		}
		for n := range 3 {
			if has(2) {
				fmt.Fprintf(&b, "[bgp.neighbor.\"172.16.1.%d\"]\nremote-as = %d\n", 100+n, 65010+rng.IntN(2))
			}
		}
	}
	named(&b, rng, vrf)
	b.WriteString(keys)
	return b.String()
}

// authorities are two of a kind, as a configuration has them.
var authorities = sync.OnceValue(func() (out [2]string) {
	for i := range out {
		key, err := pki.NewKey("ed25519", crand.Reader)
		if err != nil {
			panic(err)
		}
		a, err := pki.NewAuthority(nil, pki.Request{Subject: fmt.Sprintf("CN=ca%d", i), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, key, crand.Reader)
		if err != nil {
			panic(err)
		}
		out[i] = base64.StdEncoding.EncodeToString(pki.EncodeCertificates(a.Certificate()))
	}
	return out
})

// named adds what names other things: policies, pools, trustpoints, authorization, templates, BGP of a VRF.
func named(b *strings.Builder, rng *rand.Rand, vrf bool) {
	has := func(n int) bool { return rng.IntN(n) == 0 }
	lists, maps, pool, policy, template := has(2), has(2), has(2), has(2), has(2)
	if lists {
		fmt.Fprintf(b, "[prefix-list.L]\nentry = [{ permit = \"10.%d.0.0/16\", le = 32 }, { seq = %d, deny = \"0.0.0.0/0\" }]\n", rng.IntN(3), 20+rng.IntN(2))
		fmt.Fprintf(b, "[as-path-list.A]\nentry = [{ permit = \"^6501%d_\" }]\n[community-list.C]\nentry = [{ permit = [\"65000:%d\"] }]\n", rng.IntN(2), rng.IntN(2))
	}
	if maps {
		fmt.Fprintf(b, "[route-map.M]\nentry = [{ action = \"permit\", set = { metric = %d } }", rng.IntN(3))
		if lists {
			b.WriteString(", { action = \"deny\", match = { prefix-list = [\"L\"] } }, { action = \"permit\", match = { as-path = [\"A\"], community = [\"C\"] } }")
		}
		b.WriteString("]\n")
	}
	if has(2) {
		fmt.Fprintf(b, "[pki.trustpoint.CA]\nca = { file = \"ca.pem\", data = %q }\n[pki.certificate-map.MAP]\nrule = [{ subject-name = \"co ou=%d\" }]\n", authorities()[rng.IntN(2)], rng.IntN(2))
	}
	if pool {
		fmt.Fprintf(b, "[pool.P]\naddresses = [\"10.250.0.10-10.250.0.%d\"]\n", 20+rng.IntN(3))
	}
	if policy {
		fmt.Fprintf(b, "[ikev2.authorization-policy.Z]\npfs = %v\nroute = { set-remote = [\"10.251.%d.0/24\"] }\n", has(2), rng.IntN(2))
		if pool {
			b.WriteString("pool = \"P\"\nnetmask = \"255.255.255.0\"\n")
		}
	}
	if template {
		fmt.Fprintf(b, "[interface.Virtual-Template1]\nmode = \"ipsec ipv4\"\nunnumbered = \"GigabitEthernet1\"\nip-mtu = %d\nprotection = \"PROTECT2\"\n", 1400+rng.IntN(2))
		b.WriteString("[ipsec.profile.PROTECT2]\ntransform-set = [\"T\"]\nikev2-profile = \"Q\"\n[ikev2.profile.Q]\nmatch = { identity = { remote = { fqdn = \"q.example\" } } }\nkeyring = \"K\"\nvirtual-template = 1\n")
		if policy {
			b.WriteString("authorization = { policy = \"Z\" }\n")
		}
	}
	if !vrf || has(2) {
		return
	}
	if !strings.Contains(b.String(), "[bgp]") {
		fmt.Fprintf(b, "[bgp]\nas = %d\nrouter-id = \"1.1.1.1\"\n", 65000+rng.IntN(2))
	}
	b.WriteString("[bgp.vrf.red]\naggregate = [{ prefix = \"10.0.0.0/8\", summary-only = true }]\n")
	if maps {
		b.WriteString("redistribute = { connected = { route-map = \"M\" } }\n")
	} else {
		b.WriteString("redistribute = { connected = true }\n")
	}
	fmt.Fprintf(b, "[bgp.vrf.red.peer-group.G]\nremote-as = 65020\nmaximum-prefix = %d\n", 10+rng.IntN(2))
	if lists {
		b.WriteString("prefix-list = { out = \"L\" }\n")
	}
	if maps && has(2) {
		b.WriteString("route-map = { in = \"M\" }\ndefault-originate = { route-map = \"M\" }\n")
	}
	for n := range 3 {
		if has(2) {
			fmt.Fprintf(b, "[bgp.vrf.red.neighbor.\"10.55.0.%d\"]\npeer-group = \"G\"\n", n+1)
		}
	}
	fmt.Fprintf(b, "[[bgp.vrf.red.listen]]\nrange = \"10.5%d.0.0/16\"\npeer-group = \"G\"\n", 6+rng.IntN(2))
}

// observable is what a configuration shows as, without what counts or runs.
func observable(t *testing.T, r *Router) string {
	t.Helper()
	var b strings.Builder
	for _, line := range []string{"show ip interface brief", "show ip cef", "show ip nhrp multicast", "show ip nhrp | include via|Type", "show interfaces | include is|MTU|Tunnel|address",
		"show crypto sockets | include Peers", "show running-config",
		"show vrf", "show ip prefix-list", "show ip as-path-access-list", "show ip community-list", "show route-map | exclude matches", "show ip local pool",
		"show crypto ikev2 profile", "show crypto pki certificates", "show crypto ikev2 authorization policy"} {
		out, err := r.Exec(context.Background(), line)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "-- %s\n%s", line, out)
	}
	for _, line := range []string{"show ip bgp neighbors | include remote AS", "show ip bgp vpnv4 all neighbors | include remote AS|group|filter|range", "show ip bgp vpnv4 all | exclude version"} {
		if out, err := r.Exec(context.Background(), line); err == nil {
			b.WriteString(out)
		}
	}
	return b.String()
}

func TestAnyAThenAnyBThenAGivesA(t *testing.T) {
	t.Parallel() // it mostly waits
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, other := arbitrary(rng), arbitrary(rng)
		c := newCloud(t)
		nic, _ := c.net.Pair("r", "x", mem.Impairment{})
		r := c.start("r", a, NIC{"r", nic})
		// Line protocols follow a moment later, and BGP's neighbours: A is there when it looks the same twice.
		before := ""
		c.until(func() string {
			now := observable(t, r)
			was := before
			before = now
			return unless(now == was && strings.Count(now, "BGP neighbor is") == strings.Count(a, "[bgp.neighbor")+strings.Count(a, "[bgp.vrf.red.neighbor"), "anything that stays: "+difference(was, now))
		})
		c.apply("r", other)
		c.apply("r", a)
		same := 0
		c.until(func() string {
			after := observable(t, r)
			if same++; after != before {
				same = 0
			}
			return unless(same > 1, fmt.Sprintf("A again, seed %d: A, B, A differs:\n%s\nA is\n%s\nB is\n%s", seed, difference(before, after), a, other))
		})
		if n := r.loop.Panics(); n != 0 {
			t.Fatalf("seed %d: %d panics", seed, n)
		}
		_ = r.Shutdown(context.Background())
	}
}

// difference lists the lines that only one of two texts has.
func difference(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range x {
		if !slices.Contains(y, l) {
			out.WriteString("- " + l + "\n")
		}
	}
	for _, l := range y {
		if !slices.Contains(x, l) {
			out.WriteString("+ " + l + "\n")
		}
	}
	return out.String()
}

func TestAnUnchangedTunnelLosesNoPacketWhileOtherThingsChange(t *testing.T) {
	t.Parallel() // it mostly waits
	c := scenario1(t)
	c.want("Spoke2", "show ip route bgp", "192.168.11.1/32")
	c.want("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 2", "(2/2)")
	pinged := make(chan string)
	go func() { pinged <- c.exec("Spoke2", "ping 192.168.11.1 source Loopback10 repeat 200 interval 10") }()
	for n := range 8 {
		extra := fmt.Sprintf("\n[interface.Loopback%d]\naddress = [\"10.9%d.0.1/24\"]\n[[route]]\nprefix = \"10.8%d.0.0/16\"\ndiscard = true\n[bgp.neighbor.\"172.16.1.10%d\"]\nremote-as = 65099\n"+
			"[interface.Tunnel7]\nsource = \"GigabitEthernet1\"\ndestination = \"172.16.1.254\"\naddress = [\"10.77.%d.1/24\"]\nprotection = \"PROTECT\"\n", 20+n, n, n, n, n)
		c.apply("Hub", hub+extra)
		c.apply("Spoke2", spoke(2)+fmt.Sprintf("\n[interface.Loopback%d]\naddress = [\"10.7%d.0.1/24\"]\n", 30+n, n))
	}
	c.apply("Hub", hub)
	c.apply("Spoke2", spoke(2))
	if out := <-pinged; !strings.Contains(out, "(200/200)") {
		t.Fatalf("packets were lost:\n%s", out)
	}
}
