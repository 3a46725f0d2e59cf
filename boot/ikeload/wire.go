package ikeload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
)

const (
	ikePort  = 500
	nattPort = 4500
)

// Sockets is the Wire of a host. On an ephemeral port it is one socket, which speaks to the far end's both ports.
type Sockets struct {
	local      netip.Addr
	ike, natt  *net.UDPConn
	raw        *net.IPConn // ESP without UDP
	frames     chan Frame
	done       chan struct{}
	once       sync.Once
	readers    sync.WaitGroup
	mu         sync.Mutex
	sendErrors int
	firstError error
}

// Listen opens them. An invalid local address is the one that leads to the target. With wellKnown they are ports 500 and
// 4500 and, when raw, ESP itself: that needs root.
func Listen(local, target netip.Addr, wellKnown, raw bool) (*Sockets, error) {
	if !local.IsValid() {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(target, ikePort)))
		if err != nil {
			return nil, fmt.Errorf("no way to %v: %w", target, err)
		}
		local = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	s := &Sockets{local: local.Unmap(), frames: make(chan Frame, 4096), done: make(chan struct{})}
	open := func(port uint16) (*net.UDPConn, error) {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.local, port)))
		if err == nil {
			// As much as the system grants: many sessions answer at once.
			_ = c.SetReadBuffer(8 << 20)
			_ = c.SetWriteBuffer(8 << 20)
		}
		return c, err
	}
	var err error
	if wellKnown {
		if s.ike, err = open(ikePort); err == nil {
			s.natt, err = open(nattPort)
		}
		if err == nil && raw {
			network := "ip4:50"
			if s.local.Is6() {
				network = "ip6:50"
			}
			s.raw, err = net.ListenIP(network, &net.IPAddr{IP: s.local.AsSlice()})
		}
	} else {
		s.ike, err = open(0)
		s.natt = s.ike
	}
	if err != nil {
		s.closeAll()
		return nil, err
	}
	s.readers.Add(1)
	go s.read(s.ike)
	if s.natt != s.ike {
		s.readers.Add(1)
		go s.read(s.natt)
	}
	if s.raw != nil {
		s.readers.Add(1)
		go s.readRaw()
	}
	go func() {
		s.readers.Wait()
		close(s.frames)
	}()
	return s, nil
}

// Local is the address that it sends from.
func (s *Sockets) Local() netip.Addr { return s.local }

// Frames implements Wire.
func (s *Sockets) Frames() <-chan Frame { return s.frames }

// Send implements Wire. What the system does not take is lost, as on any wire.
func (s *Sockets) Send(f Frame) {
	var err error
	switch {
	case f.ESP && s.raw != nil && f.Local.Port() == ikePort:
		_, err = s.raw.WriteToIP(f.Data, &net.IPAddr{IP: f.Remote.Addr().AsSlice()})
	case f.Local.Port() == nattPort && !f.ESP:
		_, err = s.natt.WriteToUDPAddrPort(append(make([]byte, 4, 4+len(f.Data)), f.Data...), f.Remote)
	case f.ESP:
		_, err = s.natt.WriteToUDPAddrPort(f.Data, f.Remote)
	default:
		_, err = s.ike.WriteToUDPAddrPort(f.Data, f.Remote)
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sendErrors++; s.firstError == nil {
			s.firstError = err
		}
	}
}

// SendErrors is how often the system refused to send, and why at first.
func (s *Sockets) SendErrors() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendErrors, s.firstError
}

// Close ends the readers.
func (s *Sockets) Close() error {
	s.once.Do(func() { close(s.done) })
	err := s.closeAll()
	s.readers.Wait()
	return err
}

func (s *Sockets) closeAll() error {
	var errs []error
	if s.ike != nil {
		errs = append(errs, s.ike.Close())
	}
	if s.natt != nil && s.natt != s.ike {
		errs = append(errs, s.natt.Close())
	}
	if s.raw != nil {
		errs = append(errs, s.raw.Close())
	}
	return errors.Join(errs...)
}

func (s *Sockets) read(c *net.UDPConn) {
	defer s.readers.Done()
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error of an earlier datagram, for example
			continue
		}
		if f, ok := s.frame(c == s.natt, unmapped(from), buf[:n]); ok && !s.deliver(f) {
			return
		}
	}
}

// frame tells IKE and ESP apart. One socket for both has IKE without a marker from the far end's port 500.
func (s *Sockets) frame(natt bool, from netip.AddrPort, b []byte) (Frame, bool) {
	f := Frame{Local: netip.AddrPortFrom(s.local, nattPort), Remote: from}
	if !natt || s.ike == s.natt && from.Port() == ikePort {
		f.Local = netip.AddrPortFrom(s.local, ikePort)
		f.Data = append([]byte(nil), b...)
		return f, true
	}
	if len(b) < 4 { // a keepalive
		return f, false
	}
	f.ESP = binary.BigEndian.Uint32(b) != 0
	if !f.ESP {
		b = b[4:]
	}
	f.Data = append([]byte(nil), b...)
	return f, true
}

func (s *Sockets) readRaw() {
	defer s.readers.Done()
	buf := make([]byte, 65536)
	for {
		n, from, err := s.raw.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		a, _ := netip.AddrFromSlice(from.IP)
		f := Frame{Local: netip.AddrPortFrom(s.local, ikePort), Remote: netip.AddrPortFrom(a.Unmap(), ikePort), ESP: true, Data: append([]byte(nil), buf[:n]...)}
		if !s.deliver(f) {
			return
		}
	}
}

func (s *Sockets) deliver(f Frame) bool {
	select {
	case s.frames <- f:
		return true
	case <-s.done:
		return false
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

var _ Wire = (*Sockets)(nil)

// interrupts of the process end a hold, this one or the next; when one is not heeded yet, the whole load.
func interrupts(signals <-chan os.Signal, next chan<- struct{}, stop func()) {
	for range signals {
		select {
		case next <- struct{}{}:
		default:
			stop()
		}
	}
}
