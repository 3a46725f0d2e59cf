package arp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Size of a packet in bytes.
const Size = 28

// Operations.
const (
	Request uint16 = 1
	Reply   uint16 = 2
)

var (
	ErrTruncated   = errors.New("arp: packet is too short")
	ErrUnsupported = errors.New("arp: packet is not for IPv4 over Ethernet")
	ErrSender      = errors.New("arp: sender hardware address is not a station's")
)

// Packet is an ARP packet; the fields are in the order of the wire.
type Packet struct {
	Op        uint16
	SenderMAC [6]byte
	SenderIP  netip.Addr
	TargetMAC [6]byte
	TargetIP  netip.Addr
}

// Parse reads a packet.
func Parse(b []byte) (Packet, error) {
	if len(b) < Size {
		return Packet{}, ErrTruncated
	}
	if binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 || b[4] != 6 || b[5] != 4 {
		return Packet{}, ErrUnsupported
	}
	p := Packet{
		Op:        binary.BigEndian.Uint16(b[6:]),
		SenderMAC: [6]byte(b[8:14]), SenderIP: netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: [6]byte(b[18:24]), TargetIP: netip.AddrFrom4([4]byte(b[24:28])),
	}
	if p.Op != Request && p.Op != Reply {
		return Packet{}, ErrUnsupported
	}
	if p.SenderMAC[0]&1 != 0 || p.SenderMAC == [6]byte{} {
		return Packet{}, ErrSender
	}
	return p, nil
}

// Put writes the packet to b, which has room for Size bytes.
func (p *Packet) Put(b []byte) {
	_ = b[Size-1]
	copy(b, "\x00\x01\x08\x00\x06\x04")
	binary.BigEndian.PutUint16(b[6:], p.Op)
	copy(b[8:], p.SenderMAC[:])
	sender, target := p.SenderIP.As4(), p.TargetIP.As4()
	copy(b[14:], sender[:])
	copy(b[18:], p.TargetMAC[:])
	copy(b[24:], target[:])
}

// Gratuitous tells whether the packet announces its sender's address to everybody (RFC 5227 §3).
func (p *Packet) Gratuitous() bool { return p.SenderIP == p.TargetIP }

// Probe tells whether the packet asks for an address without claiming one (RFC 5227 §1.1).
func (p *Packet) Probe() bool { return p.SenderIP.IsUnspecified() }
