package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheHighestPriorityBecomesMasterThenTheHighestAddress(t *testing.T) {
	for _, c := range []struct {
		priorities []uint8
		want       string
	}{{[]uint8{100, 120, 110}, "2"}, {[]uint8{100, 100, 100}, "3"}, {[]uint8{200, 100, 200}, "3"}, {[]uint8{50}, "1"}} {
		l := cluster(t, c.priorities)
		l.run(time.Second)
		l.want(c.want) // all have heard each other: nobody waits for the hold time
		l.run(time.Minute)
		l.want(c.want)
	}
}

func TestADeadMasterIsReplacedAfterTheHoldTimeAndOneThatLeavesAtOnce(t *testing.T) {
	l := cluster(t, []uint8{120, 110, 100})
	l.run(5 * time.Second)
	l.want("1")
	l.nodes[0].die()
	l.run(1900 * time.Millisecond)
	l.want("")
	l.run(1200 * time.Millisecond)
	l.want("2")
	l.nodes[1].do(l.nodes[1].m.Resign(l.now))
	l.run(10 * time.Millisecond)
	l.want("3")
	if l.arp != l.nodes[2] {
		t.Error("nobody was told")
	}
	// Its interface goes: it gives the address up, and there is nobody else.
	l.nodes[2].do(l.nodes[2].m.SetUp(l.now, false))
	l.want("")
	l.nodes[2].do(l.nodes[2].m.SetUp(l.now, true))
	l.run(4 * time.Second)
	l.want("3")
}

func TestPreemptionTakesTheAddressBackAndNoPreemptionDoesNot(t *testing.T) {
	for _, preempt := range []bool{true, false} {
		l := cluster(t, []uint8{120, 110, 110}, func(_ int, c *Config) { c.Preempt = preempt })
		l.run(5 * time.Second)
		l.nodes[0].die()
		l.run(5 * time.Second)
		l.want("3")
		l.nodes[0].boot()
		l.run(5 * time.Second)
		if preempt {
			l.want("1")
		} else {
			l.want("3")
		}
		// Of equal priority nobody is pushed aside.
		l.nodes[2].die()
		l.nodes[0].die()
		l.run(5 * time.Second)
		l.want("2")
		l.nodes[2].boot()
		l.run(5 * time.Second)
		l.want("2")
	}
}

func TestPartitionsHaveAMasterEachAndHealToTheBetterOneWhoseAddressIsAnnouncedAnew(t *testing.T) {
	l := cluster(t, []uint8{120, 110, 100})
	l.run(5 * time.Second)
	l.want("1")
	l.cut = func(a, b *node) bool { return (a == l.nodes[0]) != (b == l.nodes[0]) }
	l.run(5 * time.Second)
	l.want("1 2")
	if l.arp != l.nodes[1] {
		t.Error("the other half was not told")
	}
	l.cut = nil
	l.run(2 * time.Second)
	l.want("1")
	if l.arp != l.nodes[0] {
		t.Error("the link still thinks of the loser")
	}
	// Who is heard by nobody, and hears all, is not trusted with anything new, nor does it disturb.
	l.cut = func(a, _ *node) bool { return a == l.nodes[2] }
	l.run(10 * time.Second)
	l.want("1")
}

func TestThreeMembersWithPartitionsAtRandomAlwaysAgreeInTheEnd(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := []uint8{uint8(1 + r.IntN(3)), uint8(1 + r.IntN(3)), uint8(1 + r.IntN(3))}
		l := cluster(t, p, func(_ int, c *Config) { c.Preempt = seed%2 == 0 })
		for range 12 {
			group := []int{r.IntN(2), r.IntN(2), r.IntN(2)}
			l.cut = func(a, b *node) bool {
				return group[slices.Index(l.nodes, a)] != group[slices.Index(l.nodes, b)]
			}
			if n := l.nodes[r.IntN(3)]; r.IntN(3) == 0 {
				if n.dead {
					n.boot()
				} else {
					n.die()
				}
			}
			l.run(time.Duration(r.IntN(8000)) * time.Millisecond)
		}
		l.run(10 * time.Second)
		// One master in every piece that lives; the best of it with preemption.
		check := func(piece func(int) bool) {
			var alive, masters []int
			best := -1
			for i, n := range l.nodes {
				if !piece(i) || n.dead {
					continue
				}
				alive = append(alive, i)
				if n.owns {
					masters = append(masters, i)
				}
				if best < 0 || p[i] > p[best] {
					best = i
				}
			}
			if len(alive) > 0 && (len(masters) != 1 || seed%2 == 0 && p[masters[0]] != p[best]) {
				l.fatalf("seed %d: of %v with priorities %v the masters are %v", seed, alive, p, masters)
			}
		}
		cut := l.cut
		for g := range 2 {
			check(func(i int) bool { return cut(l.nodes[i], l.nodes[0]) == (g == 0) })
		}
		l.cut = nil
		for _, n := range l.nodes {
			if n.dead {
				n.boot()
			}
		}
		l.run(10 * time.Second)
		check(func(int) bool { return true })
		if l.arp == nil || !l.arp.owns {
			l.fatalf("seed %d: the link thinks that the address is elsewhere", seed)
		}
	}
}

