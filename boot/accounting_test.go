package boot

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"felloe/vpn/ikev2"
)

func TestASessionsAccountSaysWhatItCarriedAndWhyItEnded(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	hub := strings.Replace(flexHub(1, pushAll, ""), "virtual-template = 1\n", "virtual-template = 1\naccounting = true\n", 1)
	f.run("hub1", hub)
	f.run("spoke1", flexSpoke(1, "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.1.1\"", ""))
	f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 7 size 500", "(7/7)")
	f.want("hub1", "show logging", "session 1 of spoke1.example.com has begun", "event=accounting", "10.1.1.100/32")
	var live int
	_ = f.routers["hub1"].call("look", func() error { live = len(f.routers["hub1"].books.Live()); return nil })
	if live != 1 {
		t.Errorf("%d accounts are open", live)
	}
	// The account goes where the peer goes.
	moved := netip.MustParseAddrPort("172.25.1.99:4500")
	_ = f.routers["hub1"].call("move", func() error {
		b := &f.routers["hub1"].books
		was := b.Live()[0].Remote
		f.routers["hub1"].exchanged(ikev2.PeerMoved{SA: 1, Old: was, New: moved})
		if got := b.Live()[0].Remote; got != moved {
			t.Errorf("it is at %v", got)
		}
		f.routers["hub1"].exchanged(ikev2.PeerMoved{SA: 1, Old: moved, New: was})
		return nil
	})
	f.exec("spoke1", "clear crypto ikev2 sa")
	out := f.want("hub1", "show logging", "session 1 of spoke1.example.com has ended", "reason=peer deleted it")
	m := regexp.MustCompile(`bytes_in=(\d+) .*packets_in=(\d+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the line does not say what was carried:\n%s", out)
	}
	if n, _ := strconv.Atoi(m[1]); n < 7*500 {
		t.Errorf("%s bytes, %s packets", m[1], m[2])
	}
	if strings.Contains(f.exec("spoke1", "show logging"), "event=accounting") {
		t.Error("the spoke's profile does not ask for it")
	}
}
