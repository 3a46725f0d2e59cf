package strongswan

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// A crowd is daemons with many connections each. Package scale has the other direction: a load initiator at strongSwan.
const (
	daemons    = 4
	perDaemon  = 32
	crowdTotal = daemons * perDaemon
)

func init() {
	register("many", fmt.Sprintf("%d strongSwan clients of %d daemons at one Felloe hub", crowdTotal, daemons), false, 15*time.Minute, many,
		row("up", "all sessions come up at once, with an interface and a route each"),
		row("traffic", "each carries traffic of its own"),
		row("rekey", "every IKE SA and every Child SA is rekeyed once by the peers, and all sessions stay"),
		row("ours", "every Child SA is rekeyed once by Felloe, and all sessions stay"),
		row("gone", "all go: no SA, interface or route remains"),
	)
}

func many(r *matrix.Run) {
	wan := r.Switch("wan")
	h := hub(r, wan, service{ipsec: "lifetime = { seconds = 90 }\npfs = 19"}.String(), "[ikev2]\nlimit.max-in-negotiation-sa = 1000")
	before := memory(h)
	var crowd []*charon
	for d := range daemons {
		n := client(r, fmt.Sprintf("clients%d", d), wan, "", fmt.Sprintf("192.0.2.%d/24", 10+d))
		c := start(r, n, fmt.Sprintf("charon%d", d), daemon{quiet: true, settings: "threads = 32"})
		var list []connection
		for i := range perDaemon {
			t := tunnel(fmt.Sprintf("c%d-%d", d, i), "rekey_time = 0\n reauth_time = 0",
				child{local: fmt.Sprintf("10.%d.%d.0/24", 100+d, i), esp: "aes256-sha256-ecp256", settings: "start_action = start\n   rekey_time = 0"})
			t.local = fmt.Sprintf("192.0.2.%d", 10+d)
			list = append(list, t)
			n.IP("addr", "add", fmt.Sprintf("10.%d.%d.1/24", 100+d, i), "dev", "lo")
		}
		c.write(list)
		crowd = append(crowd, c)
	}
	count := func(what string, sessions int) {
		r.Until(5*time.Minute, what, func() error {
			sas, err := h.Try("show crypto ikev2 sa")
			if err != nil {
				return err
			}
			brief, err := h.Try("show ip interface brief")
			if err != nil {
				return err
			}
			route, err := h.Try("show ip route static")
			if err != nil {
				return err
			}
			a, b, c := len(matches(sas, `192\.0\.2\.1\d/4500.*READY`)), len(matches(brief, `^Virtual-Access\d+ .*up +up`)), len(matches(route, `^S +10\.10\d\.\d+\.0/24`))
			if a != sessions || b != sessions || c != sessions {
				return fmt.Errorf("%d IKE SAs, %d interfaces, %d routes; wanted %d of each", a, b, c, sessions)
			}
			return nil
		})
	}
	established := func(c *charon) []string {
		out, _ := c.try("--list-sas")
		return matches(out, `^c\d+-\d+: #\d+, ESTABLISHED`)
	}
	installed := func(c *charon) []string {
		out, _ := c.try("--list-sas")
		return matches(out, `^ +c\d+-\d+: #\d+, reqid \d+, INSTALLED`)
	}
	traffic := func() {
		for d, c := range crowd {
			var script strings.Builder
			script.WriteString("rc=0; for i in $(seq 0 " + strconv.Itoa(perDaemon-1) + "); do for t in 1 2 3 4 5; do " +
				"if ping -q -c 1 -W 2 -I 10." + strconv.Itoa(100+d) + ".$i.1 " + hubInner + " >/dev/null; then continue 2; fi; done; echo c" + strconv.Itoa(d) + "-$i; rc=1; done; exit $rc")
			if out, err := c.TryFor(5*time.Minute, script.String()); err != nil {
				r.Fatalf("no answer for %s", out)
			}
		}
	}
	var ike, kids [][]string
	r.Must("up", func() {
		for _, c := range crowd {
			c.ctl("--load-all")
		}
		count("all sessions are up", crowdTotal)
		r.Logf("memory with %d sessions: %d KiB, before %d KiB", crowdTotal, memory(h), before)
	})
	r.Check("traffic", traffic)
	r.Check("rekey", func() {
		for _, c := range crowd {
			ike, kids = append(ike, established(c)), append(kids, installed(c))
		}
		for d, c := range crowd {
			for i := range perDaemon {
				c.ctl(fmt.Sprintf("--rekey --child c%d-%d", d, i))
				c.ctl(fmt.Sprintf("--rekey --ike c%d-%d", d, i))
			}
		}
		r.Until(5*time.Minute, "all are rekeyed", func() error {
			for i, c := range crowd {
				if err := renewed("IKE", ike[i], established(c)); err != nil {
					return err
				}
				if err := renewed("Child", kids[i], installed(c)); err != nil {
					return err
				}
			}
			return nil
		})
		traffic()
		count("all sessions are up", crowdTotal)
	})
	r.Check("ours", func() {
		kids = nil
		for _, c := range crowd {
			kids = append(kids, installed(c))
		}
		r.Until(5*time.Minute, "all are rekeyed", func() error {
			for i, c := range crowd {
				if err := renewed("Child", kids[i], installed(c)); err != nil {
					return err
				}
			}
			return nil
		})
		traffic()
		count("all sessions are up", crowdTotal)
	})
	r.Check("gone", func() {
		full := memory(h)
		for d, c := range crowd {
			if d%2 == 0 {
				c.proc.Stop() // says goodbye
				continue
			}
			for i := range perDaemon {
				c.down(fmt.Sprintf("c%d-%d", d, i))
			}
		}
		count("all sessions are gone", 0)
		// Only for the diary: the resident set of so few sessions says more of the collector than of what is kept.
		r.Logf("memory: %d KiB before, %d KiB with all sessions, %d KiB now", before, full, memory(h))
	})
}

// write writes the daemon's connections without loading them.
func (c *charon) write(list []connection) {
	c.r.File(c.name+"/swanctl/swanctl.conf", swanctl(list))
}

// renewed compares the numbers of SAs: every connection has one, and not one of those that it had.
func renewed(what string, before, after []string) error {
	if len(after) != perDaemon {
		return fmt.Errorf("%d %s SAs of %d", len(after), what, perDaemon)
	}
	old := map[string]bool{}
	for _, s := range before {
		old[s] = true
	}
	for _, s := range after {
		if old[s] {
			return fmt.Errorf("%s SA %s is the old one", what, strings.TrimSpace(s))
		}
	}
	return nil
}

// memory is the router's resident set in KiB.
func memory(h *peers.Router) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Process.PID()))
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}
