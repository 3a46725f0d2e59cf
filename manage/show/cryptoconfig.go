package show

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/vpn/ikev2/suite"
)

// IKEv2Proposals is `show crypto ikev2 proposal`.
type IKEv2Proposals struct {
	Proposals []IKEv2Proposal `json:"proposals"`
}

// IKEv2Proposal is a set of algorithms.
type IKEv2Proposal struct {
	Name       string   `json:"name"`
	Encryption []string `json:"encryption"`
	Integrity  []string `json:"integrity"`
	PRF        []string `json:"prf"`
	Groups     []int    `json:"groups"`
}

// wanted tells whether a show of one name, or of all for "", means this one.
func wanted(only, name string) bool { return only == "" || strings.EqualFold(only, name) }

// NewIKEv2Proposals makes the answer: the configured ones and the smart default.
func NewIKEv2Proposals(c *config.Config, only string) IKEv2Proposals {
	out := IKEv2Proposals{Proposals: []IKEv2Proposal{}}
	put := func(p *config.IKEProposal) {
		if !wanted(only, p.Name) {
			return
		}
		x := IKEv2Proposal{Name: p.Name, Encryption: []string{}, Integrity: []string{}, PRF: []string{}, Groups: []int{}}
		for _, e := range p.Encryption {
			x.Encryption = append(x.Encryption, strings.ToUpper(string(e)))
		}
		for _, h := range p.Integrity {
			x.Integrity = append(x.Integrity, strings.ToUpper(string(h)))
		}
		if len(x.Integrity) == 0 {
			x.Integrity = append(x.Integrity, "none")
		}
		for _, h := range p.PRFs() {
			x.PRF = append(x.PRF, strings.ToUpper(string(h)))
		}
		for _, g := range append(slices.Clone(p.Group), p.AcceptGroup...) {
			x.Groups = append(x.Groups, int(g))
		}
		out.Proposals = append(out.Proposals, x)
	}
	for _, name := range sortedKeys(c.IKEv2.Proposal) {
		put(c.IKEv2.Proposal[name])
	}
	if c.IKEv2.Proposal[config.Smart] == nil {
		for _, p := range config.SmartProposals() {
			put(p)
		}
	}
	return out
}

// groupName is a group in the words of the proposal table.
func groupName(g int) string {
	word := suite.Group(g).String()
	if kind, bits, ok := strings.Cut(word, "_"); ok {
		word = "DH_GROUP_" + bits + "_" + kind
	}
	return fmt.Sprintf("%s/Group %d", word, g)
}

// Text implements cli.Result.
func (r IKEv2Proposals) Text(w *cli.Table) {
	for _, p := range r.Proposals {
		w.Linef(" IKEv2 proposal: %s", p.Name)
		w.Linef("     Encryption : %s", strings.Join(p.Encryption, " "))
		w.Linef("     Integrity  : %s", strings.Join(p.Integrity, " "))
		w.Linef("     PRF        : %s", strings.Join(p.PRF, " "))
		var groups []string
		for _, g := range p.Groups {
			groups = append(groups, groupName(g))
		}
		w.Linef("     DH Group   : %s", strings.Join(groups, " "))
	}
}

// IKEv2Policies is `show crypto ikev2 policy`.
type IKEv2Policies struct {
	Policies []IKEv2Policy `json:"policies"`
}

// IKEv2Policy says which proposals are used where.
type IKEv2Policy struct {
	Name      string   `json:"name"`
	FVRF      string   `json:"fvrf"`
	Local     []string `json:"local_addresses"`
	Proposals []string `json:"proposals"`
}

// NewIKEv2Policies makes the answer.
func NewIKEv2Policies(c *config.Config, only string) IKEv2Policies {
	out := IKEv2Policies{Policies: []IKEv2Policy{}}
	for _, name := range sortedKeys(c.IKEv2.Policy) {
		if p := c.IKEv2.Policy[name]; wanted(only, name) {
			out.Policies = append(out.Policies, IKEv2Policy{name, globalVRF(p.Match.FVRF), locals(p.Match.Address.Local), p.Proposal})
		}
	}
	if wanted(only, config.Smart) {
		out.Policies = append(out.Policies, IKEv2Policy{config.Smart, "any", []string{}, []string{config.Smart}})
	}
	return out
}

