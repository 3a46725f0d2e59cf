package scenario

import (
	"net/netip"
	"testing"
	"time"
)

func TestTwoSpokesBehindOneNATAreTwoPeers(t *testing.T) {
	t.Parallel()
	x := start(t, load(t, "testdata/dmvpn-nat/lab.toml"))
	x.script()
	box := x.nats["NAT"]
	if n := box.Counters(); n.ESP != 0 || n.Out == 0 || n.In == 0 {
		t.Errorf("the NAT saw %+v", n)
	}
	hosts := map[netip.Addr]bool{}
	for _, m := range box.Mappings() {
		hosts[m.Inside.Addr()] = true
	}
	if len(hosts) != 2 {
		t.Errorf("mappings %+v", box.Mappings())
	}
	// The NAT is switched off and on: all ports are others. The sessions follow.
	box.Rebind(40000)
	for _, spoke := range []string{"Spoke1", "Spoke2"} {
		x.expect(60*time.Second, spoke, "ping 192.168.11.1 source Loopback10 repeat 5 interval 100", "100 percent")
	}
	x.expect(30*time.Second, "Hub", "ping 192.168.22.2 source Loopback10 repeat 5 interval 100", "100 percent")
	x.expect(30*time.Second, "Hub", "ping 192.168.33.3 source Loopback10 repeat 5 interval 100", "100 percent")
	x.nothingLeaked()
	x.dissect("wan-nat")
}
