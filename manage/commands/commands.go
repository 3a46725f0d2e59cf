package commands

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"felloe/manage/cli"
	"felloe/manage/events"
	"felloe/manage/show"
)

// help is what "?" says beside a word.
var help = map[string]string{
	"show": "Show running system information", "clear": "Reset functions", "debug": "Debugging functions", "undebug": "Disable debugging functions",
	"no": "Negate a command", "ping": "Send echo messages", "traceroute": "Trace the route to a destination", "terminal": "Set terminal parameters",
	"reload": "Shut down and restart", "poweroff": "Shut down and power off", "exit": "Leave the console", "configure": "Change the configuration",
	"ip": "IPv4", "ipv6": "IPv6", "crypto": "Keys and encryption", "dmvpn": "Dynamic multipoint VPN", "nhrp": "Next Hop Resolution Protocol",
	"bgp": "Border Gateway Protocol", "interface": "One interface", "interfaces": "Interface state and counters", "vrf": "A routing table",
	"route": "Routing table", "cef": "Forwarding table", "arp": "IPv4 neighbours", "neighbors": "Neighbours", "version": "Version, uptime, boot times",
	"running-config": "The configuration that is applied", "logging": "The log's buffer", "counters": "Drops and events by reason",
	"ikev2": "IKEv2", "ipsec": "IPsec", "session": "Sessions by peer", "sockets": "Crypto sockets of tunnels", "sa": "Security associations",
	"detail": "More of it", "detailed": "More of it", "summary": "One line a neighbour", "nhs": "Next hop servers", "shortcut": "Shortcuts", "traffic": "Packets by type",
	"multicast": "Replication list", "brief": "One line an interface", "monitor": "Show log lines here", "condition": "Limit debug lines", "peer": "By peer",
	"source": "Source address or interface", "repeat": "How many", "size": "Bytes", "timeout": "Seconds", "interval": "Milliseconds between packets", "df-bit": "Do not fragment",
	"soft": "Route refresh without a reset", "replace": "Apply a whole configuration", "all": "All", "static": "Static routes", "connected": "Connected routes", "packet": "Packets",
	"authorization": "Authorization policies", "policy": "Policies", "profile": "Profiles", "proposal": "Proposals", "stats": "Counters", "transform-set": "Algorithms and mode",
	"pki": "Certificates", "certificates": "Certificates of this router and of authorities", "trustpoints": "Whom certificates are trusted from", "crls": "Revocation lists",
	"remote": "By the peer's address", "local": "Of this router's address", "fvrf": "By the routing table outside", "ivrf": "By the routing table inside", "spi": "By security parameter index",
	"vpnv4": "IPv4 in VRFs", "vpnv6": "IPv6 in VRFs", "ipv4": "IPv4", "unicast": "Unicast routes", "advertised-routes": "What it is told", "received-routes": "What it said, before policy",
	"routes": "What is accepted of it", "in": "Towards this router", "out": "From this router", "prefix-list": "Prefix lists", "route-map": "Route maps", "as-path-access-list": "AS path lists",
	"community-list": "Community lists", "pool": "Address pools", "derived-config": "Configuration of a cloned interface", "arp-cache": "IPv4 neighbours", "client": "FlexVPN clients",
	"flexvpn": "Cloned interfaces and what they are told", "updates": "Updates", "events": "Events", "keepalives": "Keepalives", "error": "Errors", "internal": "Decisions",
	"last": "The newest ones only", "track": "Tracked objects", "bfd": "Bidirectional Forwarding Detection", "details": "More of it", "cluster": "Hubs that share their load", "hosts": "Names and their addresses",
	"<number>": "Its number", "processes": "The router's process", "memory": "Memory",
	"<prefix>": "Prefix or address", "<spi>": "0x… or a number", "<fvrf>": "VRF outside the tunnel", "<ivrf>": "VRF inside the tunnel", "<local>": "This router's address",
	"<host>": "Address", "<address>": "Address", "<name>": "Name", "<interface>": "Interface name", "<count>": "Number",
}

