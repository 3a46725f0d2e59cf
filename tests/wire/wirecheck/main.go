package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"felloe/tests/wire"
)

func main() { os.Exit(run(os.Stdout, os.Args[1:])) }

// widest is the shortest IPv4 prefix that can be told from random bytes.
const widest = 20

func run(w io.Writer, args []string) int {
	flags := flag.NewFlagSet("wirecheck", flag.ContinueOnError)
	flags.SetOutput(w)
	clear := flags.String("clear", "", "`prefixes` and addresses that must not be seen, separated by commas")
	keys := flags.String("keys", "", "`folder` of a key log: tshark must read and decrypt everything")
	hub := flags.String("hub", "", "`address` that answers must not come from or go to: each resolution reply is shown, and goes directly")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	prefixes, err := parse(*clear)
	if err == nil && flags.NArg() == 0 {
		err = fmt.Errorf("no capture is named")
	}
	if err != nil {
		fmt.Fprintln(w, "wirecheck:", err)
		return 2
	}
	status := 0
	for _, name := range flags.Args() {
		c := wire.NewClear(prefixes...)
		if err := c.File(name); err != nil {
			fmt.Fprintln(w, "wirecheck:", err)
			status = 1
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", name, c)
		for i, f := range c.Findings() {
			status = 1
			if i == 20 {
				fmt.Fprintln(w, "  …")
				break
			}
			fmt.Fprintf(w, "  %s\n", f)
		}
		if *keys == "" {
			continue
		}
		d, err := wire.Dissect(context.Background(), name, *keys)
		if err != nil {
			fmt.Fprintln(w, "wirecheck:", err)
			status = 1
			continue
		}
		fmt.Fprintf(w, "%s: tshark: %d frames, %d IKE, %d ESP, %d NHRP: %d problems\n", name, d.Frames, d.IKE, d.ESP, len(d.NHRP), len(d.Problems))
		if *hub != "" && !direct(w, d, *hub) {
			status = 1
		}
		for i, p := range d.Problems {
			status = 1
			if i == 20 {
				fmt.Fprintln(w, "  …")
				break
			}
			fmt.Fprintf(w, "  %s\n", p)
		}
	}
	return status
}

func parse(list string) (prefixes []netip.Prefix, err error) {
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("%q is neither a prefix nor an address", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4() && p.Bits() < widest {
			return nil, fmt.Errorf("%s is so wide that random bytes look like it: name prefixes of /%d or longer", p, widest)
		}
		prefixes = append(prefixes, p)
	}
	if len(prefixes) == 0 {
		return nil, fmt.Errorf("-clear names nothing to look for")
	}
	return prefixes, nil
}

// direct shows the way of resolution replies and reports whether none touched the hub.
func direct(w io.Writer, d *wire.Dissection, hub string) bool {
	ok := true
	for _, n := range d.NHRP {
		if n.Type() != wire.ResolutionReply {
			continue
		}
		fmt.Fprintf(w, "  frame %d, decrypted: NHRP Resolution Reply from %s to %s\n", n.Frame, n.OuterSrc, n.OuterDst)
		if n.OuterSrc.String() == hub || n.OuterDst.String() == hub {
			fmt.Fprintf(w, "  … which is the hub\n")
			ok = false
		}
	}
	return ok
}
