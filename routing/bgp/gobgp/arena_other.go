//go:build !js && !linux

package gobgp

import (
	"errors"
	"net"
	"net/netip"
)

var errNoArena = errors.New("gobgp: BGP needs network namespaces, which only Linux has")

type arena struct{ ipv6 bool }

// Available says whether this process can make an arena.
func Available() error { return errNoArena }

func newArena() (*arena, error)                                    { return nil, errNoArena }
func (a *arena) run(_ func(), started chan<- error)                { started <- errNoArena }
func (a *arena) close()                                            {}
func (a *arena) dial(netip.Addr, netip.AddrPort) (net.Conn, error) { return nil, errNoArena }
