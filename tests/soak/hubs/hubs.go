package hubs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"felloe/boot"
	"felloe/config"
	"felloe/netstack/clock"
	"felloe/qemu"
)

// Options say how much and for how long.
type Options struct {
	Spokes, Hubs int
	For          time.Duration
	Seed         uint64
	// Goroutines counts them before and after; only who is alone in the process can.
	Goroutines bool
	// Keep is a folder for what all routers show when something is wrong in the end; empty keeps nothing.
	Keep string
	// Memory is the most MB that the process may have of the system; 0 does not look. Only who is alone in it can.
	Memory uint64
	// Profile is a folder for heap and goroutine profiles, two whenever the memory is a quarter more than at the last ones;
	// empty writes none.
	Profile string
	Say     func(format string, a ...any)
}

const (
	// heal is how long each thing may take until it is so after the last hub is back. The time in which the machine did not
	// let us run does not count, nor does that of a look in which something became better.
	heal = 2 * time.Minute
	// retry is between two looks at what is not as it should be.
	retry = 500 * time.Millisecond
	// atOnce is how many spokes look around at once.
	atOnce = 4
)

type network struct {
	*Options
	memory *qemu.Memory
	rand   *rand.Rand
	down   map[int]func() error // hubs that are away, and how they come back
	meter  *meter
	mu     sync.Mutex
	echoes map[[2]int]bool // who has reached whose LAN since all hubs are there
	since  time.Time       // when something became better for the last time
	late   time.Duration   // what the machine had kept us waiting until then
}

