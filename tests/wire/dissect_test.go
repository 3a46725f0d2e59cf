package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
	"felloe/netstack/pcapng"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/nhrp/message"
	"felloe/vpn/protect"
)

func TestTheReferenceCaptureReadsWithoutAProblem(t *testing.T) {
	d, err := Dissect(t.Context(), "testdata/frr-nhrp.pcap", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Problems) != 0 || d.Frames != 16 || len(d.NHRP) != 16 {
		t.Fatalf("%+v", d)
	}
	orders := map[uint8]string{
		ResolutionRequest: "4! 5! 3! 9 7! 0!", ResolutionReply: "4! 5! 3! 9 7! 0!", RegistrationRequest: "4! 5! 3! 9 7! 0!",
		RegistrationReply: "4! 5! 3! 9 7! 0!", TrafficIndication: "7! 0!",
	}
	for _, n := range d.NHRP {
		l, err := n.Layout()
		if err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		if auth, err := l.Authentication(); err != nil || auth != "labnhrp" {
			t.Errorf("%s: %q, %v", n, auth, err)
		}
		if l.Order() != orders[l.Type] || n.Encrypted {
			t.Errorf("%s: extensions %s", n, l.Order())
		}
		if net := netip.MustParsePrefix("192.0.2.0/24"); !net.Contains(n.OuterSrc) || !net.Contains(n.OuterDst) || l.Type != TrafficIndication && !net.Contains(l.SrcNBMA) {
			t.Errorf("%s: %+v", n, l)
		}
	}
}

// A pair is two IKE engines and the capture of what is between them.
type pair struct {
	t    *testing.T
	now  time.Time
	addr [2]netip.Addr
	e    [2]*ikev2.Engine
	up   [2]*ikev2.ChildUp
	keys string
	log  protect.KeyLog
	file string
	w    *pcapng.Writer
}

