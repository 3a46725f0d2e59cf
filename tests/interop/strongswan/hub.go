package strongswan

import (
	"fmt"
	"strings"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// base is what every Felloe router here has: its outside, its inside, and all algorithms.
const base = `hostname = "hub"
[interface.GigabitEthernet1]
address = ["192.0.2.1/24", "2001:db8::1/64"]
[interface.Loopback1]
address = ["10.1.0.1/24", "fd00:1::1/64"]
[ikev2.proposal.CBC]
encryption = ["aes-cbc-256", "aes-cbc-128"]
integrity = ["sha256", "sha384", "sha512"]
group = [14, 15, 16, 19, 20, 21, 31]
[ikev2.proposal.GCM]
encryption = ["aes-gcm-256", "aes-gcm-128"]
prf = ["sha256", "sha384", "sha512"]
group = [14, 15, 16, 19, 20, 21, 31]
[ikev2.policy.ALL]
proposal = ["CBC", "GCM"]
[ipsec.transform-set.gcm256]
esp = ["aes-gcm-256"]
[ipsec.transform-set.cbc256-sha256]
esp = ["aes-cbc-256", "sha256"]
[ipsec.transform-set.cbc256-sha384]
esp = ["aes-cbc-256", "sha384"]
[ipsec.transform-set.cbc256-sha512]
esp = ["aes-cbc-256", "sha512"]
[ipsec.transform-set.cbc128-sha256]
esp = ["aes-cbc-128", "sha256"]
[ipsec.transform-set.cbc128-sha384]
esp = ["aes-cbc-128", "sha384"]
[ipsec.transform-set.cbc128-sha512]
esp = ["aes-cbc-128", "sha512"]
[logging]
buffered = 4194304
`

const allTransforms = `["gcm256", "cbc256-sha256", "cbc256-sha384", "cbc256-sha512", "cbc128-sha256", "cbc128-sha384", "cbc128-sha512"]`

// service is what a Felloe responder has for one kind of peers: an ikev2 profile, an ipsec profile and a template.
type service struct {
	number   int    // of the template; 1 when not given
	match    string // inside of match; any identity when not given
	auth     string // "rsa-sig": both sides; the pre-shared key when not given
	profile  string // more lines of the ikev2 profile
	ipsec    string // more lines of the ipsec profile
	mode     string // the template's; "ipsec ipv4"
	template string // more lines of the template
}

func (s service) String() string {
	n, match, auth, mode := max(1, s.number), s.match, s.auth, s.mode
	if match == "" {
		match = "identity.remote.any = true"
	}
	switch auth {
	case "":
		auth = fmt.Sprintf("pre-shared-key = %q", psk)
	case "rsa-sig", "ecdsa-sig", "ed25519-sig":
		auth = fmt.Sprintf("authentication = { local = %q, remote = [%[1]q] }\ntrustpoint = %[1]q", auth)
	}
	if mode == "" {
		mode = "ipsec ipv4"
	}
	identity := fmt.Sprintf("identity.local = { fqdn = %q }", hubID)
	if strings.Contains(s.profile, "identity.local") {
		identity = ""
	}
	return fmt.Sprintf(`
[interface.Virtual-Template%[1]d]
unnumbered = "Loopback1"
mode = %[2]q
protection = "P%[1]d"
%[9]s
[ikev2.profile.I%[1]d]
match = { %[3]s }
%[4]s
virtual-template = %[1]d
%[5]s
%[6]s
[ipsec.profile.P%[1]d]
ikev2-profile = "I%[1]d"
transform-set = %[7]s
%[8]s
`, n, mode, match, identity, auth, s.profile, allTransforms, s.ipsec, s.template)
}

// trustpoint has the router's certificate from the files NAME.pem and NAME.key, and the authority's from ca.pem.
func trustpoint(name, file, more string) string {
	return fmt.Sprintf("[pki.trustpoint.%s]\nca = \"ca.pem\"\ncertificate = \"%s.pem\"\nkey = { file = \"%[2]s.key\" }\n%s\n", name, file, more)
}

// hub starts the router.
func hub(r *matrix.Run, wan *peers.Switch, toml ...string) *peers.Router {
	return r.Router("hub", base+strings.Join(toml, "\n"), wan)
}
