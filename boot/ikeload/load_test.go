package ikeload

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"

	"github.com/rs/zerolog"
)

var (
	ours   = netip.MustParseAddr("192.0.2.2")
	theirs = netip.MustParseAddr("192.0.2.1")
	inside = netip.MustParseAddr("10.1.0.1")
)

// responder is the other end of a wire: an engine, and Child SAs that answer echo requests. It runs where Send is called.
type responder struct {
	t     *testing.T
	e     *ikev2.Engine
	out   chan Frame
	pairs map[uint32]*theirPair
	kids  map[ikev2.ChildID]*theirPair
	sas   map[ikev2.SAID]bool
	most  int // SAs at a time
	// drop decides over each frame to the responder.
	drop func(n int, f Frame) bool
	n    int
	// nextAddress is what the authorizer gives.
	nextAddress netip.Addr
}

type theirPair struct {
	in  *esp.Inbound
	out *esp.Outbound
}

func newResponder(t *testing.T, change ...func(*ikev2.Config)) *responder {
	cfg := ikev2.Config{
		CookieThreshold: 1 << 20, MaxHalfOpenPeer: 1 << 20, ChildlessTimeout: -1,
		Profiles: []ikev2.Profile{{Name: "p", MatchRemote: []ikev2.IdentityMatch{{Any: true}}, Key: ikev2.ProfileKey{Local: suite.Key("secret"), Remote: suite.Key("secret")}}},
		Children: []ikev2.ChildPolicy{{Name: "c", Profile: "p", Mode: esp.Tunnel, TSLocal: everything(true, true), TSRemote: everything(true, true)}},
	}
	r := &responder{t: t, out: make(chan Frame, 1<<16), pairs: map[uint32]*theirPair{}, kids: map[ikev2.ChildID]*theirPair{}, sas: map[ikev2.SAID]bool{},
		nextAddress: netip.MustParseAddr("10.9.0.0")}
	cfg.Authorize = r
	for _, f := range change {
		f(&cfg)
	}
	r.e = ikev2.NewEngine(cfg, randomness{})
	return r
}

// Authorize implements ikev2.Authorizer.
func (r *responder) Authorize(time.Time, ikev2.AuthorizeRequest) (ikev2.Configuration, error) {
	r.nextAddress = r.nextAddress.Next()
	return ikev2.Configuration{Addresses: []netip.Prefix{netip.PrefixFrom(r.nextAddress, 32)}}, nil
}

// Release implements ikev2.Authorizer.
func (r *responder) Release(ikev2.SAID) {}

func (r *responder) Frames() <-chan Frame { return r.out }

func (r *responder) Send(f Frame) {
	r.n++
	if r.drop != nil && r.drop(r.n, f) {
		return
	}
	// The load sends from an ephemeral port, it seems.
	from := netip.AddrPortFrom(ours, 40000)
	if f.ESP {
		r.echo(f)
		return
	}
	r.do(r.e.Receive(time.Now(), ikev2.Datagram{Local: f.Remote, Remote: from, Data: bytes.Clone(f.Data)}))
}

func (r *responder) do(acts []ikev2.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case ikev2.Send:
			r.out <- Frame{Local: netip.AddrPortFrom(ours, a.Local.Port()), Remote: a.Local, Data: bytes.Clone(a.Data)}
		case ikev2.IKEUp:
			r.sas[a.SA] = true
			r.most = max(r.most, len(r.sas))
		case ikev2.Log:
			if a.Level >= zerolog.WarnLevel {
				r.t.Log("the responder:", a.Msg, a.Fields)
			}
		case ikev2.IKEDown:
			delete(r.sas, a.SA)
		case ikev2.ChildUp:
			params := esp.Params{SPI: a.SPIIn, Suite: a.Suite, Mode: a.Mode, EncrKey: a.KeysIn.Encr, IntegKey: a.KeysIn.Integ, Local: a.Local, Remote: a.Remote}
			in, err := esp.NewInbound(params)
			params.SPI, params.EncrKey, params.IntegKey = a.SPIOut, a.KeysOut.Encr, a.KeysOut.Integ
			out, err2 := esp.NewOutbound(params)
			if err := errors.Join(err, err2); err != nil {
				r.t.Fatal(err)
			}
			if !a.UDPEncap {
				r.t.Error("ESP is not in UDP")
			}
			r.kids[a.Child] = &theirPair{in, out}
			r.pairs[a.SPIIn] = r.kids[a.Child]
		case ikev2.ChildDown:
			delete(r.kids, a.Child)
		}
	}
}

