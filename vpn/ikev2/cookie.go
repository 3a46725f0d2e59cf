package ikev2

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"felloe/vpn/ikev2/message"
	"felloe/vpn/ikev2/suite"
)

// cookieJar makes and checks cookies without remembering whom it gave them to (RFC 7296 §2.6):
//
//	version | HMAC-SHA-256(secret of the version, Ni | address | port | SPIi)
//
// The secret is replaced every cookieLife while cookies are asked for; the one before is still good.
type cookieJar struct {
	secrets [2][]byte
	version uint8
	since   time.Time
}

const cookieLife = time.Minute

func (j *cookieJar) make(e *Engine, ni []byte, remote netip.AddrPort, spi uint64) []byte {
	if j.since.IsZero() || e.now.Sub(j.since) >= cookieLife {
		j.version++
		if e.now.Sub(j.since) >= 2*cookieLife {
			j.secrets[(j.version+1)%2] = nil
		}
		j.secrets[j.version%2], j.since = e.random(32), e.now
	}
	return j.cookie(j.version, ni, remote, spi)
}

func (j *cookieJar) check(e *Engine, cookie, ni []byte, remote netip.AddrPort, spi uint64) bool {
	if len(cookie) != 1+sha256.Size || e.now.Sub(j.since) >= 2*cookieLife {
		return false
	}
	v := cookie[0]
	if v != j.version && v != j.version-1 || j.secrets[v%2] == nil {
		return false
	}
	return suite.EqualMAC(cookie, j.cookie(v, ni, remote, spi))
}

func (j *cookieJar) cookie(version uint8, ni []byte, remote netip.AddrPort, spi uint64) []byte {
	m := hmac.New(sha256.New, j.secrets[version%2])
	m.Write(ni)
	addr := remote.Addr().As16()
	m.Write(addr[:])
	m.Write(binary.BigEndian.AppendUint16(nil, remote.Port()))
	m.Write(be64(spi))
	return m.Sum([]byte{version})
}

// admit says whether an IKE_SA_INIT request may cost us memory. Else it was answered with a cookie, or dropped.
func (e *Engine) admit(d Datagram, h message.Header) bool {
	cookie, nonce := message.Peek(d.Data)
	if nonce == nil {
		e.counters.Malformed++
		return false
	}
	if t := e.cfg.CookieThreshold; (t < 0 || e.halfOpen >= t) && !e.cookies.check(e, cookie, nonce, d.Remote, h.SPIi) {
		e.challenge(d, h, cookie, nonce)
		return false
	}
	if e.halfOpen >= e.cfg.MaxHalfOpen || e.halfOpenFrom[d.Remote.Addr()] >= e.cfg.MaxHalfOpenPeer || len(e.sas) >= e.cfg.MaxSAs {
		e.counters.HalfOpenRefused++
		return false
	}
	return true
}

// challenge asks the sender of an IKE_SA_INIT request to show that it is where it says.
func (e *Engine) challenge(d Datagram, h message.Header, cookie, nonce []byte) {
	if cookie != nil {
		e.counters.CookiesBad++
	}
	e.counters.CookiesSent++
	e.answerInit(d, h, &message.Notify{Message: message.COOKIE, Data: e.cookies.make(e, nonce, d.Remote, h.SPIi)})
}

// count and uncount keep the number of half-open SAs.
func (sa *ikeSA) count() {
	a := sa.hs.key.remote.Addr()
	sa.counted = a
	sa.e.halfOpen++
	sa.e.halfOpenFrom[a]++
}

func (sa *ikeSA) uncount() {
	a := sa.counted
	if !a.IsValid() {
		return
	}
	sa.counted = netip.Addr{}
	sa.e.halfOpen--
	if sa.e.halfOpenFrom[a]--; sa.e.halfOpenFrom[a] <= 0 {
		delete(sa.e.halfOpenFrom, a)
	}
}
