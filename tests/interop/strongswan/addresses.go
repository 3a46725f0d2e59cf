package strongswan

import (
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	register("addresses", "addresses inside and outside", false, 6*time.Minute, addresses,
		row("virtual", "virtual IPv4 address from a pool, netmask, name server, domain, subnets; the same address again at the next call"),
		row("virtual-dual", "virtual IPv4 and IPv6 addresses, in one Child SA"),
		row("full", "no address left: INTERNAL_ADDRESS_FAILURE"),
		row("ipv6-outer", "IPv4 within IPv6"),
		row("ipv6-inner", "IPv6 within IPv4"),
		row("ipv6-both", "IPv6 within IPv6"),
		row("dual", "IPv4 and IPv6 in one Child SA"),
	)
	register("nat", "a NAT in between", false, 8*time.Minute, behindNAT,
		row("behind", "the peer is behind a NAT: found, traffic, both SAs rekeyed by the peer under traffic without loss"),
		row("ours", "both SAs rekeyed by Felloe towards the NAT, without loss"),
		row("two", "two peers behind one NAT at the same time"),
		row("mapping", "the NAT's address changes: Felloe follows what is authentic"),
		row("felloe", "Felloe is behind the NAT and calls; the peer rekeys both SAs, and deletes"),
	)
	register("mobike", "peers that move (RFC 4555)", false, 5*time.Minute, mobike,
		row("address", "the peer's address changes"),
		row("interface", "the peer's first wire breaks, and it goes on over its second, in another network"),
		row("back", "and back"),
		row("rekey", "both SAs are rekeyed where the peer is now"),
	)
}

