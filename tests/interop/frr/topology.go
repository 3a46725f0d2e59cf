package frr

import (
	"fmt"
	"strings"
)

// member is one router of the overlay. Its numbers follow from its index: hub 1, spokes 11 and 12.
//
//	192.0.2.N on the wire, 10.255.0.N and fd00:ff::N in the tunnel, 10.N.0.1/24 and fd00:N::1/64 behind it, AS 65000+N
type member struct {
	name  string
	index int
	frr   bool
	hub   bool
}

func (m member) nbma() string    { return fmt.Sprintf("192.0.2.%d", m.index) }
func (m member) tunnel() string  { return fmt.Sprintf("10.255.0.%d", m.index) }
func (m member) tunnel6() string { return fmt.Sprintf("fd00:ff::%d", m.index) }
func (m member) lan() string     { return fmt.Sprintf("10.%d.0.1", m.index) }
func (m member) lan6() string    { return fmt.Sprintf("fd00:%d::1", m.index) }
func (m member) prefix() string  { return fmt.Sprintf("10.%d.0.0/24", m.index) }
func (m member) prefix6() string { return fmt.Sprintf("fd00:%d::/64", m.index) }
func (m member) as() int         { return 65000 + m.index }

const (
	secret   = "interop-psk-0123456789"
	password = "INTEROP"
	holdtime = 60
)

// cipher is how the overlay is protected; the zero value: not at all.
type cipher struct {
	transforms []string // of the transform set
	esn        bool
	swanctl    string // esp_proposals
}

func (c cipher) on() bool { return len(c.transforms) > 0 }

var (
	plain = cipher{}
	gcm   = cipher{transforms: []string{"aes-gcm-256"}, esn: true, swanctl: "aes256gcm16-ecp256-esn"}
	cbc   = cipher{transforms: []string{"aes-cbc-256", "sha512"}, swanctl: "aes256-sha512-ecp256"}
)

// overlay is a hub and two spokes.
type overlay struct {
	hub    member
	spokes [2]member
	cipher cipher
}

func (o overlay) members() []member { return []member{o.hub, o.spokes[0], o.spokes[1]} }

func (o overlay) others(m member) []member {
	var out []member
	for _, p := range o.members() {
		if p.index != m.index {
			out = append(out, p)
		}
	}
	return out
}

// toml is a Felloe router's configuration.
func (o overlay) toml(m member) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("hostname = %q", m.name)
	p("[interface.GigabitEthernet1]\naddress = [%q]", m.nbma()+"/24")
	p("[interface.Loopback10]\naddress = [%q, %q]", m.lan()+"/24", m.lan6()+"/64")
	p("[interface.Tunnel0]\nmode = \"gre multipoint\"\naddress = [%q, %q]", m.tunnel()+"/24", m.tunnel6()+"/64")
	p("source = \"GigabitEthernet1\"\nkey = 100\nip-mtu = 1400")
	if o.cipher.on() {
		p("protection = \"P\"")
	}
	p("[interface.Tunnel0.nhrp]\nnetwork-id = 1\nauthentication = %q\nholdtime = %d", password, holdtime)
	if m.hub {
		p("redirect = true\nmap-multicast = \"dynamic\"")
	} else {
		p("registration-timeout = 5\nshortcut = true")
		p("nhs = [{ address = %q, nbma = %q }, { address = %q, nbma = %[2]q }]", o.hub.tunnel(), o.hub.nbma(), o.hub.tunnel6())
	}
	if o.cipher.on() {
		p("[ikev2.proposal.X]\nencryption = [\"aes-cbc-256\"]\nintegrity = [\"sha512\"]\nprf = [\"sha512\"]\ngroup = [19]")
		p("[ikev2.policy.X]\nproposal = [\"X\"]")
		p("[ikev2.keyring.K.peer.any]\naddress = \"0.0.0.0/0\"\npre-shared-key = %q", secret)
		p("[ikev2.profile.I]\nmatch = { identity = { remote = { address = \"0.0.0.0/0\" } } }\nkeyring = \"K\"\ndpd = { interval = 10, retry = 3 }")
		p("[ipsec.transform-set.T]\nesp = [%s]\nmode = \"transport\"", quoted(o.cipher.transforms))
		p("[ipsec.profile.P]\ntransform-set = [\"T\"]\nikev2-profile = \"I\"\npfs = 19\nesn = %v", o.cipher.esn)
	}
	networks := []string{m.prefix(), m.prefix6()}
	if m.hub { // nhrpd answers only askers that it has a route to, and its spokes' tunnel has a host's prefix
		networks = append(networks, "10.255.0.0/24", "fd00:ff::/64")
	}
	p("[bgp]\nas = %d\nnetwork = [%s]\ntimers = { keepalive = 3, hold = 9, connect-retry = 3 }", m.as(), quoted(networks))
	neighbours := []member{o.hub}
	if m.hub {
		neighbours = o.spokes[:]
	}
	for _, n := range neighbours {
		p("[bgp.neighbor.%q]\nremote-as = %d", n.tunnel(), n.as())
		p("[bgp.neighbor.%q]\nremote-as = %d", n.tunnel6(), n.as())
	}
	return b.String()
}

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

