package hubs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const crypto = `
[ikev2.keyring.K.peer.any]
address        = "0.0.0.0/0"
pre-shared-key = "cisco"

[ikev2.profile.FLEX]
match            = { identity.remote.address = "0.0.0.0/0" }
keyring          = "K"
authorization    = { policy = "default" }
virtual-template = 1
dpd              = { interval = 10, retry = 2 }

[ipsec.profile.default]
ikev2-profile = "FLEX"
`

func (o *Options) hub(h int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
hostname = "Hub%[1]d"
logging  = { console = "off" }
[interface.GigabitEthernet1]
address = "172.25.%[1]d.1/24"
[interface.GigabitEthernet2]
address = "10.3.0.%[1]d/24"
[interface.Loopback100]
address = "10.1.0.1/32"
[interface.Virtual-Template1]
unnumbered = "Loopback100"
protection = "default"
nhrp       = { network-id = 2, redirect = true }
[ikev2.authorization-policy.default]
pool  = "SPOKES"
route = { set-interface = "self" }
[pool.SPOKES]
addresses = "10.1.%[1]d.1-10.1.%[1]d.254"
[[route]]
prefix = "172.16.0.0/16"
via    = "172.25.%[1]d.254"
[route-map.ALL]
[[route-map.ALL.entry]]
seq = 10
[bgp]
as               = 65001
router-id        = "10.3.0.%[1]d"
aggregate        = [{ prefix = "192.168.0.0/16", summary-only = true }]
timers           = { keepalive = 10, hold = 30, connect-retry = 10 }
graceful-restart = true
[bgp.peer-group.SPOKES]
remote-as              = 65001
route-reflector-client = true
[[bgp.listen]]
range      = "10.1.0.0/16"
peer-group = "SPOKES"
[bgp.peer-group.HUBS]
remote-as         = 65001
next-hop-self-all = true
unsuppress-map    = "ALL"
`, h)
	for other := 1; other <= o.Hubs; other++ {
		if other == h {
			continue
		}
		low, high := min(h, other), max(h, other)
		end := func(a int) int { return 1 + b2i(a == high) }
		fmt.Fprintf(&b, `
[interface.Tunnel10%[1]d]
address     = "10.2.%[2]d%[3]d.%[4]d/30"
source      = "GigabitEthernet2"
destination = "10.3.0.%[1]d"
nhrp        = { network-id = 2, redirect = true }
[bgp.neighbor."10.2.%[2]d%[3]d.%[5]d"]
peer-group = "HUBS"
`, other, low, high, end(h), end(other))
	}
	return b.String() + crypto
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (o *Options) spoke(s int) string {
	var peers, tracks strings.Builder
	for n := range o.Hubs {
		h := (s+n)%o.Hubs + 1
		fmt.Fprintf(&peers, "{ address = \"172.25.%d.1\", track = %d }, ", h, h)
		fmt.Fprintf(&tracks, "[track.%[1]d]\nicmp-echo = { address = \"172.25.%[1]d.1\", source = \"GigabitEthernet1\", interval = \"500ms\", timeout = \"500ms\", failures = 3 }\n", h)
	}
	return fmt.Sprintf(`
hostname = "Spoke%[1]d"
logging  = { console = "off" }
[interface.GigabitEthernet1]
address = "172.16.0.%[1]d/16"
[interface.Loopback10]
address = "192.168.%[1]d.1/24"
[interface.Tunnel1]
address     = "negotiated"
source      = "GigabitEthernet1"
destination = "dynamic"
protection  = "default"
nhrp        = { network-id = 2, shortcut = { virtual-template = 1 }, holdtime = "20s" }
[interface.Virtual-Template1]
unnumbered = "Tunnel1"
protection = "default"
nhrp       = { network-id = 2, shortcut = { virtual-template = 1 }, holdtime = "20s" }
[ikev2.client.FLEX]
peer                = [%[2]s]
client-connect      = "Tunnel1"
peer-reactivate     = %[3]v
%[4]s
[[route]]
prefix = "172.25.0.0/16"
via    = "172.16.255.254"
[bgp]
as               = 65001
network          = ["192.168.%[1]d.0/24"]
timers           = { keepalive = 10, hold = 30, connect-retry = 10 }
graceful-restart = true
[bgp.neighbor."10.1.0.1"]
remote-as     = 65001
update-source = "Tunnel1"
`, s, peers.String(), s%2 == 0, tracks.String()) + crypto
}

func (o *Options) internet() string {
	var b strings.Builder
	b.WriteString("hostname = \"Internet\"\nlogging  = { console = \"off\" }\n[interface.GigabitEthernet1]\naddress = \"172.16.255.254/16\"\n")
	for h := 1; h <= o.Hubs; h++ {
		fmt.Fprintf(&b, "[interface.GigabitEthernet%d]\naddress = \"172.25.%d.254/24\"\n", h+1, h)
	}
	return b.String()
}

// write puts the lab's files into a folder and returns its description.
func (o *Options) write(dir string) ([]byte, error) {
	var lab strings.Builder
	lab.WriteString("name = \"soak\"\n")
	var err error
	node := func(name, text string) {
		fmt.Fprintf(&lab, "[[node]]\nname = %q\nconfig = %q\n", name, name+".toml")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o600)
		}
	}
	node("Internet", o.internet())
	wan, lan := []string{`"Internet:GigabitEthernet1"`}, []string(nil)
	for h := 1; h <= o.Hubs; h++ {
		node(hubName(h), o.hub(h))
		lan = append(lan, fmt.Sprintf("\"Hub%d:GigabitEthernet2\"", h))
	}
	for s := 1; s <= o.Spokes; s++ {
		node(spokeName(s), o.spoke(s))
		wan = append(wan, fmt.Sprintf("\"Spoke%d:GigabitEthernet1\"", s))
	}
	link := func(name string, ends ...string) {
		fmt.Fprintf(&lab, "[[link]]\nname = %q\nends = [%s]\ndelay = \"2ms\"\n", name, strings.Join(ends, ", "))
	}
	link("spokes", wan...)
	link("lan", lan...)
	for h := 1; h <= o.Hubs; h++ {
		link(cable(h), fmt.Sprintf("\"Hub%d:GigabitEthernet1\"", h), fmt.Sprintf("\"Internet:GigabitEthernet%d\"", h+1))
	}
	return []byte(lab.String()), err
}

func hubName(h int) string   { return fmt.Sprintf("Hub%d", h) }
func spokeName(s int) string { return fmt.Sprintf("Spoke%d", s) }
func cable(h int) string     { return fmt.Sprintf("hub%d", h) }
