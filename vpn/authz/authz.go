package authz

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/vpn/ikev2"
)

// Config is the policies, manglers and pools by name.
type Config struct {
	Policies map[string]Policy
	Manglers map[string]Mangler
	Pools    map[string]Pool
	// Self is, by IKE profile, the addresses of the interfaces that the profile protects: `route set interface` without
	// a name.
	Self map[string][]netip.Prefix
}

// Policy is one `crypto ikev2 authorization policy`.
type Policy struct {
	Pool, Pool6 string // pools of the peer's IPv4 and IPv6 address
	Netmask     int    // length of the netmask sent with the IPv4 address; 0: none is sent
	DNS         []netip.Addr
	Domain      string
	PFS         bool
	Subnets     []netip.Prefix // `route set …`: what is behind us
	Self        bool           // and the tunnel interface itself
	Accept      ikev2.RouteAccept
}

// Manager grants. Its methods run on the control loop.
type Manager struct {
	cfg    Config
	pools  map[string]*pool
	grants map[ikev2.SAID]*grant
}

type grant struct {
	policy string
	req    ikev2.AuthorizeRequest
	leases []*lease
	given  ikev2.Configuration
	final  bool // nothing of it changes any more
}

// New makes a manager that grants nothing yet.
func New() *Manager {
	return &Manager{pools: map[string]*pool{}, grants: map[ikev2.SAID]*grant{}}
}

// SetConfig changes what is granted from now on. Leases stay; ikev2.Engine.Reauthorize tells peers what has changed.
func (m *Manager) SetConfig(c Config) {
	m.cfg = c
	for name, p := range c.Pools {
		if m.pools[name] == nil {
			m.pools[name] = newPool(name)
		}
		m.pools[name].setRanges(p)
	}
	for name, p := range m.pools {
		if _, ok := c.Pools[name]; !ok {
			p.setRanges(Pool{})
			if len(p.held) == 0 {
				delete(m.pools, name)
			}
		}
	}
}

// Authorize implements ikev2.Authorizer.
func (m *Manager) Authorize(now time.Time, r ikev2.AuthorizeRequest) (ikev2.Configuration, error) {
	name, p, err := m.policy(r)
	if err != nil {
		return ikev2.Configuration{}, err
	}
	g := &grant{policy: name, req: r}
	if r.HasRequest && !r.Initiator {
		if err := m.addresses(now, g, p); err != nil {
			return ikev2.Configuration{}, err
		}
	}
	if m.grants[r.SA] != nil {
		m.Release(r.SA)
	}
	m.grants[r.SA] = g
	g.given = m.configuration(g, p)
	return g.given, nil
}

// policy finds the policy of a request: the mangled name first, then the one that is named.
func (m *Manager) policy(r ikev2.AuthorizeRequest) (string, Policy, error) {
	var tried []string
	if n := r.Authorization.NameMangler; n != "" {
		mangler, ok := m.cfg.Manglers[n]
		if !ok {
			return "", Policy{}, fmt.Errorf("%w: there is no name mangler %q", ikev2.ErrUnauthorized, n)
		}
		made, err := mangler.Name(r.Peer)
		if err != nil {
			tried = append(tried, fmt.Sprintf("name mangler %q: %v", n, err))
		} else {
			for _, name := range []string{made, strings.ToLower(made)} {
				if p, ok := m.cfg.Policies[name]; ok {
					return name, p, nil
				}
			}
			tried = append(tried, fmt.Sprintf("name mangler %q makes %q, and there is no authorization policy of that name", n, made))
		}
	}
	if n := r.Authorization.Policy; n != "" {
		if p, ok := m.cfg.Policies[n]; ok {
			return n, p, nil
		}
		tried = append(tried, fmt.Sprintf("there is no authorization policy %q", n))
	}
	return "", Policy{}, fmt.Errorf("%w: %s", ikev2.ErrUnauthorized, strings.Join(tried, "; "))
}

// addresses takes an address of each family that was asked for. One is enough; none is an error.
func (m *Manager) addresses(now time.Time, g *grant, p Policy) error {
	var why []string
	asked := false
	for _, v4 := range []bool{true, false} {
		at := slices.IndexFunc(g.req.Wanted.Addresses, func(w netip.Prefix) bool { return w.Addr().Is4() == v4 })
		if at < 0 {
			continue
		}
		asked = true
		name, family := p.Pool6, "IPv6"
		if v4 {
			name, family = p.Pool, "IPv4"
		}
		if name == "" {
			why = append(why, fmt.Sprintf("policy %q has no %s pool", g.policy, family))
			continue
		}
		pool := m.pools[name]
		if pool == nil {
			why = append(why, fmt.Sprintf("there is no pool %q", name))
			continue
		}
		l := pool.take(now, g.req.Peer.Fold(), g.req.SA, g.req.Wanted.Addresses[at].Addr(), v4)
		if l == nil {
			why = append(why, fmt.Sprintf("pool %q has no free %s address", name, family))
			continue
		}
		g.leases = append(g.leases, l)
	}
	if asked && len(g.leases) == 0 {
		return fmt.Errorf("%w: %s", ikev2.ErrNoAddress, strings.Join(why, "; "))
	}
	return nil
}