func TestWhatWasRecordedNeverCountsAgain(t *testing.T) {
	l := cluster(t, []uint8{120, 110})
	l.run(20 * time.Second)
	l.want("1")
	l.nodes[0].die()
	old := l.record
	for _, restart := range []bool{false, true} {
		if restart {
			l.nodes[1].boot()
		}
		l.run(4 * time.Second)
		l.want("2")
		before := l.nodes[1].m.Counters()
		for _, f := range old {
			if f.from == l.nodes[0].addr {
				l.deliver(f)
			}
		}
		l.run(time.Second)
		l.want("2")
		if i := l.nodes[1].m.Snapshot(l.now); i.Members[1].State != "down" {
			l.fatalf("a recording brought %v to life", i.Members[1])
		}
		if c := l.nodes[1].m.Counters(); c.Replayed+c.Challenged == before.Replayed+before.Challenged {
			t.Error("not counted")
		}
	}
}

// What a member said in its life before the last one was said to us as well, so that it names our start.
func TestWhatAMemberSaidInAnEarlierLifeDoesNotCountAgain(t *testing.T) {
	forget := func(l *link) {
		// The configuration drops the member, and has it again.
		n := l.nodes[1]
		c := n.cfg
		c.Members = nil
		n.do(n.m.SetConfig(l.now, c))
		n.do(n.m.SetConfig(l.now, n.cfg))
	}
	for name, between := range map[string]func(*link){
		"one life":     func(*link) {},
		"another life": func(l *link) { l.nodes[0].boot() },
		"many lives": func(l *link) {
			for range 3 * maxFormer {
				l.nodes[0].boot()
				l.run(5 * time.Second)
			}
		},
		"left and back": forget,
	} {
		t.Run(name, func(t *testing.T) {
			l := cluster(t, []uint8{120, 110})
			l.run(20 * time.Second)
			old := slices.Clone(l.record)
			l.nodes[0].die()
			l.run(5 * time.Second)
			between(l)
			l.run(5 * time.Second)
			if l.nodes[0].die(); name == "another life" || name == "many lives" {
				l.run(5 * time.Second)
			}
			l.want("2")
			for _, f := range old {
				if f.from == l.nodes[0].addr {
					l.deliver(f)
				}
			}
			l.run(time.Second)
			l.want("2")
			if i := l.nodes[1].m.Snapshot(l.now); i.Members[1].State != "down" {
				l.fatalf("a recording brought %v to life", i.Members[1])
			}
		})
	}
}

func TestAMemberThatWasForgottenIsHeardAtOnceWhenItIsBack(t *testing.T) {
	l := cluster(t, []uint8{120, 110})
	l.run(20 * time.Second)
	n := l.nodes[1]
	c := n.cfg
	c.Members = nil
	n.do(n.m.SetConfig(l.now, c))
	l.run(100 * time.Millisecond)
	n.do(n.m.SetConfig(l.now, n.cfg))
	l.run(100 * time.Millisecond)
	l.want("1")
	for _, n := range l.nodes {
		if i := n.m.Snapshot(l.now); i.Members[1].State == "down" {
			l.fatalf("%v does not hear %v", n.addr, i.Members[1])
		}
	}
}

func TestOnlyMembersWithTheKeyAreHeard(t *testing.T) {
	l := cluster(t, []uint8{120, 110, 130}, func(n int, c *Config) {
		if n == 3 {
			c.Key = []byte("another")
		}
	})
	l.run(10 * time.Second)
	l.want("1 3") // each is alone with its key
	c := l.nodes[0].m.Counters()
	if c.BadMAC == 0 || !strings.Contains(strings.Join(l.trace, "\n"), "keys must be the same") {
		t.Errorf("%+v", c)
	}
	m := l.nodes[0].m
	sane := hello{start: 1, yours: m.start, sequence: 1, virtual: virtual, able: true, master: true, priority: 254, load: Load{Weight: 1}}
	m.Receive(l.now, hub(9), sane.encode([]byte("key"), hub(9), hub(1)))
	m.Receive(l.now, hub(2), sane.encode([]byte("key"), hub(2), hub(3))) // meant for another
	m.Receive(l.now, hub(2), nil)
	sane.virtual = hub(77)
	m.Receive(l.now, hub(2), sane.encode([]byte("key"), hub(2), hub(1)))
	d := m.Counters()
	if d.Strangers != c.Strangers+1 || d.BadMAC != c.BadMAC+1 || d.Malformed != c.Malformed+1 || d.Foreign != c.Foreign+1 {
		t.Errorf("%+v", d)
	}
	l.want("1 3")
}

