package message

import (
	"fmt"
	"net/netip"
)

// Type is ar$op.type.
type Type uint8

const (
	ResolutionRequest   Type = 1
	ResolutionReply     Type = 2
	RegistrationRequest Type = 3
	RegistrationReply   Type = 4
	PurgeRequest        Type = 5
	PurgeReply          Type = 6
	ErrorIndication     Type = 7
	TrafficIndication   Type = 8 // Cisco: a redirect
	maxType                  = TrafficIndication
)

var typeNames = [...]string{"", "resolution request", "resolution reply", "registration request", "registration reply",
	"purge request", "purge reply", "error indication", "traffic indication"}

func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Request reports whether the packet travels towards its destination protocol address and is answered.
func (t Type) Request() bool {
	return t == ResolutionRequest || t == RegistrationRequest || t == PurgeRequest
}

// Reply reports whether the packet travels back to its source protocol address.
func (t Type) Reply() bool { return t == ResolutionReply || t == RegistrationReply || t == PurgeReply }

// Indication reports whether the packet carries another one instead of CIEs.
func (t Type) Indication() bool { return t == ErrorIndication || t == TrafficIndication }

// Numbers of the fixed header.
const (
	Version = 1 // ar$op.version: NHRP of RFC 2332

	AFNIPv4 uint16 = 1
	AFNIPv6 uint16 = 2

	ProtocolIPv4 uint16 = 0x0800
	ProtocolIPv6 uint16 = 0x86dd
)

// Flags of resolution requests and replies (RFC 2332 §5.2.1), of registrations (§5.2.3) and of purges (§5.2.5).
const (
	FlagRouter        uint16 = 0x8000 // Q: the source is a router
	FlagAuthoritative uint16 = 0x4000 // A
	FlagDestStable    uint16 = 0x2000 // B in replies: the answer is stable
	FlagUniqueAnswer  uint16 = 0x1000 // U
	FlagSourceStable  uint16 = 0x0800 // S

	FlagUnique uint16 = 0x8000 // registration: the binding must not be replaced by another NBMA address

	FlagNoReply uint16 = 0x8000 // purge: no reply wanted

	FlagNAT uint16 = 0x0002 // Cisco: the sender understands the NAT address extension
)

// Code is the result in a CIE (RFC 2332 §5.2.0.1).
type Code uint8

const (
	CodeSuccess               Code = 0
	CodeProhibited            Code = 4
	CodeInsufficientResources Code = 5
	CodeNoBinding             Code = 12
	CodeNotUnique             Code = 13
	CodeAlreadyRegistered     Code = 14
)

