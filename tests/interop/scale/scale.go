package scale

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
	"felloe/tests/interop/strongswan"
)

const (
	sessions  = 1000
	daemons   = 4
	perDaemon = 32
	theirs    = daemons * perDaemon
	ours      = sessions - theirs
	onSwan    = 250

	// patience is for what a busy machine takes its time for.
	patience = 10 * time.Minute
)

func init() {
	matrix.Register(matrix.Case{
		Name: "scale/hub", Group: "Scale", Peer: "strongSwan", Timeout: 45 * time.Minute, Packages: strongswan.Packages,
		Title: fmt.Sprintf("%d sessions at one Felloe hub, %d of them of %d strongSwans", sessions, theirs, daemons),
		Rows: []matrix.Row{
			{ID: "up", What: fmt.Sprintf("%d IKE SAs with a Child SA, an interface and a route each; an echo through every one", sessions)},
			{ID: "rekey", What: "every Child SA and every IKE SA is replaced once by its peer; all sessions stay, and an echo through every one"},
			{ID: "ours", What: "every Child SA and every IKE SA is replaced by the hub before its lifetime is over; all sessions stay, and an echo through strongSwan's"},
			{ID: "gone", What: "all go: no SA, interface or route remains, no goroutine more than before, and memory returns"},
		},
		Run: hub,
	})
	matrix.Register(matrix.Case{
		Name: "scale/strongswan", Group: "Scale", Peer: "strongSwan", Timeout: 20 * time.Minute, Packages: strongswan.Packages,
		Title: fmt.Sprintf("`felloe bench ike` with %d sessions at a strongSwan", onSwan),
		Rows: []matrix.Row{
			{ID: "up", What: fmt.Sprintf("%d IKE SAs with a Child SA each, an echo through every one", onSwan)},
			{ID: "rekey", What: "every Child SA and every IKE SA is replaced once; an echo through every one"},
			{ID: "gone", What: "all are deleted, and strongSwan has none any more"},
		},
		Run: swan,
	})
}

// load is `felloe bench ike` at 192.0.2.1, which is at hold when it has probed.
type load struct {
	r *matrix.Run
	p *peers.Process
	n int
}

func start(r *matrix.Run, wan *peers.Switch, n int) load {
	ns := r.Namespace("load")
	wan.Attach(ns, "eth0", "192.0.2.2/24")
	key := r.File("load.key", strongswan.Key+"\n")
	return load{r, ns.Start(peers.Command{Name: "load", Args: []string{r.Felloe(), "bench", "ike", "-peers", strconv.Itoa(n), "-psk-file", key,
		"-remote", "10.1.0.0/24", "-probe", strongswan.Inner, "-rekey", "-hold", "1h", "-timeout", "5m", "-json", "192.0.2.1"}}), n}
}

// holds waits for the load's nth pause, to which it comes with all sessions up.
func (l load) holds(nth int) {
	l.r.Until(patience, "the load is through", func() error {
		if m := regexp.MustCompile(`(?m)^holding (\d+) sessions`).FindAllStringSubmatch(l.p.Log(), -1); len(m) >= nth {
			return nil
		}
		select {
		case <-l.p.Done():
			l.r.Fatalf("the load has ended:\n%s", l.p.Log())
		default:
		}
		return fmt.Errorf("it is not yet:\n%s", l.p.Log())
	})
	if m := regexp.MustCompile(`(?m)^holding (\d+) sessions`).FindAllStringSubmatch(l.p.Log(), -1); m[nth-1][1] != strconv.Itoa(l.n) {
		l.r.Fatalf("not all sessions came through:\n%s", l.p.Log())
	}
}

// rekeyed waits, while the load holds, until every SA was replaced so many times.
func (l load) rekeyed(times int) {
	l.r.Until(patience, "the responder rekeys", func() error {
		m := regexp.MustCompile(`of (\d+) sessions each IKE SA was rekeyed (\d+) times at least, each Child SA (\d+) times`).FindAllStringSubmatch(l.p.Log(), -1)
		if len(m) == 0 {
			return fmt.Errorf("nothing was")
		}
		last := m[len(m)-1]
		ike, _ := strconv.Atoi(last[2])
		child, _ := strconv.Atoi(last[3])
		if last[1] != strconv.Itoa(l.n) || ike < times || child < times {
			return fmt.Errorf("%s", last[0])
		}
		return nil
	})
}

// goesOn ends the pause.
func (l load) goesOn() { l.p.Signal(syscall.SIGINT) }

