package tcpmd5

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// packet is an IPv4 TCP packet with the given flags, options and data from 10.0.0.1:port to 10.0.0.2:179.
func packet(port uint16, flags byte, opts, data []byte) []byte {
	n := 20 + 20 + len(opts) + len(data)
	b := make([]byte, 40, n)
	b[0], b[8], b[9] = 0x45, 64, protocolTCP
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:20]))
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], 179)
	b[32], b[33] = byte((20+len(opts))/4)<<4, flags
	b = append(append(b, opts...), data...)
	s, err := parse(b)
	if err != nil {
		panic(err)
	}
	s.checksum()
	return b
}

func md5Sum(b []byte) [16]byte { return md5.Sum(b) }

func payloadSum(b []byte) uint16 { return sum(0, b) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	synOptions  = unhex("02040578" + "0402" + "080a0000000100000000" + "01030307")
	timestamps  = unhex("0101080a0000000100000002")
	sack2       = unhex("0101080a00000001000000020101051200000001000000020000000300000004")
	sackThenMSS = unhex("02040578" + "c820" + "000000000000000000000000000000000000000000000000000000000000" + "01010101")
)

func TestADigestIsThatOfTheRFC(t *testing.T) {
	// Made by hand from RFC 2385 §2.0: pseudo-header, header with checksum zero, data, key.
	p := packet(40000, 0x18, nil, []byte("hello"))
	s, _ := parse(p)
	signed, err := s.sign([]byte("CISCO123"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	text = append(text, 10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, byte(20+20+5))
	h := bytes.Clone(n.tcp[:20])
	h[16], h[17] = 0, 0
	text = append(append(append(text, h...), "hello"...), "CISCO123"...)
	o, _ := option(n.options(), kindMD5)
	if want := md5Sum(text); !bytes.Equal(o[2:], want[:]) {
		t.Errorf("the digest is %x, want %x", o[2:], want)
	}
	if n.verify([]byte("CISCO123")) != good || n.verify([]byte("cisco123")) != bad {
		t.Error("verify does not agree")
	}
	if got := header.IPv4(signed); !got.IsChecksumValid() || int(got.TotalLength()) != len(signed) {
		t.Error("the IP header is wrong")
	}
	tcpHeader := header.TCP(n.tcp)
	if !tcpHeader.IsChecksumValid(header.IPv4(signed).SourceAddress(), header.IPv4(signed).DestinationAddress(), payloadSum(n.tcp[n.header():]), uint16(5)) {
		t.Error("the TCP checksum is wrong")
	}
}

func TestOptionsMakeRoomForTheSignature(t *testing.T) {
	for name, c := range map[string]struct {
		opts []byte
		keep []byte
	}{
		"none":                      {nil, []byte{}},
		"of a SYN":                  {synOptions, synOptions},
		"timestamps":                {timestamps, timestamps},
		"timestamps and SACK":       {sack2, unhex("080a00000001000000020101")},
		"all forty, malformed":      {bytes.Repeat([]byte{99}, 40), []byte{}},
		"forty of one kind":         {append([]byte{200, 40}, make([]byte, 38)...), []byte{}},
		"an MSS among what is long": {sackThenMSS, unhex("02040578")},
	} {
		t.Run(name, func(t *testing.T) {
			got := room(nil, c.opts)
			if !bytes.Equal(got, c.keep) {
				t.Errorf("%x is left, want %x", got, c.keep)
			}
			s, err := parse(packet(40000, 0x10, c.opts, []byte("data")))
			if err != nil {
				t.Fatal(err)
			}
			signed, err := s.sign([]byte("key"))
			if err != nil {
				t.Fatal(err)
			}
			n, err := parse(signed)
			if err != nil || n.verify([]byte("key")) != good || !bytes.Equal(n.tcp[n.header():], []byte("data")) {
				t.Errorf("the signed segment is %x, %v", signed, err)
			}
		})
	}
}

func TestTheTableDecides(t *testing.T) {
	table := NewTable(179)
	me := netip.MustParsePrefix("10.0.0.1/32")
	var heard []Reason
	table.OnDrop = func(_ netip.Addr, why Reason, _ uint64) { heard = append(heard, why) }
	in := func(b []byte) bool {
		peers := table.peers.Load()
		if peers == nil {
			return true
		}
		pass, _ := table.incoming(peers, b)
		return pass
	}
	plain := packet(40000, 2, synOptions, nil)
	s, _ := parse(plain)
	signed, _ := s.sign([]byte("key"))
	if !in(plain) || !in(signed) {
		t.Error("an empty table drops")
	}
	table.Set(me, Peer{Key: []byte("key")})
	other := bytes.Clone(plain)
	binary.BigEndian.PutUint16(other[22:], 80)
	fragment := bytes.Clone(plain)
	fragment[6] = 0x20
	if in(plain) || !in(signed) || !in(other) || in(fragment) {
		t.Error("a peer with a key")
	}
	table.Set(me, Peer{Key: []byte("other")})
	if in(signed) {
		t.Error("a peer with another key")
	}
	table.Set(me, Peer{MinTTL: 65})
	if in(plain) {
		t.Error("a peer that is too far away")
	}
	table.Set(me, Peer{MinTTL: 64})
	if !in(plain) || in(signed) {
		t.Error("a peer without a key")
	}
	table.Delete(me)
	if !in(signed) || table.peers.Load() != nil {
		t.Error("a peer that is gone")
	}
	if want := (Counters{Verified: 1, Missing: 1, Bad: 1, Unexpected: 1, LowTTL: 1, Unreadable: 1}); table.Counters() != want {
		t.Errorf("counted %+v, want %+v", table.Counters(), want)
	}
	if len(heard) != 5 {
		t.Errorf("heard %v", heard)
	}
}

func TestTheMSSOfASYNIsLowered(t *testing.T) {
	table := NewTable(179)
	table.Set(netip.MustParsePrefix("10.0.0.0/24"), Peer{Key: []byte("key")})
	s, _ := parse(packet(40000, flagSYN, synOptions, nil))
	signed, _ := s.sign([]byte("key"))
	if pass, changed := table.incoming(table.peers.Load(), signed); !pass || !changed {
		t.Fatal(pass, changed)
	}
	n, _ := parse(signed)
	o, _ := option(n.options(), kindMSS)
	if mss := binary.BigEndian.Uint16(o[2:]); mss != 0x578-20 {
		t.Errorf("the MSS is %d", mss)
	}
	if !header.TCP(n.tcp).IsChecksumValid(header.IPv4(signed).SourceAddress(), header.IPv4(signed).DestinationAddress(), 0, 0) {
		t.Error("the checksum is wrong")
	}
}

// pair is two stacks, 10.0.0.1/fd00::1 and 10.0.0.2/fd00::2, on a pipe of the given MTU.
func pair(t *testing.T, mtu uint32) (a, b *stack.Stack, ta, tb *Table) {
	ea, eb := pipe.New("", "", mtu)
	ta, tb = NewTable(179), NewTable(179)
	mk := func(e stack.LinkEndpoint, table *Table, last byte) *stack.Stack {
		s := stack.New(stack.Options{NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol}})
		t.Cleanup(s.Destroy)
		if err := s.CreateNIC(1, New(e, table)); err != nil {
			t.Fatal(err)
		}
		six := [16]byte{0xfd, 15: last}
		for proto, a := range map[tcpip.NetworkProtocolNumber]tcpip.AddressWithPrefix{
			ipv4.ProtocolNumber: {Address: tcpip.AddrFrom4([4]byte{10, 0, 0, last}), PrefixLen: 24},
			ipv6.ProtocolNumber: {Address: tcpip.AddrFrom16(six), PrefixLen: 64},
		} {
			if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: a}, stack.AddressProperties{}); err != nil {
				t.Fatal(err)
			}
		}
		s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
		return s
	}
	return mk(ea, ta, 1), mk(eb, tb, 2), ta, tb
}

