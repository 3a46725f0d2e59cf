package boot

import (
	"sync"

	"felloe/netstack/link"
	"felloe/netstack/packet"
)

// socket keeps a NIC's driver open while interfaces come and go on it: closing an interface unplugs it, the next one (of
// another VRF, another name) plugs in again. What arrives in between is dropped. The driver itself is closed with the
// router.
type socket struct {
	link.Driver

	mu      sync.RWMutex // held for reading while an input runs
	started bool
	input   func([]*packet.Packet)
	onState func(bool)
	up      bool
	watched bool
}

// Start implements link.Driver.
func (s *socket) Start(input func(v []*packet.Packet)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.input = input
	if s.started {
		return nil
	}
	if err := s.Driver.Start(s.deliver); err != nil {
		s.input = nil
		return err
	}
	s.started = true
	return nil
}

func (s *socket) deliver(v []*packet.Packet) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.input == nil {
		packet.ReleaseAll(v)
		return
	}
	s.input(v)
}

// OnState implements link.Driver.
func (s *socket) OnState(f func(up bool)) {
	s.mu.Lock()
	s.onState = f
	first, up := !s.watched, s.up
	s.watched = true
	s.mu.Unlock()
	if first {
		s.Driver.OnState(s.state)
	} else if f != nil {
		f(up)
	}
}

func (s *socket) state(up bool) {
	s.mu.Lock()
	s.up = up
	f := s.onState
	s.mu.Unlock()
	if f != nil {
		f(up)
	}
}

// Close implements link.Driver: it unplugs the interface.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.input, s.onState = nil, nil
	return nil
}
