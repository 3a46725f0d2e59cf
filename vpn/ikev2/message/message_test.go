package message

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(strings.TrimSpace(line))
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return b
}

func references(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d reference messages: %v", len(files), err)
	}
	return files
}

func types(payloads []Payload) string {
	var names []string
	for _, p := range payloads {
		n := p.Type().String()
		if notify, ok := p.(*Notify); ok {
			n += "(" + notify.Message.String() + ")"
		}
		names = append(names, n)
	}
	return strings.Join(names, " ")
}

func TestMessagesOfRealPeersEncodeToTheSameBytes(t *testing.T) {
	for _, file := range references(t) {
		wire := read(t, file)
		m, err := Decode(wire)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got := m.Encode(); !bytes.Equal(got, wire) {
			t.Errorf("%s: encoded differently\n got %x\nwant %x", file, got, wire)
		}
	}
}

func TestAMessageOfStrongSwanReadsAsItIs(t *testing.T) {
	m, err := Decode(read(t, "testdata/init-nfvis_psk-request.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if m.SPIi != 0x19b6e89a8af1f8e1 || m.SPIr != 0 || m.Major != 2 || m.Exchange != IKE_SA_INIT || m.Flags != FlagInitiator ||
		m.Response() || !m.Initiator() || m.MessageID != 0 {
		t.Errorf("header: %+v", m.Header)
	}
	want := "SA KE NONCE N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED) " +
		"N(SIGNATURE_HASH_ALGORITHMS) N(REDIRECT_SUPPORTED)"
	if got := types(m.Payloads); got != want {
		t.Errorf("payloads: %s\nwant %s", got, want)
	}
	sa := m.Payloads[0].(*SA)
	wantSA := []Proposal{{Number: 1, Protocol: ProtoIKE, Transforms: []Transform{
		{Type: TransformENCR, ID: 12, KeyBits: 256}, {Type: TransformINTEG, ID: 14}, {Type: TransformPRF, ID: 7}, {Type: TransformDH, ID: 16},
	}}}
	if !reflect.DeepEqual(sa.Proposals, wantSA) {
		t.Errorf("SA: %+v", sa.Proposals)
	}
	if ke := m.Payloads[1].(*KE); ke.Group != 16 || len(ke.Data) != 512 {
		t.Errorf("KE: group %d, %d bytes", ke.Group, len(ke.Data))
	}
	if n := m.Payloads[3].(*Notify); len(n.Data) != 20 || n.Protocol != ProtoNone || n.SPI != nil {
		t.Errorf("NAT_DETECTION_SOURCE_IP: %+v", n)
	}
}

func TestProtectedMessagesSayWhereTheIVIs(t *testing.T) {
	h := Header{SPIi: 1, SPIr: 2, Major: 2, Exchange: IKE_AUTH, Flags: FlagInitiator, MessageID: 1}
	for _, c := range []struct {
		number, total uint16
		iv            int
	}{{0, 0, 32}, {1, 3, 36}, {3, 3, 36}} {
		b := BeginEncrypted(h, TypeIDi, 40, c.number, c.total)
		b = append(b, make([]byte, 40)...)
		m, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		want := &Encrypted{Fragment: c.total > 0, First: TypeIDi, Number: c.number, Total: c.total, IVOffset: c.iv}
		if got := m.Payloads[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("%d of %d: %+v", c.number, c.total, got)
		}
	}
}

// everything is one payload of each kind, with the fields that encoding must keep.
func everything() []Payload {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	return []Payload{
		&SA{[]Proposal{
			{Number: 1, Protocol: ProtoESP, SPI: []byte{1, 2, 3, 4}, Transforms: []Transform{
				{Type: TransformENCR, ID: 20, KeyBits: 256}, {Type: TransformESN, ID: 0}}},
			{Number: 2, Protocol: ProtoESP, SPI: []byte{1, 2, 3, 4}, Transforms: []Transform{
				{Type: TransformENCR, ID: 12, KeyBits: 128, Attributes: []byte{0x80, 99, 0, 1}}, {Type: TransformINTEG, ID: 12}}},
			{Number: 7, Protocol: ProtoIKE, Transforms: []Transform{}},
		}},
		&KE{14, []byte{1, 2, 3}},
		&ID{false, ID_FQDN, []byte("spoke1.example")},
		&ID{true, ID_IPV6_ADDR, v6.AsSlice()},
		&CERT{CertX509Signature, []byte("der")},
		&CERTREQ{CertX509Signature, make([]byte, 20)},
		&AUTH{AuthSharedKey, []byte("mac")},
		&Nonce{make([]byte, 32)},
		&Notify{ProtoESP, []byte{9, 8, 7, 6}, REKEY_SA, []byte{}},
		&Delete{ProtoESP, 4, [][]byte{{1, 2, 3, 4}, {5, 6, 7, 8}}},
		&Delete{Protocol: ProtoIKE},
		&VendorID{[]byte("felloe")},
		&TS{false, []TrafficSelector{{47, 0, 65535, v4, v4}, {0, 65535, 0, v6, v6}}},
		&TS{true, []TrafficSelector{{17, 53, 53, v4, netip.MustParseAddr("192.0.2.9")}}},
		&CP{CFG_REQUEST, []CFGAttribute{{1, []byte{}}, {25, []byte("x")}}},
		&EAP{[]byte{1, 2, 0, 4}},
		&Unknown{99, true, []byte("?")},
	}
}

func TestEveryPayloadSurvivesTheWire(t *testing.T) {
	want := everything()
	first, b := AppendPayloads(nil, want)
	got, err := DecodePayloads(first, b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		for i := range want {
			if i >= len(got) || !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("payload %d: got %#v want %#v", i, got[i], want[i])
			}
		}
	}
	_, again := AppendPayloads(nil, got)
	if !bytes.Equal(again, b) {
		t.Error("encodes differently the second time")
	}
}

func TestNothingTruncatedIsAccepted(t *testing.T) {
	for _, wire := range append([][]byte{(&Message{Header{Major: 2}, everything()}).Encode()}, read(t, references(t)[0])) {
		for n := range wire {
			b := slices.Clone(wire[:n])
			if n >= HeaderLen { // an honest header over a cut body
				b[24], b[25], b[26], b[27] = 0, 0, byte(n>>8), byte(n)
			}
			if _, err := Decode(b); err == nil && n > HeaderLen {
				t.Fatalf("the first %d of %d bytes were accepted", n, len(wire))
			}
		}
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	chain := func(p ...Payload) (PayloadType, []byte) { return AppendPayloads(nil, p) }
	cut := func(t PayloadType, b []byte, edit func([]byte) []byte) func() (PayloadType, []byte) {
		return func() (PayloadType, []byte) { return t, edit(slices.Clone(b)) }
	}
	raw := func(t PayloadType, body ...byte) func() (PayloadType, []byte) {
		return func() (PayloadType, []byte) {
			return t, append([]byte{0, 0, 0, byte(4 + len(body))}, body...)
		}
	}
	saType, sa := chain(everything()[0])
	tsType, ts := chain(everything()[12])
	many := make([]Payload, MaxPayloads+1)
	for i := range many {
		many[i] = &VendorID{}
	}
	for name, c := range map[string]struct {
		make func() (PayloadType, []byte)
		want error
	}{
		"bytes after the last payload":       {cut(saType, sa, func(b []byte) []byte { return append(b, 0) }), ErrLength},
		"payload shorter than its header":    {func() (PayloadType, []byte) { return TypeNonce, []byte{0, 0, 0, 3} }, ErrLength},
		"payload beyond the message":         {func() (PayloadType, []byte) { return TypeNonce, []byte{0, 0, 1, 0} }, ErrLength},
		"last proposal says more":            {cut(saType, sa, func(b []byte) []byte { b[4] = 0; return b }), ErrValue},
		"proposal beyond the payload":        {cut(saType, sa, func(b []byte) []byte { b[6] = 9; return b }), ErrLength},
		"more transforms than there are":     {cut(saType, sa, func(b []byte) []byte { b[11] = 3; return b }), ErrLength},
		"fewer transforms than there are":    {cut(saType, sa, func(b []byte) []byte { b[11] = 1; return b }), ErrValue},
		"transform without end":              {cut(saType, sa, func(b []byte) []byte { b[18] = 9; return b }), ErrLength},
		"empty SA":                           {raw(TypeSA), ErrShort},
		"short nonce":                        {raw(TypeNonce, make([]byte, 15)...), ErrValue},
		"IPv4 identity of three bytes":       {raw(TypeIDi, 1, 0, 0, 0, 10, 0, 0), ErrValue},
		"IPv6 identity of four bytes":        {raw(TypeIDr, 5, 0, 0, 0, 10, 0, 0, 1), ErrValue},
		"empty KE":                           {raw(TypeKE, 0, 14, 0, 0), ErrShort},
		"notify whose SPI is longer than it": {raw(TypeNotify, 3, 4, 0, 11, 1, 2, 3), ErrShort},
		"delete with the wrong count":        {raw(TypeDelete, 3, 4, 0, 2, 1, 2, 3, 4), ErrLength},
		"delete of SPIs without size":        {raw(TypeDelete, 3, 0, 1, 0), ErrLength},
		"selector of the wrong length":       {cut(tsType, ts, func(b []byte) []byte { b[11] = 15; return b }), ErrLength},
		"fewer selectors than said":          {cut(tsType, ts, func(b []byte) []byte { b[4] = 3; return b }), ErrShort},
		"more selectors than we read":        {cut(tsType, ts, func(b []byte) []byte { b[4] = 255; return b }), ErrCount},
		"attribute beyond the payload":       {raw(TypeCP, 1, 0, 0, 0, 0, 1, 0, 4, 1), ErrLength},
		"too many payloads":                  {func() (PayloadType, []byte) { return chain(many...) }, ErrCount},
		"SK inside SK":                       {raw(TypeSK, 1, 2, 3), ErrValue},
	} {
		first, b := c.make()
		if _, err := DecodePayloads(first, b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
}

func TestHeadersMustTellTheTruthAboutTheLength(t *testing.T) {
	wire := read(t, references(t)[0])
	for _, n := range []int{len(wire) - 1, len(wire) + 1, 0} {
		b := slices.Clone(wire)
		b[26], b[27] = byte(n>>8), byte(n)
		if _, err := Decode(b); !errors.Is(err, ErrLength) {
			t.Errorf("length %d in %d bytes: %v", n, len(wire), err)
		}
	}
	if _, err := Decode(wire[:27]); !errors.Is(err, ErrShort) {
		t.Errorf("27 bytes: %v", err)
	}
}

func TestSKMustBeTheLastPayload(t *testing.T) {
	b := BeginEncrypted(Header{Major: 2}, TypeIDi, 20, 0, 0)
	b = append(b, make([]byte, 20)...)
	b[HeaderLen+3]-- // one byte after SK
	if _, err := Decode(b); !errors.Is(err, ErrValue) {
		t.Error(err)
	}
	for _, c := range []struct{ number, total uint16 }{{0, 1}, {2, 1}, {1, MaxFragments + 1}} {
		b := append(BeginEncrypted(Header{Major: 2}, TypeIDi, 20, 1, 1), make([]byte, 20)...)
		b[32], b[33], b[34], b[35] = byte(c.number>>8), byte(c.number), byte(c.total>>8), byte(c.total)
		if _, err := Decode(b); err == nil {
			t.Errorf("fragment %d of %d was accepted", c.number, c.total)
		}
	}
}

func TestUnknownPayloadsAndSelectorsDoNotBreakAMessage(t *testing.T) {
	first, b := AppendPayloads(nil, []Payload{&Unknown{200, false, []byte{1}}, &Nonce{make([]byte, 16)}})
	if got, err := DecodePayloads(first, b); err != nil || len(got) != 2 {
		t.Errorf("%v %v", got, err)
	}
	// TS_SECLABEL (RFC 9478) before an IPv4 selector.
	first, b = TypeTSi, []byte{0, 0, 0, 36, 2, 0, 0, 0, 10, 0, 0, 12, 0, 0, 0, 0, 's', 'e', 'c', 'l',
		7, 47, 0, 16, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 192, 0, 2, 1}
	got, err := DecodePayloads(first, b)
	if err != nil {
		t.Fatal(err)
	}
	if s := got[0].(*TS).Selectors; len(s) != 1 || s[0].String() != "gre 192.0.2.1" {
		t.Errorf("%v", s)
	}
}

func TestNamesAreTheRFCs(t *testing.T) {
	for got, want := range map[string]string{
		CREATE_CHILD_SA.String(): "CREATE_CHILD_SA", ExchangeType(99).String(): "EXCHANGE_99", TypeTSr.String(): "TSr",
		NotifyType(40000).String(): "NOTIFY_40000", ID_KEY_ID.String(): "ID_KEY_ID", AuthSharedKey.String(): "PSK",
		ProtoESP.String(): "ESP",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	if !NO_PROPOSAL_CHOSEN.Error() || COOKIE.Error() {
		t.Error("errors are below 16384")
	}
}

// FuzzDecode: any bytes decode or are refused; what decodes encodes to a fixed point.
func FuzzDecode(f *testing.F) {
	for _, file := range references(f) {
		f.Add(read(f, file))
	}
	f.Add((&Message{Header{Major: 2}, everything()}).Encode())
	f.Add(append(BeginEncrypted(Header{Major: 2}, TypeIDi, 20, 1, 2), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Let bodies be reached: an honest length.
		if len(b) >= HeaderLen && len(b) < 1<<16 {
			b = slices.Clone(b)
			b[24], b[25], b[26], b[27] = 0, 0, byte(len(b)>>8), byte(len(b))
		}
		m, err := Decode(b)
		if err != nil {
			return
		}
		if len(m.Payloads) > MaxPayloads {
			t.Fatalf("%d payloads", len(m.Payloads))
		}
		for _, p := range m.Payloads {
			if e, ok := p.(*Encrypted); ok {
				if e.IVOffset < HeaderLen || e.IVOffset > len(b) {
					t.Fatalf("IV at %d of %d", e.IVOffset, len(b))
				}
				return
			}
		}
		once := m.Encode()
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("what we wrote we cannot read: %v", err)
		}
		if !bytes.Equal(again.Encode(), once) {
			t.Fatal("encoding is not a fixed point")
		}
	})
}
