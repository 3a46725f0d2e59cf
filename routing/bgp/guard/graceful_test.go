package guard

import (
	"bytes"
	"encoding/hex"
	"testing"

	"felloe/routing/bgp"
)

// The bytes are those of RFC 4724 §3 and §2, as routers of other makers send them.
const (
	openFRR = "ffffffffffffffffffffffffffffffff 0045 01 04 fdf2 00b4 0a000002 28 02 26" +
		"0104 00010001" + // IPv4 unicast
		"0104 00020001" + // IPv6 unicast
		"0200" + // route refresh
		"4104 0000fdf2" + // AS 65010
		"400a 8078 00010180 00020100" // restarting, 120 s, IPv4 kept, IPv6 not
	eor4 = "ffffffffffffffffffffffffffffffff 0017 02 0000 0000"
	eor6 = "ffffffffffffffffffffffffffffffff 001d 02 0000 0006 800f03 000201"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// framed is an OPEN whose lengths are right.
func framed(t testing.TB, s string) []byte {
	b := unhex(t, s)
	b[28], b[30] = byte(len(b)-29), byte(len(b)-31)
	return finish(b)
}

func TestAPeerSaysWhatItKeptOverARestart(t *testing.T) {
	g := New(internal())
	r, err := g.FromPeer(framed(t, openFRR))
	if err != nil {
		t.Fatal(err)
	}
	if x := g.Open().Graceful; x == nil || *x != (Graceful{Restarting: true, Seconds: 120, IPv4: true, IPv6: true, KeptIPv4: true}) {
		t.Errorf("got %+v", x)
	}
	_, _, _, _, caps, err := parseOpen(r.Engine)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range caps {
		if c.code == capGraceful {
			t.Error("the engine hears of graceful restart")
		}
	}
	// A family that the session does not carry is none of graceful restart's.
	cfg := internal()
	cfg.IPv6 = false
	g = New(cfg)
	if _, err := g.FromPeer(framed(t, openFRR)); err != nil || g.Open().Graceful.IPv6 || !g.Open().Graceful.IPv4 {
		t.Errorf("got %+v, %v", g.Open(), err)
	}
	// What is no such capability is as good as none.
	for _, v := range [][]byte{nil, {0}, {0, 120, 0}, {0, 120, 0, 1, 1}} {
		g = New(internal())
		if _, err := g.FromPeer(openMessage(65010, "10.0.0.2", mp4, four(65010), capability{capGraceful, v})); err != nil || g.Open().Graceful != nil {
			t.Errorf("% x: got %+v, %v", v, g.Open(), err)
		}
	}
	// No families: the peer helps, and keeps nothing itself.
	g = New(internal())
	if _, err := g.FromPeer(openMessage(65010, "10.0.0.2", mp4, four(65010), capability{capGraceful, []byte{0, 0}})); err != nil || *g.Open().Graceful != (Graceful{}) {
		t.Errorf("got %+v, %v", g.Open(), err)
	}
}

func TestOurOpenSaysWhatWeKept(t *testing.T) {
	for _, c := range []struct {
		g    *Graceful
		want string
	}{
		{nil, ""},
		{&Graceful{Restarting: true, Seconds: 120}, "8078 00010100 00020100"},
		{&Graceful{Seconds: 360, KeptIPv4: true, KeptIPv6: true}, "0168 00010180 00020180"},
		{&Graceful{Seconds: 9999}, "0fff 00010100 00020100"},
	} {
		cfg := internal()
		cfg.Graceful = c.g
		out, err := New(cfg).ToPeer(openMessage(65010, "10.0.0.1", mp4, mp6, four(65010)))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, _, caps, err := parseOpen(out)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, x := range caps {
			if x.code == capGraceful {
				got = x.value
			}
		}
		if want := unhex(t, c.want); !bytes.Equal(got, want) {
			t.Errorf("%+v is % x, want % x", c.g, got, want)
		}
	}
}

func TestEndOfRIBIsReadAndWritten(t *testing.T) {
	for f, s := range map[bgp.Family]string{bgp.IPv4: eor4, bgp.IPv6: eor6} {
		want := unhex(t, s)
		if out := (&Update{EndOfRIB: f}).Encode(true); len(out) != 1 || !bytes.Equal(out[0], want) {
			t.Errorf("%v is % x, want % x", f, out, want)
		}
		r, err := running(t, internal()).FromPeer(want)
		if err != nil || r.Update == nil || r.Update.EndOfRIB != f || len(r.Update.Withdrawn)+len(r.Update.Reach) != 0 {
			t.Errorf("%v: got %+v, %v", f, r.Update, err)
		}
	}
	// An UPDATE whose only prefix was ignored ends nothing.
	msg := updateMessage(nil, join(attr(0x40, 1, "00"), attr(0x40, 2, ""), attr(0x40, 3, "0a000002"), attr(0x40, 5, "00000064")), prefixes("127.0.0.0/8"))
	if r, err := running(t, internal()).FromPeer(msg); err != nil || r.Update.EndOfRIB != 0 {
		t.Errorf("got %+v, %v", r.Update, err)
	}
}

func FuzzGraceful(f *testing.F) {
	for _, s := range []string{"", "0078", "8078000101800002010", "80780001018000020100", "0fff00190180"} {
		f.Add([]byte(s))
		if b, err := hex.DecodeString(s); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, ok := parseGraceful(b)
		if !ok {
			return
		}
		if g.Seconds > MaxRestart || g.KeptIPv4 && !g.IPv4 || g.KeptIPv6 && !g.IPv6 {
			t.Fatalf("got %+v", g)
		}
		if again, ok := parseGraceful(g.bytes()); !ok || again != g {
			t.Fatalf("%+v became %+v", g, again)
		}
	})
}
