//go:build linux

package gobgp

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"

	api "github.com/osrg/gobgp/v3/api"
)

// alone is a speaker without an engine and without a network.
func alone(events func([]bgp.Event)) *speaker {
	s := &speaker{so: bgp.SpeakerOptions{Events: events, Now: time.Now, Wait: func() {}}, cfg: bgp.Config{AS: 65010, RouterID: ip("10.10.10.1")},
		peers: make(map[netip.Addr]*peer), away: make(map[netip.Addr]bool), noticed: make(map[netip.Addr]said)}
	s.wake = sync.NewCond(&s.workMu)
	return s
}

func TestAPeerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := alone(func([]bgp.Event) {})
	p := &peer{s: s, addr: ip("10.10.10.2"), n: neighbor("10.10.10.2", 65011), kick: make(chan struct{}, 1), cancel: func() {}}
	s.peers[p.addr] = p
	r := newRelay(p, &offer{conn: ours})
	p.relay = r
	caps := []byte{4, 0xfd, 0xf3, 0, 90, 10, 10, 10, 2, 16, 2, 14, 65, 4, 0, 0, 0xfd, 0xf3, 2, 0, 1, 4, 0, 1, 0, 1}
	for _, m := range [][]byte{message(1, caps...), guard.KeepaliveMessage()} {
		if _, err := r.guard.FromPeer(m); err != nil {
			t.Fatal(err)
		}
	}
	r.sentAlive = true
	close(r.alive)
	r.begin()
	s.Advertise(p.addr, r.session, []bgp.Advertisement{{Prefix: pfx("192.0.2.0/24")}})
	head := make([]byte, guard.HeaderLen)
	if _, err := theirs.Read(head); err != nil { // and no more: the rest of the message stands
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			p.requestRefresh()
			r.keepalive()
		}
		s.reset(p, &guard.Notification{Code: guard.Cease, Subcode: guard.AdminReset}, "User reset")
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("asking such a peer for its paths, or ending its session, does not return")
	}
}

func TestAPeerIsAskedForItsPathsBetweenUpdates(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := alone(func([]bgp.Event) {})
	p := &peer{s: s, addr: ip("10.10.10.2"), n: neighbor("10.10.10.2", 65011), kick: make(chan struct{}, 1), cancel: func() {}}
	r := newRelay(p, &offer{conn: ours})
	p.relay = r
	for _, m := range [][]byte{message(1, 4, 0xfd, 0xf3, 0, 90, 10, 10, 10, 2, 10, 2, 8, 65, 4, 0, 0, 0xfd, 0xf3, 2, 0), guard.KeepaliveMessage()} {
		if _, err := r.guard.FromPeer(m); err != nil {
			t.Fatal(err)
		}
	}
	close(r.alive)
	r.begin()
	defer r.end(nil, "")
	p.requestRefresh()
	m, err := guard.ReadMessage(theirs, make([]byte, guard.MaxLen))
	if err != nil || m[18] != guard.RouteRefresh {
		t.Fatalf("%x, %v", m, err)
	}
}

func TestWhatIsSaidOfPeersIsBounded(t *testing.T) {
	n := 0
	s := alone(func(e []bgp.Event) { n += len(e) })
	now := time.Unix(1000, 0)
	s.so.Now = func() time.Time { return now }
	a := ip("10.10.10.2")
	s.peers[a] = &peer{s: s, addr: a}
	for i := range 1000 {
		s.notice(a, 4, "MALFORMED", "fault %d", i)
	}
	if n != noticeLimit {
		t.Errorf("of one peer it is said %d times", n)
	}
	n = 0
	for i := range 20000 {
		stranger := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		s.notice(stranger, 4, "REFUSED", "connection from %v refused", stranger)
	}
	if n != noticeLimit || len(s.noticed) > noticedLimit+1 {
		t.Errorf("of strangers it is said %d times, of %d it is remembered", n, len(s.noticed))
	}
	n, now = 0, now.Add(time.Minute)
	s.notice(a, 4, "MALFORMED", "%s", fmt.Sprint("later"))
	if n != 1 {
		t.Error("nothing is said any more")
	}
}

func TestAConnectionThatWaitedBeginsNoSessionThatIsShutDownSince(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := alone(func([]bgp.Event) {})
	p := &peer{s: s, addr: ip("10.10.10.2"), n: neighbor("10.10.10.2", 65011), kick: make(chan struct{}, 1), cancel: func() {}}
	s.peers[p.addr] = p
	if !p.wait(&offer{conn: ours}) { // the rival of a session that ends now
		t.Fatal("it does not wait")
	}
	p.n.Shutdown = true
	s.engineState(p.addr, api.PeerState_ACTIVE)
	m, err := guard.ReadMessage(theirs, make([]byte, guard.MaxLen))
	if err != nil || m[18] != guard.NotificationType || m[20] != guard.ConnectionRejected {
		t.Errorf("it hears %x, %v", m, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.relay != nil || p.waiting != nil || p.side != engineActive {
		t.Errorf("%+v", p)
	}
}
