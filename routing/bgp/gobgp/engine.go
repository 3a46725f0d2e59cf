//go:build !js

package gobgp

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"felloe/routing/bgp"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"github.com/rs/zerolog"
)

// engine is one GoBGP server in its arena. Its methods block until GoBGP has done what they ask.
type engine struct {
	srv    *server.BgpServer
	arena  *arena
	hook   *hook
	ctx    context.Context
	cancel context.CancelFunc
	// Peers that were deleted, and those that GoBGP has let go of since: it does that later, on its own.
	deleted, freed atomic.Int64
}

// hook runs on the goroutine of GoBGP's Serve, after each thing that it did.
type hook struct {
	closing atomic.Bool
	join    atomic.Bool
	joined  bool // of Serve's goroutine
	ops     atomic.Uint64
	gone    chan struct{}
}

// world is what the instances of a process share: GoBGP's package variables.
var world struct {
	starting sync.Mutex // one start or end at a time
	engines  map[*engine]struct{}
	// still is held for reading by every Serve, and given up for a moment after each thing done. A start holds it for
	// writing, so nobody reads the variables while it writes them.
	still sync.RWMutex
}

// Observe implements server.FSMTimingHook.
func (h *hook) Observe(op server.FSMOperation, _, _ time.Duration) {
	if op == server.FSMMgmtOp {
		h.ops.Add(1)
	}
	if h.joined {
		world.still.RUnlock()
	}
	if h.closing.Load() {
		close(h.gone)
		runtime.Goexit()
	}
	if h.joined || h.join.Load() {
		world.still.RLock()
		h.joined = true
	}
}

func startEngine(cfg *bgp.Config, log zerolog.Logger, events func(*api.WatchEventResponse)) (*engine, error) {
	a, err := newArena()
	if err != nil {
		return nil, err
	}
	h := &hook{gone: make(chan struct{})}
	e := &engine{arena: a, hook: h}
	e.srv = server.NewBgpServer(server.LoggerOption(logger{log, &e.freed}), server.TimingHookOption(h))
	e.ctx, e.cancel = context.WithCancel(context.Background())
	started := make(chan error, 1)
	a.run(e.srv.Serve, started)
	if err := <-started; err != nil {
		a.close()
		return nil, fmt.Errorf("gobgp: entering the arena: %w", err)
	}
	addresses := []string{"0.0.0.0"}
	if a.ipv6 {
		addresses = append(addresses, "::")
	}
	err = whileAllStandStill(e, func() error {
		return e.srv.StartBgp(e.ctx, &api.StartBgpRequest{Global: &api.Global{
			Asn: cfg.AS, RouterId: cfg.RouterID.String(), ListenPort: bgp.Port, ListenAddresses: addresses,
		}})
	})
	if err == nil {
		err = e.srv.WatchEvent(e.ctx, &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}, events)
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("gobgp: start: %w", err)
	}
	return e, nil
}

// whileAllStandStill runs start while no other instance reads GoBGP's package variables.
func whileAllStandStill(e *engine, start func() error) error {
	world.starting.Lock()
	defer world.starting.Unlock()
	var nudges sync.WaitGroup
	var still atomic.Bool
	for other := range world.engines {
		nudges.Go(func() {
			for !still.Load() { // one that comes before Lock has begun to wait is of no use
				other.nudge()
			}
		})
	}
	world.still.Lock()
	still.Store(true)
	err := start()
	if err == nil {
		e.hook.join.Store(true)
		if world.engines == nil {
			world.engines = make(map[*engine]struct{})
		}
		world.engines[e] = struct{}{}
	}
	world.still.Unlock()
	nudges.Wait()
	if err == nil {
		e.nudge()
	}
	return err
}

// nudge makes Serve do something, so that its hook runs.
func (e *engine) nudge() {
	_ = e.srv.ListPeerGroup(context.Background(), &api.ListPeerGroupRequest{}, func(*api.PeerGroup) {})
}

// readersEnd is how long the goroutines that read from deleted peers have to end.
const readersEnd = 150 * time.Millisecond

// peersEnd is how long GoBGP may take to let go of deleted peers.
const peersEnd = 3 * time.Second

// close ends the engine. All peers must have been deleted.
func (e *engine) close() {
	world.starting.Lock()
	delete(world.engines, e)
	world.starting.Unlock()
	// The watcher's end is an operation of Serve's; without it its goroutine would wait for ever.
	before := e.hook.ops.Load()
	e.cancel()
	for range 100 {
		if e.hook.ops.Load() > before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Only Serve lets go of deleted peers; what it does not come to stays for ever: two goroutines each.
	for until := time.Now().Add(peersEnd); e.freed.Load() < e.deleted.Load() && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	// GoBGP's readers of deleted peers look at the settings that StopBgp clears, without a lock, for a moment longer.
	time.Sleep(readersEnd)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = e.srv.StopBgp(context.Background(), &api.StopBgpRequest{})
	}()
	select {
	case <-stopped:
	case <-time.After(3 * time.Second):
	}
	e.hook.closing.Store(true)
	go e.nudge()
	select {
	case <-e.hook.gone:
	case <-time.After(3 * time.Second):
	}
	e.arena.close()
}

// standIn is the AS that GoBGP takes external peers for (RFC 7300: the last two-octet AS is nobody's).
const standIn = 65535

func remoteAS(n *bgp.Neighbor, local uint32) uint32 {
	if n.External(local) {
		return standIn
	}
	return n.RemoteAS
}

// addPeer adds a passive peer.
func (e *engine) addPeer(cfg *bgp.Config, addr netip.Addr, n *bgp.Neighbor) error {
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: addr.String(), PeerAsn: remoteAS(n, cfg.AS), LocalAsn: cfg.AS,
		},
		Transport:    &api.Transport{PassiveMode: true},
		EbgpMultihop: &api.EbgpMultihop{Enabled: true, MultihopTtl: 255}, // of the arena's sockets
	}
	for _, f := range n.FamiliesOf(addr) {
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{Config: &api.AfiSafiConfig{Family: familyOf(f), Enabled: true}})
	}
	return e.srv.AddPeer(e.ctx, &api.AddPeerRequest{Peer: p})
}

func familyOf(f bgp.Family) *api.Family {
	if f == bgp.IPv6 {
		return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

func (e *engine) deletePeer(addr netip.Addr) error {
	err := e.srv.DeletePeer(e.ctx, &api.DeletePeerRequest{Address: addr.String()})
	if err == nil {
		e.deleted.Add(1)
	}
	return err
}

// state reports the state of a peer.
func (e *engine) state(addr netip.Addr, f func(api.PeerState_SessionState)) {
	_ = e.srv.ListPeer(e.ctx, &api.ListPeerRequest{Address: addr.String()}, func(p *api.Peer) { f(p.GetState().GetSessionState()) })
}
