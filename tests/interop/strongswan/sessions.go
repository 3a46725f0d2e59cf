package strongswan

import (
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// world is a hub with a client, which is what most cases need.
type world struct {
	*matrix.Run
	wan *peers.Switch
	hub *peers.Router
	c   *charon
}

// simple has one client with these connections, at 192.0.2.2 with 10.2.0.1 behind it.
func simple(r *matrix.Run, o daemon, list []connection, toml ...string) world {
	wan := r.Switch("wan")
	w := world{r, wan, hub(r, wan, toml...), start(r, client(r, "client", wan, "10.2.0.1/24", "192.0.2.2/24", "2001:db8::2/64"), "charon", o)}
	w.c.load(swanctl(list))
	return w
}

// tunnel is a connection with the pre-shared key.
func tunnel(name, settings string, children ...child) connection {
	if len(children) == 0 {
		children = []child{{}}
	}
	mine, theirs := pskAs(name + ".example")
	return connection{name: name, settings: settings, mine: mine, peers: theirs, children: children}
}

// gone waits until the hub has no trace of clients.
func (w world) gone() {
	w.hub.Expect(patience, "show crypto ikev2 sa", "!192.0.2.2")
	w.hub.Expect(patience, "show ip interface brief", "!Virtual-Access")
	w.hub.Expect(patience, "show ip route", `!10\.2\.0\.0`)
}

func register(name, title string, short bool, timeout time.Duration, run func(*matrix.Run), rows ...matrix.Row) {
	matrix.Register(matrix.Case{Name: "strongswan/" + name, Group: "IPsec with strongSwan", Peer: "strongSwan", Title: title,
		Rows: rows, Packages: packages, Short: short, Timeout: timeout, Run: run})
}

func row(id, what string) matrix.Row { return matrix.Row{ID: id, What: what} }

func init() {
	register("rekey", "SAs are replaced while packets flow", false, 8*time.Minute, rekey,
		row("child-theirs", "Child SA rekeyed by the peer three times under traffic, without and with PFS: nothing lost"),
		row("ike-theirs", "IKE SA rekeyed by the peer three times under traffic: nothing lost, the Child SA moves"),
		row("child-ours", "Child SA rekeyed by Felloe when its time has come, under traffic, with PFS: nothing lost"),
		row("ike-ours", "IKE SA rekeyed by Felloe when its time has come, under traffic: nothing lost"),
		row("volume", "Child SA rekeyed by Felloe after 100 kilobytes, under traffic: nothing lost"),
		row("both", "the peer rekeys both SAs at the same time, under traffic: nothing lost, one pair of SAs remains"),
	)
	register("delete", "sessions end, and begin again", true, 5*time.Minute, deletion,
		row("child-theirs", "the peer deletes its Child SA: routes and interface go, and come again with the next"),
		row("ike-theirs", "the peer deletes the IKE SA: nothing remains"),
		row("child-ours", "`clear crypto sa`: the peer's Child SA goes"),
		row("ike-ours", "`clear crypto session`: the peer's IKE SA goes"),
		row("reauth", "the peer authenticates anew with a second IKE SA"),
		row("initial-contact", "the peer's daemon is killed and started again: its new session takes the old one's place"),
	)
	register("dpd", "dead peers", false, 6*time.Minute, dpd,
		row("theirs", "the router is silently cut off: the peer notices, and calls again when the wire is back"),
		row("ours", "the peer is silently cut off: Felloe's probes find out, and nothing remains of it"),
		row("on-demand", "the peer is silently cut off: nothing happens without traffic for it, and with traffic it is found out"),
	)
	register("children", "Child SAs in all shapes", false, 5*time.Minute, childSAs,
		row("childless", "an IKE SA without a child, which is made later (RFC 6023)"),
		row("several", "three Child SAs in one IKE SA: each carries its own, one ends and the others stay"),
		row("narrowing", "the peer offers both families to an IPv4 tunnel and gets IPv4"),
		row("no-proposal", "algorithms that Felloe has not: NO_PROPOSAL_CHOSEN for the IKE SA, both offers in the log"),
		row("no-esp-proposal", "and for the Child SA: the IKE SA stays, both offers in the log"),
		row("no-esn", "a peer without extended sequence numbers at a profile that offers them first"),
		matrix.Row{ID: "esn", What: "extended sequence numbers", Expected: &matrix.Expected{Failure: "exit status 1", Log: `\[ESP\] +IPsec SA: ESN not supported`,
			Reason: "strongSwan's ESP in user space does without extended sequence numbers; with Linux's XFRM they work."}},
		row("cookie", "a cookie is asked for while others' IKE SAs are half open, and accepted"),
	)
}

func rekey(r *matrix.Run) {
	fixed := "rekey_time = 0\n reauth_time = 0"
	pfs := child{esp: "aes256-sha256-ecp384", settings: "rekey_time = 0"}
	no := child{esp: "aes256gcm16", settings: "rekey_time = 0"}
	match := func(n int, names ...string) string { return fmt.Sprintf("identity.remote.fqdn = [%s]", quoted(names)) }
	w := simple(r, daemon{settings: "delete_rekeyed_delay = 2"}, []connection{
		tunnel("plain", fixed, no), tunnel("pfs", fixed, pfs), tunnel("ike", fixed, no), tunnel("ourchild", fixed, pfs), tunnel("ourike", fixed, no),
		tunnel("volume", fixed, pfs), tunnel("both", fixed, pfs),
	},
		service{match: match(1, "plain.example", "pfs.example", "ike.example", "both.example")}.String(),
		service{number: 2, match: match(2, "ourchild.example"), ipsec: "lifetime = { seconds = 15 }\npfs = 20"}.String(),
		service{number: 3, match: match(3, "ourike.example"), profile: "lifetime = \"15s\""}.String(),
		service{number: 4, match: match(4, "volume.example"), ipsec: "lifetime = { kilobytes = 100 }\npfs = 20"}.String())
	// replaced waits until the numbers of an SA in swanctl's list have changed this often, or more.
	replaced := func(ike, pattern string, times int) {
		w.c.since()
		r.Until(patience, ike+" is rekeyed", func() error {
			n := len(matches(w.c.log()[w.c.mark:], pattern))
			if n < times {
				return fmt.Errorf("%d times so far", n)
			}
			return nil
		})
	}
	theirs := func(name, kind, pattern string) {
		w.c.up(name)
		f := w.c.flow("10.2.0.1", hubInner)
		for range 3 {
			w.c.since()
			w.c.ctl("--rekey --" + kind + " " + name)
			w.c.says(pattern)
			r.Sleep(700 * time.Millisecond) // of traffic on the new one
		}
		f.lossless(50)
		w.c.down(name)
		w.gone()
	}
	w.check("child-theirs", func() {
		theirs("plain", "child", `outbound CHILD_SA plain\{\d+\} established`)
		theirs("pfs", "child", `outbound CHILD_SA pfs\{\d+\} established`)
	})
	w.check("ike-theirs", func() {
		theirs("ike", "ike", `IKE_SA ike\[\d+\] rekeyed`)
	})
	ours := func(name, pattern string, times int) {
		w.c.up(name)
		f := w.c.flow("10.2.0.1", hubInner)
		replaced(name, pattern, times)
		f.lossless(50)
		w.c.down(name)
		w.gone()
	}
	w.check("child-ours", func() { ours("ourchild", `outbound CHILD_SA ourchild\{\d+\} established`, 2) })
	w.check("ike-ours", func() { ours("ourike", `IKE_SA ourike\[\d+\] rekeyed`, 2) })
	w.check("volume", func() { ours("volume", `outbound CHILD_SA volume\{\d+\} established`, 2) })
	w.check("both", func() {
		w.c.up("both")
		f := w.c.flow("10.2.0.1", hubInner)
		for range 3 {
			w.c.ctl("--rekey --child both")
			w.c.ctl("--rekey --ike both")
			r.Sleep(time.Second)
		}
		f.lossless(50)
		w.c.ping("10.2.0.1", hubInner)
		w.c.sas(`both: #\d+, ESTABLISHED`, "INSTALLED")
		w.c.down("both")
		w.gone()
	})
}

func deletion(r *matrix.Run) {
	w := simple(r, daemon{}, []connection{tunnel("t", ""), tunnel("re", "rekey_time = 0\n reauth_time = 4s\n over_time = 20s\n rand_time = 0")}, service{}.String())
	up := func(name string) {
		w.c.up(name)
		w.c.ping("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show ip route", `10\.2\.0\.0/24.*Virtual-Access`)
	}
	w.check("child-theirs", func() {
		up("t")
		w.c.ctl("--terminate --child t --timeout 30")
		w.c.unreachable("10.2.0.1", hubInner)
		w.hub.Expect(patience, "show ip route", `!10\.2\.0\.0`)
		up("t")
	})
	w.check("ike-theirs", func() {
		w.c.down("t")
		w.gone()
	})
	w.check("child-ours", func() {
		up("t")
		w.c.since()
		w.hub.Exec("clear crypto sa peer 192.0.2.2")
		w.c.says(`received DELETE for ESP CHILD_SA`)
		w.c.sas("!INSTALLED")
	})
	w.check("ike-ours", func() {
		_, _ = w.c.try("--terminate --ike t --timeout 30")
		up("t")
		w.c.since()
		w.hub.Exec("clear crypto session remote 192.0.2.2")
		w.c.says(`received DELETE for IKE_SA`)
		w.c.sas("!ESTABLISHED")
		w.gone()
	})
	w.check("reauth", func() {
		w.c.since()
		up("re")
		w.c.says(`(?s)reauthenticating IKE_SA.*IKE_SA re\[\d+\] established`)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("re")
		w.gone()
	})
	w.check("initial-contact", func() {
		up("t")
		w.c.proc.Kill()
		w.c.run()
		w.c.load(swanctl([]connection{tunnel("t", "")}))
		up("t")
		w.hub.Expect(patience, "show crypto session summary", `(?i)ike`)
		w.hub.Expect(patience, "show ip interface brief", `Virtual-Access\d`, `!(?s)Virtual-Access.*Virtual-Access`)
		w.c.down("t")
		w.gone()
	})
}

func dpd(r *matrix.Run) {
	w := simple(r, daemon{settings: "retransmit_timeout = 1.0\n retransmit_tries = 2\n retry_initiate_interval = 1"}, []connection{
		tunnel("theirs", "dpd_delay = 2s\n keyingtries = 0", child{settings: "dpd_action = restart"}), tunnel("ours", ""), tunnel("demand", ""),
	},
		service{match: `identity.remote.fqdn = "theirs.example"`}.String(),
		service{number: 2, match: `identity.remote.fqdn = "ours.example"`, profile: "dpd = { interval = 2, retry = 1 }"}.String(),
		service{number: 3, match: `identity.remote.fqdn = "demand.example"`, profile: "dpd = { interval = 2, retry = 1, mode = \"on-demand\" }"}.String())
	const block = "table inet cut { chain i { type filter hook input priority 0; iifname eth0 drop; }; chain o { type filter hook output priority 0; oifname eth0 drop; }; }"
	silence := func() { w.c.Run("nft '" + block + "'") }
	speak := func() { w.c.Run("nft delete table inet cut") }
	w.check("theirs", func() {
		w.c.up("theirs")
		w.c.ping("10.2.0.1", hubInner)
		w.c.since()
		silence()
		w.c.says("sending DPD request", "giving up after 2 retransmits")
		speak()
		w.c.says(`(?s)giving up after 2 retransmits.*IKE_SA theirs\[\d+\] established`)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("theirs")
		w.gone()
	})
	w.check("ours", func() {
		w.c.up("ours")
		w.c.ping("10.2.0.1", hubInner)
		silence()
		w.hub.ExpectLog(patience, `(?i)peer is dead|dead peer|does not answer`)
		w.gone()
		speak()
		_, _ = w.c.try("--terminate --force --timeout 5 --ike ours")
	})
	w.check("on-demand", func() {
		w.c.up("demand")
		w.c.ping("10.2.0.1", hubInner)
		r.Sleep(3 * time.Second) // what was in flight has settled
		silence()
		r.Sleep(12 * time.Second) // periodic probes would have given up
		w.hub.Expect(patience, "show crypto ikev2 sa", `192\.0\.2\.2.*READY`)
		_, _ = w.hub.Try("ping 10.2.0.1 source Loopback1 repeat 3 timeout 1")
		w.gone()
		speak()
		_, _ = w.c.try("--terminate --force --timeout 5 --ike demand")
	})
}

func childSAs(r *matrix.Run) {
	second := child{name: "s2", local: "10.2.2.0/24"}
	third := child{name: "s3", local: "10.2.3.0/24"}
	w := simple(r, daemon{}, []connection{
		tunnel("less", "childless = force"), tunnel("several", "", child{name: "s1"}, second, third),
		tunnel("narrow", "", child{local: "10.2.0.0/24,fd00:2::/64", remote: "10.1.0.0/24,fd00:1::/64"}),
		{name: "alien", ike: "aes192-sha512-ecp256bp", mine: "auth = psk\n id = alien.example", peers: "auth = psk\n id = " + hubID, children: []child{{}}},
		tunnel("alienesp", "", child{esp: "aes192ctr-sha256"}),
		tunnel("esn", "", child{esp: "aes256gcm16-noesn"}), tunnel("cookie", ""), tunnel("withesn", "", child{esp: "aes256gcm16-esn"}),
	},
		service{match: `identity.remote.fqdn = ["less.example", "several.example", "narrow.example", "alien.example", "alienesp.example", "cookie.example"]`}.String(),
		service{number: 2, match: `identity.remote.fqdn = ["esn.example", "withesn.example"]`, ipsec: "esn = true"}.String(),
		"[ikev2]\ncookie-challenge = 1\n")
	w.c.IP("addr", "add", "10.2.2.1/24", "dev", "lo")
	w.c.IP("addr", "add", "10.2.3.1/24", "dev", "lo")
	w.check("childless", func() {
		w.c.ctl("--initiate --ike less --timeout 60")
		w.c.sas("ESTABLISHED", "!INSTALLED")
		w.hub.Expect(patience, "show crypto ikev2 sa", `192\.0\.2\.2.*READY`)
		w.c.up("less")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("less")
		w.gone()
	})
	w.check("several", func() {
		for _, n := range []string{"s1", "s2", "s3"} {
			w.c.up(n)
		}
		w.c.sas(`(?s)several: #\d+.*INSTALLED.*INSTALLED.*INSTALLED`, `!(?s)several:.*several:`)
		for _, a := range []string{"10.2.0.1", "10.2.2.1", "10.2.3.1"} {
			w.c.ping(a, hubInner)
		}
		w.hub.Expect(patience, "show ip route", `10\.2\.0\.0/24.*Virtual-Access1`, `10\.2\.2\.0/24.*Virtual-Access1`, `10\.2\.3\.0/24.*Virtual-Access1`)
		w.hub.Expect(patience, "show ip interface brief", `!(?s)Virtual-Access.*Virtual-Access`)
		w.c.ctl("--terminate --child s2 --timeout 30")
		w.hub.Expect(patience, "show ip route", `10\.2\.0\.0/24`, `!10\.2\.2\.0/24`, `10\.2\.3\.0/24`)
		w.c.unreachable("10.2.2.1", hubInner)
		w.c.ping("10.2.0.1", hubInner)
		w.c.ping("10.2.3.1", hubInner)
		w.c.down("several")
		w.gone()
	})
	w.check("narrowing", func() {
		w.c.up("narrow")
		w.c.sas(`local +10\.2\.0\.0/24$`, `remote +10\.1\.0\.0/24$`)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("narrow")
		w.gone()
	})
	w.check("no-proposal", func() {
		w.c.refused("alien", "received NO_PROPOSAL_CHOSEN notify error")
		w.hub.ExpectLog(patience, `"event":"no-proposal".*"offered":"aes-cbc-192 sha512 prf-sha512 group-28","accepted":"aes-cbc-256 .*aes-gcm-256`)
	})
	w.check("no-esp-proposal", func() {
		w.c.refused("alienesp", "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
		w.hub.ExpectLog(patience, `"event":"child-refused".*"offered":"ENCR_13 sha256 no-esn".*accepts aes-gcm-256 no-esn`)
		_, _ = w.c.try("--terminate --ike alienesp --timeout 30")
		w.gone()
	})
	w.check("no-esn", func() {
		w.c.up("esn")
		w.c.sas("!ESN")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("esn")
		w.gone()
	})
	w.check("esn", func() {
		w.c.up("withesn")
		w.c.sas("ESN")
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("withesn")
		w.gone()
	})
	w.check("cookie", func() {
		// A stranger begins an IKE SA and hears no answer.
		s := start(r, client(r, "stranger", w.wan, "", "192.0.2.3/24"), "stranger", daemon{})
		s.Run("nft 'table inet deaf { chain i { type filter hook input priority 0; udp sport { 500, 4500 } drop; }; }'")
		k := tunnel("stranger", "")
		k.local = "192.0.2.3"
		s.load(swanctl([]connection{k}))
		s.proc.Signal(0)
		_, _ = s.try("--initiate --child stranger --timeout 1")
		w.c.since()
		w.c.up("cookie")
		w.c.says(`parsed IKE_SA_INIT response 0 \[ N\(COOKIE\) \]`, `IKE_SA cookie\[\d+\] established`)
		w.c.ping("10.2.0.1", hubInner)
		w.c.down("cookie")
	})
}

// check is Check whose failure leaves nothing behind for the next rows.
func (w world) check(id string, f func()) {
	w.Check(id, func() {
		good := false
		defer func() {
			if !good {
				_ = w.Attempt(func() {
					w.c.proc.Stop()
					w.hub.Exec("clear crypto session")
					w.c.run()
					w.c.ctl("--load-all --clear")
				})
			}
		}()
		f()
		good = true
	})
}
