package authz

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

// Mangler makes a name of an identity; one of its fields is set.
type Mangler struct {
	FQDN  string // all, hostname, domain: of an ID_FQDN
	Email string // all, username, domain: of an ID_RFC822_ADDR
	DN    string // common-name, organization, organization-unit, country, state, locality: of an ID_DER_ASN1_DN
}

// Name is the name that a mangler makes of an identity.
func (m Mangler) Name(id ikev2.Identity) (string, error) {
	var name string
	var wants message.IDType
	part := ""
	switch {
	case m.FQDN != "":
		wants, part = message.ID_FQDN, "fqdn "+m.FQDN
		name = split(id.Value, ".", m.FQDN, "hostname")
	case m.Email != "":
		wants, part = message.ID_RFC822_ADDR, "email "+m.Email
		name = split(id.Value, "@", m.Email, "username")
	case m.DN != "":
		wants, part = message.ID_DER_ASN1_DN, "dn "+m.DN
		if id.Type == wants {
			var err error
			if name, err = dnPart([]byte(id.Value), m.DN); err != nil {
				return "", err
			}
		}
	default:
		return "", errors.New("it says nothing")
	}
	if id.Type != wants {
		return "", fmt.Errorf("identity %v is no %v", id, wants)
	}
	if name == "" {
		return "", fmt.Errorf("identity %v has no part %q", id, part)
	}
	return name, nil
}

// split is all of a name, what is before its first separator, or what is behind it.
func split(s, sep, part, first string) string {
	before, behind, found := strings.Cut(s, sep)
	switch {
	case part == "all":
		return s
	case part == first:
		return before
	case found:
		return behind
	}
	return ""
}

func dnPart(der []byte, part string) (string, error) {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 {
		return "", errors.New("the identity's distinguished name does not parse")
	}
	var n pkix.Name
	n.FillFromRDNSequence(&seq)
	first := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	switch part {
	case "common-name":
		return n.CommonName, nil
	case "organization":
		return first(n.Organization), nil
	case "organization-unit":
		return first(n.OrganizationalUnit), nil
	case "country":
		return first(n.Country), nil
	case "state":
		return first(n.Province), nil
	case "locality":
		return first(n.Locality), nil
	}
	return "", fmt.Errorf("there is no part %q of a name", part)
}
