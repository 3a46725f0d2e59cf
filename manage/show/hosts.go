package show

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/netstack/dns"
)

// Hosts is `show hosts`.
type Hosts struct {
	Domain  string       `json:"domain,omitempty"`
	Servers []netip.Addr `json:"name_servers"`
	VRF     string       `json:"vrf"`
	Hosts   []Host       `json:"hosts"`
}

// Host is a name that is known.
type Host struct {
	Name      string       `json:"name"`
	Permanent bool         `json:"permanent"`
	Addresses []netip.Addr `json:"addresses"`
	Missing   string       `json:"missing,omitempty"` // why there is no address
	Server    string       `json:"server,omitempty"`
	Age       int64        `json:"age"`     // seconds
	Expires   int64        `json:"expires"` // in seconds; -1: never, 0: it has
}

// NewHosts makes the answer.
func NewHosts(known []dns.Host, domain, vrf string, servers []netip.Addr, now time.Time) Hosts {
	out := Hosts{Domain: domain, VRF: vrf, Servers: append([]netip.Addr{}, servers...), Hosts: []Host{}}
	for _, k := range known {
		h := Host{Name: k.Name, Permanent: k.Permanent, Addresses: append([]netip.Addr{}, k.Addresses...), Missing: k.Missing, Server: text(k.Server), Expires: -1}
		if !k.Permanent {
			h.Age, h.Expires = seconds(now.Sub(k.Asked)), seconds(k.Expires.Sub(now))
		}
		out.Hosts = append(out.Hosts, h)
	}
	return out
}

// Text implements cli.Result.
func (r Hosts) Text(w *cli.Table) {
	w.Linef("Default domain is %s", or(r.Domain, "not set"))
	var servers []string
	for _, a := range r.Servers {
		servers = append(servers, a.String())
	}
	vrf := ""
	if r.VRF != "default" {
		vrf = ", in vrf " + r.VRF
	}
	w.Linef("Name servers are %s%s", or(strings.Join(servers, ", "), "not set"), vrf)
	w.Line("")
	w.Line("Codes: perm - of the configuration, temp - learned, OK - valid, EX - expired, NE - there is none")
	var rows [][]string
	for _, h := range r.Hosts {
		flags := "(temp, OK)"
		switch {
		case h.Permanent:
			flags = "(perm, OK)"
		case h.Expires == 0:
			flags = "(temp, EX)"
		case h.Missing != "":
			flags = "(temp, NE)"
		}
		age := "-"
		if !h.Permanent {
			age = Clock(time.Duration(h.Age) * time.Second)
		}
		left := "-"
		if h.Expires >= 0 {
			left = Clock(time.Duration(h.Expires) * time.Second)
		}
		var addrs []string
		for _, a := range h.Addresses {
			addrs = append(addrs, a.String())
		}
		rows = append(rows, []string{cli.Plain(h.Name, ""), flags, age, left, or(h.Server, "-"), or(strings.Join(addrs, " "), fmt.Sprintf("%% %s", h.Missing))})
	}
	w.Columns([]string{"Host", "Flags", ">Age", ">Expires", "Server", "Address(es)"}, rows)
}
