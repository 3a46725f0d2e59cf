package events

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/manage/syslog"
)

// world is a recorder behind a log on a clock of its own.
type world struct {
	*Recorder
	now time.Time
	log *syslog.Log
}

func newWorld() *world {
	w := &world{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w.Recorder = New(Options{
		Link: func(_, a string) string {
			return map[string]string{"10.1.1.1": "Tunnel1", "10.1.1.100": "Virtual-Access1", "10.1.1.101": "Virtual-Access2"}[a]
		},
		Single: func(name string) bool { return name == "Tunnel1" || strings.HasPrefix(name, "Virtual-Access") }})
	w.log = syslog.New(1<<16, func() time.Time { return w.now }, nil)
	w.log.Configure(syslog.Levels{Buffer: syslog.Off, Console: syslog.Off, Buffered: 1 << 16}) // stories do not depend on what is kept
	w.log.Follow(w.Log)
	return w
}

// say logs a line some milliseconds later: its message and its fields as key=value.
func (w *world) say(ms int, event, message string, fields ...string) {
	w.now = w.now.Add(time.Duration(ms) * time.Millisecond)
	log := w.log.Logger()
	e := log.Info().Str("event", event)
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		e = e.Str(k, v)
	}
	e.Msg(message)
}

func (w *world) routes(ms int, from, to string, n int) {
	w.now = w.now.Add(time.Duration(ms) * time.Millisecond)
	w.Routes(w.now, "default", from, to, n)
}

func titles(stories []Story) (out []string) {
	for _, s := range stories {
		out = append(out, s.Title)
	}
	return out
}

const hub1, hub2 = "172.25.1.1", "172.25.2.1"

// failover is what a spoke logs that loses its hub.
func (w *world) failover(from, to, was, is string) {
	w.say(0, "bfd", "BFD-SYSLOG: BFD session ld:1 handle:1 is going Down", "peer=10.1.1.1", "interface=Tunnel1", "state=down", "reason=control detection time expired")
	w.say(1, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+from, "assigned="+was, "state=down", "reason=BFD session went down")
	w.say(1, "ike-down", "Crypto tunnel v2 is DOWN.  Peer "+from+":500 Id: "+from, "peer="+from+":500", "reason=BFD session went down")
	w.say(1, "line-protocol", "Line protocol on Interface Tunnel1, changed state to down", "interface=Tunnel1", "state=down")
	w.routes(1, "Tunnel1", "", 2)
	w.routes(0, "Tunnel1", "", 1)
	w.say(1, "bgp-down", "neighbor 10.1.1.1 Down BFD", "peer=10.1.1.1", "reason=BFD session went down")
	w.say(150, "ike-up", "Crypto tunnel v2 is UP.  Peer "+to+":500 Id: "+to, "peer="+to+":500")
	w.say(1, "child-up", "IPsec SAs are installed", "peer="+to+":500", "tunnel=Tunnel1")
	w.say(1, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+to, "assigned="+is, "state=up")
	w.say(1, "line-protocol", "Line protocol on Interface Tunnel1, changed state to up", "interface=Tunnel1", "state=up")
	w.say(80, "bgp-up", "neighbor 10.1.1.1 Up", "peer=10.1.1.1", "state=established")
	w.routes(5, "", "Tunnel1", 3)
}

func TestAFailoverIsOneStoryThatTellsWhatNoticedItAndWhatMoved(t *testing.T) {
	w := newWorld()
	w.say(0, "applied", "configuration applied")
	w.say(40000, "track", "track 7 is down", "track=7", "state=down")
	w.say(20, "child-up", "IPsec SAs are installed", "peer=192.0.2.9:500", "tunnel=Tunnel9")
	w.failover(hub1, hub2, "10.1.1.100", "10.1.1.177")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"configuration applied", "track 7 went down", "IPsec SAs are installed", "Flex_Client moved from 172.25.1.1 to 172.25.2.1 (Tunnel1)"}) {
		t.Fatalf("%q", got)
	}
	s := stories[3]
	if s.By != "BFD" || !strings.Contains(s.Noticed, "BFD session with 10.1.1.1 on Tunnel1 is down: control detection time expired") || s.Seconds != 0.158 || len(s.Events) != 13-1 {
		t.Errorf("noticed %q by %q, %v s, %d events", s.Noticed, s.By, s.Seconds, len(s.Events))
	}
	want := []string{"the address of Tunnel1 from 10.1.1.100 to 10.1.1.177", "3 routes came to Tunnel1", "3 routes left Tunnel1", "BGP with 10.1.1.1 is up again"}
	if !slices.Equal(s.Moved, want) {
		t.Errorf("moved %q", s.Moved)
	}
	if a := netip.MustParseAddr; !s.Has(a(hub1)) || !s.Has(a(hub2)) || !s.Has(a("10.1.1.177")) || s.Has(a("192.0.2.9")) {
		t.Error("the story is not about its peers")
	}
}

