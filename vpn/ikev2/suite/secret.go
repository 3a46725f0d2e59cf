package suite

import "fmt"

const hidden = "***"

// Key is secret bytes. It never prints: every way of formatting or marshalling it gives ***. One exception is fmt's: it
// cannot call methods of a struct's unexported fields, so a struct that holds a Key in one needs a Format of its own
// (or must never be formatted).
type Key []byte

// String implements fmt.Stringer.
func (Key) String() string { return hidden }

// GoString implements fmt.GoStringer (%#v).
func (Key) GoString() string { return hidden }

// Format implements fmt.Formatter, so that %x and %s do not print either.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalJSON implements json.Marshaler.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Clear overwrites the key with zeros.
func (k Key) Clear() { clear(k) }