// globalVRF is a VRF as the matches of crypto name it.
func globalVRF(s string) string {
	if s == "" || s == config.DefaultVRF {
		return "global"
	}
	return s
}

func locals(list []config.Local) []string {
	out := []string{}
	for _, l := range list {
		out = append(out, l.String())
	}
	return out
}

// Text implements cli.Result.
func (r IKEv2Policies) Text(w *cli.Table) {
	for _, p := range r.Policies {
		w.Linef(" IKEv2 policy : %s", p.Name)
		w.Linef("      Match fvrf  : %s", p.FVRF)
		if len(p.Local) == 0 {
			w.Line("      Match address local : any")
		}
		for _, l := range p.Local {
			w.Linef("      Match address local : %s", l)
		}
		for _, x := range p.Proposals {
			w.Linef("      Proposal    : %s", x)
		}
	}
}

// IKEv2Profiles is `show crypto ikev2 profile`.
type IKEv2Profiles struct {
	Profiles []IKEv2Profile `json:"profiles"`
}

// IKEv2Profile says what is done with a peer. Keys are not in it.
type IKEv2Profile struct {
	Name            string   `json:"name"`
	Description     string   `json:"description,omitempty"`
	FVRF            string   `json:"fvrf"`
	Local           []string `json:"local_addresses"`
	Identities      []string `json:"identities"`
	Certificates    []string `json:"certificate_maps"`
	LocalID         string   `json:"local_identity"`
	LocalAuth       string   `json:"local_authentication"`
	RemoteAuth      []string `json:"remote_authentication"`
	Keyring         string   `json:"keyring"`
	OwnKey          bool     `json:"pre_shared_key"`
	Trustpoints     []string `json:"trustpoints"`
	Lifetime        int64    `json:"lifetime"`
	DPD             string   `json:"dpd"`
	NATKeepalive    int64    `json:"nat_keepalive"`
	IVRF            string   `json:"ivrf"`
	VirtualTemplate int      `json:"virtual_template"`
	TemplateMode    string   `json:"virtual_template_mode"`
	Policy          string   `json:"authorization_policy"`
	NameMangler     string   `json:"name_mangler"`
	Request         bool     `json:"config_request"`
	SetSend         bool     `json:"config_set_send"`
	SetAccept       bool     `json:"config_set_accept"`
}

// NewIKEv2Profiles makes the answer.
func NewIKEv2Profiles(c *config.Config, only string) IKEv2Profiles {
	out := IKEv2Profiles{Profiles: []IKEv2Profile{}}
	for _, name := range sortedKeys(c.IKEv2.Profile) {
		p := c.IKEv2.Profile[name]
		if !wanted(only, name) {
			continue
		}
		x := IKEv2Profile{Name: name, Description: p.Description, FVRF: globalVRF(p.Match.FVRF), Local: locals(p.Match.Address.Local), Identities: identities(&p.Match.Identity.Remote),
			Certificates: append([]string{}, p.Match.Certificate...), LocalID: localIdentity(&p.Identity.Local), LocalAuth: string(p.Authentication.Local), RemoteAuth: []string{},
			Keyring: or(p.Keyring, "none"), OwnKey: !p.PreSharedKey.IsZero(), Trustpoints: append([]string{}, p.Trustpoint...), Lifetime: seconds(p.Lifetime), DPD: "disabled",
			NATKeepalive: seconds(c.IKEv2.ProfileNATKeepalive(p)), IVRF: "none", VirtualTemplate: p.VirtualTemplate, TemplateMode: string(p.VirtualTemplateMode),
			Policy: p.Authorization.Policy, NameMangler: p.Authorization.NameMangler, Request: p.ConfigExchange.Request, SetSend: p.ConfigExchange.SetSend, SetAccept: p.ConfigExchange.SetAccept}
		for _, m := range p.Authentication.Remote {
			x.RemoteAuth = append(x.RemoteAuth, string(m))
		}
		if d := c.IKEv2.ProfileDPD(p); d != nil {
			x.DPD = fmt.Sprintf("interval %d, retry-interval %d, %s", seconds(d.Interval), seconds(d.Retry), d.Mode)
		}
		if t := c.Interface[fmt.Sprintf("Virtual-Template%d", p.VirtualTemplate)]; t != nil && p.VirtualTemplate > 0 {
			x.IVRF = vrfName(t.VRF)
		}
		out.Profiles = append(out.Profiles, x)
	}
	return out
}

