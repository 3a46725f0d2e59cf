package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestASecretIsNeverPrinted(t *testing.T) {
	s := NewSecret("hunter2")
	type holder struct {
		Open   Secret
		hidden Secret
		ptr    *Secret
		key    PreSharedKey
	}
	h := holder{s, s, &s, PreSharedKey{s, s}}
	c := New()
	c.IKEv2.Keyring = map[string]*Keyring{"K": {Peer: map[string]*KeyringPeer{"p": {PreSharedKey: h.key}}}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%t"} {
		for _, v := range []any{s, &s, h, &h, []Secret{s}, map[string]Secret{"a": s}, map[Secret]int{s: 1}, c.IKEv2.Keyring["K"].Peer["p"], c} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, v := range []any{s, &s, h, c.IKEv2.Keyring} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	other, _ := loadGood(t, "spoke2.toml")
	for _, ch := range Diff(c, other) {
		out.WriteString(ch.String())
	}
	out.Write(Marshal(c))
	out.Write(Marshal(c, WithDefaults()))
	for _, leak := range []string{"hunter2", "68756e74657232", "CISCO123", fmt.Sprint([]byte("hunter2"))} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(leak)) {
			t.Errorf("%q is printed", leak)
		}
	}
	if !strings.Contains(string(Marshal(c, WithSecrets())), "hunter2") || s.Reveal() != "hunter2" {
		t.Error("the secret cannot be had when it is asked for")
	}
	if (Secret{}).Reveal() != "" || (Secret{}).String() != "" || !NewSecret("").IsZero() || NewSecret("a") != NewSecret("a") {
		t.Error("the zero Secret or equality is wrong")
	}
}

func TestAHiddenSecretIsNotTakenForOne(t *testing.T) {
	c, _ := loadGood(t, "spoke2.toml")
	if again, diags := Parse("running", Marshal(c)); again != nil || !strings.Contains(diags.String(), "*** is what is shown instead of a secret") {
		t.Errorf("got %v", diags)
	}
}

func TestNoMessageRepeatsASecret(t *testing.T) {
	text := "[ikev2.keyring.K.peer.a]\naddress = \"10.0.0.1\"\npre-shared-key = \"hun\\u0007ter2\"\n" +
		"[ikev2.keyring.K.peer.b]\naddress = \"10.0.0.1\"\npre-shared-key = [\"hunter2\"]\n" +
		"[ikev2.keyring.K.peer.c]\naddress = \"10.0.0.3\"\npre-shared-key = 7777777\n" +
		"[interface.Tunnel0.nhrp]\nnetwork-id = 1\nauthentication = \"hunter2hunter2\"\n"
	_, diags := Parse("r.toml", []byte(text))
	if len(diags.Errors()) < 4 {
		t.Errorf("got %s", diags)
	}
	for _, leak := range []string{"ter2", "7777777"} {
		if strings.Contains(diags.String(), leak) {
			t.Errorf("%q is repeated:\n%s", leak, diags)
		}
	}
}
