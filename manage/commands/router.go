package commands

import (
	"context"
	"net/netip"

	"felloe/manage/cli"
	"felloe/manage/probe"
	"felloe/manage/show"
	"felloe/manage/syslog"
)

// Router is what the commands look at and act on. All methods are safe for concurrent use.
type Router interface {
	View
	Verbs
}

// View reads. An unknown VRF is an error.
type View interface {
	Hostname() string
	Log() *syslog.Log
	ShowVersion() cli.Result
	ShowRunningConfig() (cli.Result, error)
	// ShowInterfaces shows one interface, or all for "".
	ShowInterfaces(name string) (cli.Result, error)
	ShowInterfaceBrief(v6 bool) cli.Result
	// ShowRoutes keeps the routes of one source ("bgp", …), or all for "".
	ShowRoutes(vrf string, v6 bool, source string) (cli.Result, error)
	// ShowRouteTo shows the route that a packet to the address takes.
	ShowRouteTo(vrf string, dst netip.Addr) (cli.Result, error)
	ShowCEF(vrf string, v6 bool) (cli.Result, error)
	ShowNeighbours(v6 bool) cli.Result
	ShowCounters() cli.Result
	ShowDMVPN(detail bool) cli.Result
	// ShowNHRP shows a part: "", "nhs", "shortcut", "traffic", "multicast".
	ShowNHRP(v6 bool, part string) cli.Result
	ShowIKEv2SAs(only show.Only, detailed bool) cli.Result
	ShowIPsecSAs(only show.Only, detail bool) cli.Result
	ShowCryptoSessions(only show.Only, kind show.SessionKind) cli.Result
	ShowCryptoSockets() cli.Result
	ShowBGP(vrf string, v6 bool) (cli.Result, error)
	ShowBGPSummary(vrf string) (cli.Result, error)
	ShowBGPNeighbors(vrf string, only netip.Addr) (cli.Result, error)
}

// Verbs act.
type Verbs interface {
	// Prober sends probes from a VRF.
	Prober(vrf string) (*probe.Prober, error)
	// SourceAddress is an interface's address of a family, for "source Loopback10".
	SourceAddress(name string, v6 bool) (netip.Addr, error)
	// ClearCrypto deletes SAs: kind is "ikev2 sa", "session", "sa" or "ipsec sa"; an invalid peer means all. It tells
	// how many it deleted.
	ClearCrypto(kind string, peer netip.Addr) int
	// ClearNHRP removes dynamic cache entries: one tunnel address', or all for an invalid one.
	ClearNHRP(v6 bool, addr netip.Addr) int
	// ClearBGP resets a neighbour, or all for an invalid address; soft asks for a route refresh instead.
	ClearBGP(vrf string, neighbor netip.Addr, soft bool) error
	ClearNeighbours(v6 bool) int
	// Replace applies a configuration: the text of one, or for "" the one on the configuration disk, read again.
	Replace(ctx context.Context, text string) (cli.Result, error)
	// SetShutdown shuts an interface or brings it back until the next configuration is applied.
	SetShutdown(ctx context.Context, name string, shut bool) error
	// Power ends the router: "poweroff" or "reload".
	Power(kind string) error
}
