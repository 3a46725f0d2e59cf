package show

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"flag"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/events"
	"felloe/manage/syslog"
	"felloe/netstack/dns"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/routing/bfd"
	"felloe/routing/bgp"
	"felloe/routing/policy"
	"felloe/routing/rib"
	"felloe/routing/track"
	"felloe/vpn/cluster"
	"felloe/vpn/flexvpn/client"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/nhrp"
	"felloe/vpn/pki"
	"felloe/vpn/protect"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	now    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
	port   = netip.MustParseAddrPort
)

func spokeTunnel() []nhrp.TunnelInfo {
	since := now.Add(-65 * time.Second)
	return []nhrp.TunnelInfo{{Name: "Tunnel0", VRF: "default", NetworkID: 1, Type: "Spoke", NBMA: addr("172.16.3.3"),
		NHS: []nhrp.NHSInfo{
			{Tunnel: "Tunnel0", Address: addr("10.10.10.1"), NBMA: addr("172.16.1.1"), Flags: "RE", Sent: 3, Replies: 3},
			{Tunnel: "Tunnel0", Address: addr("10.10.10.9"), NBMA: addr("172.16.9.9"), Flags: "E", Priority: 2, Cluster: 1, Reason: "session did not come up"}},
		Peers: []nhrp.PeerInfo{
			{Tunnel: "Tunnel0", NBMA: addr("172.16.1.1"), Address: addr("10.10.10.1"), Prefix: prefix("10.10.10.1/32"), State: "UP", Since: since, Attrs: []string{"S"}, Entries: 1},
			{Tunnel: "Tunnel0", NBMA: addr("172.16.2.2"), Address: addr("10.10.10.2"), Prefix: prefix("10.10.10.2/32"), State: "UP", Since: since, Attrs: []string{"D"}, Entries: 2, Identity: "172.16.2.2"},
			{Tunnel: "Tunnel0", NBMA: addr("172.16.2.2"), Address: addr("10.10.10.2"), Prefix: prefix("192.168.22.2/32"), State: "UP", Since: since, Attrs: []string{"D", "T2"}, Identity: "172.16.2.2"}},
		Cache: []nhrp.CacheEntry{
			{Tunnel: "Tunnel0", Prefix: prefix("10.10.10.1/32"), NextHop: addr("10.10.10.1"), Type: "static", Flags: []string{"nhs", "used"}, NBMA: addr("172.16.1.1"), Created: since, Kind: nhrp.KindNHS, Up: true},
			{Tunnel: "Tunnel0", Prefix: prefix("192.168.22.2/32"), NextHop: addr("10.10.10.2"), Type: "dynamic", Flags: []string{"router", "rib", "nho"}, NBMA: addr("172.16.2.2"),
				Claimed: addr("10.0.0.2"), Created: since, Expires: now.Add(535 * time.Second), Kind: nhrp.KindResolved, Route: nhrp.RouteOverride, Up: true},
			{Tunnel: "Tunnel0", Prefix: prefix("192.168.33.3/32"), NextHop: addr("10.10.10.3"), Type: "dynamic", Flags: []string{"router", "unique", "local"}, NBMA: addr("172.16.3.3"),
				Created: since, Expires: now.Add(535 * time.Second), NoSocket: true, Requesters: []netip.Addr{addr("10.10.10.2")}},
			{Tunnel: "Tunnel0", Prefix: prefix("192.168.44.4/32"), NextHop: addr("192.168.44.4"), Type: "incomplete", Flags: []string{"negative"}, Created: since, NoSocket: true, Kind: nhrp.KindNegative}},
		Multicast: []nhrp.MulticastInfo{{Tunnel: "Tunnel0", NBMA: addr("172.16.1.1"), Flags: "nhs", Up: true}}}}
}

func sessions() []protect.Info {
	s := esp.Suite{Encr: esp.Encr(suite.ENCR_AES_CBC), KeyBits: 256, Integ: esp.Integ(suite.AUTH_HMAC_SHA2_256_128)}
	return []protect.Info{
		{Tunnel: "Tunnel0", VRF: "default", Profile: "P", NBMA: addr("172.16.1.1"), Local: port("172.16.3.3:500"), Remote: port("172.16.1.1:500"),
			Peer: ikev2.AddressIdentity(addr("172.16.1.1")), IKE: 1, State: protect.StateUp, Since: now.Add(-65 * time.Second), Wanted: true,
			Totals: protect.Totals{Attempts: 2, Failures: 1, Ups: 1, Rekeys: 1},
			Pairs: []protect.PairInfo{{Child: 1, SPIIn: 0x11223344, SPIOut: 0x55667788, Mode: esp.Tunnel, Suite: s, Local: port("172.16.3.3:500"), Remote: port("172.16.1.1:500"),
				Expires: now.Add(50 * time.Minute), VolumeBytes: 4608000 * 1024, ReplayWindow: 1024, PathMTU: 1500, PlainMTU: 1438, PFS: suite.ECP_256}}},
		{Tunnel: "Tunnel0", VRF: "default", Profile: "P", NBMA: addr("172.16.9.9"), State: protect.StateRetrying, LastError: ikev2.ErrAuthentication, RetryAt: now.Add(7 * time.Second),
			Totals: protect.Totals{Attempts: 4, Failures: 4}}}
}

