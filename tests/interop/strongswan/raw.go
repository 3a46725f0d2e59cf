package strongswan

import (
	"time"

	"felloe/tests/interop/matrix"
	"felloe/vpn/pki"
)

func init() {
	matrix.Register(matrix.Case{
		Name: "strongswan/raw", Group: "IPsec with strongSwan", Peer: "strongSwan 6.0 (Debian trixie)", Title: "ESP as IP protocol 50, with trixie's strongSwan",
		Packages: trixiePackages, Timeout: 15 * time.Minute, Run: raw,
		Rows: []matrix.Row{
			row("cbc", "AES-CBC-256 with SHA-512 and group 16, pre-shared key: ESP without UDP on the wire, packets of 1422 bytes go through whole"),
			row("gcm", "AES-GCM-256, SHA-384, group 20"),
			row("x25519", "AES-GCM-256, SHA-256, group 31, ECDSA certificates"),
			row("ed25519", "AES-CBC-128, SHA-256, group 19, Ed25519 certificates"),
			row("rekey", "both SAs rekeyed by the peer under traffic: nothing lost"),
			row("ours", "both SAs rekeyed by Felloe under traffic: nothing lost"),
			row("ipv6", "IPv6 and IPv4 within IPv6, ESP without UDP"),
			row("nat", "behind a NAT ESP travels in UDP"),
			row("mobike", "the peer moves behind a NAT and back: ESP goes into UDP and comes out of it"),
		},
	})
}

