package ikev2

import (
	"crypto/ecdsa"
	"fmt"
	"slices"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/pki"
)

// AuthKind is a proof of identity as a profile wants it. What an AUTH payload says then (AuthMethod) depends on what the
// peer understands.
type AuthKind uint8

const (
	PreShare AuthKind = iota
	RSASignature
	ECDSASignature
	Ed25519Signature
)

func (k AuthKind) String() string {
	return [...]string{"pre-share", "rsa-sig", "ecdsa-sig", "ed25519-sig"}[k]
}

func (k AuthKind) signature() bool { return k != PreShare }

// authenticator is one way to prove an identity. It works on an SA with keys and with both IKE_SA_INIT messages.
type authenticator interface {
	// sign makes our AUTH payload, and the payloads that go with it (certificates).
	sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error)
	// verify checks the peer's.
	verify(sa *ikeSA, id *message.ID, auth *message.AUTH, others []message.Payload) error
}

var authenticators = map[AuthMethod]authenticator{message.AuthSharedKey: psk{}, message.AuthDigitalSignature: signature{},
	message.AuthRSASignature: signature{}, message.AuthECDSA256: signature{}, message.AuthECDSA384: signature{}, message.AuthECDSA521: signature{}}

// authenticator is what proves us.
func (k AuthKind) authenticator() authenticator {
	if k.signature() {
		return authenticators[message.AuthDigitalSignature]
	}
	return authenticators[message.AuthSharedKey]
}

// kindOf is the kind of a peer's proof.
func kindOf(auth *message.AUTH) (AuthKind, error) {
	switch auth.Method {
	case message.AuthSharedKey:
		return PreShare, nil
	case message.AuthRSASignature:
		return RSASignature, nil
	case message.AuthECDSA256, message.AuthECDSA384, message.AuthECDSA521:
		return ECDSASignature, nil
	case message.AuthDigitalSignature:
		algorithm, _, err := auth.Signature()
		if err != nil {
			return 0, fmt.Errorf("%w: %v", ErrAuthentication, err)
		}
		s, err := parseScheme(algorithm)
		return s.kind, err
	}
	return 0, fmt.Errorf("%w: authentication method %v is not implemented", ErrAuthentication, auth.Method)
}

func (p Profile) allows(k AuthKind) bool {
	if len(p.RemoteAuth) == 0 {
		return k == PreShare
	}
	return slices.Contains(p.RemoteAuth, k)
}

// verifyPeer checks a peer's proof of the identity that it claims, with what the profile asks of it.
func (sa *ikeSA) verifyPeer(id *message.ID, auth *message.AUTH, others []message.Payload) error {
	s := sa.s
	kind, err := kindOf(auth)
	if err != nil {
		return err
	}
	if !s.profile.allows(kind) {
		return fmt.Errorf("%w: peer uses %v (%v), which profile %q does not accept", ErrAuthentication, kind, auth.Method, s.profile.Name)
	}
	if err := authenticators[auth.Method].verify(sa, id, auth, others); err != nil {
		return err
	}
	s.verified = auth.Method
	return nil
}

// prove makes our IDi or IDr and everything that proves it. What else is said comes between, in the order of RFC 7296
// appendix C: some peers expect it.
func (sa *ikeSA) prove(responder bool, between ...message.Payload) ([]message.Payload, error) {
	s := sa.s
	kind := s.profile.LocalAuth
	if kind.signature() {
		if err := s.chooseTrustpoint(); err != nil {
			return nil, err
		}
	}
	var err error
	if s.localID, err = s.ownIdentity(); err != nil {
		return nil, err
	}
	id := s.localID.payload(responder)
	auth, certs, err := kind.authenticator().sign(sa, id)
	if err != nil {
		return nil, err
	}
	s.signed = auth.Method
	s.requested = nil
	return append(append(append([]message.Payload{id}, certs...), between...), auth), nil
}

// psk is the pre-shared key (RFC 7296 §2.15).
type psk struct{}

func (psk) sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error) {
	key, err := sa.s.signingKey()
	if err != nil {
		return nil, nil, err
	}
	sa.s.signScheme, sa.s.proofs[0] = Scheme{Name: "PSK"}, key
	return &message.AUTH{Method: message.AuthSharedKey, Data: sa.pskAuth(key.key, id, sa.initiator)}, nil, nil
}

func (psk) verify(sa *ikeSA, id *message.ID, auth *message.AUTH, _ []message.Payload) error {
	key, err := sa.s.verifyingKey()
	if err != nil {
		return err
	}
	if !suite.EqualMAC(auth.Data, sa.pskAuth(key.key, id, !sa.initiator)) {
		return fmt.Errorf("%w: AUTH mismatch (the pre-shared keys differ)", ErrAuthentication)
	}
	sa.s.verifyScheme, sa.s.proofs[1] = Scheme{Name: "PSK"}, key
	return nil
}

