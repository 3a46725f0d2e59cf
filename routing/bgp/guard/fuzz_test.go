//go:build !js

package guard

import (
	"bytes"
	"slices"
	"testing"

	"felloe/routing/bgp"

	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// FuzzGuard feeds streams of bytes to a guard as a peer would. What an UPDATE comes to, written anew, must be messages
// that a guard reads as the same, and that GoBGP's decoder reads without an error or a panic, as the same path.
func FuzzGuard(f *testing.F) {
	nlri := prefixes("192.0.2.0/24", "198.51.100.128/25")
	seeds := [][]byte{
		updateMessage(nil, join(origin, path11, nexthop), nlri),
		updateMessage(nlri, join(reach6, origin, path11), nil),
		updateMessage(nil, join(origin, attr(0xc0, 17, "02 01 0000fdf3"), path11, nexthop), nlri),
		updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 16, "0002fde900000001"), attr(0xc0, 8, "fde90001"), attr(0xc0, 32, "000000010000000200000003")), nlri),
		finish(append(header(UpdateType), 0, 2, 32, 10, 0, 0, 0, 0)),
		finish(append(header(RouteRefresh), 0, 1, 0, 1)),
		(&Notification{Code: Cease, Subcode: AdminShutdown, Data: []byte("\x03bye")}).Bytes(),
	}
	session := append(openMessage(65011, "10.0.0.2", mp4, mp6, four(65011), capability{capRouteRefresh, nil}), KeepaliveMessage()...)
	for i, s := range seeds {
		f.Add(append(bytes.Clone(session), s...), i%2 == 0)
	}
	f.Add(append(openMessage(65011, "10.0.0.2"), append(KeepaliveMessage(), updateMessage(nil, join(origin, attr(0x40, 2, "02 01 fdf3"), attr(0xc0, 17, "02 01 00010000"), nexthop), nlri)...)...), true)
	f.Fuzz(func(t *testing.T, stream []byte, ebgp bool) {
		cfg := external
		if !ebgp {
			cfg.LocalAS = cfg.RemoteAS
		}
		g := New(cfg)
		r := bytes.NewReader(stream)
		buf := make([]byte, MaxLen)
		for {
			msg, err := ReadMessage(r, buf)
			if err != nil {
				return
			}
			out, err := through(g, msg)
			if err != nil {
				if n, ok := err.(*Notification); !ok || len(n.Bytes()) > MaxLen {
					t.Fatalf("error %v", err)
				}
				return
			}
			for _, m := range out {
				check(t, g, cfg, m)
			}
		}
	})
}

func check(t *testing.T, g *Guard, cfg Config, m []byte) {
	if n, err := checkHeader(m); err != nil || n != len(m) {
		t.Fatalf("a message of %d bytes came out: %v", len(m), err)
	}
	if opaque(m) {
		return // GoBGP looks into attributes that are nothing to a router which passes them on
	}
	parsed, err := wire.ParseBGPMessage(m)
	if err != nil {
		t.Fatalf("GoBGP does not read %x: %v", m, err)
	}
	u, ok := parsed.Body.(*wire.BGPUpdate)
	if !ok {
		return
	}
	families := map[wire.RouteFamily]wire.BGPAddPathMode{wire.RF_IPv4_UC: 0, wire.RF_IPv6_UC: 0}
	if ok, err := wire.ValidateUpdateMsg(u, families, g.External(), false, false); !ok {
		t.Fatalf("GoBGP refuses %x: %v", m, err)
	}
	if _, err := parsed.Serialize(); err != nil {
		t.Fatalf("GoBGP does not write %x: %v", m, err)
	}
	for _, a := range u.PathAttributes {
		_ = a.String()
	}
	again := &Guard{cfg: cfg, open: &PeerOpen{AS: g.open.AS, IPv4: true, IPv6: true, FourOctet: true}, up: true}
	out, err := through(again, m)
	if err != nil || len(out) != 1 || !bytes.Equal(out[0], m) {
		t.Fatalf("what came out is not what the guard would take: %x, then %x, %v", m, out, err)
	}
	sameAsGoBGP(t, again, m, u)
	// A peer with two-octet AS numbers gets the same path, in two attributes.
	narrow := &Guard{cfg: cfg, open: &PeerOpen{AS: g.open.AS, IPv4: true, IPv6: true}, up: true}
	r, err := again.FromPeer(m)
	if err != nil || len(r.Update.Reach) != 1 || g.open.AS > 65535 {
		return
	}
	for _, old := range r.Update.Encode(false) {
		n, err := narrow.FromPeer(old)
		if err != nil || len(n.Update.Reach) == 1 && !n.Update.Reach[0].Attributes.Equal(r.Update.Reach[0].Attributes) {
			if err == nil && r.Update.Reach[0].Attributes.PathLength() != pathLenSegments(r.Update.Reach[0].Attributes.ASPath) {
				continue // AS sets: AS4_PATH says how long the path is, not how it is cut
			}
			t.Fatalf("a peer with short AS numbers reads %+v, not %+v: %v", n.Update, r.Update, err)
		}
	}
}

