package bgp

import (
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

const many = 100_000

// prefixes is the n-th of the announced ones: /24s from 20.0.0.0 on.
func prefix(n int) string { return fmt.Sprintf("%d.%d.%d.0/24", 20+n>>16, n>>8&255, n&255) }

func init() {
	matrix.Register(matrix.Case{
		Name: "bgp/table", Group: "BGP", Peer: "BIRD, FRR bgpd", Title: "a large table from BIRD, handed on to FRR", Timeout: 20 * time.Minute,
		Packages: []string{"bird2", "frr"}, Run: table,
		Rows: []matrix.Row{
			{ID: "sessions", What: "sessions with BIRD and with FRR bgpd"},
			{ID: "received", What: "BIRD announces 100,000 prefixes; all are in the routing table"},
			{ID: "announced", What: "FRR has all of them from us, with both AS numbers in the path"},
			{ID: "flapping", What: "BIRD withdraws and announces all of them three times; FRR ends up with all of them"},
			{ID: "reset", What: "BIRD's session ends and comes back; FRR loses the prefixes and gets them again"},
			{ID: "undisturbed", What: "FRR's session stayed up throughout"},
		},
	})
	matrix.Register(matrix.Case{
		Name: "bgp/frr-table", Group: "BGP", Peer: "FRR bgpd", Title: "a large table from FRR", Timeout: 20 * time.Minute,
		Packages: []string{"frr"}, Run: frrTable,
		Rows: []matrix.Row{
			{ID: "received", What: "FRR bgpd announces 100,000 prefixes; all are in the routing table"},
			{ID: "cleared", What: "after a route refresh and a hard reset by FRR they are there again"},
		},
	})
}

func startBIRD(r *matrix.Run, lan *peers.Switch) *peers.Namespace {
	n := r.Namespace("bird")
	lan.Attach(n, "eth0", "192.0.2.2/24")
	var b strings.Builder
	b.WriteString("router id 192.0.2.2;\nlog \"" + r.Dir() + "/bird.out\" all;\nprotocol device {}\nprotocol static many {\n  ipv4;\n")
	for i := range many {
		fmt.Fprintf(&b, "  route %s blackhole;\n", prefix(i))
	}
	b.WriteString("}\nprotocol bgp felloe {\n  local 192.0.2.2 as 65002;\n  neighbor 192.0.2.1 as 65001;\n  connect retry time 3;\n  hold time 90;\n  ipv4 { import all; export where source = RTS_STATIC; next hop self; };\n}\n")
	conf := r.File("bird.conf", b.String())
	n.Start(peers.Command{Name: "bird", Args: []string{"/usr/sbin/bird", "-f", "-c", conf, "-s", r.Dir() + "/bird.ctl"}})
	r.Version("BIRD", peers.PackageVersion("bird2"))
	return n
}

// routes waits until the router's table has this many BGP routes.
func routes(r *matrix.Run, router *peers.Router, within time.Duration, want int) {
	r.Until(within, fmt.Sprintf("the router has %d routes by BGP", want), func() error {
		out, err := router.Try("show ip bgp summary")
		if err != nil {
			return err
		}
		if got := strings.Count(router.Exec("show ip route bgp"), "\nB "); got != want {
			return fmt.Errorf("%d\n%s", got, out)
		}
		return nil
	})
}

func table(r *matrix.Run) {
	lan := r.Switch("lan")
	router := r.Router("router", routerTOML, lan)
	w := startWatcher(r, lan, "")
	bird := startBIRD(r, lan)
	birdc := func(command string) string { return bird.Run("birdc -s " + r.Dir() + "/bird.ctl " + command) }
	r.Must("sessions", func() {
		router.Expect(60*time.Second, "show ip bgp summary", `192\.0\.2\.2 .* 65002 .* \d+$`, `192\.0\.2\.3 .* 65003 .* \d+$`)
	})
	r.Must("received", func() { routes(r, router, 5*time.Minute, many) })
	r.Check("announced", func() {
		w.has(r, time.Minute, many+1, many+1)
		out := w.Run("vtysh --vty_socket " + w.dir + " -d bgpd -c 'show bgp ipv4 unicast " + prefix(many/2) + "'")
		if err := peers.Match(out, `^ *65001 65002$`); err != nil {
			r.Fatalf("%v", err)
		}
	})
	r.Check("flapping", func() {
		for range 3 {
			birdc("disable many")
			r.Sleep(500 * time.Millisecond)
			birdc("enable many")
			r.Sleep(500 * time.Millisecond)
		}
		birdc("disable many")
		w.has(r, 5*time.Minute, 1, 1)
		birdc("enable many")
		w.has(r, 5*time.Minute, many+1, many+1)
		routes(r, router, 5*time.Minute, many)
	})
	r.Check("reset", func() {
		birdc("disable felloe")
		w.has(r, 5*time.Minute, 1, 1)
		birdc("enable felloe")
		w.has(r, 5*time.Minute, many+1, many+1)
	})
	r.Check("undisturbed", func() { w.undisturbed(r) })
}

func frrTable(r *matrix.Run) {
	lan := r.Switch("lan")
	router := r.Router("router", routerTOML, lan)
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, "  network %s\n", prefix(i))
	}
	w := startWatcher(r, lan, b.String())
	r.Must("received", func() { routes(r, router, 5*time.Minute, many) })
	r.Check("cleared", func() {
		w.Run("vtysh --vty_socket " + w.dir + " -d bgpd -c 'clear bgp ipv4 unicast 192.0.2.1 soft out'")
		router.Exec("clear ip bgp 192.0.2.3 soft in")
		w.Run("vtysh --vty_socket " + w.dir + " -d bgpd -c 'clear bgp ipv4 unicast 192.0.2.1'")
		r.Sleep(time.Second)
		routes(r, router, 5*time.Minute, many)
	})
}
