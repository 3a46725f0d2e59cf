package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/ip"
	"felloe/netstack/packet"
	"felloe/routing/bgp"
	"felloe/routing/bgp/tcpnet"
)

// asks is how tracked objects' probes ask. It belongs to the prompt loop, but for targets, which data workers look answers up
// in.
type asks struct {
	p       *prompt
	targets sync.Map // int to *target
	open    map[question]context.CancelFunc
	token   [8]byte
}

type question struct {
	id  int
	seq uint32
}

// target is what one probe asks.
type target struct {
	leafSpec
	id   int
	last atomic.Uint32 // sequence number
}

func newAsks(p *prompt) *asks {
	a := &asks{p: p, open: map[question]context.CancelFunc{}}
	_, _ = io.ReadFull(p.r.o.Rand, a.token[:])
	return a
}

func (a *asks) set(id int, s leafSpec) { a.targets.Store(id, &target{leafSpec: s, id: id}) }
func (a *asks) remove(id int)          { a.targets.Delete(id) }

// Report implements track.Host.
func (a *asks) Report(id int, up bool, reason string) {
	r := a.p.r
	x, ok := a.targets.Load(id)
	if !ok {
		return
	}
	about := x.(*target).leafSpec
	r.loop.Post("track", func() {
		// The object may be another one by now.
		if l := r.tracks.leaves[id]; l != nil && l.spec == about {
			r.tracks.Report(id, up, reason)
		}
	})
}

// Forget implements track.Host.
func (a *asks) Forget(id int, seq uint32) { a.done(id, seq) }

func (a *asks) done(id int, seq uint32) {
	q := question{id, seq}
	if cancel := a.open[q]; cancel != nil {
		delete(a.open, q)
		cancel()
	}
}

func (a *asks) close() {
	for _, cancel := range a.open {
		cancel()
	}
	clear(a.open)
}

var errNoVRF = errors.New("there is no such vrf")

