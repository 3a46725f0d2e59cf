package message

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

func TestRedirectsAreReadAndWrittenAsTheRFCSays(t *testing.T) {
	for _, c := range []struct{ wire, want, nonce string }{
		{"0104c0000201", "192.0.2.1", ""}, // as strongSwan writes REDIRECTED_FROM
		{"0104c0000201aabbccdd", "192.0.2.1", "aabbccdd"},
		{"021020010db8000000000000000000000001", "2001:db8::1", ""},
		{"021020010db800000000000000000000000101", "2001:db8::1", "01"},
		{"0310687562322e6578616d706c652e636f6d", "hub2.example.com", ""},
		{"", "", ""}, {"01", "", ""}, {"0104c00002", "", ""}, {"0105c000020100", "", ""}, {"0204c0000201", "", ""}, {"010400000000", "", ""},
		{"0104e0000001", "", ""}, {"01047f000001", "", ""}, {"0104ffffffff", "", ""}, {"021000000000000000000000ffffc0000201", "", ""}, {"0300", "", ""},
		{"0303610a62", "", ""}, {"0404c0000201", "", ""}, {"0210fe800000000000000000000000000001", "", ""}, {"0104a9fe0001", "", ""}, {"0004c0000201", "", ""},
	} {
		b, err := hex.DecodeString(c.wire)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRedirect(b)
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: %v", c.wire, err)
			continue
		}
		if err == nil && (r.String() != c.want || hex.EncodeToString(r.Nonce) != c.nonce || !bytes.Equal(r.Data(), b)) {
			t.Errorf("%s: %v, nonce %x, again %x", c.wire, r, r.Nonce, r.Data())
		}
	}
}

func FuzzRedirect(f *testing.F) {
	f.Add([]byte{1, 4, 192, 0, 2, 1})
	f.Add(Redirect{Gateway: netip.MustParseAddr("2001:db8::1"), Nonce: []byte("nonce")}.Data())
	f.Add(Redirect{FQDN: "hub.example.com"}.Data())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRedirect(b); err == nil && !bytes.Equal(r.Data(), b) {
			t.Fatalf("%x is written as %x", b, r.Data())
		}
	})
}
