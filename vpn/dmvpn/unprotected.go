package dmvpn

import (
	"net/netip"

	"felloe/netstack"
)

// unprotected makes the sessions of tunnels without protection: they are there at once, told apart by NBMA address only.
type unprotected map[*netstack.Tunnel]map[netip.Addr]*netstack.Session

// Open returns the session to an NBMA address: one that was opened before, the far end of a point-to-point tunnel, one that
// the data plane made for a packet that came in, or else a new one.
func (u unprotected) Open(t *netstack.Tunnel, nbma netip.Addr) *netstack.Session {
	if s := u[t][nbma]; s != nil && !s.Closed() && s.NBMA() == nbma {
		return s
	}
	s := t.Default()
	if s == nil || s.NBMA() != nbma {
		s = nil
		for _, x := range t.Sessions() {
			if x.NBMA() == nbma && !x.Closed() {
				s = x
				break
			}
		}
	}
	if s == nil {
		s = t.NewSession(nbma)
	}
	if u[t] == nil {
		u[t] = map[netip.Addr]*netstack.Session{}
	}
	u[t][nbma] = s
	return s
}

// Close ends a session. The far end of a point-to-point tunnel is configuration and stays.
func (u unprotected) Close(s *netstack.Session) {
	t := s.Tunnel()
	if u[t][s.NBMA()] == s {
		delete(u[t], s.NBMA())
	}
	if t.Default() != s {
		s.Close()
	}
}

func (u unprotected) forget(t *netstack.Tunnel) { delete(u, t) }
