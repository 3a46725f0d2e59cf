package bgp

import (
	"encoding/json"
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

const routerTOML = `
hostname = "router"
[interface.GigabitEthernet1]
address = ["192.0.2.1/24", "2001:db8::1/64"]
[interface.Loopback0]
address = ["10.0.0.1/32"]
[bgp]
as = 65001
network = ["10.0.0.1/32"]
timers = { keepalive = 3, hold = 9, connect-retry = 3 }
[bgp.neighbor."192.0.2.2"]
remote-as = 65002
timers = { keepalive = 30, hold = 90, connect-retry = 3 }
[bgp.neighbor."192.0.2.3"]
remote-as = 65003
timers = { keepalive = 30, hold = 90, connect-retry = 3 }
[bgp.neighbor."192.0.2.4"]
remote-as = 65004
passive = true
address-family = ["ipv4", "ipv6"]
timers = { keepalive = 30, hold = 90, connect-retry = 3 }
`

// watcher is FRR's bgpd without zebra: it keeps what we tell it.
type watcher struct {
	*peers.Namespace
	dir string
}

func startWatcher(r *matrix.Run, lan *peers.Switch, extra string) watcher {
	w := watcher{r.Namespace("watcher"), r.Dir() + "/watcher"}
	lan.Attach(w.Namespace, "eth0", "192.0.2.3/24")
	r.File("watcher/bgpd.conf", `hostname watcher
log file `+w.dir+`/bgpd.log
router bgp 65003
 bgp router-id 192.0.2.3
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers 30 90
 neighbor 192.0.2.1 timers connect 3
 address-family ipv4 unicast
`+extra+` exit-address-family
`)
	r.Command("chown", "-R", "frr:frr", w.dir)
	r.Command("chmod", "755", w.dir)
	w.Start(peers.Command{Name: "watcher", Args: []string{"/usr/lib/frr/bgpd", "-f", w.dir + "/bgpd.conf", "-i", w.dir + "/bgpd.pid", "--vty_socket", w.dir,
		"-A", "127.0.0.1", "-P", "2605", "-n", "-Z"}})
	r.Version("FRR (on the host)", peers.PackageVersion("frr"))
	return w
}

// session is what bgpd says of its session with us.
type session struct {
	State    string `json:"state"`
	Received int    `json:"pfxRcd"`
	Dropped  int    `json:"connectionsDropped"`
}

func (w watcher) session() (session, error) {
	out, err := w.Try("vtysh --vty_socket " + w.dir + " -d bgpd -c 'show bgp ipv4 unicast summary json'")
	if err != nil {
		return session{}, err
	}
	var v struct{ Peers map[string]session }
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return session{}, fmt.Errorf("%w: %s", err, out)
	}
	return v.Peers["192.0.2.1"], nil
}

// has waits until the watcher has between low and high of our prefixes.
func (w watcher) has(r *matrix.Run, within time.Duration, low, high int) {
	r.Until(within, fmt.Sprintf("the watcher has %d to %d prefixes", low, high), func() error {
		s, err := w.session()
		if err != nil {
			return err
		}
		if s.State != "Established" || s.Received < low || s.Received > high {
			return fmt.Errorf("%s, %d prefixes", s.State, s.Received)
		}
		return nil
	})
}

// undisturbed fails when the watcher's session was ever down.
func (w watcher) undisturbed(r *matrix.Run) {
	s, err := w.session()
	if err != nil {
		r.Fatalf("%v", err)
	}
	if s.State != "Established" || s.Dropped != 0 {
		r.Fatalf("the watcher's session: %s, dropped %d times", s.State, s.Dropped)
	}
}
