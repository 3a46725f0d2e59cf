package guard

import (
	"encoding/binary"
	"net/netip"
)

const (
	capMultiprotocol = 1  // RFC 4760
	capRouteRefresh  = 2  // RFC 2918
	capGraceful      = 64 // RFC 4724
	capFourOctetAS   = 65 // RFC 6793

	asTrans = 23456

	paramCapability = 2
	paramExtended   = 255 // RFC 9072
)

// Graceful is a graceful restart capability (RFC 4724 §3).
type Graceful struct {
	// Restarting is the Restart State bit: who sends it has restarted, and does not wait for others that have, too.
	Restarting bool
	// Seconds is how long the session may take to come back.
	Seconds uint16
	// IPv4 and IPv6 say for which families routes may be kept, and whether what they lead to was kept over a restart
	// (the Forwarding State bit).
	IPv4, IPv6         bool
	KeptIPv4, KeptIPv6 bool
}

const (
	gracefulRestarting = 0x8000 // in front of the 12 bits of the time
	gracefulForwarding = 0x80

	// MaxRestart is the longest restart time that a capability can hold, in seconds.
	MaxRestart = 4095
)

// parseGraceful reads one; a malformed one is as good as none.
func parseGraceful(b []byte) (g Graceful, ok bool) {
	if len(b) < 2 || len(b)%4 != 2 {
		return g, false
	}
	n := binary.BigEndian.Uint16(b)
	g.Restarting, g.Seconds = n&gracefulRestarting != 0, n&MaxRestart
	for b = b[2:]; len(b) > 0; b = b[4:] {
		if b[0] != 0 || b[2] != 1 {
			continue
		}
		kept := b[3]&gracefulForwarding != 0
		switch b[1] {
		case 1:
			g.IPv4, g.KeptIPv4 = true, kept
		case 2:
			g.IPv6, g.KeptIPv6 = true, kept
		}
	}
	return g, true
}

func (g *Graceful) bytes() []byte {
	n := min(g.Seconds, MaxRestart)
	if g.Restarting {
		n |= gracefulRestarting
	}
	b := binary.BigEndian.AppendUint16(nil, n)
	for i, f := range [...]struct{ on, kept bool }{{g.IPv4, g.KeptIPv4}, {g.IPv6, g.KeptIPv6}} {
		if !f.on {
			continue
		}
		flags := byte(0)
		if f.kept {
			flags = gracefulForwarding
		}
		b = append(b, 0, byte(i+1), 1, flags)
	}
	return b
}

type capability struct {
	code  uint8
	value []byte
}

// parseOpen takes an OPEN message apart.
func parseOpen(msg []byte) (version uint8, as, hold uint16, id [4]byte, caps []capability, err error) {
	b := msg[HeaderLen:]
	version, as, hold, id = b[0], binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint16(b[3:]), [4]byte(b[5:9])
	if version != 4 {
		return version, as, hold, id, nil, fail(OpenMessageError, 1, []byte{0, 4}, "version %d", version)
	}
	length, opts := int(b[9]), b[10:]
	extended := length == 255 && len(opts) >= 3 && opts[0] == paramExtended
	if extended {
		length, opts = int(binary.BigEndian.Uint16(opts[1:])), opts[3:]
	}
	if length != len(opts) {
		err = fail(OpenMessageError, 0, nil, "%d bytes of optional parameters in %d", length, len(opts))
		return
	}
	for len(opts) > 0 {
		head := 2
		if extended {
			head = 3
		}
		if len(opts) < head {
			err = fail(OpenMessageError, 0, nil, "an optional parameter is cut off")
			return
		}
		kind, n := opts[0], int(opts[1])
		if extended {
			n = int(binary.BigEndian.Uint16(opts[1:]))
		}
		if opts = opts[head:]; n > len(opts) {
			err = fail(OpenMessageError, 0, nil, "an optional parameter is cut off")
			return
		}
		if kind != paramCapability {
			err = fail(OpenMessageError, 4, nil, "optional parameter %d", kind)
			return
		}
		for rest := opts[:n]; len(rest) > 0; {
			if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
				err = fail(OpenMessageError, 0, nil, "a capability is cut off")
				return
			}
			caps = append(caps, capability{rest[0], rest[2 : 2+rest[1]]})
			rest = rest[2+rest[1]:]
		}
		opts = opts[n:]
	}
	return
}

func buildOpen(as uint32, hold uint16, id [4]byte, caps []capability) []byte {
	b := header(Open)
	short := uint16(asTrans)
	if as <= 65535 {
		short = uint16(as)
	}
	b = append(b, 4)
	b = binary.BigEndian.AppendUint16(b, short)
	b = binary.BigEndian.AppendUint16(b, hold)
	b = append(b, id[:]...)
	var list []byte
	for _, c := range caps {
		list = append(list, c.code, uint8(len(c.value)))
		list = append(list, c.value...)
	}
	if len(list) == 0 {
		return finish(append(b, 0))
	}
	b = append(b, uint8(len(list)+2), paramCapability, uint8(len(list)))
	return finish(append(b, list...))
}

