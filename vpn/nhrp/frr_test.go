package nhrp

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"felloe/vpn/nhrp/message"
)

// What a real FRR sent on the wire goes in; what comes out must be, byte for byte, what the other FRR answered.

func captured(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("message/testdata/" + name + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// desk is a machine in the place of one of the capture's routers.
func desk(t *testing.T, address, nbma string, secret string, change func(*Config)) (*Engine, *lonely) {
	l := &lonely{t: t, sessions: map[SessionID]*Session{}, neighbours: map[netip.Addr]SessionID{}, shortcuts: map[shortcutKey]netip.Addr{}, noSecret: secret == ""}
	e := New(Options{Host: l, Rand: fixed{}})
	cfg := Config{Tunnel: fuzzTunnel, NetworkID: 1, Authentication: secret, Holdtime: 120 * time.Second, Addresses: []netip.Addr{ip(address)}, NBMA: ip(nbma)}
	if change != nil {
		change(&cfg)
	}
	e.Apply(epoch, cfg)
	return e, l
}

// fixed makes every request ID 2.
type fixed struct{}

func (fixed) Read(b []byte) (int, error) {
	clear(b)
	b[len(b)-1] = 2
	return len(b), nil
}

func (l *lonely) up(e *Engine, nbma string) SessionID {
	s, err := l.Open(fuzzTunnel, ip(nbma))
	if err != nil {
		l.t.Fatal(err)
	}
	l.sessions[s.ID].Up = true
	e.SessionUp(epoch, *l.sessions[s.ID])
	return s.ID
}

func (l *lonely) last(t *testing.T, name string) {
	t.Helper()
	if len(l.sent) == 0 {
		t.Fatalf("%s: nothing was sent", name)
	}
	got, want := l.sent[len(l.sent)-1], captured(t, name)
	if string(got) != string(want) {
		g, _ := message.Decode(got)
		w, _ := message.Decode(want)
		t.Fatalf("%s\n got %x %+v\nwant %x %+v", name, got, g, want, w)
	}
}

func TestOurHubAnswersARealRegistrationAsARealHubDid(t *testing.T) {
	e, l := desk(t, "10.255.0.1", "192.0.2.1", "labnhrp", nil)
	id := l.up(e, "192.0.2.11")
	e.Receive(epoch, From{fuzzTunnel, id, ip("192.0.2.11")}, captured(t, "registration-request-auth"))
	l.last(t, "registration-reply-auth")
	want(t, "neighbour", l.neighbours[ip("10.255.0.11")], id)
}

func TestOurSpokeTakesARealHubsReply(t *testing.T) {
	e, l := desk(t, "10.255.0.11", "192.0.2.11", "labnhrp", func(c *Config) { c.NHS = []NHS{{NBMA: ip("192.0.2.1")}} })
	id := l.up(e, "192.0.2.1")
	e.tunnels[fuzzTunnel].nhs[0].id = 1 // the capture's
	e.Receive(epoch, From{fuzzTunnel, id, ip("192.0.2.1")}, captured(t, "registration-reply-auth"))
	n := e.Snapshot()[0].NHS[0]
	want(t, "flags", n.Flags, "RE")
	want(t, "address", n.Address, ip("10.255.0.1"))
	want(t, "behind a NAT", n.NAT.IsValid(), false)
}

func TestOurHubForwardsARealResolutionAndItsAnswerAsARealHubDid(t *testing.T) {
	e, l := desk(t, "10.255.0.1", "192.0.2.1", "labnhrp", nil)
	for _, n := range []string{"11", "12"} {
		id := l.up(e, "192.0.2."+n)
		a := ip("10.255.0." + n)
		p := message.Packet{Type: message.RegistrationRequest, SrcNBMA: ip("192.0.2." + n), SrcProto: a, DstProto: a, CIEs: []message.CIE{{PrefixLen: 32}}}
		p.SetAuthentication("labnhrp")
		b, _ := p.Encode()
		e.Receive(epoch, From{fuzzTunnel, id, ip("192.0.2." + n)}, b)
		l.routes = append(l.routes, route{prefix: hostPrefix(a), ifname: fuzzTunnel},
			route{prefix: net("10." + n + ".0.0/24"), via: a, ifname: fuzzTunnel})
	}
	e.Receive(epoch, From{fuzzTunnel, 1, ip("192.0.2.11")}, captured(t, "resolution-request-auth"))
	l.last(t, "resolution-request-forwarded-auth")
	e.Receive(epoch, From{fuzzTunnel, 2, ip("192.0.2.12")}, captured(t, "resolution-reply-auth"))
	l.last(t, "resolution-reply-forwarded-auth")
}

func TestOurSpokeAnswersARealResolutionAsARealSpokeDidButDirectly(t *testing.T) {
	e, l := desk(t, "10.255.0.12", "192.0.2.12", "labnhrp", func(c *Config) {
		c.NHS = []NHS{{Address: ip("10.255.0.1"), NBMA: ip("192.0.2.1")}}
	})
	l.routes = []route{{prefix: net("10.12.0.0/24"), ifname: "lan"}}
	hub := l.up(e, "192.0.2.1")
	e.Receive(epoch, From{fuzzTunnel, hub, ip("192.0.2.1")}, captured(t, "resolution-request-forwarded-auth"))
	sent := len(l.sent)
	direct := l.up(e, "192.0.2.11")
	want(t, "answers once the session is up", len(l.sent), sent+1)
	l.last(t, "resolution-reply-auth")
	want(t, "neighbour", l.neighbours[ip("10.255.0.11")], direct)
}

func TestOurSpokeAsksAsARealSpokeDidWhenARealHubRedirectsIt(t *testing.T) {
	for _, secret := range []string{"labnhrp", ""} {
		suffix := ""
		if secret != "" {
			suffix = "-auth"
		}
		e, l := desk(t, "10.255.0.11", "192.0.2.11", secret, func(c *Config) {
			c.Shortcut = true
			c.NHS = []NHS{{Address: ip("10.255.0.1"), NBMA: ip("192.0.2.1")}}
		})
		l.routes = []route{{prefix: net("10.0.0.0/8"), via: ip("10.255.0.1"), ifname: fuzzTunnel}, {prefix: net("10.11.0.0/24"), ifname: "lan"}}
		hub := l.up(e, "192.0.2.1")
		e.Receive(epoch, From{fuzzTunnel, hub, ip("192.0.2.1")}, captured(t, "traffic-indication"+suffix))
		if secret != "" { // the capture without authentication asks for another spoke's network
			l.last(t, "resolution-request-auth")
		}
		want(t, "pending", len(e.tunnels[fuzzTunnel].pending), 1)
		// Its real answer, forwarded by the real hub, makes the shortcut once our session is up.
		e.Receive(epoch, From{fuzzTunnel, hub, ip("192.0.2.1")}, captured(t, "resolution-reply-forwarded"+suffix))
		l.up(e, "192.0.2.12")
		want(t, "shortcut", l.shortcuts[shortcutKey{net("10.12.0.0/24"), fuzzTunnel}], ip("10.255.0.12"))
	}
}

func TestOurHubRedirectsAsARealHubDid(t *testing.T) {
	e, l := desk(t, "10.255.0.1", "192.0.2.1", "labnhrp", func(c *Config) { c.Redirect = true })
	l.routes = []route{{prefix: net("10.12.0.0/24"), via: ip("10.255.0.12"), ifname: fuzzTunnel}}
	p, err := message.Decode(captured(t, "traffic-indication-auth"))
	if err != nil {
		t.Fatal(err)
	}
	id := l.up(e, "192.0.2.11")
	e.tunnels[fuzzTunnel].bind(epoch, net("10.255.0.12/32"), entry{kind: KindRegistered, nextHop: ip("10.255.0.12"), session: l.up(e, "192.0.2.12"), hold: time.Minute})
	e.Redirect(epoch, From{fuzzTunnel, id, ip("192.0.2.11")}, fuzzTunnel, p.Payload)
	l.last(t, "traffic-indication-auth")
}
