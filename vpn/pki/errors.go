package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What is wrong with a certificate; errors of Verify and MatchesIdentity wrap one of these.
var (
	ErrMalformed   = errors.New("certificate is malformed")
	ErrUnknownCA   = errors.New("unknown CA")
	ErrExpired     = errors.New("certificate has expired")
	ErrNotYetValid = errors.New("certificate is not valid yet")
	ErrRevoked     = errors.New("certificate is revoked")
	ErrCRL         = errors.New("revocation cannot be checked")
	ErrUsage       = errors.New("certificate is not for this use")
	ErrWeak        = errors.New("certificate's key or signature is not acceptable")
	ErrConstraint  = errors.New("certificate violates a constraint of its CA")
	ErrIdentity    = errors.New("certificate is for another identity")
)

// RevokedError says which certificate was revoked, and when.
type RevokedError struct {
	Subject, Serial string
	When            time.Time
	Reason          string
}

func (e *RevokedError) Error() string {
	text := fmt.Sprintf("%v: %s, serial %s, since %s", ErrRevoked, e.Subject, e.Serial, day(e.When))
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

func (e *RevokedError) Unwrap() error { return ErrRevoked }

// day is a time in an error or a show command.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Serial is a certificate's serial number as show commands print it.
func Serial(c *x509.Certificate) string { return serial(c.SerialNumber.Bytes()) }

func serial(b []byte) string {
	if len(b) == 0 {
		return "00"
	}
	return strings.ToUpper(fmt.Sprintf("%x", b))
}

// name tells a certificate apart in an error.
func name(c *x509.Certificate) string {
	s := Subject(c)
	if s == "" {
		s = "without a subject"
	}
	return s + ", serial " + Serial(c)
}
