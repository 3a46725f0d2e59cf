package packet

import (
	"bytes"
	"testing"
)

func TestEncapsulationGrowsBothWaysAroundTheBytes(t *testing.T) {
	p := From([]byte("payload"))
	copy(p.Prepend(4), "head")
	copy(p.Append(4), "tail")
	if got := string(p.Bytes()); got != "headpayloadtail" {
		t.Fatalf("packet is %q", got)
	}
	p.TrimFront(4)
	p.Truncate(7)
	if got := string(p.Bytes()); got != "payload" {
		t.Fatalf("packet is %q after taking both off", got)
	}
	p.Release()
}

func TestReleasedDescriptorCarriesNoContextToItsNextUse(t *testing.T) {
	for range 64 {
		p := Get(100)
		if p.Ingress != 0 || p.VRF != 0 || p.SA != nil || p.Session != nil || p.OuterSrc.IsValid() || p.Flags != 0 || p.Hops != 0 {
			t.Fatal("a fresh packet has a context")
		}
		p.Ingress, p.VRF, p.Flags, p.Hops = 7, 8, FlagLocal, 3
		p.Release()
	}
}

func TestCloneIsIndependent(t *testing.T) {
	p := From(bytes.Repeat([]byte{1}, 3000))
	p.Ingress = 5
	q := p.Clone()
	p.Bytes()[0] = 9
	if q.Bytes()[0] != 1 || q.Ingress != 5 || q.Len() != 3000 {
		t.Fatal("the clone shares bytes or lost its context")
	}
	p.Release()
	q.Release()
}

func TestGetAndReleaseAllocateNothing(t *testing.T) {
	Get(1500).Release()
	if n := testing.AllocsPerRun(1000, func() { Get(1500).Release() }); n >= 1 {
		t.Fatalf("%v allocations per packet", n)
	}
}
