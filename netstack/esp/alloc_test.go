//go:build !race

package esp

import (
	"fmt"
	"testing"

	"felloe/netstack/packet"
)

// The race detector empties sync.Pool on purpose, so this is not for it.
func TestSealAndOpenAllocateNothing(t *testing.T) {
	for _, s := range suites {
		for _, esn := range []bool{false, true} {
			p := params(s)
			p.ESN, p.UDPEncap = esn, true
			o, in := pair(t, p)
			payload := make([]byte, 1400)
			v := make([]*packet.Packet, 8)
			next, errs := make([]uint8, 8), make([]error, 8)
			if n := testing.AllocsPerRun(200, func() {
				for i := range v {
					v[i] = packet.From(payload)
				}
				if _, err := o.SealVector(v, 47); err != nil {
					t.Fatal(err)
				}
				for _, p := range v {
					p.TrimFront(udpHeaderLen)
				}
				in.OpenVector(v, next, errs)
				for _, err := range errs {
					if err != nil {
						t.Fatal(err)
					}
				}
				packet.ReleaseAll(v)
			}); n != 0 {
				t.Fatalf("%s esn=%v: %v allocations for 8 packets", s, esn, n)
			}
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, s := range []Suite{{ENCR_AES_GCM_16, 128, AUTH_NONE}, gcm256, {ENCR_AES_CBC, 128, AUTH_HMAC_SHA1_96}, cbc256, {ENCR_AES_CBC, 256, AUTH_HMAC_SHA2_512_256}} {
		for _, size := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%s/%d", s, size), func(b *testing.B) {
				o, _ := pair(b, params(s))
				p := packet.From(make([]byte, size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := o.Seal(p, 47); err != nil {
						b.Fatal(err)
					}
					p.TrimFront(headerLen + o.ivLen)
					p.Truncate(size)
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, s := range []Suite{gcm256, cbc256} {
		for _, size := range []int{64, 1400} {
			b.Run(fmt.Sprintf("%s/%d", s, size), func(b *testing.B) {
				pp := params(s)
				pp.Window = -1
				o, in := pair(b, pp)
				p := packet.From(make([]byte, size))
				if err := o.Seal(p, 47); err != nil {
					b.Fatal(err)
				}
				wire := append([]byte(nil), p.Bytes()...)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					p := packet.From(wire)
					if _, err := in.Open(p); err != nil {
						b.Fatal(err)
					}
					p.Release()
				}
			})
		}
	}
}
