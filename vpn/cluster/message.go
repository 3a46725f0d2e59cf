package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
)

// hello is what members tell each other.
type hello struct {
	master, able bool
	priority     uint8
	start        uint64 // the sender's
	yours        uint64 // the receiver's, as far as the sender knows; 0: it does not
	sequence     uint64
	virtual      netip.Addr
	redirectTo   netip.Addr
	load         Load
}

// Load is how much a hub has to do.
type Load struct {
	Sessions uint32
	Max      uint32 // 0: no limit
	Weight   uint16
	Limit    uint8 // per cent of Max
}

const (
	version  = 1
	bodySize = 4 + 4 + 3*8 + 2*17 + 4 + 4 + 2 + 1
	// Size is the length of every message.
	Size = bodySize + sha256.Size
)

const (
	flagMaster = 1 << iota
	flagAble
)

var magic = [4]byte{'F', 'L', 'C', 'L'}

var (
	errMalformed = errors.New("not a cluster message")
	errMAC       = errors.New("not authentic")
)

func putAddr(b []byte, a netip.Addr) []byte {
	family, x := byte(0), [16]byte{}
	switch {
	case a.Is4():
		family, x = 4, a.As16()
	case a.Is6():
		family, x = 6, a.As16()
	}
	return append(append(b, family), x[:]...)
}

// takeAddr is strict: what it accepts is what putAddr writes.
func takeAddr(b []byte) (netip.Addr, bool) {
	x := [16]byte(b[1:17])
	a := netip.AddrFrom16(x)
	switch {
	case b[0] == 4 && a.Is4In6():
		return a.Unmap(), true
	case b[0] == 6 && !a.Is4In6():
		return a, true
	case b[0] == 0 && x == [16]byte{}:
		return netip.Addr{}, true
	}
	return netip.Addr{}, false
}

func (h hello) encode(key []byte, src, dst netip.Addr) []byte {
	b := make([]byte, 0, Size)
	b = append(b, magic[:]...)
	flags := byte(0)
	if h.master {
		flags |= flagMaster
	}
	if h.able {
		flags |= flagAble
	}
	b = append(b, version, flags, h.priority, 0)
	b = binary.BigEndian.AppendUint64(b, h.start)
	b = binary.BigEndian.AppendUint64(b, h.yours)
	b = binary.BigEndian.AppendUint64(b, h.sequence)
	b = putAddr(b, h.virtual)
	b = putAddr(b, h.redirectTo)
	b = binary.BigEndian.AppendUint32(b, h.load.Sessions)
	b = binary.BigEndian.AppendUint32(b, h.load.Max)
	b = binary.BigEndian.AppendUint16(b, h.load.Weight)
	b = append(b, h.load.Limit)
	return append(b, mac(key, src, dst, b)...)
}

func mac(key []byte, src, dst netip.Addr, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("felloe cluster"))
	m.Write(putAddr(putAddr(nil, src), dst))
	m.Write(body)
	return m.Sum(nil)
}

// decode reads a message whose HMAC is right. Nothing of it is looked at before.
func decode(key []byte, src, dst netip.Addr, b []byte) (hello, error) {
	if len(b) != Size || [4]byte(b) != magic {
		return hello{}, errMalformed
	}
	body := b[:bodySize]
	if !hmac.Equal(mac(key, src, dst, body), b[bodySize:]) {
		return hello{}, errMAC
	}
	if body[4] != version || body[5]&^(flagMaster|flagAble) != 0 {
		return hello{}, errMalformed
	}
	h := hello{master: body[5]&flagMaster != 0, able: body[5]&flagAble != 0, priority: body[6], start: binary.BigEndian.Uint64(body[8:]),
		yours: binary.BigEndian.Uint64(body[16:]), sequence: binary.BigEndian.Uint64(body[24:])}
	var ok, ok2 bool
	h.virtual, ok = takeAddr(body[32:49])
	h.redirectTo, ok2 = takeAddr(body[49:66])
	h.load = Load{Sessions: binary.BigEndian.Uint32(body[66:]), Max: binary.BigEndian.Uint32(body[70:]), Weight: binary.BigEndian.Uint16(body[74:]), Limit: body[76]}
	if !ok || !ok2 || !h.virtual.IsValid() || h.start == 0 || h.load.Weight == 0 || h.load.Limit > 100 || body[7] != 0 {
		return hello{}, errMalformed
	}
	return h, nil
}
