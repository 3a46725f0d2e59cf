package flexvpn

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"felloe/vpn/ikev2"
)

// comes brings peer n up: IKE SA, child, a told subnet.
func (s *stage) comes(n int) {
	sa := ikev2.SAID(n + 1)
	lan := netip.AddrFrom4([4]byte{20, byte(n >> 8), byte(n), 0})
	end := lan.As4()
	end[3] = 255
	s.happen(ikeUp(sa, n, ikev2.Configuration{}), s.childUp(ikev2.ChildID(n+1), sa, n, selector(lan.String(), netip.AddrFrom4(end).String())))
}

func (s *stage) goes(n int) {
	sa, child := ikev2.SAID(n+1), ikev2.ChildID(n+1)
	s.happen(s.childDown(child), ikev2.IKEDown{SA: sa, Established: true, Err: ikev2.ErrLocal})
}

func crowd(t testing.TB, n int) *stage {
	s := newStage(t)
	s.quiet()
	s.set(s.tmpl)
	for k := range n {
		s.comes(k)
	}
	return s
}

// quiet keeps neither log nor events: they would be what grows.
func (s *stage) quiet() { s.out, s.forgetful = io.Discard, true }

func BenchmarkSessionComesAndGoes(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			s := crowd(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				s.comes(n)
				s.goes(n)
			}
		})
	}
}

// BenchmarkASecondOfASession is what tunnel protection's clock costs each session a second.
func BenchmarkASecondOfASession(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			s := crowd(b, n)
			b.ResetTimer()
			for range b.N/n + 1 {
				s.clock.Advance(time.Second)
				s.do(func() {})
			}
		})
	}
}

func heapInUse() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAThousandSessionsComeAndGoAndLeaveNothing(t *testing.T) {
	s := crowd(t, 20)
	for n := range 20 {
		s.goes(n)
	}
	s.do(func() {})
	before, routines := heapInUse(), runtime.NumGoroutine()
	for n := range 1000 {
		s.comes(n)
	}
	s.do(func() {
		if n := len(s.m.List()); n != 1000 || len(s.p.Sessions()) != 1000 {
			t.Fatalf("%d interfaces, %d sessions", n, len(s.p.Sessions()))
		}
	})
	if n := len(s.routes("private")); n != 1000 {
		t.Fatalf("%d routes", n)
	}
	full := heapInUse()
	// All rekey.
	for n := range 1000 {
		next := s.childUp(ikev2.ChildID(n+10001), ikev2.SAID(n+1), n, selector(fmt.Sprintf("20.%d.%d.0", n>>8, n&255), fmt.Sprintf("20.%d.%d.255", n>>8, n&255)))
		next.Replaces = ikev2.ChildID(n + 1)
		s.happen(next, ikev2.ChildRekeyed{Old: ikev2.ChildID(n + 1), New: next.Child}, s.childDown(ikev2.ChildID(n+1)))
	}
	if n := len(s.routes("private")); n != 1000 || s.p.Counters().ChildRekeys != 1000 {
		t.Fatalf("%d routes, %d rekeys", n, s.p.Counters().ChildRekeys)
	}
	for n := range 1000 {
		s.happen(s.engine.down(ikev2.SAID(n + 1))...)
	}
	s.clock.Advance(time.Minute)
	s.do(func() {})
	after := heapInUse()
	t.Logf("%d kB, with 1,000 sessions %d kB (%d bytes each), afterwards %d kB", before/1024, full/1024, (full-before)/1000, after/1024)
	if after > before+(full-before)/10+1<<18 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	if n := runtime.NumGoroutine(); n > routines+2 {
		t.Errorf("%d goroutines, %d before", n, routines)
	}
	if len(s.dp.Interfaces()) != 3 || len(s.routes("private")) != 0 || len(s.accesses()) != 0 {
		t.Errorf("%d interfaces, %d routes are left", len(s.dp.Interfaces()), len(s.routes("private")))
	}
}
