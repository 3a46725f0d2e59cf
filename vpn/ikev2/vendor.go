package ikev2

import "felloe/vpn/ikev2/message"

// vendor is a set of vendor IDs (RFC 7296 §3.12) that we know.
type vendor uint8

const (
	vendorFlexVPN      vendor = 1 << iota // its traffic selectors are not narrowed to the address that it gets
	vendorDynamicRoute                    // it takes routes by CFG_SET while the SA is up
	vendorDeleteReason
	vendorCisco
	vendorStrongSwan
)

var vendorIDs = []struct {
	bit  vendor
	id   string
	name string
}{
	{vendorFlexVPN, "FLEXVPN-SUPPORTED", "FlexVPN"},
	{vendorDynamicRoute, "CISCO-DYNAMIC-ROUTE", "dynamic route"},
	{vendorDeleteReason, "CISCO-DELETE-REASON", "delete reason"},
	{vendorCisco, "CISCO(COPYRIGHT)&Copyright (c) 2009 Cisco Systems, Inc.", "Cisco"},
	{vendorStrongSwan, "\x88\x2f\xe5\x6d\x6f\xd2\x0d\xbc\x22\x51\x61\x3b\x2e\xbe\x5b\xeb", "strongSwan"},
}

func knownVendors(list []*message.VendorID) (v vendor) {
	for _, p := range list {
		for _, k := range vendorIDs {
			if string(p.Data) == k.id {
				v |= k.bit
			}
		}
	}
	return v
}

func (v vendor) names() []string {
	var out []string
	for _, k := range vendorIDs {
		if v&k.bit != 0 {
			out = append(out, k.name)
		}
	}
	return out
}

// payloads are the vendor IDs of a set. We send only what changes how a peer of Cisco's behaves: that selectors are not to
// be narrowed to an address, and that routes may come later. A responder says so to those who say it.
func (v vendor) payloads() []message.Payload {
	var out []message.Payload
	for _, k := range vendorIDs {
		if v&k.bit&(vendorFlexVPN|vendorDynamicRoute) != 0 {
			out = append(out, &message.VendorID{Data: []byte(k.id)})
		}
	}
	return out
}