func addresses(r *matrix.Run) {
	policy := `
[ikev2.authorization-policy.%[1]s]
pool = "%[1]s"
ipv6-pool = "SIX"
netmask = "255.255.255.0"
dns = ["10.1.0.53", "fd00:1::53"]
def-domain = "example.com"
route = { set-remote = ["10.1.0.0/24", "10.50.0.0/16"] }
`
	v4 := func(name string) connection {
		c := tunnel(name, "vips = 0.0.0.0", child{local: "-"})
		return c
	}
	dualTS := child{local: "10.2.0.0/24,fd00:2::/64", remote: "10.1.0.0/24,fd00:1::/64"}
	six := child{local: "fd00:2::/64", remote: "fd00:1::/64"}
	over6 := func(name string, c child) connection {
		t := tunnel(name, "", c)
		t.local, t.remote = "2001:db8::2", "2001:db8::1"
		return t
	}
	only := func(names ...string) string { return "identity.remote.fqdn = [" + quoted(names) + "]" }
	w := simple(r, daemon{}, []connection{
		v4("vip"), tunnel("vipdual", "vips = 0.0.0.0,::", child{local: "-", remote: "10.1.0.0/24,fd00:1::/64"}), v4("last"), v4("toolate"),
		over6("outer6", child{}), tunnel("inner6", "", six), over6("both6", six), tunnel("dual", "", dualTS),
	},
		service{match: only("vip.example"), profile: `authorization.policy = "FOUR"`}.String(),
		service{number: 2, match: only("vipdual.example"), profile: `authorization.policy = "FOUR"`, mode: "ipsec dual-overlay"}.String(),
		service{number: 3, match: only("last.example", "toolate.example"), profile: `authorization.policy = "ONE"`}.String(),
		service{number: 4, match: only("outer6.example"), mode: "ipsec ipv6 v4-overlay"}.String(),
		service{number: 5, match: only("inner6.example"), mode: "ipsec ipv4 v6-overlay"}.String(),
		service{number: 6, match: only("both6.example"), mode: "ipsec ipv6"}.String(),
		service{number: 7, match: only("dual.example"), mode: "ipsec dual-overlay"}.String(),
		fmt.Sprintf(policy, "FOUR"), fmt.Sprintf(policy, "ONE"), `
[pool.FOUR]
addresses = "10.122.144.10-10.122.144.20"
[pool.ONE]
addresses = "10.122.145.10"
[pool.SIX]
addresses = "2001:db8:aaaa::10-2001:db8:aaaa::20"
`)
	w.c.IP("addr", "add", "fd00:2::1/64", "dev", "lo")
	w.c.Run("ip route add default dev lo || true") // so that a source for replies is looked for
	w.check("virtual", func() {
		for range 2 {
			w.c.since()
			w.c.up("vip")
			w.c.says(`installing new virtual IP 10\.122\.144\.10`, `parsed IKE_AUTH response 1 \[.*CPRP\(ADDR MASK.*DNS.*U_DEFDOM.*\)`,
				"processing INTERNAL_IP4_NETMASK", "processing INTERNAL_IP4_DNS", "processing INTERNAL_IP6_DNS", `processing INTERNAL_IP4_SUBNET`, "processing UNITY_DEF_DOMAIN")
			w.c.ping("10.122.144.10", hubInner)
			w.hub.Expect(patience, "show ip route", `10\.122\.144\.10/32.*Virtual-Access`)
			w.hub.Expect(patience, "show ip local pool FOUR", `10\.122\.144\.10 .*vip\.example`)
			w.c.down("vip")
			w.gone()
		}
	})
	w.check("virtual-dual", func() {
		w.c.since()
		w.c.up("vipdual")
		w.c.says(`installing new virtual IP 10\.122\.144\.1\d`, `installing new virtual IP 2001:db8:aaaa::10`)
		w.c.sas(`local +10\.122\.144\.1\d/32 2001:db8:aaaa::10/128`)
		w.c.ping(matches(w.c.log()[w.c.mark:], `10\.122\.144\.1\d`)[0], hubInner)
		w.c.ping("2001:db8:aaaa::10", "fd00:1::1")
		w.c.down("vipdual")
		w.gone()
	})
	w.check("full", func() {
		w.c.up("last")
		w.c.refused("toolate", "received INTERNAL_ADDRESS_FAILURE notify")
		w.hub.ExpectLog(patience, `no address for the peer.*toolate|toolate.*no address|INTERNAL_ADDRESS_FAILURE`)
		w.c.ping("10.122.145.10", hubInner)
		w.c.down("last")
		_, _ = w.c.try("--terminate --ike toolate --timeout 30")
		w.gone()
	})
	simply := func(id, name string, ends ...string) {
		w.check(id, func() {
			w.c.up(name)
			for i := 0; i < len(ends); i += 2 {
				w.c.ping(ends[i], ends[i+1])
			}
			w.c.ctl("--rekey --child " + name)
			for i := 0; i < len(ends); i += 2 {
				w.c.ping(ends[i], ends[i+1])
			}
			w.c.down(name)
			w.gone()
		})
	}
	simply("ipv6-outer", "outer6", "10.2.0.1", hubInner)
	simply("ipv6-inner", "inner6", "fd00:2::1", "fd00:1::1")
	simply("ipv6-both", "both6", "fd00:2::1", "fd00:1::1")
	simply("dual", "dual", "10.2.0.1", hubInner, "fd00:2::1", "fd00:1::1")
}

// natBox joins a network of its own to the wire, and hides it behind its address.
func natBox(r *matrix.Run, wan *peers.Switch, outside string) (*peers.Namespace, *peers.Switch) {
	n := r.Namespace("nat")
	lan := r.Switch("lan")
	wan.Attach(n, "out", outside)
	lan.Attach(n, "in", "192.168.9.1/24")
	n.Run("nft 'table ip nat { chain post { type nat hook postrouting priority 100; oifname out masquerade random; }; }'")
	return n, lan
}

