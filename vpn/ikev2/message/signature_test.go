package message

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

func TestSignatureHashAlgorithmsAreReadAsStrongSwanWritesThem(t *testing.T) {
	// From an IKE_SA_INIT request of strongSwan 5.9.8: the body of the notify payload.
	n, err := decodePayload(TypeNotify, false, unhex(t, "0000402f00020003000400 05"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := n.(*Notify).HashAlgorithms()
	if want := []HashAlgorithm{HashSHA2_256, HashSHA2_384, HashSHA2_512, HashIdentity}; err != nil || !slices.Equal(list, want) {
		t.Errorf("%v %v", list, err)
	}
	if got := HashAlgorithms(list...).appendBody(nil); !bytes.Equal(got, unhex(t, "0000402f0002000300040005")) {
		t.Errorf("%x", got)
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignaturePayloadsAreRefusedWhenTheirLengthsDoNotFit(t *testing.T) {
	if _, err := (&Notify{Data: []byte{0, 1, 0}}).HashAlgorithms(); err == nil {
		t.Error("half a hash algorithm")
	}
	if _, err := (&CERTREQ{Data: make([]byte, 21)}).Authorities(); err == nil {
		t.Error("a hash and a byte")
	}
	if list, err := (&CERTREQ{Data: make([]byte, 20*(MaxAuthorities+5))}).Authorities(); err != nil || len(list) != MaxAuthorities {
		t.Errorf("%d %v", len(list), err)
	}
	for _, b := range [][]byte{nil, {0}, {0, 1}, {3, 1, 2}, {3, 1, 2, 3}, {200, 1}} {
		if _, _, err := (&AUTH{Method: AuthDigitalSignature, Data: b}).Signature(); err == nil {
			t.Errorf("%x is understood", b)
		}
	}
	algorithm, signature, err := DigitalSignature([]byte{1, 2, 3}, []byte{4, 5}).Signature()
	if err != nil || !bytes.Equal(algorithm, []byte{1, 2, 3}) || !bytes.Equal(signature, []byte{4, 5}) {
		t.Errorf("%x %x %v", algorithm, signature, err)
	}
}

func FuzzSignaturePayloads(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2})
	f.Add(make([]byte, 40))
	f.Add(append([]byte{13}, make([]byte, 80)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := (&Notify{Data: b}).HashAlgorithms(); err == nil && !bytes.HasPrefix(b, HashAlgorithms(list...).Data) {
			t.Fatal("hash algorithms change")
		}
		if list, err := (&CERTREQ{Data: b}).Authorities(); err == nil && !bytes.HasPrefix(b, Authorities(list...).Data) {
			t.Fatal("authorities change")
		}
		if a, s, err := (&AUTH{Data: b}).Signature(); err == nil && !bytes.Equal(DigitalSignature(a, s).Data, b) {
			t.Fatal("signature changes")
		}
	})
}
