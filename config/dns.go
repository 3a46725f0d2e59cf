package config

import (
	"net/netip"
	"strings"
	"time"
)

// DNS is where the router finds the addresses of names (IOS: `ip name-server`, `ip domain name`, `ip host`).
type DNS struct {
	// Name servers in order of preference.
	Server []netip.Addr `toml:"server" example:"[\"10.0.0.53\"]"`
	// The routing table that they are in.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// Where questions come from: an interface's name or one of the router's addresses.
	Source Local `toml:"source" example:"\"Loopback0\""`
	// What is put behind a name without a dot.
	Domain string `toml:"domain" example:"\"example.com\""`
	// How long to wait for an answer before the next server is asked.
	Timeout time.Duration `toml:"timeout" default:"2s" range:"100ms..30s"`
	// Names that no server is asked for, with their addresses.
	Host HostTable `toml:"host" example:"{ \"hub1.example.com\" = [\"172.25.1.1\", \"2001:db8:25::1\"] }"`
}

// HostTable holds the addresses of names, which are in lower case.
type HostTable map[string][]netip.Addr

// hosts fills a table of names with their addresses.
func (d *decoder) hosts(n *node, s scope, out *HostTable) {
	if n.kind != tableNode {
		d.errorf(n.pos, s, "expected a table of names, such as { \"hub1.example.com\" = [\"172.25.1.1\"] }, got %s", describe(n))
		return
	}
	table := HostTable{}
	for _, name := range n.names {
		kid := n.kids[name]
		c := s.under(name, kid)
		d.note(c, kid)
		items := []*node{kid}
		if kid.kind == arrayNode {
			items = kid.items
		}
		key := strings.ToLower(strings.TrimSuffix(name, "."))
		switch {
		case !isHostName(key):
			d.errorf(kid.key, c, "%q is not a name such as \"hub1.example.com\"", name)
			continue
		case table[key] != nil:
			d.errorf(kid.key, c, "the same name is there already: case does not count")
			continue
		case len(items) == 0:
			d.errorf(kid.pos, c, "the name has no address")
			continue
		}
		for i, item := range items {
			at := c
			if kid.kind == arrayNode {
				at = c.index(i, item)
			}
			text, ok := d.text(item, at, `an address such as "172.25.1.1"`)
			if !ok {
				continue
			}
			a, msg := parseAddr(text)
			if msg != "" {
				d.errorf(item.pos, at, "%s", msg)
				continue
			}
			table[key] = append(table[key], a)
		}
	}
	if len(table) > 0 {
		*out = table
	}
}