func identities(m *config.IdentityMatch) []string {
	out := []string{}
	if m.Any {
		out = append(out, "any")
	}
	for _, p := range m.Address {
		out = append(out, "address "+network(p))
	}
	for _, l := range []struct {
		word string
		list []string
	}{{"fqdn", m.FQDN}, {"fqdn domain", m.FQDNDomain}, {"email", m.Email}, {"email domain", m.EmailDomain}, {"key-id", m.KeyID}} {
		for _, s := range l.list {
			out = append(out, l.word+" "+s)
		}
	}
	return out
}

func localIdentity(i *config.Identity) string {
	switch {
	case i.Address.IsValid():
		return "address " + i.Address.String()
	case i.FQDN != "":
		return "fqdn " + i.FQDN
	case i.Email != "":
		return "email " + i.Email
	case i.KeyID != "":
		return "key-id " + i.KeyID
	case i.Certificate:
		return "DN"
	}
	return "none"
}

// Text implements cli.Result.
func (r IKEv2Profiles) Text(w *cli.Table) {
	for _, p := range r.Profiles {
		w.Line("")
		w.Linef("IKEv2 profile: %s", p.Name)
		if p.Description != "" {
			w.Linef(" Description: %s", p.Description)
		}
		w.Line(" Match criteria: ")
		w.Linef("  Fvrf: %s", p.FVRF)
		w.Linef("  Local address/interface: %s", or(strings.Join(p.Local, ", "), "none"))
		w.Line("  Identities:")
		for _, i := range p.Identities {
			w.Linef("   %s", i)
		}
		if len(p.Identities) == 0 {
			w.Line("   none")
		}
		w.Linef("  Certificate maps: %s", or(strings.Join(p.Certificates, ", "), "none"))
		w.Linef(" Local identity: %s", p.LocalID)
		w.Line(" Remote identity: none")
		w.Linef(" Local authentication method: %s", p.LocalAuth)
		w.Linef(" Remote authentication method(s): %s", strings.Join(p.RemoteAuth, ", "))
		w.Line(" EAP options: none")
		own := ""
		if p.OwnKey {
			own = ", and a key of the profile's own"
		}
		w.Linef(" Keyring: %s%s", p.Keyring, own)
		w.Linef(" Trustpoint(s): %s", or(strings.Join(p.Trustpoints, ", "), "none"))
		w.Linef(" Lifetime: %d seconds", p.Lifetime)
		w.Linef(" DPD: %s", p.DPD)
		if p.NATKeepalive > 0 {
			w.Linef(" NAT-keepalive: %d seconds", p.NATKeepalive)
		} else {
			w.Line(" NAT-keepalive: disabled")
		}
		w.Linef(" Ivrf: %s", p.IVRF)
		if p.VirtualTemplate > 0 {
			w.Linef(" Virtual-template: %d mode %s", p.VirtualTemplate, p.TemplateMode)
		} else {
			w.Line(" Virtual-template: none")
		}
		w.Linef(" AAA group authorization: policy %s, name-mangler %s", or(p.Policy, "none"), or(p.NameMangler, "none"))
		w.Linef(" Config-exchange: request %s, set send %s, set accept %s", yes(p.Request), yes(p.SetSend), yes(p.SetAccept))
	}
}

// AuthorizationPolicies is `show crypto ikev2 authorization policy`.
type AuthorizationPolicies struct {
	Policies []AuthorizationPolicy `json:"policies"`
}

