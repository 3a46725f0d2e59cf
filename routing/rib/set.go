package rib

import "net/netip"

// Set is the RIBs of a router's VRFs, for those who know tunnels and VRFs by name (NHRP). It belongs to the control
// loop.
type Set struct {
	ribs     []*RIB
	onChange []func()
}

// Add puts a RIB into the set.
func (s *Set) Add(r *RIB) {
	s.ribs = append(s.ribs, r)
	r.OnChange(func() {
		for _, f := range s.onChange {
			f()
		}
	})
}

// VRF is the RIB of a VRF; the empty name is "default".
func (s *Set) VRF(name string) (*RIB, bool) {
	if name == "" {
		name = "default"
	}
	for _, r := range s.ribs {
		if r.o.VRF == name {
			return r, true
		}
	}
	return nil, false
}

func (s *Set) of(tunnel string) *RIB {
	for _, r := range s.ribs {
		if _, ok := r.ifaces[tunnel]; ok {
			return r
		}
	}
	return nil
}

// SetNHRP is RIB.SetNHRP in the VRF that the tunnel is in.
func (s *Set) SetNHRP(prefix netip.Prefix, tunnel string, nextHop netip.Addr, override bool, parents ...string) {
	if r := s.of(tunnel); r != nil {
		r.SetNHRP(prefix, tunnel, nextHop, override, parents...)
	}
}

// DeleteNHRP is RIB.DeleteNHRP in every VRF.
func (s *Set) DeleteNHRP(prefix netip.Prefix, tunnel string) {
	for _, r := range s.ribs {
		r.DeleteNHRP(prefix, tunnel)
	}
}

// Lookup is RIB.Lookup in the named VRF.
func (s *Set) Lookup(vrf string, dst netip.Addr) (prefix netip.Prefix, via netip.Addr, ifname string, local, discard, ok bool) {
	if r, found := s.VRF(vrf); found {
		return r.Lookup("", dst)
	}
	return
}

// OnChange calls f after each change of any FIB of the set.
func (s *Set) OnChange(f func()) { s.onChange = append(s.onChange, f) }
