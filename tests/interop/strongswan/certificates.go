package strongswan

import (
	"crypto/x509"
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/vpn/pki"
)

func init() {
	register("certificates", "certificates and how they are used", false, 8*time.Minute, certificates,
		row("chain", "RSA-4096 with two intermediate authorities on both sides, IKE messages in fragments of 576 bytes"),
		row("classic-rsa", "RSA without RFC 7427 (the peer announces no hash algorithms)"),
		row("classic-ecdsa", "ECDSA without RFC 7427: RFC 4754, P-256, P-384 and P-521"),
		row("pss", "RSASSA-PSS by both sides"),
		row("dn", "identities that are distinguished names, on both sides"),
		row("crl", "a revocation list is asked, the certificate is not on it"),
		row("psk-them", "asymmetric: the peer has the pre-shared key, Felloe a certificate"),
		row("psk-us", "asymmetric: Felloe has the pre-shared key, the peer a certificate"),
		row("mixed", "asymmetric: Felloe signs with ECDSA, the peer with Ed25519"),
	)
	register("refusals", "peers that are refused, and refuse", true, 6*time.Minute, refusals,
		row("key", "a wrong pre-shared key"),
		row("identity", "an identity that no profile is for"),
		row("unproven", "a pre-shared key where a certificate is wanted"),
		row("expired", "an expired certificate"),
		row("early", "a certificate that is not valid yet"),
		row("stranger", "a certificate of an unknown authority"),
		row("revoked", "a revoked certificate"),
		row("usage", "a certificate for something else (mail)"),
		row("our-identity", "the peer expects another identity of Felloe"),
		row("our-authority", "the peer does not know Felloe's authority"),
		row("our-revoked", "the peer has a revocation list with Felloe's certificate"),
	)
}

// withCertificate is a connection whose both sides have certificates.
func withCertificate(name, file, settings string) connection {
	return connection{name: name, settings: settings, mine: fmt.Sprintf("auth = pubkey\n certs = %s.pem\n id = %s.example", file, name),
		peers: "auth = pubkey\n id = " + hubID, children: []child{{}}}
}

// uses brings a connection up, uses and ends it.
func (w world) uses(c *charon, name string, patterns ...string) {
	from := "10.2.0.1"
	c.since()
	c.up(name)
	c.ping(from, hubInner)
	c.says(patterns...)
	c.down(name)
	w.gone()
}