func TestEveryBitOfAMessageCounts(t *testing.T) {
	h := hello{master: true, able: true, priority: 7, start: 1, yours: 2, sequence: 3, virtual: virtual, redirectTo: netip.MustParseAddr("2001:db8::1"),
		load: Load{Sessions: 4, Max: 5, Weight: 6, Limit: 7}}
	key := []byte("k")
	b := h.encode(key, hub(1), hub(2))
	if got, err := decode(key, hub(1), hub(2), b); err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := decode(key, hub(1), hub(2), b); err == nil {
			t.Errorf("bit %d", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

// sent calls the virtual address at the master n times and says where to.
func (l *link) sent(n int) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, x := range l.nodes {
		if x.owns {
			for range n {
				out[x.m.Choose(l.now, l.caller(virtual, true, false)).Gateway]++
			}
		}
	}
	return out
}

// caller is another one each time.
func (l *link) caller(local netip.Addr, follows, sentHere bool) Caller {
	l.order++
	return Caller{local, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(l.order >> 16), byte(l.order >> 8), byte(l.order)}), 500), follows, sentHere}
}

func TestACallerThatCallsAgainCountsOnce(t *testing.T) {
	l := cluster(t, []uint8{120, 110}, func(_ int, c *Config) { c.MaxSessions = 2 })
	l.run(2 * time.Second)
	m := l.nodes[0].m
	c := l.caller(virtual, true, false)
	for range 10 { // it does not hear the answers
		if got := m.Choose(l.now, c); !got.Gateway.IsValid() {
			t.Fatalf("%+v", got)
		}
	}
	if i := m.Snapshot(l.now); i.Members[0].Expected+i.Members[1].Expected != 1 {
		t.Errorf("%+v", i.Members)
	}
}

func TestACallerIsExpectedForAWhileWhetherOrNotThereIsALimit(t *testing.T) {
	for _, most := range []int{0, 100} {
		l := cluster(t, []uint8{120, 110}, func(_ int, c *Config) { c.MaxSessions = most })
		l.run(2 * time.Second)
		m := l.nodes[0].m
		m.Choose(l.now, l.caller(virtual, true, false))
		expected := func() int { i := m.Snapshot(l.now); return i.Members[0].Expected + i.Members[1].Expected }
		if n := expected(); n != 1 {
			t.Errorf("limit %d: %d are expected", most, n)
		}
		if l.run(settling); expected() != 0 {
			t.Errorf("limit %d: it is still expected", most)
		}
	}
}

func TestOneHostDoesNotFillACluster(t *testing.T) {
	l := cluster(t, []uint8{120, 110})
	l.run(2 * time.Second)
	m := l.nodes[0].m
	for n := range 30000 {
		six := netip.MustParseAddr("2001:db8:1:2::").As16()
		six[8], six[15] = byte(n>>8), byte(n)
		for _, from := range []netip.AddrPort{netip.AddrPortFrom(hub(99), uint16(n)), netip.AddrPortFrom(netip.AddrFrom16(six), 500)} {
			c := l.caller(virtual, true, false)
			c.Remote = from
			if got := m.Choose(l.now, c); !got.Gateway.IsValid() {
				t.Fatalf("%+v", got)
			}
		}
	}
	if i := m.Snapshot(l.now); i.Members[0].Expected+i.Members[1].Expected > 2*maxSentPlace {
		t.Errorf("%+v", i.Members)
	}
	// Nor do many cost more than so much.
	c := l.nodes[0].cfg
	c.MaxSessions = 0
	l.nodes[0].do(m.SetConfig(l.now, c))
	for range 5 * maxSent {
		m.Choose(l.now, l.caller(virtual, true, false))
	}
	for x := range m.all {
		if len(x.sent) > maxSent {
			t.Errorf("%d are remembered", len(x.sent))
		}
	}
}

