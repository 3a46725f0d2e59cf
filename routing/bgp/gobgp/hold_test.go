//go:build linux

package gobgp

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"felloe/routing/bgp"
	"felloe/routing/bgp/guard"
)

// timed is a session with a peer at the other end of a pipe.
func timed(t *testing.T, wait func()) (r *relay, theirs net.Conn) {
	ours, theirs := net.Pipe()
	s := alone(func([]bgp.Event) {})
	s.so.Wait = wait
	p := &peer{s: s, addr: ip("10.10.10.2"), n: neighbor("10.10.10.2", 65011), kick: make(chan struct{}, 1), cancel: func() {}}
	s.peers[p.addr] = p
	r = newRelay(p, &offer{conn: ours})
	p.relay = r
	for _, m := range [][]byte{open(true, 2), guard.KeepaliveMessage()} {
		if _, err := r.guard.FromPeer(m); err != nil {
			t.Fatal(err)
		}
	}
	r.gotAlive, r.sentAlive = true, true
	t.Cleanup(func() {
		r.end(nil, "")
		theirs.Close()
	})
	return r, theirs
}

// next is the type of the next message.
func next(t *testing.T, c net.Conn) byte {
	t.Helper()
	m, err := guard.ReadMessage(c, make([]byte, guard.MaxLen))
	if err != nil {
		t.Fatal(err)
	}
	if m[18] == guard.NotificationType && m[19] != guard.HoldTimerExpired {
		t.Fatalf("the notification is %x", m)
	}
	return m[18]
}

func TestAPeerHearsKeepalivesAndIsGivenUpWhenItIsSilent(t *testing.T) {
	t.Parallel()
	r, theirs := timed(t, func() {})
	go r.fromPeer(r.conn, r.guard, nil)
	go r.keep(200*time.Millisecond, 50*time.Millisecond)
	for range 10 { // longer than the hold time
		if kind := next(t, theirs); kind != guard.Keepalive {
			t.Fatalf("message type %d", kind)
		}
		if _, err := theirs.Write(guard.KeepaliveMessage()); err != nil {
			t.Fatal(err)
		}
	}
	for next(t, theirs) == guard.Keepalive { // until it is a NOTIFICATION
	}
	<-r.over
	if r.reason != "BGP Notification sent: 4/0 (hold time expired)" {
		t.Errorf("the reason is %q", r.reason)
	}
}

func TestAPeerThatIsNotReadFromIsNotSilent(t *testing.T) {
	t.Parallel()
	room := make(chan struct{})
	r, theirs := timed(t, func() { <-room }) // bgp has too much to do
	go r.fromPeer(r.conn, r.guard, nil)
	eventually(t, "nobody reads", r.ear.deaf.Load)
	go r.keep(100*time.Millisecond, 50*time.Millisecond)
	for range 10 {
		if kind := next(t, theirs); kind != guard.Keepalive {
			t.Fatalf("message type %d, while what the peer has said waits", kind)
		}
	}
	close(room)
	for next(t, theirs) == guard.Keepalive {
	}
}

func TestASessionThatTheEngineDoesNotReportEnds(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, theirs := timed(t, func() {})
			if known {
				close(r.alive)
				r.begin()
			}
			go r.fromPeer(r.conn, r.guard, nil)
			go r.keep(9*time.Second, 3*time.Second)
			go io.Copy(io.Discard, theirs)
			go func() {
				for _, err := theirs.Write((&guard.Update{EndOfRIB: bgp.IPv4}).Encode(true)[0]); err == nil; _, err = theirs.Write(guard.KeepaliveMessage()) {
					time.Sleep(time.Second)
				}
			}()
			time.Sleep(30 * time.Second)
			if r.isOver() {
				t.Fatal("it is over already")
			}
			time.Sleep(time.Minute)
			if r.isOver() == known {
				t.Errorf("bgp knows of it: %v; it is over: %v", known, r.isOver())
			}
			theirs.Close()
			time.Sleep(2 * time.Second) // until who writes has noticed
		})
	}
}

func TestAPanicCostsTheSessionThatIsNotReadFromAnyMore(t *testing.T) {
	t.Parallel()
	r, theirs := timed(t, func() {})
	go io.Copy(io.Discard, theirs)
	go r.contain(func() { r.fromPeer(r.conn, nil, nil) }) // there is no guard to give the message to
	if _, err := theirs.Write(guard.KeepaliveMessage()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.over:
	case <-time.After(10 * time.Second):
		t.Fatal("it stays")
	}
	if r.state(); r.reason != "a fault of our own" {
		t.Errorf("the reason is %q", r.reason)
	}
}

func TestWhatWaitsInTheStackIsUnread(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	l, err := newHost(t, b, 1).net.ListenTCP(addrPort(&net.TCPAddr{IP: net.IPv4zero, Port: bgp.Port}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := dialRaw(t, newHost(t, b, 9))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	unread := c.(interface{ Unread() bool }).Unread
	if unread() {
		t.Error("nothing was said yet")
	}
	p.send(guard.KeepaliveMessage())
	eventually(t, "something waits", unread)
	if _, err := guard.ReadMessage(c, make([]byte, guard.MaxLen)); err != nil || unread() {
		t.Errorf("%v; unread: %v", err, unread())
	}
}

func TestWithoutAHoldTimeNobodySendsKeepalives(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	never := func(n *bgp.Neighbor) { n.Timers = bgp.Timers{NoHold: true} }
	hub := newRouter(t, b, 1, 65010, with(neighbor("10.10.10.2", 65011, never), neighbor("10.10.10.3", 65012)))
	newRouter(t, b, 2, 65011, hubOf(65010))
	newRouter(t, b, 3, 65012, hubOf(65010))
	eventually(t, "both are up, and one is asked for more", func() bool {
		return hub.up("10.10.10.2") && hub.peer("10.10.10.3").Received.Keepalives > 2
	})
	if p := hub.peer("10.10.10.2"); p.Hold != 0 || p.Received.Keepalives != 1 || p.Sent.Keepalives != 1 || p.Dropped != 0 {
		t.Errorf("the hub shows %+v", p)
	}
	if p := hub.peer("10.10.10.3"); p.Hold != 9*time.Second {
		t.Errorf("the hold time is %v", p.Hold)
	}
}