// echo answers an echo request.
func (r *responder) echo(f Frame) {
	pair := r.pairs[binary.BigEndian.Uint32(f.Data)]
	p := packet.From(f.Data)
	defer p.Release()
	next, err := pair.in.Open(p)
	var h ip.Header
	if err != nil || ip.Parse(p.Bytes(), &h) != nil || h.Dst != inside || !ip.L4Valid(&h, p.Bytes()) {
		r.t.Errorf("a probe is not one: %v %+v", err, h)
		return
	}
	p.TrimFront(h.L4)
	b := p.Bytes()
	b[0], b[2], b[3] = 0, 0, 0
	binary.BigEndian.PutUint16(b[2:], ip.L4Checksum(h.Dst, h.Src, ip.ICMP, b))
	(&ip.Outer{Src: h.Dst, Dst: h.Src, Proto: ip.ICMP, TTL: 64}).Prepend(p)
	if err := pair.out.Seal(p, next); err != nil {
		r.t.Error(err)
	}
	r.out <- Frame{Local: f.Local, Remote: f.Remote, ESP: true, Data: bytes.Clone(p.Bytes())}
}

type randomness struct{}

var seed struct {
	sync.Mutex
	n uint64
}

// Read gives numbers that do not repeat.
func (randomness) Read(b []byte) (int, error) {
	seed.Lock()
	defer seed.Unlock()
	for i := range b {
		seed.n = seed.n*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed.n >> 40)
	}
	return len(b), nil
}

func options(peers int, more ...func(*Options)) Options {
	o := Options{Peers: peers, Local: ours, Target: theirs, UDP: true, Key: suite.Key("secret"), Probe: inside, Inner: netip.MustParsePrefix("10.64.0.0/16"),
		Identity: func(n int) ikev2.Identity { return ikev2.FQDNIdentity(fmt.Sprintf("spoke%d.example.com", n)) }}
	for _, f := range more {
		f(&o)
	}
	return o
}

