package commands

import (
	"fmt"
	"strings"

	"felloe/manage/cli"
	"felloe/manage/syslog"
)

// topics are what can be debugged: the words typed, and the category that the log lines carry.
var topics = [][2]string{
	{"crypto ikev2", "ikev2"}, {"crypto ikev2 error", "ikev2 error"}, {"crypto ikev2 internal", "ikev2 internal"}, {"crypto ikev2 packet", "ikev2 packet"},
	{"crypto ikev2 client flexvpn", "ikev2 flexvpn"},
	{"crypto ipsec", "ipsec"}, {"crypto ipsec error", "ipsec error"},
	{"nhrp", "nhrp"}, {"nhrp cache", "nhrp cache"}, {"nhrp packet", "nhrp packet"}, {"nhrp detail", "nhrp detail"}, {"nhrp error", "nhrp error"},
	{"tunnel", "tunnel"}, {"ip routing", "rib"}, {"ip bgp", "bgp"},
	{"ip bgp updates", "bgp updates"}, {"ip bgp events", "bgp events"}, {"ip bgp keepalives", "bgp keepalives"}, {"all", "all"},
}

// Categories are the log categories of a debug topic as the configuration or the console words it.
func Categories(topic string) []string {
	switch topic {
	case "dmvpn detail crypto":
		return []string{"ikev2", "ipsec"}
	case "dmvpn detail nhrp":
		return []string{"nhrp"}
	case "dmvpn detail all":
		return []string{"ikev2", "ipsec", "nhrp", "tunnel"}
	}
	for _, t := range topics {
		if t[0] == topic {
			return []string{t[1]}
		}
	}
	return nil
}

func debugs(t *cli.Tree, r Router) {
	words := []string{"dmvpn detail crypto", "dmvpn detail nhrp", "dmvpn detail all"}
	for _, topic := range topics {
		words = append(words, topic[0])
	}
	for _, w := range words {
		set := func(on bool) func(*cli.Invocation) (cli.Result, error) {
			return func(*cli.Invocation) (cli.Result, error) {
				for _, c := range Categories(w) {
					r.Log().SetDebug(c, on)
				}
				return cli.Text(fmt.Sprintf("%s debugging is %s", w, map[bool]string{true: "on", false: "off"}[on])), nil
			}
		}
		add(t, "debug "+w, "", set(true))
		add(t, "no debug "+w, "", set(false))
		add(t, "undebug "+w, "", set(false))
	}
	// Which field of a log line a condition's words mean.
	for words, field := range map[string]string{
		"dmvpn condition peer nbma <address>":   "peer",
		"dmvpn condition peer tunnel <address>": "peer-tunnel",
		"crypto condition peer ipv4 <address>":  "peer",
		"crypto condition peer ipv6 <address>":  "peer",
		"nhrp condition peer nbma <address>":    "peer",
		"nhrp condition peer tunnel <address>":  "peer-tunnel",
		"dmvpn condition interface <address>":   "tunnel",
		"nhrp condition interface <address>":    "tunnel",
	} {
		for _, on := range []bool{true, false} {
			add(t, map[bool]string{true: "debug ", false: "no debug "}[on]+words, "", func(i *cli.Invocation) (cli.Result, error) {
				value := i.Args["address"]
				if field != "tunnel" {
					a, err := address(i, "address")
					if err != nil {
						return nil, err
					}
					value = a.String()
				}
				r.Log().SetCondition(syslog.Condition{Field: field, Value: value}, on)
				return nil, nil
			})
		}
	}
	for _, kind := range []string{"dmvpn", "crypto", "nhrp"} {
		add(t, "no debug "+kind+" condition", "Remove all conditions", func(*cli.Invocation) (cli.Result, error) {
			r.Log().SetCondition(syslog.Condition{}, false)
			return cli.Text(strings.ToUpper(kind[:1]) + kind[1:] + " debug conditions are removed"), nil
		})
	}
}
