package ikev2

import (
	"felloe/vpn/ikev2/message"
)

// assembly is a message that comes in fragments (RFC 7383 §2.6). Only authentic fragments get in here.
type assembly struct {
	id    uint32
	first message.PayloadType
	parts [][]byte
	have  int
	size  int
}

const maxAssembled = 1 << 16

// add takes a fragment; it returns the whole when it is complete.
func (a *assembly) add(id uint32, p *message.Encrypted, plain []byte) (message.PayloadType, []byte, bool) {
	switch {
	case a.parts == nil || a.id != id || int(p.Total) > len(a.parts):
		// §2.6: a larger total means that the sender found a smaller path MTU and began anew.
		*a = assembly{id: id, parts: make([][]byte, p.Total)}
	case int(p.Total) < len(a.parts):
		return 0, nil, false
	}
	if a.parts[p.Number-1] != nil || a.size+len(plain) > maxAssembled {
		return 0, nil, false
	}
	if p.Number == 1 {
		a.first = p.First
	}
	if plain == nil {
		plain = []byte{}
	}
	a.parts[p.Number-1] = plain
	a.size += len(plain)
	if a.have++; a.have < len(a.parts) {
		return 0, nil, false
	}
	whole := make([]byte, 0, a.size)
	for _, b := range a.parts {
		whole = append(whole, b...)
	}
	first := a.first
	*a = assembly{}
	return first, whole, true
}

// seal makes the datagrams of a protected message: one, or several when it is too long and both sides do RFC 7383.
func (sa *ikeSA) seal(x message.ExchangeType, id uint32, response bool, payloads []message.Payload) [][]byte {
	h := sa.header(x, id, response)
	sa.tracePayloads(h, payloads, true)
	first, plain := message.AppendPayloads(nil, payloads)
	room := sa.room()
	if n := sa.out.Overhead(len(plain)) + len(plain); !sa.s.fragments || message.HeaderLen+4+n <= room {
		b := message.BeginEncrypted(h, first, n, 0, 0)
		return [][]byte{sa.out.Seal(b, b, plain)}
	}
	each := sa.out.MaxPlain(room - message.HeaderLen - 8)
	total := (len(plain) + each - 1) / each
	var out [][]byte
	for i := range total {
		piece := plain[i*each : min(len(plain), (i+1)*each)]
		b := message.BeginEncrypted(h, first, sa.out.Overhead(len(piece))+len(piece), uint16(i+1), uint16(total))
		out = append(out, sa.out.Seal(b, b, piece))
		first = message.TypeNone
	}
	return out
}

// room is what a datagram may hold.
func (sa *ikeSA) room() int {
	mtu, header := sa.e.cfg.Fragmentation.MTU, 40
	if sa.s.remote.Addr().Is4() {
		header = 20
		if mtu == 0 {
			mtu = DefaultFragmentMTU4
		}
	} else if mtu == 0 {
		mtu = DefaultFragmentMTU6
	}
	room := mtu - header - 8
	if sa.s.local.Port() == portNATT {
		room -= 4
	}
	return max(room, 160)
}
