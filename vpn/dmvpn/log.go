package dmvpn

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/vpn/nhrp"

	"github.com/rs/zerolog"
)

// line is how an event is logged: at which level, under which of IOS's mnemonics, for which debugging when it is only
// for that.
type line struct {
	level    zerolog.Level
	mnemonic string
	debug    string
}

func lineOf(ev *nhrp.Event) line {
	switch ev.Kind {
	case nhrp.EventNHSUp:
		return line{zerolog.InfoLevel, "DMVPN-5-NHRP_NHS", ""}
	case nhrp.EventNHSDown:
		return line{zerolog.WarnLevel, "DMVPN-5-NHRP_NHS", ""}
	case nhrp.EventRegistered, nhrp.EventUnregistered:
		return line{zerolog.InfoLevel, "DMVPN-5-NHRP_NHC", ""}
	case nhrp.EventShortcutInstalled, nhrp.EventShortcutExpired, nhrp.EventShortcutRemoved, nhrp.EventPurged:
		return line{zerolog.InfoLevel, "DMVPN-5-NHRP_CACHE", ""}
	case nhrp.EventRegistrationRefused, nhrp.EventErrorReceived:
		return line{zerolog.WarnLevel, "NHRP-3-PAKERROR", ""}
	case nhrp.EventRegistrationClaim, nhrp.EventAuthMismatch, nhrp.EventLoop:
		return line{zerolog.WarnLevel, "DMVPN-3-NHRP_ERROR", ""}
	case nhrp.EventResolutionFailed, nhrp.EventResolutionRefused:
		return line{zerolog.InfoLevel, "DMVPN-6-NHRP_RES", ""}
	case nhrp.EventPacket:
		return line{zerolog.DebugLevel, "", "nhrp packet"}
	case nhrp.EventShortcutRefreshed:
		return line{zerolog.DebugLevel, "", "nhrp cache"}
	case nhrp.EventErrorSent, nhrp.EventDropped:
		return line{zerolog.DebugLevel, "", "nhrp error"}
	}
	return line{zerolog.DebugLevel, "", "nhrp detail"}
}

// log writes one line for an event. The fields are the house's: peer is the NBMA address, peer-tunnel the tunnel address.
func (m *Manager) log(ev nhrp.Event) {
	l := lineOf(&ev)
	var e *zerolog.Event
	switch l.level {
	case zerolog.DebugLevel:
		if e = m.o.Log.Debug(); e.Enabled() {
			e.Str("debug", l.debug)
		}
	case zerolog.WarnLevel:
		e = m.o.Log.Warn()
	default:
		e = m.o.Log.Info()
	}
	if !e.Enabled() {
		return
	}
	if l.mnemonic != "" {
		e.Str("mnemonic", l.mnemonic)
	}
	e.Str("event", string(ev.Kind)).Str("tunnel", ev.Tunnel)
	if ev.VRF != "" && ev.VRF != "default" {
		e.Str("vrf", ev.VRF)
	}
	addr(e, "peer", ev.NBMA)
	addr(e, "peer-tunnel", ev.Peer)
	if ev.Kind == nhrp.EventPacket {
		e.Uint32("request", ev.Packet.RequestID).Int("bytes", ev.Packet.Size).Msg(packetLine(&ev))
		return
	}
	addr(e, "next_hop", ev.NextHop)
	if ev.Prefix.IsValid() {
		e.Stringer("prefix", ev.Prefix)
	}
	if ev.Identity != "" {
		e.Str("identity", ev.Identity)
	}
	if ev.Reason != "" {
		e.Str("reason", ev.Reason)
	}
	e.Msg(message(ev))
}

func addr(e *zerolog.Event, key string, a netip.Addr) {
	if a.IsValid() {
		e.Stringer(key, a)
	}
}

// packetLine is one packet in a line, as IOS's `debug nhrp packet` has it in several.
func packetLine(ev *nhrp.Event) string {
	p := &ev.Packet
	var b strings.Builder
	verb, to := "Receive", "from"
	if ev.Local {
		verb, to = "Send", "to"
	}
	fmt.Fprintf(&b, "%s %s via %s, %d bytes, %s %s: src %s (NBMA %s), dst %s, hops %d, reqid %d", verb, p.Type, ev.Tunnel, p.Size, to, text(ev.NBMA),
		text(p.Src), text(p.SrcNBMA), text(p.Dst), p.HopCount, p.RequestID)
	if p.Code != "" {
		fmt.Fprintf(&b, ", code %s", p.Code)
	}
	if p.Entries > 0 {
		fmt.Fprintf(&b, "; prefix length %d, hold %d s", p.PrefixLen, p.Hold)
		if p.NextHop.IsValid() {
			fmt.Fprintf(&b, ", client %s", p.NextHop)
		}
		if p.NBMA.IsValid() {
			fmt.Fprintf(&b, ", client NBMA %s", p.NBMA)
		}
		if p.Entries > 1 {
			fmt.Fprintf(&b, " and %d more", p.Entries-1)
		}
	}
	return b.String()
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func message(ev nhrp.Event) string {
	ends := fmt.Sprintf("(Tunnel: %s NBMA: %s)", text(ev.Peer), text(ev.NBMA))
	switch ev.Kind {
	case nhrp.EventNHSUp:
		return fmt.Sprintf("%s: Next Hop Server %s is UP", ev.Tunnel, ends)
	case nhrp.EventNHSDown:
		return fmt.Sprintf("%s: Next Hop Server %s is DOWN", ev.Tunnel, ends)
	case nhrp.EventRegistered:
		return fmt.Sprintf("%s: Next Hop Client %s is UP", ev.Tunnel, ends)
	case nhrp.EventUnregistered:
		return fmt.Sprintf("%s: Next Hop Client %s is DOWN", ev.Tunnel, ends)
	case nhrp.EventRegistrationRefused:
		if ev.Local {
			return "refused a registration"
		}
		return "the next hop server refuses our registration"
	case nhrp.EventRegistrationClaim:
		return "a registered tunnel address is claimed by another session"
	case nhrp.EventRedirectSent:
		return "sent a redirect"
	case nhrp.EventRedirectReceived:
		return "received a redirect"
	case nhrp.EventResolutionSent:
		return "asked for a shortcut"
	case nhrp.EventResolutionAnswered:
		return "answered a resolution"
	case nhrp.EventResolutionRefused:
		return "a resolution was refused"
	case nhrp.EventResolutionFailed:
		return "a resolution failed"
	case nhrp.EventShortcutInstalled:
		return "installed a shortcut"
	case nhrp.EventShortcutRefreshed:
		return "refreshed a shortcut"
	case nhrp.EventShortcutExpired:
		return "a shortcut expired"
	case nhrp.EventShortcutRemoved:
		return "removed a shortcut"
	case nhrp.EventPurged:
		if ev.Local {
			return "withdrew an answer"
		}
		return "an answer was withdrawn"
	case nhrp.EventAuthMismatch:
		return "wrong NHRP authentication: compare the authentication string with the peer's"
	case nhrp.EventErrorSent:
		return "sent an error indication"
	case nhrp.EventErrorReceived:
		return "the peer reports an error"
	case nhrp.EventLoop:
		return "an NHRP packet went in a circle"
	}
	return "dropped an NHRP packet"
}
