package ikev2

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"felloe/vpn/ikev2/message"
)

// plaintexts are strongSwan's payloads by what they are.
func plaintexts(t *testing.T) map[string]*parts {
	t.Helper()
	data, err := os.ReadFile("testdata/strongswan.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*parts{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), " | ")
		if len(f) != 3 || strings.HasPrefix(line, "#") {
			continue
		}
		first, _ := strconv.Atoi(f[1])
		b, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		list, err := message.DecodePayloads(message.PayloadType(first), b)
		if err != nil {
			t.Fatalf("%s: %v", f[0], err)
		}
		if _, again := message.AppendPayloads(nil, list); !bytes.Equal(again, b) {
			t.Errorf("%s: written as\n%x, was\n%x", f[0], again, b)
		}
		p, err := sortPayloads(message.INFORMATIONAL, list)
		if err != nil {
			t.Fatalf("%s: %v", f[0], err)
		}
		out[f[0]] = p
	}
	return out
}

func TestStrongSwansPayloadsAreUnderstood(t *testing.T) {
	p := plaintexts(t)
	for name, want := range map[string]string{
		"virtual-ip request": "address any-ipv4", "virtual-ip reply": "address 10.99.0.10/32, dns 10.1.0.53, subnet 10.1.0.0/24, subnet 10.50.0.0/16",
	} {
		cp := p[name].cp
		if got := parseConfiguration(cp); got.String() != want || got.Unknown != 0 {
			t.Errorf("%s: %s, %d unknown", name, got, got.Unknown)
		} else if _, b := message.AppendPayloads(nil, []message.Payload{got.payload(cp.CFG, nil)}); !bytes.Equal(b, second(message.AppendPayloads(nil, []message.Payload{cp}))) {
			t.Errorf("%s is written differently: %x", name, b)
		}
	}
	if c := p["childless request"]; !c.childless() || !c.wholeChild() || c.idi == nil || c.auth == nil {
		t.Error("a childless IKE_AUTH is not seen as one")
	}
	if c := p["child after childless"]; !c.wholeChild() || c.nonce == nil || c.ke == nil {
		t.Error("its child is not seen")
	}
	for _, name := range []string{"childless request", "MOBIKE request", "MOBIKE response"} {
		if p[name].notify(message.MOBIKE_SUPPORTED) == nil {
			t.Errorf("%s: no MOBIKE", name)
		}
		s := &session{e: NewEngine(Config{}, nil), mobike: true}
		if s.peerAddresses(p[name]); len(s.addresses) == 0 {
			t.Errorf("%s: no additional addresses", name)
		}
	}
	if n := p["rekey request"].notify(message.REKEY_SA); n == nil || len(n.SPI) != 4 {
		t.Error("a rekey is not seen")
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestStrongSwansMoveIsAnsweredAsStrongSwanAnswersIt(t *testing.T) {
	p := plaintexts(t)
	w, _, b := roaming(t)
	s := b.e.sessions[b.sa()]
	update := p["MOBIKE update"]
	update.at = Datagram{"default", netip.AddrPortFrom(addrB, 4500), netip.AddrPortFrom(addr("192.0.2.22"), 4500), nil}
	b.e.begin(w.now)
	out := &parts{}
	for _, x := range s.cur.mobikeAnswer(update) {
		out.notifies = append(out.notifies, x.(*message.Notify))
	}
	acts := b.e.finish()
	theirs := p["MOBIKE update response"]
	if len(out.notifies) != len(theirs.notifies) {
		t.Fatalf("%d notifications, strongSwan has %d", len(out.notifies), len(theirs.notifies))
	}
	for _, n := range theirs.notifies {
		if o := out.notify(n.Message); o == nil || len(o.Data) != len(n.Data) {
			t.Errorf("%v is not in our answer", n.Message)
		}
	}
	if !bytes.Equal(out.notify(message.COOKIE2).Data, theirs.notify(message.COOKIE2).Data) {
		t.Error("the cookie did not come back")
	}
	if s.remote.Addr() != addr("192.0.2.22") || len(s.addresses) == 0 || len(acts) == 0 {
		t.Errorf("at %v with %v", s.remote, s.addresses)
	}
}
