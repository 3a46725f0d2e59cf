package commands

import (
	"context"
	"net/netip"

	"felloe/manage/cli"
	"felloe/manage/events"
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
	// Events are what happened, oldest first.
	Events() []events.Event
	// Names are the names that there are for a command's argument, given the keywords before it.
	Names(keywords, arg string) []string
	// CheckVRF says so when there is no such VRF.
	CheckVRF(name string) error
	// InterfaceName is an interface's full name, given an abbreviation.
	InterfaceName(short string) (string, error)

	ShowVersion() cli.Result
	// ShowMemory collects garbage and shows what is left.
	ShowMemory() cli.Result
	// ShowRunningConfig shows the table of one interface, or everything for "".
	ShowRunningConfig(ifname string) (cli.Result, error)
	// ShowDerivedConfig shows what a cloned interface has from its template and its peer.
	ShowDerivedConfig(ifname string) (cli.Result, error)
	// ShowInterfaces shows one interface, or all for "".
	ShowInterfaces(name string) (cli.Result, error)
	ShowInterfaceBrief(v6 bool) cli.Result
	// ShowVRFs shows one VRF, or all for "".
	ShowVRFs(name string, ip, detail bool) (cli.Result, error)
	// ShowRoutes keeps the routes of one source ("bgp", …), or all for "".
	ShowRoutes(vrf string, v6 bool, source string) (cli.Result, error)
	// ShowRouteTo shows the route that a packet to the address takes, ShowRouteOf that of a prefix.
	ShowRouteTo(vrf string, dst netip.Addr) (cli.Result, error)
	ShowRouteOf(vrf string, p netip.Prefix) (cli.Result, error)
	// ShowCEF shows what happens to packets to an address, or everything for an invalid one.
	ShowCEF(vrf string, v6 bool, dst netip.Addr) (cli.Result, error)
	// ShowNeighbours shows those of one VRF, or all for "".
	ShowNeighbours(vrf string, v6 bool) (cli.Result, error)
	ShowCounters() cli.Result
	ShowDMVPN(detail bool) cli.Result
	// ShowNHRP shows a part: "", "nhs", "shortcut", "traffic", "multicast".
	ShowNHRP(v6 bool, part string) cli.Result
	// ShowHosts shows the names that are known.
	ShowHosts() cli.Result
	// ShowTracks shows one tracked object, or all for 0.
	ShowTracks(id int, brief bool) (cli.Result, error)
	ShowBFD(details bool) cli.Result
	// ShowPools shows one address pool with its addresses, or all for "".
	ShowPools(name string) (cli.Result, error)

	ShowIKEv2SAs(only show.Only, detailed bool) cli.Result
	ShowIKEv2Sessions(only show.Only, detailed bool) cli.Result
	ShowCluster() cli.Result
	// ShowFlexClients shows one client block, or all for "".
	ShowFlexClients(name string) (cli.Result, error)
	ShowIPsecSAs(only show.Only, detail bool) cli.Result
	ShowCryptoSessions(only show.Only, kind show.SessionKind) cli.Result
	ShowSessionSummary() cli.Result
	ShowAccounting() cli.Result
	ShowIKEv2Stats() cli.Result
	ShowCryptoSockets() cli.Result
	// ShowConfigured shows what is configured of a kind: "ikev2 proposal", "ipsec profile", "pki trustpoints", …; one by
	// its name, or all for "".
	ShowConfigured(kind, name string) (cli.Result, error)

	ShowBGP(q BGPTables) (cli.Result, error)
	ShowBGPPrefix(q BGPTables, p netip.Prefix, longer bool) (cli.Result, error)
	// ShowBGPTo shows the longest prefix with an address in it.
	ShowBGPTo(q BGPTables, a netip.Addr) (cli.Result, error)
	ShowBGPSummary(q BGPTables) (cli.Result, error)
	ShowBGPNeighbors(q BGPTables, only netip.Addr) (cli.Result, error)
	// ShowBGPRoutesOf shows a neighbour's "routes", "received-routes" or "advertised-routes".
	ShowBGPRoutesOf(q BGPTables, neighbor netip.Addr, part string) (cli.Result, error)
	// ShowPolicy shows the policies of a kind: "ip prefix-list", "route-map", …
	ShowPolicy(kind, name string, detail bool) (cli.Result, error)
}

// Verbs act.
type Verbs interface {
	// Prober sends probes from a VRF.
	Prober(vrf string) (*probe.Prober, error)
	// SourceAddress is an interface's address of a family, for "source Loopback10".
	SourceAddress(name string, v6 bool) (netip.Addr, error)
	// ClearCrypto deletes SAs: kind is "ikev2 sa", "session", "sa" or "ipsec sa". It tells how many it deleted.
	ClearCrypto(kind string, only show.Only) int
	// ClearCryptoCounters has the counters of SAs begin at zero.
	ClearCryptoCounters()
	// ClearNHRP removes dynamic cache entries: one tunnel address', or all for an invalid one.
	ClearNHRP(v6 bool, addr netip.Addr) int
	// ConnectClient and DisconnectClient are the operator's words to a client block that is connected by hand.
	ConnectClient(name string) error
	DisconnectClient(name string) error
	// ClearClient has a client block, or all for "", begin anew with its best peer.
	ClearClient(name string) error
	// ClearBFDCounters has BFD's packets be counted from zero.
	ClearBFDCounters()
	// ClearBGP resets sessions, or refreshes what was said in them.
	ClearBGP(c BGPClear) error
	// ClearNeighbours forgets those of one VRF, or all for "".
	ClearNeighbours(vrf string, v6 bool) int
	// Replace applies a configuration: the text of one, or for "" the one on the configuration disk, read again.
	Replace(ctx context.Context, text string) (cli.Result, error)
	// SetShutdown shuts an interface or brings it back until the next configuration is applied.
	SetShutdown(ctx context.Context, name string, shut bool) error
	// Power ends the router: "poweroff" or "reload".
	Power(kind string) error
}
