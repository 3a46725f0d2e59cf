package netstack

import (
	"net/netip"
	"testing"
)

func TestATunnelOnHoldIsDownUntilItIsLetGo(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	tun, err := d.AddTunnel(TunnelConfig{Name: "Tunnel0", Mode: GREPointToPoint, Source: netip.MustParseAddr("10.0.0.1"),
		Destination: netip.MustParseAddr("10.0.0.2"), Protected: true, Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	var told []bool
	tun.Interface().OnState(func(up bool) { told = append(told, up) })
	if tun.Interface().Up() || !tun.Config().Hold {
		t.Fatal("it is up")
	}
	tun.SetHold(false)
	if !tun.Interface().Up() {
		t.Fatal("it stays down")
	}
	tun.SetHold(true)
	tun.SetHold(true)
	if tun.Interface().Up() {
		t.Fatal("it stays up")
	}
	if len(told) != 3 || told[0] || !told[1] || told[2] {
		t.Errorf("told %v", told)
	}
	tun.SetDestination(netip.MustParseAddr("10.0.0.3"))
	if got := tun.Config().Destination; got != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("destination %v", got)
	}
}
