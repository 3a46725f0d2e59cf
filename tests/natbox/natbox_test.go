package natbox

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
)

// A host answers ARP and keeps what it gets.
type host struct {
	d    link.Driver
	addr netip.Addr
	mac  [6]byte // of the NAT
	got  [][]byte
}

type world struct {
	t     *testing.T
	clock *clock.Virtual
	nat   *NAT
	hosts map[string]*host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewVirtual(time.Unix(1795000000, 0)), hosts: map[string]*host{}}
	n := mem.NewNetwork(w.clock)
	in, out := n.Switch("inside", mem.Impairment{}), n.Switch("outside", mem.Impairment{})
	var err error
	w.nat, err = New(in.Port("nat"), out.Port("nat"), Config{Inside: netip.MustParsePrefix("10.0.0.1/24"), Outside: netip.MustParsePrefix("203.0.113.9/24"),
		Gateway: netip.MustParseAddr("203.0.113.1"), Clock: w.clock, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.nat.Close() })
	for name, x := range map[string]struct {
		l    *mem.Link
		addr string
	}{"a": {in, "10.0.0.2"}, "b": {in, "10.0.0.3"}, "gateway": {out, "203.0.113.1"}, "near": {out, "203.0.113.7"}} {
		h := &host{d: x.l.Port(name), addr: netip.MustParseAddr(x.addr)}
		if err := h.d.Start(h.input); err != nil {
			t.Fatal(err)
		}
		w.hosts[name] = h
	}
	w.run()
	for name, own := range map[string]string{"a": "10.0.0.1", "b": "10.0.0.1", "gateway": "203.0.113.9", "near": "203.0.113.9"} {
		h := w.hosts[name]
		s := side{driver: h.d, own: netip.PrefixFrom(h.addr, 24)}
		if name == "near" {
			continue // the NAT must ask for this one
		}
		h.d.Send([]*packet.Packet{s.arpFrame(1, [6]byte{}, netip.MustParseAddr(own))})
	}
	w.run()
	return w
}

func (w *world) run() { w.clock.Advance(10 * time.Millisecond) }

func (h *host) input(v []*packet.Packet) {
	for _, p := range v {
		f := p.Bytes()
		if f[12] == 8 && f[13] == 6 {
			if f[21] == 2 {
				h.mac = [6]byte(f[22:28])
			} else if netip.AddrFrom4([4]byte(f[38:42])) == h.addr {
				s := side{driver: h.d, own: netip.PrefixFrom(h.addr, 24)}
				h.d.Send([]*packet.Packet{s.arpFrame(2, [6]byte(f[22:28]), netip.AddrFrom4([4]byte(f[28:32])))})
				h.mac = [6]byte(f[22:28])
			}
		} else {
			h.got = append(h.got, bytes.Clone(f[14:]))
		}
		p.Release()
	}
}

func (h *host) send(b []byte) {
	f := make([]byte, 14, 14+len(b))
	copy(f, h.mac[:])
	mac := h.d.Info().MAC
	copy(f[6:], mac[:])
	f[12] = 8
	h.d.Send([]*packet.Packet{packet.From(append(f, b...))})
}

// take returns the one packet that has come.
func (w *world) take(name string) []byte {
	w.t.Helper()
	w.run()
	h := w.hosts[name]
	if len(h.got) != 1 {
		w.t.Fatalf("%s has %d packets", name, len(h.got))
	}
	b := h.got[0]
	h.got = nil
	if sum(b[:20]) != 0xffff {
		w.t.Fatalf("wrong header checksum: %x", b)
	}
	return b
}

func ipv4(proto uint8, src, dst string, l4 []byte) []byte {
	b := make([]byte, 20, 20+len(l4))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
	copy(b[12:], netip.MustParseAddr(src).AsSlice())
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return append(b, l4...)
}

func pseudo(b []byte) uint16 {
	p := append(bytes.Clone(b[12:20]), 0, b[9], 0, 0)
	binary.BigEndian.PutUint16(p[10:], uint16(len(b)-20))
	return sum(append(p, b[20:]...))
}

func udp(src, dst string, sport, dport uint16, payload string) []byte {
	l4 := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(l4, sport)
	binary.BigEndian.PutUint16(l4[2:], dport)
	binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	b := ipv4(protoUDP, src, dst, append(l4, payload...))
	binary.BigEndian.PutUint16(b[26:], ^pseudo(b))
	return b
}

func ends(b []byte) (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), binary.BigEndian.Uint16(b[20:])),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), binary.BigEndian.Uint16(b[22:]))
}

