package frr

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"felloe/tests/interop/peers"
)

// live is a member that runs: the same questions for both kinds.
type live interface {
	about() member
	// ping sends n packets and says how many were answered.
	ping(from, to string, n int) (answered int, err error)
	// hops are the addresses of the routers on the way, the destination's last.
	hops(from, to string) ([]string, error)
	// registered: the hub knows the spoke, under its own transport address.
	registered(s member) error
	// served: the spoke's next hop server has answered, for both families.
	served(hub member) error
	// route: there is a route to the prefix or to one around it.
	route(prefix string) error
	// shortcut: the way to the address, or to the network that it is in, leads to this member directly.
	shortcut(to string, far member) error
	// noShortcut: none leads there.
	noShortcut(to string) error
}

type felloe struct {
	member
	*peers.Router
}

func (f felloe) about() member { return f.member }

var answered = regexp.MustCompile(`\((\d+)/(\d+)\)`)

func (f felloe) ping(from, to string, n int) (int, error) {
	out, err := f.TryFor(time.Duration(n)*3*time.Second, fmt.Sprintf("ping %s source Loopback10 repeat %d interval 200 timeout 2", to, n))
	if err != nil {
		return 0, err
	}
	m := answered.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ping says: %s", out)
	}
	var got int
	_, err = fmt.Sscan(m[1], &got)
	return got, err
}

var hop = regexp.MustCompile(`(?m)^ *\d+ +([0-9a-f.:]+|\*)`)

func (f felloe) hops(from, to string) ([]string, error) {
	out, err := f.Try("traceroute " + to + " source Loopback10")
	return parseHops(out), err
}

func parseHops(out string) []string {
	var list []string
	for _, m := range hop.FindAllStringSubmatch(out, -1) {
		list = append(list, m[1])
	}
	return list
}

func (f felloe) registered(s member) error {
	out, err := f.Try("show dmvpn")
	if err != nil {
		return err
	}
	out6, err := f.Try("show ipv6 nhrp")
	if err != nil {
		return err
	}
	if err := peers.Match(out, regexp.QuoteMeta(s.nbma())+` +`+regexp.QuoteMeta(s.tunnel())+` +UP\b`); err != nil {
		return err
	}
	return peers.Match(out6, regexp.QuoteMeta(s.tunnel6()))
}

func (f felloe) served(hub member) error {
	for command, address := range map[string]string{"show ip nhrp nhs": hub.tunnel(), "show ipv6 nhrp nhs": hub.tunnel6()} {
		out, err := f.Try(command)
		if err != nil {
			return err
		}
		if err := peers.Match(out, regexp.QuoteMeta(address)+` +RE\b`); err != nil {
			return err
		}
	}
	return nil
}

func (f felloe) route(prefix string) error {
	address, _, _ := strings.Cut(prefix, "/")
	command := "show ip route " + address
	if strings.Contains(prefix, ":") {
		command = "show ipv6 route " + address
	}
	out, err := f.Try(command)
	if err != nil {
		return err
	}
	return peers.Match(out, `^B `)
}

func (f felloe) shortcuts(to string) (string, error) {
	if strings.Contains(to, ":") {
		return f.Try("show ipv6 nhrp shortcut")
	}
	return f.Try("show ip nhrp shortcut")
}

func (f felloe) shortcut(to string, far member) error {
	out, err := f.shortcuts(to)
	if err != nil {
		return err
	}
	prefix, via := far.prefix(), far.tunnel()
	if strings.Contains(to, ":") {
		prefix, via = far.prefix6(), far.tunnel6()
	}
	return peers.Match(out, `^(`+regexp.QuoteMeta(prefix)+`|`+regexp.QuoteMeta(to)+`/\d+) via `+regexp.QuoteMeta(via), `NBMA address: `+regexp.QuoteMeta(far.nbma()))
}

