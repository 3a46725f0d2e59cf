package boot

import (
	"strings"
	"testing"

	"felloe/netstack/link/mem"
)

func TestANICServesTheInterfaceThatIsMadeAnewOnIt(t *testing.T) {
	c := newCloud(t)
	a, b := c.net.Pair("a", "b", mem.Impairment{})
	const text = "hostname = \"a\"\n[vrf.red]\n[interface.GigabitEthernet1]\naddress = [\"192.0.2.1/24\"]\n"
	c.start("a", text, NIC{"a", a})
	c.start("b", strings.ReplaceAll(text, "192.0.2.1", "192.0.2.2"), NIC{"b", b})
	c.want("a", "ping 192.0.2.2 repeat 1", "(1/1)")
	c.apply("a", text+"vrf = \"red\"\n")
	c.want("a", "ping vrf red 192.0.2.2 repeat 1", "(1/1)")
	c.apply("a", text)
	c.want("a", "ping 192.0.2.2 repeat 1", "(1/1)")
}
