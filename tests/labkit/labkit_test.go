package labkit

import (
	"net/netip"
	"testing"

	"felloe/netstack/packet"
)

func TestWhatMustNotBeSeenOnAWireIsSeen(t *testing.T) {
	frame := func(ethertype uint16, payload []byte) []byte {
		return append(append(make([]byte, 12, 200), byte(ethertype>>8), byte(ethertype)), payload...)
	}
	for _, x := range []struct {
		kind uint16
		addr [2]string
		gre  int // where the protocol is
	}{{0x0800, [2]string{"192.168.1.1", "192.168.2.1"}, 9}, {0x86dd, [2]string{"2001:db8::1", "2001:db8::2"}, 6}} {
		p := Echo(netip.MustParseAddr(x.addr[0]), netip.MustParseAddr(x.addr[1]), 7).Bytes()
		if got := exposed(frame(x.kind, p)); got != "a payload in clear" {
			t.Errorf("a ping of %s: %q", x.addr[0], got)
		}
		bare := append([]byte{}, p[:len(p)-len(mark)]...)
		bare = append(bare, make([]byte, 20)...)
		if got := exposed(frame(x.kind, bare)); got != "" {
			t.Errorf("nothing to hide: %q", got)
		}
		bare[x.gre] = 47
		if got := exposed(frame(x.kind, bare)); got != "GRE in clear" {
			t.Errorf("GRE: %q", got)
		}
	}
}

func TestAPingIsKnownByItsAnswerAlone(t *testing.T) {
	for _, x := range []struct {
		addr  string
		kind  int
		reply byte
	}{{"192.168.1.1", 20, 0}, {"2001:db8::1", 40, 129}} {
		a := netip.MustParseAddr(x.addr)
		p := Echo(a, a, 4711)
		if _, ok := Answer(p); ok {
			t.Errorf("%s: a question is taken for an answer", a)
		}
		b := append([]byte{}, p.Bytes()...)
		b[x.kind] = x.reply
		if seq, ok := Answer(packet.From(b)); !ok || seq != 4711 {
			t.Errorf("%s: %d %v", a, seq, ok)
		}
	}
}
