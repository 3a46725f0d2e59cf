package strongswan

import (
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/vpn/pki"
)

func init() {
	var rows []matrix.Row
	for _, m := range methods {
		rows = append(rows, matrix.Row{ID: m.name, What: m.text + ": the groups 14, 15, 16, 19, 20, 21, 31, with ciphers and hashes by turns: up, selectors narrowed by the peer, traffic, rekeyed by Felloe with the group, traffic"})
	}
	matrix.Register(matrix.Case{
		Name: "strongswan/initiate", Group: "IPsec with strongSwan", Peer: "strongSwan", Title: "Felloe calls, from configured tunnels",
		Rows: append(rows, matrix.Row{ID: "silence", What: "Felloe stops: the peer's SAs are deleted"}), Packages: packages, Timeout: 10 * time.Minute,
		Run: initiate,
	})
}

func initiate(r *matrix.Run) {
	wan := r.Switch("wan")
	ca := newAuthority(r, nil, "CN=Interop CA,O=Interop", "ecdsa-p384")
	ca.root("ca.pem")
	n := client(r, "server", wan, "", "192.0.2.2/24")
	c := start(r, n, "charon", daemon{})
	c.trusts("ca", ca)
	type tunnel struct {
		m     method
		s     suite
		index int
	}
	var tunnels []tunnel
	var toml strings.Builder
	var list []connection
	for _, m := range methods {
		if m.toml != "" {
			ca.forRouter(m.name, ca.issue(hubID, m.kinds[0], pki.Request{}))
			toml.WriteString(trustpoint(m.toml, m.name, ""))
			for _, k := range m.kinds {
				c.owns(string(k), ca.issue(string(k)+"."+m.name+".example", k, pki.Request{}))
			}
		}
		for i, g := range groups {
			t := tunnel{m, suite{ciphers[(i+len(tunnels))%len(ciphers)], hashes[i%len(hashes)], g}, len(tunnels) + 1}
			tunnels = append(tunnels, t)
			address := fmt.Sprintf("192.0.2.%d", 100+t.index)
			n.IP("addr", "add", address+"/24", "dev", "eth0")
			n.IP("addr", "add", fmt.Sprintf("10.20.%d.1/24", t.index), "dev", "lo")
			id, mine := fmt.Sprintf("%d.psk.example", t.index), "auth = psk"
			auth := fmt.Sprintf("pre-shared-key = %q", psk)
			if m.toml != "" {
				kind := string(m.kinds[i%len(m.kinds)])
				id = kind + "." + m.name + ".example"
				mine = "auth = pubkey\n certs = " + kind + ".pem"
				auth = fmt.Sprintf("authentication = { local = %q, remote = %[1]q }\ntrustpoint = %[1]q", m.toml)
			}
			fmt.Fprintf(&toml, `
[interface.Tunnel%[1]d]
mode = "ipsec ipv4"
unnumbered = "Loopback1"
source = "GigabitEthernet1"
destination = %[2]q
protection = "P%[1]d"
[ikev2.profile.I%[1]d]
match = { identity.remote.fqdn = %[3]q }
identity.local = { fqdn = %[4]q }
%[5]s
[ipsec.profile.P%[1]d]
ikev2-profile = "I%[1]d"
transform-set = %[6]q
pfs = %[7]d
lifetime = { seconds = 40 }
[[route]]
prefix = "10.20.%[1]d.0/24"
interface = "Tunnel%[1]d"
`, t.index, address, id, hubID, auth, t.s.transforms(), g)
			ike, esp := t.s.proposals()
			// Connections share certificates: a first contact by one says nothing about the others.
			list = append(list, connection{name: t.s.String() + "-" + m.name, local: address, remote: "192.0.2.1", ike: ike,
				settings: "unique = never",
				mine:     mine + "\n id = " + id, peers: "auth = " + map[bool]string{true: "psk", false: "pubkey"}[m.toml == ""] + "\n id = " + hubID,
				children: []child{{local: fmt.Sprintf("10.20.%d.0/24", t.index), esp: esp, settings: "rekey_time = 0"}}})
		}
	}
	c.load(swanctl(list))
	h := hub(r, wan, toml.String())
	for _, m := range methods {
		r.Check(m.name, func() {
			for _, t := range tunnels {
				if t.m.name != m.name {
					continue
				}
				ike, esp := t.s.shown()
				name := t.s.String() + "-" + m.name
				if err := r.Attempt(func() {
					r.Until(patience, name+" is up", func() error {
						return sectionMatches(c, name, ike+"$", "INSTALLED, TUNNEL-in-UDP", esp, fmt.Sprintf(`remote +10\.1\.0\.0/24`))
					})
					h.Expect(patience, fmt.Sprintf("ping 10.20.%d.1 source Loopback1 repeat 3", t.index), `100 percent`)
					r.Until(patience, name+" is rekeyed", func() error {
						return sectionMatches(c, name, "INSTALLED, TUNNEL-in-UDP, "+esp+"/"+groupShown[t.s.group]+"$")
					})
					c.ping(fmt.Sprintf("10.20.%d.1", t.index), hubInner)
				}); err != nil {
					r.Fatalf("%s: %v", name, err)
				}
			}
		})
	}
	r.Check("silence", func() {
		h.Stop()
		c.sas("!ESTABLISHED")
	})
}
