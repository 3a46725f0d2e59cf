package client

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is a Host that notes what it is asked, and the time.
type world struct {
	t     *testing.T
	m     *Manager
	start time.Time
	now   time.Time
	said  []string
	calls map[string]Call // the last of each client
	side  map[string]Call
	query Query
	quiet bool // events are not noted
}

func newWorld(t *testing.T, list ...Config) *world {
	start := time.Unix(1000, 0)
	w := &world{t: t, start: start, now: start, calls: map[string]Call{}, side: map[string]Call{}, quiet: true}
	w.m = New(w)
	w.m.SetClients(w.now, list)
	return w
}

func (w *world) say(f string, args ...any) { w.said = append(w.said, fmt.Sprintf(f, args...)) }

func (w *world) Dial(c Call) {
	w.calls[c.Client] = c
	w.say("dial %s %s%s", c.Client, c.Peer, from(c))
}

func from(c Call) string {
	s := ""
	if c.Source != "" {
		s = " from " + c.Source + "/" + c.Local.String()
	}
	if c.RedirectedFrom.IsValid() {
		s += " redirected by " + c.RedirectedFrom.String()
	}
	return s
}

func (w *world) Hangup(client, _, reason string) { w.say("hangup %s: %s", client, reason) }
func (w *world) Prepare(c Call) {
	w.side[c.Client] = c
	w.say("prepare %s %s%s", c.Client, c.Peer, from(c))
}
func (w *world) Commit(c Call, reason string) error {
	w.say("commit %s %s: %s", c.Client, c.Peer, reason)
	w.calls[c.Client] = c
	w.m.Up(w.now, c.ID, Up{}) // comes while the Manager is at work
	return nil
}
func (w *world) Abandon(c Call, reason string) { w.say("abandon %s %s: %s", c.Client, c.Peer, reason) }
func (w *world) Resolve(q Query) {
	w.query = q
	w.say("resolve %s", q.Name)
}
func (w *world) Backup(ifname string, up bool, _ string) { w.say("backup %s %v", ifname, up) }
func (w *world) Event(e Event) {
	if !w.quiet {
		w.say("%s %s %s: %s", e.Kind, e.Client, e.Call.Peer, e.Reason)
	}
}

// want compares what was said since the last time.
func (w *world) want(lines ...string) {
	w.t.Helper()
	if !slices.Equal(w.said, lines) {
		w.t.Fatalf("at %v:\n got %s\nwant %s", w.now.Sub(w.start), strings.Join(w.said, "\n     "), strings.Join(lines, "\n     "))
	}
	w.said = nil
}

func (w *world) state(client string, s State) Status {
	w.t.Helper()
	for _, x := range w.m.Snapshot() {
		if x.Name == client {
			if x.State != s {
				w.t.Fatalf("%s is %s, not %s: %+v", client, x.State, s, x)
			}
			return x
		}
	}
	w.t.Fatalf("there is no %s", client)
	return Status{}
}

// run lets time pass; the machine says when.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for n := 0; ; n++ {
		at, ok := w.m.Deadline()
		if !ok || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		} else if n > 10000 {
			w.t.Fatal("it has always something to do")
		}
		w.m.Tick(w.now)
	}
	w.now = end
}

func (w *world) up(client string, assigned ...string) {
	u := Up{}
	for _, a := range assigned {
		u.Assigned = append(u.Assigned, netip.MustParsePrefix(a))
	}
	w.m.Up(w.now, w.calls[client].ID, u)
}
func (w *world) down(client string)     { w.m.Down(w.now, w.calls[client].ID, "peer is dead (DPD)") }
func (w *world) fail(client string)     { w.m.Failed(w.now, w.calls[client].ID, "peer does not answer") }
func (w *world) prepared(client string) { w.m.Prepared(w.now, w.side[client].ID) }
func (w *world) track(id int, up bool)  { w.m.TrackChanged(w.now, id, up) }
func (w *world) line(ifname string, up bool, a ...string) {
	var list []netip.Addr
	for _, x := range a {
		list = append(list, netip.MustParseAddr(x))
	}
	w.m.SourceChanged(w.now, ifname, up, list)
}

func hub(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 25, byte(n), 1}) }

// block is a client with so many hubs.
func block(name string, hubs int) Config {
	c := Config{Name: name, Tunnel: "Tunnel-" + name, ReactivateInterval: 30 * time.Second}
	for n := 1; n <= hubs; n++ {
		c.Peers = append(c.Peers, Peer{Seq: uint32(n), Address: hub(n)})
	}
	return c
}

