package bfd

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Filter is what stands in front of an engine where packets come in: it may be asked from several goroutines, allocates
// nothing, and lets through what the engine should look at. Its zero value lets only those through who do not know our
// number: Host.Number should fill it.
type Filter struct {
	known sync.Map // of uint32

	hopLimit, malformed, unknown atomic.Uint64
}

// Number is Host.Number.
func (f *Filter) Number(mine uint32, used bool) {
	if used {
		f.known.Store(mine, nil)
	} else {
		f.known.Delete(mine)
	}
}

// Admit says whether the engine should see a packet, and whether its sender knows the number of a session. Those who do
// not should wait in a queue of their own.
func (f *Filter) Admit(multihop bool, hopLimit uint8, b []byte) (ok, knows bool) {
	if !multihop && hopLimit != 255 {
		f.hopLimit.Add(1)
		return false, false
	}
	if len(b) < Size || b[0]>>5 != version {
		f.malformed.Add(1)
		return false, false
	}
	yours := binary.BigEndian.Uint32(b[8:])
	if yours == 0 {
		return true, false
	}
	if _, knows = f.known.Load(yours); knows {
		return true, true
	}
	if multihop && State(b[1]>>6) == Down {
		return true, false // it may begin a session
	}
	f.unknown.Add(1)
	return false, false
}

// ClearCounters counts from zero.
func (f *Filter) ClearCounters() {
	f.hopLimit.Store(0)
	f.malformed.Store(0)
	f.unknown.Store(0)
}

// Count adds what was refused here to an engine's counters.
func (f *Filter) Count(c Counters) Counters {
	c.HopLimit += f.hopLimit.Load()
	c.Malformed += f.malformed.Load()
	c.Unknown += f.unknown.Load()
	return c
}
