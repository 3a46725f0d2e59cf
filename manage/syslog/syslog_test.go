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
	l := newLog(4096)
	log := l.Logger()
	log.Info().Str("mnemonic", "CRYPTO-5-IKEV2_SESSION_STATUS").Str("peer", "192.0.2.1").Msg("Crypto tunnel v2 is UP")
	e := l.Entries()
	if len(e) != 1 || e[0].String() != "Jan  1 00:00:00.000: %CRYPTO-5-IKEV2_SESSION_STATUS: Crypto tunnel v2 is UP peer=192.0.2.1" {
		t.Fatalf("got %v", e)
	}
}

func TestAMnemonicInTheTextIsTakenForTheMnemonic(t *testing.T) {
	l := newLog(4096)
	log := l.Logger()
	log.Info().Str("peer", "10.0.0.1").Msg("%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Up")
	log.Info().Msg("100%-5-x: no mnemonic")
	e := l.Entries()
	if got := e[0].String(); got != "Jan  1 00:00:00.000: %BGP-5-ADJCHANGE: neighbor 10.0.0.1 Up peer=10.0.0.1" {
		t.Errorf("got %s", got)
	}
	if got := e[1].String(); got != "Jan  1 00:00:00.000: info: 100%-5-x: no mnemonic" {
		t.Errorf("got %s", got)
	}
}

func TestTheBufferKeepsTheNewestLines(t *testing.T) {
	l := newLog(1000)
	log := l.Logger()
	for i := range 400 {
		log.Info().Int("n", 100+i).Msg("line")
	}
	line := len(`{"level":"info","n":100,"message":"line"}` + "\n")
	e := l.Entries()
	if len(e) != 1000/line || !strings.HasSuffix(e[len(e)-1].String(), "n=499") || l.Logged() != 400 {
		t.Fatalf("kept %d, first %v, last %v", len(e), e[0], e[len(e)-1])
	}
	l.Configure(Levels{Buffer: Debugging, Console: Debugging, Buffered: 3 * line})
	if e := l.Entries(); len(e) != 3 {
		t.Fatalf("a smaller buffer keeps %d", len(e))
	}
}

func TestBufferAndConsoleHaveLevelsOfTheirOwn(t *testing.T) {
	l := newLog(4096)
	log := l.Logger()
	shown := 0
	defer l.Watch(func(string) { shown++ })()
	l.SetDebug("all", true)
	count := func(buffer, console int) (kept, watched int) {
		l.Configure(Levels{Buffer: buffer, Console: console, Buffered: 4096})
		l.Clear()
		shown = 0
		log.Debug().Str("debug", "x").Msg("7")
		log.Info().Msg("6")
		log.Info().Str("mnemonic", "BGP-5-ADJCHANGE").Msg("5")
		log.Warn().Msg("4")
		log.Error().Msg("3")
		return len(l.Entries()), shown
	}
	for _, c := range []struct{ buffer, console, kept, shown int }{
		{Debugging, Debugging, 5, 5}, {Informational, Off, 4, 0}, {5, Debugging, 3, 5}, {Off, Warnings, 0, 2}, {Errors, 5, 1, 3}, {Off, Off, 0, 0},
	} {
		if kept, shown := count(c.buffer, c.console); kept != c.kept || shown != c.shown {
			t.Errorf("buffer %d, console %d: kept %d and showed %d, want %d and %d", c.buffer, c.console, kept, shown, c.kept, c.shown)
		}
	}
}

func TestDebugLinesNeedTheirCategoryAndCondition(t *testing.T) {
	l := newLog(4096)
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
	l.SetCondition(Condition{}, false)
	l.SetCondition(Condition{"peer", "192.0.2.12"}, true)
	if say() != 0 {
		t.Fatal("an address that only begins alike passed")
	}
	l.SetDebug("all", false)
	if say() != 0 {
		t.Fatal("undebug all left something on")
	}
}

func TestWatchersSeeLinesUntilTheyStop(t *testing.T) {
	l := newLog(4096)
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

func TestALineIsOneLineWhateverAPeerSaid(t *testing.T) {
	e := Entry{Level: "info", Message: "peer says \x1b[2Jhello\n%SYS-5-RELOAD: forged", Fields: map[string]any{"reason": "a\r\nb\u009b1m"}}
	if got := e.String(); !strings.HasSuffix(got, `: info: peer says \x1b[2Jhello\x0a%SYS-5-RELOAD: forged reason=a\x0d\x0ab\x9b1m`) {
		t.Errorf("%q", got)
	}
}