func with(c Config, f func(*Config)) Config { f(&c); return c }

func tracked(c Config) Config {
	for k := range c.Peers {
		c.Peers[k].While.Track = k + 1
	}
	return c
}

func TestPeersAreTriedInOrderAndRoundsBackOff(t *testing.T) {
	w := newWorld(t, block("A", 2))
	w.want("dial A 172.25.1.1")
	w.state("A", StateNegotiation)
	w.fail("A")
	w.want("dial A 172.25.2.1")
	w.run(AttemptTime)
	w.want("hangup A: no session in time")
	s := w.state("A", StateWaiting)
	if s.NextTry != w.now.Add(RetryBase) || s.Reason != "no session in time" || s.Tries != 2 {
		t.Errorf("%+v", s)
	}
	w.run(999 * time.Millisecond)
	w.want()
	w.run(time.Millisecond)
	w.want("dial A 172.25.1.1")
	w.fail("A")
	w.fail("A")
	w.want("dial A 172.25.2.1")
	w.run(1999 * time.Millisecond)
	w.want()
	w.run(time.Millisecond)
	w.want("dial A 172.25.1.1")
	for range 10 {
		w.fail("A")
		w.fail("A")
		w.run(RetryMax)
	}
	if s := w.state("A", StateNegotiation); s.Tries != 25 {
		t.Errorf("%+v", s)
	}
}

func TestADeadHubIsFollowedByTheNextAtOnceAndTheSpokeStaysThere(t *testing.T) {
	w := newWorld(t, block("A", 2))
	w.up("A", "10.1.1.100/32")
	if s := w.state("A", StateActive); s.Call.Peer != hub(1) || len(s.Assigned) != 1 {
		t.Errorf("%+v", s)
	}
	w.run(time.Hour)
	w.said = nil
	w.down("A")
	w.want("dial A 172.25.2.1")
	w.up("A", "10.1.1.177/32")
	w.run(time.Hour)
	w.want()
	if s := w.state("A", StateActive); s.Call.Seq != 2 || s.Ups != 2 {
		t.Errorf("%+v", s)
	}
	w.down("A")
	w.want("dial A 172.25.1.1")
}

func TestAPauseEndsWhenThereIsAReasonToTryAtOnce(t *testing.T) {
	w := newWorld(t, block("A", 1))
	w.m.Hurry(w.now, "A") // not while it calls
	w.want("dial A 172.25.1.1")
	for range 6 {
		w.fail("A")
		w.want()
		w.m.Hurry(w.now, "A")
		w.want("dial A 172.25.1.1")
	}
	w.up("A")
	w.m.Hurry(w.now, "A")
	w.m.Hurry(w.now, "nobody")
	w.want()
	w.state("A", StateActive)
}

func TestASessionThatDoesNotLastIsNotTriedWithoutAPause(t *testing.T) {
	w := newWorld(t, block("A", 1))
	for range 2 {
		w.up("A")
		w.run(time.Second)
		w.down("A")
	}
	w.want("dial A 172.25.1.1", "dial A 172.25.1.1")
	w.state("A", StateWaiting)
	w.run(RetryBase)
	w.want("dial A 172.25.1.1")
	w.up("A")
	w.run(Stable)
	w.down("A")
	w.want("dial A 172.25.1.1")
}

func TestATrackFailsOverAndWithReactivateGoesBackWithoutABreak(t *testing.T) {
	c := with(tracked(block("A", 2)), func(c *Config) { c.Reactivate = true })
	w := newWorld(t, c)
	w.want()
	if s := w.state("A", StateIdle); s.Reason != "no peer's track is in the state that is asked for" {
		t.Errorf("%+v", s)
	}
	w.track(2, true)
	w.want("dial A 172.25.2.1")
	w.up("A")
	w.track(1, true)
	w.want("prepare A 172.25.1.1")
	w.prepared("A")
	w.want("commit A 172.25.1.1: back to peer 172.25.1.1")
	w.state("A", StateActive)
	w.track(1, false)
	w.want("hangup A: track 1 is not up", "dial A 172.25.2.1")
	w.up("A")
	w.run(time.Hour)
	w.want()
	w.track(1, true)
	w.want("prepare A 172.25.1.1")
	// It is not there after all: again every ReactivateInterval, while the track is up.
	w.m.Failed(w.now, w.side["A"].ID, "no")
	w.run(29 * time.Second)
	w.want()
	w.run(time.Second)
	w.want("prepare A 172.25.1.1")
	w.run(AttemptTime)
	w.want("abandon A 172.25.1.1: no session in time")
	w.run(20 * time.Second)
	w.want("prepare A 172.25.1.1")
	w.track(1, false)
	w.want("abandon A 172.25.1.1: it cannot be used any more")
	w.run(time.Hour)
	w.want()
	w.state("A", StateActive)
}

