package qemu

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"
	"felloe/netstack/pcapng"
)

// fabric is all links of a lab: netstack/link/mem does what a link does, whoever holds its ends.
type fabric struct {
	lab     *Lab
	network *mem.Network
	links   map[string]*fabricLink
}

type fabricLink struct {
	link  *mem.Link
	ports map[End]*mem.Port
	tapMu sync.Mutex
	taps  map[int]*tap
	next  int
}

func newFabric(l *Lab, c clock.Clock) *fabric {
	network := mem.NewNetwork(c)
	f := &fabric{lab: l, network: network, links: map[string]*fabricLink{}}
	for _, k := range l.Links {
		fl := &fabricLink{ports: map[End]*mem.Port{}, taps: map[int]*tap{}}
		if len(k.Ends) == 2 {
			a, b := network.Pair(k.Ends[0].String(), k.Ends[1].String(), k.Impairment)
			fl.link = a.Link()
			fl.ports[k.Ends[0]], fl.ports[k.Ends[1]] = a, b
		} else {
			fl.link = network.Switch(k.Name, k.Impairment)
			for _, e := range k.Ends {
				fl.ports[e] = fl.link.Port(e.String())
			}
		}
		f.links[k.Name] = fl
	}
	return f
}

// port is a link's end.
func (f *fabric) port(k *Link, e End) *mem.Port { return f.links[k.Name].ports[e] }

func (f *fabric) find(name string) (*fabricLink, *Link, error) {
	k, err := f.lab.Link(name)
	if err != nil {
		return nil, nil, err
	}
	return f.links[k.Name], k, nil
}

func (f *fabric) setLink(name string, up bool, imp *mem.Impairment) error {
	fl, _, err := f.find(name)
	if err != nil {
		return err
	}
	fl.link.SetUp(up)
	if imp != nil {
		fl.link.SetImpairment(*imp)
	}
	return nil
}

// tap is one running capture.
type tap struct {
	w   *pcapng.Writer
	ids map[*mem.Port]int
}

// capture writes the frames of a link, each end an interface of the file, until the returned function is called.
func (f *fabric) capture(name string, w io.Writer) (func() error, error) {
	fl, k, err := f.find(name)
	if err != nil {
		return nil, err
	}
	pw, err := pcapng.NewWriter(w, pcapng.Section{Application: "felloe lab " + f.lab.Name, Comment: "link " + k.Name})
	if err != nil {
		return nil, err
	}
	t := &tap{w: pw, ids: map[*mem.Port]int{}}
	for _, e := range k.Ends {
		port := fl.ports[e]
		id, err := pw.AddInterface(pcapng.Interface{Name: e.String(), Description: "sent by " + e.Node})
		if err != nil {
			return nil, err
		}
		t.ids[port] = id
	}
	fl.tapMu.Lock()
	id := fl.next
	fl.next++
	fl.taps[id] = t
	fl.link.SetCapture(fl.record)
	fl.tapMu.Unlock()
	return func() error {
		fl.tapMu.Lock()
		defer fl.tapMu.Unlock()
		if fl.taps[id] == nil {
			return nil
		}
		delete(fl.taps, id)
		if len(fl.taps) == 0 {
			fl.link.SetCapture(nil)
		}
		return t.w.Close()
	}, nil
}

func (fl *fabricLink) record(at time.Time, from *mem.Port, frame []byte) {
	fl.tapMu.Lock()
	defer fl.tapMu.Unlock()
	for _, t := range fl.taps {
		// An error stays in the writer and comes out at its Close.
		_ = t.w.Write(pcapng.Packet{Interface: t.ids[from], Time: at}, frame)
	}
}

// stopCaptures completes the files of captures that still run.
func (f *fabric) stopCaptures() error {
	var errs []error
	for _, fl := range f.links {
		fl.tapMu.Lock()
		fl.link.SetCapture(nil)
		for id, t := range fl.taps {
			errs = append(errs, t.w.Close())
			delete(fl.taps, id)
		}
		fl.tapMu.Unlock()
	}
	return errors.Join(errs...)
}

// wire joins a virtual machine's NIC to a link's end: QEMU sends a datagram a frame to our socket and receives at its own.
type wire struct {
	port *mem.Port
	conn *net.UnixConn
	far  *net.UnixAddr
	out  chan *packet.Packet // frames for the machine
	done chan struct{}
}

// socketPaths are a NIC's two sockets: QEMU's and ours.
func socketPaths(dir, node string, nic int) (machine, relay string) {
	base := filepath.Join(dir, fmt.Sprintf("%s.%d", node, nic))
	return base + ".vm", base + ".relay"
}

// biggestFrame is what a NIC can send with offloads off, and more.
const biggestFrame = 16 << 10

func newWire(port *mem.Port, machine, relay string) (*wire, error) {
	_ = os.Remove(relay)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: relay, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	// A burst must not be lost between two processes; the link's own queue is what decides.
	_ = conn.SetReadBuffer(4 << 20)
	_ = conn.SetWriteBuffer(4 << 20)
	w := &wire{port: port, conn: conn, far: &net.UnixAddr{Name: machine, Net: "unixgram"}, done: make(chan struct{}),
		out: make(chan *packet.Packet, wireQueue)}
	if err := port.Start(w.deliver); err != nil {
		conn.Close()
		return nil, err
	}
	go w.read()
	go w.write()
	return w, nil
}

// wireQueue is how many frames wait for a machine that does not get to read them.
const wireQueue = 1024

// deliver runs on the network's scheduler, which must not wait for a machine: frames queue, and a full queue loses them.
func (w *wire) deliver(v []*packet.Packet) {
	for _, p := range v {
		select {
		case w.out <- p:
		default:
			w.port.Refused(1)
			p.Release()
		}
	}
}

// write hands frames to the machine. One that is off loses them, as an unplugged cable does; one that is slow has time.
func (w *wire) write() {
	for {
		select {
		case p := <-w.out:
			_ = w.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, _ = w.conn.WriteToUnix(p.Bytes(), w.far)
			p.Release()
		case <-w.done:
			return
		}
	}
}

func (w *wire) read() {
	defer close(w.done)
	buf := make([]byte, biggestFrame)
	one := make([]*packet.Packet, 1)
	for {
		n, _, err := w.conn.ReadFromUnix(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if n < 14 {
			continue
		}
		one[0] = packet.From(buf[:n])
		w.port.Send(one)
	}
}

func (w *wire) close() {
	_ = w.port.Close()
	_ = w.conn.Close()
	<-w.done
}