// serverSessions are those of a FlexVPN server in two VRFs: one client whose SAs are being replaced.
func serverSessions() ([]protect.Info, []ikev2.SAInfo, Around) {
	s := esp.Suite{Encr: esp.Encr(suite.ENCR_AES_CBC), KeyBits: 256, Integ: esp.Integ(suite.AUTH_HMAC_SHA2_512_256)}
	local, remote := port("10.88.247.84:4500"), port("10.88.247.89:4500")
	any4 := []ikev2.TrafficSelector{{EndPort: 65535, Start: addr("0.0.0.0"), End: addr("255.255.255.255")}}
	theirs := []ikev2.TrafficSelector{{EndPort: 65535, Start: addr("10.122.144.128"), End: addr("10.122.144.159")}}
	client := ikev2.AddressIdentity(addr("10.88.247.89"))
	pairs := []protect.PairInfo{
		{Child: 1, IKE: 1, SPIIn: 0xB80E6942, SPIOut: 0xC91BCDE0, Mode: esp.Tunnel, Suite: s, Local: local, Remote: remote, TSLocal: any4, TSRemote: theirs, Expires: now.Add(60 * time.Second),
			VolumeBytes: 4608000 * 1024, ReplayWindow: 1024, PathMTU: 1500, PlainMTU: 1422, In: esp.Counters{Packets: 5, Bytes: 500, Replay: 1}, Out: esp.Counters{Packets: 7, Bytes: 2048}},
		{Child: 2, IKE: 1, SPIIn: 0x00000A01, SPIOut: 0x00000A02, Mode: esp.Tunnel, Suite: s, Local: local, Remote: remote, TSLocal: any4, TSRemote: theirs, Expires: now.Add(8 * time.Hour),
			VolumeBytes: 4608000 * 1024, ReplayWindow: 1024, PathMTU: 1500, PlainMTU: 1422, PFS: suite.MODP_2048, Sending: true, In: esp.Counters{Packets: 2}, Out: esp.Counters{Packets: 2}}}
	pfs := uint(1)
	sa := ikev2.SAInfo{ID: 1, VRF: "public-vrf", Local: local, Remote: remote, State: "READY", Profile: "uCPE-profile",
		Suite:    suite.IKE{Encr: suite.ENCR_AES_CBC, KeyBits: 256, PRF: suite.PRF_HMAC_SHA2_512, Integ: suite.AUTH_HMAC_SHA2_512_256, Group: suite.MODP_4096},
		AuthSign: message.AuthSharedKey, AuthVerify: message.AuthSharedKey, LocalID: ikev2.AddressIdentity(addr("10.88.247.84")), RemoteID: client,
		SPIi: 0x1111, SPIr: 0x2222, Lifetime: 24 * time.Hour, Active: 41990 * time.Second, Established: now.Add(-41990 * time.Second), SendMessageID: 1, RecvMessageID: 18, Window: 1,
		DPD: ikev2.DPD{Interval: 60 * time.Second, Retry: 2 * time.Second, OnDemand: true}, Fragmentation: true, MOBIKE: true, Authorization: "uCPE-author-pol", Vendors: []string{"strongSwan"},
		Assigned: ikev2.Configuration{Subnets: []netip.Prefix{prefix("166.34.121.112/32")}, Version: "Felloe", PFS: &pfs, Domains: []string{"example.com"},
			Addresses: []netip.Prefix{prefix("10.122.144.146/27")}},
		Children: []ikev2.ChildInfo{{ID: 2, Policy: "Virtual-Template1", State: "READY", SPIIn: 0xA01, SPIOut: 0xA02, Suite: s, Mode: esp.Tunnel, TSLocal: any4, TSRemote: theirs}}}
	sa.LocalCertificate = &ikev2.CertificateInfo{Subject: "CN=c8000v,O=Example", Issuer: "CN=Example CA", Serial: "0A", NotAfter: now, Key: "ECDSA P-256", Trustpoint: "CA"}
	sa.PeerCertificate = &ikev2.CertificateInfo{Subject: "CN=spoke1,OU=spokes", Issuer: "CN=Example CA", Serial: "0B", NotAfter: now, Key: "RSA-2048", Trustpoint: "CA"}
	sa.SignScheme, sa.VerifyScheme = ikev2.Scheme{Name: "ECDSA-256", Hash: "SHA256"}, ikev2.Scheme{Name: "RSA", Hash: "SHA256"}
	idle := sa
	idle.ID, idle.Remote, idle.RemoteID, idle.Children, idle.Assigned = 2, port("10.88.247.90:500"), ikev2.FQDNIdentity("idle.example"), nil, ikev2.Configuration{}
	sessions := []protect.Info{{Tunnel: "Virtual-Access1", VRF: "public-vrf", Profile: "uCPE-profile", NBMA: addr("10.88.247.89"), Local: local, Remote: remote, Peer: client, IKE: 1,
		State: protect.StateUp, Since: now.Add(-41990 * time.Second), Totals: protect.Totals{Ups: 1, Rekeys: 1}, Pairs: pairs}}
	return sessions, []ikev2.SAInfo{sa, idle}, Around{IVRF: func(name string) string { return map[string]string{"Virtual-Access1": "private-vrf"}[name] },
		Egress:  func(string, netip.Addr) (string, int) { return "GigabitEthernet1", 1500 },
		Cleared: func(spi uint32) (in, out esp.Counters) { return esp.Counters{}, esp.Counters{} }}
}