func behindNAT(r *matrix.Run) {
	wan := r.Switch("wan")
	box, lan := natBox(r, wan, "192.0.2.5/24")
	own := func(c connection, local string) connection {
		c.local = local
		return c
	}
	only := func(names ...string) string { return "identity.remote.fqdn = [" + quoted(names) + "]" }
	h := hub(r, wan,
		service{match: only("behind.example", "second.example", "mapping.example")}.String(),
		service{number: 2, match: only("ours.example"), ipsec: "lifetime = { seconds = 14 }\npfs = 19", profile: "lifetime = \"20s\""}.String())
	inside := func(name, address, inner string) *peers.Namespace {
		n := client(r, name, lan, inner, address)
		n.IP("route", "add", "default", "via", "192.168.9.1")
		return n
	}
	w := world{r, wan, h, start(r, inside("client", "192.168.9.2/24", "10.2.0.1/24"), "charon", daemon{})}
	fixed := "rekey_time = 0\n reauth_time = 0"
	kid := child{esp: "aes256-sha256-ecp256", settings: "rekey_time = 0"}
	w.c.load(swanctl([]connection{own(tunnel("behind", fixed, kid), "192.168.9.2"), own(tunnel("ours", fixed, kid), "192.168.9.2"),
		own(tunnel("mapping", fixed+"\n mobike = no", kid), "192.168.9.2")}))
	w.check("behind", func() {
		w.c.since()
		w.c.up("behind")
		w.c.says("local host is behind NAT, sending keep alives")
		w.hub.Expect(patience, "show crypto ikev2 sa detailed", `192\.0\.2\.5/\d+`, "NAT-T is detected *outside")
		f := w.c.flow("10.2.0.1", hubInner)
		for _, k := range []string{"child", "ike", "child", "ike"} {
			w.c.ctl("--rekey --" + k + " behind")
			r.Sleep(time.Second)
		}
		f.lossless(50)
		w.c.says(`IKE_SA behind\[\d+\] rekeyed`, `outbound CHILD_SA behind\{\d+\} established`)
		w.c.down("behind")
		w.gone()
	})
	w.rekeyedByUs()
	w.check("two", func() {
		s := start(r, inside("client2", "192.168.9.3/24", "10.3.0.1/24"), "second", daemon{})
		s.load(swanctl([]connection{own(tunnel("second", fixed, child{local: "10.3.0.0/24"}), "192.168.9.3")}))
		w.c.up("behind")
		s.up("second")
		w.c.ping("10.2.0.1", hubInner)
		s.ping("10.3.0.1", hubInner)
		w.c.ping("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show ip route", `10\.2\.0\.0/24.*Virtual-Access`, `10\.3\.0\.0/24.*Virtual-Access`)
		s.down("second")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("behind")
		s.proc.Stop()
		w.gone()
	})
	w.check("mapping", func() {
		w.c.up("mapping")
		w.c.ping("10.2.0.1", hubInner)
		box.Run("ip addr add 192.0.2.6/24 dev out; ip addr del 192.0.2.5/24 dev out; ip addr replace 192.0.2.6/24 dev out")
		w.c.ping("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show crypto session", `Peer: 192\.0\.2\.6`, `!Peer: 192\.0\.2\.5`)
		w.c.ctl("--rekey --child mapping")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("mapping")
		w.gone()
	})
	w.check("felloe", func() {
		server := start(r, client(r, "server", wan, "10.4.0.1/24", "192.0.2.4/24"), "server", daemon{})
		server.load(swanctl([]connection{{name: "called", local: "192.0.2.4", remote: "%any", settings: fixed,
			mine: "auth = psk\n id = server.example", peers: "auth = psk\n id = inside.example",
			children: []child{{local: "10.4.0.0/24", remote: "10.5.0.0/24", esp: "aes256-sha256-ecp256", settings: "rekey_time = 0"}}}}))
		router := r.Router("inside", insideTOML, lan)
		server.sas("called: #.*ESTABLISHED", `remote 'inside\.example' @ 192\.0\.2\.6\[\d+\]`, "INSTALLED, TUNNEL-in-UDP")
		router.Expect(patience, "ping 10.4.0.1 source Loopback1 repeat 3", "100 percent")
		server.since()
		f := server.flow("10.4.0.1", "10.5.0.1")
		server.ctl("--rekey --child called")
		r.Sleep(time.Second)
		server.ctl("--rekey --ike called")
		server.says(`IKE_SA called\[\d+\] rekeyed`, `outbound CHILD_SA called\{\d+\} established`)
		r.Sleep(time.Second)
		f.lossless(50)
		// What the server ends, the router begins again: its tunnel is wanted.
		server.since()
		server.ctl("--terminate --ike called --timeout 30")
		server.says(`IKE_SA called\[\d+\] established`)
		server.ping("10.4.0.1", "10.5.0.1")
	})
}