// pskAuth is the AUTH data of the initiator or of the responder.
func (sa *ikeSA) pskAuth(key suite.Key, id *message.ID, initiator bool) []byte {
	if initiator {
		return sa.prf.PSKAuth(key, sa.hs.request, sa.nr, sa.keys.Pi, id.Body())
	}
	return sa.prf.PSKAuth(key, sa.hs.response, sa.ni, sa.keys.Pr, id.Body())
}

// signature is every kind of signature: the methods of RFC 7296 and RFC 4754, and RFC 7427.
type signature struct{}

func (signature) sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error) {
	s := sa.s
	t := s.trustpoint
	key := t.Key.Public()
	way, classic, err := schemeFor(key, s.profile.RSAPSS, s.peerHashes)
	if err != nil {
		return nil, nil, err
	}
	value, err := way.sign(t.Key, sa.signedOctets(id, sa.initiator), sa.e.rand)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: trustpoint %s: %v", ErrConfig, t.Name, err)
	}
	auth := message.DigitalSignature(way.algorithm(), value)
	switch classic {
	case 0:
	case message.AuthRSASignature:
		auth = &message.AUTH{Method: classic, Data: value}
	default:
		raw, err := rawECDSA(value, curves[key.(*ecdsa.PublicKey).Curve.Params().Name].size)
		if err != nil {
			return nil, nil, err
		}
		auth = &message.AUTH{Method: classic, Data: raw}
	}
	s.signScheme = way.named(key)
	var certs []message.Payload
	for _, c := range t.Chain {
		certs = append(certs, &message.CERT{Encoding: message.CertX509Signature, Data: c.Raw})
	}
	return auth, certs, nil
}

func (signature) verify(sa *ikeSA, id *message.ID, auth *message.AUTH, others []message.Payload) error {
	s := sa.s
	chain, err := peerChain(others)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	list := s.e.trustpoints(s.profile)
	path, t, err := pki.Verify(list, chain, s.e.now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	leaf := path[0]
	if err := pki.MatchesIdentity(leaf, id.IDType, id.Data); err != nil {
		return fmt.Errorf("%w: %w, not for %v", ErrAuthentication, err, identityOf(id))
	}
	way, err := sa.verifySignature(leaf.PublicKey, sa.signedOctets(id, !sa.initiator), auth)
	if err != nil {
		return err
	}
	s.verifyScheme = way.named(leaf.PublicKey)
	s.peerCert, s.peerTrustpoint = leaf, t.Name
	return nil
}

// verifySignature checks an AUTH payload. Classic RSA names no hash, so those that we accept are tried; SHA-1 among them
// only when the peer did not announce that it can do better (RFC 7427).
func (sa *ikeSA) verifySignature(key any, octets []byte, auth *message.AUTH) (scheme, error) {
	switch auth.Method {
	case message.AuthDigitalSignature:
		algorithm, value, err := auth.Signature()
		if err != nil {
			return scheme{}, fmt.Errorf("%w: %v", ErrAuthentication, err)
		}
		way, err := parseScheme(algorithm)
		if err != nil {
			return scheme{}, err
		}
		return way, way.verify(key, octets, value)
	case message.AuthRSASignature:
		hashes := []message.HashAlgorithm{message.HashSHA2_256, message.HashSHA2_384, message.HashSHA2_512}
		if len(sa.s.peerHashes) == 0 {
			hashes = append([]message.HashAlgorithm{message.HashSHA1}, hashes...)
		}
		var err error
		for _, h := range hashes {
			way := scheme{kind: RSASignature, hash: h}
			if err = way.verify(key, octets, auth.Data); err == nil {
				return way, nil
			}
		}
		if len(sa.s.peerHashes) > 0 && (scheme{kind: RSASignature, hash: message.HashSHA1}).verify(key, octets, auth.Data) == nil {
			err = fmt.Errorf("%w: peer signs with SHA-1 although it announces %v", ErrAuthentication, sa.s.peerHashes)
		}
		return scheme{}, err
	}
	k, ok := key.(*ecdsa.PublicKey)
	if !ok || curves[k.Curve.Params().Name].method != auth.Method {
		return scheme{}, fmt.Errorf("%w: method %v with the certificate's key (%s)", ErrAuthentication, auth.Method, pki.KeyName(key))
	}
	c := curves[k.Curve.Params().Name]
	value, err := derECDSA(auth.Data, c.size)
	if err != nil {
		return scheme{}, err
	}
	way := scheme{kind: ECDSASignature, hash: c.hash}
	return way, way.verify(key, octets, value)
}

// signedOctets is what the initiator or the responder signs (RFC 7296 §2.15).
func (sa *ikeSA) signedOctets(id *message.ID, initiator bool) []byte {
	m, nonce, key := sa.hs.response, sa.ni, sa.keys.Pr
	if initiator {
		m, nonce, key = sa.hs.request, sa.nr, sa.keys.Pi
	}
	out := append(append(make([]byte, 0, len(m)+len(nonce)+64), m...), nonce...)
	return append(out, sa.prf.Sum(key, id.Body())...)
}
