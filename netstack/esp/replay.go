package esp

import "sync"

// window is an anti-replay window (RFC 6479): a ring of words in which bit seq mod size of the ring says that seq was
// seen. Moving forward clears the words that are passed. The ring has at least one word more than the window, so that
// clearing a whole word never forgets a number inside the window. Its methods are safe for concurrent use.
type window struct {
	mu   sync.Mutex
	top  uint64 // the highest number seen
	size uint64 // 0: everything but number 0 is new
	mask uint64
	bits []uint64
}

func newWindow(packets int) *window {
	if packets < 0 {
		return &window{}
	}
	if packets == 0 {
		packets = DefaultWindow
	}
	size := uint64(max(packets, MinWindow))
	words := uint64(2)
	for words < (size+63)/64+1 {
		words *= 2
	}
	return &window{size: size, mask: words - 1, bits: make([]uint64, words)}
}

// check tells whether seq may be new.
func (w *window) check(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fresh(seq)
}

// infer finds the upper half of an extended sequence number (RFC 4303 appendix A2) and checks it.
func (w *window) infer(low uint32) (seq uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq, ok = w.extend(low)
	return seq, ok && w.fresh(seq)
}

// mark records that seq was received and authentic. It reports false when another worker was faster.
func (w *window) mark(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.take(seq)
}

func (w *window) fresh(seq uint64) bool {
	switch {
	case seq == 0:
		return false // RFC 4303 §2.2: the first packet has number 1
	case w.size == 0 || seq > w.top:
		return true
	case w.top-seq >= w.size:
		return false
	}
	return w.bits[seq/64&w.mask]&(1<<(seq%64)) == 0
}

func (w *window) take(seq uint64) bool {
	if !w.fresh(seq) {
		return false
	}
	if w.size == 0 {
		w.top = max(w.top, seq)
		return true
	}
	if seq > w.top {
		from := w.top / 64
		steps := min(seq/64-from, w.mask+1)
		for i := uint64(1); i <= steps; i++ {
			w.bits[(from+i)&w.mask] = 0
		}
		w.top = seq
	}
	w.bits[seq/64&w.mask] |= 1 << (seq % 64)
	return true
}

func (w *window) extend(low uint32) (uint64, bool) {
	high, bottom := w.top>>32, uint32(w.top)-uint32(w.size-1)
	if uint32(w.top) >= uint32(w.size-1) {
		if low < bottom {
			if high++; high > 1<<32-1 {
				return 0, false
			}
		}
	} else if low >= bottom {
		if high == 0 {
			return 0, false // from before the first packet
		}
		high--
	}
	return high<<32 | uint64(low), true
}
