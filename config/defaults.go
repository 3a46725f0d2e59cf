package config

// SmartProposals are the IKE proposals of a router (or a peer's address) without a policy, in order of preference, and of a
// policy that names "default". Groups 19, 14 and 21 are offered; group 5 is accepted from a peer that has nothing better.
func SmartProposals() []*IKEProposal {
	hashes := func() []Hash { return []Hash{SHA512, SHA384, SHA256, SHA1} }
	return []*IKEProposal{
		{Name: "default", Encryption: []Encryption{AESGCM256, AESGCM128}, PRF: hashes(), Group: []Group{19, 14, 21}, AcceptGroup: []Group{5}},
		{Name: "default", Encryption: []Encryption{AESCBC256, AESCBC192, AESCBC128}, Integrity: hashes(), PRF: hashes(), Group: []Group{19, 14, 21}, AcceptGroup: []Group{5}},
	}
}

// SmartTransformSets are the transform sets of an IPsec profile that names none, and of the name "default".
func SmartTransformSets() []*TransformSet {
	return []*TransformSet{
		{Name: "default", ESP: ESP{Encryption: AESGCM256}, Mode: ModeTransport},
		{Name: "default", ESP: ESP{Encryption: AESGCM128}, Mode: ModeTransport},
		{Name: "default", ESP: ESP{Encryption: AESCBC256, Integrity: SHA256}, Mode: ModeTransport},
		{Name: "default", ESP: ESP{Encryption: AESCBC128, Integrity: SHA1}, Mode: ModeTransport},
	}
}

// Smart is the name of the defaults where a proposal or a transform set is named.
const Smart = "default"

// Proposals resolves the proposals of a policy; nil is the default policy.
func (c *Config) Proposals(p *IKEPolicy) []*IKEProposal {
	if p == nil {
		if own := c.IKEv2.Proposal[Smart]; own != nil {
			return []*IKEProposal{own}
		}
		return SmartProposals()
	}
	var out []*IKEProposal
	for _, name := range p.Proposal {
		switch own := c.IKEv2.Proposal[name]; {
		case own != nil:
			out = append(out, own)
		case name == Smart:
			out = append(out, SmartProposals()...)
		}
	}
	return out
}

// TransformSets resolves the transform sets of a profile.
func (c *Config) TransformSets(p *IPsecProfile) []*TransformSet {
	names := p.TransformSet
	if len(names) == 0 {
		names = []string{Smart}
	}
	var out []*TransformSet
	for _, name := range names {
		switch own := c.IPsec.TransformSet[name]; {
		case own != nil:
			out = append(out, own)
		case name == Smart:
			out = append(out, SmartTransformSets()...)
		}
	}
	return out
}
