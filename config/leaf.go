package config

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// leaf fills one value.
func (d *decoder) leaf(n *node, s scope, f *field, v reflect.Value) {
	switch v.Type() {
	case secretType:
		if f.tag.Get("secret") == "file" && n.kind != tableNode {
			d.errorf(n.pos, s, "a key is not written down here: put it into a file, { file = \"NAME\" }") // the text is not repeated
			return
		}
		v.Set(reflect.ValueOf(d.secretValue(n, s, f)))
	case pskType:
		v.Set(reflect.ValueOf(d.preSharedKey(n, s, f)))
	case keyLogType:
		d.keyLog(n, s, v.Addr().Interface().(*KeyLog))
	case fileType:
		d.file(n, s, v.Addr().Interface().(*File))
	case rangeType, nameType, commType:
		d.parsed(n, s, v)
	case espType:
		d.esp(n, s, v.Addr().Interface().(*ESP))
	case mcastType:
		d.multicastMap(n, s, v.Addr().Interface().(*MulticastMap))
	case hostsType:
		d.hosts(n, s, v.Addr().Interface().(*HostTable))
	case termType:
		d.term(n, s, v)
	case durationType:
		d.duration(n, s, f, v)
	case groupType:
		d.group(n, s, f, v)
	case addrType:
		if text, ok := d.text(n, s, `an address such as "172.16.1.1"`); ok {
			a, msg := parseAddr(text)
			if msg == "" && f.tag.Get("family") == "4" && !a.Is4() {
				msg = fmt.Sprintf("expected an IPv4 address, got %s", a)
			}
			if msg != "" {
				d.errorf(n.pos, s, "%s", msg)
				return
			}
			v.Set(reflect.ValueOf(a))
		}
	case prefixType:
		if text, ok := d.text(n, s, `a prefix such as "10.0.0.0/24"`); ok {
			p, msg := parsePrefix(text, f.tag.Get("prefix"))
			if msg != "" {
				d.errorf(n.pos, s, "%s", msg)
				return
			}
			v.Set(reflect.ValueOf(p))
		}
	case macType:
		if text, ok := d.text(n, s, `a MAC address such as "52:54:00:12:34:56"`); ok {
			m, err := net.ParseMAC(text)
			if err != nil || len(m) != 6 {
				d.errorf(n.pos, s, "%q is not a MAC address such as \"52:54:00:12:34:56\"", text)
				return
			}
			v.Set(reflect.ValueOf(m))
		}
	case localType:
		if text, ok := d.text(n, s, `an interface's name or an address`); ok {
			d.local(n, s, text, v.Addr().Interface().(*Local))
		}
	default:
		d.plain(n, s, f, v)
	}
}

// plain fills text, words, numbers and booleans.
func (d *decoder) plain(n *node, s scope, f *field, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Bool:
		if n.kind != boolNode {
			d.errorf(n.pos, s, "expected true or false, got %s", describe(n))
			return
		}
		v.SetBool(n.text == "true")
	case v.Kind() == reflect.String:
		no, yes, either := boolWords(v.Type())
		if either && n.kind == boolNode {
			v.SetString(map[string]string{"true": yes, "false": no}[n.text])
			return
		}
		values := wordsOf(v.Type())
		want := "text in quotes"
		if values != nil {
			want = map[bool]string{true: "true, false or "}[either] + "one of " + quoteList(values)
		}
		text, ok := d.text(n, s, want)
		switch {
		case !ok:
		case values != nil && !slices.Contains(values, text):
			d.errorf(n.pos, s, "%q is %snone of %s%s", text, map[bool]string{true: "neither true nor false, and "}[either], quoteList(values), onlySuggestion(text, values))
		case values == nil && f.ref != "" && text == "":
			d.errorf(n.pos, s, "the name is empty")
		default:
			v.SetString(text)
		}
	default:
		d.number(n, s, f, v)
	}
}

