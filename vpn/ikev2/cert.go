package ikev2

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/pki"

	"github.com/rs/zerolog"
)

// CertificateInfo is a certificate for show commands.
type CertificateInfo struct {
	Subject, Issuer, Serial string
	NotBefore, NotAfter     time.Time
	Key                     string // "RSA-2048", "ECDSA P-256"
	Trustpoint              string
}

func certificateInfo(c *x509.Certificate, trustpoint string) *CertificateInfo {
	if c == nil {
		return nil
	}
	return &CertificateInfo{pki.Subject(c), pki.Issuer(c), pki.Serial(c), c.NotBefore, c.NotAfter, pki.KeyName(c.PublicKey), trustpoint}
}

// trustpoints are those of a profile: the named ones, or all.
func (e *Engine) trustpoints(p Profile) []*pki.Trustpoint {
	if len(p.Trustpoints) == 0 {
		return e.cfg.Trustpoints
	}
	var out []*pki.Trustpoint
	for _, name := range p.Trustpoints {
		for _, t := range e.cfg.Trustpoints {
			if t.Name == name {
				out = append(out, t)
			}
		}
	}
	return out
}

// signs says whether a profile has to do with signatures at all.
func (p Profile) signs() bool {
	return p.LocalAuth.signature() || slices.ContainsFunc(p.RemoteAuth, AuthKind.signature)
}

// maxRequested is how many authorities we name: IKE_SA_INIT cannot be fragmented.
const maxRequested = 24