func TestABetterPeerThatComesBackWhileAnotherIsCalledIsCalledAtOnceThen(t *testing.T) {
	w := newWorld(t, with(tracked(block("A", 3)), func(c *Config) { c.Reactivate = true }))
	w.track(2, true)
	w.track(3, true)
	w.fail("A")
	w.want("dial A 172.25.2.1", "dial A 172.25.3.1")
	w.track(1, true)
	w.up("A")
	w.want("prepare A 172.25.1.1")
	w.m.Failed(w.now, w.side["A"].ID, "no")
	// The second was there all the time, and was not to be had.
	w.run(29 * time.Second)
	w.want()
	w.run(time.Second)
	w.want("prepare A 172.25.1.1")
}

func TestWithoutATrackABetterPeerIsAskedEveryInterval(t *testing.T) {
	w := newWorld(t, with(block("A", 3), func(c *Config) { c.Reactivate = true }))
	w.fail("A")
	w.fail("A")
	w.up("A")
	w.said = nil
	w.run(30 * time.Second)
	w.want("prepare A 172.25.1.1")
	w.m.Failed(w.now, w.side["A"].ID, "no")
	w.want("prepare A 172.25.2.1")
	if s := w.state("A", StateActive); s.Beside.Peer != hub(2) {
		t.Errorf("%+v", s)
	}
	w.prepared("A")
	w.want("commit A 172.25.2.1: back to peer 172.25.2.1")
	w.run(30 * time.Second)
	w.want("prepare A 172.25.1.1")
	// The session in use dies meanwhile: what is being prepared takes its place.
	w.down("A")
	w.want()
	w.state("A", StateNegotiation)
	w.prepared("A")
	w.want("commit A 172.25.1.1: peer is dead (DPD)")
	w.state("A", StateActive)
	w.run(time.Hour)
	w.want()
}

func TestWhatIsPreparedAndFailsAfterTheSessionDiedIsFollowedByTheOthers(t *testing.T) {
	w := newWorld(t, with(block("A", 2), func(c *Config) { c.Reactivate = true }))
	w.fail("A")
	w.up("A")
	w.run(30 * time.Second)
	w.said = nil
	w.down("A")
	w.m.Failed(w.now, w.side["A"].ID, "no")
	w.want("dial A 172.25.1.1")
}

