package message

import (
	"bytes"
	"slices"
	"testing"
)

func TestSignatureHashAlgorithmsAreReadAsStrongSwanWritesThem(t *testing.T) {
	for file, wantRequest := range map[string]bool{"init-certs_rsa-request.hex": false, "init-certs_rsa-response.hex": true} {
		m, err := Decode(read(t, "testdata/"+file))
		if err != nil {
			t.Fatal(err)
		}
		hashes, request := false, false
		for _, p := range m.Payloads {
			switch p := p.(type) {
			case *Notify:
				if p.Message != SIGNATURE_HASH_ALGORITHMS {
					continue
				}
				list, err := p.HashAlgorithms()
				if want := []HashAlgorithm{HashSHA2_256, HashSHA2_384, HashSHA2_512, HashIdentity}; err != nil || !slices.Equal(list, want) {
					t.Errorf("%s: %v %v", file, list, err)
				}
				hashes = bytes.Equal(HashAlgorithms(list...).appendBody(nil), p.appendBody(nil))
			case *CERTREQ:
				list, err := p.Authorities()
				request = err == nil && p.Encoding == CertX509Signature && len(list) == 1 && bytes.Equal(Authorities(list...).appendBody(nil), p.appendBody(nil))
			}
		}
		if !hashes || request != wantRequest {
			t.Errorf("%s: hash algorithms %v, certificate request %v", file, hashes, request)
		}
	}
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