func certificates(r *matrix.Run) {
	root := newAuthority(r, nil, "CN=Interop Root,O=Interop", "rsa-4096")
	root.root("ca.pem")
	one := newAuthority(r, &root, "CN=Interop Intermediate 1,O=Interop", "rsa-4096")
	two := newAuthority(r, &one, "CN=Interop Intermediate 2,O=Interop", "rsa-4096")
	two.forRouter("rsa", two.issue(hubID, "rsa-4096", pki.Request{}))
	root.forRouter("flat", root.issue(hubID, "rsa-2048", pki.Request{}))
	root.forRouter("ecdsa", root.issue(hubID, "ecdsa-p384", pki.Request{}))
	r.File("ca.crl", root.revoke())
	profile := func(n int, match, local, remote, tp, more string) service {
		return service{number: n, match: match, profile: more,
			auth: fmt.Sprintf("authentication = { local = %q, remote = [%s] }\ntrustpoint = %q", local, remote, tp)}
	}
	only := func(names ...string) string { return "identity.remote.fqdn = [" + quoted(names) + "]" }
	key := fmt.Sprintf("pre-shared-key = %q\n", psk)
	list := []connection{
		withCertificate("chain", "chain", ""), withCertificate("classicrsa", "rsa", ""), withCertificate("pss", "rsa", ""),
		withCertificate("crl", "rsa", ""), withCertificate("mixed", "ed25519", ""),
		{name: "dn", mine: "auth = pubkey\n certs = rsa.pem\n id = \"O=Interop, CN=dn.example\"", peers: "auth = pubkey\n id = \"O=Interop, CN=hub.example\"", children: []child{{}}},
		{name: "pskthem", mine: "auth = psk\n id = pskthem.example", peers: "auth = pubkey\n id = " + hubID, children: []child{{}}},
		{name: "pskus", mine: "auth = pubkey\n certs = rsa.pem\n id = pskus.example", peers: "auth = psk\n id = " + hubID, children: []child{{}}},
	}
	for i, k := range []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521"} {
		list = append(list, withCertificate(fmt.Sprintf("classic%d", i), k, ""))
	}
	w := simple(r, daemon{settings: "fragment_size = 576"}, nil,
		"[ikev2]\nfragmentation.mtu = 576",
		profile(1, only("chain.example"), "rsa-sig", `"rsa-sig"`, "CHAIN", "").String(),
		profile(2, only("classicrsa.example", "classic0.example", "classic1.example", "classic2.example"), "rsa-sig", `"rsa-sig", "ecdsa-sig"`, "FLAT", "").String(),
		service{number: 3, match: only("pss.example"), auth: "authentication = { local = \"rsa-sig\", remote = [\"rsa-sig\"], rsa-padding = \"pss\" }\ntrustpoint = \"FLAT\""}.String(),
		profile(4, only("crl.example"), "rsa-sig", `"rsa-sig"`, "CRL", "").String(),
		profile(5, only("pskthem.example"), "rsa-sig", `"pre-share"`, "FLAT", key).String(),
		profile(6, only("pskus.example"), "pre-share", `"rsa-sig"`, "FLAT", key).String(),
		profile(7, only("mixed.example"), "ecdsa-sig", `"ed25519-sig"`, "ECDSA", "").String(),
		profile(8, `certificate = "DN"`, "rsa-sig", `"rsa-sig"`, "FLAT", "identity.local = { certificate = true }").String(),
		"[pki.certificate-map.DN]\nrule = [{ subject-name = \"co cn=dn.example\", issuer-name = \"co cn=interop root\" }]",
		trustpoint("CHAIN", "rsa", ""), trustpoint("FLAT", "flat", ""), trustpoint("ECDSA", "ecdsa", ""), trustpoint("CRL", "flat", `crl = "ca.crl"`),
	)
	w.c.load(swanctl(nil))
	plain := root.issue("rsa.example", "rsa-3072", pki.Request{DNS: []string{"classicrsa.example", "pss.example", "crl.example", "pskus.example"}})
	// The names of certificates are those of connections; one certificate serves many of them.
	fill := func(c *charon) {
		c.trusts("root", root)
		c.owns("chain", two.issue("chain.example", "rsa-4096", pki.Request{}))
		c.owns("rsa", plain)
		c.owns("dn", root.issue("dn.example", "rsa-3072", pki.Request{}))
		c.owns("ed25519", root.issue("mixed.example", "ed25519", pki.Request{}))
		for i, k := range []pki.KeyType{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521"} {
			c.owns(string(k), root.issue(fmt.Sprintf("classic%d.example", i), k, pki.Request{}))
		}
	}
	for i := range list {
		if list[i].name == "dn" {
			list[i].mine = "auth = pubkey\n certs = dn.pem\n id = \"O=Interop, CN=dn.example\""
		}
	}
	fill(w.c)
	w.c.load(swanctl(list))
	w.check("chain", func() {
		w.uses(w.c, "chain", `received issuer cert "O=Interop, CN=Interop Intermediate 1"`, `received issuer cert "O=Interop, CN=Interop Intermediate 2"`,
			`splitting IKE message \(\d+ bytes\) into 1\d fragments`, `received fragment #\d+ of 1\d, reassembled`)
	})
	w.check("dn", func() { w.uses(w.c, "dn", `\[O=Interop, CN=dn.example\].*\[O=Interop, CN=hub.example\]`) })
	w.check("crl", func() { w.uses(w.c, "crl") })
	w.check("psk-them", func() { w.uses(w.c, "pskthem", `authentication of 'hub.example' with RSA`) })
	w.check("psk-us", func() { w.uses(w.c, "pskus", `authentication of 'hub.example' with pre-shared key successful`) })
	w.check("mixed", func() {
		w.uses(w.c, "mixed", `authentication of 'mixed.example' \(myself\) with ED25519`, `authentication of 'hub.example' with ECDSA_WITH_SHA384`)
	})
	// The same daemon again, with other settings.
	again := func(settings string) {
		w.c.proc.Stop()
		w.c.o.settings = settings
		w.c.configure()
		w.c.run()
		w.c.load(swanctl(list))
	}
	again("rsa_pss = yes")
	w.check("pss", func() {
		w.uses(w.c, "pss", `authentication of 'pss.example' \(myself\) with RSA_EMSA_PSS`, `authentication of 'hub.example' with RSA_EMSA_PSS`)
	})
	again("signature_authentication = no")
	w.check("classic-rsa", func() {
		w.uses(w.c, "classicrsa", `authentication of 'classicrsa.example' \(myself\) with RSA signature`, `authentication of 'hub.example' with RSA signature successful`)
	})
	w.check("classic-ecdsa", func() {
		for i, curve := range []int{256, 384, 521} {
			w.uses(w.c, fmt.Sprintf("classic%d", i), fmt.Sprintf(`authentication of 'classic%d.example' \(myself\) with ECDSA-%d signature`, i, curve))
		}
	})
}

