package protect

import (
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/link/mem"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
)

// asked is how many IKE messages the wire carried meanwhile.
func (l *lab) asked(f func()) int {
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ike
	}
	before := count()
	f()
	return count() - before
}

func TestAVolumeLifetimeIsOverEvenWhenNobodyRekeys(t *testing.T) {
	for name, c := range map[string][2]spec{
		"responder-only on both sides": {{responder: true}, {volume: 20000, responder: true}},
		"the peer refuses new keys":    {{pfs: []suite.Group{suite.ECP_384}}, {volume: 20000, pfs: []suite.Group{suite.ECP_256}}},
		"the receiver's limit":         {{volume: 20000, responder: true}, {responder: true}},
	} {
		t.Run(name, func(t *testing.T) {
			l, h, s := connected(t, c[0], c[1], mem.Impairment{Delay: 5 * time.Millisecond})
			first := s.sessions()[0].Pairs[0]
			l.run(40 * time.Second)
			most := uint64(0)
			for i := range uint16(600) {
				s.echo("10.10.10.2", "10.10.10.1", i)
				l.run(20 * time.Millisecond)
				for _, p := range s.sessions()[0].Pairs {
					if p.SPIIn == first.SPIIn {
						most = max(most, p.Out.Bytes)
					}
				}
			}
			l.run(10 * time.Second)
			if most > 20000+20000/4+10000 { // what a second carries is not counted before it is over
				t.Errorf("one pair has carried %d bytes", most)
			}
			if s.up() != 1 || h.up() != 1 || s.sessions()[0].Pairs[0].SPIIn == first.SPIIn {
				t.Errorf("there is no new pair:\n%s", s.logs())
			}
			if s.counters().VolumeDeletes+h.counters().VolumeDeletes == 0 {
				t.Errorf("%+v", s.counters())
			}
		})
	}
}

// dpd 60 2 on-demand, the scenario's.
func TestOnDemandDPDAsksWhenTrafficHasHadNoAnswerForAMinute(t *testing.T) {
	dpd := ikev2.DPD{Interval: 60 * time.Second, Retry: 2 * time.Second, OnDemand: true}
	l, _, s := connected(t, spec{}, spec{dpd: dpd}, mem.Impairment{Delay: time.Millisecond})
	// Who is idle is not asked, alive or not.
	if ike := l.asked(func() { l.run(30 * time.Minute) }); ike != 0 {
		t.Errorf("%d messages between idle peers", ike)
	}
	// Nor is a peer that answers.
	if ike := l.asked(func() {
		for i := range uint16(300) {
			s.echo("10.10.10.2", "10.10.10.1", i)
			l.run(time.Second)
		}
	}); ike != 0 {
		t.Errorf("%d messages while answers come", ike)
	}
	l.cut(true)
	l.run(10 * time.Minute)
	if s.up() != 1 {
		t.Fatal("an idle peer was given up")
	}
	l.cut(false)
	s.ping("10.10.10.2", "10.10.10.1", 400)
	l.run(2 * time.Second)
	l.cut(true)
	// Traffic without an answer: nothing for a minute, then every two seconds, five times.
	begin := l.Clock.Now()
	down := time.Duration(0)
	for i := uint16(500); down == 0 && i < 700; i++ {
		s.echo("10.10.10.2", "10.10.10.1", i)
		l.run(time.Second)
		if s.up() == 0 {
			down = l.Clock.Now().Sub(begin)
		}
	}
	if down < 65*time.Second || down > 71*time.Second {
		t.Errorf("dead after %v\n%s", down, s.logs())
	}
}

func TestIdleTimeEndsASessionAndTrafficBringsItBack(t *testing.T) {
	const idle = 1800 * time.Second
	l, h, s := connected(t, spec{mode: esp.Tunnel}, spec{idle: idle}, mem.Impairment{Delay: time.Millisecond})
	s.ping("10.10.10.2", "10.10.10.1", 1)
	l.run(idle - 5*time.Second)
	if s.up() != 1 {
		t.Fatalf("ended early\n%s", s.logs())
	}
	s.ping("10.10.10.2", "10.10.10.1", 2)
	l.run(idle - 5*time.Second)
	if s.up() != 1 {
		t.Fatal("what carries packets does not idle")
	}
	l.run(10 * time.Second)
	if s.up() != 0 || h.up() != 0 || s.counters().IdleDeletes != 1 {
		t.Fatalf("still up: %+v", s.counters())
	}
	if ike := l.asked(func() { l.run(10 * time.Minute) }); ike != 0 || s.up() != 0 {
		t.Error("it came back by itself")
	}
	s.echo("10.10.10.2", "10.10.10.1", 3)
	l.until(10*time.Second, "traffic brings it back", func() bool { return s.up() == 1 && h.up() == 1 })
}

func TestAChangeOfTheConfigurationIsTriedAtOnce(t *testing.T) {
	l := newLab(t)
	h, s := l.pair(spec{}, spec{psk: "WRONG"}, mem.Impairment{Delay: time.Millisecond})
	h.tunnel("Tunnel0", "10.10.10.1/24", "", 0, TunnelProtection{})
	s.tunnel("Tunnel0", "10.10.10.2/24", "172.16.0.1", 0, TunnelProtection{})
	l.run(2 * time.Minute) // tries are half a minute apart by now
	s.call(func() { s.engine.SetConfig(spec{}.config()); s.m.Reauthorize() })
	l.until(time.Second, "it comes up", func() bool { return s.up() == 1 && h.up() == 1 })
	// Another key at the hub ends it on both sides; nothing goes in clear, and the spoke's knocks are refused.
	h.call(func() { h.engine.SetConfig(spec{psk: "NEW"}.config()); h.m.Reauthorize() })
	for i := range uint16(20) {
		s.echo("10.10.10.2", "10.10.10.1", i)
		l.run(100 * time.Millisecond)
	}
	if s.up() != 0 || h.up() != 0 || len(h.sessions()) != 0 {
		t.Errorf("still up\n%s", h.logs())
	}
	s.call(func() { s.engine.SetConfig(spec{psk: "NEW"}.config()); s.m.Reauthorize() })
	l.until(time.Second, "it comes up again", func() bool { return s.up() == 1 && h.up() == 1 })
}
