package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Each calls f with every frame of a pcap or pcapng file, numbered from 1 as tshark does. cut tells that the file ends
// within a frame, as a capture does whose writer was killed: what was there before has been seen.
func Each(r io.Reader, f func(n int, frame []byte) error) (cut bool, err error) {
	return EachAt(r, func(n int, _ time.Time, frame []byte) error { return f(n, frame) })
}

// EachAt is Each with the time that the frame was seen at.
func EachAt(r io.Reader, f func(n int, at time.Time, frame []byte) error) (cut bool, err error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return false, fmt.Errorf("not a capture: %w", err)
	}
	var next func() ([]byte, gopacket.CaptureInfo, error)
	if bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		ng, err := pcapgo.NewNgReader(b, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			return false, fmt.Errorf("pcapng: %w", err)
		}
		if ng.LinkType() != layers.LinkTypeEthernet {
			return false, fmt.Errorf("pcapng: link type %s, want Ethernet", ng.LinkType())
		}
		next = ng.ReadPacketData
	} else {
		old, err := pcapgo.NewReader(b)
		if err != nil {
			return false, fmt.Errorf("pcap: %w", err)
		}
		if old.LinkType() != layers.LinkTypeEthernet {
			return false, fmt.Errorf("pcap: link type %s, want Ethernet", old.LinkType())
		}
		next = old.ReadPacketData
	}
	for n := 1; ; n++ {
		frame, info, err := next()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("frame %d: %w", n, err)
		}
		if info.Length > len(frame) {
			return false, fmt.Errorf("frame %d was cut to %d of %d bytes: capture whole frames", n, len(frame), info.Length)
		}
		if err := f(n, info.Timestamp, frame); err != nil {
			return false, err
		}
	}
}

// EachOf is Each over a file.
func EachOf(file string, f func(n int, frame []byte) error) (cut bool, err error) {
	return EachOfAt(file, func(n int, _ time.Time, frame []byte) error { return f(n, frame) })
}

// EachOfAt is EachAt over a file.
func EachOfAt(file string, f func(n int, at time.Time, frame []byte) error) (cut bool, err error) {
	r, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if cut, err = EachAt(r, f); err != nil {
		return cut, fmt.Errorf("%s: %w", file, err)
	}
	return cut, nil
}
