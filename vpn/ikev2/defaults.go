package ikev2

import (
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
)

// Defaults of Config and Profile.
const (
	DefaultIKELifetime   = 24 * time.Hour
	DefaultChildLifetime = time.Hour
	DefaultFragmentMTU4  = 576
	DefaultFragmentMTU6  = 1280

	portIKE  = 500
	portNATT = 4500
)

// SmartDefaultProposal is the IKE proposal of a router without `ikev2.policy`. It is offered when no policy matches:
//
//	encryption  aes-gcm-256, aes-gcm-128; then aes-cbc-256, -192, -128
//	prf         sha512, sha384, sha256, sha1
//	integrity   sha512, sha384, sha256, sha1 (with CBC)
//	group       19, 14, 21; a peer may also choose 5, last
var SmartDefaultProposal = IKEProposal{
	Name: "default",
	Encryption: []Encryption{
		{suite.ENCR_AES_GCM_16, 256}, {suite.ENCR_AES_GCM_16, 128},
		{suite.ENCR_AES_CBC, 256}, {suite.ENCR_AES_CBC, 192}, {suite.ENCR_AES_CBC, 128},
	},
	PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_512, suite.PRF_HMAC_SHA2_384, suite.PRF_HMAC_SHA2_256, suite.PRF_HMAC_SHA1},
	Integrity: []suite.IntegID{suite.AUTH_HMAC_SHA2_512_256, suite.AUTH_HMAC_SHA2_384_192, suite.AUTH_HMAC_SHA2_256_128,
		suite.AUTH_HMAC_SHA1_96},
	Groups: []suite.Group{suite.ECP_256, suite.MODP_2048, suite.ECP_521},
	Accept: []suite.Group{suite.MODP_1536},
}

// SmartDefaultPolicy is the name that show commands give it.
const SmartDefaultPolicy = "default"

// DefaultESPProposals is what a ChildPolicy without proposals offers.
var DefaultESPProposals = []ESPProposal{{Suites: []esp.Suite{
	{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256},
	{Encr: esp.ENCR_AES_GCM_16, KeyBits: 128},
	{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128},
	{Encr: esp.ENCR_AES_CBC, KeyBits: 128, Integ: esp.AUTH_HMAC_SHA2_256_128},
	{Encr: esp.ENCR_AES_CBC, KeyBits: 128, Integ: esp.AUTH_HMAC_SHA1_96},
}}}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defT := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.CookieThreshold, 64)
	def(&c.MaxHalfOpen, 2048)
	def(&c.MaxHalfOpenPeer, 32)
	def(&c.MaxSAs, 16384)
	def(&c.MaxSAsPeer, 256)
	defT(&c.HalfOpenTimeout, 30*time.Second)
	defT(&c.Retransmit.Base, time.Second)
	defT(&c.Retransmit.Max, 16*time.Second)
	def(&c.Retransmit.Tries, 8)
	defT(&c.NATKeepalive, 20*time.Second)
	defT(&c.ChildlessTimeout, 2*time.Minute)
	return c
}