func newPair(t *testing.T, a, b string, set esp.Suite, ike ikev2.IKEProposal, mode esp.Mode) *pair {
	t.Helper()
	p := &pair{t: t, now: time.Unix(1795000000, 0), addr: [2]netip.Addr{netip.MustParseAddr(a), netip.MustParseAddr(b)}}
	dir := t.TempDir()
	p.keys, p.file = filepath.Join(dir, "keys"), filepath.Join(dir, "wan.pcapng")
	var err error
	if p.log, err = protect.KeyLogDir(p.keys); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(p.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if p.w, err = pcapng.NewWriter(f, pcapng.Section{}); err == nil {
		_, err = p.w.AddInterface(pcapng.Interface{Name: "wan"})
	}
	if err != nil {
		t.Fatal(err)
	}
	key := suite.Key("CISCO123")
	for i := range p.e {
		p.e[i] = ikev2.NewEngine(ikev2.Config{
			KeyLog: true, Proposals: []ikev2.IKEProposal{ike}, Policies: []ikev2.Policy{{Name: "p", Proposals: []string{ike.Name}}},
			Keyrings: []ikev2.Keyring{{Name: "k", Peers: []ikev2.KeyringPeer{{Name: "any",
				Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, Local: key, Remote: key}}}},
			Profiles: []ikev2.Profile{{Name: "prof", MatchRemote: []ikev2.IdentityMatch{{Any: true}}, Keyring: "k"}},
			Children: []ikev2.ChildPolicy{{Name: "Tunnel0", Profile: "prof", Mode: mode, Protocol: 47,
				Proposals: []ikev2.ESPProposal{{Suites: []esp.Suite{set}}}}},
		}, rand.NewChaCha8([32]byte{byte(i + 1)}))
	}
	_, acts := p.e[0].Initiate(p.now, ikev2.InitiateRequest{Local: p.addr[0], Remote: p.addr[1], Profile: "prof", Child: "Tunnel0"})
	p.do(0, acts)
	if p.up[0] == nil || p.up[1] == nil {
		t.Fatal("the engines do not agree")
	}
	return p
}

func (p *pair) do(from int, acts []ikev2.Action) {
	p.t.Helper()
	for _, a := range acts {
		switch a := a.(type) {
		case ikev2.Send:
			p.now = p.now.Add(10 * time.Millisecond)
			u := udp(a.Local.Port(), a.Remote.Port(), a.Data...)
			binary.BigEndian.PutUint16(u[6:], ip.L4Checksum(p.addr[from], p.addr[1-from], ip.UDP, u))
			p.frame(from, ip.UDP, u)
			p.do(1-from, p.e[1-from].Receive(p.now, ikev2.Datagram{Local: a.Remote, Remote: a.Local, Data: a.Data}))
		case ikev2.ChildUp:
			p.up[from] = &a
		case ikev2.KeyLog:
			if err := p.log.Key(a); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// frame captures a packet from one side to the other.
func (p *pair) frame(from int, proto uint8, payload []byte) {
	p.t.Helper()
	src, dst := p.addr[from], p.addr[1-from]
	f := make([]byte, 14)
	f[5], f[11] = 1, 2
	q := packet.From(payload)
	o := ip.Outer{Src: src, Dst: dst, Proto: proto, TTL: 255}
	o.Prepend(q)
	f[12], f[13] = 0x08, 0x00
	if src.Is6() {
		f[12], f[13] = 0x86, 0xdd
	}
	if err := p.w.Write(pcapng.Packet{Time: p.now}, append(f, q.Bytes()...)); err != nil {
		p.t.Fatal(err)
	}
	q.Release()
}

// seal sends GRE through the Child SA.
func (p *pair) seal(from int, gre []byte) {
	p.t.Helper()
	u := p.up[from]
	out, err := esp.NewOutbound(esp.Params{SPI: u.SPIOut, Suite: u.Suite, Mode: u.Mode, EncrKey: u.KeysOut.Encr, IntegKey: u.KeysOut.Integ,
		Local: u.Local, Remote: u.Remote, Rand: rand.NewChaCha8([32]byte{})})
	if err != nil {
		p.t.Fatal(err)
	}
	q, next := packet.From(gre), uint8(47)
	if u.Mode == esp.Tunnel {
		o := ip.Outer{Src: p.addr[from], Dst: p.addr[1-from], Proto: 47, TTL: 255}
		o.Prepend(q)
		next = 4
		if p.addr[0].Is6() {
			next = 41
		}
	}
	if err := out.Seal(q, next); err != nil {
		p.t.Fatal(err)
	}
	p.frame(from, 50, q.Bytes())
	q.Release()
}

// nhrp is a resolution reply of the reference, behind a GRE header.
func nhrp(t *testing.T) []byte {
	t.Helper()
	d, err := Dissect(t.Context(), "testdata/frr-nhrp.pcap", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range d.NHRP {
		if n.Type() == ResolutionReply {
			return append([]byte{0, 0, 0x20, 0x01}, n.Raw...)
		}
	}
	t.Fatal("no resolution reply")
	return nil
}

func TestIKEAndESPDecryptWithTheKeyLog(t *testing.T) {
	cbc := ikev2.IKEProposal{Name: "cbc", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_CBC, Bits: 256}},
		Integrity: []suite.IntegID{suite.AUTH_HMAC_SHA2_256_128}, Groups: []suite.Group{suite.MODP_2048}}
	gcm := ikev2.IKEProposal{Name: "gcm", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_GCM_16, Bits: 256}},
		PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_384}, Groups: []suite.Group{suite.CURVE25519}}
	reply := nhrp(t)
	for _, c := range []struct {
		name, a, b string
		set        esp.Suite
		ike        ikev2.IKEProposal
		mode       esp.Mode
	}{
		{"AES-CBC in tunnel mode", "172.16.2.2", "172.16.3.3", esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128}, cbc, esp.Tunnel},
		{"AES-GCM in transport mode", "172.16.2.2", "172.16.3.3", esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}, gcm, esp.Transport},
		{"over IPv6", "2001:db8:2::2", "2001:db8:3::3", esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 128}, gcm, esp.Transport},
		{"SHA-384 over IPv6", "2001:db8:2::2", "2001:db8:3::3", esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 128, Integ: esp.AUTH_HMAC_SHA2_384_192}, cbc, esp.Tunnel},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.a, c.b, c.set, c.ike, c.mode)
			p.seal(1, reply)
			if err := p.w.Flush(); err != nil {
				t.Fatal(err)
			}
			d, err := Dissect(t.Context(), p.file, p.keys)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Problems) != 0 || d.IKE != 4 || d.ESP != 1 || len(d.NHRP) != 1 || d.Contents["nhrp"] != 1 || d.Contents["gre"] != 1 {
				t.Fatalf("%+v", d)
			}
			n := d.NHRP[0]
			if !n.Encrypted || n.OuterSrc != p.addr[1] || n.OuterDst != p.addr[0] || !bytes.Equal(n.Raw, reply[4:]) {
				t.Errorf("%s\n%x\n%x", n, n.Raw, reply[4:])
			}
			c := NewClear(pfx("10.255.0.0/24")...)
			if err := c.File(p.file); err != nil || len(c.Findings()) != 0 {
				t.Errorf("%s: %v", c, err)
			}
			// Without keys it is not readable, and no problem either.
			if d, err = Dissect(t.Context(), p.file, ""); err != nil || len(d.Problems) != 0 || len(d.NHRP) != 0 || d.ESP != 1 {
				t.Errorf("%v %+v", err, d)
			}
		})
	}
}