func TestTwoHostsWithTheSamePortAreTwoPortsOutside(t *testing.T) {
	w := newWorld(t)
	ports := map[string]uint16{}
	for _, name := range []string{"a", "b", "a"} {
		h := w.hosts[name]
		h.send(udp(h.addr.String(), "198.51.100.1", 500, 500, "odd"))
		b := w.take("gateway")
		src, dst := ends(b)
		if src.Addr() != netip.MustParseAddr("203.0.113.9") || dst != netip.MustParseAddrPort("198.51.100.1:500") || b[8] != 63 || pseudo(b) != 0xffff {
			t.Fatalf("%s: %v > %v: %x", name, src, dst, b)
		}
		if ports[name] != 0 && ports[name] != src.Port() {
			t.Errorf("%s moved from port %d to %d", name, ports[name], src.Port())
		}
		ports[name] = src.Port()
	}
	if ports["a"] == ports["b"] || ports["a"] == 500 {
		t.Fatal(ports)
	}
	for name, port := range ports {
		w.hosts["gateway"].send(udp("198.51.100.77", "203.0.113.9", 4500, port, "back"))
		b := w.take(name)
		if src, dst := ends(b); src != netip.MustParseAddrPort("198.51.100.77:4500") || dst != netip.AddrPortFrom(w.hosts[name].addr, 500) || pseudo(b) != 0xffff {
			t.Errorf("%s: %v > %v", name, src, dst)
		}
	}
	if m := w.nat.Mappings(); len(m) != 2 {
		t.Error(m)
	}
}

func TestANeighbourThatIsNotKnownIsAskedForAndGetsWhatWaited(t *testing.T) {
	w := newWorld(t)
	w.hosts["a"].send(udp("10.0.0.2", "203.0.113.7", 1, 2, "x"))
	if _, dst := ends(w.take("near")); dst != netip.MustParseAddrPort("203.0.113.7:2") {
		t.Error(dst)
	}
}

func TestWhatHasNoPortsDoesNotPass(t *testing.T) {
	w := newWorld(t)
	w.hosts["a"].send(ipv4(protoESP, "10.0.0.2", "198.51.100.1", make([]byte, 40)))
	w.hosts["a"].send(ipv4(47, "10.0.0.2", "198.51.100.1", make([]byte, 40)))
	w.hosts["gateway"].send(udp("198.51.100.1", "203.0.113.9", 500, 500, "nobody asked"))
	w.hosts["a"].send(udp("10.0.0.2", "10.0.0.9", 1, 2, "not outside"))
	expired := udp("10.0.0.2", "198.51.100.1", 1, 2, "")
	expired[8] = 1
	w.hosts["a"].send(expired)
	w.run()
	for name, h := range w.hosts {
		if len(h.got) > 0 {
			t.Errorf("%s got %x", name, h.got)
		}
	}
	if c := w.nat.Counters(); c.ESP != 1 || c.Dropped != 5 || c.Out+c.In != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAMappingEndsWhenItIsIdleAndLivesWhileItIsUsed(t *testing.T) {
	w := newWorld(t)
	port := func() uint16 {
		w.hosts["a"].send(udp("10.0.0.2", "198.51.100.1", 4500, 4500, "\xff"))
		src, _ := ends(w.take("gateway"))
		return src.Port()
	}
	first := port()
	for range 5 {
		w.clock.Advance(50 * time.Second)
		if p := port(); p != first {
			t.Fatalf("port %d became %d", first, p)
		}
	}
	w.clock.Advance(2 * time.Minute)
	w.hosts["gateway"].send(udp("198.51.100.1", "203.0.113.9", 4500, first, "late"))
	w.run()
	if got := w.hosts["a"].got; len(got) > 0 {
		t.Errorf("%x", got)
	}
	if p := port(); p == first {
		t.Errorf("port %d is used again at once", p)
	}
	w.nat.Rebind(30000)
	if p := port(); p != 30000 {
		t.Errorf("port %d after the NAT forgot", p)
	}
}

func TestEchoAndItsAnswerPass(t *testing.T) {
	w := newWorld(t)
	echo := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1, 'd', 'a', 't'}
	binary.BigEndian.PutUint16(echo[2:], ^sum(echo))
	w.hosts["b"].send(ipv4(protoICMP, "10.0.0.3", "198.51.100.1", echo))
	b := w.take("gateway")
	if sum(b[20:]) != 0xffff || netip.AddrFrom4([4]byte(b[12:16])) != netip.MustParseAddr("203.0.113.9") {
		t.Fatalf("%x", b)
	}
	reply := bytes.Clone(b[20:])
	reply[0], reply[2], reply[3] = 0, 0, 0
	binary.BigEndian.PutUint16(reply[2:], ^sum(reply))
	w.hosts["gateway"].send(ipv4(protoICMP, "198.51.100.1", "203.0.113.9", reply))
	b = w.take("b")
	if sum(b[20:]) != 0xffff || b[24] != 0x12 || b[25] != 0x34 {
		t.Fatalf("%x", b)
	}
}