// opaque says whether an UPDATE has attributes of other address families in it.
func opaque(m []byte) bool {
	if m[18] != UpdateType {
		return false
	}
	u, err := (&Guard{cfg: Config{IPv4: true, IPv6: true}, open: &PeerOpen{IPv4: true, IPv6: true, FourOctet: true}}).parseUpdate(m[HeaderLen:])
	if err != nil {
		return false
	}
	for _, k := range []uint8{22, 23, 25, 26, 29, 40} {
		if _, ok := u.attrs[k]; ok {
			return true
		}
	}
	return false
}

func pathLenSegments(path []bgp.Segment) (n int) {
	for _, s := range path {
		if s.Type != bgp.ASSequence {
			return -1
		}
		n += len(s.AS)
	}
	return n
}

// sameAsGoBGP compares what the guard and GoBGP read in an UPDATE.
func sameAsGoBGP(t *testing.T, g *Guard, m []byte, u *wire.BGPUpdate) {
	r, err := g.FromPeer(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Update.Reach) != 1 {
		return
	}
	a, n := r.Update.Reach[0].Attributes, len(u.NLRI)
	for _, x := range u.PathAttributes {
		ok := true
		switch x := x.(type) {
		case *wire.PathAttributeOrigin:
			ok = uint8(a.Origin) == x.Value
		case *wire.PathAttributeAsPath:
			var path []bgp.Segment
			for _, s := range x.Value {
				path = append(path, bgp.Segment{Type: s.GetType(), AS: s.GetAS()})
			}
			ok = (&bgp.Attributes{ASPath: path}).PathString() == a.PathString()
		case *wire.PathAttributeNextHop:
			ok = x.Value.String() == a.NextHop.String()
		case *wire.PathAttributeMultiExitDisc:
			ok = a.HasMED && a.MED == x.Value
		case *wire.PathAttributeLocalPref:
			ok = a.HasLocalPref && a.LocalPref == x.Value
		case *wire.PathAttributeAtomicAggregate:
			ok = a.AtomicAggregate
		case *wire.PathAttributeAggregator:
			ok = a.Aggregator.AS == x.Value.AS && a.Aggregator.ID.String() == x.Value.Address.String()
		case *wire.PathAttributeCommunities:
			ok = slices.Equal(a.Communities, x.Value)
		case *wire.PathAttributeOriginatorId:
			ok = a.OriginatorID.String() == x.Value.String()
		case *wire.PathAttributeClusterList:
			ok = len(a.ClusterList) == len(x.Value)
		case *wire.PathAttributeExtendedCommunities:
			ok = len(a.ExtendedCommunities) == len(x.Value)
		case *wire.PathAttributeLargeCommunities:
			ok = len(a.LargeCommunities) == len(x.Values)
		case *wire.PathAttributeMpReachNLRI:
			n += len(x.Value)
		}
		if !ok {
			t.Fatalf("GoBGP reads %v, the guard %+v", x, a)
		}
	}
	if n != len(r.Update.Reach[0].Prefixes) {
		t.Fatalf("GoBGP reads %d prefixes, the guard %d", n, len(r.Update.Reach[0].Prefixes))
	}
}

// FuzzUpdate feeds the body of an UPDATE to a session that is up.
func FuzzUpdate(f *testing.F) {
	nlri := prefixes("192.0.2.0/24", "198.51.100.128/25")
	for i, m := range [][]byte{
		updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 16, "0002fde900000001"), attr(0xc0, 8, "fde90001"), attr(0xc0, 200, "00")), nlri),
		updateMessage(nlri, join(reach6, origin, path11, attr(0x80, 15, "0002 01 40 20010db800020000")), nil),
		updateMessage(nil, join(origin, attr(0xc0, 17, "02 01 00010000"), attr(0x40, 2, "02 02 fdf3 5ba0"), nexthop, attr(0xc0, 7, "5ba0 0a000002"), attr(0xc0, 18, "00010000 0a000002")), nlri),
		updateMessage(nil, join(origin, empty, nexthop, pref, attr(0x80, 9, "0a000007"), attr(0x80, 10, "0a000009")), nlri),
		updateMessage(nil, join(origin, path11, nexthop, attr(0xc0, 32, "000000010000000200000003"), attr(0x40, 6, ""), attr(0x80, 4, "00000005")), nlri),
		updateMessage(nil, attr(0x80, 15, "0002 01"), nil),
	} {
		f.Add(m[HeaderLen:], uint8(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, kind uint8) {
		if len(body) < 4 || len(body) > MaxLen-HeaderLen {
			return
		}
		cfg := external
		if kind&1 != 0 {
			cfg = internal()
		}
		caps := []capability{mp4, mp6, four(cfg.RemoteAS)}
		if kind&2 != 0 {
			caps = caps[:2]
		}
		g := running(t, cfg, caps...)
		out, err := through(g, finish(append(header(UpdateType), body...)))
		if err != nil {
			return
		}
		for _, m := range out {
			check(t, g, cfg, m)
		}
	})
}
