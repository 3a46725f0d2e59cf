package message

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func reference(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func references(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) < 15 {
		t.Fatal(files, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".hex")
		all[name] = reference(t, name)
	}
	return all
}

var ip = netip.MustParseAddr

func TestEveryCapturedPacketOfARealPeerSurvivesARoundTripByteForByte(t *testing.T) {
	for name, want := range references(t) {
		p, err := Decode(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := p.Encode()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %x\nwant %x", name, err, got, want)
		}
		p.AFN, p.Protocol = 0, 0
		if got, _ = p.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s: families derived from the addresses differ", name)
		}
	}
}

func TestARegistrationRequestWithAuthenticationHasTheFieldsOfTheCapture(t *testing.T) {
	p, err := Decode(reference(t, "registration-request-auth"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Packet{
		AFN: AFNIPv4, Protocol: ProtocolIPv4, HopCount: 1, Type: RegistrationRequest, Flags: FlagNAT, RequestID: 1,
		SrcNBMA: ip("192.0.2.11"), SrcProto: ip("10.255.0.11"), DstProto: ip("10.255.0.11"),
		CIEs: []CIE{{PrefixLen: 32, HoldTime: 120}},
		Extensions: []Extension{
			{Type: ExtForwardTransit, Compulsory: true},
			{Type: ExtReverseTransit, Compulsory: true},
			{Type: ExtResponder, Compulsory: true},
			{Type: ExtNATAddress, CIEs: []CIE{{PrefixLen: 32, NBMA: ip("192.0.2.1"), Proto: ip("0.0.0.0")}}},
			Authentication("labnhrp"),
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Fatalf("got %+v\nwant %+v", p, want)
	}
	if s, ok := p.Extension(ExtAuthentication).Secret(); !ok || string(s) != "labnhrp" {
		t.Fatalf("secret %q %v", s, ok)
	}
}

func TestATrafficIndicationHoldsThePacketThatCausedIt(t *testing.T) {
	p, err := Decode(reference(t, "traffic-indication-auth"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Type != TrafficIndication || len(p.Payload) != 60 || p.Payload[0] != 0x45 ||
		p.DstProto != ip("10.11.0.1") || p.SrcProto != ip("10.255.0.1") || len(p.Extensions) != 1 {
		t.Fatalf("%+v", p)
	}
}

func TestAForwardedReplyShowsBothTransitRecordsAndTheAnsweredPrefix(t *testing.T) {
	p, err := Decode(reference(t, "resolution-reply-forwarded-auth"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []ExtensionType{ExtForwardTransit, ExtReverseTransit} {
		e := p.Extension(kind)
		if e == nil || len(e.CIEs) != 1 || e.CIEs[0].Proto != ip("10.255.0.1") || e.CIEs[0].NBMA != ip("192.0.2.1") {
			t.Fatalf("extension %d: %+v", kind, e)
		}
	}
	if got := p.CIEs[0].Prefix(p.DstProto); got != netip.MustParsePrefix("10.255.0.0/24") {
		t.Fatalf("prefix %s", got)
	}
}

func TestAddressesOfBothFamiliesGoInAnyPairing(t *testing.T) {
	four, six := ip("10.0.0.1"), ip("2001:db8::1")
	for _, nbma := range []netip.Addr{four, six} {
		for _, proto := range []netip.Addr{four, six} {
			p := &Packet{HopCount: 9, Type: ResolutionReply, RequestID: 7, SrcNBMA: nbma, SrcProto: proto, DstProto: proto,
				CIEs:       []CIE{{PrefixLen: 24, HoldTime: 60, MTU: 1400, NBMA: nbma, Proto: proto, Preference: 3}},
				Extensions: []Extension{{Type: ExtNATAddress, CIEs: []CIE{{NBMA: nbma, Proto: proto}}}, {Type: ExtVendor, Data: []byte{1}}}}
			b, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			q, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			p.AFN, p.Protocol = q.AFN, q.Protocol
			if !reflect.DeepEqual(p, q) {
				t.Fatalf("%s over %s: %+v", proto, nbma, q)
			}
		}
	}
}

func TestAnAddressOfTheWrongFamilyIsNotEncoded(t *testing.T) {
	p := &Packet{Type: ResolutionRequest, SrcNBMA: ip("192.0.2.1"), SrcProto: ip("10.0.0.1"), DstProto: ip("2001:db8::1")}
	if _, err := p.Encode(); !errors.Is(err, ErrAddress) {
		t.Fatal(err)
	}
}

func TestAResponderMayNameItselfByTheOtherFamily(t *testing.T) {
	six := ip("2001:db8::1")
	p := &Packet{HopCount: 9, Type: ResolutionReply, SrcNBMA: ip("192.0.2.1"), SrcProto: six, DstProto: six,
		Extensions: []Extension{{Type: ExtResponder, Compulsory: true, CIEs: []CIE{{NBMA: ip("192.0.2.2"), Proto: ip("10.0.0.2")}}}}}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	q, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Extension(ExtResponder).CIEs[0].Proto; got != ip("10.0.0.2") {
		t.Fatalf("responder %s", got)
	}
	p.Extensions[0].Type = ExtNATAddress
	if _, err := p.Encode(); !errors.Is(err, ErrAddress) {
		t.Fatalf("a NAT address of the other family is encoded: %v", err)
	}
}

func TestSetAuthenticationLeavesExactlyOneExtension(t *testing.T) {
	p := &Packet{Extensions: []Extension{Authentication("a"), {Type: ExtVendor}, Authentication("b")}}
	p.SetAuthentication("c")
	if len(p.Extensions) != 2 || !reflect.DeepEqual(p.Extensions[0], Authentication("c")) {
		t.Fatalf("%+v", p.Extensions)
	}
	p.SetAuthentication("")
	if len(p.Extensions) != 1 || p.Extensions[0].Type != ExtVendor {
		t.Fatalf("%+v", p.Extensions)
	}
	p.SetAuthentication("d")
	if len(p.Extensions) != 2 || p.Extensions[1].Type != ExtAuthentication {
		t.Fatalf("%+v", p.Extensions)
	}
}

func seal(b []byte) []byte {
	b[12], b[13] = 0, 0
	sum := Checksum(b)
	b[12], b[13] = byte(sum>>8), byte(sum)
	return b
}

func TestMalformedPacketsAreRefusedWithTheirReason(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   error
		change func([]byte) []byte
	}{
		{"shorter than the fixed header", ErrTruncated, func(b []byte) []byte { return b[:19] }},
		{"size beyond the data", ErrTruncated, func(b []byte) []byte { return b[:len(b)-1] }},
		{"size below the header", ErrTruncated, func(b []byte) []byte { b[10], b[11] = 0, 8; return b }},
		{"a flipped bit", ErrChecksum, func(b []byte) []byte { b[30] ^= 1; return b }},
		{"version", ErrVersion, func(b []byte) []byte { b[16] = 2; return seal(b) }},
		{"type", ErrType, func(b []byte) []byte { b[17] = 9; return seal(b) }},
		{"family", ErrFamily, func(b []byte) []byte { b[1] = 8; return seal(b) }},
		{"protocol", ErrFamily, func(b []byte) []byte { b[2] = 9; return seal(b) }},
		{"E.164 address", ErrAddress, func(b []byte) []byte { b[18] |= 0x40; return seal(b) }},
		{"subaddress", ErrUnsupported, func(b []byte) []byte { b[19] = 4; return seal(b) }},
		{"length of a protocol address", ErrAddress, func(b []byte) []byte { b[20] = 5; return seal(b) }},
		{"extension offset inside the header", ErrTruncated, func(b []byte) []byte { b[15] = 4; return seal(b) }},
		{"extension offset behind the end", ErrTruncated, func(b []byte) []byte { b[14] = 9; return seal(b) }},
		{"extension longer than the rest", ErrTruncated, func(b []byte) []byte { b[52+2] = 9; return seal(b) }},
		{"no end", ErrTruncated, func(b []byte) []byte { b[11] -= 4; return seal(b[:len(b)-4]) }},
		{"end with a body", ErrExtension, func(b []byte) []byte {
			b[52], b[53], b[54], b[55] = 0x80, 0, 0, 0
			return seal(b)
		}},
	} {
		b := c.change(append([]byte(nil), reference(t, "registration-request-auth")...))
		if _, err := Decode(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestBytesBehindThePacketAreIgnored(t *testing.T) {
	b := append(reference(t, "resolution-request"), 1, 2, 3)
	if _, err := Decode(b); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range references(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= fixedLen && Checksum(b) != 0 {
			b = seal(append([]byte(nil), b...)) // let mutations get past the checksum
		}
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatalf("decoded, but: %v", err)
		}
		q, err := Decode(again)
		if err != nil {
			t.Fatalf("encoded, but: %v", err)
		}
		if !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v\n%+v", p, q)
		}
	})
}
