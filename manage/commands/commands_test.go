package commands

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"felloe/manage/cli"
	"felloe/manage/events"
	"felloe/manage/show"
	"felloe/manage/syslog"
)

type fake struct {
	Router
	log   *syslog.Log
	asked []string
}

func (f *fake) answer(what string) cli.Result {
	f.asked = append(f.asked, what)
	return cli.Text(what)
}

func (f *fake) Log() *syslog.Log                         { return f.log }
func (f *fake) ShowIKEv2SAs(show.Only, bool) cli.Result  { return f.answer("ikev2") }
func (f *fake) ShowNHRP(v6 bool, part string) cli.Result { return f.answer("nhrp " + part) }
func (f *fake) ShowDMVPN(detail bool) cli.Result         { return f.answer("dmvpn") }
func (f *fake) ShowInterfaceBrief(v6 bool) cli.Result    { return f.answer("brief") }
func (f *fake) ShowRoutes(vrf string, v6 bool, source string) (cli.Result, error) {
	return f.answer("routes " + vrf + " " + source), nil
}

func (f *fake) CheckVRF(string) error                      { return nil }
func (f *fake) InterfaceName(short string) (string, error) { return short, nil }
func (f *fake) Names(string, string) []string              { return nil }
func (f *fake) ShowAccounting() cli.Result                 { return f.answer("accounting") }
func (f *fake) ShowSessionSummary() cli.Result             { return f.answer("summary") }
func (f *fake) ShowIPsecSAs(o show.Only, d bool) cli.Result {
	return f.answer(fmt.Sprintf("ipsec %+v %v", o, d))
}
func (f *fake) ShowCryptoSessions(o show.Only, k show.SessionKind) cli.Result {
	return f.answer(fmt.Sprint("session ", o.FVRF, o.Remote, " ", k))
}
func (f *fake) ShowBGPSummary(q BGPTables) (cli.Result, error) {
	return f.answer(fmt.Sprint("bgp summary ", q)), nil
}
func (f *fake) ShowBGP(q BGPTables) (cli.Result, error) { return f.answer(fmt.Sprint("bgp ", q)), nil }
func (f *fake) ShowBGPRoutesOf(q BGPTables, a netip.Addr, part string) (cli.Result, error) {
	return f.answer(fmt.Sprint("bgp ", q, " ", a, " ", part)), nil
}
func (f *fake) ShowConfigured(kind, name string) (cli.Result, error) {
	return f.answer(kind + "/" + name), nil
}
func (f *fake) ShowPolicy(kind, name string, detail bool) (cli.Result, error) {
	return f.answer(fmt.Sprint(kind, "/", name, " ", detail)), nil
}
func (f *fake) ClearCrypto(kind string, o show.Only) int {
	f.answer(fmt.Sprint("clear ", kind, " ", o.Remote, " ", o.SPI, " ", o.VRF))
	return 0
}
func (f *fake) ClearBGP(c BGPClear) error {
	f.answer(fmt.Sprint("clear bgp ", c.VRF, " ", c.All, " ", c.Every, " ", c.Neighbor, " ", c.In, " ", c.Out))
	return nil
}

func (f *fake) ShowHosts() cli.Result   { return f.answer("hosts") }
func (f *fake) ShowCluster() cli.Result { return f.answer("cluster") }
func (f *fake) ShowBFD(details bool) cli.Result {
	return f.answer(fmt.Sprint("bfd ", details))
}
func (f *fake) ShowTracks(id int, brief bool) (cli.Result, error) {
	return f.answer(fmt.Sprint("track ", id, " ", brief)), nil
}
func (f *fake) ShowIKEv2Sessions(o show.Only, detailed bool) cli.Result {
	return f.answer(fmt.Sprint("sessions ", o.Remote, " ", detailed))
}
func (f *fake) ShowFlexClients(name string) (cli.Result, error) {
	return f.answer("clients " + name), nil
}
func (f *fake) client(verb, name string) error {
	f.answer(verb + " " + name)
	return nil
}
func (f *fake) ConnectClient(name string) error    { return f.client("connect", name) }
func (f *fake) DisconnectClient(name string) error { return f.client("disconnect", name) }
func (f *fake) ClearClient(name string) error      { return f.client("clear client", name) }
func (f *fake) ClearBFDCounters()                  { f.answer("clear bfd") }
func (f *fake) Events() []events.Event {
	f.answer("events")
	return nil
}

func newFake() *fake {
	return &fake{log: syslog.New(4096, func() time.Time { return time.Unix(0, 0) }, nil)}
}

func run(t *testing.T, f *fake, line string) string {
	t.Helper()
	var out bytes.Buffer
	s := &cli.Session{Tree: New(f), Out: &out}
	if err := s.Exec(context.Background(), line); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return out.String()
}

