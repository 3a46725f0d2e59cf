package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Message types (RFC 4271 §4.1, RFC 2918).
const (
	Open             = 1
	UpdateType       = 2
	NotificationType = 3
	Keepalive        = 4
	RouteRefresh     = 5
)

const (
	// HeaderLen is the length of a message header.
	HeaderLen = 19
	// MaxLen is the length of the longest message.
	MaxLen = 4096
)

// Error codes (RFC 4271 §4.5).
const (
	MessageHeaderError = 1
	OpenMessageError   = 2
	UpdateMessageError = 3
	HoldTimerExpired   = 4
	FSMError           = 5
	Cease              = 6
)

// Subcodes that are used outside of this package.
const (
	BadPeerAS           = 2 // of OpenMessageError
	MaximumPrefixes     = 1 // of Cease (RFC 4486)
	AdminShutdown       = 2
	PeerDeconfigured    = 3
	AdminReset          = 4
	ConnectionRejected  = 5
	ConfigurationChange = 6
	CollisionResolution = 7
)

// Notification is an error that ends a session, in the form that the peer is told.
type Notification struct {
	Code, Subcode uint8
	Data          []byte
	Text          string
}

func (n *Notification) Error() string {
	return fmt.Sprintf("bgp: %s (%d/%d): %s", CodeText(n.Code, n.Subcode), n.Code, n.Subcode, n.Text)
}

// Bytes is the message.
func (n *Notification) Bytes() []byte {
	b := header(NotificationType)
	b = append(b, n.Code, n.Subcode)
	b = append(b, n.Data[:min(len(n.Data), MaxLen-HeaderLen-2)]...)
	return finish(b)
}

// ParseNotification reads a NOTIFICATION message.
func ParseNotification(msg []byte) (Notification, bool) {
	if len(msg) < HeaderLen+2 || msg[18] != NotificationType {
		return Notification{}, false
	}
	return Notification{Code: msg[19], Subcode: msg[20], Data: msg[21:]}, true
}

func fail(code, sub uint8, data []byte, format string, a ...any) *Notification {
	return &Notification{code, sub, append([]byte(nil), data...), fmt.Sprintf(format, a...)}
}

var codeText = map[uint8]string{
	1: "message header error", 2: "OPEN message error", 3: "UPDATE message error", 4: "hold time expired",
	5: "finite state machine error", 6: "cease", 7: "ROUTE-REFRESH message error",
}

var subcodeText = map[[2]uint8]string{
	{1, 1}: "connection not synchronized", {1, 2}: "bad message length", {1, 3}: "bad message type",
	{2, 1}: "unsupported version number", {2, 2}: "peer in wrong AS", {2, 3}: "bad BGP identifier",
	{2, 4}: "unsupported optional parameter", {2, 6}: "unacceptable hold time", {2, 7}: "unsupported capability",
	{3, 1}: "malformed attribute list", {3, 2}: "unrecognized well-known attribute",
	{3, 3}: "missing well-known attribute", {3, 4}: "attribute flags error", {3, 5}: "attribute length error",
	{3, 6}: "invalid ORIGIN attribute", {3, 8}: "invalid NEXT_HOP attribute", {3, 9}: "optional attribute error",
	{3, 10}: "invalid network field", {3, 11}: "malformed AS_PATH",
	{6, 1}: "maximum number of prefixes reached", {6, 2}: "administrative shutdown", {6, 3}: "peer de-configured",
	{6, 4}: "administrative reset", {6, 5}: "connection rejected", {6, 6}: "other configuration change",
	{6, 7}: "connection collision resolution", {6, 8}: "out of resources", {6, 9}: "hard reset",
}

// CodeText names an error.
func CodeText(code, sub uint8) string {
	if s := subcodeText[[2]uint8{code, sub}]; s != "" {
		return s
	}
	if s := codeText[code]; s != "" {
		return s
	}
	return "unknown error"
}

// ErrFraming is wrapped by ReadMessage's errors that are about bytes and not about the connection.
var ErrFraming = errors.New("bgp: stream is not one of messages")

// ReadMessage reads one message into buf, which has room for MaxLen bytes. When the header is wrong the error is a
// *Notification.
func ReadMessage(r io.Reader, buf []byte) ([]byte, error) {
	buf = buf[:MaxLen]
	if _, err := io.ReadFull(r, buf[:HeaderLen]); err != nil {
		return nil, err
	}
	n, err := checkHeader(buf[:HeaderLen])
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, buf[HeaderLen:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return buf[:n], nil
}

// Length is the length of the message whose header h begins with.
func Length(h []byte) (int, error) { return checkHeader(h) }

// checkHeader is RFC 4271 §6.1.
func checkHeader(h []byte) (int, error) {
	for _, b := range h[:16] {
		if b != 0xff {
			return 0, fail(MessageHeaderError, 1, nil, "the marker is not all ones")
		}
	}
	n := int(binary.BigEndian.Uint16(h[16:]))
	least, most := HeaderLen, MaxLen
	switch h[18] {
	case Open:
		least = 29
	case UpdateType:
		least = 23
	case NotificationType:
		least = 21
	case Keepalive:
		most = HeaderLen
	case RouteRefresh, 128:
		least = 23
	default:
		return 0, fail(MessageHeaderError, 3, h[18:19], "message type %d", h[18])
	}
	if n < least || n > most {
		return 0, fail(MessageHeaderError, 2, h[16:18], "a message of type %d and %d bytes", h[18], n)
	}
	return n, nil
}

func header(kind uint8) []byte {
	b := make([]byte, HeaderLen, 128)
	for i := range 16 {
		b[i] = 0xff
	}
	b[18] = kind
	return b
}

func finish(b []byte) []byte {
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

// KeepaliveMessage is a KEEPALIVE.
func KeepaliveMessage() []byte { return finish(header(Keepalive)) }
