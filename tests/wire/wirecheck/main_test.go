package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheExitStatusSaysWhetherSomethingWasFound(t *testing.T) {
	const capture = "../testdata/frr-nhrp.pcap"
	for _, c := range []struct {
		args   string
		status int
		text   string
	}{
		{"-clear 10.99.99.1 " + capture, 1, "a GRE packet"},
		{"-clear 10.255.0.0/24 " + capture, 1, "the address 10.255.0.1"},
		{"-clear 10.0.0.0/8 " + capture, 2, "so wide"},
		{"-clear nonsense " + capture, 2, "neither a prefix nor an address"},
		{capture, 2, "nothing to look for"},
		{"-clear 10.99.99.1", 2, "no capture"},
		{"-clear 10.99.99.1 nowhere.pcap", 1, "nowhere.pcap"},
	} {
		var out bytes.Buffer
		if got := run(&out, strings.Fields(c.args)); got != c.status || !strings.Contains(out.String(), c.text) {
			t.Errorf("wirecheck %s: status %d, want %d: %s", c.args, got, c.status, &out)
		}
	}
}
