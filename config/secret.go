package config

import (
	"fmt"
	"unique"
)

// Secret is a password or key. Whatever prints it prints ***; only Reveal tells. The zero Secret is not set. Two Secrets are
// == when value and file are.
type Secret struct {
	// A handle, since fmt looks into unexported fields of others' structs without asking any method.
	value unique.Handle[string]
	file  string // where it was read, as the configuration names it
}

const hidden = "***"

// NewSecret makes a Secret of a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: unique.Make(value)}
}

// Reveal is the value itself. It belongs into key derivation and nowhere else.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// File is the file that the secret was read from, or "".
func (s Secret) File() string { return s.file }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return hidden
}

// GoString keeps %#v from looking inside.
func (s Secret) GoString() string { return s.String() }

// Format keeps every other verb from looking inside.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText serves JSON and every other encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// KeyLog is the value of `key-log`.
type KeyLog struct {
	Enabled bool
	Path    string // "" is wherever the router keeps it by itself
}