func TestAnAddressIsComparedWithTheOneBefore(t *testing.T) {
	w := newWorld()
	log := w.log.Logger()
	for _, a := range []string{"10.1.1.100/32", "10.1.1.177/32"} {
		w.now = w.now.Add(time.Hour)
		log.Info().Str("event", "address-assigned").Str("tunnel", "Tunnel1").Str("peer", "invalid IP").Strs("addresses", []string{a, "2001:db8::1/128"}).Msg("the peer has given the tunnel its address")
	}
	stories := Stories(w.Events())
	if last := stories[len(stories)-1]; !slices.Equal(last.Moved, []string{"the address of Tunnel1 from 10.1.1.100 and 2001:db8::1 to 10.1.1.177 and 2001:db8::1"}) || last.Events[0].Peer != "" {
		t.Fatalf("%+v", last)
	}
}

func TestGoingBackIsAStoryOfItsOwn(t *testing.T) {
	w := newWorld()
	w.failover(hub1, hub2, "10.1.1.100", "10.1.1.177")
	w.say(5000, "track", "track 1 is up", "track=1", "state=up")
	w.say(1, "moving", "going back", "client=Flex_Client", "track=1", "peer="+hub1, "reason=a better peer is there again")
	w.say(100, "ike-up", "Crypto tunnel v2 is UP", "peer="+hub1+":500")
	w.say(1, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub2, "assigned=10.1.1.177", "state=down", "reason=back to peer "+hub1)
	w.say(1, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "assigned=10.1.1.100", "state=up")
	w.say(10000, "ike-down", "Crypto tunnel v2 is DOWN", "peer="+hub2+":500", "reason=back to peer "+hub1) // it was kept for what was under way
	got := titles(Stories(w.Events()))
	if !slices.Equal(got, []string{"Flex_Client moved from 172.25.1.1 to 172.25.2.1 (Tunnel1)", "Flex_Client moved from 172.25.2.1 to 172.25.1.1 (Tunnel1)"}) {
		t.Fatalf("%q", got)
	}
}

func TestPeersOfAHubHaveStoriesOfTheirOwn(t *testing.T) {
	w := newWorld()
	for n := range 2 {
		peer, access, inside := fmt.Sprintf("172.16.%d.2", n+1), fmt.Sprintf("Virtual-Access%d", n+1), fmt.Sprintf("10.1.1.10%d", n)
		w.say(5, "ike-up", "Crypto tunnel v2 is UP", "peer="+peer+":500")
		w.say(1, "child-up", "IPsec SAs are installed", "peer="+peer+":500", "tunnel="+access)
		w.say(1, "line-protocol", "Line protocol on Interface "+access+", changed state to up", "interface="+access, "state=up")
		w.say(1, "bgp-up", "neighbor "+inside+" Up", "peer="+inside)
	}
	w.say(5000, "ike-down", "Crypto tunnel v2 is DOWN", "peer=172.16.1.2:500", "reason=peer does not answer INFORMATIONAL: dead")
	w.say(1, "line-protocol", "Line protocol on Interface Virtual-Access1, changed state to down", "interface=Virtual-Access1", "state=down")
	w.say(1, "bgp-down", "neighbor 10.1.1.100 Down", "peer=10.1.1.100", "reason=Interface flap")
	// Somebody else gets the interface.
	w.say(100, "ike-up", "Crypto tunnel v2 is UP", "peer=172.16.3.2:500")
	w.say(1, "child-up", "IPsec SAs are installed", "peer=172.16.3.2:500", "tunnel=Virtual-Access1")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"The session with 172.16.1.2 came up (Virtual-Access1)", "The session with 172.16.2.2 came up (Virtual-Access2)",
		"The session with 172.16.1.2 ended (Virtual-Access1)", "The session with 172.16.3.2 came up (Virtual-Access1)"}) {
		t.Fatalf("%q", got)
	}
	if s := stories[2]; s.By != "dead peer detection" || s.Seconds != -1 || !slices.Equal(s.Moved, []string{"BGP with 10.1.1.100 went down"}) {
		t.Errorf("noticed by %q, %v s, moved %q", s.By, s.Seconds, s.Moved)
	}
}