func TestWhatOperatorsTypeIsUnderstood(t *testing.T) {
	for line, want := range map[string]string{
		"sh cry ikev2 sa det": "ikev2", "sh ip nhrp nhs": "nhrp nhs", "sh dmvpn": "dmvpn", "sh ip int br": "brief",
		"sh ip ro": "routes default ", "sh ip ro vrf red bgp": "routes red bgp", "show ip nhrp": "nhrp ",
		"sh cry ses sum": "summary", "sh cry sess det remote 10.0.0.1 fvrf red": "session red10.0.0.1 1", "sh cry ses bri": "session invalid IP 2",
		"sh ip bgp sum": "bgp summary {default false false false}", "sh ip bgp vpnv4 all sum": "bgp summary {default true true false}",
		"sh bgp vpnv4 uni vrf red": "bgp {red false true false}", "sh bgp ipv6 unicast": "bgp {default false false true}",
		"sh ip bgp vpnv4 vrf red nei 10.0.0.1 adv": "bgp {red false true false} 10.0.0.1 advertised-routes",
		"sh cry ikev2 authorization pol default":   "ikev2 authorization policy/default",
		"sh cry ips tran":                          "ipsec transform-set/",
		"sh ip prefix-list det L":                  "ip prefix-list/L true",
		"clear cry sa":                             "clear sa invalid IP 0 ",
		"clear crypto sa spi 0x10 vrf red":         "clear sa invalid IP 16 red",
		"clear crypto ikev2 sa peer 10.0.0.1":      "clear ikev2 sa 10.0.0.1 0 ",
		"clear ip bgp *":                           "clear bgp default false true invalid IP false false",
		"clear ip bgp 10.0.0.1 soft":               "clear bgp default false false 10.0.0.1 true true",
		"clear ip bgp vrf red * soft in":           "clear bgp red false false invalid IP true false",
		"clear bgp vpnv4 unicast * out":            "clear bgp default true false invalid IP false true",
		"clear bgp vpnv4 unicast vrf red 10.0.0.1": "clear bgp red false false 10.0.0.1 false false",
		"sh tr": "track 0 false", "sh track 7": "track 7 false", "sh track br": "track 0 true", "sh hosts": "hosts", "sh cry ses acc": "accounting",
		"sh bfd nei": "bfd false", "sh bfd nei det": "bfd true", "clear bfd cou": "clear bfd", "sh cry ikev2 clu": "cluster",
		"sh cry ikev2 cli flex": "clients ", "sh cry ikev2 cli flex A": "clients A", "cry ikev2 cli flex conn A": "connect A",
		"cry ikev2 cli flex disc A": "disconnect A", "clear cry ikev2 cli flex": "clear client ", "clear cry ikev2 cli flex A": "clear client A",
		"sh ikev2 ses det": "sessions invalid IP true", "sh cry ikev2 ses rem 10.0.0.1": "sessions 10.0.0.1 false",
		"sh ev": "events", "sh ev last 3 peer 10.0.0.1": "events",
	} {
		f := newFake()
		run(t, f, line)
		if len(f.asked) != 1 || f.asked[0] != want {
			t.Errorf("%q asked %v, want %q", line, f.asked, want)
		}
	}
}

func TestNumbersOutOfRangeAreSaidSo(t *testing.T) {
	for _, line := range []string{"show track 1001", "show track x", "show events last 0", "show events peer hub1", "crypto ikev2 client flexvpn connect"} {
		f := newFake()
		s := &cli.Session{Tree: New(f), Out: &bytes.Buffer{}}
		if err := s.Exec(t.Context(), line); err == nil || len(f.asked) > 0 {
			t.Errorf("%s: %v, asked %v", line, err, f.asked)
		} else {
			t.Logf("%s: %v", line, err)
		}
	}
}

func TestDebugTopicsAndConditionsReachTheLog(t *testing.T) {
	f := newFake()
	run(t, f, "debug dmvpn detail all")
	run(t, f, "debug dmvpn condition peer nbma 172.16.2.2")
	topics, conditions := f.log.Debugs()
	if strings.Join(topics, " ") != "ikev2 ipsec nhrp tunnel" || len(conditions) != 1 || conditions[0].Value != "172.16.2.2" {
		t.Fatalf("topics %v, conditions %v", topics, conditions)
	}
	run(t, f, "undebug all")
	run(t, f, "no debug nhrp condition")
	if topics, conditions = f.log.Debugs(); len(topics)+len(conditions) != 0 {
		t.Fatalf("left: topics %v, conditions %v", topics, conditions)
	}
}
