package strongswan

import (
	"fmt"
	"strings"
)

// connection is one of swanctl.conf. Lists are lines of its sections.
type connection struct {
	name          string
	local, remote string // addresses: 192.0.2.2 and 192.0.2.1 when not given
	ike           string // proposals
	settings      string
	mine, peers   string // authentication
	children      []child
}

type child struct {
	name          string // the connection's when not given
	local, remote string // traffic selectors; "-" leaves the line out
	esp           string // proposals
	settings      string
}

const (
	psk      = "interop-psk-0123456789"
	hubID    = "hub.example"
	hubLAN   = "10.1.0.0/24"
	hubInner = "10.1.0.1"
)

// Authentication by the key that both know.
func pskAs(id string) (mine, theirs string) {
	return "auth = psk\n id = " + id, "auth = psk\n id = " + hubID
}

func (c connection) String() string {
	var b strings.Builder
	local, remote := c.local, c.remote
	if local == "" {
		local = "192.0.2.2"
	}
	if remote == "" {
		remote = "192.0.2.1"
	}
	ike := c.ike
	if ike == "" {
		ike = "aes256-sha256-ecp256"
	}
	fmt.Fprintf(&b, " %s {\n version = 2\n local_addrs = %s\n remote_addrs = %s\n proposals = %s\n %s\n local { %s\n }\n remote { %s\n }\n children {\n",
		c.name, local, remote, ike, c.settings, c.mine, c.peers)
	for _, k := range c.children {
		if k.name == "" {
			k.name = c.name
		}
		if k.esp == "" {
			k.esp = "aes256gcm16"
		}
		fmt.Fprintf(&b, "  %s {\n   esp_proposals = %s\n", k.name, k.esp)
		if k.local != "-" {
			if k.local == "" {
				k.local = "10.2.0.0/24"
			}
			fmt.Fprintf(&b, "   local_ts = %s\n", k.local)
		}
		if k.remote == "" {
			k.remote = hubLAN
		}
		fmt.Fprintf(&b, "   remote_ts = %s\n   %s\n  }\n", k.remote, k.settings)
	}
	b.WriteString(" } }\n")
	return b.String()
}

// swanctl is the whole file, with the key that everybody knows.
func swanctl(list []connection, more ...string) string {
	var b strings.Builder
	b.WriteString("connections {\n")
	for _, c := range list {
		b.WriteString(c.String())
	}
	fmt.Fprintf(&b, "}\nsecrets { ike-all { secret = %q } }\n%s", psk, strings.Join(more, "\n"))
	return b.String()
}
