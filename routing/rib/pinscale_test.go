//go:build unix

package rib

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// worked is the processor time that this process has had: that of the clock says how busy the machine is.
func worked(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestManyPinsFollowADefaultRoute(t *testing.T) {
	b, pins := wan(t)
	const many = 10000
	for i := range many {
		pins.Set(fmt.Sprintf("Virtual-Access%d", i+1), PinOptions{RIB: b.RIB, Far: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}, Avoid: []string{"Tunnel1"}})
	}
	begun := worked(t)
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	b.want("198.18.7.7/32", "forward 1/172.16.2.254")
	b.DeleteIKE(pfx("0.0.0.0/0"), "Tunnel1")
	b.want("198.18.7.7/32", "none")
	if took := worked(t) - begun; took > 10*time.Second { // half a second; twenty-five when each asks all others
		t.Errorf("it took %v", took)
	}
	for i := range many {
		pins.Remove(fmt.Sprintf("Virtual-Access%d", i+1))
	}
	if len(pins.asked)+len(pins.tunnels)+b.pins.Size() != 0 {
		t.Errorf("%d, %d and %d are left", len(pins.asked), len(pins.tunnels), b.pins.Size())
	}
}