func TestCallersSpreadByLoadAndWeight(t *testing.T) {
	l := cluster(t, []uint8{120, 110, 100}, func(n int, c *Config) {
		if n == 3 {
			c.Weight = 200
		}
	})
	l.run(2 * time.Second)
	if got := l.sent(40); got[hub(1)] != 10 || got[hub(2)] != 10 || got[hub(3)] != 20 {
		t.Errorf("%v", got)
	}
	// Who has much to do gets less.
	l.nodes[0].m.SetSessions(60)
	l.nodes[2].m.SetSessions(80)
	l.run(10 * time.Second)
	if got := l.sent(30); got[hub(2)] != 30 {
		t.Errorf("%v", got)
	}
	i := l.nodes[0].m.Snapshot(l.now)
	if i.State != Master || i.Master != hub(1) || len(i.Members) != 3 || !i.Members[0].Self || i.Members[0].Percent != 60 || i.Members[1].Expected != 30 ||
		i.Members[1].Redirected != 40 || i.Members[2].Load.Weight != 200 || i.Members[2].State != "backup" {
		t.Errorf("%+v", i)
	}
	// Nobody is sent to a member that is gone.
	l.nodes[1].die()
	l.run(5 * time.Second)
	if got := l.sent(20); got[hub(2)] != 0 {
		t.Errorf("%v", got)
	}
}

