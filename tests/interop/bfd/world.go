package bfd

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

const routerTOML = `
hostname = "router"
[interface.GigabitEthernet1]
address = ["192.0.2.1/24", "2001:db8::1/64"]
bfd = { interval = "100ms", min-rx = "120ms", multiplier = 3 }
[interface.Loopback0]
address = ["10.0.0.1/32"]
[[bfd.multihop]]
destination = "203.0.113.0/24"
interval = "200ms"
min-rx = "200ms"
multiplier = 3
passive = PASSIVE
[[route]]
prefix = "203.0.113.2/32"
via = "192.0.2.9"
[[route]]
prefix = "198.51.100.0/24"
via = "192.0.2.2"
bfd = true
[track.1]
bfd = { address = "192.0.2.2" }
[track.2]
bfd = { address = "2001:db8::2" }
`

const multihopTrack = `
[track.3]
bfd = { address = "203.0.113.2", multihop = true, source = "Loopback0" }
`

// What the three sessions are to the peer, and to us.
var remotes = []string{"192.0.2.2", "2001:db8::2", "203.0.113.2"}

// ours is a session as we show it.
type ours struct {
	Remote    string `json:"remote"`
	State     string `json:"state"`
	LastDown  string `json:"last-down"`
	Interval  int64  `json:"interval-ns"`
	Detection int64  `json:"detection-ns"`
	Downs     int    `json:"downs"`
	Clients   []string
}

// theirs is a session as the peer shows it: by our address.
type theirs struct {
	up                  bool
	interval, detection time.Duration
	diagnostic          string // of us, if it is told
}

// peer is BIRD or FRR.
type peer interface {
	// sessions are the peer's, by our addresses.
	sessions() (map[string]theirs, error)
}

// shutter is a peer that can end its sessions on purpose, and bring them back. BIRD just falls silent.
type shutter interface {
	disable()
	enable()
}

type world struct {
	*matrix.Run
	lan    *peers.Switch
	port   string // the peer's
	router *peers.Router
	peer   peer
}

func rows(shuts bool) []matrix.Row {
	list := []matrix.Row{
		{ID: "up", What: "single hop sessions over IPv4 and IPv6, and a multihop session through a router"},
		{ID: "timers", What: "both ends use the slower of what one sends and the other takes, and the other's multiplier"},
		{ID: "changed", What: "other timers are agreed on by a poll, and no session goes down"},
		{ID: "cut", What: "the link is cut silently: both ends notice within the detection time, and what depends on it goes: a route, BGP, tracks"},
		{ID: "again", What: "the link is back, and all of it with it"},
		{ID: "ours", What: "we end ours on purpose: the peer hears AdminDown; and back"},
		{ID: "passive", What: "a multihop session that the peer begins is answered, and refused when nobody permits it"},
	}
	if shuts {
		list = append(list, matrix.Row{ID: "theirs", What: "the peer ends its sessions on purpose: we see why, BGP stays up; and back"})
	}
	return list
}

const bgpTOML = `
[bgp]
as = 65001
[bgp.neighbor."192.0.2.2"]
remote-as = 65002
bfd = true
timers = { keepalive = 30, hold = 90, connect-retry = 3 }
`

func config(passive bool, tracks string) string {
	return strings.Replace(routerTOML, "PASSIVE", fmt.Sprint(passive), 1) + tracks + bgpTOML
}