// Run does everything and returns what is wrong at the end.
func Run(ctx context.Context, o Options) (err error) {
	if o.Spokes < 2 || o.Spokes > 200 || o.Hubs < 2 || o.Hubs > 9 {
		return fmt.Errorf("%d spokes and %d hubs: it is 2 to 200, and 2 to 9", o.Spokes, o.Hubs)
	}
	dir, err := os.MkdirTemp("", "felloe-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	text, err := o.write(dir)
	if err != nil {
		return err
	}
	lab, err := qemu.Parse("soak", dir, text)
	if err != nil {
		return err
	}
	before := runtime.NumGoroutine()
	n := &network{Options: &o, memory: &qemu.Memory{Factory: newRouter}, rand: rand.New(rand.NewPCG(o.Seed, 0)), down: map[int]func() error{},
		meter: newMeter(), echoes: map[[2]int]bool{}}
	o.Say("seed %d: %d spokes, %d hubs, %v", o.Seed, o.Spokes, o.Hubs, o.For)
	gauge := newGauge(&o)
	err = n.memory.Start(ctx, lab, func(string, ...any) {})
	if err == nil {
		err = n.live(ctx)
		if err != nil && o.Keep != "" {
			if kerr := n.keep(o.Keep); kerr != nil {
				o.Say("what the routers show is not kept: %v", kerr)
			} else {
				o.Say("what the routers show is in %s", o.Keep)
			}
		}
	}
	late, worst := n.meter.read()
	o.Say("the machine kept all of this waiting for %.1f s, for %.1f s at the longest", late.Seconds(), worst.Seconds())
	n.meter.close()
	gauge.close()
	o.Say("%d MB of memory at the most; the links lost %d frames that were not taken in time", gauge.peak()>>20, n.memory.Overflows())
	if serr := n.memory.Stop(); err == nil {
		err = serr
	}
	if most := gauge.peak() >> 20; err == nil && o.Memory > 0 && most > o.Memory {
		err = fmt.Errorf("%d MB of memory, not %d at the most: -profile says what for", most, o.Memory)
	}
	if err == nil && o.Goroutines {
		err = o.gone(before)
	}
	return err
}

func (n *network) live(ctx context.Context) error {
	if err := n.until(ctx, "every spoke is connected at the beginning", n.connected); err != nil {
		return err
	}
	if err := n.chaos(ctx); err != nil {
		return err
	}
	for _, what := range []struct {
		name string
		is   func(context.Context) error
	}{
		{"every spoke is connected", n.connected},
		{"every spoke reaches every LAN", n.reach},
		{"shortcuts have ended, and no SA, interface or address is left over", n.settled},
		{"every spoke is still connected", n.connected},
	} {
		if err := n.until(ctx, what.name, what.is); err != nil {
			return err
		}
	}
	return nil
}

// chaos takes hubs away and gives them back.
func (n *network) chaos(ctx context.Context) error {
	end := time.Now().Add(n.For)
	kills, cuts := 0, 0
	for time.Now().Before(end) {
		hub := n.rand.IntN(n.Hubs) + 1
		silent := n.rand.IntN(2) == 0
		pause := time.Duration(3000+n.rand.IntN(9000)) * time.Millisecond
		back, away := n.down[hub]
		var err error
		switch {
		case away:
			n.Say("%s is back", hubName(hub))
			delete(n.down, hub)
			err = back()
		case len(n.down) == n.Hubs-1:
			continue // the last one stays
		case silent:
			n.Say("%s is cut off", hubName(hub))
			cuts++
			err = n.memory.SetLink(cable(hub), false, nil)
			n.down[hub] = func() error { return n.memory.SetLink(cable(hub), true, nil) }
		default:
			n.Say("%s is killed", hubName(hub))
			kills++
			err = n.memory.Kill(hubName(hub))
			n.down[hub] = func() error { return n.memory.StartNode(ctx, hubName(hub)) }
		}
		if err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	for hub, back := range n.down {
		n.Say("%s is back", hubName(hub))
		if err := back(); err != nil {
			return err
		}
	}
	n.Say("hubs were killed %d times and cut off %d times", kills, cuts)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until looks again and again whether something is so.
func (n *network) until(ctx context.Context, what string, is func(context.Context) error) error {
	start := time.Now()
	n.better()
	for {
		err := is(ctx)
		if err == nil {
			n.Say("%s (%.1f s)", what, time.Since(start).Seconds())
			return nil
		}
		if n.hopeless(ctx) {
			return fmt.Errorf("%s: not after %v: %w", what, time.Since(start).Round(time.Second), err)
		}
		if err := sleep(ctx, retry); err != nil {
			return err
		}
	}
}

// better begins to count the time anew that everything may take.
func (n *network) better() {
	late, _ := n.meter.read()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.since, n.late = time.Now(), late
}

// hopeless says that nothing has become better for long.
func (n *network) hopeless(ctx context.Context) bool {
	late, _ := n.meter.read()
	n.mu.Lock()
	defer n.mu.Unlock()
	return ctx.Err() != nil || time.Since(n.since)-(late-n.late) > heal
}

func (n *network) exec(ctx context.Context, node, line string) (string, error) {
	out, err := n.memory.Exec(ctx, node, line)
	if err != nil {
		return "", fmt.Errorf("%s# %s: %w", node, line, err)
	}
	return out, nil
}

var (
	active  = regexp.MustCompile(`(?m)Current state *: *ACTIVE`)
	summary = regexp.MustCompile(`(?m)^B.* 192\.168\.0\.0/16 `)
	ready   = regexp.MustCompile(`(?m)\bREADY\b`)
	access  = regexp.MustCompile(`(?m)^Virtual-Access\d+ `)
	pool    = regexp.MustCompile(`(?m)^SPOKES +\S+ +\S+ +(\d+) +(\d+) +(\d+)`)
)

func (n *network) connected(ctx context.Context) error {
	for s := 1; s <= n.Spokes; s++ {
		out, err := n.exec(ctx, spokeName(s), "show crypto ikev2 client flexvpn")
		if err != nil {
			return err
		}
		if !active.MatchString(out) {
			return fmt.Errorf("%s has no session:\n%s", spokeName(s), out)
		}
		if out, err = n.exec(ctx, spokeName(s), "show ip route bgp"); err != nil {
			return err
		}
		if !summary.MatchString(out) {
			return fmt.Errorf("%s has no summary:\n%s", spokeName(s), out)
		}
	}
	return nil
}

// reach has every spoke ping every other's LAN, if it has not reached that since all hubs are there.
func (n *network) reach(ctx context.Context) error {
	work, errs := make(chan int), make(chan error, n.Spokes)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for s := range work {
				errs <- n.reaches(ctx, s)
			}
		})
	}
	for s := 1; s <= n.Spokes; s++ {
		work <- s
	}
	close(work)
	all.Wait()
	close(errs)
	var list []error
	for err := range errs {
		list = append(list, err)
	}
	return errors.Join(list...)
}

