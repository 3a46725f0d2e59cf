package strongswan

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// Crowd is daemons with many connections each, at a hub with the address 192.0.2.1, for cases of scale in other packages.
// Daemon d is at 192.0.2.(10+d), with 10.(100+d).i.1 behind its connection i.
type Crowd struct {
	r       *matrix.Run
	daemons []*charon
	each    int
	ike     []string // SAs before rekeying
	kids    []string
}

// What a case with strongSwan needs: Debian packages, the pre-shared key that all know, and an address inside the hub.
var Packages = packages

const (
	Key   = psk
	Inner = hubInner
)

// Hub starts a Felloe router at 192.0.2.1 for peers with the key. Its log's buffer is small: where memory is measured that
// is not what is meant. It rekeys IKE SAs and Child SAs before these times are over.
func Hub(r *matrix.Run, wan *peers.Switch, ike, child time.Duration) *peers.Router {
	toml := regexp.MustCompile(`buffered = \d+`).ReplaceAllString(base, "buffered = 65536")
	s := service{profile: fmt.Sprintf("lifetime = %q", ike), ipsec: fmt.Sprintf("lifetime = { seconds = %d }", int(child.Seconds()))}
	return r.Router("hub", toml+s.String(), wan)
}

// NewCrowd starts the daemons; they do not call yet.
func NewCrowd(r *matrix.Run, wan *peers.Switch, daemons, each int) *Crowd {
	w := &Crowd{r: r, each: each}
	for d := range daemons {
		n := client(r, fmt.Sprintf("clients%d", d), wan, "", fmt.Sprintf("192.0.2.%d/24", 10+d))
		c := start(r, n, fmt.Sprintf("charon%d", d), daemon{quiet: true, settings: "threads = 32"})
		var list []connection
		var addresses strings.Builder
		for i := range each {
			t := tunnel(w.name(d, i), "rekey_time = 0\n reauth_time = 0",
				child{local: fmt.Sprintf("10.%d.%d.0/24", 100+d, i), settings: "start_action = start\n   rekey_time = 0"})
			t.local = fmt.Sprintf("192.0.2.%d", 10+d)
			list = append(list, t)
			fmt.Fprintf(&addresses, "ip addr add 10.%d.%d.1/24 dev lo\n", 100+d, i)
		}
		n.Run(addresses.String())
		r.File(c.name+"/swanctl/swanctl.conf", swanctl(list))
		w.daemons = append(w.daemons, c)
	}
	return w
}

func (w *Crowd) name(d, i int) string { return fmt.Sprintf("c%d-%d", d, i) }

// Total is how many connections there are.
func (w *Crowd) Total() int { return len(w.daemons) * w.each }

// Call has all connections begin.
func (w *Crowd) Call() {
	for _, c := range w.daemons {
		c.ctl("--load-all")
	}
}

// sas are the established IKE SAs and the installed Child SAs, with their numbers.
func (w *Crowd) sas() (ike, kids []string) {
	for _, c := range w.daemons {
		out, _ := c.try("--list-sas")
		ike = append(ike, matches(out, `^c\d+-\d+: #\d+, ESTABLISHED`)...)
		kids = append(kids, matches(out, `^ +c\d+-\d+: #\d+, reqid \d+, INSTALLED`)...)
	}
	return ike, kids
}

// WaitUp waits until all are up.
func (w *Crowd) WaitUp(within time.Duration) {
	w.r.Until(within, "strongSwan's connections are up", func() error {
		if ike, kids := w.sas(); len(ike) != w.Total() || len(kids) != w.Total() {
			return fmt.Errorf("%d IKE SAs, %d Child SAs of %d", len(ike), len(kids), w.Total())
		}
		return nil
	})
}

// Traffic sends an echo request through each connection, until it is answered.
func (w *Crowd) Traffic() {
	for d, c := range w.daemons {
		script := fmt.Sprintf(`rc=0; for i in $(seq 0 %d); do for t in 1 2 3 4 5; do if ping -q -c 1 -W 2 -I 10.%d.$i.1 %s >/dev/null; then continue 2; fi; done
echo c%d-$i; rc=1; done; exit $rc`, w.each-1, 100+d, hubInner, d)
		if out, err := c.TryFor(5*time.Minute, script); err != nil {
			w.r.Fatalf("no answer for %s", out)
		}
	}
}

// Remember notes the SAs that there are, for WaitRekeyed.
func (w *Crowd) Remember() { w.ike, w.kids = w.sas() }

// Rekey replaces every Child SA and every IKE SA once.
func (w *Crowd) Rekey() {
	w.Remember()
	for d, c := range w.daemons {
		for i := range w.each {
			c.ctl("--rekey --child " + w.name(d, i))
			c.ctl("--rekey --ike " + w.name(d, i))
		}
	}
}

// WaitRekeyed waits until no SA is one of those of Remember, or before Rekey.
func (w *Crowd) WaitRekeyed(within time.Duration) {
	old := map[string]bool{}
	for _, s := range append(w.ike, w.kids...) {
		old[s] = true
	}
	w.r.Until(within, "strongSwan's SAs are replaced", func() error {
		ike, kids := w.sas()
		if len(ike) != w.Total() || len(kids) != w.Total() {
			return fmt.Errorf("%d IKE SAs, %d Child SAs of %d", len(ike), len(kids), w.Total())
		}
		for _, s := range append(ike, kids...) {
			if old[s] {
				return fmt.Errorf("%s is an old one", strings.TrimSpace(s))
			}
		}
		return nil
	})
}

// Leave ends the daemons; they say goodbye.
func (w *Crowd) Leave() {
	for _, c := range w.daemons {
		c.proc.Stop()
	}
}

// Responder is one strongSwan at 192.0.2.1 that takes whoever knows the key: any identity, a Child SA from any address of
// 10.64.0.0/12 to its 10.1.0.0/24.
type Responder struct{ c *charon }

// NewResponder starts it.
func NewResponder(r *matrix.Run, wan *peers.Switch) Responder {
	n := client(r, "server", wan, "10.1.0.1/24", "192.0.2.1/24")
	c := start(r, n, "server", daemon{quiet: true, settings: "threads = 32\n block_threshold = 64"})
	mine, _ := pskAs(hubID)
	c.load(swanctl([]connection{{name: "anybody", local: "192.0.2.1", remote: "%any", settings: "rekey_time = 0\n reauth_time = 0",
		mine: mine, peers: "auth = psk\n id = %any", children: []child{{local: hubLAN, remote: "10.64.0.0/12", settings: "rekey_time = 0"}}}}))
	return Responder{c}
}

// Sessions are how many IKE and Child SAs it has.
func (s Responder) Sessions() (ike, children int) {
	out := s.c.ctl("--list-sas")
	return len(matches(out, `^anybody: #\d+, ESTABLISHED`)), len(matches(out, `^ +anybody: #\d+, reqid \d+, INSTALLED`))
}
