package boot

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"felloe/manage/probe"
	"felloe/netstack/link/mem"
)

const routes = `
[[route]]
prefix = "0.0.0.0/0"
via = "172.16.0.%d"
[[route]]
prefix = "10.0.0.0/8"
discard = true
`

// Whatever an Apply takes away and makes anew, the inside of a tunnel is never seen outside: addresses of it are in no
// frame. A tunnel without an SA drops what is sent to it. When it is down its routes go, and the default route of the same
// VRF would lead out: that is what the discard route is for.
func TestATunnelThatIsBuiltAnewLetsNothingOutInClear(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, mode := range []string{"ipsec ipv4", "gre ip"} {
		t.Run(mode, func(t *testing.T) {
			c := newCloud(t)
			link := c.net.Switch("wan", mem.Impairment{})
			inside := netip.MustParseAddr("10.1.0.2").AsSlice()
			var leaks, frames atomic.Int64
			link.SetCapture(func(_ time.Time, _ *mem.Port, frame []byte) {
				frames.Add(1)
				if len(frame) > 34 && frame[12] == 8 && frame[13] == 0 && bytes.Contains(frame, inside) {
					leaks.Add(1)
				}
			})
			text := func(n int) string {
				return static(n, mode, `"10.1.0.N/24"`) + fmt.Sprintf(routes, 3-n)
			}
			c.start("r1", text(1), NIC{"r1", link.Port("r1")})
			c.start("r2", text(2), NIC{"r2", link.Port("r2")})
			c.want("r1", "show crypto session", "UP-ACTIVE")
			c.want("r1", "ping 10.1.0.2 repeat 2", "(2/2)")
			ctx, stop := context.WithCancel(context.Background())
			prober, err := c.routers["r1"].Prober("default")
			if err != nil {
				t.Fatal(err)
			}
			var sent atomic.Int64
			pinged := make(chan struct{})
			go func() {
				defer close(pinged)
				for ; ctx.Err() == nil; sent.Add(1) {
					_, _ = prober.Ping(ctx, probe.PingOptions{Destination: netip.MustParseAddr("10.1.0.2"), Count: 1, Timeout: time.Millisecond}, nil)
				}
			}()
			pings := func(n int64) {
				n += sent.Load() + 1 // one may be under way
				c.until(func() string { return unless(sent.Load() >= n, "enough pings") })
			}
			first := text(1)
			for _, change := range [][2]string{
				{`esp = ["aes-gcm-256"]`, `esp = ["aes-gcm-128"]`}, // the peer does not take that: no SA
				{`identity.remote.any = true`, `identity.remote.fqdn = ["nobody.example"]`},
				{`pre-shared-key = "secret"`, `pre-shared-key = "wrong"`},
				{`protection = "P"`, "protection = \"P\"\nshutdown = true"},
				{`ikev2-profile = "P"`, "ikev2-profile = \"P\"\npfs = 14"},
			} {
				other := strings.Replace(first, change[0], change[1], 1)
				if other == first {
					t.Fatalf("%s is not in the configuration", change[0])
				}
				c.apply("r1", other)
				pings(50)
				c.apply("r1", first)
				pings(20)
			}
			stop()
			<-pinged
			c.want("r1", "show crypto session", "UP-ACTIVE")
			c.want("r1", "ping 10.1.0.2 repeat 2", "(2/2)")
			if leaks.Load() != 0 || frames.Load() == 0 {
				t.Errorf("%d of %d frames show the inside", leaks.Load(), frames.Load())
			}
		})
	}
}