// fromOpen checks the peer's OPEN (RFC 4271 §6.2, RFC 6286) and writes the engine's.
func (g *Guard) fromOpen(msg []byte) ([]byte, error) {
	_, short, hold, id, caps, err := parseOpen(msg)
	if err != nil {
		return nil, err
	}
	open := PeerOpen{AS: uint32(short), ID: netip.AddrFrom4(id), Hold: hold}
	multiprotocol := false
	for _, c := range caps {
		switch c.code {
		case capFourOctetAS:
			if len(c.value) != 4 {
				return nil, fail(OpenMessageError, 7, nil, "a four-octet AS capability of %d bytes", len(c.value))
			}
			open.FourOctet, open.AS = true, binary.BigEndian.Uint32(c.value)
		case capMultiprotocol:
			multiprotocol = true
			if len(c.value) != 4 || c.value[3] != 1 || c.value[0] != 0 {
				continue
			}
			open.IPv4 = open.IPv4 || c.value[1] == 1
			open.IPv6 = open.IPv6 || c.value[1] == 2
		case capRouteRefresh:
			open.Refresh = true
		case capGraceful:
			if x, ok := parseGraceful(c.value); ok {
				open.Graceful = &x
			}
		}
	}
	if !multiprotocol {
		open.IPv4 = true
	}
	open.IPv4, open.IPv6 = open.IPv4 && g.cfg.IPv4, open.IPv6 && g.cfg.IPv6
	want := g.cfg.RemoteAS
	switch {
	case open.AS == 0, want != 0 && open.AS != want:
		return nil, fail(OpenMessageError, BadPeerAS, msg[20:22], "it is in AS %d, configured is AS %d", open.AS, want)
	case want == 0 && open.AS == g.cfg.LocalAS:
		return nil, fail(OpenMessageError, BadPeerAS, msg[20:22], "it is in our AS %d", open.AS)
	case open.ID.IsUnspecified(), open.AS == g.cfg.LocalAS && open.ID == g.cfg.LocalID:
		return nil, fail(OpenMessageError, 3, id[:], "BGP identifier %v", open.ID)
	case hold == 1 || hold == 2:
		return nil, fail(OpenMessageError, 6, msg[22:24], "a hold time of %d s", hold)
	}
	if x := open.Graceful; x != nil {
		x.IPv4, x.IPv6 = x.IPv4 && open.IPv4, x.IPv6 && open.IPv6
	}
	g.open = &open

	as := open.AS
	if g.cfg.StandIn != 0 && open.AS != g.cfg.LocalAS {
		as = g.cfg.StandIn
	}
	var list []capability
	if open.IPv4 || !open.IPv6 && multiprotocol {
		// No family in common: the engine gets one that it takes for IPv4's, and the session carries nothing.
		list = append(list, capability{capMultiprotocol, []byte{0, 1, 0, 1}})
	}
	if open.IPv6 {
		list = append(list, capability{capMultiprotocol, []byte{0, 2, 0, 1}})
	}
	if open.Refresh {
		list = append(list, capability{capRouteRefresh, nil})
	}
	if open.FourOctet {
		list = append(list, capability{capFourOctetAS, binary.BigEndian.AppendUint32(nil, as)})
	}
	return buildOpen(as, 0, id, list), nil
}

// toOpen writes the OPEN that the peer gets: the engine's without the capabilities that name its host and its software,
// or promise what the guard does not pass.
func (g *Guard) toOpen(msg []byte) ([]byte, error) {
	if len(msg) < 29 {
		return nil, fail(MessageHeaderError, 2, nil, "an OPEN of %d bytes", len(msg))
	}
	_, short, _, id, caps, err := parseOpen(msg)
	if err != nil {
		return nil, err
	}
	as := uint32(short)
	var list []capability
	for _, c := range caps {
		switch c.code {
		case capFourOctetAS:
			if len(c.value) == 4 {
				as = binary.BigEndian.Uint32(c.value)
				list = append(list, c)
			}
		case capMultiprotocol, capRouteRefresh:
			list = append(list, c)
		}
	}
	if x := g.cfg.Graceful; x != nil {
		own := *x
		own.IPv4, own.IPv6 = g.cfg.IPv4, g.cfg.IPv6
		own.KeptIPv4, own.KeptIPv6 = own.KeptIPv4 && own.IPv4, own.KeptIPv6 && own.IPv6
		list = append(list, capability{capGraceful, own.bytes()})
	}
	return buildOpen(as, g.cfg.Hold, id, list), nil
}

// OpenID is the BGP identifier in an OPEN message.
func OpenID(msg []byte) (netip.Addr, bool) {
	if len(msg) < 29 || msg[18] != Open {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(msg[24:28])), true
}
