package commands

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"felloe/manage/cli"
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
	} {
		f := newFake()
		run(t, f, line)
		if len(f.asked) != 1 || f.asked[0] != want {
			t.Errorf("%q asked %v, want %q", line, f.asked, want)
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
