package strongswan

import (
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
	"felloe/vpn/pki"
)

// suite is one combination of algorithms, of the IKE SA and of its Child SA.
type suite struct {
	cipher string // cbc256, cbc128, gcm256
	hash   int
	group  int
}

var (
	ciphers = []string{"cbc256", "cbc128", "gcm256"}
	hashes  = []int{256, 384, 512}
	groups  = []int{14, 15, 16, 19, 20, 21, 31}

	cipherText = map[string]string{"cbc256": "AES-CBC-256", "cbc128": "AES-CBC-128", "gcm256": "AES-GCM-256"}
	encrName   = map[string]string{"cbc256": "aes256", "cbc128": "aes128", "gcm256": "aes256gcm16"}
	encrShown  = map[string]string{"cbc256": "AES_CBC-256", "cbc128": "AES_CBC-128", "gcm256": "AES_GCM_16-256"}
	groupName  = map[int]string{14: "modp2048", 15: "modp3072", 16: "modp4096", 19: "ecp256", 20: "ecp384", 21: "ecp521", 31: "x25519"}
	groupShown = map[int]string{14: "MODP_2048", 15: "MODP_3072", 16: "MODP_4096", 19: "ECP_256", 20: "ECP_384", 21: "ECP_521", 31: "CURVE_25519"}
)

func (s suite) String() string { return fmt.Sprintf("%s-sha%d-%d", s.cipher, s.hash, s.group) }
func (s suite) gcm() bool      { return s.cipher == "gcm256" }

// transforms names Felloe's transform set.
func (s suite) transforms() string {
	if s.gcm() {
		return s.cipher
	}
	return fmt.Sprintf("%s-sha%d", s.cipher, s.hash)
}

// proposals are strongSwan's: with a group for the Child SA, which counts when it is rekeyed.
func (s suite) proposals() (ike, esp string) {
	if s.gcm() {
		return fmt.Sprintf("%s-prfsha%d-%s", encrName[s.cipher], s.hash, groupName[s.group]), encrName[s.cipher] + "-" + groupName[s.group]
	}
	both := fmt.Sprintf("%s-sha%d-%s", encrName[s.cipher], s.hash, groupName[s.group])
	return both, both
}

// shown is what strongSwan shows of both SAs.
func (s suite) shown() (ike, esp string) {
	if s.gcm() {
		return fmt.Sprintf("%s/PRF_HMAC_SHA2_%d/%s", encrShown[s.cipher], s.hash, groupShown[s.group]), "ESP:" + encrShown[s.cipher]
	}
	mac := fmt.Sprintf("HMAC_SHA2_%d_%d", s.hash, s.hash/2)
	return fmt.Sprintf("%s/%s/PRF_HMAC_SHA2_%d/%s", encrShown[s.cipher], mac, s.hash, groupShown[s.group]), "ESP:" + encrShown[s.cipher] + "/" + mac
}

// method is how both sides prove who they are.
type method struct {
	name, text string
	toml       string        // Felloe's word
	kinds      []pki.KeyType // of the clients, one of which each combination takes; the router's is the first
}

var methods = []method{
	{name: "psk", text: "pre-shared key"},
	{"rsa", "RSA certificates", "rsa-sig", []pki.KeyType{"rsa-3072", "rsa-2048", "rsa-4096"}},
	{"ecdsa", "ECDSA certificates with P-256, P-384 and P-521", "ecdsa-sig", []pki.KeyType{"ecdsa-p384", "ecdsa-p256", "ecdsa-p521"}},
	{"ed25519", "Ed25519 certificates", "ed25519-sig", []pki.KeyType{"ed25519"}},
}

func init() {
	var rows []matrix.Row
	for _, m := range methods {
		for _, c := range ciphers {
			rows = append(rows, matrix.Row{ID: m.name + "-" + c, What: fmt.Sprintf(
				"%s, %s: SHA-256, 384, 512 with the groups 14, 15, 16, 19, 20, 21, 31 each (%d connections), IKE and ESP alike: up, traffic, rekeyed with the group, traffic, deleted",
				m.text, cipherText[c], len(hashes)*len(groups))})
		}
	}
	matrix.Register(matrix.Case{
		Name: "strongswan/suites", Group: "IPsec with strongSwan", Peer: "strongSwan", Title: "strongSwan calls, every combination of algorithms",
		Rows: rows, Packages: packages, Timeout: 45 * time.Minute,
		Run: func(r *matrix.Run) {
			w := suitesWorld(r)
			for _, m := range methods {
				for _, c := range ciphers {
					r.Check(m.name+"-"+c, func() {
						for _, h := range hashes {
							for _, g := range groups {
								w.try(m, suite{c, h, g})
							}
						}
						w.nothingLeft()
					})
				}
			}
		},
	})
	rows = nil
	for _, m := range methods {
		rows = append(rows, matrix.Row{ID: m.name, What: m.text + ": a few of the combinations"})
	}
	matrix.Register(matrix.Case{
		Name: "strongswan/suites-some", Group: "IPsec with strongSwan", Peer: "strongSwan", Title: "strongSwan calls, each algorithm once",
		Rows: rows, Packages: packages, Short: true,
		Run: func(r *matrix.Run) {
			w := suitesWorld(r)
			for i, m := range methods {
				r.Check(m.name, func() {
					for j := i; j < len(groups); j += len(methods) {
						w.try(m, suite{ciphers[j%len(ciphers)], hashes[(j+i)%len(hashes)], groups[j]})
					}
					w.nothingLeft()
				})
			}
		},
	})
}

