package ikev2

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

func TestIPv6IsTheSame(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add("A", addr("2001:db8::1"), config(long(0)))
	b := w.add("B", addr("2001:db8::2"), config(long(0)))
	w.traffic = 100 * time.Millisecond
	a.initiate(b.addr)
	w.run(time.Second)
	w.oneSession(a, b)
	u := a.child()
	if u.TSLocal[0].String() != "gre 2001:db8::1" || u.TSRemote[0].String() != "gre 2001:db8::2" || u.UDPEncap || len(w.lost) > 0 {
		t.Errorf("%+v", u)
	}
	if f, largest := fragmentsOf(a); f < 2 || largest+20 > DefaultFragmentMTU6 {
		t.Errorf("%d fragments, the largest of %d bytes", f, largest+20)
	}
}

func TestTheSameAddressesInTwoVRFsAreTwoPeers(t *testing.T) {
	w := newWorld(t, 1)
	cfg := config(func(c *Config) {
		c.Profiles[0].MatchVRF = "*"
		red := c.Children[0]
		red.Name, red.VRF = "Tunnel9", "red"
		c.Children = append(c.Children, red)
	})
	a, b := w.add("A", addrA, cfg), w.add("B", addrB, cfg)
	a.initiate(addrB)
	w.run(time.Second)
	w.oneSession(a, b)
	// The wire of this world knows the VRF "default" only: here are the two engines by hand.
	_, acts := a.e.Initiate(w.now, InitiateRequest{VRF: "red", Local: addrA, Remote: addrB, Profile: "prof", Child: "Tunnel9"})
	at, other := b, a
	for range 4 {
		for _, act := range acts {
			if s, ok := act.(Send); ok {
				if s.VRF != "red" {
					t.Fatalf("sent in %s", s.VRF)
				}
				acts = at.e.Receive(w.now, Datagram{VRF: "red", Local: s.Remote, Remote: s.Local, Data: s.Data})
				break
			}
		}
		at, other = other, at
	}
	if x, y := a.e.Snapshot(w.now), b.e.Snapshot(w.now); len(x) != 2 || len(y) != 2 || y[1].VRF != "red" || len(y[1].Children) != 1 || y[1].Children[0].Policy != "Tunnel9" {
		t.Errorf("%+v\n%+v", x, y)
	}
	// A message for an SA of the other VRF is not for it.
	n := b.e.Counters().UnknownSPI
	s := a.e.sessions[1].cur
	b.do(b.e.Receive(w.now, Datagram{VRF: "red", Local: netip.AddrPortFrom(addrB, 500), Remote: netip.AddrPortFrom(addrA, 500),
		Data: s.seal(message.INFORMATIONAL, s.sendID, false, []message.Payload{&message.Delete{Protocol: message.ProtoIKE}})[0]}))
	if b.e.Counters().UnknownSPI != n+1 || len(b.e.Snapshot(w.now)) != 2 {
		t.Error("it was taken")
	}
}

func TestTheKeyLogIsWhatWiresharkReads(t *testing.T) {
	for _, c := range []struct {
		change   func(*Config)
		ike, esp string
	}{
		{func(*Config) {}, `^[0-9a-f]{16},[0-9a-f]{16},[0-9a-f]{72},[0-9a-f]{72},"AES-GCM-256 with 16 octet ICV \[RFC5282\]",,,"NONE \[RFC4306\]"$`,
			`^"IPv4","(192.0.2.1","198.51.100.2|198.51.100.2","192.0.2.1)","0x[0-9a-f]{8}","AES-GCM with 16 octet ICV \[RFC4106\]","0x[0-9a-f]{72}","NULL",""$`},
		{func(c *Config) {
			proposal(Encryption{suite.ENCR_AES_CBC, 128}, suite.PRF_HMAC_SHA2_256, suite.AUTH_HMAC_SHA2_256_128, suite.ECP_256)(c)
			c.Children[0].Proposals[0].Suites = []esp.Suite{{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128}}
		}, `^[0-9a-f]{16},[0-9a-f]{16},[0-9a-f]{32},[0-9a-f]{32},"AES-CBC-128 \[RFC3602\]",[0-9a-f]{64},[0-9a-f]{64},"HMAC_SHA2_256_128 \[RFC4868\]"$`,
			`^"IPv4",".*",".*","0x[0-9a-f]{8}","AES-CBC \[RFC3602\]","0x[0-9a-f]{64}","HMAC-SHA-256-128 \[RFC4868\]","0x[0-9a-f]{64}"$`},
	} {
		_, a, _ := connected(t, 1, c.change, func(c *Config) { c.KeyLog = true })
		lines := find[KeyLog](a)
		if len(lines) != 3 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, l := range lines {
			want := map[KeyLogKind]string{KeyLogIKE: c.ike, KeyLogESP: c.esp}[l.Kind]
			if !regexp.MustCompile(want).MatchString(l.Line) {
				t.Errorf("%s: %s", l.Kind, l.Line)
			}
		}
	}
}