func (n *network) reaches(ctx context.Context, s int) error {
	var missing []string
	for other := 1; other <= n.Spokes; other++ {
		pair := [2]int{s, other}
		n.mu.Lock()
		had := n.echoes[pair]
		n.mu.Unlock()
		if other == s || had {
			continue
		}
		out, err := n.exec(ctx, spokeName(s), fmt.Sprintf("ping 192.168.%d.1 source Loopback10 repeat 1", other))
		if err != nil {
			return err
		}
		if strings.Contains(out, "100 percent") {
			n.mu.Lock()
			n.echoes[pair] = true
			n.mu.Unlock()
			n.better()
			continue
		}
		missing = append(missing, fmt.Sprintf("%d (%s)", other, mark(out)))
		if n.hopeless(ctx) {
			break
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s does not reach the LANs of %s", spokeName(s), strings.Join(missing, ", "))
	}
	return nil
}

// mark is what a ping printed for its packet: . for silence, a letter for an error that somebody sent.
func mark(out string) string {
	for l := range strings.Lines(out) {
		if l = strings.TrimSpace(l); len(l) == 1 {
			return l
		}
	}
	return "no answer"
}

// settled counts what is left when nobody talks.
func (n *network) settled(ctx context.Context) error {
	count := func(node, line string, re *regexp.Regexp) (int, error) {
		out, err := n.exec(ctx, node, line)
		return len(re.FindAllString(out, -1)), err
	}
	for s := 1; s <= n.Spokes; s++ {
		sas, err := count(spokeName(s), "show crypto ikev2 sa", ready)
		if err != nil {
			return err
		}
		ifs, err := count(spokeName(s), "show ip interface brief", access)
		if err != nil {
			return err
		}
		if sas != 1 || ifs != 0 {
			return fmt.Errorf("%s has %d IKE SAs and %d Virtual-Access, not 1 and 0", spokeName(s), sas, ifs)
		}
	}
	sas, ifs, used := 0, 0, 0
	var each []string
	for h := 1; h <= n.Hubs; h++ {
		a, err := count(hubName(h), "show crypto ikev2 sa", ready)
		if err != nil {
			return err
		}
		i, err := count(hubName(h), "show ip interface brief", access)
		if err != nil {
			return err
		}
		out, err := n.exec(ctx, hubName(h), "show ip local pool SPOKES")
		if err != nil {
			return err
		}
		m := pool.FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("%s has no pool:\n%s", hubName(h), out)
		}
		u, _ := strconv.Atoi(m[2])
		sas, ifs, used = sas+a, ifs+i, used+u
		each = append(each, fmt.Sprintf("%s: %d IKE SAs, %d Virtual-Access, %d addresses", hubName(h), a, i, u))
	}
	if sas != n.Spokes || ifs != n.Spokes || used != n.Spokes {
		return fmt.Errorf("%d spokes, but %s", n.Spokes, strings.Join(each, "; "))
	}
	n.Say("%s", strings.Join(each, "; "))
	return nil
}

// gone waits until no goroutine is left.
func (o *Options) gone(before int) error {
	var now int
	for range 100 {
		if now = runtime.NumGoroutine(); now <= before {
			o.Say("%d goroutines, as before", now)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	return fmt.Errorf("%d goroutines where there were %d:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
}

// router is a boot.Router as a lab wants it.
type router struct{ *boot.Router }

func newRouter(_ string, c clock.Clock, nics []qemu.MemoryNIC) (qemu.MemoryRouter, error) {
	o := boot.Options{Clock: c, Version: "soak"}
	for _, n := range nics {
		o.NICs = append(o.NICs, boot.NIC{Name: n.Name, Driver: n.Driver})
	}
	r, err := boot.New(o)
	return router{r}, err
}

func (r router) Apply(ctx context.Context, file string) error {
	c, diags := config.Load(file)
	if diags.HasErrors() {
		return errors.New(diags.String())
	}
	if err := r.Router.Apply(ctx, c); err != nil {
		return err
	}
	if p := r.Problems(); len(p) > 0 {
		return errors.New(strings.Join(p, "; "))
	}
	return nil
}

func (router) Console(context.Context, io.ReadWriter) error { return errors.New("no console here") }