func TestWhenAllAreFullTheVirtualAddressRefusesAndAHubOfItsOwnServes(t *testing.T) {
	l := cluster(t, []uint8{120, 110}, func(n int, c *Config) { c.OverloadLimit = 90 })
	l.nodes[0].m.SetSessions(90)
	l.nodes[1].m.SetSessions(89)
	l.run(2 * time.Second)
	m := l.nodes[0].m
	if c := m.Choose(l.now, l.caller(virtual, true, false)); c.Gateway != hub(2) || c.Refuse {
		t.Errorf("%+v", c)
	}
	if c := m.Choose(l.now, l.caller(virtual, true, false)); c.Gateway.IsValid() || !c.Refuse {
		t.Errorf("%+v", c)
	}
	l.run(10 * time.Second)
	// A caller of its own address goes on to the one that is not full, but only once.
	for _, c := range []struct {
		follows, sent bool
		want          netip.Addr
	}{{true, true, netip.Addr{}}, {false, false, netip.Addr{}}, {true, false, hub(2)}} {
		if got := m.Choose(l.now, l.caller(hub(1), c.follows, c.sent)); got.Gateway != c.want || got.Refuse {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if c := m.Choose(l.now, l.caller(hub(1), true, false)); c.Gateway.IsValid() || c.Refuse {
		t.Errorf("%+v", c)
	}
	// Who does not follow is served where it calls.
	l.nodes[0].m.SetSessions(10)
	if c := m.Choose(l.now, l.caller(virtual, false, false)); c.Gateway.IsValid() || c.Refuse {
		t.Errorf("%+v", c)
	}
	// Without a limit nobody is ever full.
	c := l.nodes[0].cfg
	c.MaxSessions = 0
	m.SetConfig(l.now, c)
	m.SetSessions(100000)
	if c := m.Choose(l.now, l.caller(virtual, true, false)); c.Gateway != hub(1) || c.Refuse {
		t.Errorf("%+v", c)
	}
}

func TestAHubThatLeavesServesNobodyAnewWhoMayGoToAnother(t *testing.T) {
	l := cluster(t, []uint8{120, 110})
	l.run(2 * time.Second)
	n := l.nodes[0]
	n.do(n.m.Resign(l.now))
	for _, c := range []struct {
		follows, sent bool
		want          netip.Addr
	}{{true, false, hub(2)}, {true, true, hub(2)}, {false, true, netip.Addr{}}} {
		if got := n.m.Choose(l.now, l.caller(hub(1), c.follows, c.sent)); got.Gateway != c.want || got.Refuse {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	l.nodes[1].die()
	l.run(5 * time.Second)
	if got := n.m.Choose(l.now, l.caller(hub(1), true, false)); got != (Choice{}) {
		t.Errorf("%+v", got)
	}
}

func TestAMemberThatChangesItsMindIsTakenAsItIsNow(t *testing.T) {
	l := cluster(t, []uint8{120, 110})
	l.run(2 * time.Second)
	l.want("1")
	c := l.nodes[1].cfg
	c.Priority = 130
	l.nodes[1].do(l.nodes[1].m.SetConfig(l.now, c))
	l.run(100 * time.Millisecond)
	l.want("2")
	c.Priority = 1
	l.nodes[1].do(l.nodes[1].m.SetConfig(l.now, c))
	l.run(100 * time.Millisecond)
	l.want("1")
}

// FuzzDecode: what is accepted is what would be written.
func FuzzDecode(f *testing.F) {
	key := []byte("k")
	h := hello{master: true, able: true, priority: 7, start: 1, yours: 2, sequence: 3, virtual: virtual, load: Load{Sessions: 4, Max: 5, Weight: 6, Limit: 7}}
	f.Add(h.encode(key, hub(1), hub(2))[:bodySize])
	f.Add([]byte("FLCL"))
	f.Fuzz(func(t *testing.T, body []byte) {
		// As a member with the key would send it.
		b := append(slices.Clone(body), mac(key, hub(1), hub(2), body)...)
		got, err := decode(key, hub(1), hub(2), b)
		if err == nil && !slices.Equal(got.encode(key, hub(1), hub(2)), b) {
			t.Fatalf("%x is written as %x", b, got.encode(key, hub(1), hub(2)))
		}
		if _, err := decode(key, hub(1), hub(2), body); err == nil {
			t.Fatal("accepted without a key")
		}
	})
}

// FuzzMachine lets the fuzzer decide what happens to three members, one of which may say anything.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{120, 110, 100, 0, 10, 1, 0, 0, 40, 1, 0, 0, 40})
	f.Add([]byte{1, 1, 1, 0, 10, 2, 3, 0, 50, 2, 0, 3, 1, 0, 3, 2, 4, 7, 9, 0, 60, 5, 1, 200, 0, 20})
	f.Add([]byte{9, 8, 7, 0, 9, 6, 255, 3, 255, 255, 255, 255, 0, 30})
	f.Fuzz(machine)
}

func TestRandomSequencesKeepTheMachineSound(t *testing.T) {
	for seed := range 300 {
		b := make([]byte, 150)
		rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
		machine(t, b)
	}
}

func machine(t *testing.T, data []byte) {
	if len(data) > 300 {
		data = data[:300]
	}
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	l := cluster(t, []uint8{uint8(next()), uint8(next()), uint8(next())}, func(_ int, c *Config) { c.MaxSessions = 20 })
	for len(data) > 0 {
		n := l.nodes[next()%3]
		switch op := next() % 9; op {
		case 0, 1:
			l.run(time.Duration(next()) * 50 * time.Millisecond)
		case 2:
			if n.dead {
				n.boot()
			} else {
				n.die()
			}
		case 3:
			mask := next()
			l.cut = func(a, b *node) bool {
				return mask>>(slices.Index(l.nodes, a)*3+slices.Index(l.nodes, b))&1 != 0
			}
		case 4:
			if len(l.record) > 0 {
				l.deliver(l.record[(next()<<8|next())%len(l.record)])
			}
		case 5:
			if !n.dead {
				n.do(n.m.SetUp(l.now, next()%2 == 0))
			}
		case 6: // an authentic member says anything
			to := l.nodes[next()%3]
			if to == n || to.dead || n.dead {
				continue
			}
			h := hello{master: next()%2 == 0, able: next()%2 == 0, priority: uint8(next()), start: uint64(1 + next()), yours: to.m.start, sequence: uint64(next()) << 40,
				virtual: virtual, redirectTo: hub(next()), load: Load{Sessions: uint32(next()) << 24, Max: uint32(next()) << 24, Weight: uint16(next()) << 8, Limit: uint8(next())}}
			to.do(to.m.Receive(l.now, n.addr, h.encode([]byte("key"), n.addr, to.addr)))
		case 7:
			if !n.dead {
				n.m.SetSessions(next())
				c := n.m.Choose(l.now, l.caller([]netip.Addr{virtual, n.addr}[next()%2], next()%2 == 0, next()%2 == 0))
				if c.Refuse && c.Gateway.IsValid() || c.Gateway == virtual {
					t.Fatalf("%+v", c)
				}
			}
		case 8:
			if !n.dead {
				c := n.cfg
				c.Priority, c.Preempt = uint8(next()), next()%2 == 0
				n.do(n.m.SetConfig(l.now, c))
			}
		}
		for _, n := range l.nodes {
			if len(n.m.own.sent) > 300 {
				t.Fatal("it grows")
			}
			_ = fmt.Sprint(n.m.Snapshot(l.now))
		}
	}
	// In the end they agree.
	l.cut, data = nil, nil
	for _, n := range l.nodes {
		n.boot()
	}
	l.flight = nil
	l.run(20 * time.Second)
	if len(strings.Fields(l.masters())) != 1 {
		l.fatalf("masters %q", l.masters())
	}
}