type suites struct {
	*matrix.Run
	hub    *peers.Router
	client *charon
}

func suitesWorld(r *matrix.Run) suites {
	wan := r.Switch("wan")
	ca := newAuthority(r, nil, "CN=Interop CA,O=Interop", "rsa-3072")
	ca.root("ca.pem")
	toml, list := "", []connection{}
	c := start(r, client(r, "client", wan, "10.2.0.1/24", "192.0.2.2/24"), "charon", daemon{})
	c.trusts("ca", ca)
	for i, m := range methods {
		s := service{number: i + 1, match: fmt.Sprintf("identity.remote.fqdn-domain = %q", m.name+".example"), auth: m.toml}
		toml += s.String()
		if m.toml != "" {
			ca.forRouter(m.name, ca.issue(hubID, m.kinds[0], pki.Request{}))
			toml += trustpoint(m.toml, m.name, "")
			for _, k := range m.kinds {
				c.owns(string(k), ca.issue(string(k)+"."+m.name+".example", k, pki.Request{}))
			}
		}
		n := 0
		for _, cipher := range ciphers {
			for _, h := range hashes {
				for _, g := range groups {
					s := suite{cipher, h, g}
					ike, esp := s.proposals()
					k := connection{name: m.name + "-" + s.String(), ike: ike, children: []child{{esp: esp}}}
					if m.toml == "" {
						k.mine, k.peers = pskAs(s.String() + ".psk.example")
					} else {
						kind := string(m.kinds[n%len(m.kinds)])
						k.mine = fmt.Sprintf("auth = pubkey\n certs = %s.pem\n id = %[1]s.%s.example", kind, m.name)
						k.peers = "auth = pubkey\n id = " + hubID
					}
					list = append(list, k)
					n++
				}
			}
		}
	}
	h := hub(r, wan, toml)
	c.load(swanctl(list))
	return suites{r, h, c}
}

// try brings a connection up, uses it, replaces its Child SA with a key exchange, uses that, and ends it.
func (w suites) try(m method, s suite) {
	name := m.name + "-" + s.String()
	ike, esp := s.shown()
	if err := w.Attempt(func() {
		w.client.up(name)
		w.client.sas(ike+"$", "INSTALLED, TUNNEL-in-UDP, "+esp+"$")
		encr := "Encr: AES-CBC, keysize: " + s.cipher[3:] + ", PRF: SHA%d, Hash: SHA%[1]d"
		if s.gcm() {
			encr = "Encr: AES-GCM, keysize: 256, PRF: SHA%d, Hash: None"
		}
		w.hub.Expect(patience, "show crypto ikev2 sa detailed", fmt.Sprintf(encr+", DH Grp:%d", s.hash, s.group))
		w.client.ping("10.2.0.1", hubInner)
		w.client.ctl("--rekey --child " + name)
		w.client.sas("INSTALLED, TUNNEL-in-UDP, "+esp+"/"+groupShown[s.group]+"$", "!INSTALLED, TUNNEL-in-UDP, "+esp+"$")
		w.client.ping("10.2.0.1", hubInner)
		w.client.down(name)
	}); err != nil {
		_, _ = w.client.try("--terminate --force --timeout 5 --ike " + name)
		w.Fatalf("%s: %v", name, err)
	}
}

// nothingLeft proves that all SAs, interfaces and routes are gone.
func (w suites) nothingLeft() {
	w.hub.Expect(patience, "show crypto ikev2 sa", "!192.0.2.2")
	w.hub.Expect(patience, "show ip interface brief", "!Virtual-Access")
	w.hub.Expect(patience, "show ip route", `!10\.2\.0\.0`)
}