func TestAConnectionIsSignedBothWays(t *testing.T) {
	for name, addr := range map[string]tcpip.FullAddress{
		"IPv4": {NIC: 1, Addr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}), Port: 179},
		"IPv6": {NIC: 1, Addr: tcpip.AddrFrom16([16]byte{0xfd, 15: 2}), Port: 179},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, ta, tb := pair(t, 1500)
			proto := ipv4.ProtocolNumber
			if name == "IPv6" {
				proto = ipv6.ProtocolNumber
			}
			key := Peer{Key: []byte("CISCO123"), MinTTL: 64}
			for _, p := range []string{"10.0.0.1/32", "fd00::1/128"} {
				tb.Set(netip.MustParsePrefix(p), key)
			}
			for _, p := range []string{"10.0.0.2/32", "fd00::2/128"} {
				ta.Set(netip.MustParsePrefix(p), key)
			}
			l, err := gonet.ListenTCP(b, tcpip.FullAddress{Port: 179}, proto)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
			got := make(chan []byte, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					got <- nil
					return
				}
				all, _ := io.ReadAll(c)
				got <- all
				c.Close()
			}()
			c, err := gonet.DialTCP(a, addr, proto)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			_ = c.CloseWrite()
			if all := <-got; !bytes.Equal(all, sent) {
				t.Fatalf("%d bytes of %d arrived", len(all), len(sent))
			}
			c.Close()
			if n := tb.Counters(); n.Verified == 0 || n.Signed == 0 || n.Bad+n.Missing+n.LowTTL > 0 {
				t.Errorf("counted %+v", n)
			}
		})
	}
}

