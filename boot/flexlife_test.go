package boot

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"felloe/netstack/link/mem"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/protect"
)

// insideOn counts the packets on a link outside that have addresses inside of a FlexVPN network over IPv4, or are GRE.
func insideOn(link *mem.Link) (seen *atomic.Int32) {
	seen = &atomic.Int32{}
	nets := []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("172.16.0.0/16")}
	link.SetCapture(func(_ time.Time, _ *mem.Port, frame []byte) {
		if len(frame) < 34 || frame[12] != 8 || frame[13] != 0 {
			return
		}
		for _, n := range nets {
			if n.Contains(netip.AddrFrom4([4]byte(frame[26:30]))) || n.Contains(netip.AddrFrom4([4]byte(frame[30:34]))) || frame[23] == 47 {
				seen.Add(1)
				return
			}
		}
	})
	return seen
}

// shortcutCloud is two spokes that have met, on a segment that is looked at.
func shortcutCloud(t *testing.T) (c *cloud, x flexNets, clear *atomic.Int32) {
	x = flexFamilies["IPv4 over IPv4"]
	c = newCloud(t)
	segment := c.net.Switch("segment", mem.Impairment{Delay: time.Millisecond})
	clear = insideOn(segment)
	c.start("hub", x.hubText(), NIC{"hub:1", segment.Port("hub")})
	c.flexSpoke(x, segment, 2)
	c.flexSpoke(x, segment, 3)
	c.meet(x, "10.0.0.102", "10.0.0.103")
	return c, x, clear
}

// meet has the hosts behind spoke 2 and spoke 3 talk until both spokes have a shortcut.
func (c *cloud) meet(x flexNets, two, three string) {
	c.t.Helper()
	c.until(func() string {
		out := c.exec("host2", "ping "+x.host(3)+" repeat 3 timeout 1") + c.exec("host3", "ping "+x.host(2)+" repeat 3 timeout 1")
		return unless(strings.Count(out, "(3/3)") == 2 && c.access("spoke2", three) != "" && c.access("spoke3", two) != "", "a shortcut:\n"+out)
	})
}

func (c *cloud) count(name string) (n protect.Count) {
	c.routers[name].look(func() { n = c.routers[name].protect.Count() })
	return n
}

func TestASpokeThatHasAnotherAddressOutsideHasItsHubAndItsShortcutAgain(t *testing.T) {
	t.Parallel() // it mostly waits
	c, x, clear := shortcutCloud(t)
	began := time.Now()
	c.apply("spoke2", strings.Replace(x.spokeText(2), `"10.0.0.102/24"`, `"10.0.0.122/24"`, 1))
	// Both ends of the shortcut are told, and so is the hub: nobody waits until a dead peer is detected.
	c.until(func() string {
		return unless(c.access("spoke3", "10.0.0.102")+c.access("spoke2", "10.0.0.103") == "", "an end of the shortcut from the old address")
	})
	c.want("host2", "ping "+x.host(3)+" repeat 3 timeout 1", "(3/3)")
	t.Logf("over the hub again after %v", time.Since(began).Round(10*time.Millisecond))
	c.meet(x, "10.0.0.122", "10.0.0.103")
	t.Logf("directly again after %v", time.Since(began).Round(10*time.Millisecond))
	c.until(func() string {
		h, two, three := c.count("hub"), c.count("spoke2"), c.count("spoke3")
		return unless(h.IKE == 2 && two.IKE == 2 && three.IKE == 2 && c.access("hub", "10.0.0.102") == "", fmt.Sprintf("two IKE SAs each: %+v %+v %+v", h, two, three))
	})
	if n := clear.Load(); n > 0 {
		t.Errorf("%d packets in clear", n)
	}
}

