package hubs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shown is what is kept of each router when something is wrong.
var shown = []string{"show ip interface brief", "show crypto ikev2 client flexvpn", "show crypto ikev2 sa", "show ip local pool", "show ip route",
	"show ip bgp summary", "show ip bgp", "show ip nhrp", "show track brief", "show counters", "show events", "show logging"}

// keep writes what the routers show into a folder, one file each.
func (n *network) keep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for node := range n.nodes() {
		var b strings.Builder
		for _, line := range shown {
			out, err := n.memory.Exec(ctx, node, line)
			if err != nil {
				out = err.Error()
			}
			fmt.Fprintf(&b, "%s# %s\n%s\n\n", node, line, out)
		}
		if err := os.WriteFile(filepath.Join(dir, node+".txt"), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// nodes are the routers but the Internet.
func (n *network) nodes() func(func(string) bool) {
	return func(yield func(string) bool) {
		for h := 1; h <= n.Hubs; h++ {
			if !yield(hubName(h)) {
				return
			}
		}
		for s := 1; s <= n.Spokes; s++ {
			if !yield(spokeName(s)) {
				return
			}
		}
	}
}