// Ask implements track.Host.
func (a *asks) Ask(id int, seq uint32) error {
	x, ok := a.targets.Load(id)
	if !ok {
		return errors.New("nobody is asked")
	}
	t := x.(*target)
	v, ok := a.p.r.dp.VRF(t.VRF)
	if !ok {
		return errNoVRF
	}
	if t.Kind == "icmp-echo" {
		return a.ping(v, t, seq)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.open[question{id, seq}] = cancel
	go func() {
		defer cancel()
		failure := ""
		defer func() {
			if cause := recover(); cause != nil {
				failure = fmt.Sprint(cause)
			}
			a.p.answered(id, seq, failure)
		}()
		var err error
		if t.Kind == "http" {
			err = a.get(ctx, v, t)
		} else {
			err = a.connect(ctx, v, t)
		}
		if err != nil {
			failure = err.Error()
		}
	}()
	return nil
}

// source is our address for a question.
func (a *asks) source(v *netstack.VRF, t *target, to netip.Addr) (netip.Addr, error) {
	if !t.Source.IsZero() {
		if src := a.p.r.addressOf(t.Source, to); src.IsValid() {
			return src, nil
		}
		return netip.Addr{}, fmt.Errorf("%s has no address of the right family", t.Source)
	}
	src, ok := v.SourceFor(to)
	if !ok {
		return src, fmt.Errorf("no route to %s", to)
	}
	return src, nil
}

// ping sends an echo request. Its identifier is the object's number (others that ping here have identifiers from 0xc000), and
// what it carries tells its answer from what others might send.
func (a *asks) ping(v *netstack.VRF, t *target, seq uint32) error {
	src, err := a.source(v, t, t.Address)
	if err != nil {
		return err
	}
	t.last.Store(seq)
	p := packet.Get(8 + t.Size)
	b := p.Append(8 + t.Size)
	clear(b)
	binary.BigEndian.PutUint16(b[4:], uint16(t.id))
	binary.BigEndian.PutUint16(b[6:], uint16(seq))
	copy(b[8:], a.token[:])
	o := ip.Outer{Src: src, Dst: t.Address, TTL: 255}
	if src.Is4() {
		b[0], o.Proto = ip.Echo, ip.ICMP
		binary.BigEndian.PutUint16(b[2:], ^ip.Sum(b, 0))
	} else {
		b[0], o.Proto = ip.V6Echo, ip.ICMPv6
		binary.BigEndian.PutUint16(b[2:], ip.L4Checksum(src, t.Address, ip.ICMPv6, b))
	}
	o.Prepend(p)
	return v.SendIP(p)
}

// echoed takes an echo reply. On data workers.
func (a *asks) echoed(vrf string, p *packet.Packet) {
	var h ip.Header
	b := p.Bytes()
	if ip.Parse(b, &h) != nil || h.L4 == 0 || h.L4+8 > h.Len {
		return
	}
	m := b[h.L4:h.Len]
	if !(h.Version == 4 && h.Proto == ip.ICMP && m[0] == ip.EchoReply) && !(h.Version == 6 && h.Proto == ip.ICMPv6 && m[0] == ip.V6EchoReply) {
		return
	}
	x, ok := a.targets.Load(int(binary.BigEndian.Uint16(m[4:])))
	if !ok {
		return
	}
	t := x.(*target)
	n := min(t.Size, len(a.token))
	if t.Kind != "icmp-echo" || t.VRF != vrf || t.Address != h.Src || len(m) < 8+n || string(m[8:8+n]) != string(a.token[:n]) {
		return
	}
	last := t.last.Load()
	seq := last&^0xffff | uint32(binary.BigEndian.Uint16(m[6:]))
	if seq > last {
		seq -= 1 << 16
	}
	a.p.answered(t.id, seq, "")
}

func (a *asks) dial(ctx context.Context, v *netstack.VRF, t *target, to netip.AddrPort) (net.Conn, error) {
	src, err := a.source(v, t, to.Addr())
	if err != nil {
		return nil, err
	}
	return tcpnet.New(tcpnet.Options{Stack: v.Stack()}).DialTCP(ctx, netip.AddrPortFrom(src, 0), to, bgp.SocketOptions{})
}

// connect opens a TCP connection and closes it again.
func (a *asks) connect(ctx context.Context, v *netstack.VRF, t *target) error {
	c, err := a.dial(ctx, v, t, netip.AddrPortFrom(t.Address, t.Port))
	if err != nil {
		return err
	}
	return c.Close()
}

// get asks a web server and looks at the status.
func (a *asks) get(ctx context.Context, v *netstack.VRF, t *target) error {
	u, err := url.Parse(t.URL)
	if err != nil {
		return err
	}
	port := uint64(80)
	if s := u.Port(); s != "" {
		if port, err = strconv.ParseUint(s, 10, 16); err != nil {
			return err
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			host, err := a.addressOfHost(ctx, u.Hostname(), t.Source)
			if err != nil {
				return nil, err
			}
			return a.dial(ctx, v, t, netip.AddrPortFrom(host, uint16(port)))
		}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "felloe")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if !strings.Contains(" "+strings.Trim(t.Status, "[]")+" ", fmt.Sprintf(" %d ", res.StatusCode)) {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// listenEcho takes the answers to pings in a VRF.
func (r *Router) listenEcho(name string) {
	v := r.vrfs[name]
	if v == nil || v.echo {
		return
	}
	v.echo = true
	a := r.prompt.asks
	v.net.HandleICMP(func(p *packet.Packet) { a.echoed(name, p) })
}

// addressOfHost is the address of a host that may have a name. On any goroutine.
func (a *asks) addressOfHost(ctx context.Context, host string, source config.Local) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr, nil
	}
	families := []bool{false, true}
	if source.Address.IsValid() {
		families = []bool{source.Address.Is6()}
	}
	var errs []error
	for _, v6 := range families {
		addrs, err := a.p.r.names.Lookup(ctx, host, v6)
		if len(addrs) > 0 {
			return addrs[0], nil
		}
		errs = append(errs, err)
	}
	return netip.Addr{}, errors.Join(errs...)
}