func TestAnUnsignedConnectionDoesNotComeUp(t *testing.T) {
	a, b, _, tb := pair(t, 1500)
	tb.Set(netip.MustParsePrefix("10.0.0.1/32"), Peer{Key: []byte("CISCO123")})
	l, err := gonet.ListenTCP(b, tcpip.FullAddress{Port: 179}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dropped := make(chan struct{})
	tb.OnDrop = func(_ netip.Addr, why Reason, n uint64) {
		if why == Missing && n == 2 { // the SYN, and the SYN again
			close(dropped)
		}
	}
	done := make(chan net.Conn, 1)
	go func() {
		c, _ := gonet.DialTCP(a, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}), Port: 179}, ipv4.ProtocolNumber)
		if c != nil {
			done <- c
		}
	}()
	select {
	case <-done:
		t.Fatal("it came up")
	case <-dropped:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was dropped")
	}
}

// FuzzSegment feeds packets to the parser, the signer and the verifier.
func FuzzSegment(f *testing.F) {
	f.Add(packet(40000, flagSYN, synOptions, nil))
	f.Add(packet(40000, 0x18, sack2, []byte("hello")))
	f.Add(packet(40000, 0x18, sackThenMSS, []byte("hello")))
	six := append(append([]byte{0x60, 0, 0, 0, 0, 20, 6, 64}, make([]byte, 32)...), packet(1, 2, nil, nil)[20:]...)
	f.Add(six)
	f.Fuzz(func(t *testing.T, b []byte) {
		table := NewTable(179)
		table.Set(netip.MustParsePrefix("0.0.0.0/0"), Peer{Key: []byte("key")})
		table.Set(netip.MustParsePrefix("::/0"), Peer{Key: []byte("key"), MinTTL: 2})
		peers := table.peers.Load()
		pass, _ := table.incoming(peers, bytes.Clone(b))
		if s, err := parse(b); err == nil {
			if pass && (s.sourcePort() == 179 || s.destPort() == 179) && s.verify([]byte("key")) != good {
				t.Fatal("an unsigned segment passed")
			}
		}
		signed, ok := table.outgoing(peers, bytes.Clone(b))
		if signed == nil {
			_ = ok
			return
		}
		n, err := parse(signed)
		if err != nil || n.verify([]byte("key")) != good || n.header() > 60 {
			t.Fatalf("a segment of ours would be dropped: %x, %v", signed, err)
		}
	})
}
