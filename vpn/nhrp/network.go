package nhrp

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// network is an NHRP network: the tunnels of one VRF and network ID. Packets between two of them are ours to redirect and
// to forward. On a FlexVPN hub each spoke has a tunnel of its own, so what is asked for every packet is indexed here.
type network struct {
	members int
	own     counts // our addresses in the tunnels
	nbma    counts // and outside
	// serving are the members with servers or maps.
	serving map[*tunnel]struct{}
	// parents are the configured point-to-point tunnels: what leads into the network before there are shortcuts.
	parents []*tunnel
	// entries are the learned entries of all members but the negative ones: a shortcut is on another tunnel than the
	// redirect that it comes of.
	entries map[netip.Prefix][]*entry
	purges  map[uint32]*purge // under way, by request ID
}

type networkKey struct {
	vrf string
	id  uint32
}

// counts is a set of addresses that several may have.
type counts map[netip.Addr]int

func (c counts) add(a netip.Addr) {
	if a.IsValid() {
		c[a]++
	}
}

func (c counts) remove(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	if c[a]--; c[a] <= 0 {
		delete(c, a)
	}
}

// join puts a tunnel into its network.
func (t *tunnel) join() {
	k := networkKey{t.cfg.VRF, t.cfg.NetworkID}
	n := t.e.networks[k]
	if n == nil {
		n = &network{own: counts{}, nbma: counts{}, serving: map[*tunnel]struct{}{}, entries: map[netip.Prefix][]*entry{}, purges: map[uint32]*purge{}}
		t.e.networks[k] = n
	}
	t.net = n
	n.members++
	t.list()
}

// list and unlist keep what a tunnel's configuration says in the index.
func (t *tunnel) list() {
	n := t.net
	for _, a := range t.cfg.Addresses {
		n.own.add(a)
	}
	n.nbma.add(t.cfg.NBMA)
	if t.cfg.PointToPoint && !t.cfg.Clone && !slices.Contains(n.parents, t) {
		n.parents = append(n.parents, t)
		slices.SortFunc(n.parents, func(a, b *tunnel) int { return strings.Compare(a.cfg.Tunnel, b.cfg.Tunnel) })
	}
	if len(t.cfg.NHS)+len(t.cfg.Maps) > 0 {
		n.serving[t] = struct{}{}
	} else {
		delete(n.serving, t)
	}
}

func (t *tunnel) unlist() {
	n := t.net
	delete(n.serving, t)
	for _, a := range t.cfg.Addresses {
		n.own.remove(a)
	}
	n.nbma.remove(t.cfg.NBMA)
}

// leave takes a tunnel out of its network.
func (t *tunnel) leave() {
	n := t.net
	t.unlist()
	n.parents = slices.DeleteFunc(n.parents, func(o *tunnel) bool { return o == t })
	if n.members--; n.members == 0 {
		delete(t.e.networks, networkKey{t.cfg.VRF, t.cfg.NetworkID})
	}
}

// orphaned ends a network's shortcuts that no configured tunnel with their outer address is there for any more: what they borrowed
// of it, its addresses, is gone, and if it comes back from another address outside nothing reaches them where they are.
func (e *Engine) orphaned(n *network) {
	for _, name := range slices.Sorted(maps.Keys(e.tunnels)) {
		t := e.tunnels[name]
		if t == nil || t.net != n || !t.shortcut || slices.ContainsFunc(n.parents, func(p *tunnel) bool { return p.cfg.NBMA == t.cfg.NBMA }) {
			continue
		}
		if s, ok := e.host.Peer(name); ok {
			e.close(s.ID, "the tunnel that it is a shortcut beside is removed")
		}
	}
}

// enter and withdrawn keep the index of entries.
func (n *network) enter(en *entry) {
	if en.kind != KindNegative && !slices.Contains(n.entries[en.prefix], en) {
		n.entries[en.prefix] = append(n.entries[en.prefix], en)
	}
}

func (n *network) withdrawn(en *entry) {
	list := slices.DeleteFunc(n.entries[en.prefix], func(o *entry) bool { return o == en })
	if len(list) == 0 {
		delete(n.entries, en.prefix)
	} else {
		n.entries[en.prefix] = list
	}
}

// known is what is known of a tunnel address on the tunnels of shortcuts, the entry of a session that is up first.
func (t *tunnel) known(a netip.Addr) (best *entry) {
	for _, en := range t.net.entries[hostPrefix(a)] {
		if en.host() && en.t.cfg.Clone && (best == nil || !t.e.up(best.session) && t.e.up(en.session)) {
			best = en
		}
	}
	return best
}

// covering is the most specific entry of the network that holds an address.
func (n *network) covering(a netip.Addr) *entry {
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, _ := a.Prefix(bits)
		if list := n.entries[p]; len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

// parentNames are the interfaces beside which clones stand.
func (n *network) parentNames() []string {
	names := make([]string, len(n.parents))
	for i, t := range n.parents {
		names[i] = t.cfg.Tunnel
	}
	return names
}

// severed reports whether no configured tunnel leads into the network at the moment: a hub is gone, or is being changed.
func (n *network) severed() bool {
	for _, t := range n.parents {
		if s, ok := t.e.host.Peer(t.cfg.Tunnel); ok && s.Up {
			return false
		}
	}
	return len(n.parents) > 0
}

// farEnd reports whether an NBMA address is that of a configured tunnel's far end.
func (n *network) farEnd(nbma netip.Addr) bool {
	for _, t := range n.parents {
		if s, ok := t.e.host.Peer(t.cfg.Tunnel); ok && s.NBMA == nbma {
			return true
		}
	}
	return false
}