// certRequest is the CERTREQ for what these profiles' peers must prove; nil: nothing.
func (e *Engine) certRequest(profiles ...Profile) []message.Payload {
	var hashes []message.KeyHash
	for _, p := range profiles {
		if !slices.ContainsFunc(p.RemoteAuth, AuthKind.signature) {
			continue
		}
		for _, t := range e.trustpoints(p) {
			for _, c := range t.Roots {
				if h := pki.KeyHash(c); !slices.Contains(hashes, h) && len(hashes) < maxRequested {
					hashes = append(hashes, h)
				}
			}
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	return []message.Payload{message.Authorities(hashes...)}
}

// signatureOffer is what our IKE_SA_INIT says about signatures: the hashes that we verify (RFC 7427 §4) and, from a
// responder, whose certificates it wants. Routers that know keys only say nothing of it.
func (s *session) signatureOffer(responder bool) []message.Payload {
	if !responder {
		if !s.profile.signs() {
			return nil
		}
		return s.e.announce()
	}
	var fit []Profile
	for _, p := range s.e.cfg.Profiles {
		if p.here(s.vrf, s.local.Addr()) && p.signs() {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	out := s.e.certRequest(fit...)
	if len(s.peerHashes) > 0 {
		out = append(out, s.e.announce()...)
	}
	return out
}

func (e *Engine) announce() []message.Payload {
	list := ourHashes
	if e.cfg.announced != nil {
		list = e.cfg.announced
	}
	if len(list) == 0 {
		return nil
	}
	return []message.Payload{message.HashAlgorithms(list...)}
}

// adapt takes over of a changed profile what does not concern how the two sides have proven themselves, and where the keys
// are: see outdated.
func (p *Profile) adapt(n Profile) {
	p.Keyring, p.Key = n.Keyring, n.Key
	p.Lifetime, p.DPD, p.NATKeepalive, p.IVRF = n.Lifetime, n.DPD, n.NATKeepalive, n.IVRF
	p.Authorization, p.Request, p.SetSend, p.SetAccept = n.Authorization, n.Request, n.SetSend, n.SetAccept
}

// here says whether a profile is for this front VRF and local address.
func (p Profile) here(vrf string, local netip.Addr) bool {
	return (p.MatchVRF == "*" || vrfName(p.MatchVRF) == vrf) && (len(p.MatchLocal) == 0 || contains(p.MatchLocal, local))
}

// noteSignatures keeps what a peer says about signatures. What does not parse counts as not said.
func (s *session) noteSignatures(p *parts) {
	if n := p.notify(message.SIGNATURE_HASH_ALGORITHMS); n != nil {
		if list, err := n.HashAlgorithms(); err == nil {
			s.peerHashes = list
		}
	}
	for _, v := range p.others {
		r, ok := v.(*message.CERTREQ)
		if !ok || r.Encoding != message.CertX509Signature {
			continue
		}
		list, err := r.Authorities()
		if err != nil {
			continue
		}
		if s.requested == nil {
			s.requested = map[message.KeyHash]bool{}
		}
		for _, h := range list {
			if len(s.requested) < message.MaxAuthorities {
				s.requested[h] = true
			}
		}
	}
}

// KindOf is what a key signs; PreShare for one that does not.
func KindOf(k crypto.PublicKey) AuthKind {
	switch k.(type) {
	case *rsa.PublicKey:
		return RSASignature
	case *ecdsa.PublicKey:
		return ECDSASignature
	case ed25519.PublicKey:
		return Ed25519Signature
	}
	return PreShare
}

// chooseTrustpoint finds what we prove ourselves with: of the profile's trustpoints with the right kind of key the first
// that the peer's CERTREQ asks for, else the first (RFC 7296 §3.7: a CERTREQ is a wish).
func (s *session) chooseTrustpoint() error {
	s.trustpoint = nil
	kind := s.profile.LocalAuth
	for _, t := range s.e.trustpoints(s.profile) {
		if !t.HasKey() || KindOf(t.Key.Public()) != kind {
			continue
		}
		asked := t.IssuedBelow(s.requested)
		if s.trustpoint == nil || asked {
			s.trustpoint = t
		}
		if asked {
			break
		}
	}
	if s.trustpoint == nil {
		return fmt.Errorf("%w: profile %q has no trustpoint with a key for %v", ErrNoKey, s.profile.Name, kind)
	}
	return nil
}

// canProve says before an attempt whether there is something to prove us with.
func (s *session) canProve() error {
	if s.profile.LocalAuth.signature() {
		return s.chooseTrustpoint()
	}
	_, err := s.signingKey()
	return err
}

// ownIdentity is the profile's; the certificate's subject where the profile wants that. A certificate that does not name
// it, or is not valid, is worth a line in the log: the peer's refusal will not say why.
func (s *session) ownIdentity() (Identity, error) {
	t := s.trustpoint
	if s.profile.CertificateIdentity {
		if t == nil {
			if err := s.chooseTrustpoint(); err != nil {
				return Identity{}, err
			}
			t = s.trustpoint
		}
		return Identity{message.ID_DER_ASN1_DN, string(t.Chain[0].RawSubject)}, s.checkOwn(t, Identity{})
	}
	id := s.profile.identity(s.local.Addr())
	if t == nil {
		return id, nil
	}
	return id, s.checkOwn(t, id)
}

func (s *session) checkOwn(t *pki.Trustpoint, id Identity) error {
	leaf, now := t.Chain[0], s.e.now
	problem := ""
	switch err := pki.MatchesIdentity(leaf, id.Type, []byte(id.Value)); {
	case now.Before(leaf.NotBefore):
		problem = fmt.Sprintf("it is valid from %s on", leaf.NotBefore.UTC().Format(time.DateTime))
	case now.After(leaf.NotAfter):
		problem = fmt.Sprintf("it has expired on %s", leaf.NotAfter.UTC().Format(time.DateTime))
	case !id.IsZero() && err != nil:
		problem = fmt.Sprintf("it does not name our identity %v, but %v: set identity.local of the profile, or { certificate = true }", id, pki.Identities(leaf))
	}
	if problem != "" && !s.e.warned[t.Name+problem] {
		if s.e.warned == nil || len(s.e.warned) > 100 {
			s.e.warned = map[string]bool{}
		}
		s.e.warned[t.Name+problem] = true
		s.log(zerolog.WarnLevel, "peers may refuse our certificate", Field{"event", "own-certificate"}, Field{"trustpoint", t.Name},
			Field{"profile", s.profile.Name}, Field{"reason", problem})
	}
	return nil
}

// peerChain reads the CERT payloads of an IKE_AUTH message, the leaf first. Others than X.509 certificates are left
// alone; in particular nothing is ever fetched from a URL.
func peerChain(others []message.Payload) ([]*x509.Certificate, error) {
	var ders [][]byte
	skipped := ""
	for _, v := range others {
		c, ok := v.(*message.CERT)
		switch {
		case !ok:
		case c.Encoding == message.CertX509Signature:
			ders = append(ders, c.Data)
		case c.Encoding == message.CertHashAndURL:
			skipped = " but a URL of one, which is not fetched (HTTP_CERT_LOOKUP_SUPPORTED was not announced)"
		default:
			skipped = fmt.Sprintf(" but one in encoding %d, which is not X.509", uint8(c.Encoding))
		}
	}
	if len(ders) == 0 {
		return nil, fmt.Errorf("peer sent no certificate%s", skipped)
	}
	return pki.ParseChain(ders)
}

// leafOf is the certificate that profiles are matched by: only one that AUTH is about to be checked against, so that it
// cannot be somebody else's beside a proof by key.
func (e *Engine) leafOf(p *parts) *x509.Certificate {
	if p.auth == nil || !slices.ContainsFunc(e.cfg.Profiles, func(p Profile) bool { return len(p.MatchCertificate) > 0 }) {
		return nil
	}
	if kind, err := kindOf(p.auth); err != nil || !kind.signature() {
		return nil
	}
	chain, err := peerChain(p.others)
	if err != nil {
		return nil
	}
	return chain[0]
}

// certificateCloseness is what a certificate map adds to the closeness of a profile: more than a domain or prefix, less
// than an exact identity.
const certificateCloseness = 900

// match says whether a profile is for a peer, and how closely. Everything that the profile lists must fit; a profile with
// certificate maps alone does not look at the identity, which the certificate has to name anyway.
func (p Profile) match(id Identity, leaf *x509.Certificate) (int, bool) {
	score, ok := p.matchRemote(id)
	if len(p.MatchCertificate) == 0 {
		return score, ok
	}
	if !slices.ContainsFunc(p.MatchCertificate, func(m *pki.Map) bool { return m.Match(leaf) }) {
		return 0, false
	}
	return score + certificateCloseness, ok || len(p.MatchRemote) == 0
}
