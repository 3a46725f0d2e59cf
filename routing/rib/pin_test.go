package rib

import (
	"net/netip"
	"testing"
)

// wan is a spoke: Gig1 172.16.2.2/24 (1), Tunnel1 10.1.1.177/32 (2), Gig2 172.17.2.2/24 (3), Tunnel2 (4), and a default
// route by Gig1 of distance 10.
func wan(t *testing.T) (*bench, *Pins) {
	b := newBench(t, Options{})
	b.SetInterface("Gig1", 1, true, []netip.Prefix{pfx("172.16.2.2/24"), pfx("2001:db8:2::2/64")})
	b.SetInterface("Tunnel1", 2, true, []netip.Prefix{pfx("10.1.1.177/32")})
	b.SetInterface("Gig2", 3, true, []netip.Prefix{pfx("172.17.2.2/24")})
	b.SetInterface("Tunnel2", 4, true, []netip.Prefix{pfx("10.2.2.2/32")})
	b.Update(Static, "config", pfx("0.0.0.0/0"), []Path{{Source: Static, Distance: 10, NextHops: []NextHop{{Via: ip("172.16.2.254")}}}})
	b.Update(Static, "config", pfx("::/0"), []Path{{Source: Static, Distance: 10, NextHops: []NextHop{{Via: ip("2001:db8:2::fe")}}}})
	return b, &Pins{}
}

func TestTheFarEndOfATunnelStaysOutsideWhateverTheFarEndTells(t *testing.T) {
	b, pins := wan(t)
	pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1"), ip("2001:db8:25::1")}})
	b.want("172.25.1.1/32", "none")
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	b.SetIKE(pfx("::/0"), "Tunnel1", 1, 0)
	b.want("0.0.0.0/0", "forward 2")
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
	b.want("2001:db8:25::1/128", "forward 1/2001:db8:2::fe")
	if got := b.shown("172.25.1.1/32"); got != "T [10/0] via 172.16.2.254" {
		t.Errorf("shown as %q", got)
	}
	// Closer ones, the address itself among them, and a connected one.
	b.SetIKE(pfx("172.25.0.0/16"), "Tunnel1", 1, 0)
	b.SetIKE(pfx("172.25.1.1/32"), "Tunnel1", 1, 0)
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
	b.want("172.25.0.0/16", "forward 2")
	// The way outside changes though the table's choice does not.
	b.Update(Static, "config", pfx("0.0.0.0/0"), []Path{{Source: Static, Distance: 10, NextHops: []NextHop{{Via: ip("172.17.2.254")}}}})
	b.want("172.25.1.1/32", "forward 3/172.17.2.254")
	b.SetInterface("Gig2", 3, false, nil)
	b.want("172.25.1.1/32", "unreachable")
	b.want("0.0.0.0/0", "forward 2")
	b.SetInterface("Gig2", 3, true, []netip.Prefix{pfx("172.17.2.2/24")})
	b.want("172.25.1.1/32", "forward 3/172.17.2.254")
	// A real host route is better.
	b.Update(Static, "config", pfx("172.25.1.1/32"), via("172.16.2.253"))
	b.want("172.25.1.1/32", "forward 1/172.16.2.253")
	b.Withdraw(Static, "config", pfx("172.25.1.1/32"))
	for _, p := range []string{"0.0.0.0/0", "172.25.0.0/16", "172.25.1.1/32", "::/0"} {
		b.DeleteIKE(pfx(p), "Tunnel1")
	}
	b.want("172.25.1.1/32", "none")
	b.want("2001:db8:25::1/128", "none")
	b.want("0.0.0.0/0", "forward 3/172.17.2.254")
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	b.want("172.25.1.1/32", "forward 3/172.17.2.254")
	pins.Remove("Tunnel1")
	b.want("172.25.1.1/32", "none")
	if len(b.entries) == 0 || b.entries[pfx("172.25.1.1/32")] != nil {
		t.Error("what is not pinned any more is remembered")
	}
}

