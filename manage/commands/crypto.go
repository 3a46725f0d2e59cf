package commands

import (
	"fmt"
	"strconv"

	"felloe/manage/cli"
	"felloe/manage/show"
)

// only reads what narrows a crypto command.
func only(i *cli.Invocation, r Router) (show.Only, error) {
	o := show.Only{FVRF: i.Args["fvrf"], IVRF: i.Args["ivrf"], VRF: i.Args["name"]}
	var err error
	if o.Remote, err = address(i, "address"); err != nil {
		return o, err
	}
	if o.Local, err = address(i, "local"); err != nil {
		return o, err
	}
	for _, name := range []string{o.FVRF, o.IVRF, o.VRF} {
		if name != "" {
			if err := r.CheckVRF(name); err != nil {
				return o, err
			}
		}
	}
	if i.Has("interface") {
		if o.Interface, err = r.InterfaceName(i.Args["interface"]); err != nil {
			return o, err
		}
	}
	if text, has := i.Args["spi"]; has {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil || n == 0 {
			return o, fmt.Errorf("%% %q is not an SPI such as 0x1A2B3C4D", text)
		}
		o.SPI = uint32(n)
	}
	return o, nil
}

// The words that narrow crypto commands.
const (
	byIKE     = "remote <address>|local <local>|fvrf <fvrf>"
	bySession = byIKE + "|ivrf <ivrf>|interface <interface>"
	bySA      = "peer <address>|vrf <name>|interface <interface>|spi <spi>"
)

func showCrypto(t *cli.Tree, r Router) {
	narrowed := func(pattern string, f func(*cli.Invocation, show.Only) cli.Result) {
		add(t, pattern, "", func(i *cli.Invocation) (cli.Result, error) {
			o, err := only(i, r)
			if err != nil {
				return nil, err
			}
			return f(i, o), nil
		})
	}
	narrowed("show crypto ikev2 sa {detailed|"+byIKE+"}*", func(i *cli.Invocation, o show.Only) cli.Result {
		return r.ShowIKEv2SAs(o, i.Has("detailed"))
	})
	for _, head := range []string{"show crypto ikev2 session", "show ikev2 session"} {
		narrowed(head+" {detailed|"+byIKE+"}*", func(i *cli.Invocation, o show.Only) cli.Result {
			return r.ShowIKEv2Sessions(o, i.Has("detailed"))
		})
	}
	narrowed("show crypto ipsec sa {detail|"+bySA+"}*", func(i *cli.Invocation, o show.Only) cli.Result {
		return r.ShowIPsecSAs(o, i.Has("detail"))
	})
	narrowed("show crypto session {detail|brief|"+bySession+"}*", func(i *cli.Invocation, o show.Only) cli.Result {
		kind := show.SessionPlain
		switch {
		case i.Has("detail"):
			kind = show.SessionDetail
		case i.Has("brief"):
			kind = show.SessionBrief
		}
		return r.ShowCryptoSessions(o, kind)
	})
	plain(t, "show crypto session accounting", "What sessions have carried", r.ShowAccounting)
	plain(t, "show crypto session summary", "How many there are", r.ShowSessionSummary)
	add(t, "show crypto ikev2 client flexvpn [<name>]", "Client blocks", func(i *cli.Invocation) (cli.Result, error) { return r.ShowFlexClients(i.Args["name"]) })
	plain(t, "show crypto ikev2 cluster", "Hubs that share their load", r.ShowCluster)
	plain(t, "show crypto ikev2 stats", "", r.ShowIKEv2Stats)
	plain(t, "show crypto sockets", "", r.ShowCryptoSockets)
	for _, kind := range []string{"ikev2 proposal", "ikev2 policy", "ikev2 profile", "ikev2 authorization policy", "ipsec transform-set", "ipsec profile", "pki certificates", "pki trustpoints"} {
		add(t, "show crypto "+kind+" [<name>]", "", func(i *cli.Invocation) (cli.Result, error) { return r.ShowConfigured(kind, i.Args["name"]) })
	}
	add(t, "show crypto pki crls", "", func(*cli.Invocation) (cli.Result, error) { return r.ShowConfigured("pki crls", "") })
}