// AuthorizationPolicy is what a peer is given.
type AuthorizationPolicy struct {
	Name       string         `json:"name"`
	Pool       string         `json:"pool,omitempty"`
	IPv6Pool   string         `json:"ipv6_pool,omitempty"`
	Netmask    string         `json:"netmask,omitempty"`
	DNS        []netip.Addr   `json:"dns"`
	Domain     string         `json:"def_domain,omitempty"`
	PFS        bool           `json:"pfs"`
	Interfaces []string       `json:"set_interface"`
	Lists      []string       `json:"set_access_list"`
	Remote     []netip.Prefix `json:"set_remote"`
	Accept     bool           `json:"accept"`
	Only       string         `json:"accept_prefix_list,omitempty"`
	Distance   uint8          `json:"distance"`
	Tag        uint32         `json:"tag"`
}

// NewAuthorizationPolicies makes the answer, with the smart default.
func NewAuthorizationPolicies(c *config.Config, only string) AuthorizationPolicies {
	out := AuthorizationPolicies{Policies: []AuthorizationPolicy{}}
	list := sortedKeys(c.IKEv2.AuthorizationPolicy)
	if !slices.Contains(list, config.Smart) {
		list = append(list, config.Smart)
	}
	for _, name := range list {
		if !wanted(only, name) {
			continue
		}
		p := c.IKEv2.Authorization(name)
		out.Policies = append(out.Policies, AuthorizationPolicy{Name: name, Pool: p.Pool, IPv6Pool: p.IPv6Pool, Netmask: text(p.Netmask), DNS: append([]netip.Addr{}, p.DNS...),
			Domain: p.DefDomain, PFS: p.PFS, Interfaces: append([]string{}, p.Route.SetInterface...), Lists: append([]string{}, p.Route.SetAccessList...),
			Remote: append([]netip.Prefix{}, p.Route.SetRemote...), Accept: p.Route.Accept, Only: p.Route.AcceptPrefixList, Distance: p.Route.Distance, Tag: p.Route.Tag})
	}
	return out
}

// Text implements cli.Result.
func (r AuthorizationPolicies) Text(w *cli.Table) {
	for _, p := range r.Policies {
		w.Linef("IKEv2 Authorization Policy : %s", p.Name)
		line := func(format, value string) {
			if value != "" {
				w.Linef(" "+format, value)
			}
		}
		line("pool %s", p.Pool)
		line("ipv6 pool %s", p.IPv6Pool)
		line("netmask %s", p.Netmask)
		for _, a := range p.DNS {
			line("dns %s", a.String())
		}
		line("def-domain %s", p.Domain)
		if p.PFS {
			w.Line(" pfs")
		}
		for _, i := range p.Interfaces {
			if i == config.Self {
				w.Line(" route set interface")
			} else {
				w.Linef(" route set interface %s", i)
			}
		}
		for _, l := range p.Lists {
			w.Linef(" route set acl %s", l)
		}
		for _, x := range p.Remote {
			w.Linef(" route set remote %s", network(x))
		}
		if p.Accept {
			w.Linef(" route accept any tag : %d distance : %d", p.Tag, p.Distance)
		}
		line("route accept prefix-list %s", p.Only)
		w.Line("")
	}
}

// TransformSets is `show crypto ipsec transform-set`.
type TransformSets struct {
	Sets []TransformSet `json:"transform_sets"`
}

// TransformSet is a suite and a mode.
type TransformSet struct {
	Name       string `json:"name"`
	Transforms string `json:"transforms"`
	Mode       string `json:"mode"`
}

// esp is a configured suite as a transform set has it.
func espWords(e config.ESP) string {
	word, bits, _ := strings.Cut(strings.TrimPrefix(string(e.Encryption), "aes-"), "-")
	if word == "gcm" {
		return "esp-gcm " + bits
	}
	out := "esp-aes"
	if bits != "128" {
		out = "esp-" + bits + "-aes"
	}
	switch e.Integrity {
	case "":
	case config.SHA1:
		out += " esp-sha-hmac"
	default:
		out += " esp-" + string(e.Integrity) + "-hmac"
	}
	return out
}

func setOf(t *config.TransformSet) TransformSet {
	mode := map[config.IPsecMode]string{config.ModeTunnel: "Tunnel", config.ModeTransport: "Transport", config.ModeTransportRequire: "Transport require"}[t.Mode]
	return TransformSet{t.Name, espWords(t.ESP), or(mode, "Tunnel")}
}