func onlySuggestion(word string, values []string) string {
	if g := suggest(word, values); g != "" {
		return fmt.Sprintf(" (did you mean %q?)", g)
	}
	return ""
}

func (d *decoder) number(n *node, s scope, f *field, v reflect.Value) {
	lo, hi := int64(0), int64(1)<<62
	if v.CanUint() && v.Type().Bits() < 64 {
		hi = int64(1)<<v.Type().Bits() - 1
	}
	unit := f.tag.Get("unit")
	if unit != "" {
		unit = " of " + unit
	}
	want := fmt.Sprintf("a number%s from %d to %d", unit, lo, hi)
	if f.rng != "" {
		want = fmt.Sprintf("a number%s: %s", unit, rangeText(f.rng))
	}
	i, ok := d.integer(n, s, want)
	if !ok {
		return
	}
	if i < lo || i > hi || !inRange(f.rng, uint64(i), parseUint) {
		d.errorf(n.pos, s, "%d is out of range: expected %s", i, want)
		return
	}
	if v.CanUint() {
		v.SetUint(uint64(i))
	} else {
		v.SetInt(i)
	}
}

func (d *decoder) integer(n *node, s scope, want string) (int64, bool) {
	if n.kind != intNode {
		hint := ""
		if _, err := strconv.ParseInt(n.text, 10, 64); err == nil && n.kind == stringNode {
			hint = fmt.Sprintf(": write %s without quotes", n.text)
		}
		d.errorf(n.pos, s, "expected %s, got %s%s", want, describe(n), hint)
		return 0, false
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
	if err != nil {
		d.errorf(n.pos, s, "expected %s, got %s", want, n.text)
		return 0, false
	}
	return i, true
}

// text is a string that can stand in one line of output.
func (d *decoder) text(n *node, s scope, want string) (string, bool) {
	if n.kind != stringNode {
		d.errorf(n.pos, s, "expected %s, got %s", want, describe(n))
		return "", false
	}
	for _, r := range n.text {
		if r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 || (r >= 0x80 && r < 0xa0) {
			d.errorf(n.pos, s, "control characters (%U) are not allowed", r)
			return "", false
		}
	}
	return n.text, true
}

func (d *decoder) duration(n *node, s scope, f *field, v reflect.Value) {
	want := `a duration such as "30s", or a number of seconds`
	var dur time.Duration
	switch n.kind {
	case intNode:
		i, ok := d.integer(n, s, want)
		if !ok {
			return
		}
		if i < 0 || i > int64(1<<31) {
			d.errorf(n.pos, s, "%d seconds is out of range: expected %s", i, rangeText(f.rng))
			return
		}
		dur = time.Duration(i) * time.Second
	case stringNode:
		var err error
		if dur, err = time.ParseDuration(n.text); err != nil || strings.HasPrefix(n.text, "+") {
			d.errorf(n.pos, s, "%q is not a duration such as \"30s\", \"10m\" or \"1h30m\"", n.text)
			return
		}
	default:
		d.errorf(n.pos, s, "expected %s, got %s", want, describe(n))
		return
	}
	if dur < 0 || !inRange(f.rng, uint64(dur), parseDur) {
		hint := ""
		if ms := dur / 1000; n.kind == intNode && inRange(f.rng, uint64(ms), parseDur) {
			hint = fmt.Sprintf(" (a number means seconds: for milliseconds write %q)", formatDuration(ms))
		}
		d.errorf(n.pos, s, "%s is out of range: expected %s%s", formatDuration(dur), rangeText(f.rng), hint)
		return
	}
	v.SetInt(int64(dur))
}

func (d *decoder) group(n *node, s scope, f *field, v reflect.Value) {
	groups := Group(0).Groups()
	if f.def == "0" {
		groups = append([]int{0}, groups...)
	}
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(groups), " ", ", "), "[]")
	want := "the number of a Diffie-Hellman group"
	if m := groupWord.FindStringSubmatch(n.text); m != nil && n.kind == stringNode {
		d.errorf(n.pos, s, "expected %s without quotes: %s", want, m[1])
		return
	}
	i, ok := d.integer(n, s, want)
	if !ok {
		return
	}
	if !slices.Contains(groups, int(i)) {
		d.errorf(n.pos, s, "there is no group %d: expected one of %s", i, list)
		return
	}
	v.SetUint(uint64(i))
}