const insideTOML = `hostname = "inside"
[interface.GigabitEthernet1]
address = "192.168.9.4/24"
[interface.Loopback1]
address = "10.5.0.1/24"
[interface.Tunnel0]
mode = "ipsec ipv4"
unnumbered = "Loopback1"
source = "GigabitEthernet1"
destination = "192.0.2.4"
protection = "P"
[ikev2.profile.I]
match = { identity.remote.fqdn = "server.example" }
identity.local = { fqdn = "inside.example" }
pre-shared-key = "` + psk + `"
[ikev2.proposal.X]
encryption = ["aes-cbc-256"]
integrity = ["sha256"]
group = [19]
[ikev2.policy.X]
proposal = ["X"]
[ipsec.transform-set.T]
esp = ["aes-cbc-256", "sha256"]
[ipsec.profile.P]
ikev2-profile = "I"
transform-set = "T"
pfs = 19
[[route]]
prefix = "0.0.0.0/0"
via = "192.168.9.1"
[[route]]
prefix = "10.4.0.0/24"
interface = "Tunnel0"
`

func mobike(r *matrix.Run) {
	wan, other := r.Switch("wan"), r.Switch("other")
	isp := r.Namespace("isp")
	wan.Attach(isp, "out", "192.0.2.9/24")
	other.Attach(isp, "in", "198.51.100.1/24")
	n := client(r, "client", wan, "10.2.0.1/24", "192.0.2.2/24")
	other.Attach(n, "eth1", "198.51.100.2/24")
	n.IP("route", "add", "default", "via", "198.51.100.1")
	w := world{r, wan, hub(r, wan, service{profile: "dpd = { interval = 30, retry = 5 }"}.String(),
		"[[route]]\nprefix = \"198.51.100.0/24\"\nvia = \"192.0.2.9\""), start(r, n, "charon", daemon{settings: "retransmit_tries = 7"})}
	c := tunnel("m", "mobike = yes\n rekey_time = 0", child{esp: "aes256-sha256-ecp256", settings: "rekey_time = 0"})
	c.local = "%any"
	w.c.load(swanctl([]connection{c}))
	at := func(address string) {
		w.hub.Expect(patience, "show crypto session", `Peer: `+address)
		w.c.ping("10.2.0.1", hubInner)
		w.c.sas(`local +'m\.example' @ ` + address)
		w.hub.Expect(patience, "show ip interface brief", `Virtual-Access1 `, `!Virtual-Access2 `)
	}
	r.Must("address", func() {
		w.c.up("m")
		at(`192\.0\.2\.2\b`)
		w.hub.Expect(patience, "show crypto ikev2 sa detailed", "MOBIKE negotiated")
		n.Run("ip addr add 192.0.2.22/24 dev eth0; ip addr del 192.0.2.2/24 dev eth0; ip addr replace 192.0.2.22/24 dev eth0")
		at(`192\.0\.2\.22`)
		w.hub.ExpectLog(patience, "peer has moved|moved")
	})
	w.check("interface", func() {
		n.IP("link", "set", "eth0", "down")
		at(`198\.51\.100\.2`)
	})
	w.check("rekey", func() {
		w.c.since()
		f := w.c.flow("10.2.0.1", hubInner)
		w.c.ctl("--rekey --ike m")
		r.Sleep(time.Second)
		w.c.ctl("--rekey --child m")
		w.c.says(`IKE_SA m\[\d+\] rekeyed`, `outbound CHILD_SA m\{\d+\} established`)
		f.lossless(50)
	})
	w.check("back", func() {
		n.IP("link", "set", "eth0", "up")
		n.IP("addr", "replace", "192.0.2.22/24", "dev", "eth0")
		n.IP("link", "set", "eth1", "down")
		at(`192\.0\.2\.22`)
		w.c.down("m")
		w.gone()
	})
}
