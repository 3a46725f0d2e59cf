package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Ended looks for packets of sessions that are over: who has given up an SA sends nothing more with it.
type Ended struct {
	// Grace is how long a packet may have been on its way to the link that was captured.
	Grace time.Duration

	ends map[sending]time.Time

	Frames int
	// Known counts ESP packets of SAs whose end is known, from before it: a search that has none of them has looked at nothing.
	Known int

	late []Late
}

// sending is an SA as its sender knows it: whom to, and the SPI that the receiver has chosen.
type sending struct {
	to  netip.Addr
	spi uint32
}

// Late is a packet of a session that was over.
type Late struct {
	Frame int
	To    netip.Addr
	SPI   uint32
	After time.Duration // the session's end
}

func (l Late) String() string {
	return fmt.Sprintf("frame %d: ESP 0x%08x to %s, %v after its session's end", l.Frame, l.SPI, l.To, l.After.Round(time.Millisecond))
}

// End says that nothing must be sent to an address with this SPI after that time.
func (e *Ended) End(at time.Time, to netip.Addr, spi uint32) {
	if e.ends == nil {
		e.ends = map[sending]time.Time{}
	}
	k := sending{to.Unmap(), spi}
	if old, known := e.ends[k]; !known || at.Before(old) {
		e.ends[k] = at
	}
}

// Ends is how many ends are known.
func (e *Ended) Ends() int { return len(e.ends) }

// File looks at every frame of a capture.
func (e *Ended) File(name string) error {
	_, err := EachOfAt(name, func(n int, at time.Time, frame []byte) error { e.Frame(n, at, frame); return nil })
	return err
}

// Frame looks at one frame.
func (e *Ended) Frame(n int, at time.Time, frame []byte) {
	e.Frames++
	to, spi, is := espOf(frame)
	if !is {
		return
	}
	end, known := e.ends[sending{to, spi}]
	switch after := at.Sub(end); {
	case !known:
	case after <= 0:
		e.Known++
	case after > e.Grace:
		if len(e.late) < maxFindings {
			e.late = append(e.late, Late{n, to, spi, after})
		}
	}
}

// Findings are the packets that must not be there.
func (e *Ended) Findings() []Late { return slices.Clone(e.late) }

// String is a line of summary.
func (e *Ended) String() string {
	return fmt.Sprintf("%d frames, %d sessions that ended: %d packets of them before, %d after", e.Frames, len(e.ends), e.Known, len(e.late))
}

// espOf reads where an ESP packet goes to, and its SPI: as IP protocol 50, or in UDP. A fragment but the first has none.
func espOf(frame []byte) (to netip.Addr, spi uint32, is bool) {
	const udp, esp = 17, 50
	_, to = outer(frame)
	at, next := 0, uint8(0)
	switch {
	case !to.IsValid():
		return
	case to.Is4():
		if binary.BigEndian.Uint16(frame[20:])&0x1fff != 0 {
			return
		}
		at, next = 14+max(int(frame[14]&15)*4, 20), frame[23]
	default:
		at, next = 54, frame[20]
	}
	if next == udp {
		if at+12 > len(frame) || binary.BigEndian.Uint16(frame[at:]) != 4500 && binary.BigEndian.Uint16(frame[at+2:]) != 4500 {
			return
		}
		at, next = at+8, esp
	}
	if next != esp || at+4 > len(frame) {
		return
	}
	spi = binary.BigEndian.Uint32(frame[at:])
	return to, spi, spi != 0 // 0 is IKE's marker
}
