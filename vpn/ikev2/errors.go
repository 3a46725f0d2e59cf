package ikev2

import "errors"

// The reasons why an IKE SA or a Child SA is not there (any more), for IKEDown and ChildFailed.
var (
	ErrTimeout        = errors.New("peer does not answer")
	ErrDead           = errors.New("peer is dead (DPD)")
	ErrAuthentication = errors.New("authentication failed")
	ErrNoProposal     = errors.New("no proposal chosen")
	ErrSelectors      = errors.New("traffic selectors are unacceptable")
	ErrNoProfile      = errors.New("no profile matches")
	ErrNoKey          = errors.New("no keyring entry")
	ErrSyntax         = errors.New("peer sent an invalid message")
	ErrRefused        = errors.New("peer refused")
	ErrDeleted        = errors.New("peer deleted it")
	ErrLocal          = errors.New("deleted here")
	ErrExpired        = errors.New("lifetime is over")
	ErrSuperseded     = errors.New("superseded by another SA")
	ErrTransport      = errors.New("peer does not do transport mode")
	ErrConfig         = errors.New("configuration is incomplete")
	ErrLimit          = errors.New("too many SAs")
	ErrNoAddress      = errors.New("no address for the peer")
	ErrUnauthorized   = errors.New("peer is not authorized")
	ErrChildless      = errors.New("no child SA")
	ErrRedirected     = errors.New("redirected to another gateway")
	ErrRedirectLoop   = errors.New("too many redirects")
)
