package syslog

import (
	"strings"
	"testing"
	"time"
)

func newLog(size int) *Log {
	return New(size, func() time.Time { return time.Unix(0, 0) }, nil)
}

func TestLinesKeepTheirFieldsAndMnemonic(t *testing.T) {
	l := newLog(16)
	log := l.Logger()
	log.Info().Str("mnemonic", "CRYPTO-5-IKEV2_SESSION_STATUS").Str("peer", "192.0.2.1").Msg("Crypto tunnel v2 is UP")
	e := l.Entries()
	if len(e) != 1 || e[0].String() != "Jan  1 00:00:00.000: %CRYPTO-5-IKEV2_SESSION_STATUS: Crypto tunnel v2 is UP peer=192.0.2.1" {
		t.Fatalf("got %v", e)
	}
}

func TestTheBufferKeepsTheNewestLines(t *testing.T) {
	l := newLog(16)
	log := l.Logger()
	for i := range 40 {
		log.Info().Int("n", i).Msg("line")
	}
	e := l.Entries()
	if len(e) != 16 || !strings.HasSuffix(e[15].String(), "n=39") || !strings.HasSuffix(e[0].String(), "n=24") || l.Logged() != 40 {
		t.Fatalf("kept %d, first %v, last %v", len(e), e[0], e[len(e)-1])
	}
}

func TestDebugLinesNeedTheirCategoryAndCondition(t *testing.T) {
	l := newLog(16)
	log := l.Logger()
	say := func() int {
		before := l.Logged()
		log.Debug().Str("debug", "nhrp packet").Str("peer", "192.0.2.1:500").Msg("x")
		return int(l.Logged() - before)
	}
	if say() != 0 {
		t.Fatal("a debug line was kept while no debug is on")
	}
	l.SetDebug("ikev2", true)
	if say() != 0 {
		t.Fatal("another category's line was kept")
	}
	l.SetDebug("nhrp", true)
	if say() != 1 {
		t.Fatal("the category's line was not kept")
	}
	l.SetCondition(Condition{"peer", "192.0.2.9"}, true)
	if say() != 0 {
		t.Fatal("a line outside the condition was kept")
	}
	l.SetCondition(Condition{"peer", "192.0.2.1"}, true)
	if say() != 1 {
		t.Fatal("a line inside the condition was not kept")
	}
	l.SetDebug("all", false)
	if say() != 0 {
		t.Fatal("undebug all left something on")
	}
}

func TestWatchersSeeLinesUntilTheyStop(t *testing.T) {
	l := newLog(16)
	log := l.Logger()
	var got []string
	stop := l.Watch(func(s string) { got = append(got, s) })
	log.Warn().Msg("one")
	stop()
	log.Warn().Msg("two")
	if len(got) != 1 {
		t.Fatalf("saw %v", got)
	}
}