// begin makes the routers; start makes the peer in its namespace.
func begin(r *matrix.Run, start func(w *world, n *peers.Namespace) peer) *world {
	w := &world{Run: r, lan: r.Switch("lan")}
	w.router = r.Router("router", config(false, multihopTrack), w.lan)
	transit := r.Namespace("transit")
	w.lan.Attach(transit, "eth0", "192.0.2.9/24")
	transit.Run("sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0; ip route add 10.0.0.1/32 via 192.0.2.1; ip route add 203.0.113.2/32 via 192.0.2.2")
	n := r.Namespace("peer")
	w.port = w.lan.Attach(n, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	n.Run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0; ip addr add 203.0.113.2/32 dev lo; ip route add 10.0.0.1/32 via 192.0.2.9")
	w.peer = start(w, n)
	r.Evidence(func() string {
		out, _ := w.router.Try("show bfd neighbors details")
		tracks, _ := w.router.Try("show track brief")
		theirs, err := w.peer.sessions()
		return fmt.Sprintf("%s\n%s\n%+v %v", out, tracks, theirs, err)
	})
	return w
}

func (w *world) cut(yes bool) {
	state := "3"
	if yes {
		state = "0"
	}
	w.lan.Run("bridge link set dev " + w.port + " state " + state)
}

func (w *world) ours() (map[string]ours, error) {
	out, err := w.router.Try("show bfd neighbors details | json")
	if err != nil {
		return nil, err
	}
	var v struct{ Sessions []ours }
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	m := map[string]ours{}
	for _, s := range v.Sessions {
		m[s.Remote] = s
	}
	return m, nil
}

// both waits until both ends say of all sessions that they are as wanted.
func (w *world) both(within time.Duration, what string, mine func(remote string, s ours) bool, other func(local string, s theirs) bool) {
	w.Until(within, what, func() error {
		got, err := w.ours()
		if err != nil {
			return err
		}
		for _, r := range remotes {
			if mine != nil && !mine(r, got[r]) {
				return fmt.Errorf("our session with %s: %+v", r, got[r])
			}
		}
		s, err := w.peer.sessions()
		if err != nil {
			return err
		}
		for _, l := range []string{"192.0.2.1", "2001:db8::1", "10.0.0.1"} {
			if other != nil && !other(l, s[l]) {
				return fmt.Errorf("the peer's session with %s: %+v", l, s[l])
			}
		}
		return nil
	})
}

func (w *world) allUp(within time.Duration) {
	w.both(within, "all sessions are up", func(_ string, s ours) bool { return s.State == "Up" }, func(_ string, s theirs) bool { return s.up })
	w.router.Expect(10*time.Second, "show track brief", `(?m)^1 .* Up `, `(?m)^2 .* Up `)
	w.router.Expect(10*time.Second, "show ip route static", `198\.51\.100\.0/24`)
}

func (w *world) bgpUp(within time.Duration) {
	w.router.Expect(within, "show ip bgp summary", `192\.0\.2\.2 .* 65002 .* \d+$`)
}

// check is what both peers go through. They ask for 150 ms to send and 100 ms to receive with a multiplier of 4 on the link,
// 200 ms and 3 otherwise.
func (w *world) check() {
	const ms = int64(time.Millisecond)
	w.Must("up", func() {
		w.allUp(60 * time.Second)
		w.bgpUp(60 * time.Second)
		w.Until(20*time.Second, "BGP shares the session", func() error {
			s, err := w.ours()
			if err == nil && fmt.Sprint(s["192.0.2.2"].Clients) != "[BGP Static Track]" {
				err = fmt.Errorf("%v", s["192.0.2.2"].Clients)
			}
			return err
		})
	})
	agreed := func(rx int64) {
		w.both(20*time.Second, "the timers", func(r string, s ours) bool {
			if r == "203.0.113.2" {
				return s.Interval == 200*ms && s.Detection == 600*ms
			}
			return s.Interval == 100*ms && s.Detection == 4*max(150, rx)*ms
		}, func(l string, s theirs) bool {
			if l == "10.0.0.1" {
				return s.interval == 200*time.Millisecond && s.detection == 600*time.Millisecond
			}
			return s.interval == time.Duration(max(150, rx))*time.Millisecond && s.detection == 300*time.Millisecond
		})
	}
	w.Check("timers", func() { agreed(120) })
	w.Check("changed", func() {
		before, err := w.ours()
		if err != nil {
			w.Fatalf("%v", err)
		}
		w.router.Apply(strings.Replace(config(false, multihopTrack), `min-rx = "120ms"`, `min-rx = "300ms"`, 1))
		agreed(300)
		w.router.Apply(config(false, multihopTrack))
		agreed(120)
		after, err := w.ours()
		for _, r := range remotes {
			if err != nil || after[r].Downs != before[r].Downs {
				w.Fatalf("%s went down: %+v, %v", r, after[r], err)
			}
		}
	})
	w.Check("cut", func() {
		w.cut(true)
		began := time.Now()
		w.both(10*time.Second, "both ends notice", func(_ string, s ours) bool { return s.State != "Up" }, func(_ string, s theirs) bool { return !s.up })
		w.Logf("noticed %v after the cut, questions included", time.Since(began))
		w.router.Expect(5*time.Second, "show track brief", `(?m)^1 .* Down `, `(?m)^2 .* Down `, `(?m)^3 .* Down `)
		w.router.Expect(5*time.Second, "show ip route static", `!198\.51\.100\.0/24`)
		w.router.Expect(5*time.Second, "show ip bgp summary", `!192\.0\.2\.2 .* 65002 .* \d+$`)
		s, err := w.ours()
		for _, r := range remotes {
			if err != nil || s[r].LastDown != "control detection time expired" {
				w.Fatalf("%+v %v", s[r], err)
			}
		}
	})
	w.Check("again", func() {
		w.cut(false)
		w.allUp(30 * time.Second)
		w.bgpUp(60 * time.Second)
	})
	w.Check("ours", func() {
		quiet := strings.NewReplacer("bfd = true", "bfd = false", "[track.1]\nbfd = { address = \"192.0.2.2\" }\n", "", "[track.2]\nbfd = { address = \"2001:db8::2\" }\n", "")
		w.router.Apply(quiet.Replace(config(false, "")))
		w.both(10*time.Second, "the peer's sessions are down", func(_ string, s ours) bool { return s.State == "" },
			func(_ string, s theirs) bool {
				return !s.up && (s.diagnostic == "" || s.diagnostic == "administratively down")
			})
		w.router.Apply(config(false, multihopTrack))
		w.allUp(30 * time.Second)
		w.bgpUp(60 * time.Second)
	})
	w.Check("passive", func() {
		multihop := func(want string) {
			w.Until(30*time.Second, "the multihop session is "+want, func() error {
				s, err := w.ours()
				if err == nil && s["203.0.113.2"].State != want {
					err = fmt.Errorf("%+v", s["203.0.113.2"])
				}
				return err
			})
		}
		w.router.Apply(config(true, ""))
		multihop("Up")
		w.Until(10*time.Second, "the peer's is up", func() error {
			s, err := w.peer.sessions()
			if err == nil && !s["10.0.0.1"].up {
				err = fmt.Errorf("%+v", s["10.0.0.1"])
			}
			return err
		})
		w.router.Apply(config(false, ""))
		multihop("")
	})
	if s, ok := w.peer.(shutter); ok {
		w.Check("theirs", func() {
			w.router.Apply(config(false, multihopTrack))
			w.allUp(30 * time.Second)
			w.theirs(s)
		})
	}
}

// theirs has the peer end its sessions.
func (w *world) theirs(peer shutter) {
	dropped := w.bgpAge()
	peer.disable()
	w.Until(20*time.Second, "our sessions are down", func() error {
		s, err := w.ours()
		for _, r := range remotes {
			if err == nil && (s[r].State == "Up" || s[r].LastDown != "neighbor signaled session down") {
				err = fmt.Errorf("%+v", s[r])
			}
		}
		return err
	})
	w.router.ExpectLog(5*time.Second, `NEIGHBOR ADMINISTRATIVELY DOWN`)
	w.Sleep(2 * time.Second)
	w.bgpUp(time.Second)
	if now := w.bgpAge(); now != dropped {
		w.Fatalf("the BGP session was reset: %s, then %s", dropped, now)
	}
	peer.enable()
	w.allUp(30 * time.Second)
}

// bgpAge tells one BGP session from the next: how many there were.
func (w *world) bgpAge() string {
	out := w.router.Exec("show ip bgp neighbors 192.0.2.2")
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "Connections established") {
			return strings.TrimSpace(line)
		}
	}
	w.Fatalf("no count of connections in\n%s", out)
	return ""
}
