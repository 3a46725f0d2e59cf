package netstack

import (
	"fmt"
	"net/netip"
	"time"

	"felloe/netstack/fib"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
)

// SendOptions are what a datagram's header may need. Zero fields have defaults.
type SendOptions struct {
	TTL   uint8 // 64
	TOS   uint8
	Flags packet.Flag
	// Interface and Via are the way that a datagram takes instead of the FIB's; Via is not valid when the destination is on
	// the interface's link.
	Interface *Interface
	Via       netip.Addr
}

// SendUDP sends a datagram through the VRF's FIB, in fragments when it must. A source without an address gets the one
// that SourceFor chooses.
func (v *VRF) SendUDP(src, dst netip.AddrPort, payload []byte, o SendOptions) error {
	to := dst.Addr().Unmap()
	from := src.Addr()
	if !from.IsValid() || from.IsUnspecified() {
		a, ok := v.SourceFor(to)
		if !ok {
			return fmt.Errorf("send to %v: %w", dst, v.whyNot(to))
		}
		from = a
	}
	from = from.Unmap()
	switch {
	case from.Is4() != to.Is4():
		return fmt.Errorf("send from %v to %v: addresses of different families: %w", src, dst, ErrMalformed)
	case len(payload) > 65535-ip.SizeV6-ip.SizeUDP:
		return fmt.Errorf("send %d bytes to %v: %w", len(payload), dst, ErrTooLong)
	case o.Interface == nil && v.fib.Lookup(to) == nil:
		return fmt.Errorf("send to %v: %w", dst, ErrNoRoute)
	}
	if o.TTL == 0 {
		o.TTL = 64
	}
	p := packet.From(payload)
	ip.PrependUDP(p, ip.Outer{Src: from, Dst: to, TTL: o.TTL, TOS: o.TOS, ID: uint16(v.d.ipID.Add(1))}, src.Port(), dst.Port())
	p.Flags = o.Flags
	if o.Interface != nil {
		via := o.Via
		if !via.IsValid() {
			via = to
		}
		return o.Interface.sendVia(p, via)
	}
	v.send(p)
	return nil
}

func (v *VRF) whyNot(dst netip.Addr) error {
	if v.fib.Lookup(dst) == nil {
		return ErrNoRoute
	}
	return ErrNoSource
}

// SendIP sends a whole IP packet of ours through the VRF's FIB. It takes the packet.
func (v *VRF) SendIP(p *packet.Packet) error {
	var h ip.Header
	if err := ip.Parse(p.Bytes(), &h); err != nil || h.Len != p.Len() {
		v.d.drop(p, dropMalformed)
		return fmt.Errorf("send: %w", ErrMalformed)
	}
	if e := v.fib.Lookup(h.Dst); e == nil || e.Kind == fib.Unreachable {
		v.d.drop(p, dropNoRoute)
		return fmt.Errorf("send to %v: %w", h.Dst, ErrNoRoute)
	}
	v.send(p)
	return nil
}

func (v *VRF) send(p *packet.Packet) {
	p.Flags |= packet.FlagLocal
	p.VRF = v.id
	w := v.d.worker()
	defer w.done()
	w.originate(v, append(w.local[:0], p))
}

func (o *Options) fragTick() time.Duration {
	if o.Reassembly.Timeout > 0 {
		return o.Reassembly.Timeout
	}
	return time.Second
}
