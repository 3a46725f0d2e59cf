package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NHRP is one NHRP packet of a capture. It is read here by the numbers of RFC 2332 and not by vpn/nhrp, which is what is
// being checked.
type NHRP struct {
	Frame              int
	OuterSrc, OuterDst netip.Addr
	// Encrypted tells that it was found inside of ESP.
	Encrypted bool
	// Raw begins with the fixed header.
	Raw []byte
}

// Packet types.
const (
	ResolutionRequest   = 1
	ResolutionReply     = 2
	RegistrationRequest = 3
	RegistrationReply   = 4
	PurgeRequest        = 5
	PurgeReply          = 6
	ErrorIndication     = 7
	TrafficIndication   = 8
)

// Layout is how an NHRP packet is built.
type Layout struct {
	Type          uint8
	RequestID     uint32
	SrcNBMA       netip.Addr
	SrcProto, Dst netip.Addr
	Extensions    []Extension
}

// Extension is one extension in the order of the packet, the End extension too.
type Extension struct {
	Type       uint16
	Compulsory bool
	Data       []byte
}

// Type of the packet.
func (n NHRP) Type() uint8 {
	if len(n.Raw) < 20 {
		return 0
	}
	return n.Raw[17]
}

func (n NHRP) String() string {
	how := "in clear"
	if n.Encrypted {
		how = "inside of ESP"
	}
	return fmt.Sprintf("frame %d: NHRP type %d from %s to %s %s", n.Frame, n.Type(), n.OuterSrc, n.OuterDst, how)
}

var errShort = errors.New("nhrp: the packet ends too early")

// Layout takes the packet apart.
func (n NHRP) Layout() (l Layout, err error) {
	b := n.Raw
	if len(b) < 28 {
		return l, errShort
	}
	l.Type = b[17]
	size, extensions := int(binary.BigEndian.Uint16(b[10:])), int(binary.BigEndian.Uint16(b[14:]))
	if size != len(b) {
		return l, fmt.Errorf("nhrp: the header says %d bytes, there are %d", size, len(b))
	}
	if b[16] != 1 {
		return l, fmt.Errorf("nhrp: version %d", b[16])
	}
	if l.Type != ErrorIndication && l.Type != TrafficIndication {
		l.RequestID = binary.BigEndian.Uint32(b[24:])
	}
	at := 28 // an indication has its error code and offset where others have flags and request ID
	for _, a := range []struct {
		to  *netip.Addr
		len uint8
	}{{&l.SrcNBMA, b[18] & 0x3f}, {nil, b[19] & 0x3f}, {&l.SrcProto, b[20]}, {&l.Dst, b[21]}} {
		end := at + int(a.len)
		if end > len(b) {
			return l, errShort
		}
		if a.to != nil && a.len > 0 {
			*a.to, _ = netip.AddrFromSlice(b[at:end])
		}
		at = end
	}
	if extensions == 0 {
		return l, nil
	}
	if extensions < at || extensions > len(b) {
		return l, fmt.Errorf("nhrp: extensions at %d in a packet of %d bytes", extensions, len(b))
	}
	for b = b[extensions:]; ; {
		if len(b) < 4 {
			return l, errShort
		}
		kind, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if 4+length > len(b) {
			return l, errShort
		}
		e := Extension{kind & 0x3fff, kind&0x8000 != 0, b[4 : 4+length]}
		l.Extensions = append(l.Extensions, e)
		b = b[4+length:]
		if e.Type == 0 {
			break
		}
	}
	if len(b) > 0 {
		return l, fmt.Errorf("nhrp: %d bytes behind the End extension", len(b))
	}
	return l, nil
}

// Order is the extensions' types, compulsory ones with a "!": "4! 5! 3! 9 7! 0!".
func (l Layout) Order() string {
	var s []string
	for _, e := range l.Extensions {
		mark := ""
		if e.Compulsory {
			mark = "!"
		}
		s = append(s, fmt.Sprintf("%d%s", e.Type, mark))
	}
	return strings.Join(s, " ")
}

// Authentication reads the authentication extension: two reserved bytes that are zero, the SPI 1, and the string.
func (l Layout) Authentication() (string, error) {
	i := slices.IndexFunc(l.Extensions, func(e Extension) bool { return e.Type == 7 })
	if i < 0 {
		return "", errors.New("nhrp: no authentication extension")
	}
	e := l.Extensions[i]
	if n := len(l.Extensions); i != n-2 {
		return "", fmt.Errorf("nhrp: the authentication extension is number %d of %d, not the last before End", i+1, n)
	}
	if !e.Compulsory || len(e.Data) < 5 || !slices.Equal(e.Data[:4], []byte{0, 0, 0, 1}) {
		return "", fmt.Errorf("nhrp: authentication extension: compulsory %v, %x", e.Compulsory, e.Data)
	}
	return string(e.Data[4:]), nil
}

// Like compares a packet's layout with a reference of the same type: the same extensions with the same compulsory bits in
// the same order. Extensions that are not compulsory may be missing on either side.
func (l Layout) Like(ref Layout) error {
	if l.Type != ref.Type {
		return fmt.Errorf("nhrp: type %d is not %d", l.Type, ref.Type)
	}
	must := func(from, in Layout) (order []string) {
		for _, e := range from.Extensions {
			if e.Compulsory || slices.ContainsFunc(in.Extensions, func(o Extension) bool { return o.Type == e.Type }) {
				order = append(order, fmt.Sprintf("%d/%v", e.Type, e.Compulsory))
			}
		}
		return order
	}
	if a, b := must(l, ref), must(ref, l); !slices.Equal(a, b) {
		return fmt.Errorf("nhrp: type %d has the extensions %s, the reference %s", l.Type, l.Order(), ref.Order())
	}
	return nil
}