// New returns the command tree over a router.
func New(r Router) *cli.Tree {
	t := cli.NewTree(help)
	t.Names = r.Names
	shows(t, r)
	showRoutes(t, r)
	showCrypto(t, r)
	showBGP(t, r)
	showPolicies(t, r)
	clears(t, r)
	debugs(t, r)
	probes(t, r)
	session(t, r)
	return t
}

func add(t *cli.Tree, pattern, help string, run func(*cli.Invocation) (cli.Result, error)) {
	t.Add(cli.Command{Pattern: pattern, Help: help, Run: run})
}

// plain is a show without arguments.
func plain(t *cli.Tree, pattern, help string, f func() cli.Result) {
	add(t, pattern, help, func(*cli.Invocation) (cli.Result, error) { return f(), nil })
}

// vrf is the routing table that a command is for.
func vrf(i *cli.Invocation) string {
	if i.Has("name") {
		return i.Args["name"]
	}
	return "default"
}

// address reads an optional argument.
func address(i *cli.Invocation, arg string) (netip.Addr, error) {
	text, has := i.Args[arg]
	if !has || text == "*" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, fmt.Errorf("%% %q is not an address", text)
	}
	return a.Unmap(), nil
}

func shows(t *cli.Tree, r Router) {
	plain(t, "show version", "Version, uptime, boot times", r.ShowVersion)
	plain(t, "show processes memory", "What the router's process has", r.ShowMemory)
	plain(t, "show counters", "Drops and events by reason", r.ShowCounters)
	plain(t, "show dmvpn", "Tunnels and their peers", func() cli.Result { return r.ShowDMVPN(false) })
	plain(t, "show dmvpn detail", "", func() cli.Result { return r.ShowDMVPN(true) })
	plain(t, "show logging", "", func() cli.Result { return show.NewLogging(r.Log()) })
	add(t, "show events {peer <address>|last <count>}*", "What happened, as stories", func(i *cli.Invocation) (cli.Result, error) {
		a, err := address(i, "address")
		if err != nil {
			return nil, err
		}
		n, err := number(i, "count", 1, 1000000)
		if err != nil {
			return nil, err
		}
		return show.NewEvents(events.Stories(r.Events()), a, n), nil
	})
	plain(t, "show debugging", "What is being debugged", func() cli.Result {
		l := show.NewLogging(r.Log())
		l.Entries = nil
		return l
	})
	add(t, "show running-config [interface <interface>]", "", func(i *cli.Invocation) (cli.Result, error) {
		return r.ShowRunningConfig(i.Args["interface"])
	})
	add(t, "show derived-config interface <interface>", "", func(i *cli.Invocation) (cli.Result, error) { return r.ShowDerivedConfig(i.Args["interface"]) })
	add(t, "show interfaces [<interface>]", "", func(i *cli.Invocation) (cli.Result, error) {
		return r.ShowInterfaces(i.Args["interface"])
	})
	for _, word := range []string{"vrf", "ip vrf"} {
		for _, detail := range []string{"", " detail"} {
			add(t, "show "+word+detail+" [<name>]", "", func(i *cli.Invocation) (cli.Result, error) {
				return r.ShowVRFs(i.Args["name"], word == "ip vrf", detail != "")
			})
		}
	}
	for _, pattern := range []string{"show arp", "show ip arp", "show ipv6 neighbors"} {
		add(t, pattern+" [vrf <name>]", "", func(i *cli.Invocation) (cli.Result, error) {
			return r.ShowNeighbours(i.Args["name"], strings.Contains(pattern, "ipv6"))
		})
	}
	for _, family := range []string{"ip", "ipv6"} {
		v6 := family == "ipv6"
		plain(t, "show "+family+" interface brief", "", func() cli.Result { return r.ShowInterfaceBrief(v6) })
		for _, part := range []string{"", "nhs", "shortcut", "traffic", "multicast"} {
			plain(t, strings.TrimSpace("show "+family+" nhrp "+part), "", func() cli.Result { return r.ShowNHRP(v6, part) })
		}
	}
	tracked := func(brief bool) func(*cli.Invocation) (cli.Result, error) {
		return func(i *cli.Invocation) (cli.Result, error) {
			id, err := number(i, "number", 1, 1000)
			if err != nil {
				return nil, err
			}
			return r.ShowTracks(id, brief)
		}
	}
	add(t, "show track [<number>]", "Tracked objects", tracked(false))
	add(t, "show track brief", "A line each", tracked(true))
	plain(t, "show hosts", "Names and their addresses", r.ShowHosts)
	plain(t, "show bfd neighbors", "BFD sessions", func() cli.Result { return r.ShowBFD(false) })
	plain(t, "show bfd neighbors details", "", func() cli.Result { return r.ShowBFD(true) })
	add(t, "show ip local pool [<name>]", "", func(i *cli.Invocation) (cli.Result, error) { return r.ShowPools(i.Args["name"]) })
}