var groupWord = regexp.MustCompile(`^(?:group)?\s*(\d+)$`)

// local fills an interface's name or an address.
func (d *decoder) local(n *node, s scope, text string, out *Local) {
	if _, err := netip.ParseAddr(text); err == nil {
		a, msg := parseAddr(text)
		if msg != "" {
			d.errorf(n.pos, s, "%s", msg)
			return
		}
		out.Address = a
		return
	}
	if _, err := ParseInterfaceName(text); err != nil {
		if _, perr := netip.ParsePrefix(text); perr == nil {
			_, msg := parseAddr(text)
			d.errorf(n.pos, s, "%s", msg)
			return
		}
		d.errorf(n.pos, s, "%q is neither an address nor an interface: %s", text,
			strings.TrimPrefix(err.Error(), fmt.Sprintf("interface name %q: ", text)))
		return
	}
	out.Interface = text
}

var dottedMask = regexp.MustCompile(`^\s*(\d+\.\d+\.\d+\.\d+)[ /]+(\d+\.\d+\.\d+\.\d+)\s*$`)

// parsePrefix reads a prefix, or says what would be right.
func parsePrefix(s, mode string) (netip.Prefix, string) {
	if m := dottedMask.FindStringSubmatch(s); m != nil {
		a, err := netip.ParseAddr(m[1])
		mask, err2 := netip.ParseAddr(m[2])
		if err == nil && err2 == nil {
			b := mask.As4()
			u := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
			if n := bits.LeadingZeros32(^u); u<<n == 0 {
				return netip.Prefix{}, fmt.Sprintf("write the mask as a length: %q", netip.PrefixFrom(a, n))
			}
		}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return p, fmt.Sprintf("%q is not a prefix such as \"10.0.0.0/24\" or \"2001:db8::/64\"", s)
		case a.Zone() != "" || a.Is4In6():
			_, msg := parseAddr(s)
			return p, msg
		case mode == "bare":
			return netip.PrefixFrom(a, a.BitLen()), ""
		case mode == "host":
			return p, fmt.Sprintf("the length of the subnet is missing, such as in \"%s/%d\"", a, map[bool]int{true: 24, false: 64}[a.Is4()])
		}
		return p, fmt.Sprintf("the length is missing: \"%s/%d\" is this address alone", a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Sprintf("an IPv4 prefix is written as one, such as \"%s/24\"", p.Addr().Unmap())
	}
	if mode != "host" && p != p.Masked() {
		return p, fmt.Sprintf("%q has bits behind its length: the prefix is %q, the address alone \"%s/%d\"", p, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return p, ""
}

// secretValue reads text, or the file that { file = … } names.
func (d *decoder) secretValue(n *node, s scope, key *field) Secret {
	switch n.kind {
	case stringNode:
		// The text is not repeated in any message.
		switch {
		case n.text == "":
			d.errorf(n.pos, s, "the secret is empty")
		case n.text == hidden:
			d.errorf(n.pos, s, "*** is what is shown instead of a secret; write the secret itself, or { file = \"NAME\" }")
		case strings.ContainsFunc(n.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
			d.errorf(n.pos, s, "control characters are not allowed in a secret; put it into a file if it is meant so")
		default:
			return NewSecret(n.text)
		}
	case tableNode:
		name, data, f, c, ok := d.fileOf(n, s)
		if !ok {
			return Secret{}
		}
		value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		switch {
		case value == "":
			d.errorf(f.pos, c, "the file %q is empty", name)
		case key.tag.Get("secret") != "file" && len(value) > 4096:
			d.errorf(f.pos, c, "the file %q has more than 4096 bytes: it is not a password", name)
		case len(value) > 65536:
			d.errorf(f.pos, c, "the file %q has more than 65536 bytes: it is not a key", name)
		default:
			out := NewSecret(value)
			out.file = name
			return out
		}
	default:
		d.errorf(n.pos, s, "expected text in quotes, or { file = \"NAME\" }, got %s", n.kind)
	}
	return Secret{}
}

// maxFileData bounds a file beside the configuration: long revocation lists fit.
const maxFileData = 8 << 20

// fileOf reads the file that a text, { file = NAME } or { file = NAME, data = BASE64 } names; at is where its name is.
func (d *decoder) fileOf(n *node, s scope) (name string, data []byte, at *node, c scope, ok bool) {
	at, c = n, s
	content := n.kids["data"]
	if n.kind == tableNode {
		at = n.kids["file"]
		if want := 1 + map[bool]int{true: 1}[content != nil]; at == nil || len(n.names) != want {
			d.errorf(n.pos, s, "expected { file = \"NAME\" }")
			return
		}
		c = s.under("file", at)
	}
	if name, ok = d.text(at, c, "the name of a file"); !ok {
		return
	}
	if name == "" {
		d.errorf(at.pos, c, "the name of the file is empty")
		return name, nil, at, c, false
	}
	var err error
	if content != nil {
		if data, err = base64.StdEncoding.DecodeString(content.text); err != nil || content.kind != stringNode {
			d.errorf(content.pos, s.under("data", content), "expected the contents of the file in base64") // not repeated: it may be a secret
			return name, nil, at, c, false
		}
		return name, data, at, c, true
	}
	if data, err = d.secret(n.pos.File, name); err != nil {
		d.errorf(at.pos, c, "cannot read %q: %v", name, err)
		return name, nil, at, c, false
	}
	return name, data, at, c, true
}

// file reads the file that a text or { file = … } names.
func (d *decoder) file(n *node, s scope, out *File) {
	name, data, at, c, ok := d.fileOf(n, s)
	switch {
	case !ok:
	case len(data) == 0:
		d.errorf(at.pos, c, "the file %q is empty", name)
	case len(data) > maxFileData:
		d.errorf(at.pos, c, "the file %q has %d bytes; at most %d are read", name, len(data), maxFileData)
	default:
		*out = File{name, data}
	}
}

// parsed fills values that one text says.
func (d *decoder) parsed(n *node, s scope, v reflect.Value) {
	want := map[reflect.Type]string{rangeType: `addresses such as "10.0.0.10-10.0.0.20" or "10.0.0.0/24"`,
		nameType: `text such as "co ou=spokes"`, commType: `a community such as "65000:1"`}[v.Type()]
	text, ok := d.text(n, s, want)
	if !ok {
		return
	}
	var x any
	msg := ""
	switch v.Type() {
	case rangeType:
		x, msg = parseRange(text)
	case nameType:
		x, msg = parseNameMatch(text)
	default:
		c, err := ParseCommunity(text)
		if err != nil {
			msg = err.Error()
		}
		x = c
	}
	if msg != "" {
		d.errorf(n.pos, s, "%s", msg)
		return
	}
	v.Set(reflect.ValueOf(x))
}

func (d *decoder) preSharedKey(n *node, s scope, f *field) PreSharedKey {
	if n.kind != tableNode || n.kids["file"] != nil {
		k := d.secretValue(n, s, f)
		return PreSharedKey{k, k}
	}
	var k PreSharedKey
	for _, name := range n.names {
		kid := n.kids[name]
		switch name {
		case "local":
			k.Local = d.secretValue(kid, s.under(name, kid), f)
		case "remote":
			k.Remote = d.secretValue(kid, s.under(name, kid), f)
		default:
			d.unknown(kid, s, name, []string{"local", "remote", "file"}, reflect.TypeFor[struct{}]())
		}
	}
	for _, name := range []string{"local", "remote"} {
		if n.kids[name] == nil {
			d.errorf(n.pos, s, "%s is missing: give both { local = …, remote = … }, or one key alone", name)
		}
	}
	return k
}

func (d *decoder) keyLog(n *node, s scope, out *KeyLog) {
	switch {
	case n.kind == boolNode:
		out.Enabled = n.text == "true"
	case n.kind == stringNode && n.text != "":
		if path, ok := d.text(n, s, "a path"); ok {
			*out = KeyLog{Enabled: true, Path: path}
		}
	default:
		d.errorf(n.pos, s, "expected true, false or the path of a file, got %s", describe(n))
	}
}

func (d *decoder) multicastMap(n *node, s scope, out *MulticastMap) {
	items := []*node{n}
	if n.kind == arrayNode {
		items = n.items
	}
	for i, item := range items {
		c := s
		if n.kind == arrayNode {
			c = s.index(i, item)
		}
		text, ok := d.text(item, c, `"dynamic" or an NBMA address`)
		if !ok {
			continue
		}
		if text == "dynamic" {
			out.Dynamic = true
			continue
		}
		a, msg := parseAddr(text)
		if msg != "" {
			d.errorf(item.pos, c, "%q is neither \"dynamic\" nor an address%s", text, onlySuggestion(text, []string{"dynamic"}))
			continue
		}
		if !slices.Contains(out.NBMA, a) {
			out.NBMA = append(out.NBMA, a)
		}
	}
}

// iosTransforms are the words of `crypto ipsec transform-set`, for those who write them from memory.
var iosTransforms = map[string]string{
	"esp-aes": "aes-cbc-128", "esp-aes 128": "aes-cbc-128", "esp-aes 192": "aes-cbc-192", "esp-aes 256": "aes-cbc-256",
	"esp-gcm": "aes-gcm-128", "esp-gcm 128": "aes-gcm-128", "esp-gcm 256": "aes-gcm-256",
	"esp-sha-hmac": "sha1", "esp-sha256-hmac": "sha256", "esp-sha384-hmac": "sha384", "esp-sha512-hmac": "sha512",
}

func (d *decoder) esp(n *node, s scope, out *ESP) {
	items := []*node{n}
	if n.kind == arrayNode {
		items = n.items
	}
	ciphers, hashes := Encryption("").Values(), Hash("").Values()
	all := slices.Concat(ciphers, hashes)
	var e ESP
	for i, item := range items {
		c := s
		if n.kind == arrayNode {
			c = s.index(i, item)
		}
		text, ok := d.text(item, c, "a cipher or hash: one of "+quoteList(all))
		switch {
		case !ok:
			return
		case slices.Contains(ciphers, text) && e.Encryption != "":
			d.errorf(item.pos, c, "there is a cipher already (%q): alternatives are transform sets of their own", e.Encryption)
			return
		case slices.Contains(hashes, text) && e.Integrity != "":
			d.errorf(item.pos, c, "there is a hash already (%q): alternatives are transform sets of their own", e.Integrity)
			return
		case slices.Contains(ciphers, text):
			e.Encryption = Encryption(text)
		case slices.Contains(hashes, text):
			e.Integrity = Hash(text)
		default:
			hint := onlySuggestion(text, all)
			if g := iosTransforms[text]; g != "" {
				hint = fmt.Sprintf(" (did you mean %q?)", g)
			}
			d.errorf(item.pos, c, "%q is none of %s%s", text, quoteList(all), hint)
			return
		}
	}
	switch {
	case e.Encryption == "":
		d.errorf(n.pos, s, "the cipher is missing: expected one of %s", quoteList(ciphers))
	case e.Encryption.AEAD() && e.Integrity != "":
		d.errorf(n.pos, s, "%s has its own integrity check: leave %q out", e.Encryption, e.Integrity)
	case !e.Encryption.AEAD() && e.Integrity == "":
		d.errorf(n.pos, s, "%s needs a hash for its integrity check: add one of %s", e.Encryption, quoteList(hashes))
	default:
		*out = e
	}
}