// NewTransformSets makes the answer: the configured ones and the smart defaults.
func NewTransformSets(c *config.Config, only string) TransformSets {
	out := TransformSets{Sets: []TransformSet{}}
	for _, name := range sortedKeys(c.IPsec.TransformSet) {
		if wanted(only, name) {
			out.Sets = append(out.Sets, setOf(c.IPsec.TransformSet[name]))
		}
	}
	if c.IPsec.TransformSet[config.Smart] == nil {
		for _, t := range config.SmartTransformSets() {
			if wanted(only, t.Name) {
				out.Sets = append(out.Sets, setOf(t))
			}
		}
	}
	return out
}

// Text implements cli.Result.
func (r TransformSets) Text(w *cli.Table) {
	for _, t := range r.Sets {
		w.Linef("Transform set %s: { %s  } ", t.Name, t.Transforms)
		w.Linef("   will negotiate = { %s,  }, ", t.Mode)
		w.Line("")
	}
}

// IPsecProfiles is `show crypto ipsec profile`.
type IPsecProfiles struct {
	Profiles []IPsecProfile `json:"profiles"`
}

// IPsecProfile is what `protection` names.
type IPsecProfile struct {
	Name          string         `json:"name"`
	Description   string         `json:"description,omitempty"`
	IKEv2Profile  string         `json:"ikev2_profile"`
	Kilobytes     uint64         `json:"lifetime_kilobytes"`
	Seconds       int64          `json:"lifetime_seconds"`
	Idle          int64          `json:"idle_time"`
	ResponderOnly bool           `json:"responder_only"`
	PFS           int            `json:"pfs_group"`
	Replay        int            `json:"replay_window"`
	ESN           bool           `json:"esn"`
	Sets          []TransformSet `json:"transform_sets"`
}

// NewIPsecProfiles makes the answer.
func NewIPsecProfiles(c *config.Config, only string) IPsecProfiles {
	out := IPsecProfiles{Profiles: []IPsecProfile{}}
	for _, name := range sortedKeys(c.IPsec.Profile) {
		p := c.IPsec.Profile[name]
		if !wanted(only, name) {
			continue
		}
		x := IPsecProfile{Name: name, Description: p.Description, IKEv2Profile: p.IKEv2Profile, Kilobytes: p.Lifetime.Kilobytes, Seconds: seconds(p.Lifetime.Seconds), Idle: seconds(p.IdleTime),
			ResponderOnly: p.ResponderOnly, PFS: int(p.PFS), Replay: p.Replay.WindowSize, ESN: p.ESN, Sets: []TransformSet{}}
		for _, t := range c.TransformSets(p) {
			x.Sets = append(x.Sets, setOf(t))
		}
		out.Profiles = append(out.Profiles, x)
	}
	return out
}

// Text implements cli.Result.
func (r IPsecProfiles) Text(w *cli.Table) {
	for _, p := range r.Profiles {
		w.Linef("IPSEC profile %s", p.Name)
		if p.Description != "" {
			w.Linef("        Description: %s", p.Description)
		}
		w.Linef("        IKEv2 Profile: %s", p.IKEv2Profile)
		if p.Kilobytes > 0 {
			w.Linef("        Security association lifetime: %d kilobytes/%d seconds", p.Kilobytes, p.Seconds)
		} else {
			w.Linef("        Security association lifetime: kilobytes disabled/%d seconds", p.Seconds)
		}
		if p.Idle > 0 {
			w.Linef("        Security association idletime: %d seconds", p.Idle)
		}
		w.Linef("        Responder-Only (Y/N): %s", yes(p.ResponderOnly))
		w.Linef("        PFS (Y/N): %s", yes(p.PFS != 0))
		if p.PFS != 0 {
			w.Linef("        DH group:  group%d", p.PFS)
		}
		if p.Replay > 0 {
			w.Linef("        Replay window size: %d", p.Replay)
		} else {
			w.Line("        Replay detection: disabled")
		}
		w.Linef("        Extended sequence numbers (Y/N): %s", yes(p.ESN))
		w.Line("        Transform sets={ ")
		for _, t := range p.Sets {
			w.Linef("                %s:  { %s  } , ", t.Name, t.Transforms)
		}
		w.Line("        }")
		w.Line("")
	}
}
