package message

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// GatewayType is the kind of a gateway's identity in REDIRECT and REDIRECTED_FROM (RFC 5685 §9.1).
type GatewayType uint8

const (
	GatewayIPv4 GatewayType = 1
	GatewayIPv6 GatewayType = 2
	GatewayFQDN GatewayType = 3
)

// Redirect is the data of a REDIRECT or REDIRECTED_FROM notification:
//
//	GW ident type (1) | GW ident length (1) | GW identity | nonce (REDIRECT in IKE_SA_INIT only: the request's Ni)
type Redirect struct {
	Gateway netip.Addr // or
	FQDN    string
	Nonce   []byte
}

// ErrRedirect says that the data of a redirect makes no sense.
var ErrRedirect = errors.New("redirect is invalid")

// ParseRedirect reads it. Nonce points into data.
func ParseRedirect(data []byte) (Redirect, error) {
	if len(data) < 2 || len(data)-2 < int(data[1]) {
		return Redirect{}, fmt.Errorf("%w: %d bytes", ErrRedirect, len(data))
	}
	id, rest := data[2:2+int(data[1])], data[2+int(data[1]):]
	var r Redirect
	if len(rest) > 0 {
		r.Nonce = rest
	}
	switch t := GatewayType(data[0]); {
	case t == GatewayIPv4 && len(id) == 4, t == GatewayIPv6 && len(id) == 16:
		r.Gateway, _ = netip.AddrFromSlice(id)
		if a := r.Gateway; a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return Redirect{}, fmt.Errorf("%w: %v is no gateway's address", ErrRedirect, a)
		}
	case t == GatewayFQDN && isName(id):
		r.FQDN = string(id)
	default:
		return Redirect{}, fmt.Errorf("%w: gateway identity of type %d and %d bytes", ErrRedirect, data[0], len(id))
	}
	return r, nil
}

// isName says whether bytes may be a domain name: nothing that would be odd on a line of a log.
func isName(b []byte) bool {
	return len(b) > 0 && len(b) <= 253 && strings.Trim(string(b), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

// Data is how it is written.
func (r Redirect) Data() []byte {
	t, id := GatewayFQDN, []byte(r.FQDN)
	if r.Gateway.IsValid() {
		t, id = GatewayIPv4, r.Gateway.AsSlice()
		if len(id) == 16 {
			t = GatewayIPv6
		}
	}
	return append(append([]byte{uint8(t), uint8(len(id))}, id...), r.Nonce...)
}

// String names the gateway.
func (r Redirect) String() string {
	if r.Gateway.IsValid() {
		return r.Gateway.String()
	}
	return r.FQDN
}
