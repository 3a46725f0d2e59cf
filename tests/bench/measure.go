package main

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/packet"
)

var (
	gcm = esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}
	cbc = esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128}
)

// counted is how many vectors allocations are counted over.
const counted = 256

// work is one case.
type work struct {
	Name   string `json:"name"`
	Bytes  int    `json:"packet_bytes"`
	Routes int    `json:"routes,omitempty"`

	// prepare makes the k-th vector ready and is not measured; push is.
	prepare func(k int) error
	push    func()
	// check says what is wrong after all rounds.
	check func(packets int) error

	k       int
	windows []float64 // ns a packet

	mallocs, bytes uint64
}

// result is a row of the table.
type result struct {
	work
	NS     float64 `json:"ns"`
	Median float64 `json:"median_ns"`
	Allocs float64 `json:"allocs"`
	Alloc  float64 `json:"alloc_bytes"`
	Mpps   float64 `json:"mpps"`
	Gbps   float64 `json:"gbps"`
	// Ratio is NS over that of the cipher alone, 0 where there is no such case.
	Ratio float64 `json:"ratio_to_cipher,omitempty"`
}

var sizes = []int{64, 1400}

// cases are all works. Their vectors are shared: they run one after the other.
func cases() ([]*work, error) {
	var all []*work
	v := make([]*packet.Packet, vector)
	for _, n := range sizes {
		seal, open, err := bare(n)
		if err != nil {
			return nil, err
		}
		all = append(all, seal, open)
	}
	for _, suite := range []esp.Suite{gcm, cbc} {
		for _, routes := range []int{10, 10000} {
			if suite == cbc && routes != 10 {
				continue
			}
			r, err := newRouter(routes, suite)
			if err != nil {
				return nil, err
			}
			check := func(out *dead) func(int) error {
				return func(packets int) error {
					sent := out.sent
					out.sent = 0
					if sent < packets {
						return fmt.Errorf("%d packets went in, %d came out, drops: %v", packets, sent, r.Drops())
					}
					return nil
				}
			}
			for _, n := range sizes {
				if suite == gcm {
					all = append(all, &work{
						Name: "forward", Bytes: n, Routes: routes,
						prepare: func(k int) error { r.fill(v, 20, routes, n, k); return nil },
						push:    func() { r.lan.input(v) },
						check:   check(r.wan),
					})
				}
				all = append(all, &work{
					Name: "GRE+ESP encap " + suite.String(), Bytes: n, Routes: routes,
					prepare: func(k int) error { r.fill(v, 30, routes, n, k); return nil },
					push:    func() { r.lan.input(v) },
					check:   check(r.wan),
				}, &work{
					Name: "GRE+ESP decap " + suite.String(), Bytes: n, Routes: routes,
					prepare: func(k int) error { return r.fillSealed(v, n, k) },
					push:    func() { r.wan.input(v) },
					check:   check(r.lan),
				})
			}
		}
	}
	return all, nil
}

const (
	bareSeal = "bare AES-256-GCM seal"
	bareOpen = "bare AES-256-GCM open"
	encapGCM = "GRE+ESP encap aes-gcm-256"
	decapGCM = "GRE+ESP decap aes-gcm-256"
)

// bare is the cipher alone: one AEAD, one buffer, in place.
func bare(n int) (seal, open *work, err error) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	nonce, data, buf := make([]byte, 12), make([]byte, 8), make([]byte, n, n+aead.Overhead())
	nothing, fine := func(int) error { return nil }, func(int) error { return nil }
	seal = &work{Name: bareSeal, Bytes: n, prepare: nothing, check: fine, push: func() {
		for i := range uint64(vector) {
			binary.BigEndian.PutUint64(nonce[4:], i)
			aead.Seal(buf[:0], nonce, buf, data)
		}
	}}
	// The buffers that open in place are sealed before, outside the measured time.
	var sealed [vector][]byte
	plain := make([]byte, n)
	for i := range sealed {
		sealed[i] = make([]byte, 0, n+aead.Overhead())
	}
	wrong := 0
	open = &work{Name: bareOpen, Bytes: n, prepare: func(int) error {
		for i := range sealed {
			sealed[i] = aead.Seal(sealed[i][:0], nonce, plain, data)
		}
		return nil
	}, push: func() {
		for _, b := range sealed {
			if _, err := aead.Open(b[:0], nonce, b, data); err != nil {
				wrong++
			}
		}
	}, check: func(int) error {
		if wrong > 0 {
			return fmt.Errorf("%d of the cipher's own packets did not open", wrong)
		}
		return nil
	}}
	return seal, open, nil
}

// round runs windows of some vectors for d of measured time. A window is short enough to end before the kernel lets
// somebody else run, so the best one is undisturbed.
func (w *work) round(d time.Duration) error {
	const window = 8
	var spent time.Duration
	packets := 0
	for spent < d {
		var took time.Duration
		for range window {
			w.k++
			if err := w.prepare(w.k); err != nil {
				return fmt.Errorf("%s: %w", w.Name, err)
			}
			start := time.Now()
			w.push()
			took += time.Since(start)
		}
		spent += took
		packets += window * vector
		w.windows = append(w.windows, float64(took)/(window*vector))
	}
	if err := w.check(packets); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

// countAllocations runs some vectors more and counts what they allocate. It is apart from the rounds: reading the
// counters stops the world.
func (w *work) countAllocations() error {
	var before, after runtime.MemStats
	for range counted {
		w.k++
		if err := w.prepare(w.k); err != nil { // what this allocates is not the router's
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		runtime.ReadMemStats(&before)
		w.push()
		runtime.ReadMemStats(&after)
		w.mallocs += after.Mallocs - before.Mallocs
		w.bytes += after.TotalAlloc - before.TotalAlloc
	}
	if err := w.check(counted * vector); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

// measure lets the cases take turns for about total of measured time each.
func measure(all []*work, total time.Duration, rounds int) ([]result, error) {
	for _, w := range all { // fill the pools and the caches of all
		if err := w.round(time.Millisecond); err != nil {
			return nil, err
		}
		w.windows = w.windows[:0]
	}
	for range rounds {
		for _, w := range all {
			if err := w.round(total / time.Duration(rounds)); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range all {
		if err := w.countAllocations(); err != nil {
			return nil, err
		}
	}
	cipherNS := map[[2]any]float64{}
	for _, w := range all {
		slices.Sort(w.windows)
		cipherNS[[2]any{w.Name, w.Bytes}] = w.windows[0]
	}
	var out []result
	for _, w := range all {
		best := w.windows[0]
		r := result{work: *w, NS: best, Median: w.windows[len(w.windows)/2]}
		r.Allocs = float64(w.mallocs) / (counted * vector)
		r.Alloc = float64(w.bytes) / (counted * vector)
		r.Mpps, r.Gbps = 1e3/best, float64(w.Bytes)*8/best
		switch w.Name {
		case encapGCM:
			if c := cipherNS[[2]any{bareSeal, w.Bytes}]; c > 0 {
				r.Ratio = best / c
			}
		case decapGCM:
			if c := cipherNS[[2]any{bareOpen, w.Bytes}]; c > 0 {
				r.Ratio = best / c
			}
		}
		out = append(out, r)
	}
	return out, nil
}
