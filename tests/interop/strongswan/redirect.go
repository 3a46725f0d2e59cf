package strongswan

import (
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	register("redirect", "a cluster of hubs sends its callers on (RFC 5685)", false, 6*time.Minute, redirect,
		row("init", "two clients call the cluster's address: each is redirected in IKE_SA_INIT to another hub, with virtual IPv4 and IPv6 addresses of that one's pools, and routes there"),
		row("up", "a hub leaves: its client is redirected while its SA is up, and has the other hub's addresses and routes"),
	)
}

// member is one of two hubs that serve the same network, each with pools of its own.
func member(r *matrix.Run, wan *peers.Switch, n int) *peers.Router {
	own := strings.NewReplacer(`"hub"`, fmt.Sprintf(`"hub%d"`, n), "192.0.2.1/24", fmt.Sprintf("192.0.2.%d/24", 5+n), "2001:db8::1/64", fmt.Sprintf("2001:db8::%d/64", 5+n)).Replace(base)
	return r.Router(fmt.Sprintf("hub%d", n), own+service{profile: `authorization.policy = "A"`, mode: "ipsec dual-overlay"}.String()+fmt.Sprintf(`
[ikev2.cluster]
address = "192.0.2.100"
interface = "GigabitEthernet1"
priority = %[2]d
hello = "200ms"
hold = "2s"
key = "cluster secret"
member = ["192.0.2.%[3]d"]
[ikev2.authorization-policy.A]
pool = "FOUR"
ipv6-pool = "SIX"
netmask = "255.255.255.0"
[pool.FOUR]
addresses = "10.122.%[1]d.10-10.122.%[1]d.20"
[pool.SIX]
addresses = "2001:db8:%[1]d::10-2001:db8:%[1]d::20"
`, n, 130-10*n, 8-n), wan)
}

func redirect(r *matrix.Run) {
	wan := r.Switch("wan")
	hubs := []*peers.Router{member(r, wan, 1), member(r, wan, 2)}
	hubs[0].Expect(patience, "show crypto ikev2 cluster", `master`, `192\.0\.2\.7 .*backup`)
	hubs[1].Expect(patience, "show crypto ikev2 cluster", `192\.0\.2\.6 .*master`)
	c := start(r, client(r, "client", wan, "", "192.0.2.2/24"), "charon", daemon{})
	var list []connection
	for n := 1; n <= 3; n++ {
		t := tunnel(fmt.Sprintf("r%d", n), "vips = 0.0.0.0,::\n rekey_time = 0\n reauth_time = 0", child{local: "-", remote: "10.1.0.0/24,fd00:1::/64"})
		t.remote = "192.0.2.100"
		list = append(list, t)
	}
	c.load(swanctl(list))
	c.Run("ip route add default dev lo; ip -6 route add default dev lo || true") // so that a source for replies is looked for
	// served says that a client is at a hub, and nowhere else.
	served := func(name string, hub int) {
		four, six := fmt.Sprintf(`10\.122\.%d\.\d+`, hub), fmt.Sprintf(`2001:db8:%d::\w+`, hub)
		out := c.sas(fmt.Sprintf(`%s: #\d+, ESTABLISHED`, name), fmt.Sprintf(`(?s)local +'%s\.example' @ 192\.0\.2\.2\[\d+\] \[%s %s\]\n +remote '%s' @ 192\.0\.2\.%d\[`, name, four, six, hubID, 5+hub))
		here := matches(out, fmt.Sprintf(`'%s\.example' @ 192\.0\.2\.2\[\d+\] \[(%s) (%s)\]`, name, four, six))
		hubs[hub-1].Expect(patience, "show ip route", matches(here[0], four)[0]+`/32.*Virtual-Access`)
		hubs[hub-1].Expect(patience, "show ipv6 route", matches(here[0], six)[0]+`/128.*Virtual-Access`)
		hubs[hub-1].Expect(patience, "show ip local pool FOUR", name+`\.example`)
		if other := hubs[2-hub]; other.Alive() == nil {
			other.Expect(patience, "show ip local pool FOUR", "!"+name+`\.example`)
		}
		c.ping(matches(here[0], four)[0], hubInner)
		c.ping(matches(here[0], six)[0], "fd00:1::1")
	}
	r.Must("init", func() {
		for n := 1; n <= 2; n++ {
			c.since()
			c.up(fmt.Sprintf("r%d", n))
			c.says(`parsed IKE_SA_INIT response 0 \[ N\(REDIR\) \]`, fmt.Sprintf(`redirected to 192\.0\.2\.%d`, 5+n), `generating IKE_SA_INIT request 0 \[.*N\(REDIR_FROM\)`)
			served(fmt.Sprintf("r%d", n), n)
		}
		hubs[0].Expect(patience, "show crypto ikev2 sa detailed", `Redirected from 192\.0\.2\.100`)
	})
	r.Check("up", func() {
		c.since()
		hubs[1].Stop()
		c.says(`parsed INFORMATIONAL request \d+ \[ N\(REDIR\) \]`, `redirected to 192\.0\.2\.6`)
		served("r2", 1)
		served("r1", 1)
	})
}