func TestAnErrorAboutATranslatedPacketReachesItsSender(t *testing.T) {
	w := newWorld(t)
	w.hosts["a"].send(udp("10.0.0.2", "198.51.100.1", 4500, 4500, "much too large"))
	about := w.take("gateway")
	icmp := append([]byte{3, 4, 0, 0, 0, 0, 5, 0x14}, about...)
	binary.BigEndian.PutUint16(icmp[2:], ^sum(icmp))
	w.hosts["gateway"].send(ipv4(protoICMP, "203.0.113.1", "203.0.113.9", icmp))
	b := w.take("a")
	src, dst := ends(b[28:])
	if sum(b[20:]) != 0xffff || sum(b[28:48]) != 0xffff || src != netip.MustParseAddrPort("10.0.0.2:4500") || dst != netip.MustParseAddrPort("198.51.100.1:4500") ||
		netip.AddrFrom4([4]byte(b[16:20])) != netip.MustParseAddr("10.0.0.2") {
		t.Fatalf("%v > %v: %x", src, dst, b)
	}
	// And the other way: the host cannot be reached.
	port := w.nat.Mappings()[0].Port
	w.hosts["gateway"].send(udp("198.51.100.1", "203.0.113.9", 4500, port, "hello"))
	about = w.take("a")
	icmp = append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, about...)
	binary.BigEndian.PutUint16(icmp[2:], ^sum(icmp))
	w.hosts["a"].send(ipv4(protoICMP, "10.0.0.2", "198.51.100.1", icmp))
	b = w.take("gateway")
	if _, dst := ends(b[28:]); sum(b[20:]) != 0xffff || dst != netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), port) ||
		netip.AddrFrom4([4]byte(b[12:16])) != netip.MustParseAddr("203.0.113.9") {
		t.Fatalf("%v: %x", dst, b)
	}
}

func TestFragmentsFollowTheirFirstPiece(t *testing.T) {
	w := newWorld(t)
	whole := udp("10.0.0.2", "198.51.100.1", 500, 500, string(make([]byte, 100)))
	piece := func(offset int, more bool, b []byte) []byte {
		p := append(bytes.Clone(whole[:20]), b...)
		field := uint16(offset / 8)
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], 77)
		binary.BigEndian.PutUint16(p[6:], field)
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^sum(p[:20]))
		return p
	}
	w.hosts["a"].send(piece(64, false, whole[20+64:]))
	w.run()
	if len(w.hosts["gateway"].got) != 0 {
		t.Error("a piece without its first one passed")
	}
	w.hosts["a"].send(piece(0, true, whole[20:20+64]))
	first := w.take("gateway")
	w.hosts["a"].send(piece(64, false, whole[20+64:]))
	second := w.take("gateway")
	joined := append(append(bytes.Clone(first[:20]), first[20:]...), second[20:]...)
	joined[6], joined[7] = 0, 0
	binary.BigEndian.PutUint16(joined[2:], uint16(len(joined)))
	if pseudo(joined) != 0xffff || !bytes.Equal(first[12:16], second[12:16]) {
		t.Errorf("%x", joined)
	}
}

func FuzzFramesNeverPanic(f *testing.F) {
	f.Add(true, udp("10.0.0.2", "198.51.100.1", 500, 500, "x"))
	f.Add(false, ipv4(protoICMP, "198.51.100.1", "203.0.113.9", append([]byte{3, 4, 0, 0, 0, 0, 5, 0}, udp("203.0.113.9", "198.51.100.1", 20000, 500, "")...)))
	f.Fuzz(func(t *testing.T, fromInside bool, b []byte) {
		w := newWorld(t)
		w.hosts["a"].send(udp("10.0.0.2", "198.51.100.1", 500, 500, "x"))
		name := "gateway"
		if fromInside {
			name = "a"
		}
		if len(b) <= 1400 {
			w.hosts[name].send(b)
		}
		w.run()
	})
}
