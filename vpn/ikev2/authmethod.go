package ikev2

import (
	"fmt"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// authenticator is one way to prove an identity. It works on an SA with keys and with both IKE_SA_INIT messages.
// Signatures (RFC 7427) will be another one: the IKE_AUTH code knows only this.
type authenticator interface {
	// sign makes our AUTH payload, and the payloads that go with it (certificates).
	sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error)
	// verify checks the peer's.
	verify(sa *ikeSA, id *message.ID, auth *message.AUTH, others []message.Payload) error
}

var authenticators = map[AuthMethod]authenticator{message.AuthSharedKey: psk{}}

func authenticatorFor(m AuthMethod) (authenticator, error) {
	a, ok := authenticators[m]
	if !ok {
		return nil, fmt.Errorf("%w: authentication method %v is not implemented", ErrAuthentication, m)
	}
	return a, nil
}

// psk is the pre-shared key (RFC 7296 §2.15).
type psk struct{}

func (psk) sign(sa *ikeSA, id *message.ID) (*message.AUTH, []message.Payload, error) {
	key, err := sa.s.signingKey()
	if err != nil {
		return nil, nil, err
	}
	return &message.AUTH{Method: message.AuthSharedKey, Data: sa.pskAuth(key, id, sa.initiator)}, nil, nil
}

func (psk) verify(sa *ikeSA, id *message.ID, auth *message.AUTH, _ []message.Payload) error {
	key, err := sa.s.verifyingKey()
	if err != nil {
		return err
	}
	if !suite.EqualMAC(auth.Data, sa.pskAuth(key, id, !sa.initiator)) {
		return fmt.Errorf("%w: AUTH mismatch (the pre-shared keys differ)", ErrAuthentication)
	}
	return nil
}

// pskAuth is the AUTH data of the initiator or of the responder.
func (sa *ikeSA) pskAuth(key suite.Key, id *message.ID, initiator bool) []byte {
	if initiator {
		return sa.prf.PSKAuth(key, sa.hs.request, sa.nr, sa.keys.Pi, id.Body())
	}
	return sa.prf.PSKAuth(key, sa.hs.response, sa.ni, sa.keys.Pr, id.Body())
}