func answers() map[string]cli.Result {
	server, sas, around := serverSessions()
	inside := func(*ikev2.SAInfo) string { return "private-vrf" }
	hop := []rib.Hop{{Via: addr("10.10.10.1"), Interface: "Tunnel0"}}
	routes := []rib.Route{
		{Prefix: prefix("0.0.0.0/0"), Source: rib.Static, Distance: 1, Hops: []rib.Hop{{Via: addr("172.16.3.254"), Interface: "GigabitEthernet1"}}, Since: now.Add(-time.Hour)},
		{Prefix: prefix("10.10.10.0/24"), Source: rib.Connected, Hops: []rib.Hop{{Interface: "Tunnel0"}}, Since: now},
		{Prefix: prefix("192.168.11.1/32"), Source: rib.EBGP, Distance: 20, Hops: hop, Since: now.Add(-26 * time.Hour)},
		{Prefix: prefix("192.168.22.2/32"), Source: rib.EBGP, Distance: 20, Hops: hop, Since: now.Add(-65 * time.Second),
			Override: []rib.Hop{{Via: addr("10.10.10.2"), Interface: "Tunnel0"}}, OverrideSince: now.Add(-5 * time.Second)},
		{Prefix: prefix("192.168.99.0/24"), Source: rib.Static, Distance: 1, Kind: fib.Discard, Since: now},
		{Prefix: prefix("10.122.144.128/27"), Source: rib.IKE, Distance: 1, Hops: []rib.Hop{{Interface: "Virtual-Access1"}}, Since: now},
	}
	ike := ikev2.SAInfo{ID: 1, VRF: "default", Local: port("172.16.1.1:500"), Remote: port("172.16.2.2:500"), State: "READY", Profile: "P",
		Suite:    suite.IKE{Encr: suite.ENCR_AES_CBC, KeyBits: 256, PRF: suite.PRF_HMAC_SHA2_256, Integ: suite.AUTH_HMAC_SHA2_256_128, Group: suite.MODP_2048},
		AuthSign: message.AuthSharedKey, AuthVerify: message.AuthSharedKey, LocalID: ikev2.AddressIdentity(addr("172.16.1.1")), RemoteID: ikev2.FQDNIdentity("spoke1.example"),
		SPIi: 0x1111, SPIr: 0x2222, Lifetime: 24 * time.Hour, Active: 65 * time.Second, SendMessageID: 2, RecvMessageID: 3, Window: 1,
		DPD: ikev2.DPD{Interval: 30 * time.Second, Retry: 5 * time.Second, OnDemand: true}, Fragmentation: true, NAT: ikev2.NAT{Remote: true}}
	up := bgp.NeighborInfo{Peer: bgp.Peer{Address: addr("10.10.10.1"), RemoteAS: 65010, External: true, State: bgp.Established, RouterID: addr("192.168.11.1"),
		Hold: 6 * time.Second, Local: port("10.10.10.3:179"), Remote: port("10.10.10.1:26572"), Established: 1}, UpDown: 65 * time.Second, Prefixes: 2}
	gone := overlay(false)
	gone.Entries = gone.Entries[3:]
	gone.Entries[0].Paths[0].Stale = true
	back := up
	back.Graceful = &bgp.Graceful{Restarting: true, Time: 2 * time.Minute, Kept: []bgp.Family{bgp.IPv4}}
	back.Stale = 2
	back.Settings = bgp.Neighbor{NextHopSelf: true, NextHopSelfAll: true, BFD: bgp.BFDSingleHop, UnsuppressMap: policies().RouteMaps["M"]}
	down := bgp.NeighborInfo{Peer: bgp.Peer{Address: addr("10.10.10.9"), RemoteAS: 65019, External: true, LastReset: "wrong AS", Dropped: 1}, UpDown: -1}
	return map[string]cli.Result{
		"events":                     NewEvents(failover(), netip.Addr{}, 2),
		"track":                      NewTracks(tracks(), 0, false, now),
		"track-brief":                NewTracks(tracks(), 0, true, now),
		"track-one":                  NewTracks(tracks(), 2, false, now),
		"bfd-neighbors":              NewBFDNeighbors(bfdSessions(), bfd.Counters{Received: 1000, Sent: 1001, HopLimit: 1}, false, now),
		"bfd-neighbors-details":      NewBFDNeighbors(bfdSessions(), bfd.Counters{Received: 1000, Sent: 1001, HopLimit: 1}, true, now),
		"cluster":                    NewCluster(clusterInfo(), "GigabitEthernet1", 2012, now),
		"cluster-none":               Cluster{},
		"accounting":                 accounts(),
		"accounting-none":            Accounting{},
		"ikev2-session":              NewIKEv2Sessions(NewIKEv2SAs(sas, Only{}, inside, false), false),
		"ikev2-session-detailed":     NewIKEv2Sessions(NewIKEv2SAs(sas, Only{}, inside, true), true),
		"flexvpn-clients":            NewFlexClients(flexClients(), "", flexTunnel, now),
		"flexvpn-client":             NewFlexClients(flexClients(), "flex_client", flexTunnel, now),
		"hosts":                      NewHosts(hosts(), "example.com", "outside", []netip.Addr{addr("10.0.0.53"), addr("2001:db8::53")}, now),
		"hosts-none":                 NewHosts(nil, "", "default", nil, now),
		"memory":                     Memory{Heap: 9 << 20, Objects: 71320, Reserved: 21 << 20, Resident: 37 << 20, Goroutines: 31, Collections: 14},
		"dmvpn":                      NewDMVPN(spokeTunnel(), false, now),
		"dmvpn-detail":               NewDMVPN(spokeTunnel(), true, now),
		"nhrp":                       NewNHRPCache(spokeTunnel(), false, false, now),
		"nhrp-shortcut":              NewNHRPCache(spokeTunnel(), false, true, now),
		"nhrp-nhs":                   NewNHRPServers(spokeTunnel(), false),
		"nhrp-multicast":             NewNHRPMulticast(spokeTunnel()),
		"route":                      NewRoutes("default", routes, false, "", now),
		"route-static":               NewRoutes("private-vrf", routes, false, "static", now),
		"route-nhrp":                 NewRoutes("default", routes, false, "nhrp", now),
		"ikev2-sa":                   NewIKEv2SAs([]ikev2.SAInfo{ike}, Only{}, nil, false),
		"ikev2-sa-detailed":          NewIKEv2SAs([]ikev2.SAInfo{ike}, Only{}, nil, true),
		"ipsec-sa":                   NewIPsecSAs(sessions(), Only{}, Around{}, false, now),
		"crypto-session":             NewCryptoSessions(sessions(), []ikev2.SAInfo{ike}, Only{}, Around{}, SessionPlain, now),
		"crypto-session-detail":      NewCryptoSessions(sessions(), []ikev2.SAInfo{ike}, Only{}, Around{}, SessionDetail, now),
		"server-ipsec-sa":            NewIPsecSAs(server, Only{IVRF: "private-vrf"}, around, true, now),
		"server-session":             NewCryptoSessions(server, sas, Only{FVRF: "public-vrf"}, around, SessionPlain, now),
		"server-session-detail":      NewCryptoSessions(server, sas, Only{}, around, SessionDetail, now),
		"server-session-brief":       NewCryptoSessions(server, sas, Only{}, around, SessionBrief, now),
		"server-session-of-nobody":   NewCryptoSessions(server, sas, Only{Remote: addr("10.0.0.1")}, around, SessionPlain, now),
		"server-session-summary":     SessionSummary{Active: 1000, Idle: 1, Retrying: 2, IKE: 1001, IPsec: 2000},
		"server-ikev2-sa-detailed":   NewIKEv2SAs(sas, Only{Remote: addr("10.88.247.89")}, inside, true),
		"ikev2-stats":                statistics(sas),
		"crypto-sockets":             NewCryptoSockets(sessions(), func(string) netip.Addr { return addr("172.16.3.3") }),
		"bgp-neighbors":              BGPNeighbors{Neighbors: []bgp.NeighborInfo{up, down}, AS: 65012},
		"bgp-neighbors-restarted":    BGPNeighbors{Neighbors: []bgp.NeighborInfo{back}, AS: 65012},
		"bgp-table-stale":            gone,
		"bgp-prefix-stale":           BGPPrefix{BGPScope{}, 5, gone.Entries[0]},
		"bgp-summary":                NewBGPSummary(BGPScope{}, bgp.Summary{AS: 65012, RouterID: addr("192.168.33.3"), Neighbors: []bgp.NeighborInfo{up, down}}),
		"bgp-vpnv4-all":              BGPTables{[]BGPTable{overlay(true)}},
		"bgp-table":                  overlay(false),
		"bgp-prefix":                 BGPPrefix{BGPScope{VRF: "private-vrf", RD: "65000:7", VPN: true}, 5, overlay(true).Entries[3]},
		"bgp-vpnv4-summary":          BGPSummaries{[]BGPSummary{overlaySummary()}},
		"bgp-summary-of-nobody":      NewBGPSummary(BGPScope{}, bgp.Summary{AS: 65000, RouterID: addr("166.34.121.112")}),
		"bgp-vpnv4-neighbors":        BGPAllNeighbors{[]BGPNeighbors{overlayNeighbors()}},
		"pki-certificates":           NewPKI(trustpoints(), "", now),
		"pki-trustpoints":            NewTrustpoints(trustpoints(), "", now),
		"pki-crls":                   NewCRLs(trustpoints(), now),
		"prefix-list":                NewPrefixLists(policies(), false, "", false),
		"prefix-list-detail":         NewPrefixLists(policies(), false, "TO-UCPES", true),
		"ipv6-prefix-list":           NewPrefixLists(policies(), true, "", false),
		"route-map":                  NewRouteMaps(policies(), ""),
		"as-path-access-list":        NewASPathLists(policies(), ""),
		"community-list":             NewCommunityLists(policies(), ""),
		"vrf":                        vrfs(false, false),
		"ip-vrf":                     vrfs(true, false),
		"vrf-detail":                 vrfs(false, true),
		"ip-local-pool":              pool(false),
		"ip-local-pool-one":          pool(true),
		"ikev2-proposal":             NewIKEv2Proposals(serverConfig(), ""),
		"ikev2-policy":               NewIKEv2Policies(serverConfig(), ""),
		"ikev2-profile":              NewIKEv2Profiles(serverConfig(), ""),
		"ikev2-authorization-policy": NewAuthorizationPolicies(serverConfig(), ""),
		"ipsec-transform-set":        NewTransformSets(serverConfig(), ""),
		"ipsec-profile":              NewIPsecProfiles(serverConfig(), ""),
		"virtual-access": Interfaces{[]Interface{{Name: "Virtual-Access1", VRF: "private-vrf", Kind: "Virtual Access interface", Status: "up", Protocol: "up", MTU: 1422, IPMTU: 1400,
			Addresses: []netip.Prefix{prefix("166.34.121.112/32")}, Unnumbered: "Loopback1001", Template: "Virtual-Template1", Peer: "10.88.247.89",
			Tunnel: &TunnelDetail{Mode: "ipsec ipv4", Source: "10.88.247.84", Destination: "10.88.247.89", Protection: "uCPE-ips-prof", UnderlayVRF: "public-vrf", TTL: 255}}}},
		"interfaces": Interfaces{[]Interface{{Name: "Tunnel0", VRF: "default", Kind: "Tunnel", Status: "up", Protocol: "up", MTU: 1438, IPMTU: 1438, WantedIPMTU: 1600,
			Addresses: []netip.Prefix{prefix("10.10.10.3/24")}, Tunnel: &TunnelDetail{Mode: "gre multipoint", Source: "172.16.3.3 (GigabitEthernet1)", Protection: "PROTECT", UnderlayVRF: "default", TTL: 255},
			RxPackets: 3, TxPackets: 4, Drops: map[string]uint64{"no-sa": 2}}}},
	}
}