func TestOfTwoSAsWithOnePeerOneMayGoUnnoticed(t *testing.T) {
	w := newWorld()
	for _, n := range []string{"1", "2"} {
		w.say(1, "ike-up", "up", "peer=172.16.1.2:500", "n="+n)
		w.say(1, "child-up", "IPsec SAs are installed", "peer=172.16.1.2:500", "tunnel=Virtual-Access1")
	}
	w.say(2000, "child-down", "IPsec SAs are deleted", "peer=172.16.1.2:500", "tunnel=Virtual-Access1", "reason=peer deleted it")
	w.say(0, "ike-down", "down", "peer=172.16.1.2:500", "reason=peer deleted it")
	w.say(9000, "ike-down", "down", "peer=172.16.1.2:500", "reason=idle")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"The session with 172.16.1.2 came up (Virtual-Access1)", "The session with 172.16.1.2 ended (Virtual-Access1)"}) || stories[1].By != "the idle timer" {
		t.Fatalf("%q", got)
	}
}

func TestPeersBehindOneNATHaveStoriesOfTheirOwn(t *testing.T) {
	w := newWorld()
	for n := range 2 {
		w.say(1, "ike-up", "up", fmt.Sprintf("peer=192.0.2.7:%d", 1024+n))
	}
	stories := Stories(w.Events())
	if len(stories) != 2 || !stories[0].Has(netip.MustParseAddr("192.0.2.7")) || stories[0].Title != "The session with 192.0.2.7:1024 came up" {
		t.Fatalf("%q", titles(stories))
	}
}

func TestRoutesBelongToTheStoryOfTheirInterfaceOnly(t *testing.T) {
	w := newWorld()
	w.routes(0, "", "GigabitEthernet1", 1000) // nobody's
	w.routes(2000, "Tunnel1", "Tunnel2", 3)   // before the line that is the reason
	w.say(10, "line-protocol", "Line protocol on Interface Tunnel1, changed state to down", "interface=Tunnel1", "state=down")
	w.routes(10, "Tunnel1", "Tunnel2", 4)
	w.routes(20000, "Tunnel1", "", 1) // too late
	stories := Stories(w.Events())
	if len(stories) != 1 || !slices.Equal(stories[0].Moved, []string{"7 routes moved from Tunnel1 to Tunnel2"}) || stories[0].By != "the line protocol of Tunnel1" || stories[0].Title != "Tunnel1 went down" {
		t.Fatalf("%+v", stories)
	}
}

func TestNewKeysAndDebuggingAreNoStories(t *testing.T) {
	w := newWorld()
	w.log.SetDebug("all", true)
	log := w.log.Logger()
	log.Debug().Str("event", "session").Msg("debugging")
	log.Info().Msg("without an event")
	w.say(0, "ike-down", "down", "peer="+hub1, "reason=cleared by the operator")
	w.say(10, "ike-rekeyed", "IKE SA has new keys", "peer="+hub1)
	w.say(10, "ike-up", "up", "peer="+hub1)
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"The session with 172.25.1.1 was lost and is back", "IKE SA has new keys"}) || stories[0].By != "the operator" || stories[0].Seconds != 0.02 {
		t.Fatalf("%q", got)
	}
}