func refusals(r *matrix.Run) {
	ca := newAuthority(r, nil, "CN=Interop CA,O=Interop", "ecdsa-p256")
	other := newAuthority(r, nil, "CN=Another CA,O=Elsewhere", "ecdsa-p256")
	ca.root("ca.pem")
	ours := ca.issue(hubID, "ecdsa-p256", pki.Request{})
	ca.forRouter("ecdsa", ours)
	now := time.Now()
	clients := map[string]credential{
		"good":     ca.issue("good.cert.example", "ecdsa-p256", pki.Request{}),
		"expired":  ca.issue("expired.cert.example", "ecdsa-p256", pki.Request{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour)}),
		"early":    ca.issue("early.cert.example", "ecdsa-p256", pki.Request{NotBefore: now.Add(24 * time.Hour), NotAfter: now.Add(48 * time.Hour)}),
		"stranger": other.issue("stranger.cert.example", "ecdsa-p256", pki.Request{}),
		"revoked":  ca.issue("revoked.cert.example", "ecdsa-p256", pki.Request{}),
		"usage":    ca.issue("usage.cert.example", "ecdsa-p256", pki.Request{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}),
	}
	r.File("ca.crl", ca.revoke(clients["revoked"]))
	w := simple(r, daemon{}, nil,
		service{match: `identity.remote.fqdn-domain = "psk.example"`}.String(),
		service{number: 2, match: `identity.remote.fqdn-domain = "cert.example"`, auth: "ecdsa-sig"}.String(),
		trustpoint("ecdsa-sig", "ecdsa", `crl = "ca.crl"`))
	w.hub.Exec("debug crypto ikev2 error") // else a peer that is refused again and again is logged once
	var list []connection
	add := func(name, mine, theirs string) {
		list = append(list, connection{name: name, mine: mine, peers: theirs, children: []child{{}}})
	}
	expectPSK, expectCert := "auth = psk\n id = "+hubID, "auth = pubkey\n id = "+hubID
	add("key", "auth = psk\n id = key.psk.example", expectPSK)
	add("goodkey", "auth = psk\n id = goodkey.psk.example", expectPSK)
	add("identity", "auth = psk\n id = nobody.elsewhere.example", expectPSK)
	add("unproven", "auth = psk\n id = unproven.cert.example", expectPSK)
	add("ouridentity", "auth = psk\n id = ouridentity.psk.example", "auth = psk\n id = another.example")
	for name, c := range clients {
		w.c.owns(name, c)
		add(name, fmt.Sprintf("auth = pubkey\n certs = %s.pem\n id = %[1]s.cert.example", name), expectCert)
	}
	w.c.trusts("ca", ca)
	w.c.load(swanctl(list, `secrets { ike-key { id-1 = key.psk.example
 id-2 = hub.example
 secret = "this-is-another-key-0000" } }`))
	refused := func(id, name, identity, reason string) {
		w.check(id, func() {
			mark := len(w.hub.Process.Log())
			w.c.refused(name, "received AUTHENTICATION_FAILED notify error")
			r.Until(patience, "Felloe says why", func() error {
				for _, l := range matches(w.hub.Process.Log()[mark:], `^.*"event":"(?:auth-failed|no-profile|no-key)".*$`) {
					if len(matches(l, identity)) > 0 && len(matches(l, reason)) > 0 {
						return nil
					}
				}
				return fmt.Errorf("no line about %s with %q:\n%s", identity, reason, last(w.hub.Process.Log()[mark:], 5))
			})
			w.gone()
		})
	}
	refused("key", "key", `key\.psk\.example`, "pre-shared key|AUTH|not the same key")
	refused("identity", "identity", "nobody.elsewhere.example", "no.* match rule for this identity|none has a match rule")
	refused("unproven", "unproven", "unproven.cert.example", "pre-share|method")
	refused("expired", "expired", "expired.cert.example", "certificate has expired")
	refused("early", "early", "early.cert.example", "certificate is not valid yet")
	refused("stranger", "stranger", "stranger.cert.example", "unknown CA.*Another CA")
	refused("revoked", "revoked", "revoked.cert.example", "certificate is revoked")
	refused("usage", "usage", "usage.cert.example", "certificate is not for this use")
	refusesUs := func(id, name, theirs string) {
		w.check(id, func() {
			mark := len(w.hub.Process.Log())
			w.c.refused(name, theirs)
			r.Until(patience, "Felloe hears of it", func() error {
				if len(matches(w.hub.Process.Log()[mark:], `AUTHENTICATION_FAILED`)) == 0 {
					return fmt.Errorf("not in its log:\n%s", last(w.hub.Process.Log()[mark:], 5))
				}
				return nil
			})
			w.gone()
		})
	}
	refusesUs("our-identity", "ouridentity", `constraint check failed: identity 'another.example' required`)
	// From here on the daemon has a list with Felloe's certificate on it, then no authority at all.
	r.File("charon/swanctl/x509crl/ca.crl", ca.revoke(ours))
	w.c.load(swanctl(list))
	refusesUs("our-revoked", "good", `certificate was revoked on`)
	r.Command("rm", w.c.dir+"/swanctl/x509crl/ca.crl", w.c.dir+"/swanctl/x509ca/ca.pem")
	w.c.load(swanctl(list))
	refusesUs("our-authority", "good", `no issuer certificate found for "O=Interop, CN=hub.example"`)
}