func TestEveryFailureIsOneLineOfTheLog(t *testing.T) {
	for name, c := range map[string]struct{ a, b func(*Config) }{
		"wrong key":   {func(c *Config) { c.Keyrings[0].Peers[0].Local = suite.Key("WRONG") }, none},
		"no proposal": {proposal(Encryption{suite.ENCR_AES_CBC, 128}, suite.PRF_HMAC_SHA1, suite.AUTH_HMAC_SHA1_96, suite.MODP_2048), none},
		"no profile":  {none, func(c *Config) { c.Profiles = nil }},
	} {
		w, a, b := apart(t, c.a, c.b)
		a.initiate(addrB)
		w.run(time.Minute)
		for _, n := range []*node{a, b} {
			lines := 0
			for _, l := range find[Log](n) {
				if l.Level >= zerolog.WarnLevel {
					lines++
				}
			}
			if lines != 1 {
				w.fatalf("%s: %s logs %d lines", name, n.name, lines)
			}
		}
	}
}

func TestWhatAnybodyCanCauseIsLoggedRarely(t *testing.T) {
	w := newWorld(t, 1)
	b := w.add("B", addrB, config(func(c *Config) { c.CookieThreshold, c.MaxHalfOpen, c.MaxHalfOpenPeer = 10000, 10000, 10000 }))
	for _, d := range firstMessages(t, 100, addrB) {
		b.do(b.e.Receive(w.now, d))
		d.Data = bytes.Repeat([]byte{1}, 50)
		b.do(b.e.Receive(w.now, d))
	}
	w.run(time.Minute)
	if n := len(find[Log](b)); n > 60 {
		t.Errorf("%d lines", n)
	}
	w.clean(b)
}

func TestTheSnapshotShowsWhatIOSShows(t *testing.T) {
	w, a, b := connected(t, 1, func(c *Config) {
		c.Profiles[0].IVRF, c.Profiles[0].DPD = "blue", DPD{30 * time.Second, 5 * time.Second, true}
	})
	w.run(time.Minute)
	s := a.e.Snapshot(w.now)[0]
	if s.VRF != "default" || s.IVRF != "blue" || !s.Initiator || s.DPD.Interval != 30*time.Second || s.Active < time.Minute || s.SPIi == 0 || s.SPIr == 0 ||
		s.LocalID != AddressIdentity(addrA) || s.NAT != (NAT{}) || s.Tag != "tag" || s.Queued != 0 || s.Profile != "prof" {
		t.Errorf("%+v", s)
	}
	c := s.Children[0]
	if c.State != "READY" || c.SPIIn == 0 || c.SPIOut != b.child().SPIIn || c.Mode != esp.Transport || len(c.TSLocal) != 1 || c.Policy != "Tunnel0" {
		t.Errorf("%+v", c)
	}
	b.dead = true
	a.do(a.e.RekeyChild(w.now, a.child().Child))
	if s := a.e.Snapshot(w.now)[0]; s.Children[0].State != "REKEYING" {
		t.Error(s.Children[0].State)
	}
	a.do(a.e.CreateChild(w.now, a.sa(), "Tunnel0", nil))
	if s := a.e.Snapshot(w.now)[0]; s.Queued != 1 {
		t.Error(s.Queued)
	}
	a.initiate(addrC)
	if s := a.e.Snapshot(w.now)[1]; s.State != "IN-NEG" || s.Remote.Addr() != addrC || s.Active != 0 {
		t.Errorf("%+v", s)
	}
	if text := c.TSLocal[0].String(); !strings.HasPrefix(text, "gre ") {
		t.Error(text)
	}
}

func TestIdentitiesPrintForPeople(t *testing.T) {
	for id, want := range map[Identity]string{
		{}: "none", AddressIdentity(addrA): "192.0.2.1", AddressIdentity(addr("::ffff:192.0.2.1")): "192.0.2.1", AddressIdentity(addr("2001:db8::1")): "2001:db8::1",
		FQDNIdentity("a.b"): "a.b", KeyIdentity("\x01\xff"): "01ff",
	} {
		if id.String() != want {
			t.Errorf("%q, not %q", id.String(), want)
		}
	}
	for m, want := range map[IdentityMatch]string{{}: "nothing", {Any: true}: "any", {Exact: FQDNIdentity("x")}: "x",
		{Prefix: netip.MustParsePrefix("10.0.0.0/8")}: "10.0.0.0/8", {Type: message.ID_FQDN, Domain: "d"}: "domain d"} {
		if m.String() != want {
			t.Errorf("%q, not %q", m.String(), want)
		}
	}
}