func showRoutes(t *cli.Tree, r Router) {
	for _, family := range []string{"ip", "ipv6"} {
		v6 := family == "ipv6"
		add(t, "show "+family+" route [vrf <name>] [bgp|static|connected|local|nhrp|<address>]", "", func(i *cli.Invocation) (cli.Result, error) {
			if text, has := i.Args["address"]; has {
				if p, err := netip.ParsePrefix(text); err == nil {
					return r.ShowRouteOf(vrf(i), p.Masked())
				}
				a, err := address(i, "address")
				if err != nil {
					return nil, err
				}
				return r.ShowRouteTo(vrf(i), a)
			}
			source := ""
			for _, s := range []string{"bgp", "static", "connected", "local", "nhrp"} {
				if i.Has(s) {
					source = s
				}
			}
			return r.ShowRoutes(vrf(i), v6, source)
		})
		add(t, "show "+family+" cef [vrf <name>] [<address>]", "", func(i *cli.Invocation) (cli.Result, error) {
			a, err := address(i, "address")
			if err != nil {
				return nil, err
			}
			return r.ShowCEF(vrf(i), v6, a)
		})
	}
}

func session(t *cli.Tree, r Router) {
	for _, word := range []string{"exit", "quit", "logout"} {
		add(t, word, "", func(i *cli.Invocation) (cli.Result, error) { i.Session.Closed = true; return nil, nil })
	}
	nothing := func(*cli.Invocation) (cli.Result, error) { return nil, nil }
	for _, habit := range []string{"enable", "disable", "end", "terminal length <count>", "terminal width <count>"} {
		add(t, habit, "Accepted, changes nothing here", nothing)
	}
	add(t, "terminal monitor", "", func(i *cli.Invocation) (cli.Result, error) { i.Session.Monitor.Store(true); return nil, nil })
	add(t, "terminal no monitor", "", func(i *cli.Invocation) (cli.Result, error) { i.Session.Monitor.Store(false); return nil, nil })
	add(t, "configure replace", "Read the configuration disk again and apply it", func(i *cli.Invocation) (cli.Result, error) {
		return r.Replace(i, "")
	})
	add(t, "configure replace base64 <text>", "Apply the configuration given in base64 (for programs)", func(i *cli.Invocation) (cli.Result, error) {
		text, err := base64.StdEncoding.DecodeString(i.Args["text"])
		if err != nil {
			return nil, fmt.Errorf("%% not base64: %w", err)
		}
		if len(text) == 0 {
			return nil, errors.New("% an empty configuration")
		}
		return r.Replace(i, string(text))
	})
	add(t, "configure terminal", "", func(*cli.Invocation) (cli.Result, error) {
		return nil, errors.New("% The configuration is a TOML file: change the file, then \"configure replace\"")
	})
	add(t, "shutdown interface <interface>", "Shut an interface until the next configuration is applied", func(i *cli.Invocation) (cli.Result, error) {
		return nil, r.SetShutdown(i, i.Args["interface"], true)
	})
	add(t, "no shutdown interface <interface>", "Bring an interface back", func(i *cli.Invocation) (cli.Result, error) {
		return nil, r.SetShutdown(i, i.Args["interface"], false)
	})
	t.Spell("shutdown", 4)
	for _, kind := range []string{"reload", "poweroff"} {
		add(t, kind, "", func(*cli.Invocation) (cli.Result, error) { return nil, r.Power(kind) })
	}
}
