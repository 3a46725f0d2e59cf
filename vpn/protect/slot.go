package protect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"felloe/netstack"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
)

// slot is a session's pairs of Child SAs for the same packets, of which it sends on one: a pair, what replaces it, and
// what both sides made at once. A GRE tunnel's session has one slot, since all its packets look alike. A VTI's peer may
// make several children, each for other selectors: a slot each, and the data plane chooses by the packet.
type slot struct {
	selectors string
	tx        *pair
}

// slotFor finds the slot of a new pair, or makes it.
func (m *Manager) slotFor(s *session, up ikev2.ChildUp) *slot {
	if old := m.pairs[up.Replaces]; up.Replaces != 0 && old != nil && old.s == s {
		return old.slot
	}
	key := ""
	if s.t.vti() {
		key = selectorsKey(up)
	}
	for _, x := range s.slots {
		if x.selectors == key {
			return x
		}
	}
	x := &slot{selectors: key}
	s.slots = append(s.slots, x)
	return x
}

func (t *tunnel) vti() bool { return t.net.Config().Mode == netstack.VTI }

func selectorsKey(up ikev2.ChildUp) string {
	var b strings.Builder
	for _, list := range [][]ikev2.TrafficSelector{up.TSLocal, up.TSRemote} {
		for _, t := range list {
			fmt.Fprintf(&b, "%d %d-%d %s-%s;", t.Protocol, t.StartPort, t.EndPort, t.Start, t.End)
		}
		b.WriteByte('|')
	}
	return b.String()
}

// selectors is what the session sends on, in words that change with it.
func (s *session) selectors() string {
	if !s.t.vti() || len(s.slots) == 0 {
		return ""
	}
	var b strings.Builder
	for _, x := range s.slots {
		if x.tx != nil {
			b.WriteString(x.tx.key)
		}
	}
	return b.String()
}

// selectorsOf are a VTI pair's selectors for the data plane; nil for GRE, which has a check of its own.
func selectorsOf(t *tunnel, up ikev2.ChildUp) *netstack.Selectors {
	if !t.vti() || up.Mode != esp.Tunnel {
		return nil
	}
	conv := func(list []ikev2.TrafficSelector) (out []netstack.Selector) {
		for _, x := range list {
			out = append(out, netstack.Selector{Protocol: x.Protocol, StartPort: x.StartPort, EndPort: x.EndPort, Start: x.Start.Unmap(), End: x.End.Unmap()})
		}
		return out
	}
	return netstack.NewSelectors(conv(up.TSLocal), conv(up.TSRemote))
}

// arrange brings the session up to what its slots send on: the narrowest selectors are asked first, and the first slot
// stands for the session where one must.
func (m *Manager) arrange(s *session) {
	s.slots = slices.DeleteFunc(s.slots, func(x *slot) bool {
		return x.tx == nil && !slices.ContainsFunc(s.pairs, func(p *pair) bool { return p.slot == x })
	})
	slices.SortStableFunc(s.slots, func(a, b *slot) int {
		switch {
		case a.tx == nil || b.tx == nil:
			return cmp.Compare(btoi(a.tx == nil), btoi(b.tx == nil))
		case len(s.slots) == 1:
			return 0
		}
		return cmp.Or(cmp.Compare(narrow(b.tx.up.TSRemote), narrow(a.tx.up.TSRemote)), cmp.Compare(narrow(b.tx.up.TSLocal), narrow(a.tx.up.TSLocal)))
	})
	had := s.tx != nil
	s.tx = nil
	if len(s.slots) > 0 {
		s.tx = s.slots[0].tx
	}
	s.gap = s.gap || had && s.tx == nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// narrow is how many leading bits the addresses of the widest selector have in common; IPv4 and IPv6 never compete for a
// packet.
func narrow(list []ikev2.TrafficSelector) int {
	least := 129
	for _, t := range list {
		a, b := t.Start.AsSlice(), t.End.AsSlice()
		n := 0
		for n < len(a)*8 && n < len(b)*8 && (a[n/8]^b[n/8])&(0x80>>(n%8)) == 0 {
			n++
		}
		least = min(least, n)
	}
	return least
}

// outbounds are what the data plane sends on, in the order in which it asks.
func (s *session) outbounds() (out []netstack.OutboundSA) {
	if s.retired {
		return nil
	}
	for _, x := range s.slots {
		if x.tx != nil {
			out = append(out, netstack.OutboundSA{SA: x.tx.out, Selectors: x.tx.sel})
		}
	}
	return out
}
