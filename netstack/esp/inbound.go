package esp

import (
	"encoding/binary"
	"sync/atomic"

	"felloe/netstack/packet"
)

// Inbound is the receiving direction of a Child SA. Make it with NewInbound; its methods are safe for concurrent use.
type Inbound struct {
	common
	window *window
	owner  atomic.Pointer[any]

	replays, auth, truncated, badPadding atomic.Uint64
}

var _ packet.SA = (*Inbound)(nil)

// NewInbound makes the receiving direction of a Child SA.
func NewInbound(p Params) (*Inbound, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	in := &Inbound{window: newWindow(p.Window)}
	if err := in.init(p); err != nil {
		return nil, err
	}
	return in, nil
}

// Open takes p, which starts at the ESP header, and leaves the payload, whose protocol it returns; p.SA is the SA then.
// On an error the packet's bytes are undefined: drop it.
func (in *Inbound) Open(p *packet.Packet) (next uint8, err error) {
	seq, err := in.precheck(p)
	if err != nil {
		return 0, in.count(err)
	}
	if !in.transform.open(p, seq) {
		return 0, in.count(ErrAuth)
	}
	if !in.window.mark(seq) {
		return 0, in.count(ErrReplay)
	}
	if next, err = in.unpad(p); err != nil {
		return 0, in.count(err)
	}
	in.account(1, uint64(p.Len()))
	return next, nil
}

// chunk is how many packets OpenVector takes through each step together.
const chunk = 64

// OpenVector opens the packets of v: for each i either errs[i] is nil and next[i] the protocol of its payload, or
// errs[i] says why it must be dropped. next and errs are as long as v.
func (in *Inbound) OpenVector(v []*packet.Packet, next []uint8, errs []error) {
	for len(v) > chunk {
		in.openChunk(v[:chunk], next, errs)
		v, next, errs = v[chunk:], next[chunk:], errs[chunk:]
	}
	in.openChunk(v, next, errs)
}

func (in *Inbound) openChunk(v []*packet.Packet, next []uint8, errs []error) {
	var seqs [chunk]uint64
	var packets, bytes uint64
	for i, p := range v {
		if seqs[i], errs[i] = in.precheck(p); errs[i] == nil && !in.transform.open(p, seqs[i]) {
			errs[i] = ErrAuth
		}
	}
	in.window.mu.Lock()
	for i := range v {
		if errs[i] == nil && !in.window.take(seqs[i]) {
			errs[i] = ErrReplay
		}
	}
	in.window.mu.Unlock()
	for i, p := range v {
		if errs[i] == nil {
			next[i], errs[i] = in.unpad(p)
		}
		if errs[i] != nil {
			in.count(errs[i])
			continue
		}
		packets++
		bytes += uint64(p.Len())
	}
	if packets > 0 {
		in.account(packets, bytes)
	}
}

// precheck is all that can be said before the integrity check.
func (in *Inbound) precheck(p *packet.Packet) (seq uint64, err error) {
	b := p.Bytes()
	if !in.fits(len(b)) {
		return 0, ErrTruncated
	}
	low, ok := binary.BigEndian.Uint32(b[4:]), false
	if in.esn {
		seq, ok = in.window.infer(low)
	} else {
		seq = uint64(low)
		ok = in.window.check(seq)
	}
	if !ok {
		return 0, ErrReplay
	}
	return seq, nil
}

// unpad leaves the payload of an authentic, decrypted packet.
func (in *Inbound) unpad(p *packet.Packet) (next uint8, err error) {
	b := p.Bytes()
	text := b[headerLen+in.ivLen : len(b)-in.icvLen]
	pad, next := int(text[len(text)-2]), text[len(text)-1]
	payload := len(text) - trailerLen - pad
	if payload < 0 {
		return 0, ErrPadding
	}
	// RFC 4303 §2.4: the receiver should look at the padding.
	for i, got := range text[payload : payload+pad] {
		if got != uint8(i+1) {
			return 0, ErrPadding
		}
	}
	p.TrimFront(headerLen + in.ivLen)
	p.Truncate(payload)
	p.SA = in
	return next, nil
}

// count counts a refusal and returns it.
func (in *Inbound) count(err error) error {
	switch err {
	case ErrReplay:
		in.replays.Add(1)
	case ErrAuth:
		in.auth.Add(1)
	case ErrTruncated:
		in.truncated.Add(1)
	case ErrPadding:
		in.badPadding.Add(1)
	}
	return err
}

// SetOwner says whose SA this is: the data plane's session.
func (in *Inbound) SetOwner(owner any) { in.owner.Store(&owner) }

// Owner is what SetOwner said, nil before.
func (in *Inbound) Owner() any {
	if o := in.owner.Load(); o != nil {
		return *o
	}
	return nil
}

// Sequence is the highest sequence number received.
func (in *Inbound) Sequence() uint64 {
	in.window.mu.Lock()
	defer in.window.mu.Unlock()
	return in.window.top
}

// Window is the size of the replay window in packets, 0 when there is none.
func (in *Inbound) Window() int { return int(in.window.size) }

// Counters are a snapshot.
func (in *Inbound) Counters() Counters {
	return Counters{
		Packets: in.packets.Load(), Bytes: in.bytes.Load(),
		Replay: in.replays.Load(), Auth: in.auth.Load(), Truncated: in.truncated.Load(), Padding: in.badPadding.Load(),
	}
}
