package boot

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"felloe/netstack/link/mem"
)

// clusterSpoke knows the address of the hubs' cluster only.
const clusterSpoke = `
hostname = "spoke"
[interface.GigabitEthernet1]
address = ["172.25.1.50/24"]
[interface.Loopback0]
address = ["192.168.101.1/32"]
[interface.Tunnel1]
address = "negotiated"
source = "GigabitEthernet1"
destination = "dynamic"
protection = "P"
[ikev2.profile.F]
match = { identity.remote.any = true }
keyring = "K"
identity.local.fqdn = "spoke.example.com"
authorization.policy = "default"
[ikev2.authorization-policy.default]
route = { set-interface = ["self", "Loopback0"] }
[ikev2.client.C]
peer = [{ address = "172.25.1.100" }]
client-connect = "Tunnel1"
` + flexCrypto

// A spoke is sent to a hub, and to another one when that hub leaves.
func TestASpokeThatCallsAClusterIsSentToAHubAndToAnotherOneWhenThatOneLeaves(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newCloud(t)
	wan := c.net.Switch("wan", mem.Impairment{})
	c.clusterHubs(wan, strings.NewReplacer())
	c.want("hub1", "show crypto ikev2 cluster", "172.25.1.2", "172.25.1.3", "backup")
	c.start("spoke", clusterSpoke, NIC{"spoke", wan.Port("spoke")})
	hub := func() string {
		for n := 1; n <= 3; n++ {
			name := fmt.Sprintf("hub%d", n)
			if r := c.routers[name]; r != nil && strings.Contains(c.exec(name, "show crypto ikev2 sa"), "172.25.1.50") {
				return name
			}
		}
		return ""
	}
	reach := func() {
		t.Helper()
		c.until(func() string {
			ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
			defer stop()
			out, err := c.routers["spoke"].Exec(ctx, "ping 10.1.1.1 source Loopback0 repeat 3 timeout 1")
			return unless(err == nil && strings.Contains(out, "(3/3)"), fmt.Sprintf("a way to the hub: %v\n%s", err, out))
		})
	}
	reach()
	first := hub()
	c.want("spoke", "show crypto ikev2 sa", "172.25.1."+first[3:]+"/")
	if strings.Contains(c.exec(first, "show crypto ikev2 sa"), "172.25.1.100") {
		t.Errorf("it is served at the address of the cluster")
	}
	c.want("hub1", "show logging", "peer is redirected", "to=172.25.1."+first[3:])
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	// It says goodbye first: the spoke has another session before the old one ends.
	left := c.routers[first]
	delete(c.routers, first)
	done := make(chan struct{})
	go func() { _ = left.Shutdown(ctx); close(done) }()
	for moving := true; moving; {
		select {
		case <-done:
			moving = false
		default:
		}
		if out := c.exec("spoke", "ping 10.1.1.1 source Loopback0 repeat 1 timeout 1"); !strings.Contains(out, "(1/1)") {
			t.Errorf("a packet was lost:\n%s", out)
		}
	}
	reach()
	if next := hub(); next == "" || next == first {
		t.Errorf("it is at %q", next)
	}
	// The hubs' books are right.
	c.until(func() string {
		n := 0
		for name, r := range c.routers {
			if strings.HasPrefix(name, "hub") {
				_ = r.call("look", func() error { n += len(r.cluster.peers); return nil })
			}
		}
		return unless(n == 1, "one session in all")
	})
}

// sixOutside has a configuration of the cluster's lab have IPv6 outside.
var sixOutside = strings.NewReplacer("172.25.1.", "2001:db8:1::", "/24", "/64", "protection = \"P\"\n", "mode = \"gre ipv6\"\nprotection = \"P\"\n")

func TestAClusterServesCallersOverIPv6(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newCloud(t)
	wan := c.net.Switch("wan", mem.Impairment{})
	c.clusterHubs(wan, sixOutside)
	c.want("hub1", "show crypto ikev2 cluster", "Master", "2001:db8:1::2", "2001:db8:1::3", "backup")
	c.start("spoke", sixOutside.Replace(clusterSpoke), NIC{"spoke", wan.Port("spoke")})
	at := func(hub int) {
		t.Helper()
		name := fmt.Sprintf("hub%d", hub)
		c.want("spoke", "show crypto ikev2 sa", fmt.Sprintf("2001:db8:1::%d/", hub))
		c.want(name, "show crypto ikev2 sa", "2001:db8:1::50")
		c.want("spoke", "ping 10.1.1.1 repeat 3", "(3/3)")
	}
	at(1)
	// The master goes: another one has the address, and the spoke is there.
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	left := c.routers["hub1"]
	delete(c.routers, "hub1")
	_ = left.Shutdown(ctx)
	c.want("hub2", "show crypto ikev2 cluster", "Role            : CLB Master")
	c.want("spoke", "ping 2001:db8:1::100 repeat 1", "(1/1)")
	at(2)
}
