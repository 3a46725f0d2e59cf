package guard

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"felloe/routing/bgp"
)

var external = Config{LocalAS: 65010, LocalID: netip.MustParseAddr("10.0.0.1"), ClusterID: netip.MustParseAddr("10.0.0.1"),
	RemoteAS: 65011, IPv4: true, IPv6: true}

func internal() Config {
	c := external
	c.RemoteAS = 65010
	return c
}

// openMessage is an OPEN of AS as, with the capabilities given as code and value.
func openMessage(as uint32, id string, caps ...capability) []byte {
	return buildOpen(as, 180, netip.MustParseAddr(id).As4(), caps)
}

func four(as uint32) capability {
	return capability{capFourOctetAS, binary.BigEndian.AppendUint32(nil, as)}
}

var (
	mp4 = capability{capMultiprotocol, []byte{0, 1, 0, 1}}
	mp6 = capability{capMultiprotocol, []byte{0, 2, 0, 1}}
)

// running is a guard whose session is up; the peer has four-octet AS numbers and both families.
func running(t testing.TB, cfg Config, caps ...capability) *Guard {
	g := New(cfg)
	if caps == nil {
		caps = []capability{mp4, mp6, four(cfg.RemoteAS), {capRouteRefresh, nil}}
	}
	for _, m := range [][]byte{openMessage(cfg.RemoteAS, "10.0.0.2", caps...), KeepaliveMessage()} {
		if _, err := g.FromPeer(m); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// attr is an attribute in hex.
func attr(flags, kind uint8, value string) []byte {
	v, err := hex.DecodeString(strings.ReplaceAll(value, " ", ""))
	if err != nil {
		panic(err)
	}
	return append([]byte{flags, kind, byte(len(v))}, v...)
}

func prefixes(list ...string) (b []byte) {
	for _, s := range list {
		p := netip.MustParsePrefix(s)
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func updateMessage(withdrawn, attrs, nlri []byte) []byte { return assemble(withdrawn, attrs, nlri) }

// through is what a message of the peer comes to, as messages.
func through(g *Guard, msg []byte) ([][]byte, error) {
	r, err := g.FromPeer(msg)
	if err != nil {
		return nil, err
	}
	if r.Update != nil {
		return r.Update.Encode(true), nil
	}
	if r.Engine != nil {
		return [][]byte{r.Engine}, nil
	}
	return nil, nil
}

var (
	origin  = attr(0x40, 1, "00")
	path11  = attr(0x40, 2, "02 01 0000fdf3")          // 65011
	path111 = attr(0x40, 2, "02 02 0000fdf3 0000fde9") // 65011 65001
	empty   = attr(0x40, 2, "")
	nexthop = attr(0x40, 3, "0a000002")
	pref    = attr(0x40, 5, "00000064")
	reach6  = attr(0x80, 14, "0002 01 10 20010db8000000000000000000000002 00 40 20010db800010000")
)

// describe says what the engine would make of messages.
func describe(t testing.TB, msgs [][]byte) string {
	var s []string
	for _, m := range msgs {
		if n, err := checkHeader(m); err != nil || n != len(m) {
			t.Fatalf("the guard wrote a message with a bad header: %x", m)
		}
		if m[18] != UpdateType {
			s = append(s, fmt.Sprintf("type %d", m[18]))
			continue
		}
		g := &Guard{cfg: Config{IPv4: true, IPv6: true}, open: &PeerOpen{IPv4: true, IPv6: true, FourOctet: true}, up: true}
		u, err := g.parseUpdate(m[HeaderLen:])
		if err != nil {
			t.Fatalf("the guard wrote an UPDATE that it would refuse: %v: %x", err, m)
		}
		var kinds []string
		for k := range 256 {
			if _, ok := u.attrs[uint8(k)]; ok {
				kinds = append(kinds, fmt.Sprint(k))
			}
		}
		x := ""
		if w := append(u.withdrawn, u.unreach...); len(w) > 0 {
			x += fmt.Sprint(" -", w)
		}
		if n := append(u.nlri, u.reach...); len(n) > 0 {
			x += fmt.Sprint(" +", n)
		}
		if len(kinds) > 0 {
			x += " attributes " + strings.Join(kinds, ",")
		}
		if x == "" {
			x = " end of RIB"
		}
		s = append(s, x[1:])
	}
	return strings.Join(s, " | ")
}

func TestUpdatesAreTakenApartAndWrittenAnew(t *testing.T) {
	nlri := prefixes("192.0.2.0/24")
	for _, c := range []struct {
		name  string
		cfg   Config
		msg   []byte
		want  string // what the engine gets
		fault string // what is said of it
		code  uint8  // of the error that ends the session
		sub   uint8
	}{
		{name: "a good path", msg: updateMessage(nil, join(origin, path11, nexthop), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "attributes in any order", msg: updateMessage(nil, join(nexthop, path11, origin), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "a withdrawal", msg: updateMessage(nlri, nil, nil), want: "-[192.0.2.0/24]"},
		{name: "the end of the RIB", msg: updateMessage(nil, nil, nil), want: "end of RIB"},
		{name: "the end of the IPv6 RIB", msg: updateMessage(nil, attr(0x80, 15, "0002 01"), nil), want: "attributes 15"},
		{name: "an IPv6 path", msg: updateMessage(nil, join(reach6, origin, path11), nil), want: "+[2001:db8:1::/64] attributes 1,2,14"},
		{name: "bits behind a prefix", msg: updateMessage(nil, join(origin, path11, nexthop), []byte{20, 192, 0, 0xff}), want: "+[192.0.240.0/20] attributes 1,2,3"},
		{name: "withdrawn and reachable at once", msg: updateMessage(nlri, join(origin, path11, nexthop), nlri), want: "-[192.0.2.0/24] | +[192.0.2.0/24] attributes 1,2,3"},

		{name: "no ORIGIN", msg: updateMessage(nil, join(path11, nexthop), nlri), want: "-[192.0.2.0/24]", fault: "attribute 1 is missing"},
		{name: "no NEXT_HOP", msg: updateMessage(nil, join(origin, path11), nlri), want: "-[192.0.2.0/24]", fault: "attribute 3 is missing"},
		{name: "a bad ORIGIN", msg: updateMessage(nil, join(attr(0x40, 1, "07"), path11, nexthop), nlri), want: "-[192.0.2.0/24]", fault: "attribute 1 is malformed"},
		{name: "a bad AS_PATH", msg: updateMessage(nil, join(origin, attr(0x40, 2, "02 05 0000fdf3"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "attribute 2 is malformed"},
		{name: "an empty segment", msg: updateMessage(nil, join(origin, attr(0x40, 2, "02 00"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "attribute 2 is malformed"},
		{name: "a confederation's segment", msg: updateMessage(nil, join(origin, attr(0x40, 2, "03 01 0000fdf3"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "attribute 2 is malformed"},
		{name: "a next hop that is no host", msg: updateMessage(nil, join(origin, path11, attr(0x40, 3, "e0000001")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 3 is malformed"},
		{name: "a short next hop", msg: updateMessage(nil, join(origin, path11, attr(0x40, 3, "0a00")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 3 is malformed"},
		{name: "an external path from elsewhere", msg: updateMessage(nil, join(origin, attr(0x40, 2, "02 01 0000fde9"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "does not begin with AS 65011"},
		{name: "AS 0", msg: updateMessage(nil, join(origin, attr(0x40, 2, "02 02 0000fdf3 00000000"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "AS 0"},
		{name: "our AS", msg: updateMessage(nil, join(origin, attr(0x40, 2, "02 02 0000fdf3 0000fdf2"), nexthop), nlri), want: "-[192.0.2.0/24]", fault: "our AS"},
		{name: "wrong flags", msg: updateMessage(nil, join(attr(0xc0, 1, "00"), path11, nexthop), nlri), want: "-[192.0.2.0/24]", fault: "flags"},
		{name: "an attribute twice", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x40, 1, "01")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3", fault: "twice"},
		{name: "LOCAL_PREF of an external peer", msg: updateMessage(nil, join(origin, path11, nexthop, pref), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "LOCAL_PREF of an internal peer", cfg: internal(), msg: updateMessage(nil, join(origin, empty, nexthop, pref), nlri), want: "+[192.0.2.0/24] attributes 1,2,3,5"},
		{name: "ORIGINATOR_ID of an external peer", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x80, 9, "0a000001")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "we are the originator", cfg: internal(), msg: updateMessage(nil, join(origin, empty, nexthop, attr(0x80, 9, "0a000001")), nlri), want: "-[192.0.2.0/24]", fault: "ORIGINATOR_ID"},
		{name: "our cluster", cfg: internal(), msg: updateMessage(nil, join(origin, empty, nexthop, attr(0x80, 10, "0a000009 0a000001")), nlri), want: "-[192.0.2.0/24]", fault: "CLUSTER_LIST"},
		{name: "an odd cluster list", cfg: internal(), msg: updateMessage(nil, join(origin, empty, nexthop, attr(0x80, 10, "0a0000")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 10"},
		{name: "a bad AGGREGATOR", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 7, "fdf3 0a000002")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3", fault: "AGGREGATOR"},
		{name: "odd communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 8, "000000")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 8"},
		{name: "large communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 32, "000000010000000200000003")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3,32"},
		{name: "an unknown transitive attribute", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 200, "0102")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3,200"},
		{name: "an unknown attribute that is not", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x80, 200, "0102")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "one that others would decode", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 40, "0102")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3,40"},
		{name: "AS4_PATH of a peer that needs none, in front of the AS_PATH", msg: updateMessage(nil, join(origin, attr(0xc0, 17, "02 01 0000fdf3"), path11, nexthop), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},

		{name: "PMSI_TUNNEL, tunnel encapsulation, IPv6 communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 22, "00"), attr(0xc0, 23, "0001"), attr(0xc0, 25, "ff")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3,22,23,25"},
		{name: "AIGP and BGP-LS are not transitive", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x80, 26, "01"), attr(0x80, 29, "01")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "ATOMIC_AGGREGATE with something in it", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x40, 6, "00")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3", fault: "ATOMIC_AGGREGATE"},
		{name: "AGGREGATOR with AS 0", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 7, "00000000 0a000002")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3", fault: "AGGREGATOR"},
		{name: "AGGREGATOR with the flags of another", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x40, 7, "0000fdf3 0a000002")), nlri), want: "+[192.0.2.0/24] attributes 1,2,3", fault: "flags"},
		{name: "no communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 8, "")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 8"},
		{name: "odd extended communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 16, "00020000000000")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 16"},
		{name: "odd large communities", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 32, "0000000100000002000000")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 32"},
		{name: "a long MED", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x80, 4, "0000000001")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 4"},
		{name: "a short LOCAL_PREF", cfg: internal(), msg: updateMessage(nil, join(origin, empty, nexthop, attr(0x40, 5, "000064")), nlri), want: "-[192.0.2.0/24]", fault: "attribute 5"},
		{name: "an IPv6 path without an AS_PATH", msg: updateMessage(nil, join(reach6, origin), nil), want: "-[2001:db8:1::/64] attributes 15", fault: "attribute 2 is missing"},
		{name: "an IPv6 next hop that is no host", msg: updateMessage(nil, join(attr(0x80, 14, "0002 01 10 ff020000000000000000000000000001 00 40 20010db800010000"), origin, path11), nil), want: "-[2001:db8:1::/64] attributes 15", fault: "next hop"},
		{name: "MP_REACH_NLRI with the flags of another", msg: updateMessage(nil, join(attr(0xc0, 14, "0002 01 10 20010db8000000000000000000000002 00 40 20010db800010000"), origin, path11), nil), code: 3, sub: 4},
		{name: "MP_REACH_NLRI that is cut off", msg: updateMessage(nil, join(attr(0x80, 14, "0002 01 10 20010db8"), origin, path11), nil), code: 3, sub: 9},
		{name: "MP_UNREACH_NLRI twice", msg: updateMessage(nil, join(attr(0x80, 15, "0002 01"), attr(0x80, 15, "0002 01")), nil), code: 3, sub: 1},
		{name: "MP_UNREACH_NLRI that is cut off", msg: updateMessage(nil, attr(0x80, 15, "0002"), nil), code: 3, sub: 9},
		{name: "both families in one message", msg: updateMessage(nil, join(reach6, origin, path11, nexthop), nlri), want: "+[192.0.2.0/24] attributes 1,2,3 | +[2001:db8:1::/64] attributes 1,2,14"},
		{name: "an extended length that needs none", msg: updateMessage(nil, join([]byte{0x50, 1, 0, 1, 0}, path11, nexthop), nlri), want: "+[192.0.2.0/24] attributes 1,2,3"},
		{name: "an attribute that reaches over the end", msg: updateMessage(nil, join(origin, path11, nexthop, []byte{0xc0, 8, 200, 0}), nlri), want: "-[192.0.2.0/24]", fault: "attribute 8 has 200 bytes in 1"},
		{name: "one behind an IPv6 path", msg: updateMessage(nil, join(reach6, origin, []byte{0x40}), nil), want: "-[2001:db8:1::/64] attributes 15", fault: "1 bytes are left"},
		{name: "one before anything is known", msg: updateMessage(nil, []byte{0x40, 1, 9, 0}, nil), code: 3, sub: 1},
		{name: "withdrawn routes that reach over the end", msg: finish(append(header(UpdateType), 0xff, 0xff, 0, 0)), code: 3, sub: 1},
		{name: "a withdrawn route that reaches over its field", msg: finish(append(header(UpdateType), 0, 2, 32, 10, 0, 0, 0, 0)), code: 3, sub: 10},
		{name: "attributes that reach over the end", msg: finish(append(header(UpdateType), 0, 0, 0, 9)), code: 3, sub: 1},
		{name: "a prefix of 33 bits", msg: updateMessage(nil, join(origin, path11, nexthop), []byte{33, 1, 2, 3, 4, 5}), code: 3, sub: 10},
		{name: "a prefix that is cut off", msg: updateMessage(nil, join(origin, path11, nexthop), []byte{24, 1, 2}), code: 3, sub: 10},
		{name: "an unknown well-known attribute", msg: updateMessage(nil, join(origin, path11, nexthop, attr(0x40, 200, "")), nlri), code: 3, sub: 2},
		{name: "MP_REACH_NLRI twice", msg: updateMessage(nil, join(reach6, reach6, origin, path11), nil), code: 3, sub: 1},
		{name: "an IPv6 next hop of 4 bytes", msg: updateMessage(nil, join(attr(0x80, 14, "0002 01 04 0a000002 00"), origin, path11), nil), code: 3, sub: 9},
		{name: "an IPv6 prefix of 129 bits", msg: updateMessage(nil, join(attr(0x80, 15, "0002 01 81 00")), nil), code: 3, sub: 9},
		{name: "another family", msg: updateMessage(nil, join(attr(0x80, 14, "0001 80 04 0a000002 00"), origin, path11), nil), want: "", fault: "which the session does not carry"},
		{name: "an IPv6 next hop with a link-local one", msg: updateMessage(nil, join(attr(0x80, 14, "0002 01 20 20010db8000000000000000000000002 fe800000000000000000000000000002 00 40 20010db800010000"), origin, path11), nil), want: "+[2001:db8:1::/64] attributes 1,2,14"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg.LocalAS == 0 {
				c.cfg = external
			}
			g := running(t, c.cfg)
			out, err := through(g, c.msg)
			var n *Notification
			if errors.As(err, &n); c.code != 0 {
				if n == nil || n.Code != c.code || n.Subcode != c.sub {
					t.Fatalf("got %v, want %d/%d", err, c.code, c.sub)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, out); got != c.want {
				t.Errorf("the engine gets %q, want %q", got, c.want)
			}
			if !strings.Contains(g.Fault, c.fault) || (g.Fault == "") != (c.fault == "") {
				t.Errorf("the fault is %q, want %q", g.Fault, c.fault)
			}
		})
	}
}

func TestTheEnginesCrashersNeverReachIt(t *testing.T) {
	old := running(t, external, mp4) // a peer with two-octet AS numbers
	// AS4_PATH before AS_PATH, both legal.
	msg := updateMessage(nil, join(origin, attr(0xc0, 17, "02 02 00010000 0000fde9"), attr(0x40, 2, "02 03 fdf3 5ba0 fde9"), nexthop), prefixes("192.0.2.0/24"))
	out, err := through(old, msg)
	if err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	if bytes.Contains(out[0], []byte{0xc0, 17}) {
		t.Error("AS4_PATH is still there")
	}
	// 65011, then what AS4_PATH says of the rest.
	if !bytes.Contains(out[0], attr(0x40, 2, "02 01 0000fdf3 02 02 00010000 0000fde9")) {
		t.Errorf("the paths were not merged: %x", out[0])
	}
	// The length underflow of withdrawn routes.
	for n := range 64 {
		body := append([]byte{0, byte(n)}, bytes.Repeat([]byte{32}, n)...)
		g := running(t, external)
		out, err := through(g, finish(append(append(header(UpdateType), body...), 0, 0)))
		if err == nil {
			describe(t, out)
		}
	}
}

func TestAnOldPeersNumbersAreWidened(t *testing.T) {
	g := running(t, external, mp4)
	out, err := through(g, updateMessage(nil, join(origin, attr(0x40, 2, "02 02 fdf3 fde9"), nexthop, attr(0xc0, 7, "5ba0 0a000002"), attr(0xc0, 18, "00010000 0a000002")), prefixes("192.0.2.0/24")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]byte{path111, attr(0xc0, 7, "00010000 0a000002")} {
		if !bytes.Contains(out[0], want) {
			t.Errorf("%x is not in %x", want, out[0])
		}
	}
}

func TestAWideningThatDoesNotFitIsSplit(t *testing.T) {
	g := running(t, external, mp4)
	segment := append([]byte{2, 255}, bytes.Repeat([]byte{0xfd, 0xf3}, 255)...)
	path := []byte{0x50, 2, 0, 0}
	for range 3 {
		path = append(path, segment...)
	}
	binary.BigEndian.PutUint16(path[2:], uint16(len(path)-4))
	var nlri []byte
	for i := range 500 {
		nlri = append(nlri, 32, 10, 0, byte(i>>8), byte(i))
	}
	msg := updateMessage(nil, join(origin, path, nexthop), nlri)
	out, err := through(g, msg)
	if err != nil || len(out) < 2 {
		t.Fatalf("%d messages, %v", len(out), err)
	}
	n := 0
	for _, m := range out {
		if len(m) > MaxLen {
			t.Errorf("a message of %d bytes", len(m))
		}
		u, err := running(t, external).parseUpdate(m[HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		n += len(u.nlri)
	}
	if n != 500 {
		t.Errorf("%d prefixes are left of 500", n)
	}
}

func TestTheOpenIsCheckedAndReduced(t *testing.T) {
	fqdn := capability{73, []byte("\x04host\x00")}
	for _, c := range []struct {
		name      string
		cfg       Config
		msg       []byte
		code, sub uint8
	}{
		{"a good one", external, openMessage(65011, "10.0.0.2", mp4, four(65011), fqdn), 0, 0},
		{"without capabilities", external, openMessage(65011, "10.0.0.2"), 0, 0},
		{"another AS", external, openMessage(65012, "10.0.0.2", four(65012)), 2, 2},
		{"another AS in the capability", external, openMessage(65011, "10.0.0.2", four(65012)), 2, 2},
		{"AS 0", external, openMessage(0, "10.0.0.2"), 2, 2},
		{"any AS, but ours", Config{LocalAS: 65010, IPv4: true}, openMessage(65010, "10.0.0.2"), 2, 2},
		{"any AS", Config{LocalAS: 65010, IPv4: true}, openMessage(65999, "10.0.0.2"), 0, 0},
		{"no identifier", external, openMessage(65011, "0.0.0.0"), 2, 3},
		{"our identifier, in our AS", internal(), openMessage(65010, "10.0.0.1"), 2, 3},
		{"our identifier, in another AS", external, openMessage(65011, "10.0.0.1"), 0, 0},
		{"version 3", external, append(append(bytes.Clone(openMessage(65011, "10.0.0.2")[:19]), 3), openMessage(65011, "10.0.0.2")[20:]...), 2, 1},
		{"a hold time of 2 s", external, buildOpen(65011, 2, [4]byte{10, 0, 0, 2}, nil), 2, 6},
		{"cut-off parameters", external, finish(append(bytes.Clone(openMessage(65011, "10.0.0.2")[:28]), 4, 2, 9, 0, 0)), 2, 0},
		{"an unknown parameter", external, finish(append(bytes.Clone(openMessage(65011, "10.0.0.2")[:28]), 2, 1, 0)), 2, 4},
		{"extended messages are not agreed on", external, openMessage(65011, "10.0.0.2", four(65011), capability{6, nil}), 0, 0},
		{"extended parameters", external, finish(append(bytes.Clone(openMessage(65011, "10.0.0.2")[:28]), 255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 0, 0xfd, 0xf3)), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.StandIn = 65535
			g := New(c.cfg)
			out, err := through(g, c.msg)
			var n *Notification
			if errors.As(err, &n); c.code != 0 {
				if n == nil || n.Code != c.code || n.Subcode != c.sub {
					t.Fatalf("got %v, want %d/%d", err, c.code, c.sub)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, as, _, _, caps, err := parseOpen(out[0])
			if err != nil || as != 65535 {
				t.Errorf("the engine reads AS %d, %v", as, err)
			}
			for _, x := range caps {
				if x.code != capMultiprotocol && x.code != capRouteRefresh && x.code != capFourOctetAS {
					t.Errorf("capability %d is left", x.code)
				}
			}
		})
	}
}

func TestOurOpenDoesNotNameTheHost(t *testing.T) {
	g := New(external)
	out, err := g.ToPeer(openMessage(4200000000, "10.0.0.1", mp4, four(4200000000), capability{73, []byte("\x04host\x00")}, capability{75, []byte("\x05GoBGP")}, capability{5, []byte{0, 1, 0, 1, 0, 2}}))
	if err != nil {
		t.Fatal(err)
	}
	_, as, _, _, caps, err := parseOpen(out)
	if err != nil || as != asTrans || len(caps) != 2 || bytes.Contains(out, []byte("host")) {
		t.Errorf("AS %d, capabilities %v, %v", as, caps, err)
	}
}

func TestMessagesOutOfTurnEndTheSession(t *testing.T) {
	for name, msgs := range map[string][][]byte{
		"KEEPALIVE first":     {KeepaliveMessage()},
		"two OPENs":           {openMessage(65011, "10.0.0.2"), openMessage(65011, "10.0.0.2")},
		"UPDATE before it is": {openMessage(65011, "10.0.0.2"), updateMessage(nil, nil, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			g := New(external)
			var err error
			for _, m := range msgs {
				_, err = g.FromPeer(m)
			}
			var n *Notification
			if !errors.As(err, &n) || n.Code != FSMError {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheStreamMustBeFramed(t *testing.T) {
	good := KeepaliveMessage()
	for name, c := range map[string]struct {
		b   []byte
		sub uint8
	}{
		"a marker with a zero":   {append([]byte{0}, good[1:]...), 1},
		"a length of 18":         {append(append(bytes.Clone(good[:16]), 0, 18), 4), 2},
		"a KEEPALIVE of 20":      {append(append(bytes.Clone(good[:16]), 0, 20), 4, 0), 2},
		"an UPDATE of 4097":      {append(append(bytes.Clone(good[:16]), 16, 1), 2), 2},
		"a type that is not one": {append(append(bytes.Clone(good[:16]), 0, 19), 9), 3},
	} {
		_, err := ReadMessage(bytes.NewReader(c.b), make([]byte, MaxLen))
		var n *Notification
		if !errors.As(err, &n) || n.Code != MessageHeaderError || n.Subcode != c.sub {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ReadMessage(bytes.NewReader(good[:5]), make([]byte, MaxLen)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream that ends in a header: %v", err)
	}
}

func TestRouteRefreshIsForFamiliesOfTheSession(t *testing.T) {
	g := running(t, external, mp4, four(65011), capability{capRouteRefresh, nil})
	for _, c := range []struct {
		body string
		n    int
	}{{"00010001", 1}, {"00020001", 0}, {"00010080", 0}, {"00010101", 0}} {
		b, _ := hex.DecodeString(c.body)
		r, err := g.FromPeer(finish(append(header(RouteRefresh), b...)))
		if err != nil || (r.Refresh != 0) != (c.n == 1) || r.Engine != nil {
			t.Errorf("%s: %+v, %v", c.body, r, err)
		}
	}
	if r := g.RefreshRequests(); len(r) != 1 || !bytes.Equal(r[0][19:], []byte{0, 1, 0, 1}) {
		t.Errorf("we ask with %x", r)
	}
}

func TestWhatPeersHaveInCommonIsKeptOnce(t *testing.T) {
	g := running(t, external)
	var first *bgp.Attributes
	for i := range 3 {
		r, err := g.FromPeer(updateMessage(nil, join(origin, path11, nexthop), prefixes(fmt.Sprintf("192.0.%d.0/24", i))))
		if err != nil {
			t.Fatal(err)
		}
		if a := r.Update.Reach[0].Attributes; first == nil {
			first = a
		} else if a != first {
			t.Error("the same attributes are there twice")
		}
	}
}

func TestOldPeersGetShortNumbers(t *testing.T) {
	u := Update{Reach: []Reach{{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, &bgp.Attributes{NextHop: netip.MustParseAddr("10.0.0.1"),
		ASPath: []bgp.Segment{{Type: bgp.ASSequence, AS: []uint32{65010, 70000}}}, Aggregator: bgp.Aggregator{AS: 70000, ID: netip.MustParseAddr("1.1.1.1")}}}}}
	m := u.Encode(false)[0]
	for _, want := range [][]byte{attr(0x40, 2, "02 02 fdf2 5ba0"), attr(0xc0, 17, "02 02 0000fdf2 00011170"), attr(0xc0, 7, "5ba0 01010101"), attr(0xc0, 18, "00011170 01010101")} {
		if !bytes.Contains(m, want) {
			t.Errorf("%x is not in %x", want, m)
		}
	}
}

func TestAttributesThatLeaveNoRoomAreWithdrawn(t *testing.T) {
	var many []uint32
	for i := range 1100 {
		many = append(many, uint32(i))
	}
	u := Update{Reach: []Reach{{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, &bgp.Attributes{NextHop: netip.MustParseAddr("10.0.0.1"), Communities: many}}}}
	if got := describe(t, u.Encode(true)); got != "-[192.0.2.0/24]" {
		t.Errorf("the peer gets %q", got)
	}
}
