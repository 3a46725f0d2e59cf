package bgp

import (
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	matrix.Register(matrix.Case{
		Name: "bgp/graceful-restart", Group: "BGP", Peer: "FRR bgpd", Title: "graceful restart of either side", Timeout: 5 * time.Minute,
		Packages: []string{"frr"}, Run: gracefulRestart,
		Rows: []matrix.Row{
			{ID: "agreed", What: "both sides say which families they keep over a restart"},
			{ID: "kept", What: "bgpd is killed; its routes stay in the routing table, marked stale"},
			{ID: "back", What: "bgpd is back with one route less: that one goes after End-of-RIB, the others never left"},
			{ID: "helped", What: "the router is killed and starts again; bgpd never loses our route, has it anew, and nothing stale is left"},
			{ID: "closed", What: "a session that bgpd closes in order leaves no route behind"},
		},
	})
}

const gracefulTOML = `
hostname = "router"
[interface.GigabitEthernet1]
address = ["192.0.2.1/24", "2001:db8::1/64"]
[interface.Loopback0]
address = ["10.0.0.1/32", "2001:db8:1::1/128"]
[bgp]
as = 65001
network = ["10.0.0.1/32", "2001:db8:1::1/128"]
graceful-restart = { restart-time = "90s", stalepath-time = "2m" }
[bgp.neighbor."192.0.2.3"]
remote-as = 65003
address-family = ["ipv4", "ipv6"]
timers = { keepalive = 30, hold = 90, connect-retry = 3 }
`

// startKeeper starts bgpd with graceful restart, and with these of its networks.
func startKeeper(r *matrix.Run, n *peers.Namespace, networks ...string) watcher {
	w := watcher{n, r.Dir() + "/watcher"}
	var four, six strings.Builder
	for _, p := range networks {
		if strings.Contains(p, ":") {
			fmt.Fprintf(&six, "  network %s\n", p)
		} else {
			fmt.Fprintf(&four, "  network %s\n", p)
		}
	}
	r.File("watcher/bgpd.conf", `hostname watcher
log file `+w.dir+`/bgpd.log
router bgp 65003
 bgp router-id 192.0.2.3
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 60
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers 30 90
 neighbor 192.0.2.1 timers connect 3
 address-family ipv4 unicast
`+four.String()+` exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.1 activate
  neighbor 192.0.2.1 route-map HERE out
`+six.String()+` exit-address-family
route-map HERE permit 10
 set ipv6 next-hop global 2001:db8::3
`)
	r.Command("chown", "-R", "frr:frr", w.dir)
	r.Command("chmod", "755", w.dir)
	return w
}

func (w watcher) command() peers.Command {
	return peers.Command{Name: "watcher", Args: []string{"/usr/lib/frr/bgpd", "-f", w.dir + "/bgpd.conf", "-i", w.dir + "/bgpd.pid", "--vty_socket", w.dir,
		"-A", "127.0.0.1", "-P", "2605", "-n", "-Z"}}
}

func (w watcher) show(what string) (string, error) {
	return w.Try("vtysh --vty_socket " + w.dir + " -d bgpd -c '" + what + "'")
}

// shows waits until bgpd shows something.
func (w watcher) shows(r *matrix.Run, within time.Duration, what string, patterns ...string) {
	r.Until(within, what, func() error {
		out, err := w.show(what)
		if err != nil {
			return err
		}
		return peers.Match(out, patterns...)
	})
}

func gracefulRestart(r *matrix.Run) {
	lan := r.Switch("lan")
	router := r.Router("router", gracefulTOML, lan)
	n := r.Namespace("watcher")
	lan.Attach(n, "eth0", "192.0.2.3/24", "2001:db8::3/64")
	w := startKeeper(r, n, "20.0.0.0/24", "20.0.1.0/24", "2001:db8:20::/48")
	bgpd := w.Start(w.command())
	r.Version("FRR (on the host)", peers.PackageVersion("frr"))
	r.Must("agreed", func() {
		router.Expect(time.Minute, "show ip route bgp", `20\.0\.0\.0/24`, `20\.0\.1\.0/24`)
		router.Expect(time.Minute, "show ipv6 route bgp", `2001:db8:20::/48`)
		w.shows(r, time.Minute, "show bgp ipv4 unicast 10.0.0.1/32", `192\.0\.2\.1`)
		w.shows(r, time.Minute, "show bgp neighbors 192.0.2.1", `Graceful Restart Capability: advertised and received`, `Remote Restart timer is 90 seconds`)
	})
	r.Check("kept", func() {
		bgpd.Kill()
		router.Expect(time.Minute, "show ip bgp", `^ S> +20\.0\.0\.0/24`, `^ S> +20\.0\.1\.0/24`)
		router.Expect(time.Second, "show ip route bgp", `20\.0\.0\.0/24`, `20\.0\.1\.0/24`)
		router.Expect(time.Second, "show ipv6 route bgp", `2001:db8:20::/48`)
	})
	r.Check("back", func() {
		startKeeper(r, n, "20.0.0.0/24", "2001:db8:20::/48")
		bgpd = w.Start(w.command())
		r.Until(time.Minute, "the route that is not announced again goes", func() error {
			out := router.Exec("show ip route bgp")
			if !strings.Contains(out, "20.0.0.0/24") {
				r.Fatalf("a route was gone: %s", out)
			}
			if strings.Contains(out, "20.0.1.0/24") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		router.Expect(10*time.Second, "show ip bgp", `^ \*> +20\.0\.0\.0/24`)
		// bgpd ends IPv6 (End-of-RIB) before it begins, so that a route of it may be gone in between.
		router.Expect(time.Minute, "show ipv6 route bgp", `2001:db8:20::/48`)
	})
	r.Check("helped", func() {
		w.shows(r, time.Minute, "show bgp ipv4 unicast 10.0.0.1/32", `192\.0\.2\.1`)
		router.Kill()
		router.Start()
		r.Until(time.Minute, "the session is a new one", func() error {
			out, err := w.show("show bgp ipv4 unicast")
			if err == nil && !strings.Contains(out, "10.0.0.1/32") {
				r.Fatalf("our route was gone: %s", out)
			}
			if err == nil {
				out, err = w.show("show bgp neighbors 192.0.2.1")
			}
			if err != nil {
				return err
			}
			return peers.Match(out, `Connections established 2; dropped 1`, `BGP state = Established`)
		})
		w.shows(r, time.Minute, "show bgp ipv4 unicast", `\*> +10\.0\.0\.1/32`)
		w.shows(r, time.Minute, "show bgp ipv6 unicast", `\*> +2001:db8:1::1/128`)
		router.Expect(time.Minute, "show ip route bgp", `20\.0\.0\.0/24`)
	})
	r.Check("closed", func() {
		if _, err := w.Try("vtysh --vty_socket " + w.dir + " -d bgpd -c 'configure terminal' -c 'router bgp 65003' -c 'neighbor 192.0.2.1 shutdown'"); err != nil {
			r.Fatalf("%v", err)
		}
		r.Until(time.Minute, "no route is left", func() error {
			if out := router.Exec("show ip route bgp"); strings.Contains(out, "20.0.0.0/24") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	})
}