func TestAPeerThatHasMovedIsCountedWhereItIs(t *testing.T) {
	const home, away = "172.16.1.2", "172.16.9.9"
	w := newWorld()
	w.say(0, "ike-up", "up", "peer="+home+":500")
	w.say(60000, "peer-moved", "the peer has a new address or port", "from="+home+":500", "peer="+away+":4500", "tunnel=Virtual-Access1")
	w.say(0, "peer-moved", "the peer has a new address or port", "from="+home+":500", "peer="+away+":4500", "tunnel=Virtual-Access2")
	w.say(60000, "ike-down", "down", "peer="+away+":4500", "reason=idle")
	for range 2 {
		w.say(60000, "ike-up", "up", "peer="+home+":500")
		w.say(60000, "ike-down", "down", "peer="+home+":500", "reason=idle")
	}
	if got := strings.Join(titles(Stories(w.Events())), "\n"); strings.Count(got, "172.16.1.2 ended") != 2 || !strings.Contains(got, "172.16.9.9 ended") || len(w.sas) != 0 {
		t.Fatalf("%s\n%v", got, w.sas)
	}
}

// trial is an attempt at a better hub that does not answer.
func (w *world) trial() {
	w.say(30000, "preparing", "a better gateway is called, beside the one in use", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1)
	w.say(10000, "gateway-unreachable", "a gateway could not be had", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "reason=no session in time")
}

func TestAttemptsAreOneEventHoweverManyTheyAre(t *testing.T) {
	w := newWorld()
	w.failover(hub1, hub2, "10.1.1.100", "10.1.1.177")
	const trials = kept/2 + 100 // each says two things
	for range trials {
		w.trial()
	}
	w.say(30000, "preparing", "a better gateway is called, beside the one in use", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1)
	w.say(50, "ike-up", "Crypto tunnel v2 is UP", "peer="+hub1+":500")
	w.say(270, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub2, "state=down", "reason=back to peer "+hub1)
	w.say(0, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "state=up")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"Flex_Client moved from 172.25.1.1 to 172.25.2.1 (Tunnel1)", "Flex_Client moved from 172.25.2.1 to 172.25.1.1 (Tunnel1)"}) {
		t.Fatalf("%q", got)
	}
	if s := stories[1]; s.Seconds != 0.32 || !s.Beside || len(s.Events) != 5 || s.Events[0].Times != trials+1 || s.Events[1].Times != trials {
		t.Errorf("after %v s, beside %v, %+v", s.Seconds, s.Beside, s.Events)
	}
}

func TestAHubThatIsLostWhileABetterOneIsTriedIsAStoryOfItsOwn(t *testing.T) {
	lost := func(w *world) Story {
		w.say(2000, "bfd", "BFD-SYSLOG: …", "peer="+hub2, "state=down", "reason=control detection time expired")
		w.say(0, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub2, "state=down", "reason=track 2 is not up")
		w.say(400, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer=172.25.3.1", "state=up")
		all := Stories(w.Events())
		return all[len(all)-1]
	}
	between, during := newWorld(), newWorld()
	for _, w := range []*world{between, during} {
		w.failover(hub1, hub2, "10.1.1.100", "10.1.1.177")
		w.trial()
		w.trial()
	}
	during.say(15000, "preparing", "a better gateway is called, beside the one in use", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1)
	for name, s := range map[string]Story{"between": lost(between), "during": lost(during)} {
		if s.By != "BFD" || s.Beside || s.Seconds != 0.4 || s.Title != "Flex_Client moved from 172.25.2.1 to 172.25.3.1 (Tunnel1)" {
			t.Errorf("%s: noticed by %q, after %v s, beside %v: %s", name, s.By, s.Seconds, s.Beside, s.Title)
		}
		if name == "between" && len(s.Events) != 3 {
			t.Errorf("attempts that had come to nothing are in it: %+v", s.Events)
		}
	}
}

func TestTheEndOfAnIdleShortcutIsAStoryOfItsOwn(t *testing.T) {
	w := newWorld()
	w.say(0, "ike-up", "Crypto tunnel v2 is UP", "peer=172.16.2.2:500")
	w.say(1, "child-up", "IPsec SAs are installed", "peer=172.16.2.2:500", "tunnel=Virtual-Access1")
	w.say(20000, "shortcut-expired", "a shortcut expired", "peer=172.16.2.2", "tunnel=Virtual-Access1", "reason=idle")
	w.say(0, "child-down", "IPsec SAs are deleted", "peer=172.16.2.2:500", "tunnel=Virtual-Access1", "reason=idle")
	w.say(0, "ike-down", "Crypto tunnel v2 is DOWN", "peer=172.16.2.2:500", "reason=idle")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"The session with 172.16.2.2 came up (Virtual-Access1)", "The session with 172.16.2.2 ended (Virtual-Access1)"}) || stories[1].By != "the idle timer" {
		t.Fatalf("%q", got)
	}
}

