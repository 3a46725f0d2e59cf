package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"felloe/tests/interop/peers"
)

// sender is a speaker that says whatever it is told to.
type sender struct {
	conn  net.Conn
	notes chan notification // closed when the session has ended
}

type notification struct{ code, subcode byte }

const (
	typeOpen = 1 + iota
	typeUpdate
	typeNotification
	typeKeepalive
)

func message(kind byte, body []byte) []byte {
	b := make([]byte, 19, 19+len(body))
	for i := range 16 {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint16(b[16:], uint16(19+len(body)))
	b[18] = kind
	return append(b, body...)
}

// dial opens a session from the namespace: AS 65004, four-octet AS numbers, IPv4 and IPv6.
func dial(n *peers.Namespace, router string) (*sender, error) {
	var conn net.Conn
	var err error
	n.Do(func() { conn, err = (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", router+":179") })
	if err != nil {
		return nil, err
	}
	open := []byte{4, 0xfd, 0xec, 0, 90, 192, 0, 2, 4, 0, // version, AS 65004, hold time, identifier
		2, 6, 1, 4, 0, 1, 0, 1, // IPv4 unicast
		2, 6, 1, 4, 0, 2, 0, 1, // IPv6 unicast
		2, 6, 65, 4, 0, 0, 0xfd, 0xec} // four-octet AS
	open[9] = byte(len(open) - 10)
	s := &sender{conn: conn, notes: make(chan notification, 1)}
	if err := errors.Join(s.send(message(typeOpen, open)), s.expect(typeOpen), s.send(message(typeKeepalive, nil)), s.expect(typeKeepalive)); err != nil {
		conn.Close()
		return nil, err
	}
	go s.read()
	return s, nil
}

func (s *sender) send(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

func (s *sender) receive() (kind byte, body []byte, err error) {
	head := make([]byte, 19)
	if _, err := io.ReadFull(s.conn, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(binary.BigEndian.Uint16(head[16:]))-19)
	_, err = io.ReadFull(s.conn, body)
	return head[18], body, err
}

func (s *sender) expect(want byte) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	kind, body, err := s.receive()
	if err != nil {
		return err
	}
	if kind != want {
		return fmt.Errorf("message type %d (% x) instead of %d", kind, body, want)
	}
	return s.conn.SetReadDeadline(time.Time{})
}

func (s *sender) read() {
	defer close(s.notes)
	for {
		kind, body, err := s.receive()
		if err != nil {
			return
		}
		if kind == typeNotification && len(body) >= 2 {
			s.notes <- notification{body[0], body[1]}
			return
		}
	}
}

// ended says with which notification the session has ended, if it has within this time.
func (s *sender) ended(within time.Duration) (n notification, yes bool) {
	select {
	case n = <-s.notes:
		return n, true
	case <-time.After(within):
		return n, false
	}
}

func (s *sender) close() { _ = s.conn.Close() }

// attribute is a path attribute: flags, type and value as they are told.
func attribute(flags, kind byte, value ...byte) []byte {
	if flags&0x10 != 0 {
		return append([]byte{flags, kind, byte(len(value) >> 8), byte(len(value))}, value...)
	}
	return append([]byte{flags, kind, byte(len(value))}, value...)
}

// update is an UPDATE that announces these prefixes with these attributes.
func update(nlri []byte, attributes ...[]byte) []byte {
	var all []byte
	for _, a := range attributes {
		all = append(all, a...)
	}
	body := []byte{0, 0, byte(len(all) >> 8), byte(len(all))}
	return message(typeUpdate, append(append(body, all...), nlri...))
}