func TestConnectByTrackAndByHand(t *testing.T) {
	w := newWorld(t, with(block("T", 1), func(c *Config) { c.Wanted = Condition{Track: 7, Down: true} }),
		with(block("M", 1), func(c *Config) { c.Manual = true }))
	w.want()
	w.state("T", StateTracking)
	w.state("M", StateIdle)
	w.track(7, true)
	w.want()
	w.track(7, false)
	w.want("dial T 172.25.1.1")
	w.up("T")
	w.track(7, true)
	w.want("hangup T: track 7 is not down")
	w.state("T", StateTracking)
	if err := w.m.Connect(w.now, "T"); !errors.Is(err, ErrAutomatic) {
		t.Error(err)
	}
	if err := w.m.Connect(w.now, "X"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := w.m.Connect(w.now, "M"); err != nil {
		t.Error(err)
	}
	w.want("dial M 172.25.1.1")
	w.up("M")
	if err := w.m.Disconnect(w.now, "M"); err != nil {
		t.Error(err)
	}
	w.want("hangup M: the operator has not said connect")
	w.run(time.Hour)
	w.want()
}

func TestBlocksOfABackupGroupNeverUseTheSamePeer(t *testing.T) {
	group := func(c Config) Config { c.BackupGroup = "G"; return c }
	w := newWorld(t, group(block("A", 2)), group(block("B", 2)), block("C", 2))
	w.want("dial A 172.25.1.1", "dial B 172.25.2.1", "dial C 172.25.1.1")
	w.up("A")
	w.up("B")
	w.up("C")
	// B's hub dies. A has the other one: B waits for its own, and does not take A's.
	w.run(time.Minute)
	w.down("B")
	w.want("dial B 172.25.2.1")
	w.fail("B")
	w.state("B", StateWaiting)
	w.m.SetClients(w.now, []Config{group(block("A", 2)), group(block("B", 2))})
	w.said = nil
	// A's dies too: it may have B's as soon as B does not try it.
	w.down("A")
	w.want("dial A 172.25.2.1")
	w.run(RetryBase)
	w.want("dial B 172.25.1.1")
	w.up("A")
	w.fail("B")
	for range 20 {
		w.run(RetryMax)
		if w.calls["B"].Peer == hub(2) {
			t.Fatal("B calls A's peer")
		}
		w.fail("B")
	}
}

func TestAPeerThatAnotherOfTheGroupLeavesIsTakenAtOnce(t *testing.T) {
	group := func(c Config) Config { c.BackupGroup = "G"; return c }
	w := newWorld(t, group(block("A", 1)), group(block("B", 1)))
	w.want("dial A 172.25.1.1")
	if s := w.state("B", StateIdle); !strings.Contains(s.Reason, "backup group G") {
		t.Errorf("%+v", s)
	}
	w.m.SetClients(w.now, []Config{group(block("B", 1))})
	w.want("hangup A: client block is removed", "dial B 172.25.1.1")
}

func TestABlockWhoseTunnelIsShutRestsAndSaysWhy(t *testing.T) {
	a := with(block("A", 2), func(c *Config) { c.BackupInterface = "Tunnel-B" })
	shut := with(a, func(c *Config) { c.Off = "Tunnel-A is shut down" })
	w := newWorld(t, shut, block("B", 1))
	w.run(time.Hour)
	w.want() // no dial backup either
	if s, ok := w.m.Status("A"); !ok || s.State != StateIdle || s.Reason != "Tunnel-A is shut down" || s.Since != w.start || len(s.Peers) != 2 {
		t.Errorf("%+v", s)
	}
	w.m.SetClients(w.now, []Config{a, block("B", 1)})
	w.want("dial A 172.25.1.1")
	w.up("A")
	w.m.SetClients(w.now, []Config{shut, block("B", 1)})
	w.want("hangup A: Tunnel-A is shut down")
	w.run(time.Hour)
	w.want()
	w.state("A", StateIdle)
}

func TestADialBackupIsRaisedAtOnceWhateverTheBlocksAreCalled(t *testing.T) {
	backs := func(c Config, other string) Config { c.BackupInterface = "Tunnel-" + other; return c }
	for _, x := range [][2]string{{"A", "B"}, {"B", "A"}} {
		w := newWorld(t, backs(tracked(block(x[0], 2)), x[1]), block(x[1], 1))
		w.want("backup Tunnel-"+x[1]+" true", "dial "+x[1]+" 172.25.1.1")
		w.up(x[1])
		w.track(1, true)
		w.want("dial " + x[0] + " 172.25.1.1")
		w.up(x[0])
		w.run(BackupDelay)
		w.want("backup Tunnel-"+x[1]+" false", "hangup "+x[1]+": it backs up a client that has its session")
	}
}

func TestADialBackupWaitsForAClientThatHasJustBeenToldToConnect(t *testing.T) {
	w := newWorld(t, with(block("A", 1), func(c *Config) { c.Manual, c.BackupInterface = true, "Tunnel-B" }))
	w.run(time.Hour)
	for range 2 {
		if err := w.m.Connect(w.now, "A"); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		w.up("A")
		w.want("dial A 172.25.1.1")
		w.run(time.Hour)
		if err := w.m.Disconnect(w.now, "A"); err != nil {
			t.Fatal(err)
		}
		w.run(time.Hour)
		w.want("hangup A: the operator has not said connect")
	}
	_ = w.m.Connect(w.now, "A")
	w.run(BackupDelay)
	w.want("dial A 172.25.1.1", "backup Tunnel-B true")
}

func TestASourceFallsOverAndComesBack(t *testing.T) {
	c := with(block("A", 1), func(c *Config) {
		c.Sources = []Source{{Seq: 1, Interface: "Gig1", Track: 5}, {Seq: 2, Interface: "Gig2"}}
	})
	w := newWorld(t, c)
	w.want()
	w.state("A", StateIdle)
	w.line("Gig1", true, "2001:db8::1", "10.0.1.1")
	w.want()
	w.line("Gig2", true, "10.0.2.1")
	w.want("dial A 172.25.1.1 from Gig2/10.0.2.1")
	w.up("A")
	w.track(5, true)
	w.run(time.Hour)
	w.want() // it stays
	w.line("Gig2", false)
	w.want("hangup A: source Gig2 is down", "dial A 172.25.1.1 from Gig1/10.0.1.1")
	w.up("A")
	w.line("Gig2", true, "10.0.2.1")
	w.track(5, false)
	w.want("hangup A: source Gig1 is down", "dial A 172.25.1.1 from Gig2/10.0.2.1")
	w.up("A")
	c.Reactivate = true
	w.m.SetClients(w.now, []Config{c})
	w.want()
	w.track(5, true)
	w.want("prepare A 172.25.1.1 from Gig1/10.0.1.1")
	w.prepared("A")
	w.want("commit A 172.25.1.1: back to source Gig1")
	// Another address.
	w.line("Gig1", true, "10.0.1.9")
	w.want("hangup A: source Gig1 is down", "dial A 172.25.1.1 from Gig1/10.0.1.9")
	if s := w.state("A", StateNegotiation); !s.Sources[0].Current || !s.Sources[1].Usable {
		t.Errorf("%+v", s)
	}
}

func TestABetterSourceIsGoneBackToAtOnceWhenItsLineIsBack(t *testing.T) {
	w := newWorld(t, with(block("A", 1), func(c *Config) {
		c.Reactivate = true
		c.Sources = []Source{{Seq: 1, Interface: "Gig1"}, {Seq: 2, Interface: "Gig2"}}
	}))
	w.line("Gig2", true, "10.0.2.1")
	w.up("A")
	w.want("dial A 172.25.1.1 from Gig2/10.0.2.1")
	w.line("Gig1", true, "10.0.1.1")
	w.want("prepare A 172.25.1.1 from Gig1/10.0.1.1")
	w.m.Failed(w.now, w.side["A"].ID, "no")
	w.want()
	w.run(30 * time.Second)
	w.want("prepare A 172.25.1.1 from Gig1/10.0.1.1")
}

func TestANameIsResolvedAtEachTurnAndAllItsAddressesAreTried(t *testing.T) {
	c := Config{Name: "A", Tunnel: "T", ReactivateInterval: time.Minute, Reactivate: true, Peers: []Peer{{Seq: 1, FQDN: "hub.example.com"}, {Seq: 2, Address: hub(2)}}}
	w := newWorld(t, c)
	w.want("resolve hub.example.com")
	w.m.Resolved(w.now, w.query.ID, nil, errors.New("no such name"))
	w.want("dial A 172.25.2.1")
	w.up("A")
	w.run(time.Minute)
	w.want("resolve hub.example.com")
	w.m.Resolved(w.now, w.query.ID, []netip.Addr{hub(3), netip.MustParseAddr("2001:db8::3"), hub(4), hub(3)}, nil)
	w.want("prepare A 172.25.3.1")
	w.m.Failed(w.now, w.side["A"].ID, "no")
	w.want("prepare A 172.25.4.1")
	w.prepared("A")
	w.want("commit A 172.25.4.1: back to peer 172.25.4.1")
	w.run(time.Hour)
	w.down("A")
	w.want("dial A 172.25.2.1")
	w.fail("A")
	w.want("resolve hub.example.com")
	w.m.Resolved(w.now, 99, []netip.Addr{hub(9)}, nil) // an old answer
	w.want()
	w.m.Resolved(w.now, w.query.ID, []netip.Addr{hub(3), hub(4)}, nil)
	w.want("dial A 172.25.3.1")
	w.up("A")
	w.run(time.Hour)
	w.down("A")
	w.want("dial A 172.25.4.1") // the peer's other address first
	w.fail("A")
	w.want("dial A 172.25.2.1")
	w.fail("A")
	w.run(RetryBase)
	w.want("resolve hub.example.com")
	w.run(ResolveTime)
	w.want("dial A 172.25.2.1")
	w.up("A")
	w.run(time.Minute)
	w.want("resolve hub.example.com")
	w.m.Resolved(w.now, w.query.ID, []netip.Addr{hub(2)}, nil) // where it is already
	w.want()
	if s := w.state("A", StateActive); s.Call.Seq != 1 || s.Call.FQDN == "" {
		t.Errorf("%+v", s)
	}
	w.run(time.Hour)
	w.want()
}

func TestRedirectsAreFollowed(t *testing.T) {
	w := newWorld(t, block("A", 2))
	w.m.Redirected(w.now, w.calls["A"].ID, hub(7))
	w.want("dial A 172.25.1.1", "dial A 172.25.7.1 redirected by 172.25.1.1")
	w.m.Failed(w.now, 1, "redirected") // the first one's end
	w.want()
	w.up("A")
	w.run(time.Minute)
	// An established one: beside, then move.
	w.m.Redirected(w.now, w.calls["A"].ID, hub(8))
	w.want("prepare A 172.25.8.1 redirected by 172.25.7.1")
	w.prepared("A")
	w.want("commit A 172.25.8.1: redirected to 172.25.8.1")
	w.run(time.Minute)
	w.down("A")
	w.want("dial A 172.25.1.1") // to the one that had sent us there
	for n := range 10 {
		w.m.Redirected(w.now, w.calls["A"].ID, hub(20+n))
	}
	if n := len(w.said); n != maxRedirects {
		t.Errorf("%d redirects followed: %v", n, w.said)
	}
	w.said = nil
	w.fail("A")
	w.want("dial A 172.25.2.1")
}

func TestADialBackupComesUpAndGoesDown(t *testing.T) {
	a := with(block("A", 1), func(c *Config) { c.BackupInterface = "Tunnel-B" })
	b := block("B", 2)
	w := newWorld(t, a, b)
	w.want("dial A 172.25.1.1")
	if s := w.state("B", StateIdle); !s.Standby {
		t.Errorf("%+v", s)
	}
	w.up("A")
	w.run(time.Minute)
	w.want()
	w.down("A")
	w.want("dial A 172.25.1.1")
	w.run(time.Second)
	w.up("A") // it was not long
	w.run(time.Minute)
	w.want()
	w.down("A")
	w.fail("A")
	w.want("dial A 172.25.1.1", "backup Tunnel-B true", "dial B 172.25.1.1")
	w.up("B")
	w.run(RetryBase)
	w.want("dial A 172.25.1.1")
	w.up("A")
	w.want()
	w.run(BackupDelay)
	w.want("backup Tunnel-B false", "hangup B: it backs up a client that has its session")
	// While an attempt takes long, too.
	w.run(time.Minute)
	w.down("A")
	w.run(BackupDelay)
	w.want("dial A 172.25.1.1", "backup Tunnel-B true", "dial B 172.25.1.1")
	w.m.SetClients(w.now, []Config{b})
	w.want("hangup A: client block is removed", "backup Tunnel-B false")
	w.state("B", StateNegotiation)
}

func TestAChangedBlockKeepsASessionThatItCouldHave(t *testing.T) {
	w := newWorld(t, block("A", 2))
	w.fail("A")
	w.up("A")
	w.said = nil
	c := block("A", 3)
	c.Peers = c.Peers[1:]
	w.m.SetClients(w.now, []Config{c})
	w.want()
	if s := w.state("A", StateActive); !s.Peers[0].Current {
		t.Errorf("%+v", s)
	}
	c.Peers = c.Peers[1:]
	w.m.SetClients(w.now, []Config{c})
	w.want("hangup A: client block is changed", "dial A 172.25.3.1")
	w.up("A")
	if err := w.m.Clear(w.now, "A"); err != nil {
		t.Error(err)
	}
	w.want("hangup A: cleared by the operator", "dial A 172.25.3.1")
	c.Tunnel = "Tunnel9"
	w.m.SetClients(w.now, []Config{c})
	w.want("hangup A: client block is removed", "dial A 172.25.3.1")
	if w.calls["A"].Tunnel != "Tunnel9" || w.m.Clear(w.now, "B") == nil {
		t.Error(w.calls)
	}
	if f := w.m.Far("A"); !slices.Equal(f, []netip.Addr{hub(3), hub(3)}) {
		t.Error(f)
	}
}

func TestTheLogTellsAFailoverAsItWas(t *testing.T) {
	w := newWorld(t, tracked(block("A", 2)))
	w.quiet = false
	w.track(1, true)
	w.up("A")
	w.run(time.Minute)
	w.track(1, false)
	w.track(2, true)
	w.fail("A")
	w.want("dialing A 172.25.1.1: ", "dial A 172.25.1.1", "connected A 172.25.1.1: ",
		"lost A 172.25.1.1: track 1 is not up", "hangup A: track 1 is not up", "idle A invalid IP: no peer's track is in the state that is asked for",
		"dialing A 172.25.2.1: ", "dial A 172.25.2.1", "failed A 172.25.2.1: peer does not answer", "exhausted A invalid IP: peer does not answer")
}
