package pcapng

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Link types (https://www.tcpdump.org/linktypes.html).
const (
	LinkEthernet uint16 = 1
	// LinkRaw: packets begin with the IP header.
	LinkRaw uint16 = 101
)

// Direction is which way a packet went, seen from the interface.
type Direction uint8

const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// Types of secrets that are registered.
const (
	SecretsTLS       uint32 = 0x544c534b
	SecretsSSH       uint32 = 0x5353484b
	SecretsWireGuard uint32 = 0x57474b4c
)

var (
	// ErrInterface says that a packet names an interface that was not added.
	ErrInterface = errors.New("pcapng: no such interface")
	// ErrClosed says that the file is complete.
	ErrClosed = errors.New("pcapng: writer is closed")
)

const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6
	blockSecrets    = 10

	optEnd = 0
	// Options of a section, of an interface, of a packet, of statistics: numbers begin anew in each.
	optComment   = 1
	shbHardware  = 2
	shbOS        = 3
	shbUserAppl  = 4
	ifName       = 2
	ifDesc       = 3
	ifMAC        = 6
	ifSpeed      = 8
	ifResolution = 9
	epbFlags     = 2
	isbReceived  = 4
	isbDropped   = 5
)

// Section describes the file.
type Section struct {
	Hardware, OS, Application, Comment string
}

// Interface describes a link of the file.
type Interface struct {
	Name, Description string
	// LinkType is LinkEthernet when zero.
	LinkType uint16
	// SnapLen is how many bytes of a packet are kept, 0 for all.
	SnapLen   uint32
	MAC       [6]byte
	SpeedMbps int
}

// Packet is what there is to say of a packet beside its bytes.
type Packet struct {
	// Interface is what AddInterface returned.
	Interface int
	Time      time.Time
	Direction Direction
	// Length is the packet's true length if the bytes are only its beginning, else 0.
	Length  int
	Comment string
}

// Writer writes a file. Its methods are safe for concurrent use. After an error of the file underneath all fail with it.
type Writer struct {
	mu         sync.Mutex
	w          *bufio.Writer
	interfaces []Interface
	block      []byte // everything of a block but a packet's bytes
	err        error
}

// NewWriter begins a file. What is written stays in a buffer until Flush or Close.
func NewWriter(w io.Writer, s Section) (*Writer, error) {
	p := &Writer{w: bufio.NewWriterSize(w, 64<<10)}
	p.begin(blockSection)
	p.u32(0x1a2b3c4d) // byte order
	p.u16(1)          // version 1.0
	p.u16(0)
	p.u32(0xffffffff) // the section's length is not known
	p.u32(0xffffffff)
	p.text(shbHardware, s.Hardware)
	p.text(shbOS, s.OS)
	p.text(shbUserAppl, s.Application)
	p.text(optComment, s.Comment)
	p.endOptions()
	p.end()
	return p, p.err
}

// AddInterface adds a link and returns its number in this file.
func (p *Writer) AddInterface(i Interface) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.LinkType == 0 {
		i.LinkType = LinkEthernet
	}
	p.begin(blockInterface)
	p.u16(i.LinkType)
	p.u16(0)
	p.u32(i.SnapLen)
	p.text(ifName, i.Name)
	p.text(ifDesc, i.Description)
	if i.MAC != [6]byte{} {
		p.option(ifMAC, i.MAC[:])
	}
	if i.SpeedMbps > 0 {
		p.option64(ifSpeed, uint64(i.SpeedMbps)*1e6)
	}
	p.option(ifResolution, []byte{9}) // nanoseconds
	p.endOptions()
	p.end()
	p.interfaces = append(p.interfaces, i)
	return len(p.interfaces) - 1, p.err
}

