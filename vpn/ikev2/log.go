package ikev2

import (
	"github.com/rs/zerolog"
)

func (s *session) log(level zerolog.Level, msg string, fields ...Field) {
	s.e.emit(Log{Level: level, SA: s.id, VRF: s.vrf, Local: s.local, Remote: s.remote, Msg: msg, Fields: fields})
}

// logPlain is for what anybody can cause: so often and no more.
func (e *Engine) logPlain(level zerolog.Level, d Datagram, msg string, fields ...Field) {
	if e.quiet.take(e.now) {
		e.emit(Log{Level: level, VRF: d.VRF, Local: d.Local, Remote: d.Remote, Msg: msg, Fields: fields})
	}
}
