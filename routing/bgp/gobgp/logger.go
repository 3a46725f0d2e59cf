//go:build !js

package gobgp

import (
	"fmt"
	"sync/atomic"

	gobgplog "github.com/osrg/gobgp/v3/pkg/log"
	"github.com/rs/zerolog"
)

// logger gives GoBGP's lines to the router's log, at debug level all of them: what the operator should know is said by
// bgp in its own words.
type logger struct {
	log   zerolog.Logger
	freed *atomic.Int64 // peers that GoBGP has let go of
}

// freed is what GoBGP says when a deleted peer's goroutines have ended and its queues are about to be closed.
const freed = "freed fsm.h"

func (l logger) line(level, msg string, fields gobgplog.Fields) {
	e := l.log.Debug()
	if !e.Enabled() {
		return
	}
	e = e.Str("engine", "gobgp").Str("level-there", level)
	for k, v := range fields {
		switch k {
		case "Key":
			e = e.Str("peer", fmt.Sprint(v))
		case "Topic", "State", "Reason":
			e = e.Str(k, fmt.Sprint(v))
		}
	}
	e.Msg(msg)
}

// Panic is for what GoBGP takes for its own fault. The caller goes on after it, which is what a router should do.
func (l logger) Panic(msg string, f gobgplog.Fields) {
	l.log.Error().Str("engine", "gobgp").Str("peer", fmt.Sprint(f["Key"])).Msg(msg)
}
func (l logger) Fatal(msg string, f gobgplog.Fields) { l.Panic(msg, f) }
func (l logger) Error(msg string, f gobgplog.Fields) { l.line("error", msg, f) }
func (l logger) Warn(msg string, f gobgplog.Fields)  { l.line("warn", msg, f) }
func (l logger) Info(msg string, f gobgplog.Fields)  { l.line("info", msg, f) }
func (l logger) SetLevel(gobgplog.LogLevel)          {}
func (l logger) Debug(msg string, f gobgplog.Fields) {
	if msg == freed {
		l.freed.Add(1)
	}
}

// GetLevel keeps GoBGP from formatting whole messages for lines that nobody reads.
func (l logger) GetLevel() gobgplog.LogLevel { return gobgplog.InfoLevel }