func TestWhatIsSaidBesideDoesNotHoldAGoodStoryOpen(t *testing.T) {
	w := newWorld()
	w.say(0, "ike-up", "Crypto tunnel v2 is UP", "peer="+hub1+":500", "tunnel=Tunnel1")
	w.say(10, "bgp-up", "neighbor 10.1.1.1 Up", "peer=10.1.1.1", "state=established")
	w.say(15000, "bgp-notification", "sent to neighbor 10.1.1.1 4/0 (hold time expired)", "peer=10.1.1.1")
	w.say(0, "bgp-down", "neighbor 10.1.1.1 Down BGP Notification sent: 4/0 (hold time expired)", "peer=10.1.1.1", "reason=BGP Notification sent: 4/0 (hold time expired)")
	w.say(5, "bgp-up", "neighbor 10.1.1.1 Up", "peer=10.1.1.1", "state=established")
	w.say(15000, "bgp-maxpfx", "Number of prefixes received from 10.1.1.1 reaches 9, max 10", "peer=10.1.1.1")
	w.say(0, "bgp-down", "neighbor 10.1.1.1 Down Maximum prefix", "peer=10.1.1.1", "reason=Maximum prefix")
	stories := Stories(w.Events())
	if len(stories) != 3 || stories[1].By != "BGP's hold timer" || len(stories[1].Events) != 4 || stories[0].By != "" {
		t.Fatalf("%q %+v", titles(stories), stories)
	}
}

func TestOfWhatHappensAtOnceTheFirstToSaySoHasNoticedIt(t *testing.T) {
	w := newWorld()
	w.say(0, "bfd", "BFD-SYSLOG: …", "peer="+hub1, "state=down", "reason=control detection time expired")
	w.say(0, "track", "1 bfd 172.25.1.1 Up -> Down", "track=1", "state=down")
	w.say(0, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "track=1", "peer="+hub1, "state=down", "reason=track 1 is not up")
	if all := Stories(w.Events()); len(all) != 1 || all[0].By != "BFD" || all[0].Events[1].Kind != "track" {
		t.Fatalf("%+v", all)
	}
}

func TestAStoryIsAboutTheAddressesOfBothFamilies(t *testing.T) {
	w := newWorld()
	log := w.log.Logger()
	for _, a := range []string{"10.1.1.100/32", "10.1.1.177/32"} {
		log.Info().Str("event", "address-assigned").Str("tunnel", "Tunnel1").Strs("addresses", []string{a, "2001:db8::1/128"}).Msg("the peer has given the tunnel its address")
	}
	s := Stories(w.Events())[0]
	for _, a := range []string{"10.1.1.100", "10.1.1.177", "2001:db8::1"} {
		if !s.Has(netip.MustParseAddr(a)) {
			t.Errorf("it is not about %s", a)
		}
	}
}

func TestWhoNoticedIsTakenFromTheReasonWhereNobodySaidSoBefore(t *testing.T) {
	for reason, want := range map[string]string{"track 3 is not up": "track 3", "source GigabitEthernet1 is down": "the line protocol of GigabitEthernet1",
		"BFD adjacency down": "BFD", "dead peer: 5 times INFORMATIONAL unanswered, nothing heard for 55s": "dead peer detection"} {
		w := newWorld()
		w.say(0, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "state=down", "reason="+reason)
		if s := Stories(w.Events())[0]; s.By != want {
			t.Errorf("%s: %q", reason, s.By)
		}
	}
}