func TestAShortcutAndItsInterfaceGoWithTheTunnelThatIsShut(t *testing.T) {
	t.Parallel() // it mostly waits
	c, x, clear := shortcutCloud(t)
	c.exec("spoke2", "shutdown interface Tunnel0")
	c.until(func() string {
		return unless(c.access("spoke2", "10.0.0.103")+c.access("spoke3", "10.0.0.102") == "", "an end of the shortcut")
	})
	c.until(func() string {
		h, two, three := c.count("hub"), c.count("spoke2"), c.count("spoke3")
		return unless(h.IKE == 1 && two.IKE == 0 && three.IKE == 1, fmt.Sprintf("an end of its IKE SAs: %+v %+v %+v", h, two, three))
	})
	for _, name := range []string{"spoke2", "spoke3"} {
		if out := c.exec(name, "show ip route") + c.exec(name, "show ip nhrp"); strings.Contains(out, "Virtual-Access") {
			t.Errorf("%s still has\n%s", name, out)
		}
	}
	if out := c.exec("host2", "ping "+x.host(3)+" repeat 3 timeout 1"); !strings.Contains(out, "(0/3)") {
		t.Errorf("how?\n%s", out)
	}
	c.exec("spoke2", "no shutdown interface Tunnel0")
	c.meet(x, "10.0.0.102", "10.0.0.103")
	if n := clear.Load(); n > 0 {
		t.Errorf("%d packets in clear", n)
	}
}

// What a tunnel has of its own ends with its last child, whoever ends that: nobody else would ever use it.
func TestATunnelWithAnAddressOfItsPeerLeavesNoIKESABehind(t *testing.T) {
	t.Parallel() // it mostly waits
	for name, spoke := range map[string]string{
		"of one hub":        flexSpoke(1, "address = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.1.1\"", ""),
		"of a client block": flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }]`)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlex(t)
			f.run("hub1", flexHub(1, pushAll, ""))
			f.run("spoke1", spoke)
			up := func() {
				t.Helper()
				f.want("spoke1", "ping 192.168.0.1 source GigabitEthernet2 repeat 1 timeout 1", "(1/1)")
				f.until(func() string {
					a, b := f.count("hub1"), f.count("spoke1")
					one := protect.Count{Up: 1, Pairs: 1, IKE: 1}
					return unless(a == one && b == one, fmt.Sprintf("one session, and no more: %+v %+v", a, b))
				})
				f.want("spoke1", "show ip route", "10.1.1.100/32 is directly connected, Tunnel1")
			}
			up()
			for _, who := range []string{"spoke1", "hub1"} {
				for range 2 {
					f.exec(who, "clear crypto sa")
					up()
				}
			}
		})
	}
}

// The same Apply ends a client's session, whose address is looked at in what others are told, and changes what they are told.
func TestWhatPeersAreToldIsTheNewConfigurationsWhateverEndsMeanwhile(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	for n := 1; n <= 2; n++ {
		f.run(fmt.Sprintf("hub%d", n), flexHub(n, `{ set-interface = ["self"] }`, ""))
	}
	text := flexSpoke(1, clientTunnel, "[interface.Tunnel2]\naddress = \"negotiated\"\nsource = \"GigabitEthernet1\"\ndestination = \"172.25.2.1\"\nprotection = \"P\"\n"+
		flexClient("peer = [{ address = \"172.25.1.1\" }]\n"))
	f.run("spoke1", text)
	f.at("spoke1", "172.25.1.1")
	f.want("hub2", "show ip route", "192.168.101.0/24")
	f.apply("spoke1", strings.NewReplacer(`permit = ["192.168.101.0/24",`, `permit = ["192.168.177.0/24",`, "client-connect = \"Tunnel1\"\n", "client-connect = \"Tunnel1\"\nconnect = \"manual\"\n").Replace(text))
	f.want("hub2", "show ip route", "192.168.177.0/24")
}

func TestAnotherAddressOfASessionThatGoesOnIsTheTunnelsAndIsShown(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFlex(t)
	f.run("hub1", flexHub(1, pushAll, ""))
	r := f.run("spoke1", flexSpoke(1, clientTunnel, flexClient(`peer = [{ address = "172.25.1.1" }]`)))
	f.at("spoke1", "172.25.1.1")
	f.want("spoke1", "show crypto ikev2 client flexvpn", "Assigned IP address: 10.1.1.100")
	r.look(func() {
		r.exchanged(ikev2.ConfigReceived{SA: r.protect.Sessions()[0].IKE, Kind: message.CFG_SET,
			Configuration: ikev2.Configuration{Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.1.111/32")}}})
	})
	f.want("spoke1", "show ip route", "10.1.1.111/32 is directly connected, Tunnel1")
	f.want("spoke1", "show crypto ikev2 client flexvpn", "Current state:ACTIVE", "Assigned IP address: 10.1.1.111")
}
