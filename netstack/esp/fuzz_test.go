package esp

import (
	"bytes"
	"testing"

	"felloe/netstack/packet"
)

// FuzzOpen feeds bytes from anywhere. Whoever does not know the keys must not get a packet opened.
func FuzzOpen(f *testing.F) {
	for _, s := range []Suite{gcm256, cbc256} {
		o, _ := pair(f, params(s))
		p := packet.From([]byte("a seed of some bytes"))
		if err := o.Seal(p, 47); err != nil {
			f.Fatal(err)
		}
		f.Add(s == cbc256, false, p.Bytes()[:len(p.Bytes())-1])
		f.Add(s == cbc256, true, p.Bytes()[:headerLen+o.ivLen])
	}
	f.Add(false, false, []byte{})
	f.Fuzz(func(t *testing.T, cbc, esn bool, b []byte) {
		if len(b) > 65536 {
			return
		}
		p := params(gcm256)
		if cbc {
			p = params(cbc256)
		}
		// Not the keys of the seeds.
		p.ESN, p.EncrKey = esn, keyOf(len(p.EncrKey), 200)
		p.IntegKey = keyOf(len(p.IntegKey), 17)
		_, in := pair(t, p)
		q := packet.From(b)
		defer q.Release()
		if _, err := in.Open(q); err == nil {
			t.Fatal("a packet opened that nobody sealed")
		}
		if in.Sequence() != 0 {
			t.Fatal("a forgery moved the window")
		}
	})
}

// FuzzMutated seals a payload, changes the packet, and demands that it does not open.
func FuzzMutated(f *testing.F) {
	f.Add(false, false, []byte("payload"), uint16(3), byte(1), uint8(0))
	f.Add(true, true, []byte("another payload"), uint16(30), byte(0x80), uint8(2))
	f.Fuzz(func(t *testing.T, cbc, esn bool, payload []byte, at uint16, flip byte, cut uint8) {
		if len(payload) > 4096 {
			return
		}
		pp := params(gcm256)
		if cbc {
			pp = params(cbc256)
		}
		pp.ESN = esn
		o, in := pair(t, pp)
		p := packet.From(payload)
		defer p.Release()
		if err := o.Seal(p, 47); err != nil {
			t.Fatal(err)
		}
		sealed := bytes.Clone(p.Bytes())
		p.Truncate(max(0, p.Len()-int(cut)))
		if p.Len() > 0 {
			p.Bytes()[int(at)%p.Len()] ^= flip
		}
		same := bytes.Equal(p.Bytes(), sealed)
		_, err := in.Open(p)
		if same != (err == nil) {
			t.Fatalf("unchanged: %v, opened: %v", same, err)
		}
		if same && !bytes.Equal(p.Bytes(), payload) {
			t.Fatal("another payload came out")
		}
	})
}

// FuzzWindow compares the ring with a set of numbers.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 1, 1, 1, 100, 100})
	f.Fuzz(func(t *testing.T, steps []byte) {
		w, m := newWindow(MinWindow), &model{size: MinWindow, seen: map[uint64]bool{}}
		seq := uint64(0)
		for _, s := range steps {
			seq += uint64(int64(int8(s)))
			if seq > 1<<40 {
				seq = 0
			}
			if got, want := w.mark(seq), m.take(seq); got != want {
				t.Fatalf("%d: %v, want %v", seq, got, want)
			}
		}
	})
}
