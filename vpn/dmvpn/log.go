package dmvpn

import (
	"net/netip"

	"felloe/vpn/nhrp"

	"github.com/rs/zerolog"
)

// log writes one line for an event; single packets are left to the debug listener.
func (m *Manager) log(ev nhrp.Event) {
	var level zerolog.Level
	switch ev.Kind {
	case nhrp.EventPacket:
		return
	case nhrp.EventNHSDown, nhrp.EventRegistrationRefused, nhrp.EventRegistrationClaim, nhrp.EventAuthMismatch, nhrp.EventLoop:
		level = zerolog.WarnLevel
	case nhrp.EventErrorReceived:
		level = zerolog.WarnLevel
	case nhrp.EventNHSUp, nhrp.EventRegistered, nhrp.EventUnregistered, nhrp.EventShortcutInstalled, nhrp.EventShortcutExpired,
		nhrp.EventShortcutRemoved, nhrp.EventPurged, nhrp.EventResolutionFailed, nhrp.EventResolutionRefused:
		level = zerolog.InfoLevel
	default:
		level = zerolog.DebugLevel
	}
	if m.o.Log.GetLevel() > level || zerolog.GlobalLevel() > level {
		return
	}
	e := m.o.Log.WithLevel(level)
	e.Str("event", string(ev.Kind)).Str("tunnel", ev.Tunnel).Str("vrf", ev.VRF)
	addr(e, "peer", ev.Peer)
	addr(e, "nbma", ev.NBMA)
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

func message(ev nhrp.Event) string {
	switch ev.Kind {
	case nhrp.EventNHSUp:
		return "registered with the next hop server"
	case nhrp.EventNHSDown:
		return "the next hop server is lost"
	case nhrp.EventRegistered:
		return "a spoke registered"
	case nhrp.EventUnregistered:
		return "a spoke's registration ended"
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