// Write writes a packet. b is not kept.
func (p *Writer) Write(m Packet, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Interface < 0 || m.Interface >= len(p.interfaces) {
		return fmt.Errorf("%w: %d of %d", ErrInterface, m.Interface, len(p.interfaces))
	}
	length := max(m.Length, len(b))
	if snap := p.interfaces[m.Interface].SnapLen; snap > 0 && len(b) > int(snap) {
		b = b[:snap]
	}
	p.begin(blockPacket)
	p.u32(uint32(m.Interface))
	p.time(m.Time)
	p.u32(uint32(len(b)))
	p.u32(uint32(length))
	head := len(p.block)
	p.pad(len(b))
	if m.Direction != Unknown {
		p.u16(epbFlags)
		p.u16(4)
		p.u32(uint32(m.Direction))
	}
	p.text(optComment, m.Comment)
	if m.Direction != Unknown || m.Comment != "" {
		p.endOptions()
	}
	p.endAround(head, b)
	return p.err
}

// WriteSecrets puts keys into the file; they hold for the packets behind them.
func (p *Writer) WriteSecrets(kind uint32, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(blockSecrets)
	p.u32(kind)
	p.u32(uint32(len(data)))
	head := len(p.block)
	p.pad(len(data))
	p.endAround(head, data)
	return p.err
}

// WriteStatistics says how many packets an interface received and lost so far.
func (p *Writer) WriteStatistics(id int, at time.Time, received, dropped uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id < 0 || id >= len(p.interfaces) {
		return fmt.Errorf("%w: %d of %d", ErrInterface, id, len(p.interfaces))
	}
	p.begin(blockStatistics)
	p.u32(uint32(id))
	p.time(at)
	p.option64(isbReceived, received)
	p.option64(isbDropped, dropped)
	p.endOptions()
	p.end()
	return p.err
}

// Flush hands everything over to the file underneath.
func (p *Writer) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flush()
}

func (p *Writer) flush() error {
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return p.err
}

// Close flushes; later calls fail with ErrClosed. The file underneath is the caller's to close.
func (p *Writer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.flush()
	if p.err = err; err == nil {
		p.err = ErrClosed
	}
	return err
}

func (p *Writer) begin(kind uint32) {
	p.block = p.block[:0]
	p.u32(kind)
	p.u32(0) // the length, when it is known
}

func (p *Writer) u16(v uint16) { p.block = binary.LittleEndian.AppendUint16(p.block, v) }
func (p *Writer) u32(v uint32) { p.block = binary.LittleEndian.AppendUint32(p.block, v) }

func (p *Writer) time(t time.Time) {
	ns := uint64(t.UnixNano())
	p.u32(uint32(ns >> 32))
	p.u32(uint32(ns))
}

// pad fills up what follows n bytes to a multiple of four.
func (p *Writer) pad(n int) {
	for ; n%4 != 0; n++ {
		p.block = append(p.block, 0)
	}
}

func (p *Writer) option(code uint16, value []byte) {
	p.u16(code)
	p.u16(uint16(len(value)))
	p.block = append(p.block, value...)
	p.pad(len(value))
}

func (p *Writer) option64(code uint16, v uint64) {
	p.u16(code)
	p.u16(8)
	p.block = binary.LittleEndian.AppendUint64(p.block, v)
}

// text is an option that is left out when it is empty.
func (p *Writer) text(code uint16, s string) {
	if s == "" {
		return
	}
	s = s[:min(len(s), 65535)]
	p.u16(code)
	p.u16(uint16(len(s)))
	p.block = append(p.block, s...)
	p.pad(len(s))
}

func (p *Writer) endOptions() { p.u32(optEnd) }

func (p *Writer) end() { p.endAround(len(p.block), nil) }

// endAround completes a block that has data behind its first head bytes, and writes it.
func (p *Writer) endAround(head int, data []byte) {
	total := uint32(len(p.block) + len(data) + 4)
	p.u32(total)
	binary.LittleEndian.PutUint32(p.block[4:], total)
	for _, part := range [][]byte{p.block[:head], data, p.block[head:]} {
		if p.err == nil {
			_, p.err = p.w.Write(part)
		}
	}
}
