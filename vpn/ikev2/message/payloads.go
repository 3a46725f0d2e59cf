package message

import (
	"fmt"
	"net/netip"
	"strings"
)

// Payload is one payload of a message: a pointer to one of the types of this file.
type Payload interface {
	// Type is the payload's number on the wire.
	Type() PayloadType
	// appendBody appends what follows the generic header.
	appendBody(b []byte) []byte
}

// SA is the security association payload (RFC 7296 §3.3).
type SA struct{ Proposals []Proposal }

// Proposal is one proposal; Number 0 is encoded as its place in the list.
type Proposal struct {
	Number     uint8
	Protocol   ProtocolID
	SPI        []byte
	Transforms []Transform
}

// Transform is one transform. KeyBits is the Key Length attribute, 0 when there is none. Attributes holds other
// attributes as they came; they make a transform unacceptable (RFC 7296 §3.3.6).
type Transform struct {
	Type       TransformType
	ID         uint16
	KeyBits    uint16
	Attributes []byte
}

// KE is the key exchange payload (§3.4).
type KE struct {
	Group uint16
	Data  []byte
}

// ID is IDi or IDr (§3.5).
type ID struct {
	Responder bool // IDr
	IDType    IDType
	Data      []byte
}

// CERT is a certificate (§3.6).
type CERT struct {
	Encoding CertEncoding
	Data     []byte
}

// CERTREQ asks for certificates below these authorities (§3.7).
type CERTREQ struct {
	Encoding CertEncoding
	Data     []byte
}

// AUTH is the authentication payload (§3.8).
type AUTH struct {
	Method AuthMethod
	Data   []byte
}

// Nonce is Ni or Nr (§3.9).
type Nonce struct{ Data []byte }

// Notify is the notify payload (§3.10).
type Notify struct {
	Protocol ProtocolID
	SPI      []byte
	Message  NotifyType
	Data     []byte
}

// Delete is the delete payload (§3.11). SPISize is 0 for an IKE SA and 4 for Child SAs.
type Delete struct {
	Protocol ProtocolID
	SPISize  uint8
	SPIs     [][]byte
}

// VendorID is the vendor ID payload (§3.12).
type VendorID struct{ Data []byte }

// TS is TSi or TSr (§3.13).
type TS struct {
	Responder bool // TSr
	Selectors []TrafficSelector
}

// TrafficSelector is one selector: addresses from Start to End and, for Protocol (0 is any), ports from StartPort to
// EndPort. StartPort 65535 with EndPort 0 is OPAQUE.
type TrafficSelector struct {
	Protocol           uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// Last is a prefix's last address: a selector of the prefix ends there.
func Last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// CP is the configuration payload (§3.15).
type CP struct {
	CFG        CFGType
	Attributes []CFGAttribute
}

// CFGAttribute is one attribute of a configuration payload.
type CFGAttribute struct {
	Type  CFGAttributeType
	Value []byte
}

// EAP is an EAP message, opaque here (§3.16).
type EAP struct{ Data []byte }

// Encrypted is where SK or SKF begins (§3.14; RFC 7383 §2.5). Decode makes it, always as the last payload: what is in
// it is read with DecodePayloads(First, plaintext). Encode does not write it; see BeginEncrypted.
type Encrypted struct {
	Fragment bool        // SKF
	First    PayloadType // type of the first payload inside
	Number   uint16      // SKF: fragment number, from 1
	Total    uint16      // SKF: total fragments
	IVOffset int         // of the IV in the whole message
}

// Unknown is a payload of a type that this package does not know.
type Unknown struct {
	PayloadType PayloadType
	Critical    bool
	Data        []byte
}

func (*SA) Type() PayloadType       { return TypeSA }
func (*KE) Type() PayloadType       { return TypeKE }
func (*CERT) Type() PayloadType     { return TypeCERT }
func (*CERTREQ) Type() PayloadType  { return TypeCERTREQ }
func (*AUTH) Type() PayloadType     { return TypeAUTH }
func (*Nonce) Type() PayloadType    { return TypeNonce }
func (*Notify) Type() PayloadType   { return TypeNotify }
func (*Delete) Type() PayloadType   { return TypeDelete }
func (*VendorID) Type() PayloadType { return TypeVendorID }
func (*CP) Type() PayloadType       { return TypeCP }
func (*EAP) Type() PayloadType      { return TypeEAP }

func (p *ID) Type() PayloadType {
	if p.Responder {
		return TypeIDr
	}
	return TypeIDi
}

func (p *TS) Type() PayloadType {
	if p.Responder {
		return TypeTSr
	}
	return TypeTSi
}

func (p *Encrypted) Type() PayloadType {
	if p.Fragment {
		return TypeSKF
	}
	return TypeSK
}

func (p *Unknown) Type() PayloadType { return p.PayloadType }

// String is the selector as a show command prints it: "gre 192.0.2.1" or "udp 10.0.0.0-10.0.0.255 port 53".
func (t TrafficSelector) String() string {
	var b strings.Builder
	switch t.Protocol {
	case 0:
		b.WriteString("any ")
	case 47:
		b.WriteString("gre ")
	default:
		fmt.Fprintf(&b, "%d ", t.Protocol)
	}
	b.WriteString(t.Start.String())
	if t.Start != t.End {
		b.WriteString("-" + t.End.String())
	}
	switch {
	case t.StartPort == 0 && t.EndPort == 65535:
	case t.StartPort == t.EndPort:
		fmt.Fprintf(&b, " port %d", t.StartPort)
	default:
		fmt.Fprintf(&b, " ports %d-%d", t.StartPort, t.EndPort)
	}
	return b.String()
}