// files are an FRR machine's.
func (o overlay) files(m member) map[string]string {
	files := map[string]string{"net.sh": o.netSh(m), "frr.conf": o.frrConf(m)}
	if o.cipher.on() {
		files["swanctl.conf"] = o.swanctl(m)
	}
	return files
}

func (o overlay) netSh(m member) string {
	s := fmt.Sprintf(`ip addr add %s/24 dev eth0; ip link set eth0 up
ip link add lan type dummy; ip addr add %s/24 dev lan; ip -6 addr add %s/64 dev lan; ip link set lan up
ip tunnel add gre1 mode gre key 100 local %s ttl 64 # without a remote end: multipoint
ip link set gre1 addrgenmode none # nhrpd takes the address with the shortest prefix, and wants a host's
ip addr add %s/32 dev gre1; ip -6 addr add %s/128 dev gre1
ip link set gre1 mtu 1400 up
# nhrpd answers the kernel's questions about neighbours.
for f in 4 6; do sysctl -qw net.ipv$f.neigh.gre1.app_solicit=1 net.ipv$f.neigh.gre1.mcast_solicit=0 net.ipv$f.neigh.gre1.ucast_solicit=0; done
`, m.nbma(), m.lan(), m.lan6(), m.nbma(), m.tunnel(), m.tunnel6())
	if m.hub { // what enters and leaves through the tunnel is shown to nhrpd, which then sends redirects
		s += `nft -f - <<'N'
table ip shortcuts {
  chain forward {
    type filter hook forward priority 0;
    iifname gre1 oifname gre1 meter flows { ip saddr . ip daddr limit rate 12/minute burst 1 packets } log group 1 snaplen 128
  }
}
table ip6 shortcuts {
  chain forward {
    type filter hook forward priority 0;
    iifname gre1 oifname gre1 meter flows6 { ip6 saddr . ip6 daddr limit rate 12/minute burst 1 packets } log group 1 snaplen 128
  }
}
N
`
	}
	return s
}

func (o overlay) frrConf(m member) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("hostname %s\nlog file /var/log/frr/frr.log debugging\ndebug nhrp all", m.name)
	if m.hub {
		p("nhrp nflog-group 1")
	}
	p("interface gre1")
	for _, f := range []string{"ip", "ipv6"} {
		p(" %s nhrp network-id 1\n %[1]s nhrp holdtime %d\n %[1]s nhrp registration no-unique", f, holdtime)
		if m.hub {
			p(" %s nhrp redirect", f)
		} else {
			p(" %s nhrp shortcut", f)
		}
	}
	p(" ip nhrp authentication %s", password)
	if !m.hub {
		p(" ip nhrp nhs %s nbma %s\n ipv6 nhrp nhs %s nbma %[2]s", o.hub.tunnel(), o.hub.nbma(), o.hub.tunnel6())
	}
	p(" tunnel source eth0\nexit")
	p("router bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n timers bgp 3 9", m.as(), m.tunnel())
	neighbours := []member{o.hub}
	if m.hub {
		neighbours = o.spokes[:]
	}
	for _, n := range neighbours {
		for _, a := range []string{n.tunnel(), n.tunnel6()} {
			p(" neighbor %s remote-as %d\n neighbor %[1]s disable-connected-check\n neighbor %[1]s timers connect 3", a, n.as())
		}
	}
	for i, f := range []string{"ipv4", "ipv6"} {
		p(" address-family %s unicast", f)
		p("  network %s", []string{m.prefix(), m.prefix6()}[i])
		if m.hub { // the spokes learn the overlay as a whole, by way of the hub
			p("  aggregate-address %s", []string{"10.0.0.0/8", "fd00::/8"}[i])
		}
		for _, n := range neighbours {
			if f == "ipv4" {
				p("  no neighbor %s activate", n.tunnel6())
			} else {
				p("  neighbor %s activate", n.tunnel6())
			}
		}
		p(" exit-address-family")
	}
	p("exit")
	return b.String()
}

// swanctl protects GRE to each of the others with static policies: nhrpd's own way to charon needs patched sources.
func (o overlay) swanctl(m member) string {
	var b strings.Builder
	b.WriteString("connections {\n")
	for _, n := range o.others(m) {
		fmt.Fprintf(&b, ` to-%s { version = 2
  local_addrs = %s
  remote_addrs = %s
  proposals = aes256-sha512-prfsha512-ecp256
  dpd_delay = 10s
  local { auth = psk }
  remote { auth = psk }
  children { gre { mode = transport
    local_ts = dynamic[47]
    remote_ts = dynamic[47]
    esp_proposals = %s
    start_action = trap
    dpd_action = clear } } }
`, n.name, m.nbma(), n.nbma(), o.cipher.swanctl)
	}
	fmt.Fprintf(&b, "}\nsecrets { ike-1 { secret = %q } }\n", secret)
	return b.String()
}
