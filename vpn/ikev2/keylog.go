package ikev2

import (
	"fmt"
	"net/netip"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
)

// logKeys emits a line of Wireshark's table for this SA, if the configuration asks for it.
func (sa *ikeSA) logKeys() {
	if !sa.e.cfg.KeyLog {
		return
	}
	encr := map[suite.EncrID]string{
		suite.ENCR_AES_CBC:    fmt.Sprintf("AES-CBC-%d [RFC3602]", sa.suite.KeyBits),
		suite.ENCR_AES_GCM_16: fmt.Sprintf("AES-GCM-%d with 16 octet ICV [RFC5282]", sa.suite.KeyBits),
	}[sa.suite.Encr]
	integ := map[suite.IntegID]string{
		suite.AUTH_NONE:              "NONE [RFC4306]",
		suite.AUTH_HMAC_SHA1_96:      "HMAC_SHA1_96 [RFC2404]",
		suite.AUTH_HMAC_SHA2_256_128: "HMAC_SHA2_256_128 [RFC4868]",
		suite.AUTH_HMAC_SHA2_384_192: "HMAC_SHA2_384_192 [RFC4868]",
		suite.AUTH_HMAC_SHA2_512_256: "HMAC_SHA2_512_256 [RFC4868]",
	}[sa.suite.Integ]
	k := sa.keys
	sa.e.emit(KeyLog{KeyLogIKE, fmt.Sprintf("%016x,%016x,%x,%x,%q,%x,%x,%q", sa.spiI, sa.spiR,
		[]byte(k.Ei), []byte(k.Er), encr, []byte(k.Ai), []byte(k.Ar), integ)})
}

// logKeys emits the lines for both directions of a pair.
func (c *child) logKeys() {
	if !c.e.cfg.KeyLog {
		return
	}
	s := c.s
	line := func(from, to netip.Addr, spi uint32, k ChildKey) {
		proto := "IPv4"
		if from.Is6() {
			proto = "IPv6"
		}
		encr, auth := "AES-GCM with 16 octet ICV [RFC4106]", "NULL"
		if c.suite.Encr == esp.ENCR_AES_CBC {
			encr = "AES-CBC [RFC3602]"
			auth = map[esp.Integ]string{
				esp.AUTH_HMAC_SHA1_96:      "HMAC-SHA-1-96 [RFC2404]",
				esp.AUTH_HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
				esp.AUTH_HMAC_SHA2_384_192: "HMAC-SHA-384-192 [RFC4868]",
				esp.AUTH_HMAC_SHA2_512_256: "HMAC-SHA-512-256 [RFC4868]",
			}[c.suite.Integ]
		}
		integ := ""
		if len(k.Integ) > 0 {
			integ = fmt.Sprintf("0x%x", []byte(k.Integ))
		}
		c.e.emit(KeyLog{KeyLogESP, fmt.Sprintf("%q,%q,%q,%q,%q,%q,%q,%q", proto, from, to, hexSPI(spi), encr,
			fmt.Sprintf("0x%x", []byte(k.Encr)), auth, integ)})
	}
	line(s.remote.Addr(), s.local.Addr(), c.spiIn, c.keys.in)
	line(s.local.Addr(), s.remote.Addr(), c.spiOut, c.keys.out)
}
