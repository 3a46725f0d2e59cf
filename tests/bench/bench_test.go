package main

import (
	"strings"
	"testing"
	"time"
)

func TestEveryCaseGoesThroughTheRouter(t *testing.T) {
	all, err := cases()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := measure(all, time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4+2*2*3+2*2 {
		t.Fatalf("%d rows", len(rows))
	}
	ratios := 0
	for _, r := range rows {
		if r.NS <= 0 || r.Median < r.NS {
			t.Errorf("%s: %+v", r.Name, r)
		}
		if r.Ratio > 0 {
			ratios++
		}
	}
	if ratios != 8 {
		t.Errorf("%d rows are compared with the cipher, want 8", ratios)
	}
	var out strings.Builder
	table(&out, rows)
	for _, want := range []string{"forward", encapGCM, decapGCM, bareSeal, "10000", "allocs/packet"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestTheVerdictNamesWhatMisses(t *testing.T) {
	good := result{work: work{Name: encapGCM, Bytes: targetBytes, Routes: 10}, Ratio: 1.2}
	if lines, met := verdict([]result{good}); !met || len(lines) != 2 {
		t.Fatal(lines, met)
	}
	slow := good
	slow.Ratio = 1.6
	if lines, met := verdict([]result{good, slow}); met || !strings.HasPrefix(lines[1], "MISSED") {
		t.Fatal(lines, met)
	}
	back := good
	back.Name = decapGCM
	if lines, met := verdict([]result{good, back}); !met || len(lines) != 3 {
		t.Fatal(lines, met)
	}
	back.Ratio = 1.6
	if lines, met := verdict([]result{good, back}); met || !strings.HasPrefix(lines[1], "MISSED  the way back") {
		t.Fatal(lines, met)
	}
	leaky := good
	leaky.Allocs, leaky.Name = 1, "forward"
	if lines, met := verdict([]result{leaky}); met || !strings.Contains(lines[0], "forward of 1400 B allocates") {
		t.Fatal(lines, met)
	}
}

func TestCasesCanBeChosen(t *testing.T) {
	all := []*work{{Name: "forward", Bytes: 64, Routes: 10}, {Name: "forward", Bytes: 1400, Routes: 10000}}
	got, err := choose(all, "forward 1400 B 10000 routes")
	if err != nil || len(got) != 1 || got[0].Bytes != 1400 {
		t.Fatal(got, err)
	}
	if _, err := choose(all, "("); err == nil {
		t.Fatal("a broken expression was accepted")
	}
}
