package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"felloe/config"
	"felloe/manage/cli"
	"felloe/manage/probe"
	"felloe/manage/syslog"
	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/netstack/link"
	"felloe/netstack/loop"
	"felloe/routing/bgp/gobgp"
	"felloe/routing/policy"
	"felloe/routing/rib"
	"felloe/vpn/authz"
	"felloe/vpn/dmvpn"
	"felloe/vpn/flexvpn"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// NIC is a network card that an Ethernet interface can be bound to, in the order of the machine's buses.
type NIC struct {
	// Name is what the world below calls it: "eth0", or a lab's "Hub:GigabitEthernet1".
	Name   string
	Driver link.Driver
}

// Options are what a router is made of. The zero value is a router without NICs on the real clock.
type Options struct {
	Clock clock.Clock
	// Rand is the source of all keys; nil means crypto/rand.
	Rand io.Reader
	NICs []NIC
	// LogSink gets every log line as JSON; nil is nobody.
	LogSink io.Writer
	// Kernel names the kernel below, and BootTimes are the milestones of the boot in milliseconds; for `show version`.
	Kernel    string
	BootTimes func() map[string]int64
	// Version is what `show version` tells.
	Version string
	// Milestone is called once when the named thing has happened for the first time: "apply", "first-ike".
	Milestone func(name string)
	// Power ends the machine: "poweroff" or "reload". It is called after the router has shut down. nil refuses both.
	Power func(kind string)
	// OpenKeyLog opens what the configuration's lab.key-log names; "" is the place by default. nil refuses key logs.
	OpenKeyLog func(path string) (KeyLog, error)
	// Reload reads the configuration again from where it came from, for `configure replace` without a file.
	Reload func() (*config.Config, config.Diagnostics, error)
}

// KeyLog takes the keys of SAs in a lab.
type KeyLog interface {
	protect.KeyLog
	io.Closer
}

// Router is one running router. Its exported methods are safe for concurrent use.
type Router struct {
	o     Options
	clock clock.Clock
	start time.Time

	logs *syslog.Log
	log  zerolog.Logger
	past *past
	loop *loop.Loop

	dp      *netstack.Dataplane
	engine  *ikev2.Engine
	authz   *authz.Manager
	cluster *clusterDriver
	books   books
	protect *protect.Manager
	dmvpn   *dmvpn.Manager
	flexvpn *flexvpn.Manager
	given   *flexvpn.Addresses
	clients *clients
	names   *names
	keylog  *keyLogSwitch

	// applying serialises Apply; the rest belongs to the control loop.
	applying  sync.Mutex
	applied   *config.Config
	vrfs      map[string]*vrf
	ifs       map[string]*iface
	fell      map[string]bool // interfaces that the Apply has taken away and that were up
	bgps      map[string]*speaker
	pins      rib.Pins // far ends of tunnels
	policies  *policy.Policies
	servers   map[int]func() // tracked objects of next hop servers: ends the watch
	judging   map[int]func() // tracked objects that route maps look at: ends the watch
	tracks    *tracks
	prompt    *prompt // nil until it is needed
	bfdWatch  map[*bfdWatch]struct{}
	dynamic   gobgp.Limit // of the dynamic BGP neighbours of all VRFs
	ikeApply  ikev2.Config
	templates map[string]flexvpn.Template // as they were applied
	tcp       sync.Map                    // VRF name to *tcpmd5.Table, the rules of its TCP peers
	problems  []string
	once      map[string]bool
	cleared   map[uint32]baseline // counters of SA pairs when they were cleared, by inbound SPI
	stopped   bool

	bfdPassive atomic.Pointer[[]passiveRule]

	punted   atomic.Uint64 // punts that were refused
	treeOnce sync.Once
	tree     *cli.Tree
}

// vrf is a VRF with what stands on it.
type vrf struct {
	net    *netstack.VRF
	rib    *rib.RIB
	prober *probe.Prober
	static map[string]*staticRoute
	// what was attached to it: who heeds its routes, takes BFD's packets, and answers to pings.
	heeded, bfd, echo bool
}

// ErrStopped says that the router has been shut down.
var ErrStopped = errors.New("router is stopped")

