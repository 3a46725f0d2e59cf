package ikev2

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"net/netip"

	"felloe/vpn/ikev2/message"
)

// natHash is SHA-1(SPIi | SPIr | address | port) (RFC 7296 §2.23). It hides nothing; it only has to differ.
func natHash(spiI, spiR uint64, a netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint64(nil, spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	b = append(b, a.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	sum := sha1.Sum(b)
	return sum[:]
}

// natNotifies are the two detection payloads of an IKE_SA_INIT message.
func (e *Engine) natNotifies(spiI, spiR uint64, local, remote netip.AddrPort) []message.Payload {
	source := natHash(spiI, spiR, local)
	if e.cfg.ForceNAT {
		source[0] ^= 0xff
	}
	return []message.Payload{
		&message.Notify{Message: message.NAT_DETECTION_SOURCE_IP, Data: source},
		&message.Notify{Message: message.NAT_DETECTION_DESTINATION_IP, Data: natHash(spiI, spiR, remote)},
	}
}

// detectNAT compares a peer's detection payloads with where its message came from and where it arrived. There may be
// several sources; one match is enough.
func detectNAT(p *parts, spiI, spiR uint64, d Datagram) NAT {
	var nat NAT
	sources, matched := 0, false
	for _, n := range p.notifies {
		switch n.Message {
		case message.NAT_DETECTION_SOURCE_IP:
			sources++
			matched = matched || bytes.Equal(n.Data, natHash(spiI, spiR, d.Remote))
		case message.NAT_DETECTION_DESTINATION_IP:
			nat.Local = !bytes.Equal(n.Data, natHash(spiI, spiR, d.Local))
		}
	}
	nat.Remote = sources > 0 && !matched
	return nat
}

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
