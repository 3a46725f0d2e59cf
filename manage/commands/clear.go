package commands

import (
	"fmt"
	"strings"

	"felloe/manage/cli"
)

func clears(t *cli.Tree, r Router) {
	for _, c := range []struct{ kind, by string }{
		{"ikev2 sa", "peer <address>|" + byIKE}, {"session", "peer <address>|" + bySession}, {"sa", bySA}, {"ipsec sa", bySA},
	} {
		add(t, "clear crypto "+c.kind+" {"+c.by+"}*", "", func(i *cli.Invocation) (cli.Result, error) {
			o, err := only(i, r)
			if err != nil {
				return nil, err
			}
			return cli.Text(fmt.Sprintf("%d cleared", r.ClearCrypto(c.kind, o))), nil
		})
	}
	for _, kind := range []string{"sa", "ipsec sa"} {
		add(t, "clear crypto "+kind+" counters", "Count from zero", func(*cli.Invocation) (cli.Result, error) {
			r.ClearCryptoCounters()
			return nil, nil
		})
	}
	for _, family := range []string{"ip", "ipv6"} {
		v6 := family == "ipv6"
		add(t, "clear "+family+" nhrp [<address>]", "", func(i *cli.Invocation) (cli.Result, error) {
			a, err := address(i, "address")
			if err != nil {
				return nil, err
			}
			return cli.Text(fmt.Sprintf("%d cleared", r.ClearNHRP(v6, a))), nil
		})
	}
	clearBGP(t, r)
	for _, v := range []struct {
		pattern, help string
		f             func(name string) error
	}{{"clear crypto ikev2 client flexvpn [<name>]", "Begin anew with the best peer", r.ClearClient},
		{"crypto ikev2 client flexvpn connect <name>", "Connect a client block by hand", r.ConnectClient},
		{"crypto ikev2 client flexvpn disconnect <name>", "Disconnect one", r.DisconnectClient}} {
		add(t, v.pattern, v.help, func(i *cli.Invocation) (cli.Result, error) { return nil, v.f(i.Args["name"]) })
	}
	add(t, "clear bfd counters", "Count from zero", func(*cli.Invocation) (cli.Result, error) {
		r.ClearBFDCounters()
		return nil, nil
	})
	for _, pattern := range []string{"clear arp-cache", "clear ipv6 neighbors"} {
		add(t, pattern+" [vrf <name>]", "", func(i *cli.Invocation) (cli.Result, error) {
			if i.Has("name") {
				if err := r.CheckVRF(i.Args["name"]); err != nil {
					return nil, err
				}
			}
			return cli.Text(fmt.Sprintf("%d cleared", r.ClearNeighbours(i.Args["name"], strings.Contains(pattern, "ipv6")))), nil
		})
	}
	add(t, "clear logging", "Empty the log's buffer", func(*cli.Invocation) (cli.Result, error) { r.Log().Clear(); return nil, nil })
}