func TestKeysThatDoNotFitAreAProblem(t *testing.T) {
	set := esp.Suite{Encr: esp.ENCR_AES_CBC, KeyBits: 256, Integ: esp.AUTH_HMAC_SHA2_256_128}
	ike := ikev2.IKEProposal{Name: "cbc", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_CBC, Bits: 256}},
		Integrity: []suite.IntegID{suite.AUTH_HMAC_SHA2_256_128}, Groups: []suite.Group{suite.CURVE25519}}
	p := newPair(t, "172.16.2.2", "172.16.3.3", set, ike, esp.Transport)
	p.seal(0, nhrp(t))
	if err := p.w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"ikev2_decryption_table", "esp_sa"} {
		keys := filepath.Join(t.TempDir(), "keys")
		if err := os.CopyFS(keys, os.DirFS(p.keys)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(keys, table)); err != nil {
			t.Fatal(err)
		}
		d, err := Dissect(t.Context(), p.file, keys)
		if err != nil || len(d.Problems) == 0 {
			t.Errorf("without %s: %v %+v", table, err, d)
		}
	}
}

func TestAShortAuthenticationStringOfAnIPv6NetworkIsNotMalformed(t *testing.T) {
	set := esp.Suite{Encr: esp.ENCR_AES_GCM_16, KeyBits: 256}
	ike := ikev2.IKEProposal{Name: "gcm", Encryption: []ikev2.Encryption{{ID: suite.ENCR_AES_GCM_16, Bits: 256}},
		PRF: []suite.PRFID{suite.PRF_HMAC_SHA2_256}, Groups: []suite.Group{suite.CURVE25519}}
	whole := message.Packet{Type: message.RegistrationRequest, HopCount: 255, SrcNBMA: netip.MustParseAddr("172.16.3.3"),
		SrcProto: netip.MustParseAddr("fd00:10::3"), DstProto: netip.MustParseAddr("fd00:10::1"), CIEs: []message.CIE{{PrefixLen: 128, HoldTime: 30}},
		Extensions: []message.Extension{message.Authentication("DMVPN")}}
	b, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// The same with an extension that is too short in truth: two bytes of it, in the length of the string.
	broken := bytes.Clone(b)
	copy(broken[len(broken)-13:], []byte{0x80, 7, 0, 2, 0, 0, 0x00, 0x0a, 0, 3})
	binary.BigEndian.PutUint16(broken[12:], 0)
	binary.BigEndian.PutUint16(broken[12:], message.Checksum(broken))
	for name, c := range map[string]struct {
		nhrp     []byte
		problems int
	}{"whole": {b, 0}, "broken": {broken, 1}} {
		p := newPair(t, "172.16.2.2", "172.16.3.3", set, ike, esp.Transport)
		p.seal(0, append([]byte{0, 0, 0x20, 0x01}, c.nhrp...))
		if err := p.w.Flush(); err != nil {
			t.Fatal(err)
		}
		if d, err := Dissect(t.Context(), p.file, p.keys); err != nil || len(d.Problems) != c.problems || len(d.NHRP) != 1 {
			t.Errorf("%s: %v %+v", name, err, d)
		}
	}
}

func TestALayoutThatDiffersFromTheReferenceIsTold(t *testing.T) {
	raw := nhrp(t)[4:]
	ref, err := NHRP{Raw: raw}.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if err := ref.Like(ref); err != nil {
		t.Error(err)
	}
	without := ref
	without.Extensions = append(append([]Extension(nil), ref.Extensions[:3]...), ref.Extensions[4:]...)
	if err := without.Like(ref); err != nil {
		t.Errorf("without the NAT extension: %v", err)
	}
	swapped := ref
	swapped.Extensions = append([]Extension(nil), ref.Extensions...)
	swapped.Extensions[0], swapped.Extensions[1] = swapped.Extensions[1], swapped.Extensions[0]
	optional := ref
	optional.Extensions = append([]Extension(nil), ref.Extensions...)
	optional.Extensions[2].Compulsory = false
	missing := ref
	missing.Extensions = ref.Extensions[1:]
	for name, l := range map[string]Layout{"swapped": swapped, "optional": optional, "missing": missing, "another type": {Type: 3}} {
		if err := l.Like(ref); err == nil {
			t.Errorf("%s: no difference is told", name)
		}
	}
	late := ref
	late.Extensions = append(append([]Extension(nil), ref.Extensions[4]), ref.Extensions...)
	if _, err := late.Authentication(); err == nil || !strings.Contains(err.Error(), "not the last") {
		t.Error(err)
	}
	for n := range raw {
		if _, err := (NHRP{Raw: raw[:n]}).Layout(); err == nil {
			t.Fatalf("%d of %d bytes have a layout", n, len(raw))
		}
	}
}