func TestAnotherTunnelThatLeadsThroughItIsNoWayOutEither(t *testing.T) {
	b, pins := wan(t)
	pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1")}})
	pins.Set("Tunnel2", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("10.9.9.9")}})
	b.SetIKE(pfx("10.9.9.0/24"), "Tunnel1", 1, 0)   // Tunnel2 runs inside Tunnel1: fine
	b.SetIKE(pfx("172.25.0.0/16"), "Tunnel2", 1, 0) // and says that it leads to Tunnel1's far end
	b.want("10.9.9.9/32", "none")
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
	// Tunnel2 goes another way: then it may.
	b.Update(Static, "config", pfx("10.9.9.9/32"), via("172.17.2.254"))
	b.want("172.25.1.1/32", "none")
	b.want("172.25.0.0/16", "forward 4")
	// And back: one of the two goes outside, and it is the one whose way has changed.
	b.Withdraw(Static, "config", pfx("10.9.9.9/32"))
	b.want("10.9.9.9/32", "forward 1/172.16.2.254")
	b.want("172.25.1.1/32", "none")
}

func TestTunnelsInEachOtherAcrossVRFsFindAWayOut(t *testing.T) {
	b, pins := wan(t)
	in := newBench(t, Options{VRF: "inside"})
	in.SetInterface("Tunnel9", 9, true, []netip.Prefix{pfx("10.5.5.5/32")})
	pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1")}})
	pins.Set("Tunnel9", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.26.1.1")}})
	// Tunnel2 is in the default VRF; its outer packets are in the VRF inside, where Tunnel9 carries them.
	pins.Set("Tunnel2", PinOptions{RIB: in.RIB, Far: []netip.Addr{ip("10.8.8.8")}})
	in.SetIKE(pfx("0.0.0.0/0"), "Tunnel9", 1, 0)
	b.SetIKE(pfx("172.26.0.0/16"), "Tunnel2", 1, 0)
	b.want("172.26.1.1/32", "forward 1/172.16.2.254")
	in.DeleteIKE(pfx("0.0.0.0/0"), "Tunnel9")
	b.want("172.26.1.1/32", "none")
}

func TestAPinPrefersTheInterfaceOfItsSource(t *testing.T) {
	b, pins := wan(t)
	b.Update(Static, "config", pfx("0.0.0.0/0"), []Path{{Source: Static, Distance: 10, NextHops: []NextHop{{Via: ip("172.16.2.254")}}},
		{Source: Static, Distance: 20, NextHops: []NextHop{{Via: ip("172.17.2.254")}}}})
	set := func(prefer string) {
		pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1")}, Prefer: prefer})
	}
	set("Gig1")
	b.want("172.25.1.1/32", "none")
	set("Gig2")
	b.want("172.25.1.1/32", "forward 3/172.17.2.254")
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	b.want("172.25.1.1/32", "forward 3/172.17.2.254")
	b.SetInterface("Gig2", 3, false, nil)
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
	set("Tunnel9")
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
}

func TestWhatIsDroppedOnPurposeStaysDropped(t *testing.T) {
	b, pins := wan(t)
	b.Update(Static, "config", pfx("172.25.0.0/16"), []Path{{Source: Static, Discard: true}})
	pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1")}})
	b.want("172.25.1.1/32", "none")
	b.SetIKE(pfx("172.25.1.0/24"), "Tunnel1", 1, 0)
	b.want("172.25.1.1/32", "discard")
}

func TestATableThatDefersItsWorkPinsToo(t *testing.T) {
	var later []func()
	b := newBench(t, Options{Defer: func(f func()) { later = append(later, f) }})
	run := func() {
		for len(later) > 0 {
			f := later[0]
			later = later[1:]
			f()
		}
	}
	b.SetInterface("Gig1", 1, true, []netip.Prefix{pfx("172.16.2.2/24")})
	b.SetInterface("Tunnel1", 2, true, nil)
	b.Update(Static, "config", pfx("0.0.0.0/0"), []Path{{Source: Static, Distance: 10, NextHops: []NextHop{{Via: ip("172.16.2.254")}}}})
	pins := &Pins{}
	pins.Set("Tunnel1", PinOptions{RIB: b.RIB, Far: []netip.Addr{ip("172.25.1.1")}})
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	run()
	b.want("172.25.1.1/32", "forward 1/172.16.2.254")
	// One turn takes the route away and brings it back: nothing is told to the FIB.
	n := len(b.batches)
	b.DeleteIKE(pfx("0.0.0.0/0"), "Tunnel1")
	b.SetIKE(pfx("0.0.0.0/0"), "Tunnel1", 1, 0)
	run()
	if len(b.batches) != n {
		t.Errorf("told %v", b.batches[n:])
	}
}
