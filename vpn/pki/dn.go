package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Subject and Issuer are a certificate's names for people, the most general part last: "CN=spoke1,OU=spokes,O=Lab".
func Subject(c *x509.Certificate) string { return DNString(c.RawSubject) }
func Issuer(c *x509.Certificate) string  { return DNString(c.RawIssuer) }

// DNString is a distinguished name (DER) for people, or "" when it is none.
func DNString(der []byte) string {
	seq, err := parseDN(der)
	if err != nil {
		return ""
	}
	var parts []string
	for i := len(seq) - 1; i >= 0; i-- {
		var rdn []string
		for _, a := range seq[i] {
			rdn = append(rdn, attributeName(a.Type)+"="+escape(value(a)))
		}
		parts = append(parts, strings.Join(rdn, "+"))
	}
	return strings.Join(parts, ",")
}

func parseDN(der []byte) (pkix.RDNSequence, error) {
	var seq pkix.RDNSequence
	rest, err := asn1.Unmarshal(der, &seq)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the name", len(rest))
	}
	return seq, err
}

var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.17": "postalCode", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress",
	"1.2.840.113549.1.9.2": "unstructuredName", "1.2.840.113549.1.9.8": "unstructuredAddress",
}

// attributeOIDs finds an attribute by its name in lower case, with the other names that people use.
var attributeOIDs = func() map[string]asn1.ObjectIdentifier {
	out := map[string]asn1.ObjectIdentifier{}
	for dotted, n := range attributeNames {
		var oid asn1.ObjectIdentifier
		for _, part := range strings.Split(dotted, ".") {
			v := 0
			fmt.Sscan(part, &v)
			oid = append(oid, v)
		}
		out[strings.ToLower(n)] = oid
	}
	for alias, n := range map[string]string{"e": "emailaddress", "email": "emailaddress", "s": "st", "userid": "uid", "commonname": "cn",
		"organization": "o", "organizationalunit": "ou", "country": "c", "state": "st", "locality": "l"} {
		out[alias] = out[n]
	}
	return out
}()

func attributeName(oid asn1.ObjectIdentifier) string {
	if n, ok := attributeNames[oid.String()]; ok {
		return n
	}
	return oid.String()
}

func value(a pkix.AttributeTypeAndValue) string {
	s, ok := a.Value.(string)
	if !ok {
		return fmt.Sprint(a.Value)
	}
	return s
}

// escape keeps a value apart from the commas and signs around it, and from the terminal.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case strings.ContainsRune(`,+"\<>;=`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f || r == '\ufffd':
			fmt.Fprintf(&b, `\%02X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// sameDN compares names as RFC 5280 §7.1 wants it: whatever their string types, letter case and runs of spaces are.
func sameDN(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err := parseDN(a)
	if err != nil {
		return false
	}
	y, err := parseDN(b)
	if err != nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		if len(x[i]) != len(y[i]) {
			return false
		}
		for j := range x[i] {
			if !x[i][j].Type.Equal(y[i][j].Type) || fold(value(x[i][j])) != fold(value(y[i][j])) {
				return false
			}
		}
	}
	return len(x) > 0
}

func fold(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// ParseDN reads a distinguished name as people write it, "CN=spoke1,OU=spokes,O=Lab", the most general part last, and
// makes its DER. A comma, plus or backslash in a value has a backslash in front.
func ParseDN(s string) ([]byte, error) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsRune(s, utf8.RuneError) {
		return nil, fmt.Errorf("distinguished name %q has characters that do not print", s)
	}
	parts, err := splitDN(s)
	if err != nil {
		return nil, err
	}
	var seq pkix.RDNSequence
	for i := len(parts) - 1; i >= 0; i-- {
		key, val, ok := strings.Cut(parts[i], "=")
		oid := attributeOIDs[strings.ToLower(strings.TrimSpace(key))]
		if !ok || oid == nil {
			return nil, fmt.Errorf("distinguished name %q: %q is not ATTRIBUTE=VALUE with one of CN, OU, O, L, ST, C, DC, UID, serialNumber, emailAddress", s, parts[i])
		}
		v := strings.TrimSpace(unescape(val))
		if v == "" {
			return nil, fmt.Errorf("distinguished name %q: %s is empty", s, strings.TrimSpace(key))
		}
		seq = append(seq, []pkix.AttributeTypeAndValue{{Type: oid, Value: v}})
	}
	return asn1.Marshal(seq)
}

// splitDN cuts at commas without a backslash.
func splitDN(s string) ([]string, error) {
	var parts []string
	at := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, s[at:i])
			at = i + 1
		}
	}
	parts = append(parts, s[at:])
	for i, p := range parts {
		if parts[i] = strings.TrimSpace(p); parts[i] == "" {
			return nil, fmt.Errorf("distinguished name %q has an empty part", s)
		}
	}
	return parts, nil
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