func TestTheRingIsBounded(t *testing.T) {
	w := newWorld()
	for n := range kept + 100 {
		w.say(1, "ike-down", fmt.Sprint(n), "peer="+hub1)
		w.routes(0, fmt.Sprint("Tunnel", n), "", 1)
	}
	for n := range maxLinks + 10 {
		w.Routes(w.now, "default", fmt.Sprint("Tunnel", n), "", 1)
	}
	if len(w.moves) > maxLinks {
		t.Fatalf("%d counts of one moment", len(w.moves))
	}
	w.now = w.now.Add(time.Minute)
	w.Routes(w.now, "default", "Tunnel1", "", 1)
	if e := w.Events(); len(e) != kept || e[len(e)-1].Text != fmt.Sprint(kept+99) || len(w.moves) != 1 || len(w.told) != 0 {
		t.Fatalf("%d events, the last one %+v, %d counts", len(e), e[len(e)-1], len(w.moves))
	}
}

func FuzzStories(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 17, 33, 49})
	f.Fuzz(func(t *testing.T, steps []byte) {
		steps = steps[:min(len(steps), kept/2)] // so that no event leaves the ring
		w := newWorld()
		kinds := []string{"ike-up", "ike-down", "child-up", "child-down", "line-protocol", "bgp-up", "bgp-down", "track"}
		for _, b := range steps {
			fields := []string{"peer=192.0.2." + fmt.Sprint(b&3)}
			if b&4 != 0 {
				fields = append(fields, "tunnel=Tunnel1")
			}
			if b&8 != 0 {
				fields = append(fields, "client=C", "state=down", "assigned=10.0.0.1")
			}
			w.say(int(b)*20, kinds[b>>5], "x", fields...)
			if b&16 != 0 {
				w.routes(1, "Tunnel1", "Tunnel2", 1)
			}
		}
		n := 0
		for _, s := range Stories(w.Events()) {
			n += len(s.Events)
			if s.End.Before(s.Begin) || s.Title == "" || s.Noticed == "" || !slices.IsSortedFunc(s.Events, func(a, b Event) int { return a.Time.Compare(b.Time) }) {
				t.Fatalf("%+v", s)
			}
		}
		if n < len(steps) {
			t.Fatalf("%d of %d events are told", n, len(steps))
		}
	})
}

func TestTheEndOfTheOldSessionAfterAMoveDoesNotHoldTheStoryOpen(t *testing.T) {
	w := newWorld()
	w.say(0, "preparing", "a better gateway is called, beside the one in use", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1)
	w.say(50, "ike-up", "Crypto tunnel v2 is UP.  Peer "+hub1+":500 Id: "+hub1, "peer="+hub1+":500")
	w.say(270, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub2, "state=down", "reason=back to peer "+hub1)
	w.say(0, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "state=up")
	w.say(10000, "child-down", "IPsec SAs are deleted", "tunnel=Tunnel1", "peer="+hub2+":500", "reason=back to peer "+hub1)
	w.say(0, "ike-down", "Crypto tunnel v2 is DOWN.  Peer "+hub2+":500 Id: "+hub2, "peer="+hub2+":500", "reason=back to peer "+hub1)
	w.say(20000, "flexvpn-down", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "state=down", "reason=cleared by the operator")
	w.say(1, "ike-down", "Crypto tunnel v2 is DOWN.  Peer "+hub1+":500 Id: "+hub1, "peer="+hub1+":500", "reason=cleared by the operator")
	w.say(60, "flexvpn-up", "FlexVPN(Flex_Client) …", "client=Flex_Client", "tunnel=Tunnel1", "peer="+hub1, "state=up")
	stories := Stories(w.Events())
	if got := titles(stories); !slices.Equal(got, []string{"Flex_Client moved from 172.25.2.1 to 172.25.1.1 (Tunnel1)", "Flex_Client with 172.25.1.1 was lost and is back (Tunnel1)"}) {
		t.Fatalf("%q", got)
	}
	if s := stories[0]; s.Seconds != 0.32 || !s.Beside || len(s.Events) != 6 {
		t.Errorf("moved after %v s, beside %v, %d events", s.Seconds, s.Beside, len(s.Events))
	}
	if s := stories[1]; s.By != "the operator" || s.Seconds != 0.061 {
		t.Errorf("by %q, after %v s", s.By, s.Seconds)
	}
}
