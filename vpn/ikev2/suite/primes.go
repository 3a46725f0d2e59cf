package suite

import (
	"encoding/hex"
	"strings"
	"sync"

	"filippo.io/bigmod"
)

// modp is a MODP group: a safe prime with generator 2. exponent is the length of our private values in bytes: about
// twice the group's strength at its upper estimate (RFC 3526 §8), so a larger one would add time and no strength.
type modp struct {
	size, exponent int
	modulus        func() *bigmod.Modulus
}

func newModp(exponentBits int, digits string) *modp {
	b, err := hex.DecodeString(strings.TrimSpace(digits))
	if err != nil {
		panic("suite: prime: " + err.Error())
	}
	return &modp{len(b), exponentBits / 8, sync.OnceValue(func() *bigmod.Modulus {
		m, err := bigmod.NewModulus(b)
		if err != nil {
			panic("suite: prime: " + err.Error())
		}
		return m
	})}
}

// The primes are 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + c), so each begins as the longer ones do; a test
// checks them against this formula. Group 2 is of RFC 2409 §6.2, the others are of RFC 3526.
var modps = map[Group]*modp{
	MODP_1024: newModp(256, primeHead1024+
		"49286651ECE65381FFFFFFFFFFFFFFFF"),
	MODP_1536: newModp(256, primeHead1024+primeHead1536+
		"CA237327FFFFFFFFFFFFFFFF"),
	MODP_2048: newModp(320, primeHead1024+primeHead1536+primeHead2048+
		"8AACAA68FFFFFFFFFFFFFFFF"),
	MODP_3072: newModp(424, primeHead1024+primeHead1536+primeHead2048+primeHead3072+
		"A93AD2CAFFFFFFFFFFFFFFFF"),
	MODP_4096: newModp(480, primeHead1024+primeHead1536+primeHead2048+primeHead3072+primeHead4096+
		"34063199FFFFFFFFFFFFFFFF"),
}

const (
	primeHead1024 = "" +
		"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
		"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
		"EE386BFB5A899FA5AE9F24117C4B1FE6"
	primeHead1536 = "" +
		"49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB" +
		"9ED529077096966D670C354E4ABC9804F1746C08"
	primeHead2048 = "" +
		"CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497C" +
		"EA956AE515D2261898FA051015728E5A"
	primeHead3072 = "" +
		"8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8C" +
		"DB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE11757" +
		"7A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120"
	primeHead4096 = "" +
		"A92108011A723C12A787E6D788719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB" +
		"04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD76" +
		"2170481CD0069127D5B05AA993B4EA988D8FDDC186FFB7DC90A6C08F4DF435C9"
)
