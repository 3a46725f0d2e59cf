package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/manage/agent"
	"felloe/netstack/clock"
	"felloe/netstack/link/mem"
)

// fakeBackend answers commands from a table and writes down what is done to it.
type fakeBackend struct {
	Backend
	mu     sync.Mutex
	answer func(node, line string, n int) (string, error)
	count  map[string]int
	did    []string
}

func (f *fakeBackend) note(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf(format, a...))
}

func (f *fakeBackend) Exec(ctx context.Context, node, line string) (string, error) {
	if line == "hang" {
		<-ctx.Done()
		return "", ctx.Err()
	}
	f.mu.Lock()
	f.count[line]++
	n := f.count[line]
	f.mu.Unlock()
	if agent.JSON(ctx) {
		line += " as json"
	}
	return f.answer(node, line, n)
}
func (f *fakeBackend) Kill(n string) error                         { f.note("kill %s", n); return nil }
func (f *fakeBackend) PowerDown(_ context.Context, n string) error { f.note("down %s", n); return nil }
func (f *fakeBackend) StartNode(_ context.Context, n string) error { f.note("start %s", n); return nil }
func (f *fakeBackend) Apply(_ context.Context, n, file string) error {
	f.note("apply %s %s", n, file)
	return nil
}
func (f *fakeBackend) SetLink(l string, up bool, i *mem.Impairment) error {
	f.note("link %s %v %v", l, up, i != nil)
	return nil
}
func (f *fakeBackend) Capture(l string, w io.Writer) (func() error, error) {
	f.note("capture %s", l)
	return func() error { f.note("end capture"); return nil }, nil
}

// runScript runs steps in virtual time, which stands until everything waits for it.
func runScript(t *testing.T, steps string, answer func(node, line string, n int) (string, error)) (*fakeBackend, []Result, string, error) {
	t.Helper()
	l, err := Parse("lab.toml", t.TempDir(), []byte(twoNodes+steps))
	if err != nil {
		t.Fatal(err)
	}
	v := clock.NewVirtual(time.Unix(0, 0))
	b := &fakeBackend{answer: answer, count: map[string]int{}}
	var out bytes.Buffer
	s := &Script{Lab: l, Backend: b, Clock: v, Out: &out, Say: func(f string, a ...any) { fmt.Fprintf(&out, f+"\n", a...) }}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				if at, ok := v.Next(); ok {
					v.Advance(at.Sub(v.Now()))
				}
			}
		}
	}()
	results, err := s.Run(context.Background())
	close(done)
	return b, results, out.String(), err
}

func TestAScriptChecksActsAndRemembers(t *testing.T) {
	b, results, out, err := runScript(t, `
[[step]]
node = "left"
command = "count"
save = { before = "packets ([0-9]+)" }
[[step]]
capture = "wire"
file = "x.pcapng"
[[step]]
node = "left"
command = "flow"
background = "flow"
[[step]]
kill = "right"
[[step]]
start = "right"
[[step]]
power-down = "right"
[[step]]
cut = "wire"
[[step]]
join = "wire"
[[step]]
impair = "wire"
loss = "10%"
[[step]]
apply = "left"
config = "new.toml"
[[step]]
pause = "10s"
[[check]]
description = "tried again until it is there"
node = "right"
command = "routes"
expect = ["^B .*10.0.0.0"]
reject = ["stale"]
within = "1m"
print = true
[[check]]
description = "at rest"
node = "left"
command = "count"
number = { pattern = "packets ([0-9]+)", min = "${before}", max = "${before}+5" }
[[check]]
description = "the saved text"
node = "left"
command = "echo ${before}"
json = true
expect = ["echo ${before} as json"]
[[check]]
description = "the flow"
wait = "flow"
expect = ["0 lost"]
`, func(node, line string, n int) (string, error) {
		switch line {
		case "count":
			return fmt.Sprintf("packets %d\r\n", 100+n), nil
		case "routes":
			if n < 4 {
				return "stale\nB    10.0.0.0", nil
			}
			return "Codes:\nB    10.0.0.0\n", nil
		case "flow":
			return "0 lost", nil
		}
		return line, nil
	})
	if err != nil {
		t.Fatal(err, out)
	}
	got := strings.Join(b.did, "; ")
	if !strings.HasPrefix(got, "capture wire; kill right; start right; down right; link wire false false; link wire true false; link wire true true; apply left ") ||
		!strings.HasSuffix(got, "end capture") {
		t.Error(got)
	}
	if r := results[11]; r.Tries != 4 || r.Took != 700*time.Millisecond {
		t.Errorf("%d tries in %v", r.Tries, r.Took)
	}
	if !strings.Contains(out, "    right# routes\n    Codes:\n") {
		t.Error(out)
	}
	table := Table(results)
	if strings.Count(table, "passed") != 4 || !strings.Contains(table, "| tried again until it is there | passed |   0.7 s |") {
		t.Error(table)
	}
}

