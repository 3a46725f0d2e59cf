package config

import (
	"bytes"
	"fmt"
	"strings"
)

// PKI holds the objects of IOS's `crypto pki`.
type PKI struct {
	// Certification authorities and the certificates that they have given this router, by name.
	Trustpoint map[string]*Trustpoint `toml:"trustpoint" key:"NAME"`
	// Sets of certificates by what is written in them (IOS: `crypto pki certificate map`).
	CertificateMap map[string]*CertificateMap `toml:"certificate-map" key:"NAME"`
}

// Trustpoint is a certification authority, and this router's certificate of it.
type Trustpoint struct {
	Name string `toml:"-"`
	// Certificates of the authority and of those between it and its clients (PEM, any number in the file).
	CA File `toml:"ca" required:"true" example:"\"ca.pem\""`
	// This router's certificate; those between it and the authority may follow (PEM).
	Certificate File `toml:"certificate" example:"\"router.pem\""`
	// Its private key (PEM: PKCS #8, PKCS #1 or SEC 1; not encrypted).
	Key Secret `toml:"key" secret:"file" example:"{ file = \"router.key\" }"`
	// Revocation lists (PEM or DER).
	CRL []File `toml:"crl" example:"[\"ca.crl\"]"`
	// Whether a peer's certificate must be in none of them: `crl` when there is a list, else `none`.
	RevocationCheck RevocationCheck `toml:"revocation-check" implied:"by crl" example:"\"crl\""`
}

// CheckRevocation reports whether peers' certificates are looked for in revocation lists.
func (t *Trustpoint) CheckRevocation() bool {
	return t.RevocationCheck == RevocationCRL || t.RevocationCheck == "" && len(t.CRL) > 0
}

// RevocationCheck is what is asked whether a certificate still counts; empty depends on whether there is a list.
type RevocationCheck string

const (
	RevocationCRL  RevocationCheck = "crl"
	RevocationNone RevocationCheck = "none"
)

// Values lists what may be written.
func (RevocationCheck) Values() []string {
	return []string{string(RevocationCRL), string(RevocationNone)}
}

// CertificateMap is a set of certificates.
type CertificateMap struct {
	Name string `toml:"-"`
	// A certificate fits when all of any one rule fits.
	Rule []*CertificateRule `toml:"rule" layout:"inline" required:"true" example:"[{ subject-name = \"co ou=spokes\" }]"`
}

// CertificateRule is what a certificate's fields must be. All that is given must fit.
type CertificateRule struct {
	// The subject.
	SubjectName []NameMatch `toml:"subject-name" example:"\"co ou=spokes\""`
	// The issuer.
	IssuerName []NameMatch `toml:"issuer-name" example:"\"eq cn=example ca, o=example\""`
	// One of the subject's other names.
	AltSubjectName []NameMatch `toml:"alt-subject-name" example:"\"co .example.com\""`
}

// NameMatch compares a name, case apart: OPERATOR TEXT.
type NameMatch struct {
	Operator MatchOperator
	Value    string
}

// String is the TOML form.
func (m NameMatch) String() string { return string(m.Operator) + " " + m.Value }

// MatchOperator is how a name is compared.
type MatchOperator string

const (
	MatchEqual       MatchOperator = "eq"
	MatchNotEqual    MatchOperator = "ne"
	MatchContains    MatchOperator = "co"
	MatchNotContains MatchOperator = "nc"
)

// Values lists what may be written.
func (MatchOperator) Values() []string {
	return []string{string(MatchEqual), string(MatchNotEqual), string(MatchContains), string(MatchNotContains)}
}

// parseNameMatch reads OPERATOR TEXT, or says what would be right.
func parseNameMatch(s string) (NameMatch, string) {
	op, value, _ := strings.Cut(strings.TrimSpace(s), " ")
	value = strings.TrimSpace(value)
	for _, o := range MatchOperator("").Values() {
		switch {
		case o == op && value == "":
			return NameMatch{}, fmt.Sprintf("the text to compare with is missing: %q", op+" ou=spokes")
		case o == op:
			return NameMatch{MatchOperator(op), value}, ""
		}
	}
	return NameMatch{}, fmt.Sprintf("%q does not begin with eq, ne, co (contains) or nc (does not contain): %q", s, "co "+strings.TrimSpace(s))
}

// File is a file beside the configuration, with what was in it when the configuration was read.
type File struct {
	Path string // as the configuration names it
	Data []byte
}

// IsZero reports whether no file is named.
func (f File) IsZero() bool { return f.Path == "" }

func (f File) String() string { return f.Path }

// Equal reports whether two files have one name and content.
func (f File) Equal(g File) bool { return f.Path == g.Path && bytes.Equal(f.Data, g.Data) }