func load(t *testing.T, o Options, r *responder) *Report {
	t.Helper()
	o.Progress = func(line string) { t.Log(line) }
	l, err := New(o, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return l.Run(ctx, nil)
}

func (r *Report) phase(t *testing.T, name string) Phase {
	t.Helper()
	i := slices.IndexFunc(r.Phases, func(p Phase) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("there was no phase %q: %+v", name, r.Phases)
	}
	return r.Phases[i]
}

func TestEverySessionComesUpIsProvenRekeyedAndDeleted(t *testing.T) {
	w := newResponder(t)
	r := load(t, options(40, func(o *Options) { o.Rekey = true }), w)
	if !r.Good() || r.Up != 40 || w.most != 40 || len(w.sas) != 0 || len(w.kids) != 0 {
		t.Errorf("%+v; the responder had %d SAs, has %d and %d children", r, w.most, len(w.sas), len(w.kids))
	}
	var names []string
	for _, p := range r.Phases {
		names = append(names, p.Name)
		if p.OK != 40 || p.Failed != 0 || p.P50 > p.P90 || p.P90 > p.P99 || p.P99 > p.Max || p.Max <= 0 {
			t.Errorf("%+v", p)
		}
	}
	if got := strings.Join(names, ", "); got != "set-up, probe, rekey child, probe, rekey ike, probe, delete" {
		t.Errorf("phases: %s", got)
	}
	if r.RekeyedIKE != 40 || r.RekeyedChild != 40 || r.ESPErrors != 0 || r.UnknownSPI != 0 {
		t.Errorf("%+v", r)
	}
}

func TestADatagramThatIsLostIsSentAgain(t *testing.T) {
	w := newResponder(t)
	w.drop = func(n int, f Frame) bool { return n == 2 || n == 12 || len(w.sas) == 3 && !f.ESP && n > 15 && n%2 == 0 }
	r := load(t, options(5), w)
	if !r.Good() || r.Retransmitted+r.Probes < 7 || len(w.sas) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAddressesAreTheRespondersWhenAskedFor(t *testing.T) {
	w := newResponder(t, func(c *ikev2.Config) { c.Profiles[0].Authorization.Policy = "p" })
	r := load(t, options(7, func(o *Options) { o.VirtualIP = []netip.Addr{netip.IPv4Unspecified()} }), w)
	if !r.Good() || w.nextAddress != netip.MustParseAddr("10.9.0.7") {
		t.Errorf("%+v, up to %v", r, w.nextAddress)
	}
}

func TestFailuresAreCountedByTheirReason(t *testing.T) {
	w := newResponder(t)
	r := load(t, options(6, func(o *Options) { o.Key = suite.Key("wrong") }), w)
	p := r.phase(t, "set-up")
	if r.Good() || p.OK != 0 || p.Failed != 6 || len(p.Failures) != 1 || r.Up != 0 {
		t.Fatalf("%+v", r)
	}
	for why, n := range p.Failures {
		if n != 6 || !strings.Contains(why, "authentication failed") {
			t.Errorf("%d: %s", n, why)
		}
	}
	if s := p.String(); !strings.Contains(s, "\n    6: authentication failed") {
		t.Errorf("%q", s)
	}
}

func TestAResponderThatDoesNotAnswerCostsATimeOfItsOwn(t *testing.T) {
	w := newResponder(t)
	w.drop = func(int, Frame) bool { return true }
	r := load(t, options(3, func(o *Options) { o.Timeout = 50 * time.Millisecond }), w)
	if p := r.phase(t, "set-up"); r.Good() || p.Failures["not within 50ms"] != 3 {
		t.Errorf("%+v", r)
	}
}

func TestASessionThatTheResponderEndsIsLost(t *testing.T) {
	w := newResponder(t)
	probed := 0
	w.drop = func(_ int, f Frame) bool {
		if f.ESP {
			if probed++; probed == 4 {
				w.do(w.e.DeleteAll(time.Now(), "end"))
			}
		}
		return false
	}
	r := load(t, options(4, func(o *Options) { o.Hold = time.Second }), w)
	if r.Good() || r.Up != 0 || len(r.Lost) != 1 {
		t.Errorf("%+v", r)
	}
	for why, n := range r.Lost {
		if n != 4 || !strings.Contains(why, "peer deleted it") {
			t.Errorf("%d: %s", n, why)
		}
	}
}

func TestAnInterruptEndsAHoldAndTwoEndTheLoad(t *testing.T) {
	l, err := New(options(2, func(o *Options) { o.Hold = time.Hour }), newResponder(t))
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan struct{}, 1)
	next <- struct{}{}
	if r := l.Run(context.Background(), next); !r.Good() || r.Up != 2 {
		t.Errorf("%+v", r)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := newResponder(t)
	l, err = New(options(2, func(o *Options) {
		o.Hold = time.Hour
		o.Progress = func(line string) {
			if strings.HasPrefix(line, "holding") {
				stop()
			}
		}
	}), w)
	if err != nil {
		t.Fatal(err)
	}
	if r := l.Run(ctx, nil); r.Good() || !r.Stopped || len(w.sas) != 0 {
		t.Errorf("%+v, %d SAs left", r, len(w.sas))
	}
}

func TestPercentilesAreByNearestRank(t *testing.T) {
	var d []time.Duration
	for i := 1; i <= 200; i++ {
		d = append(d, time.Duration(i)*time.Millisecond)
	}
	for p, want := range map[int]float64{50: 100, 90: 180, 99: 198, 100: 200} {
		if got := percentile(d, p); got != want {
			t.Errorf("%d %%: %v, not %v", p, got, want)
		}
	}
	if percentile(nil, 50) != 0 || percentile(d[:1], 50) != 1 {
		t.Error("of none and of one")
	}
}

func TestFlagsAreReadAndMistakesSaid(t *testing.T) {
	s, err := parse([]string{"-peers", "7", "-psk", "k", "-identity", "s%d.example", "-proposal", "aes-cbc-256,sha384,20", "-esp", "aes-cbc-128,sha256",
		"-pfs", "20", "-virtual-ip", "46", "-remote", "10.0.0.0/8,fd00::/8", "-probe", "10.0.0.1", "192.0.2.1"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Peers != 7 || !s.UDP || s.Identity(3) != ikev2.FQDNIdentity("s3.example") || len(s.Proposal.Integrity) != 1 || s.Proposal.Groups[0] != suite.ECP_384 ||
		s.ESP.Suites[0].Integ != esp.Integ(suite.AUTH_HMAC_SHA2_256_128) || s.ESP.Groups[0] != suite.ECP_384 || len(s.VirtualIP) != 2 || len(s.Remote) != 2 ||
		s.Target != theirs {
		t.Errorf("%+v", s)
	}
	for args, want := range map[string]string{
		"192.0.2.1":                                    "no pre-shared key",
		"-psk k -identity x 192.0.2.1":                 "%d",
		"-psk k -proposal aes-cbc-256 192.0.2.1":       "a hash and a group",
		"-psk k -proposal rot13,sha1,2 192.0.2.1":      "rot13",
		"-psk k -esp aes-cbc-256 192.0.2.1":            "-esp",
		"-psk k -virtual-ip 5 192.0.2.1":               "-virtual-ip",
		"-psk k -port 501 192.0.2.1":                   "-port",
		"-psk k -inner 10.0.0.0 192.0.2.1":             "-inner",
		"-psk-file /nonexistent 192.0.2.1":             "nonexistent",
		"-psk k -remote everything 192.0.2.1":          "-remote",
		"-psk k -peers 300 -inner 10.0.0.0/24 ::1%lo0": "",
	} {
		if _, err := parse(strings.Fields(args), &bytes.Buffer{}); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", args, err)
		}
	}
	if _, err := New(options(300, func(o *Options) { o.Inner = netip.MustParsePrefix("10.0.0.0/24") }), nil); err == nil {
		t.Error("300 sessions have addresses of a /24")
	}
	if _, err := New(options(2, func(o *Options) { o.Identity = func(int) ikev2.Identity { return ikev2.FQDNIdentity("same") } }), nil); err == nil {
		t.Error("two sessions have one identity")
	}
}

// One socket on an ephemeral port, and a responder's two sockets: the marker tells IKE from ESP on port 4500.
func TestOneSocketTellsIKEAndESPApart(t *testing.T) {
	s := &Sockets{local: ours}
	ike, natt := netip.AddrPortFrom(theirs, 500), netip.AddrPortFrom(theirs, 4500)
	for _, c := range []struct {
		natt bool
		from netip.AddrPort
		b    string
		ok   bool
		port uint16
		esp  bool
		data string
	}{
		{true, ike, "\x00\x00\x00\x00plain", true, 500, false, "\x00\x00\x00\x00plain"},
		{true, natt, "\x00\x00\x00\x00ike", true, 4500, false, "ike"},
		{true, natt, "\x01\x00\x00\x00esp", true, 4500, true, "\x01\x00\x00\x00esp"},
		{true, natt, "\xff", false, 0, false, ""},
	} {
		f, ok := s.frame(c.natt, c.from, []byte(c.b))
		if ok != c.ok || ok && (f.Local.Port() != c.port || f.ESP != c.esp || string(f.Data) != c.data || f.Remote != c.from) {
			t.Errorf("%q from %v: %+v %v", c.b, c.from, f, ok)
		}
	}
}

func TestTheSocketsCarryBothWays(t *testing.T) {
	loop := netip.MustParseAddr("127.0.0.1")
	s, err := Listen(netip.Addr{}, loop, false, false)
	if err != nil {
		t.Fatal(err)
	}
	if s.Local() != loop {
		t.Errorf("from %v", s.Local())
	}
	own := s.ike.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort()
	// To itself: what comes is not from port 500, so it is as from port 4500.
	s.Send(Frame{Local: netip.AddrPortFrom(loop, 4500), Remote: own, Data: []byte("ike")})
	s.Send(Frame{Local: netip.AddrPortFrom(loop, 4500), Remote: own, ESP: true, Data: []byte("esp!")})
	for _, want := range []Frame{{Data: []byte("ike")}, {ESP: true, Data: []byte("esp!")}} {
		select {
		case f := <-s.Frames():
			if f.ESP != want.ESP || string(f.Data) != string(want.Data) || f.Remote != own {
				t.Errorf("%+v", f)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing comes")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-s.Frames(); open {
		t.Error("the frames do not end")
	}
}

func TestTheReportIsReadable(t *testing.T) {
	r := load(t, options(3), newResponder(t))
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || back.Up != 3 || back.phase(t, "set-up").OK != 3 {
		t.Errorf("%v: %s", err, b)
	}
	var text bytes.Buffer
	r.Sums(&text)
	if !strings.Contains(text.String(), "3 of 3 sessions were up at the end, 0 lost\n") {
		t.Error(text.String())
	}
}