func TestAnswersLookAsTheirGoldenFiles(t *testing.T) {
	for name, r := range answers() {
		var w cli.Table
		r.Text(&w)
		file := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(w.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.String(); got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func tracks() []track.Info {
	return []track.Info{
		{ID: 1, Kind: "icmp-echo", What: "icmp-echo 172.25.1.1", Description: "Hub1", Known: true, Reason: "timeout", Since: now.Add(-65 * time.Second), Changes: 3,
			Delay: track.Delay{Up: 10 * time.Second, Down: 500 * time.Millisecond}, Pending: now.Add(2 * time.Second), TrackedBy: []string{"FlexVPN Flex_Client"},
			Probe: &track.ProbeInfo{Sent: 100, Answered: 90, Failed: 10, RTT: 1500 * time.Microsecond, Failure: "timeout"}},
		{ID: 2, Kind: "boolean", What: "list boolean or", Up: true, Known: true, Since: now.Add(-26 * time.Hour), Changes: 1,
			Members: []track.Member{{ID: 1, Known: true}, {ID: 3, Not: true, Up: true, Known: true}, {ID: 4}}},
		{ID: 3, Kind: "interface", What: "interface Tunnel1 line-protocol"},
		{ID: 5, Kind: "threshold-weight", What: "list threshold weight", Up: true, Known: true, Since: now, Threshold: &track.Threshold{Up: 30, Down: 10, Is: 40},
			Members: []track.Member{{ID: 1, Weight: 40, Up: true, Known: true}}}}
}

func bfdSessions() []bfd.Info {
	up := bfd.Info{VRF: "default", Local: addr("10.1.1.100"), Remote: addr("10.1.1.1"), Interface: "Tunnel1", State: bfd.Up, StateName: bfd.Up.String(), PeerState: bfd.Up.String(), Diagnostic: bfd.NoDiagnostic.String(), PeerDiagnostic: bfd.NoDiagnostic.String(),
		LastDown: bfd.DetectionTimeExpired.String(), Mine: 1, Yours: 7, Interval: 100 * time.Millisecond, Detection: 300 * time.Millisecond, DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond,
		Multiplier: 3, PeerMinTx: 100 * time.Millisecond, PeerMinRx: 50 * time.Millisecond, PeerMultiplier: 3, Clients: []string{"BGP", "Static"}, Since: now.Add(-65 * time.Second), Received: 700, Sent: 701,
		Ups: 2, Downs: 1, Remaining: 250 * time.Millisecond}
	down := bfd.Info{VRF: "red", Local: addr("172.16.1.2"), Remote: addr("172.25.2.1"), Multihop: true, State: bfd.Down, StateName: bfd.Down.String(), PeerState: bfd.Up.String(), Diagnostic: bfd.NoDiagnostic.String(), PeerDiagnostic: bfd.NoDiagnostic.String(), Mine: 2,
		Interval: time.Second, DesiredMinTx: time.Second, RequiredMinRx: 100 * time.Millisecond, Multiplier: 3, Clients: []string{"Track"}, Since: now.Add(-5 * time.Second), Sent: 5}
	six := up
	six.Local, six.Remote, six.Mine, six.Yours, six.Clients = addr("2001:db8::100"), addr("2001:db8::1"), 3, 9, []string{}
	return []bfd.Info{up, six, down}
}

func accounts() Accounting {
	carried := Carried{PacketsIn: 7, BytesIn: 700, PacketsOut: 9, BytesOut: 1200}
	open := Account{Session: 12, Profile: "SPOKES", VRF: "default", Identity: "spoke1.example.com", Remote: port("172.16.1.2:500"),
		Addresses: []netip.Prefix{prefix("10.1.1.100/32"), prefix("2001:db8::100/128")}, Seconds: 65, Carried: carried}
	closed := Account{Session: 3, Profile: "SPOKES", VRF: "default", Identity: "spoke2.example.com", Remote: port("172.16.2.2:4500"), Seconds: 3700, Carried: carried, Reason: "peer\ndeleted it"}
	return Accounting{Open: []Account{open}, Closed: []Account{closed}, Count: 40, Total: carried}
}

func clusterInfo() cluster.Info {
	return cluster.Info{Virtual: addr("172.25.1.100"), State: cluster.Master, Since: now.Add(-time.Hour), Master: addr("172.25.1.1"), Preempt: true, Hello: time.Second, Hold: 3 * time.Second, Refused: 4,
		Counters: cluster.Counters{Sent: 7200, Received: 7199, BadMAC: 1, Elections: 1},
		Members: []cluster.MemberInfo{
			{Address: addr("172.25.1.1"), Self: true, State: "master", Since: now.Add(-time.Hour), Priority: 110, RedirectTo: addr("172.25.1.1"), Load: cluster.Load{Sessions: 20, Max: 100, Weight: 100}, Percent: 20, Redirected: 12},
			{Address: addr("172.25.1.2"), State: "backup", Since: now.Add(-time.Hour), Priority: 100, RedirectTo: addr("172.25.1.2"), Load: cluster.Load{Sessions: 100, Max: 100, Weight: 100}, Percent: 100, Full: true, Redirected: 88},
			{Address: addr("172.25.1.3"), State: "down", Since: now.Add(-time.Minute), Priority: 90}}}
}

func flexTunnel(name string) (ivrf, fvrf, source string) {
	if name == "Tunnel1" {
		return "default", "default", "GigabitEthernet1"
	}
	return "inside", "outside", ""
}

func flexClients() []client.Status {
	hubs := []client.PeerStatus{{Peer: client.Peer{Seq: 1, Address: addr("172.25.1.1"), While: client.Condition{Track: 1}}, Usable: true, Current: true},
		{Peer: client.Peer{Seq: 2, FQDN: "hub2.example.com"}, Usable: true}}
	return []client.Status{
		{Name: "Flex_Client", Tunnel: "Tunnel1", State: client.StateActive, Since: now.Add(-65 * time.Second), Mode: "auto", Call: client.Call{ID: 3, Seq: 1, Peer: addr("172.25.1.1"), Local: addr("172.16.2.2")},
			Assigned: []netip.Prefix{prefix("10.1.1.100/32"), prefix("2001:db8::100/128")}, Peers: hubs, Reactivate: true, Ups: 1},
		{Name: "Second", Tunnel: "Tunnel2", State: client.StateWaiting, Reason: "peer does not answer", Since: now.Add(-3 * time.Second), Mode: "track", Wanted: client.Condition{Track: 10, Down: true},
			BackupGroup: "A", BackupInterface: "Tunnel3", BackupUp: true, NextTry: now.Add(1500 * time.Millisecond), Tries: 2, Peers: []client.PeerStatus{{Peer: client.Peer{Seq: 1, Address: addr("172.25.2.1")}}},
			Sources: []client.SourceStatus{{Source: client.Source{Seq: 1, Interface: "GigabitEthernet1", Track: 3}}, {Source: client.Source{Seq: 2, Interface: "GigabitEthernet2"}, Local: addr("172.16.9.2"), Usable: true, Current: true}}}}
}

func hosts() []dns.Host {
	return []dns.Host{{Name: "hub1.example.com", Permanent: true, Addresses: []netip.Addr{addr("172.25.1.1")}},
		{Name: "hub2.example.com", Addresses: []netip.Addr{addr("172.25.2.1"), addr("172.25.3.1")}, Server: addr("10.0.0.53"), Asked: now.Add(-65 * time.Second), Expires: now.Add(235 * time.Second)},
		{Name: "hub2.example.com", Missing: "the name has no address of this family", Server: addr("10.0.0.53"), Asked: now.Add(-65 * time.Second), Expires: now.Add(5 * time.Second)},
		{Name: "hub3.example.com", Addresses: []netip.Addr{addr("2001:db8::3")}, Server: addr("2001:db8::53"), Asked: now.Add(-time.Hour), Expires: now.Add(-time.Minute)}}
}

// failover is what a spoke tells that loses its hub, after something else.
func failover() []events.Story {
	r := events.New(events.Options{Single: func(name string) bool { return name == "Tunnel1" }})
	at := now.Add(-3 * time.Minute)
	say := func(later time.Duration, event, text string, fields ...string) {
		at = at.Add(later)
		e := syslog.Entry{Time: at, Level: "info", Message: text, Fields: map[string]any{"event": event}}
		for i := 0; i < len(fields); i += 2 {
			e.Fields[fields[i]] = fields[i+1]
		}
		r.Log(e)
	}
	flex := func(state, peer, assigned, track, reason string) {
		say(0, "flexvpn-"+state, "FlexVPN(Flex_Client) Client_public_addr = 172.16.1.2 Server_public_addr = "+peer+" Assigned_Tunnel_v4_addr = "+assigned,
			"client", "Flex_Client", "tunnel", "Tunnel1", "peer", peer, "track", track, "state", state, "assigned", assigned, "reason", reason)
	}
	const reason = "track 1 is not up"
	say(0, "applied", "not among the last ones")
	say(time.Minute, "applied", "configuration applied")
	say(2*time.Minute, "bfd", "BFD-SYSLOG: BFD session ld:1 handle:1,is going Down Reason: DETECT TIMER EXPIRED", "peer", "172.25.1.1", "state", "down", "reason", "control detection time expired")
	say(0, "track", "1 bfd 172.25.1.1 Up -> Down", "track", "1", "state", "down", "reason", "control detection time expired")
	flex("down", "172.25.1.1", "10.1.1.100", "1", reason)
	say(time.Millisecond, "ike-down", "Crypto tunnel v2 is DOWN.  Peer 172.25.1.1:500 Id: hub\n1", "peer", "172.25.1.1:500", "reason", reason)
	r.Routes(at, "default", "Tunnel1", "", 2)
	say(0, "line-protocol", "Line protocol on Interface Tunnel1, changed state to down", "interface", "Tunnel1", "state", "down")
	say(0, "bgp-down", "neighbor 10.1.1.1 Down the route to it is gone", "peer", "10.1.1.1", "interface", "Tunnel1", "state", "down", "reason", "the route to it is gone")
	say(47*time.Millisecond, "ike-up", "Crypto tunnel v2 is UP.  Peer 172.25.2.1:500 Id: hub2", "peer", "172.25.2.1:500")
	say(time.Millisecond, "child-up", "IPsec SAs are installed", "peer", "172.25.2.1:500", "tunnel", "Tunnel1")
	flex("up", "172.25.2.1", "10.1.1.177", "2", "")
	r.Routes(at, "default", "", "Tunnel1", 2)
	say(52*time.Millisecond, "bgp-up", "neighbor 10.1.1.1 Up", "peer", "10.1.1.1", "interface", "Tunnel1", "state", "established")
	return events.Stories(r.Events())
}

func statistics(sas []ikev2.SAInfo) IKEv2Stats {
	s := IKEv2Stats{MaxHalfOpen: 1000, Counters: ikev2.Counters{Received: 20, Sent: 19, Established: 2, AuthFailed: 3}, IKEUps: 2, ChildUps: 1}
	s.Count(sas)
	return s
}

func TestSelectorsThatAreNoPrefixStayRanges(t *testing.T) {
	for want, ts := range map[string]ikev2.TrafficSelector{
		"(10.0.0.0/255.255.255.0/0/0)":       {EndPort: 65535, Start: addr("10.0.0.0"), End: addr("10.0.0.255")},
		"(10.0.0.1-10.0.0.6/6/443)":          {Protocol: 6, StartPort: 443, EndPort: 443, Start: addr("10.0.0.1"), End: addr("10.0.0.6")},
		"(10.0.0.7/255.255.255.255/47/0)":    {Protocol: 47, EndPort: 65535, Start: addr("10.0.0.7"), End: addr("10.0.0.7")},
		"(0.0.0.0/0.0.0.0/0/0)":              {EndPort: 65535, Start: addr("0.0.0.0"), End: addr("255.255.255.255")},
		"(2001:db8::/32/0/0)":                {EndPort: 65535, Start: addr("2001:db8::"), End: addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")},
		"(10.0.0.128-10.0.1.127/0/0)":        {EndPort: 65535, Start: addr("10.0.0.128"), End: addr("10.0.1.127")},
		"(10.0.0.0/255.255.255.254/17/4500)": {Protocol: 17, StartPort: 4500, EndPort: 4500, Start: addr("10.0.0.0"), End: addr("10.0.0.1")},
	} {
		if got := ident(ts); got != want {
			t.Errorf("%v is shown as %s, want %s", ts, got, want)
		}
	}
}

func overlay(vpn bool) BGPTable {
	local := func(p string, med uint32) bgp.Entry {
		return bgp.Entry{Prefix: prefix(p), Paths: []bgp.TablePath{{Valid: true, Best: true, Local: true, Weight: 32768, RouterID: addr("166.34.121.112"), Received: now,
			Attributes: &bgp.Attributes{Origin: bgp.OriginIncomplete, MED: med, HasMED: true}}}}
	}
	far := bgp.Entry{Prefix: prefix("192.168.1.0/24"), Paths: []bgp.TablePath{
		{Valid: true, Best: true, Peer: addr("10.122.144.146"), RouterID: addr("10.122.144.146"), Received: now,
			Attributes: &bgp.Attributes{Origin: bgp.OriginIGP, NextHop: addr("10.122.144.146"), ASPath: []bgp.Segment{{Type: bgp.ASSequence, AS: []uint32{200, 300}}}, Communities: []uint32{65000<<16 | 1}}},
		{Peer: addr("10.122.144.147"), RouterID: addr("10.122.144.147"), Received: now, Attributes: &bgp.Attributes{Origin: bgp.OriginIncomplete, NextHop: addr("10.122.144.150"),
			ASPath: []bgp.Segment{{Type: bgp.ASSequence, AS: []uint32{200}}}, MED: 7, HasMED: true}}}}
	return BGPTable{BGPScope: BGPScope{VRF: "private-vrf", RD: "65000:7", VPN: vpn}, RouterID: addr("166.34.121.112"), Version: 5, Entries: []bgp.Entry{
		local("10.122.144.128/27", 0), local("81.81.81.1/32", 0), local("166.34.121.112/32", 0), far}}
}

func overlayNeighbor() bgp.NeighborInfo {
	return bgp.NeighborInfo{Peer: bgp.Peer{Address: addr("10.122.144.146"), Group: "uCPEs", RemoteAS: 200, Dynamic: true, External: true, State: bgp.Established, RouterID: addr("10.122.144.146"),
		Hold: 240 * time.Second, Local: port("166.34.121.112:179"), Remote: port("10.122.144.146:34567"), Established: 1, Families: []bgp.Family{bgp.IPv4},
		Received: bgp.Messages{Opens: 1, Keepalives: 3, Updates: 1}, Sent: bgp.Messages{Opens: 1, Keepalives: 4, Updates: 3}}, UpDown: 165 * time.Second,
		Advertised: 4, Refused: 2, Settings: bgp.Neighbor{EBGPMultihop: 10, SoftReconfiguration: true, MaximumPrefix: bgp.MaximumPrefix{Limit: 15}, Out: bgp.Policy{PrefixList: policies().PrefixLists["TO-UCPES"]}}}
}

func overlayListen() []bgp.Listen {
	return []bgp.Listen{{Range: prefix("10.122.144.0/24"), Template: bgp.Neighbor{Group: "uCPEs", RemoteAS: 200}}}
}

func overlaySummary() BGPSummary {
	s := NewBGPSummary(BGPScope{VRF: "private-vrf", RD: "65000:7", VPN: true}, bgp.Summary{RouterID: addr("166.34.121.112"), AS: 65000, Version: 5, Prefixes: 4, Paths: 4,
		Neighbors: []bgp.NeighborInfo{overlayNeighbor()}, Dynamic: 1, Limit: 100, Ranges: overlayListen()})
	s.TotalDynamic, s.TotalLimit, s.TotalRanges = 1, 255, 1
	return s
}

func overlayNeighbors() BGPNeighbors {
	return BGPNeighbors{BGPScope: BGPScope{VRF: "private-vrf", RD: "65000:7", VPN: true}, Neighbors: []bgp.NeighborInfo{overlayNeighbor()}, AS: 65000, Ranges: overlayListen()}
}

func policies() *policy.Policies {
	p, err := policy.Compile(policy.Definitions{
		PrefixLists: map[string][]policy.PrefixEntry{
			"TO-UCPES": {{Permit: true, Prefix: prefix("10.0.0.0/8"), GE: 16, LE: 24}, {Prefix: prefix("0.0.0.0/0"), LE: 32}},
			"SIX":      {{Permit: true, Prefix: prefix("2001:db8::/32"), LE: 64}}},
		ASPathLists:    map[string][]policy.ASPathEntry{"FROM-US": {{Permit: true, Regexp: "^65000_"}}},
		CommunityLists: map[string][]policy.CommunityEntry{"SPOKES": {{Permit: true, Communities: []uint32{65000<<16 | 1}}}},
		RouteMaps:      map[string][]policy.MapEntry{"M": {{Seq: 10, Permit: true, PrefixLists: []string{"TO-UCPES"}, Set: policy.Set{Prepend: []uint32{65000, 65000}}}, {Seq: 20}}}}, nil)
	if err != nil {
		panic(err)
	}
	p.PrefixLists["TO-UCPES"].Permit(prefix("10.1.0.0/16"))
	return p
}

func vrfs(ip, detail bool) VRFs {
	return VRFs{IP: ip, Detail: detail, VRFs: []VRF{
		{Name: "private-vrf", ID: 2, RD: "65000:7", Interfaces: []string{"Loopback80", "Loopback1001", "GigabitEthernet3", "Virtual-Access1"}, IPv4: 9, BGP: 65000},
		{Name: "public-vrf", ID: 1, Interfaces: []string{"GigabitEthernet1"}, IPv4: 3, Outside: []string{"Virtual-Access1"}}}}
}

func pool(one bool) Pools {
	p := Pools{[]Pool{{Name: "SPOKES", Ranges: []PoolRange{{Begin: addr("10.122.144.130"), End: addr("10.122.144.158"), Free: 27, InUse: 1, Blocked: 1}},
		Leases: []PoolLease{{Address: addr("10.122.144.130"), Owner: "spoke1.example", SA: 1}, {Address: addr("10.122.144.131"), Owner: "spoke2.example", Kept: true}}}}}
	if one {
		p.One()
	}
	return p
}

// serverConfig is the FlexVPN server's configuration.
func serverConfig() *config.Config {
	c, diags := config.Parse("server.toml", []byte(serverTOML))
	if diags.HasErrors() {
		panic(diags)
	}
	return c
}

const serverTOML = `
[vrf.private-vrf]
rd = "65000:7"
[vrf.public-vrf]
[interface.GigabitEthernet1]
vrf = "public-vrf"
address = ["10.88.247.84/27"]
[interface.Loopback1001]
vrf = "private-vrf"
address = ["166.34.121.112/32"]
[interface.Virtual-Template1]
vrf = "private-vrf"
unnumbered = "Loopback1001"
ip-mtu = 1400
mode = "ipsec ipv4"
source = "GigabitEthernet1"
tunnel-vrf = "public-vrf"
protection = "uCPE-ips-prof"
[ikev2.proposal.uCPE-proposal]
encryption = ["aes-cbc-256"]
integrity = ["sha512"]
group = [16, 14]
[ikev2.policy.uCPE-policy]
proposal = ["uCPE-proposal"]
match = { fvrf = "public-vrf", address = { local = ["GigabitEthernet1"] } }
[ikev2.profile.uCPE-profile]
description = "uCPE profile"
match = { fvrf = "public-vrf", identity = { remote = { any = true, fqdn-domain = ["example.com"], address = ["10.88.247.64/27"] } } }
pre-shared-key = "ciscociscocisco123"
dpd = { interval = 60, retry = 2, mode = "on-demand" }
virtual-template = 1
authorization = { policy = "uCPE-author-pol" }
[ikev2.authorization-policy.uCPE-author-pol]
pool = "P"
netmask = "255.255.255.224"
dns = ["10.0.0.1"]
def-domain = "example.com"
pfs = true
route = { set-interface = ["Loopback1001", "self"], set-remote = ["10.9.0.0/16"], tag = 7 }
[pool.P]
addresses = ["10.122.144.130-10.122.144.158"]
[ipsec.transform-set.tset_aes_256_sha512]
esp = ["aes-cbc-256", "sha512"]
[ipsec.transform-set.gcm]
esp = "aes-gcm-128"
mode = "transport"
[ipsec.profile.uCPE-ips-prof]
transform-set = ["tset_aes_256_sha512"]
ikev2-profile = "uCPE-profile"
pfs = 14
idle-time = 1800
lifetime = { seconds = 28800 }
`

func trustpoints() []*pki.Trustpoint {
	dn := func(n pkix.Name) []byte {
		b, err := asn1.Marshal(n.ToRDNSequence())
		if err != nil {
			panic(err)
		}
		return b
	}
	ca, own := dn(pkix.Name{CommonName: "Example CA", Organization: []string{"Example"}}), dn(pkix.Name{CommonName: "hub", OrganizationalUnit: []string{"hubs"}})
	key := ed25519.PublicKey(make([]byte, ed25519.PublicKeySize))
	root := &x509.Certificate{Raw: []byte{1}, RawSubject: ca, RawIssuer: ca, SerialNumber: big.NewInt(1), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0), IsCA: true, PublicKey: key,
		SignatureAlgorithm: x509.PureEd25519}
	leaf := &x509.Certificate{Raw: []byte{2}, RawSubject: own, RawIssuer: ca, SerialNumber: big.NewInt(0xabc), NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(-1, 0, 0), PublicKey: key,
		SignatureAlgorithm: x509.PureEd25519, DNSNames: []string{"hub.example"}}
	crl := &x509.RevocationList{RawIssuer: ca, ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0), Number: big.NewInt(7), RevokedCertificateEntries: make([]x509.RevocationListEntry, 3)}
	return []*pki.Trustpoint{{Name: "CA", Roots: []*x509.Certificate{root}, Chain: []*x509.Certificate{leaf}, CRLs: []*x509.RevocationList{crl}, CheckRevocation: true},
		{Name: "SAME", Roots: []*x509.Certificate{root}}}
}
