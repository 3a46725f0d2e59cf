package show

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"felloe/manage/cli"
	"felloe/netstack/esp"
	"felloe/netstack/fib"
	"felloe/routing/bgp"
	"felloe/routing/rib"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/nhrp"
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
	}
	ike := ikev2.SAInfo{ID: 1, VRF: "default", Local: port("172.16.1.1:500"), Remote: port("172.16.2.2:500"), State: "READY", Profile: "P",
		Suite:    suite.IKE{Encr: suite.ENCR_AES_CBC, KeyBits: 256, PRF: suite.PRF_HMAC_SHA2_256, Integ: suite.AUTH_HMAC_SHA2_256_128, Group: suite.MODP_2048},
		AuthSign: message.AuthSharedKey, AuthVerify: message.AuthSharedKey, LocalID: ikev2.AddressIdentity(addr("172.16.1.1")), RemoteID: ikev2.FQDNIdentity("spoke1.example"),
		SPIi: 0x1111, SPIr: 0x2222, Lifetime: 24 * time.Hour, Active: 65 * time.Second, SendMessageID: 2, RecvMessageID: 3, Window: 1,
		DPD: ikev2.DPD{Interval: 30 * time.Second, Retry: 5 * time.Second, OnDemand: true}, Fragmentation: true, NAT: ikev2.NAT{Remote: true}}
	up := bgp.NeighborInfo{Peer: bgp.Peer{Address: addr("10.10.10.1"), RemoteAS: 65010, External: true, State: bgp.Established, RouterID: addr("192.168.11.1"),
		Hold: 6 * time.Second, Local: port("10.10.10.3:179"), Remote: port("10.10.10.1:26572"), Established: 1}, UpDown: 65 * time.Second, Prefixes: 2}
	down := bgp.NeighborInfo{Peer: bgp.Peer{Address: addr("10.10.10.9"), RemoteAS: 65019, External: true, LastReset: "wrong AS", Dropped: 1}, UpDown: -1}
	return map[string]cli.Result{
		"dmvpn":                    NewDMVPN(spokeTunnel(), false, now),
		"dmvpn-detail":             NewDMVPN(spokeTunnel(), true, now),
		"nhrp":                     NewNHRPCache(spokeTunnel(), false, false, now),
		"nhrp-shortcut":            NewNHRPCache(spokeTunnel(), false, true, now),
		"nhrp-nhs":                 NewNHRPServers(spokeTunnel(), false),
		"nhrp-multicast":           NewNHRPMulticast(spokeTunnel()),
		"route":                    NewRoutes("default", routes, false, "", now),
		"route-nhrp":               NewRoutes("default", routes, false, "nhrp", now),
		"ikev2-sa":                 NewIKEv2SAs([]ikev2.SAInfo{ike}, Only{}, nil, false),
		"ikev2-sa-detailed":        NewIKEv2SAs([]ikev2.SAInfo{ike}, Only{}, nil, true),
		"ipsec-sa":                 NewIPsecSAs(sessions(), Only{}, Around{}, false, now),
		"crypto-session":           NewCryptoSessions(sessions(), []ikev2.SAInfo{ike}, Only{}, Around{}, SessionPlain, now),
		"crypto-session-detail":    NewCryptoSessions(sessions(), []ikev2.SAInfo{ike}, Only{}, Around{}, SessionDetail, now),
		"server-ipsec-sa":          NewIPsecSAs(server, Only{IVRF: "private-vrf"}, around, true, now),
		"server-session":           NewCryptoSessions(server, sas, Only{FVRF: "public-vrf"}, around, SessionPlain, now),
		"server-session-detail":    NewCryptoSessions(server, sas, Only{}, around, SessionDetail, now),
		"server-session-brief":     NewCryptoSessions(server, sas, Only{}, around, SessionBrief, now),
		"server-session-of-nobody": NewCryptoSessions(server, sas, Only{Remote: addr("10.0.0.1")}, around, SessionPlain, now),
		"server-session-summary":   SessionSummary{Active: 1000, Idle: 1, Retrying: 2, IKE: 1001, IPsec: 2000},
		"server-ikev2-sa-detailed": NewIKEv2SAs(sas, Only{Remote: addr("10.88.247.89")}, inside, true),
		"ikev2-stats":              statistics(sas),
		"crypto-sockets":           NewCryptoSockets(sessions(), func(string) netip.Addr { return addr("172.16.3.3") }),
		"bgp-neighbors":            BGPNeighbors{Neighbors: []bgp.NeighborInfo{up, down}, AS: 65012},
		"bgp-summary":              BGPSummary{bgp.Summary{AS: 65012, RouterID: addr("192.168.33.3"), Neighbors: []bgp.NeighborInfo{up, down}}},
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