func TestAScriptEndsAtTheFirstFailureAndSaysWhatIsMissing(t *testing.T) {
	answer := func(node, line string, n int) (string, error) {
		if line == "bad" {
			return "some output", errors.New("% Invalid input")
		}
		return "value 7", nil
	}
	for _, c := range []struct{ name, step, says string }{
		{"expect", `expect = ["value 8"]`, "expected value 8"},
		{"reject", `reject = ["value [0-9]"]`, `found "value 7", which must not be there`},
		{"number too high", `number = { pattern = "value ([0-9]+)", max = "6" }`, "value ([0-9]+) is 7, expected at most 6"},
		{"number too low", `number = { pattern = "value ([0-9]+)", min = "6+2" }`, "value ([0-9]+) is 7, expected at least 8"},
		{"no number", `number = { pattern = "size ([0-9]+)", min = "1" }`, "expected a number at size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, results, out, err := runScript(t, "[[check]]\nnode = \"left\"\ncommand = \"show\"\nwithin = \"10s\"\n"+c.step+"\n[[step]]\nkill = \"left\"\n", answer)
			if err == nil || !strings.Contains(err.Error(), "lab.toml:17: "+c.says) {
				t.Errorf("error %v", err)
			}
			if len(results) != 1 || results[0].Took != 10*time.Second || !strings.Contains(out, "    value 7") {
				t.Errorf("%d results, %v, %s", len(results), results[0].Took, out)
			}
		})
	}
	_, _, _, err := runScript(t, "[[step]]\nnode = \"left\"\ncommand = \"bad\"\n", answer)
	if err == nil || !strings.Contains(err.Error(), "% Invalid input") {
		t.Error(err)
	}
}

func TestWhatRunsInTheBackgroundEndsWithTheScript(t *testing.T) {
	_, _, _, err := runScript(t, "[[step]]\nnode = \"left\"\ncommand = \"hang\"\nbackground = \"x\"\n", nil)
	if err != nil {
		t.Error(err)
	}
}

func TestACommandThatMustFailMustSayWhy(t *testing.T) {
	for expect, passes := range map[string]bool{"no route": true, "timeout": false} {
		l, err := Parse("lab.toml", "/labs", []byte(twoNodes+"[[check]]\nnode = \"left\"\ncommand = \"x\"\nfails = \""+expect+"\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		b := &fakeBackend{count: map[string]int{}, answer: func(string, string, int) (string, error) { return "", errors.New("% no route to the destination") }}
		if _, err := (&Script{Lab: l, Backend: b}).Run(t.Context()); (err == nil) != passes {
			t.Errorf("%s: %v", expect, err)
		}
		b.answer = func(string, string, int) (string, error) { return "no route", nil }
		if _, err := (&Script{Lab: l, Backend: b}).Run(t.Context()); err == nil {
			t.Errorf("%s: it did not fail", expect)
		}
	}
}

func TestAFlowSaysHowMuchWasLostAndForHowLong(t *testing.T) {
	f := &Flow{To: "192.0.2.1", Source: "Loopback10", Rate: 100, For: "2s", Size: 100}
	if got, want := f.command(2*time.Second), "ping 192.0.2.1 source Loopback10 repeat 200 interval 10 timeout 2 size 100 | json"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	out, err := f.account("Sending…\n!!!..\n" + `{"sent": 200, "received": 195, "lost": [7, 50, 51, 52, 199], "avg_ns": 3000000, "max_ns": 9000000}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sent 200, received 195, lost 5\n", "longest gap 0.03 s (3 packets), 3 gaps\n", "gap of 0.01 s after 0.07 s", "gap of 0.03 s after 0.50 s", "3 ms on average, 9 ms at most"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, bad := range []string{"", "{", `{"sent": 0}`} {
		if _, err := f.account(bad); err == nil {
			t.Errorf("%q is an account", bad)
		}
	}
}

func TestAFlowRunsBesideWhatFollowsAndIsLookedAtTwice(t *testing.T) {
	l, err := Parse("lab.toml", "/labs", []byte(twoNodes+`
[[step]]
node       = "left"
flow       = { to = "192.0.2.1", for = "3s" }
background = "flow"
[[check]]
wait   = "flow"
number = { pattern = 'lost (\d+)', max = "1" }
[[check]]
wait   = "flow"
number = { pattern = 'longest gap (\S+) s', max = "0.05" }
`))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeBackend{count: map[string]int{}, answer: func(_, line string, _ int) (string, error) {
		if !strings.HasPrefix(line, "ping 192.0.2.1 repeat 300 interval 10 ") {
			return "", errors.New(line)
		}
		return `!{"sent": 300, "received": 299, "lost": [7]}`, nil
	}}
	s := &Script{Lab: l, Backend: f}
	if _, err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