// report is what the load says at the end, where everything must have worked.
func (l load) report() {
	l.p.Wait(patience)
	text := l.p.Log()
	var report struct {
		Up           int
		RekeyedIKE   int `json:"rekeyed_ike"`
		RekeyedChild int `json:"rekeyed_child"`
		Phases       []struct {
			Name string
			OK   int
		}
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "\n{")+1:]), &report); err != nil {
		l.r.Fatalf("the load's report: %v\n%s", err, text)
	}
	if report.Up != l.n || report.RekeyedIKE < l.n || report.RekeyedChild < l.n {
		l.r.Fatalf("of %d sessions %d stayed, %d IKE and %d Child SAs were rekeyed", l.n, report.Up, report.RekeyedIKE, report.RekeyedChild)
	}
	for _, p := range report.Phases {
		if p.OK != l.n {
			l.r.Fatalf("%s: %d of %d", p.Name, p.OK, l.n)
		}
	}
	l.r.Logf("the load:\n%s", text[:strings.Index(text, "\n{")])
}

// memory is the router's, after garbage was collected.
type memory struct{ heap, resident, goroutines int }

func measure(h *peers.Router) memory {
	out := h.Exec("show processes memory")
	number := func(pattern string) int {
		m := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if m == nil {
			return -1
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return memory{number(`Heap: (\d+) KiB`), number(`resident (\d+) KiB`), number(`Goroutines: (\d+)`)}
}

func (m memory) String() string {
	return fmt.Sprintf("%d KiB of heap, %d KiB resident, %d goroutines", m.heap, m.resident, m.goroutines)
}

// has waits until the router has so many sessions, with all that belongs to them.
func has(r *matrix.Run, h *peers.Router, n int) {
	count := func(command, pattern string) (int, error) {
		out, err := h.Try(command)
		return len(regexp.MustCompile(`(?m)`+pattern).FindAllString(out, -1)), err
	}
	r.Until(patience, fmt.Sprintf("the hub has %d sessions", n), func() error {
		for _, c := range []struct{ what, command, pattern string }{
			{"IKE SAs", "show crypto ikev2 sa", `192\.0\.2\.\d+/\d+ .*READY`},
			{"sessions", "show crypto session brief", ` UA\b`},
			{"interfaces", "show ip interface brief", `^Virtual-Access\d+ .*up +up`},
			{"routes", "show ip route static", `^S +10\.\d+\.\d+\.\d+/\d+ .*Virtual-Access`},
		} {
			got, err := count(c.command, c.pattern)
			if err != nil {
				return err
			}
			if got != n {
				return fmt.Errorf("%d %s", got, c.what)
			}
		}
		return nil
	})
}

func hub(r *matrix.Run) {
	wan := r.Switch("wan")
	h := strongswan.Hub(r, wan, 150*time.Second, 2*time.Minute)
	crowd := strongswan.NewCrowd(r, wan, daemons, perDaemon)
	before := measure(h)
	var with memory
	var l load
	r.Must("up", func() {
		l = start(r, wan, ours)
		crowd.Call()
		crowd.WaitUp(patience)
		l.holds(1)
		has(r, h, sessions)
		crowd.Traffic()
		with = measure(h)
	})
	r.Must("rekey", func() {
		l.goesOn()
		crowd.Rekey()
		crowd.WaitRekeyed(patience)
		l.holds(2)
		has(r, h, sessions)
		crowd.Traffic()
	})
	r.Must("ours", func() {
		crowd.Remember()
		l.rekeyed(2)
		crowd.WaitRekeyed(patience)
		has(r, h, sessions)
		crowd.Traffic()
	})
	r.Check("gone", func() {
		rekeyed := measure(h)
		l.goesOn()
		crowd.Leave()
		l.report()
		has(r, h, 0)
		var after memory
		defer func() {
			text := fmt.Sprintf("before: %v\nwith %d sessions: %v\nafter rekeying: %v\nafter all have gone: %v\n", before, sessions, with, rekeyed, after)
			r.Logf("%s", text)
			r.File("figures", text)
		}()
		// What lingers for packets and retransmissions on their way goes within the half minute.
		r.Until(patience, "memory returns", func() error {
			after = measure(h)
			if after.goroutines > before.goroutines || after.heap-before.heap > (with.heap-before.heap)/5 {
				return fmt.Errorf("%v; before: %v; with %d sessions: %v", after, before, sessions, with)
			}
			return nil
		})
	})
}

func swan(r *matrix.Run) {
	wan := r.Switch("wan")
	s := strongswan.NewResponder(r, wan)
	var l load
	is := func(n int) {
		r.Until(patience, fmt.Sprintf("strongSwan has %d sessions", n), func() error {
			if ike, children := s.Sessions(); ike != n || children != n {
				return fmt.Errorf("%d IKE SAs, %d Child SAs", ike, children)
			}
			return nil
		})
	}
	r.Must("up", func() {
		l = start(r, wan, onSwan)
		l.holds(1)
		is(onSwan)
	})
	r.Must("rekey", func() {
		l.goesOn()
		l.holds(2)
		is(onSwan)
	})
	r.Check("gone", func() {
		l.goesOn()
		l.report()
		is(0)
	})
}