// configuration is what a grant says to the peer.
func (m *Manager) configuration(g *grant, p Policy) ikev2.Configuration {
	c := ikev2.Configuration{Policy: g.policy, Accept: p.Accept, DNS: p.DNS}
	for _, l := range g.leases {
		a := netip.PrefixFrom(l.addr, l.addr.BitLen())
		if l.addr.Is4() && p.Netmask > 0 {
			a = netip.PrefixFrom(l.addr, p.Netmask)
		}
		c.Addresses = append(c.Addresses, a)
	}
	if p.Domain != "" {
		c.Domains = []string{p.Domain}
	}
	add := func(list []netip.Prefix, host bool) {
		for _, s := range list {
			if host {
				s = netip.PrefixFrom(s.Addr(), s.Addr().BitLen())
			}
			if s = s.Masked(); s.IsValid() && !slices.Contains(c.Subnets, s) {
				c.Subnets = append(c.Subnets, s)
			}
		}
	}
	if p.Self {
		add(m.cfg.Self[g.req.Profile], true)
	}
	add(p.Subnets, false)
	if p.PFS {
		one := uint(1)
		c.PFS = &one
	}
	return c
}

// Release implements ikev2.Authorizer.
func (m *Manager) Release(sa ikev2.SAID) {
	g := m.grants[sa]
	if g == nil {
		return
	}
	delete(m.grants, sa)
	for _, l := range g.leases {
		l.pool.release(l, sa)
		if _, ok := m.cfg.Pools[l.pool.name]; !ok && len(l.pool.held) == 0 {
			delete(m.pools, l.pool.name)
		}
	}
}

// Settle has an SA's grant stay as it is until the SA is gone: its peer is left, and shall not hear of what changes.
func (m *Manager) Settle(sa ikev2.SAID) {
	if g := m.grants[sa]; g != nil {
		g.final = true
	}
}

// Refresh implements ikev2.Refresher: what an SA is granted by the configuration of now. Its addresses stay. A policy that
// is gone leaves everything as it is; a profile without authorization leaves nothing but the addresses.
func (m *Manager) Refresh(sa ikev2.SAID, a ikev2.Authorization) (ikev2.Configuration, bool) {
	g := m.grants[sa]
	if g == nil || g.final {
		return ikev2.Configuration{}, false
	}
	if g.req.Authorization = a; a.IsZero() {
		g.policy = ""
		g.given = m.configuration(g, Policy{})
		return g.given, true
	}
	name, p, err := m.policy(g.req)
	if err != nil {
		return g.given, true
	}
	g.policy = name
	g.given = m.configuration(g, p)
	return g.given, true
}

// Lease is one address that was given, for show commands.
type Lease struct {
	Pool     string
	Address  netip.Addr
	Identity ikev2.Identity
	SAs      []ikev2.SAID // empty: it is free, and kept for this identity
	Policy   string
	Since    time.Time
}

// Leases lists what is given and, when all is set, what is remembered, by pool and address.
func (m *Manager) Leases(all bool) []Lease {
	var out []Lease
	for _, name := range slices.Sorted(maps.Keys(m.pools)) {
		p := m.pools[name]
		list := make([]*lease, 0, len(p.held))
		for _, l := range p.known {
			if all || len(l.sas) > 0 {
				list = append(list, l)
			}
		}
		slices.SortFunc(list, func(a, b *lease) int { return a.addr.Compare(b.addr) })
		for _, l := range list {
			v := Lease{Pool: name, Address: l.addr, Identity: l.identity, SAs: slices.Sorted(maps.Keys(l.sas)), Since: l.since}
			if len(v.SAs) > 0 && m.grants[v.SAs[0]] != nil {
				v.Policy = m.grants[v.SAs[0]].policy
			}
			out = append(out, v)
		}
	}
	return out
}

// PoolInfo is a pool for show commands.
type PoolInfo struct {
	Name           string
	Ranges         []Range
	Held, Reusable int // addresses in use; free ones that are kept for the identity that had them
	Exhausted      uint64
}

// Pools lists the pools by name.
func (m *Manager) Pools() []PoolInfo {
	var out []PoolInfo
	for _, p := range m.pools {
		out = append(out, PoolInfo{p.name, p.ranges, len(p.held), p.free.Len(), p.exhausted})
	}
	slices.SortFunc(out, func(a, b PoolInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
