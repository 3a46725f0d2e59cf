package config

// The words of algorithms, levels and topics. A type with a Values method is an enumeration: the loader, the schema and the
// documentation read it from there.

// Encryption is a cipher with its key length.
type Encryption string

const (
	AESCBC128 Encryption = "aes-cbc-128"
	AESCBC192 Encryption = "aes-cbc-192"
	AESCBC256 Encryption = "aes-cbc-256"
	AESGCM128 Encryption = "aes-gcm-128"
	AESGCM256 Encryption = "aes-gcm-256"
)

// Values lists what may be written.
func (Encryption) Values() []string {
	return []string{string(AESCBC128), string(AESCBC192), string(AESCBC256), string(AESGCM128), string(AESGCM256)}
}

// AEAD reports whether the cipher brings its own integrity check.
func (e Encryption) AEAD() bool { return e == AESGCM128 || e == AESGCM256 }

// KeyBits is the length of the key.
func (e Encryption) KeyBits() int {
	switch e {
	case AESCBC128, AESGCM128:
		return 128
	case AESCBC192:
		return 192
	case AESCBC256, AESGCM256:
		return 256
	}
	return 0
}

// Hash is the hash of an HMAC: an integrity check or a PRF.
type Hash string

const (
	SHA1   Hash = "sha1"
	SHA256 Hash = "sha256"
	SHA384 Hash = "sha384"
	SHA512 Hash = "sha512"
)

// Values lists what may be written.
func (Hash) Values() []string {
	return []string{string(SHA1), string(SHA256), string(SHA384), string(SHA512)}
}

// Group is a Diffie-Hellman group by its IANA number.
type Group uint16

// Groups lists the groups that exist here: MODP 1024 (2), 1536 (5), 2048 (14), 3072 (15), 4096 (16), NIST P-256 (19),
// P-384 (20), P-521 (21) and Curve25519 (31).
func (Group) Groups() []int { return []int{2, 5, 14, 15, 16, 19, 20, 21, 31} }

// LogLevel is a severity by its IOS name.
type LogLevel string

const (
	LogOff         LogLevel = "off"
	Emergencies    LogLevel = "emergencies"
	Alerts         LogLevel = "alerts"
	Critical       LogLevel = "critical"
	Errors         LogLevel = "errors"
	Warnings       LogLevel = "warnings"
	Notifications  LogLevel = "notifications"
	Informational  LogLevel = "informational"
	DebuggingLevel LogLevel = "debugging"
)

// Values lists what may be written, the least talkative first.
func (LogLevel) Values() []string {
	return []string{string(LogOff), string(Emergencies), string(Alerts), string(Critical), string(Errors), string(Warnings),
		string(Notifications), string(Informational), string(DebuggingLevel)}
}

// Severity is the syslog number, 0 (emergencies) to 7 (debugging), or -1 for off.
func (l LogLevel) Severity() int {
	for i, v := range l.Values() {
		if v == string(l) {
			return i - 1
		}
	}
	return -1
}

// DebugTopic is what can be debugged from the start: the words after `debug` on the console.
type DebugTopic string

// Values lists what may be written.
func (DebugTopic) Values() []string {
	return []string{
		"crypto ikev2", "crypto ikev2 error", "crypto ikev2 internal", "crypto ikev2 packet", "crypto ikev2 client flexvpn",
		"crypto ipsec", "crypto ipsec error",
		"dmvpn detail crypto", "dmvpn detail nhrp", "dmvpn detail all",
		"nhrp", "nhrp cache", "nhrp packet", "nhrp detail", "nhrp error",
		"tunnel", "ip routing", "ip bgp", "ip bgp updates", "ip bgp events", "ip bgp keepalives",
	}
}
