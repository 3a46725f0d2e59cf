package guard

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func TestNextHopsAndPrefixesAreHeldToWhatTheyMean(t *testing.T) {
	mapped := attr(0x80, 14, "0002 01 10 00000000000000000000ffff0a000002 00 40 20010db800010000")
	for _, c := range []struct {
		name string
		msg  []byte
		want string
	}{
		{"a NEXT_HOP beside MP_REACH_NLRI belongs to nothing", updateMessage(nil, join(origin, path11, attr(0x40, 3, "00000000"), reach6), nil), "+[2001:db8:1::/64] attributes 1,2,14"},
		{"a mapped next hop is taken", updateMessage(nil, join(mapped, origin, path11), nil), "+[2001:db8:1::/64] attributes 1,2,14"},
		{"networks that can be nobody's are left out", updateMessage(nil, join(origin, path11, nexthop), prefixes("127.0.0.0/8", "10.0.0.0/8", "224.0.0.9/32", "0.1.0.0/16")), "+[10.0.0.0/8] attributes 1,2,3"},
		{"the default route is a network", updateMessage(nil, join(origin, path11, nexthop), prefixes("0.0.0.0/0")), "+[0.0.0.0/0] attributes 1,2,3"},
		{"nothing but such a network is not the end of the table", updateMessage(nil, join(origin, path11, nexthop), prefixes("127.0.0.1/32")), ""},
		{"link-local and multicast", updateMessage(nil, join(attr(0x80, 14, "0002 01 10 20010db8000000000000000000000002 00 0a fe80 08 ff 10 2001"), origin, path11), nil), "+[2001::/16] attributes 1,2,14"},
		{"withdrawn they are as any", updateMessage(prefixes("127.0.0.0/8"), nil, nil), "-[127.0.0.0/8]"},
	} {
		g := running(t, external)
		out, err := through(g, c.msg)
		if got := describe(t, out); err != nil || got != c.want {
			t.Errorf("%s: %q, want %q, %v", c.name, got, c.want, err)
		}
	}
}

func TestLongAttributesDoNotPileUp(t *testing.T) {
	g := running(t, external)
	for i := range 2000 {
		v := make([]byte, 3600)
		binary.BigEndian.PutUint32(v, uint32(i))
		long := append([]byte{0xd0, 8, byte(len(v) >> 8), byte(len(v))}, v...)
		if _, err := through(g, updateMessage(nil, join(origin, path11, nexthop, long), prefixes(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255)))); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for k := range g.known {
		n += len(k)
	}
	if n == 0 || n > 1<<20 {
		t.Errorf("%d bytes are remembered", n)
	}
}
