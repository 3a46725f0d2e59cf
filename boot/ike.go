package boot

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"felloe/config"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// sorted lists a map's keys in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// localAddress finds the address that a `source`, `update-source` or `match local` means, of the wanted family when the
// far end is known.
func localAddress(c *config.Config, l config.Local, like netip.Addr) (netip.Addr, bool) {
	if l.Address.IsValid() {
		return l.Address, true
	}
	i := c.Interface[l.Interface]
	if i == nil {
		return netip.Addr{}, false
	}
	for _, p := range i.Address {
		if !like.IsValid() || p.Addr().Is4() == like.Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// ikeConfig translates the configuration into the IKEv2 machine's terms. The configuration is valid, so what is missing is
// an error of the program or of a reference that the loader only warns about.
func ikeConfig(c *config.Config) (ikev2.Config, error) {
	out := ikev2.Config{
		CookieThreshold: c.IKEv2.CookieChallenge,
		MaxHalfOpen:     c.IKEv2.Limit.MaxInNegotiationSA,
		MaxSAs:          c.IKEv2.Limit.MaxSA,
		Fragmentation:   ikev2.Fragmentation{Disabled: c.IKEv2.Fragmentation.MTU == 0, MTU: c.IKEv2.Fragmentation.MTU},
		NATKeepalive:    c.IKEv2.NATKeepalive,
		KeyLog:          c.Lab.KeyLog.Enabled,
		MOBIKE:          c.IKEv2.MOBIKE,
		FollowRedirects: c.IKEv2.RedirectClient,
		Addresses:       outerAddresses(c),
		Version:         applicationVersion,
	}
	if out.NATKeepalive == 0 {
		out.NATKeepalive = -1
	}
	// In the configuration 0 is no limit; in the machine it is the default.
	for _, n := range []*int{&out.CookieThreshold, &out.MaxHalfOpen, &out.MaxSAs} {
		if *n == 0 {
			*n = math.MaxInt32
		}
	}
	// Proposals of one name may be two (the smart default has a GCM and a CBC half), so each gets a name of its own.
	var smart []string
	name := func(p *config.IKEProposal) (string, error) {
		key := fmt.Sprintf("%s#%d", p.Name, len(out.Proposals))
		ip, err := ikeProposal(p)
		if err != nil {
			return "", fmt.Errorf("[ikev2.proposal.%s]: %w", p.Name, err)
		}
		ip.Name = key
		out.Proposals = append(out.Proposals, ip)
		return key, nil
	}
	for _, p := range c.Proposals(nil) {
		key, err := name(p)
		if err != nil {
			return out, err
		}
		smart = append(smart, key)
	}
	for _, n := range sorted(c.IKEv2.Policy) {
		p := c.IKEv2.Policy[n]
		pol := ikev2.Policy{Name: n, VRF: anyVRF(p.Match.FVRF), Local: matchLocal(c, p.Match.Address.Local)}
		for _, prop := range c.Proposals(p) {
			key, err := name(prop)
			if err != nil {
				return out, err
			}
			pol.Proposals = append(pol.Proposals, key)
		}
		out.Policies = append(out.Policies, pol)
	}
	// The closest match first: a policy that names local addresses before one that does not; the default last.
	slices.SortStableFunc(out.Policies, func(a, b ikev2.Policy) int { return cmp.Compare(len(b.Local), len(a.Local)) })
	out.Policies = append(out.Policies, ikev2.Policy{Name: config.Smart, Proposals: smart})

	for _, n := range sorted(c.IKEv2.Keyring) {
		k := ikev2.Keyring{Name: n}
		for _, pn := range sorted(c.IKEv2.Keyring[n].Peer) {
			p := c.IKEv2.Keyring[n].Peer[pn]
			k.Peers = append(k.Peers, ikev2.KeyringPeer{Name: pn, Addresses: p.Address, Identity: identityMatches(&p.Identity),
				Local: suite.Key(p.PreSharedKey.Local.Reveal()), Remote: suite.Key(p.PreSharedKey.Remote.Reveal())})
		}
		out.Keyrings = append(out.Keyrings, k)
	}
	for _, n := range sorted(c.IKEv2.Profile) {
		p := c.IKEv2.Profile[n]
		prof := ikev2.Profile{Name: n, MatchRemote: identityMatches(&p.Match.Identity.Remote), MatchLocal: matchLocal(c, p.Match.Address.Local),
			MatchVRF: p.Match.FVRF, Identity: identity(p.Identity.Local), Keyring: p.Keyring, Lifetime: p.Lifetime,
			LocalAuth: authMethod(p.Authentication.Local)}
		for _, m := range p.Authentication.Remote {
			prof.RemoteAuth = append(prof.RemoteAuth, authMethod(m))
		}
		if p.Match.FVRF == "any" {
			prof.MatchVRF = "*"
		}
		prof.Key = ikev2.ProfileKey{Local: suite.Key(p.PreSharedKey.Local.Reveal()), Remote: suite.Key(p.PreSharedKey.Remote.Reveal())}
		prof.Authorization = ikev2.Authorization{Policy: p.Authorization.Policy, NameMangler: p.Authorization.NameMangler}
		prof.Request, prof.SetSend, prof.SetAccept = p.ConfigExchange.Request, p.ConfigExchange.SetSend, p.ConfigExchange.SetAccept
		for _, i := range protectedBy(c, n) {
			prof.IVRF = i.VRF
			break
		}
		if prof.NATKeepalive = c.IKEv2.ProfileNATKeepalive(p); prof.NATKeepalive == 0 {
			prof.NATKeepalive = -1
		}
		if d := c.IKEv2.ProfileDPD(p); d != nil {
			prof.DPD = ikev2.DPD{Interval: d.Interval, Retry: d.Retry, OnDemand: d.Mode == config.DPDOnDemand}
		}
		out.Profiles = append(out.Profiles, prof)
	}
	problems := pkiConfig(c, &out).Err()
	for _, n := range sorted(c.Interface) {
		i := c.Interface[n]
		if i.Protection == "" || i.Shutdown {
			continue
		}
		children, err := childPolicies(c, i)
		if err != nil {
			return out, errors.Join(problems, err)
		}
		out.Children = append(out.Children, children...)
	}
	return out, problems
}

// authMethod is a proof of identity in the machine's terms.
func authMethod(m config.AuthMethod) ikev2.AuthKind {
	return map[config.AuthMethod]ikev2.AuthKind{config.PreShare: ikev2.PreShare, config.RSASig: ikev2.RSASignature,
		config.ECDSASig: ikev2.ECDSASignature, config.Ed25519Sig: ikev2.Ed25519Signature}[m]
}

func anyVRF(name string) string {
	if name == "any" {
		return ""
	}
	return name
}

func ikeProposal(p *config.IKEProposal) (ikev2.IKEProposal, error) {
	var out ikev2.IKEProposal
	for _, e := range p.Encryption {
		id, bits, err := suite.ParseEncr(string(e))
		if err != nil {
			return out, err
		}
		out.Encryption = append(out.Encryption, ikev2.Encryption{ID: id, Bits: bits})
	}
	for _, h := range p.PRFs() {
		id, err := suite.ParsePRF(string(h))
		if err != nil {
			return out, err
		}
		out.PRF = append(out.PRF, id)
	}
	for _, h := range p.Integrity {
		id, err := suite.ParseInteg(string(h))
		if err != nil {
			return out, err
		}
		out.Integrity = append(out.Integrity, id)
	}
	for _, g := range p.Group {
		out.Groups = append(out.Groups, suite.Group(g))
	}
	for _, g := range p.AcceptGroup {
		out.Accept = append(out.Accept, suite.Group(g))
	}
	return out, nil
}

func matchLocal(c *config.Config, locals []config.Local) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range locals {
		if l.Address.IsValid() {
			out = append(out, netip.PrefixFrom(l.Address, l.Address.BitLen()))
			continue
		}
		if i := c.Interface[l.Interface]; i != nil {
			for _, p := range i.Address {
				out = append(out, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
			}
		}
	}
	if len(locals) > 0 && len(out) == 0 {
		// Interfaces without an address match nothing, not everything.
		out = append(out, netip.PrefixFrom(netip.IPv6Unspecified(), 128))
	}
	return out
}

func identity(i config.Identity) ikev2.Identity {
	switch {
	case i.Address.IsValid():
		return ikev2.AddressIdentity(i.Address)
	case i.FQDN != "":
		return ikev2.FQDNIdentity(i.FQDN)
	case i.Email != "":
		return ikev2.EmailIdentity(i.Email)
	case i.KeyID != "":
		return ikev2.KeyIdentity(i.KeyID)
	}
	return ikev2.Identity{}
}

func identityMatches(m *config.IdentityMatch) []ikev2.IdentityMatch {
	var out []ikev2.IdentityMatch
	for _, p := range m.Address {
		out = append(out, ikev2.IdentityMatch{Prefix: p})
	}
	for _, s := range m.FQDN {
		out = append(out, ikev2.IdentityMatch{Exact: ikev2.FQDNIdentity(s)})
	}
	for _, s := range m.FQDNDomain {
		out = append(out, ikev2.IdentityMatch{Type: message.ID_FQDN, Domain: s})
	}
	for _, s := range m.Email {
		out = append(out, ikev2.IdentityMatch{Exact: ikev2.EmailIdentity(s)})
	}
	for _, s := range m.EmailDomain {
		out = append(out, ikev2.IdentityMatch{Type: message.ID_RFC822_ADDR, Domain: s})
	}
	for _, s := range m.KeyID {
		out = append(out, ikev2.IdentityMatch{Exact: ikev2.KeyIdentity(s)})
	}
	if m.Any {
		out = append(out, ikev2.IdentityMatch{Any: true})
	}
	return out
}

// childPolicies are the policies of a protected interface. A tunnel has one of its name. A Virtual-Template has one of its
// name too, or, where its IKEv2 profile says `auto`, one for GRE and one for IPsec in tunnel mode: the peer's offer decides.
func childPolicies(c *config.Config, i *config.Interface) ([]ikev2.ChildPolicy, error) {
	p, err := childPolicy(c, i)
	if err != nil || i.Kind() != config.VirtualTemplate {
		return []ikev2.ChildPolicy{p}, err
	}
	profile := c.IKEv2.Profile[p.Profile]
	if profile == nil || c.Template(profile) != i {
		return nil, nil // nobody gets an interface of it
	}
	if profile.VirtualTemplateMode == config.TemplateTunnel {
		return []ikev2.ChildPolicy{p}, nil
	}
	gre, vti := p, p
	gre.Name, gre.Protocol, gre.TSLocal, gre.TSRemote = i.Name+" gre", 47, nil, nil
	gre.Mode, gre.RequireTransport = greMode(c, i)
	vti.Name, vti.Protocol, vti.HasGREKey, vti.GREKey = i.Name+" ipsec", 0, false, 0
	vti.Mode, vti.RequireTransport = esp.Tunnel, false
	if vti.TSLocal = allAddresses(i.Mode); i.Mode.GRE() {
		vti.TSLocal = allAddresses(config.IPsecDual)
	}
	vti.TSRemote = vti.TSLocal
	return []ikev2.ChildPolicy{gre, vti}, nil
}

// allAddresses is what goes through a VTI: all addresses of the families that it carries.
func allAddresses(m config.TunnelMode) []netip.Prefix {
	var out []netip.Prefix
	v4, v6 := m.Overlay()
	if v4 {
		out = append(out, netip.MustParsePrefix("0.0.0.0/0"))
	}
	if v6 {
		out = append(out, netip.MustParsePrefix("::/0"))
	}
	return out
}

// greMode is how GRE is protected: as the first transform set says.
func greMode(c *config.Config, i *config.Interface) (esp.Mode, bool) {
	if t := c.TransformSets(c.IPsec.Profile[i.Protection]); len(t) > 0 && t[0].Mode != config.ModeTunnel {
		return esp.Transport, t[0].Mode == config.ModeTransportRequire
	}
	return esp.Tunnel, false
}

// childPolicy is what the Child SAs of a protected tunnel look like. Its name is the tunnel's.
func childPolicy(c *config.Config, i *config.Interface) (ikev2.ChildPolicy, error) {
	p := c.IPsec.Profile[i.Protection]
	if p == nil {
		return ikev2.ChildPolicy{}, fmt.Errorf("[interface.%s]: no ipsec profile %q", i.Name, i.Protection)
	}
	out := ikev2.ChildPolicy{Name: i.Name, Profile: p.IKEv2Profile, VRF: i.TunnelVRF, Lifetime: p.Lifetime.Seconds,
		VolumeBytes: p.Lifetime.Kilobytes * 1024, IdleTime: p.IdleTime, ResponderOnly: p.ResponderOnly, ReplayWindow: p.Replay.WindowSize, Mode: esp.Tunnel}
	if out.ReplayWindow == 0 {
		out.ReplayWindow = -1 // no replay protection; 0 would be the default
	}
	if i.Mode.GRE() {
		out.Protocol = 47
	}
	if i.Key != nil {
		out.GREKey, out.HasGREKey = *i.Key, true
	}
	out.LocalAddr = tunnelSource(c, i)
	// Who is not a tunnel's far end has the virtual template of the profile.
	out.RemoteAddr, out.CallsOnly = i.Destination, i.DestinationDynamic
	if i.Mode.VTI() {
		out.TSLocal = allAddresses(i.Mode)
		out.TSRemote = out.TSLocal
	}
	if i.Mode.GRE() {
		out.Mode, out.RequireTransport = greMode(c, i)
	}
	for _, t := range c.TransformSets(p) {
		s, err := espSuite(t.ESP)
		if err != nil {
			return out, fmt.Errorf("[ipsec.transform-set.%s]: %w", t.Name, err)
		}
		prop := ikev2.ESPProposal{Suites: []esp.Suite{s}}
		if p.ESN {
			prop.ESN = []bool{true, false}
		}
		if p.PFS != 0 {
			prop.Groups = []suite.Group{suite.Group(p.PFS)}
		}
		out.Proposals = append(out.Proposals, prop)
	}
	return out, nil
}

func espSuite(e config.ESP) (esp.Suite, error) {
	id, bits, err := suite.ParseEncr(string(e.Encryption))
	if err != nil {
		return esp.Suite{}, err
	}
	s := esp.Suite{Encr: esp.Encr(id), KeyBits: bits}
	if e.Integrity != "" {
		integ, err := suite.ParseInteg(string(e.Integrity))
		if err != nil {
			return s, err
		}
		s.Integ = esp.Integ(integ)
	}
	return s, s.Check()
}
