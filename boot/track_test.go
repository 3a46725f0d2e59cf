package boot

import (
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"felloe/config"
	"felloe/netstack/fib"
	"felloe/netstack/link/mem"
	"felloe/routing/track"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// web serves in the VRF of a router.
func (c *cloud) web(router, vrf string, port uint16, handler http.Handler) {
	v, ok := c.routers[router].Dataplane().VRF(vrf)
	if !ok {
		c.t.Fatal("no such vrf")
	}
	l, err := gonet.ListenTCP(v.Stack(), tcpip.FullAddress{Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		c.t.Fatal(err)
	}
	s := &http.Server{Handler: handler}
	go func() { _ = s.Serve(l) }()
	c.t.Cleanup(func() { _ = s.Close() })
}

func (c *cloud) track(router string, id int) (i track.Info) {
	for _, x := range c.routers[router].Tracks() {
		if x.ID == id {
			return x
		}
	}
	return i
}

func TestEveryKindOfTrackFollowsWhatItLooksAt(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	status.Store(200)
	const probe = `interval = "100ms", timeout = "2s", failures = 3`
	c, near, _ := chain(t, strings.ReplaceAll(`
[interface.Loopback7]
address = ["10.7.0.1/24"]
[track.1]
icmp-echo = { address = "172.16.2.1", source = "GigabitEthernet1", PROBE }
[track.2]
icmp-echo = { address = "2001:db8:2::1", size = 1000, PROBE }
[track.3]
tcp-connect = { address = "172.16.2.1", port = 8080, PROBE }
[track.4]
http = { url = "http://172.16.2.1:8080/health", status = [200, 204], PROBE }
[track.5]
interface = { name = "Loopback7" }
[track.6]
interface = { name = "Loopback7", what = "ip-routing" }
[track.7]
route = { prefix = "10.7.0.0/24" }
[track.8]
route = { prefix = "0.0.0.0/0" }
[track.9]
icmp-echo = { address = "172.16.2.77", PROBE }
[track.10]
boolean = { operator = "and", object = [1, 2, 3, 4, 5, 6, 7, 8, -9] }
[track.11]
threshold-percentage = { object = [1, 9], up = 50, down = 40 }
[track.12]
threshold-weight = { object = [{ track = 1, weight = 10 }, { track = 9, weight = 20 }], up = 30, down = 10 }
[track.13]
http = { url = "http://web.example.com:8080/health", status = [204, 200], PROBE }
[dns.host]
"web.example.com" = ["172.16.2.1"]
[track.14]
icmp-echo = { address = "172.16.2.1", size = 0, PROBE }
`, "PROBE", probe), "")
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
	c.web("R2", "default", 8080, mux)
	is := func(up string) func() bool {
		return func() bool {
			got := ""
			for _, i := range c.routers["R1"].Tracks() {
				switch {
				case !i.Known:
					got += "?"
				case i.Up:
					got += "U"
				default:
					got += "d"
				}
			}
			return got == up
		}
	}
	c.becomes("all but 9 and 12 are up", is("UUUUUUUUdUUdUU"))
	if i := c.track("R1", 1); i.What != "icmp-echo 172.16.2.1" || i.Probe == nil || i.Probe.Answered == 0 || i.Probe.RTT <= 0 {
		t.Fatalf("%+v", i)
	}
	if !c.logged("R1", "%TRACK-6-STATE: 1 icmp-echo 172.16.2.1 Down -> Up") {
		t.Fatal(c.story())
	}
	status.Store(204)
	status.Store(500)
	c.becomes("4 is down, and 10 with it", is("UUUdUUUUddUddU"))
	c.becomes("the status is the failure", func() bool { return c.track("R1", 4).Probe.Failure == "status 500" })
	status.Store(204)
	c.becomes("204 is good, too", is("UUUUUUUUdUUdUU"))
	near.Link().SetUp(false)
	c.becomes("what is asked does not answer", is("ddddUUUUdddddd"))
	if i := c.track("R1", 1); i.Reason != "timeout" {
		t.Fatalf("%+v", i)
	}
	near.Link().SetUp(true)
	c.becomes("they are back", is("UUUUUUUUdUUdUU"))
}

func TestTracksFollowTheConfigurationOfInterfacesAndRoutes(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	a, _ := c.net.Pair("R1", "x", mem.Impairment{})
	text := func(address string, shutdown bool) string {
		return fmt.Sprintf(`
hostname = "R1"
[interface.GigabitEthernet1]
address = [%s]
shutdown = %v
[track.1]
interface = { name = "GigabitEthernet1" }
[track.2]
interface = { name = "GigabitEthernet1", what = "ip-routing" }
[track.3]
route = { prefix = "192.0.2.0/24" }
delay = { up = "50ms" }
[track.4]
route = { prefix = "192.0.2.0/25" }
`, address, shutdown)
	}
	c.start("R1", text(`"192.0.2.1/24"`, false), NIC{"R1", a})
	is := func(want ...bool) func() bool {
		return func() bool {
			for n, up := range want {
				if c.track("R1", n+1).Up != up {
					return false
				}
			}
			return true
		}
	}
	c.becomes("all but the other prefix", is(true, true, true, false))
	c.apply("R1", text("", false))
	c.becomes("no address, no route", is(true, false, false, false))
	c.apply("R1", text(`"192.0.2.1/24"`, true))
	c.becomes("shut", is(false, false, false, false))
	c.apply("R1", text(`"192.0.2.1/24"`, false))
	c.becomes("and back", is(true, true, true, false))
	a.SetCarrier(false)
	c.becomes("no carrier", is(false, false, false, false))
	a.SetCarrier(true)
	c.becomes("and back again", is(true, true, true, false))
	if !c.logged("R1", "%TRACK-6-STATE: 1 interface GigabitEthernet1 line-protocol Up -> Down", "line protocol is down") {
		t.Fatal(c.story())
	}
}

func TestAStaticRouteIsUsedWhileItsTrackIsUp(t *testing.T) {
	t.Parallel()
	routes := func(distance int) string {
		return fmt.Sprintf(`
[interface.Loopback7]
address = ["10.7.0.1/24"]
[track.1]
icmp-echo = { address = "172.16.2.1", interval = "50ms", timeout = "1s", failures = 3 }
[[route]]
prefix = "10.99.0.0/16"
via = "172.16.1.254"
distance = %d
track = 1
[[route]]
prefix = "10.99.0.0/16"
discard = true
distance = 200
`, distance)
	}
	c, near, _ := chain(t, routes(5), "")
	show := "show ip route 10.99.0.0/16"
	via := func() bool { return strings.Contains(c.exec("R1", show), "172.16.1.254") }
	c.becomes("the route is used", via)
	// What is configured anew keeps what is known: the route is there at every moment.
	v := c.routers["R1"].vrfs["default"]
	missing := false
	_ = c.routers["R1"].call("watch", func() error {
		v.rib.Heed(func() {
			x, ok := v.rib.Get(netip.MustParsePrefix("10.99.0.0/16"))
			missing = missing || !ok || x.Kind == fib.Discard
		})
		return nil
	})
	c.apply("R1", chained(1, routes(7)))
	c.want("R1", show, "[7/0]")
	_ = c.routers["R1"].call("look", func() error {
		if missing {
			t.Error("the route was missing for a moment")
		}
		return nil
	})
	near.Link().SetUp(false)
	c.becomes("the other path is used", func() bool { return !via() })
	near.Link().SetUp(true)
	c.becomes("and the first again", via)
}

func TestAProbeThatGoesThroughTheTunnelItGuardsIsSaid(t *testing.T) {
	t.Parallel()
	f := newFlex(t)
	f.run("hub1", flexHub(1, pushAll, ""))
	f.run("spoke1", flexSpoke(1, clientTunnel, `
[track.1]
icmp-echo = { address = "172.25.1.1", interval = "100ms" }
[track.2]
icmp-echo = { address = "172.25.1.254", interval = "100ms" }
[track.3]
boolean = { operator = "or", object = [1, 2] }
`+flexClient(`peer = [{ address = "172.25.1.1", track = 3 }]`)))
	f.becomes("it is said", func() bool { return f.logged("spoke1", "[track.2] asks 172.25.1.254 through Tunnel1", "Flex_Client") })
	if f.logged("spoke1", "[track.1] asks") {
		t.Fatal("the way to the far end is outside of the tunnel")
	}
}

func TestShowTrackNamesWhoHeedsAnObject(t *testing.T) {
	c, diags := config.Parse("r.toml", []byte(`
[vrf.blue]
[interface.GigabitEthernet1]
address = "192.0.2.1/24"
[interface.GigabitEthernet2]
address = "198.51.100.1/24"
vrf = "blue"
[interface.Tunnel0]
address = "10.0.0.2/24"
mode = "gre multipoint"
source = "GigabitEthernet1"
nhrp = { network-id = 1, nhs = [{ address = "10.0.0.1", nbma = "192.0.2.9", track = 3 }] }
[interface.Tunnel1]
address = "negotiated"
source = "dynamic"
destination = "dynamic"
protection = "P"
[ikev2.client.HUBS]
peer = [{ address = "192.0.2.7", track = 1 }, { address = "192.0.2.8", track = 1, track-state = "down" }]
source = [{ interface = "GigabitEthernet1", track = 2 }]
connect = { track = 4 }
client-connect = "Tunnel1"
[ikev2.profile.P]
match = { identity.remote.any = true }
pre-shared-key = "secret-of-both-ends"
[ipsec.profile.P]
ikev2-profile = "P"
[[route]]
prefix = "10.9.0.0/16"
via = "192.0.2.254"
track = 1
[[route]]
prefix = "10.9.0.0/16"
via = "198.51.100.254"
vrf = "blue"
track = 1
[route-map.M]
entry = [{ match = { track = [2] } }]
[track.1]
interface = { name = "GigabitEthernet1" }
[track.2]
interface = { name = "GigabitEthernet1" }
[track.3]
interface = { name = "GigabitEthernet1" }
[track.4]
boolean = { operator = "or", object = [1, -2] }
`))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	users := trackUsers(c)
	want := map[int][]string{
		1: {"Track 4", "FlexVPN HUBS", "Static route 10.9.0.0/16", "Static route 10.9.0.0/16 in vrf blue"},
		2: {"Track 4", "FlexVPN HUBS", "Route map M"},
		3: {"NHRP next hop server 10.0.0.1 of Tunnel0"},
		4: {"FlexVPN HUBS"},
	}
	if !reflect.DeepEqual(users, want) {
		t.Errorf("%v\nwanted %v", users, want)
	}
}

func TestAHostileWebServerFailsAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	const probe = `interval = "50ms", timeout = "500ms", failures = 2`
	tracks := ""
	for n, path := range []string{"endless-body", "redirect", "silent", "endless-headers", "endless-line", "early"} {
		tracks += strings.ReplaceAll(fmt.Sprintf("[track.%d]\nhttp = { url = \"http://172.16.2.1:8080/%s\", PROBE }\n", n+1, path), "PROBE", probe)
	}
	c, _, _ := chain(t, tracks, "")
	v, _ := c.routers["R2"].Dataplane().VRF("default")
	l, err := gonet.ListenTCP(v.Stack(), tcpip.FullAddress{Port: 8080}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 4096)
				n, _ := conn.Read(b)
				endless := func(first, s string) {
					_, err := conn.Write([]byte(first))
					for err == nil {
						time.Sleep(time.Millisecond) // endless, but no flood: the machine is others' too
						_, err = conn.Write([]byte(strings.Repeat(s, 100)))
					}
				}
				switch path := strings.Fields(string(b[:n]) + " - -")[1]; path {
				case "/endless-body":
					endless("HTTP/1.1 200 OK\r\n\r\n", "body")
				case "/endless-headers":
					endless("HTTP/1.1 200 OK\r\n", "X: y\r\n")
				case "/endless-line":
					endless("HTTP/1.1 200 OK\r\nX: ", "y")
				case "/early":
					endless("", "HTTP/1.1 103 Early Hints\r\n\r\n")
				case "/redirect":
					_, _ = conn.Write([]byte("HTTP/1.1 302 Found\r\nLocation: http://172.16.2.1:8080/endless-body\r\n\r\n"))
				default:
					_, _ = conn.Read(b)
				}
			}()
		}
	}()
	c.becomes("all but the first are down", func() bool {
		all := c.routers["R1"].Tracks()
		for _, i := range all {
			if !i.Known || i.Up != (i.ID == 1) {
				return false
			}
		}
		return len(all) == 6
	})
	c.becomes("a redirect is a status like any other", func() bool { return c.track("R1", 2).Probe.Failure == "status 302" })
	c.becomes("the questions that are open are bounded by their time", func() bool {
		i := c.track("R1", 3)
		return i.Probe.Sent > 20 && i.Probe.Sent-i.Probe.Failed <= 12
	})
	c.apply("R1", chained(1, ""))
	p := c.routers["R1"].prompt
	c.becomes("nothing is open", func() bool {
		n := 0
		p.call("look", func(time.Time) { n = len(p.asks.open) })
		return n == 0
	})
	// The same again, under a number that meant another thing meanwhile.
	c.apply("R1", chained(1, strings.Replace(tracks, "/endless-body", "/silent", 1)))
	c.becomes("the first is down", func() bool { i := c.track("R1", 1); return i.Known && !i.Up })
}

func TestWhatWasFoundOfATargetSaysNothingOfTheNextOne(t *testing.T) {
	t.Parallel()
	c, _, _ := chain(t, "[track.1]\nicmp-echo = { address = \"172.16.2.1\", interval = \"1s\", timeout = \"1s\", failures = 3 }\n", "")
	r := c.routers["R1"]
	c.becomes("the first is up", func() bool { return c.track("R1", 1).Up })
	_ = r.call("between a report and its arrival", func() error {
		r.prompt.call("report", func(time.Time) { r.prompt.asks.Report(1, false, "of the one before") })
		r.tracks.leaves[1].spec.Address = netip.MustParseAddr("172.16.2.77")
		return nil
	})
	if i := c.track("R1", 1); !i.Up || i.Changes != 1 {
		t.Errorf("%+v", i)
	}
}
