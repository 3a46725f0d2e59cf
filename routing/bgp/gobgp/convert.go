//go:build !js

package gobgp

import (
	"context"
	"net/netip"

	"felloe/routing/bgp"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// pathEvent makes an event of what GoBGP reports; ok is false for what is not for us.
func pathEvent(p *api.Path) (e *bgp.PathEvent, ok bool) {
	peer, err := netip.ParseAddr(p.NeighborIp)
	if err != nil {
		return nil, false // ours
	}
	nlri, err := apiutil.GetNativeNlri(p)
	if err != nil {
		return nil, false
	}
	e = &bgp.PathEvent{Peer: peer.Unmap()}
	switch n := nlri.(type) {
	case *wire.IPAddrPrefix:
		e.Prefix = prefixOf(n.Prefix, n.Length)
	case *wire.IPv6AddrPrefix:
		e.Prefix = prefixOf(n.Prefix, n.Length)
	}
	if !e.Prefix.IsValid() {
		return nil, false
	}
	if p.IsWithdraw {
		return e, true
	}
	attrs, err := apiutil.GetNativePathAttributes(p)
	if err != nil {
		return nil, false
	}
	e.Attributes = attributes(attrs)
	return e, true
}

func prefixOf(ip []byte, bits uint8) netip.Prefix {
	a, _ := netip.AddrFromSlice(ip)
	if len(ip) == 16 && a.Is4In6() && bits <= 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(bits)).Masked()
}

func addrOf(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func attributes(list []wire.PathAttributeInterface) *bgp.Attributes {
	a := &bgp.Attributes{}
	for _, x := range list {
		switch x := x.(type) {
		case *wire.PathAttributeOrigin:
			a.Origin = bgp.Origin(x.Value)
		case *wire.PathAttributeAsPath:
			for _, s := range x.Value {
				a.ASPath = append(a.ASPath, bgp.Segment{Type: s.GetType(), AS: s.GetAS()})
			}
		case *wire.PathAttributeNextHop:
			a.NextHop = addrOf(x.Value)
		case *wire.PathAttributeMpReachNLRI:
			a.NextHop = addrOf(x.Nexthop)
		case *wire.PathAttributeMultiExitDisc:
			a.MED, a.HasMED = x.Value, true
		case *wire.PathAttributeLocalPref:
			a.LocalPref, a.HasLocalPref = x.Value, true
		case *wire.PathAttributeAtomicAggregate:
			a.AtomicAggregate = true
		case *wire.PathAttributeOriginatorId:
			a.OriginatorID = addrOf(x.Value)
		case *wire.PathAttributeClusterList:
			for _, ip := range x.Value {
				a.ClusterList = append(a.ClusterList, addrOf(ip))
			}
		case *wire.PathAttributeCommunities:
			a.Communities = x.Value
		case *wire.PathAttributeLargeCommunities:
			for _, c := range x.Values {
				a.LargeCommunities = append(a.LargeCommunities, [3]uint32{c.ASN, c.LocalData1, c.LocalData2})
			}
		}
	}
	return a
}

// announce tells GoBGP of a prefix of ours, or takes it back. Its next hop is the session's address.
func (e *engine) announce(a bgp.Announcement, withdraw bool) error {
	attrs := []wire.PathAttributeInterface{
		wire.NewPathAttributeOrigin(uint8(a.Origin)),
		wire.NewPathAttributeMultiExitDisc(a.MED),
	}
	var nlri wire.AddrPrefixInterface
	if a.Prefix.Addr().Is4() {
		nlri = wire.NewIPAddrPrefix(uint8(a.Prefix.Bits()), a.Prefix.Addr().String())
		attrs = append(attrs, wire.NewPathAttributeNextHop("0.0.0.0"))
	} else {
		nlri = wire.NewIPv6AddrPrefix(uint8(a.Prefix.Bits()), a.Prefix.Addr().String())
		attrs = append(attrs, wire.NewPathAttributeMpReachNLRI("::", []wire.AddrPrefixInterface{nlri}))
	}
	n, err := apiutil.MarshalNLRI(nlri)
	if err != nil {
		return err
	}
	list, err := apiutil.MarshalPathAttributes(attrs)
	if err != nil {
		return err
	}
	p := &api.Path{Nlri: n, Pattrs: list, Family: familyOf(bgp.FamilyOf(a.Prefix.Addr())), IsWithdraw: withdraw}
	if withdraw {
		return e.srv.DeletePath(context.Background(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: p})
	}
	_, err = e.srv.AddPath(context.Background(), &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p})
	return err
}