func (f felloe) noShortcut(to string) error {
	out, err := f.shortcuts(to)
	if err != nil {
		return err
	}
	address, _, _ := strings.Cut(to, ".0.1")
	address, _, _ = strings.Cut(address, "::1")
	return peers.Match(out, "!"+regexp.QuoteMeta(address)+`[.:]`)
}

type machine struct {
	member
	*peers.Machine
}

func (f machine) about() member { return f.member }

var received = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

func (f machine) ping(from, to string, n int) (int, error) {
	out, err := f.TryFor(time.Duration(n)*3*time.Second, fmt.Sprintf("ping -n -c %d -i 0.2 -W 2 -I %s %s", n, from, to))
	m := received.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ping says: %s %v", out, err)
	}
	var got int
	_, err = fmt.Sscan(m[2], &got)
	return got, err
}

func (f machine) hops(from, to string) ([]string, error) {
	out, err := f.Try(fmt.Sprintf("traceroute -n -q 1 -w 2 -m 6 -s %s %s | tail -n +2", from, to))
	return parseHops(out), err
}

func (f machine) vtysh(command string) (string, error) { return f.Try("vtysh -c '" + command + "'") }

func (f machine) registered(s member) error {
	out, err := f.Try("vtysh -c 'show ip nhrp cache' -c 'show ipv6 nhrp cache'")
	if err != nil {
		return err
	}
	return peers.Match(out, `gre1 +dynamic +`+regexp.QuoteMeta(s.tunnel())+` +`+regexp.QuoteMeta(s.nbma())+` .*T`,
		`gre1 +dynamic +`+regexp.QuoteMeta(s.tunnel6())+` +`+regexp.QuoteMeta(s.nbma())+` .*T`)
}

func (f machine) served(hub member) error {
	out, err := f.Try("vtysh -c 'show ip nhrp cache' -c 'show ipv6 nhrp cache'")
	if err != nil {
		return err
	}
	return peers.Match(out, `gre1 +nhs +`+regexp.QuoteMeta(hub.tunnel())+` +`+regexp.QuoteMeta(hub.nbma())+` .*T`,
		`gre1 +nhs +`+regexp.QuoteMeta(hub.tunnel6())+` +`+regexp.QuoteMeta(hub.nbma())+` .*T`)
}

func (f machine) route(prefix string) error {
	address, _, _ := strings.Cut(prefix, "/")
	command := "show ip route " + address
	if strings.Contains(prefix, ":") {
		command = "show ipv6 route " + address
	}
	out, err := f.vtysh(command)
	if err != nil {
		return err
	}
	return peers.Match(out, `Known via "bgp"`)
}

func (f machine) shortcuts(to string) (string, error) {
	if strings.Contains(to, ":") {
		return f.vtysh("show ipv6 nhrp shortcut")
	}
	return f.vtysh("show ip nhrp shortcut")
}

func (f machine) shortcut(to string, far member) error {
	out, err := f.shortcuts(to)
	if err != nil {
		return err
	}
	prefix, via := far.prefix(), far.tunnel()
	command := "show ip route " + to
	if strings.Contains(to, ":") {
		prefix, via = far.prefix6(), far.tunnel6()
		command = "show ipv6 route " + to
	}
	if err := peers.Match(out, `dynamic +(`+regexp.QuoteMeta(prefix)+`|`+regexp.QuoteMeta(to)+`/\d+) +`+regexp.QuoteMeta(via)); err != nil {
		return err
	}
	if out, err = f.vtysh(command); err != nil {
		return err
	}
	return peers.Match(out, `Known via "nhrp".*best`)
}

func (f machine) noShortcut(to string) error {
	out, err := f.shortcuts(to)
	if err != nil {
		return err
	}
	address, _, _ := strings.Cut(to, ".0.1")
	address, _, _ = strings.Cut(address, "::1")
	return peers.Match(out, "!"+regexp.QuoteMeta(address)+`[.:]`)
}