// New makes a router that has no configuration yet: only its default VRF exists, and nothing is sent.
func New(o Options) (*Router, error) {
	if o.Clock == nil {
		o.Clock = clock.Real
	}
	o.NICs = slices.Clone(o.NICs)
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	for n := range o.NICs {
		o.NICs[n].Driver = &socket{Driver: o.NICs[n].Driver}
	}
	r := &Router{o: o, clock: o.Clock, start: o.Clock.Now(), vrfs: map[string]*vrf{}, ifs: map[string]*iface{}, fell: map[string]bool{}, bgps: map[string]*speaker{},
		once: map[string]bool{}, templates: map[string]flexvpn.Template{}, applied: config.New(), keylog: &keyLogSwitch{open: o.OpenKeyLog}}
	r.logs = syslog.New(config.New().Logging.Buffered, o.Clock.Now, o.LogSink)
	r.log = r.logs.Logger()
	r.past = r.newPast()
	r.loop = loop.New(o.Clock, r.log)
	r.dp = netstack.New(netstack.Options{Clock: o.Clock, Log: r.log, QuietStates: true, Rand: o.Rand, Punt: r.punt, WrapHost: r.wrapHost})
	r.tracks, r.bfdWatch = r.newTracks(), map[*bfdWatch]struct{}{}
	r.authz = authz.New()
	r.cluster = newCluster(r)
	r.engine = ikev2.NewEngine(ikev2.Config{}, o.Rand)
	var err error
	r.engine.Trace(r.logs.Debugging)
	r.protect, err = protect.New(protect.Options{Loop: r.loop, Dataplane: r.dp, Engine: timed{r.engine, r}, Log: r.log, Events: r.sessionEvent, Exchanged: r.exchanged, Carried: r.carried,
		Way: r.outsideWay, KeyLog: r.keylog, Rand: o.Rand})
	if err == nil {
		r.dmvpn, err = r.newDMVPN()
	}
	r.given = flexvpn.NewAddresses(r.assign)
	r.clients, r.names = newClients(r), newNames(r)
	if err == nil {
		r.flexvpn, err = r.newFlexVPN()
	}
	if err == nil {
		err = r.call("make the default vrf", func() error { return r.addVRF(config.DefaultVRF) })
	}
	if err != nil {
		r.dp.Close()
		r.loop.Close()
		return nil, err
	}
	return r, nil
}

// Log is the router's log.
func (r *Router) Log() *syslog.Log { return r.logs }

// Hostname is the configured name.
func (r *Router) Hostname() string {
	name := ""
	_ = r.call("hostname", func() error { name = r.applied.Hostname; return nil })
	return name
}

// Dataplane is the router's data plane, for captures and tests.
func (r *Router) Dataplane() *netstack.Dataplane { return r.dp }

// call runs f on the control loop and returns its error.
func (r *Router) call(name string, f func() error) error {
	var err error
	if lerr := r.loop.Call(name, func() { err = f() }); lerr != nil {
		return fmt.Errorf("%s: %w", name, lerr)
	}
	return err
}

// milestone tells of a first time. On the loop.
func (r *Router) milestone(name string) {
	if r.o.Milestone != nil && !r.once[name] {
		r.once[name] = true
		r.o.Milestone(name)
	}
}

// Shutdown says goodbye to all peers (BGP, NHRP, IKE deletes), then stops the data plane. It takes as long as the peers
// need to acknowledge, or until ctx ends.
func (r *Router) Shutdown(ctx context.Context) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	r.leaveCluster(ctx)
	gone := make(chan struct{})
	err := r.call("shut down", func() error {
		if r.stopped {
			return ErrStopped
		}
		r.stopped = true
		r.log.Info().Str("event", "shutdown").Msg("the router shuts down")
		r.cluster.stop()
		r.stopBGP()
		r.clients.stop()
		if r.prompt != nil {
			r.prompt.close()
		}
		for _, n := range r.tunnels() {
			r.dmvpn.Remove(n)
		}
		r.protect.Shutdown(func() { close(gone) })
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-gone:
	case <-ctx.Done():
		err = fmt.Errorf("peers did not all acknowledge: %w", ctx.Err())
	}
	r.dp.Close()
	r.loop.Close()
	for _, n := range r.o.NICs {
		err = errors.Join(err, n.Driver.(*socket).Driver.Close())
	}
	return errors.Join(err, r.keylog.Close())
}