func (c Code) String() string {
	switch c {
	case CodeSuccess:
		return "success"
	case CodeProhibited:
		return "administratively prohibited"
	case CodeInsufficientResources:
		return "insufficient resources"
	case CodeNoBinding, 11: // FRR numbers it 11
		return "no address binding exists"
	case CodeNotUnique:
		return "binding exists but is not unique"
	case CodeAlreadyRegistered:
		return "unique address already registered"
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// ErrorCode is the reason in an error indication (RFC 2332 §5.2.7).
type ErrorCode uint16

const (
	ErrorUnrecognizedExtension ErrorCode = 1
	ErrorLoop                  ErrorCode = 3
	ErrorUnreachable           ErrorCode = 6
	ErrorProtocol              ErrorCode = 7
	ErrorSizeExceeded          ErrorCode = 8
	ErrorInvalidExtension      ErrorCode = 9
	ErrorInvalidReply          ErrorCode = 10
	ErrorAuthentication        ErrorCode = 11
	ErrorHopCount              ErrorCode = 15
)

func (c ErrorCode) String() string {
	switch c {
	case ErrorUnrecognizedExtension:
		return "unrecognized extension"
	case ErrorLoop:
		return "loop detected"
	case ErrorUnreachable:
		return "protocol address unreachable"
	case ErrorProtocol:
		return "protocol error"
	case ErrorSizeExceeded:
		return "packet size exceeded"
	case ErrorInvalidExtension:
		return "invalid extension"
	case ErrorInvalidReply:
		return "invalid resolution reply"
	case ErrorAuthentication, 12: // Cisco has been seen with 12
		return "authentication failure"
	case ErrorHopCount:
		return "hop count exceeded"
	}
	return fmt.Sprintf("error %d", uint16(c))
}

// PrefixUnique is the prefix length of a CIE that stands for exactly the one address (RFC 2332 §5.2.0.1).
const PrefixUnique = 0xff

// CIE is a client information entry. Absent addresses are the zero Addr.
type CIE struct {
	Code       Code
	PrefixLen  uint8
	MTU        uint16
	HoldTime   uint16 // seconds
	NBMA       netip.Addr
	Proto      netip.Addr
	Preference uint8
}

// Prefix is the addresses that the entry speaks for: those of its protocol address, or of fallback when it has none.
// A length of 0, 255, or beyond the family's is the one address.
func (c *CIE) Prefix(fallback netip.Addr) netip.Prefix {
	a := c.Proto
	if !a.IsValid() {
		a = fallback
	}
	if !a.IsValid() {
		return netip.Prefix{}
	}
	n := int(c.PrefixLen)
	if n == 0 || n > a.BitLen() {
		n = a.BitLen()
	}
	p, _ := a.Prefix(n)
	return p
}

// ExtensionType is the 14-bit number of an extension.
type ExtensionType uint16

const (
	ExtEnd            ExtensionType = 0
	ExtResponder      ExtensionType = 3
	ExtForwardTransit ExtensionType = 4
	ExtReverseTransit ExtensionType = 5
	ExtAuthentication ExtensionType = 7
	ExtVendor         ExtensionType = 8
	ExtNATAddress     ExtensionType = 9
)

// CIEs reports whether an extension of this type holds client information entries.
func (t ExtensionType) CIEs() bool {
	switch t {
	case ExtResponder, ExtForwardTransit, ExtReverseTransit, ExtNATAddress:
		return true
	}
	return false
}

// AnyFamily reports whether the protocol addresses in an extension of this type may be of another family than the packet's:
// FRR names itself as the responder of an IPv6 question by its IPv4 address. Nothing is decided by it.
func (t ExtensionType) AnyFamily() bool { return t == ExtResponder }

// Known reports whether the router understands an extension of this type.
func (t ExtensionType) Known() bool {
	return t.CIEs() || t == ExtEnd || t == ExtAuthentication || t == ExtVendor
}

// Extension is one extension: CIEs for the types that hold them, else Data.
type Extension struct {
	Type       ExtensionType
	Compulsory bool
	CIEs       []CIE
	Data       []byte
}

// Packet is one NHRP packet. The End extension is implied; HopCount and the addresses are as on the wire.
type Packet struct {
	// AFN and Protocol are the families of the NBMA and protocol addresses. Encode derives a zero one from the
	// addresses.
	AFN, Protocol uint16
	HopCount      uint8
	Type          Type
	Flags         uint16 // not in indications
	RequestID     uint32 // not in indications

	ErrorCode   ErrorCode // error indications only
	ErrorOffset uint16

	SrcNBMA            netip.Addr
	SrcProto, DstProto netip.Addr

	CIEs    []CIE
	Payload []byte // indications: the packet that caused them

	Extensions []Extension
}

// Extension returns the first extension of a type, or nil.
func (p *Packet) Extension(t ExtensionType) *Extension {
	for i := range p.Extensions {
		if p.Extensions[i].Type == t {
			return &p.Extensions[i]
		}
	}
	return nil
}

// authenticationSPI is the SPI of Cisco's clear-text authentication, after two reserved bytes.
var authenticationSPI = [4]byte{0, 0, 0, 1}

// Authentication makes the extension for a secret.
func Authentication(secret string) Extension {
	return Extension{Type: ExtAuthentication, Compulsory: true, Data: append(authenticationSPI[:len(authenticationSPI):4], secret...)}
}

// Secret returns the secret of an authentication extension; ok says that it is of the clear-text kind.
func (e *Extension) Secret() (secret []byte, ok bool) {
	if e.Type != ExtAuthentication || len(e.Data) < 4 || [4]byte(e.Data[:4]) != authenticationSPI {
		return nil, false
	}
	return e.Data[4:], true
}

// SetAuthentication makes the packet carry exactly one authentication extension, at the place of the first or else at
// the end, or none when the secret is empty.
func (p *Packet) SetAuthentication(secret string) {
	kept, placed := p.Extensions[:0:0], secret == ""
	for _, e := range p.Extensions {
		if e.Type != ExtAuthentication {
			kept = append(kept, e)
		} else if !placed {
			kept, placed = append(kept, Authentication(secret)), true
		}
	}
	if !placed {
		kept = append(kept, Authentication(secret))
	}
	p.Extensions = kept
}