func raw(r *matrix.Run) {
	ca := newAuthority(r, nil, "CN=Interop CA,O=Interop", "ecdsa-p256")
	ca.root("ca.pem")
	ca.forRouter("ecdsa", ca.issue(hubID, "ecdsa-p521", pki.Request{}))
	ca.forRouter("ed25519", ca.issue(hubID, "ed25519", pki.Request{}))
	only := func(names ...string) string { return "identity.remote.fqdn = [" + quoted(names) + "]" }
	fixed := "rekey_time = 0\n reauth_time = 0"
	suited := func(c connection, ike, esp string) connection {
		c.ike, c.children[0].esp = ike, esp
		c.children[0].settings = "rekey_time = 0"
		return c
	}
	dual := tunnel("six", "", child{local: "10.2.0.0/24,fd00:2::/64", remote: "10.1.0.0/24,fd00:1::/64"})
	dual.local, dual.remote = "2001:db8::2", "2001:db8::1"
	away := suited(tunnel("away", fixed), "aes256-sha256-ecp256", "aes256gcm16")
	away.local = "%any"
	behind := suited(tunnel("behind", fixed), "aes256-sha256-ecp256", "aes256gcm16")
	behind.local = "192.168.9.2"
	wan := r.Switch("wan")
	w := world{r, wan, hub(r, wan,
		service{match: only("cbc.example", "gcm.example", "behind.example", "away.example", "rekey.example")}.String(),
		service{number: 2, match: only("ecdsa.example"), auth: "ecdsa-sig"}.String(), trustpoint("ecdsa-sig", "ecdsa", ""),
		service{number: 3, match: only("ed25519.example"), auth: "ed25519-sig"}.String(), trustpoint("ed25519-sig", "ed25519", ""),
		service{number: 4, match: only("ours.example"), profile: `lifetime = "20s"`, ipsec: "lifetime = { seconds = 14 }\npfs = 20"}.String(),
		service{number: 5, match: only("six.example"), mode: "ipsec dual-overlay", template: "source = \"2001:db8::1\""}.String(),
	), start(r, client(r, "client", wan, "10.2.0.1/24", "192.0.2.2/24", "2001:db8::2/64"), "charon", daemon{trixie: true, raw: true})}
	w.c.IP("addr", "add", "fd00:2::1/64", "dev", "lo")
	w.c.trusts("ca", ca)
	w.c.owns("ecdsa", ca.issue("ecdsa.example", "ecdsa-p384", pki.Request{}))
	w.c.owns("ed25519", ca.issue("ed25519.example", "ed25519", pki.Request{}))
	w.c.load(swanctl([]connection{
		suited(tunnel("cbc", fixed), "aes256-sha512-modp4096", "aes256-sha512-modp4096"),
		suited(tunnel("gcm", fixed), "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
		suited(tunnel("rekey", fixed), "aes256-sha256-ecp256", "aes256gcm16-ecp256"),
		suited(tunnel("ours", fixed), "aes256-sha256-ecp256", "aes256gcm16-ecp384"),
		suited(withCertificate("ecdsa", "ecdsa", fixed), "aes256gcm16-prfsha256-x25519", "aes256gcm16-x25519"),
		suited(withCertificate("ed25519", "ed25519", fixed), "aes128-sha256-ecp256", "aes128-sha256-ecp256"),
		dual, away, behind,
	}))
	simply := func(id, name string, patterns ...string) {
		w.check(id, func() {
			w.c.up(name)
			w.c.sas(append(patterns, `INSTALLED, TUNNEL, `)...)
			w.c.ping("10.2.0.1", hubInner)
			w.c.ctl("--rekey --child " + name)
			w.c.ping("10.2.0.1", hubInner)
			w.c.down(name)
			w.gone()
		})
	}
	w.check("cbc", func() {
		w.c.up("cbc")
		w.c.sas(`AES_CBC-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512/MODP_4096`, `INSTALLED, TUNNEL, `)
		w.c.ping("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show crypto ipsec sa", "plaintext mtu 1422")
		file, capture := wan.Capture("host 192.0.2.2")
		w.hub.Expect(patience, "ping 10.2.0.1 source Loopback1 size 1422 df-bit repeat 5", "100 percent")
		w.c.ctl("--rekey --child cbc")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("cbc")
		capture.Stop()
		if n := r.Command("bash", "-c", "tcpdump -r "+file+" -n 'esp' 2>/dev/null | wc -l"); len(matches(n, `^\d\d`)) == 0 {
			r.Fatalf("ESP packets on the wire: %s", n)
		}
		if n := r.Command("bash", "-c", "tcpdump -r "+file+" -n 'udp port 4500 and udp[8:4] != 0' 2>/dev/null | wc -l"); len(matches(n, `^0$`)) == 0 {
			r.Fatalf("ESP in UDP on the wire: %s", n)
		}
		w.gone()
	})
	simply("gcm", "gcm", "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384")
	simply("x25519", "ecdsa", "CURVE_25519")
	simply("ed25519", "ed25519", "AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256")
	w.check("rekey", func() {
		w.c.up("rekey")
		w.c.since()
		f := w.c.flow("10.2.0.1", hubInner)
		for range 3 {
			w.c.ctl("--rekey --child rekey")
			r.Sleep(700 * time.Millisecond)
			w.c.ctl("--rekey --ike rekey")
			r.Sleep(700 * time.Millisecond)
		}
		f.lossless(50)
		w.c.says(`IKE_SA rekey\[\d+\] rekeyed`, `outbound CHILD_SA rekey\{\d+\} established`)
		w.c.down("rekey")
		w.gone()
	})
	w.rekeyedByUs()
	w.check("ipv6", func() {
		w.c.up("six")
		w.c.sas(`INSTALLED, TUNNEL, `)
		w.c.ping("10.2.0.1", hubInner)
		w.c.ping("fd00:2::1", "fd00:1::1")
		w.c.down("six")
		w.gone()
	})
	// The second network is behind a NAT.
	_, lan := natBox(r, wan, "192.0.2.5/24")
	lan.Attach(w.c.Namespace, "eth1", "192.168.9.2/24")
	w.c.IP("route", "add", "192.0.2.1/32", "via", "192.168.9.1", "dev", "eth1")
	w.check("nat", func() {
		w.c.up("behind")
		w.c.sas(`INSTALLED, TUNNEL-in-UDP, `)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("behind")
		w.gone()
	})
	w.check("mobike", func() {
		w.c.IP("route", "del", "192.0.2.1/32")
		w.c.up("away")
		w.c.sas(`INSTALLED, TUNNEL, `)
		w.c.ping("10.2.0.1", hubInner)
		w.c.IP("route", "add", "192.0.2.1/32", "via", "192.168.9.1", "dev", "eth1")
		w.c.IP("link", "set", "eth0", "down")
		w.c.sas(`INSTALLED, TUNNEL-in-UDP, `)
		w.c.ping("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show crypto session", `Peer: 192\.0\.2\.5`)
		w.c.IP("link", "set", "eth0", "up")
		w.c.IP("addr", "replace", "192.0.2.2/24", "dev", "eth0")
		_, _ = w.c.Try("ip route del 192.0.2.1/32")
		w.c.IP("link", "set", "eth1", "down")
		w.c.sas(`INSTALLED, TUNNEL, `)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("away")
		w.gone()
	})
}

// rekeyedByUs has a connection whose SAs are rekeyed by our side under traffic.
func (w world) rekeyedByUs() {
	w.check("ours", func() {
		w.c.since()
		w.c.up("ours")
		f := w.c.flow("10.2.0.1", hubInner)
		w.c.says(`IKE_SA ours\[\d+\] rekeyed`, `outbound CHILD_SA ours\{\d+\} established`)
		f.lossless(50)
		w.c.down("ours")
		w.gone()
	})
}
