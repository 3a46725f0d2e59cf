package boot

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"felloe/config"
	"felloe/netstack"
	"felloe/netstack/clock"
	"felloe/vpn/flexvpn/client"
	"felloe/vpn/protect"

	"github.com/rs/zerolog"
)

// clients joins the client blocks (package client) to tunnel protection, tracked objects, interfaces, names and the log.
type clients struct {
	*client.Manager
	r       *Router
	blocks  map[string]client.Config
	calls   map[*netstack.Session]uint64
	watches map[int]func()
	backups map[string]bool // by interface: whether it is up
	timer   clock.Timer
	at      time.Time
}

// lingering is how long a tunnel's former session receives after a move: until the routes of the networks behind the hubs
// know of it.
const lingering = 10 * time.Second

func newClients(r *Router) *clients {
	c := &clients{r: r, blocks: map[string]client.Config{}, calls: map[*netstack.Session]uint64{},
		watches: map[int]func(){}, backups: map[string]bool{}}
	c.Manager = client.New(c)
	return c
}

// clientSpecs translates the client blocks.
func clientSpecs(c *config.Config) map[string]client.Config {
	out := map[string]client.Config{}
	for name, b := range c.IKEv2.Client {
		t := c.Interface[b.ClientConnect]
		if t == nil {
			continue // the configuration has said so
		}
		v6 := outerIPv6(t)
		x := client.Config{Name: name, Tunnel: b.ClientConnect, Manual: b.Connect.Mode == config.ConnectManual, IPv6: v6, Reactivate: b.PeerReactivate,
			ReactivateInterval: b.ReactivateInterval, BackupGroup: b.BackupGroup, BackupInterface: b.BackupInterface}
		if t.Shutdown {
			x.Off = b.ClientConnect + " is shut down"
		}
		if b.Connect.Mode == config.ConnectTrack {
			x.Wanted = client.Condition{Track: b.Connect.Track, Down: b.Connect.State == config.TrackDown}
		}
		for _, p := range b.OrderedPeers() {
			y := client.Peer{Seq: p.Seq, Address: p.Address, FQDN: p.FQDN, IPv6: v6}
			if p.Family != "" {
				y.IPv6 = p.Family == config.FamilyIPv6
			}
			if p.Track != 0 {
				y.While = client.Condition{Track: p.Track, Down: p.TrackState == config.TrackDown}
			}
			x.Peers = append(x.Peers, y)
		}
		if t.SourceDynamic {
			for _, s := range b.OrderedSources() {
				x.Sources = append(x.Sources, client.Source{Seq: s.Seq, Interface: s.Interface, Track: s.Track})
			}
		}
		out[name] = x
	}
	return out
}

// outerIPv6 says of which family a tunnel's outer packets are.
func outerIPv6(t *config.Interface) bool {
	switch t.Mode {
	case config.GREIPv6, config.IPsecIPv6, config.IPsecIPv6OverlayV4:
		return true
	case config.IPsecDual:
		return t.Source.Address.Is6()
	}
	return false
}

// gone is called before a tunnel is taken away: its block begins anew with the next one.
func (c *clients) gone(tunnel string) {
	for name, b := range c.blocks {
		if b.Tunnel == tunnel {
			delete(c.blocks, name)
			c.Remove(c.r.clock.Now(), name, tunnel+" is shut or changed by the configuration")
			c.arm()
		}
	}
}

// stop ends all blocks: the router shuts down.
func (c *clients) stop() {
	for name := range c.blocks {
		c.Remove(c.r.clock.Now(), name, "the router shuts down")
	}
	clear(c.blocks)
	c.arm()
}

func (c *clients) set() {
	c.SetClients(c.r.clock.Now(), slices.Collect(maps.Values(c.blocks)))
	c.arm()
}

// apply makes the blocks be as configured.
func (c *clients) apply(desired *config.Config) {
	r := c.r
	now := r.clock.Now()
	c.blocks = clientSpecs(desired)
	backups := map[string]bool{}
	objects := map[int]bool{}
	for name, b := range c.blocks {
		i := r.ifs[b.Tunnel]
		if b.Off == "" && (i == nil || i.tunnel == nil || !i.spec.Tunnel.Dynamic) {
			b.Off = b.Tunnel + " could not be made" // and that was said
			c.blocks[name] = b
		}
		if b.BackupInterface != "" {
			backups[b.BackupInterface] = c.backups[b.BackupInterface]
		}
		objects[b.Wanted.Track] = true
		for _, p := range b.Peers {
			objects[p.While.Track] = true
		}
		for _, s := range b.Sources {
			objects[s.Track] = true
			c.source(s.Interface)
		}
	}
	c.backups = backups
	for name := range backups {
		c.setBackup(name)
	}
	for id, stop := range c.watches {
		if !objects[id] {
			stop()
			delete(c.watches, id)
			c.ForgetTrack(now, id)
		}
	}
	for id := range objects {
		if id != 0 && c.watches[id] == nil {
			c.watches[id] = r.tracks.Watch(id, func(up bool) {
				c.TrackChanged(r.clock.Now(), id, up)
				c.arm()
			})
		}
	}
	for _, b := range c.blocks {
		if _, known := c.Status(b.Name); !known {
			c.pin(b.Tunnel, peersOf(b), "")
		}
	}
	c.set()
	for _, b := range c.blocks {
		c.repin(b.Name)
	}
}

func peersOf(b client.Config) []netip.Addr {
	var out []netip.Addr
	for _, p := range b.Peers {
		out = append(out, p.Address)
	}
	return out
}

// interested says whether some block's sessions may come from an interface.
func (c *clients) interested(ifname string) bool {
	for _, b := range c.blocks {
		if slices.ContainsFunc(b.Sources, func(s client.Source) bool { return s.Interface == ifname }) {
			return true
		}
	}
	return false
}

// lineUp has blocks call at once whose tunnels send from an interface that is back.
func (c *clients) lineUp(ifname string) {
	for name, b := range c.blocks {
		if i := c.r.ifs[b.Tunnel]; i != nil && i.cfg != nil && i.cfg.Source.Interface == ifname {
			c.Hurry(c.r.clock.Now(), name)
		}
	}
	c.arm()
}

// source tells what state an interface is in that sessions may come from.
func (c *clients) source(ifname string) {
	var addrs []netip.Addr
	up := false
	if i := c.r.ifs[ifname]; i != nil && i.net != nil {
		up = i.net.Up()
		for _, p := range i.addresses() {
			addrs = append(addrs, p.Addr())
		}
	}
	c.SourceChanged(c.r.clock.Now(), ifname, up, addrs)
	c.arm()
}

// arm sets the timer to the machine's deadline.
func (c *clients) arm() {
	at, ok := c.Deadline()
	if ok && c.timer != nil && at.Equal(c.at) {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if ok {
		c.at = at
		c.timer = c.r.loop.After("client blocks", max(at.Sub(c.r.clock.Now()), 0), func() {
			c.timer = nil
			c.Tick(c.r.clock.Now())
			c.arm()
		})
	}
}

// handle takes the events of tunnel protection. The machine hears of them in the next turn: some come while it is at work.
func (c *clients) handle(e protect.Event) {
	if i := c.r.ifs[e.Tunnel.Interface().Name()]; i == nil || i.tunnel != e.Tunnel || !i.spec.Tunnel.Dynamic {
		return
	}
	switch e.Kind {
	case protect.Up, protect.Down, protect.Failed, protect.Prepared, protect.Redirected:
		c.r.loop.Post("client block's session", func() { c.heard(e) })
	}
}

func (c *clients) heard(e protect.Event) {
	id, known := c.calls[e.Session]
	if !known {
		return
	}
	now := c.r.clock.Now()
	switch e.Kind {
	case protect.Up:
		c.Up(now, id, client.Up{Local: e.Tunnel.Config().Source, Assigned: c.r.given.Given(e.IKE)})
	case protect.Prepared:
		c.Prepared(now, id)
	case protect.Redirected:
		c.Redirected(now, id, e.To)
	case protect.Down:
		delete(c.calls, e.Session)
		c.Down(now, id, e.Reason)
	case protect.Failed:
		delete(c.calls, e.Session)
		c.Failed(now, id, e.Reason)
	}
	c.arm()
}

// readdressed is called when a tunnel's peer has given it addresses, other ones for a session that goes on among them.
func (c *clients) readdressed(t *netstack.Tunnel, addrs []netip.Prefix) {
	if id, known := c.calls[t.Default()]; known {
		c.Readdressed(c.r.clock.Now(), id, addrs)
	}
}

// tunnel is a block's tunnel.
func (c *clients) tunnel(name string) *netstack.Tunnel {
	if i := c.r.ifs[name]; i != nil && i.cfg != nil {
		return i.tunnel
	}
	return nil
}

// call translates a call. The addresses that it goes to stay outside the tunnel.
func (c *clients) call(x client.Call) protect.Call {
	c.pin(x.Tunnel, append([]netip.Addr{x.Peer}, c.Far(x.Client)...), x.Source)
	out := protect.Call{Source: x.Local, Destination: x.Peer, RedirectedFrom: x.RedirectedFrom}
	if i := c.r.ifs[x.Tunnel]; i != nil && !out.Source.IsValid() {
		out.Source = i.spec.Tunnel.Source
	}
	return out
}

// pin keeps addresses outside of a tunnel from now on.
func (c *clients) pin(tunnel string, far []netip.Addr, prefer string) {
	i := c.r.ifs[tunnel]
	if i == nil || i.tunnel == nil {
		return
	}
	c.r.pinFar(i, far, prefer)
	if v := c.r.vrfs[i.spec.Tunnel.Underlay]; v != nil {
		v.rib.Flush()
	}
}

// repin follows what a client has come to.
func (c *clients) repin(name string) {
	if s, ok := c.Status(name); ok {
		c.pin(s.Tunnel, c.Far(name), s.Call.Source)
	}
}

// begun notes which session a call has.
func (c *clients) begun(x client.Call, s *netstack.Session) {
	if s == nil {
		c.r.loop.Post("client block's session", func() {
			c.Failed(c.r.clock.Now(), x.ID, "the tunnel cannot be used")
			c.arm()
		})
		return
	}
	c.calls[s] = x.ID
}

// forget drops a tunnel's calls, or one of them: what becomes of their sessions matters to nobody.
func (c *clients) forget(t *netstack.Tunnel, call uint64) {
	maps.DeleteFunc(c.calls, func(s *netstack.Session, id uint64) bool { return s.Tunnel() == t && (call == 0 || id == call) })
}

// Dial implements client.Host.
func (c *clients) Dial(x client.Call) {
	var s *netstack.Session
	if t := c.tunnel(x.Tunnel); t != nil {
		c.forget(t, 0)
		s = c.r.protect.Reconnect(t, c.call(x), "another gateway is called")
	}
	c.begun(x, s)
}

// Hangup implements client.Host.
func (c *clients) Hangup(_, tunnel, reason string) {
	if t := c.tunnel(tunnel); t != nil {
		c.forget(t, 0)
		c.r.protect.Reconnect(t, protect.Call{}, reason)
	}
}

// Prepare implements client.Host.
func (c *clients) Prepare(x client.Call) {
	var s *netstack.Session
	if t := c.tunnel(x.Tunnel); t != nil {
		p := c.call(x)
		// The one in use comes first: others ask by it where the tunnel leads.
		c.repin(x.Client)
		s = c.r.protect.Prepare(t, p)
	}
	c.begun(x, s)
}

// Commit implements client.Host.
func (c *clients) Commit(x client.Call, reason string) error {
	t := c.tunnel(x.Tunnel)
	if t == nil {
		return protect.ErrNotPrepared
	}
	return c.r.protect.Commit(t, lingering, reason)
}

// Abandon implements client.Host.
func (c *clients) Abandon(x client.Call, reason string) {
	if t := c.tunnel(x.Tunnel); t != nil {
		c.forget(t, x.ID)
		c.r.protect.Abandon(t, reason)
	}
}

// Resolve implements client.Host.
func (c *clients) Resolve(q client.Query) {
	c.r.names.lookup(q.Name, q.IPv6, func(addrs []netip.Addr, err error) {
		c.Resolved(c.r.clock.Now(), q.ID, addrs, err)
		c.arm()
	})
}

// Backup implements client.Host.
func (c *clients) Backup(ifname string, up bool, name string) {
	c.r.log.Info().Str("event", "dial-backup").Str("client", name).Str("interface", ifname).Str("state", map[bool]string{true: "up", false: "down"}[up]).
		Msgf("the dial backup of client block %s is brought %s", name, map[bool]string{true: "up", false: "down"}[up])
	if _, is := c.backups[ifname]; is {
		c.backups[ifname] = up
		c.setBackup(ifname)
	}
}

// setBackup brings a dial backup up or takes it down: a tunnel that is down calls nobody.
func (c *clients) setBackup(ifname string) {
	i := c.r.ifs[ifname]
	if i == nil || i.net == nil || i.cfg == nil {
		return
	}
	up := c.backups[ifname] && !i.cfg.Shutdown
	if i.net.AdminUp() == up {
		return
	}
	if t := i.spec.Tunnel; i.tunnel != nil && t.Protection != nil && !t.Dynamic && t.Destination.IsValid() {
		if up {
			c.r.protect.Reconnect(i.tunnel, protect.Call{Source: t.Source, Destination: t.Destination}, "the dial backup is needed")
		} else {
			c.r.protect.Reconnect(i.tunnel, protect.Call{}, "the dial backup is not needed")
			i.tunnel.SetDestination(t.Destination)
		}
	}
	i.net.SetAdminUp(up)
}

// Event implements client.Host: each is a line of the log.
func (c *clients) Event(e client.Event) {
	line := c.r.log.Info()
	text := ""
	switch e.Kind {
	case client.Connected, client.Lost:
		c.told(e)
		c.repin(e.Client)
		return
	case client.Failed, client.Unresolved:
		line = c.r.log.Warn()
		text = "a gateway could not be had"
		if e.Kind == client.Unresolved {
			line.Str("name", e.Call.FQDN)
			text = "a gateway's name has no address"
		}
	case client.Exhausted:
		line.Dur("wait", e.Wait)
		text = "no gateway could be had; they are tried again after a pause"
	case client.Idle:
		text = "the client block waits: " + e.Reason
	case client.Dialing:
		text = "a gateway is called"
	case client.Preparing:
		text = "a better gateway is called, beside the one in use"
	case client.Moved:
		text = "the tunnel moves to the other gateway"
	case client.Redirected:
		line.Stringer("to", e.To)
		text = "the gateway advises another one"
	}
	kind := map[client.EventKind]string{client.Failed: "gateway-unreachable", client.Unresolved: "gateway-unknown", client.Exhausted: "gateways-exhausted",
		client.Idle: "client-idle", client.Dialing: "dialing", client.Preparing: "preparing", client.Moved: "moving", client.Redirected: "redirect-followed"}[e.Kind]
	line.Str("event", kind).Str("client", e.Client).Str("tunnel", e.Tunnel)
	if e.Call.Peer.IsValid() {
		line.Stringer("peer", e.Call.Peer)
	}
	if e.Call.Source != "" {
		line.Str("source", e.Call.Source)
	}
	if e.Reason != "" {
		line.Str("reason", e.Reason)
	}
	c.tracked(line, e)
	line.Msg(text)
}

// tracked says which object decides about the peer that an event is about.
func (c *clients) tracked(line *zerolog.Event, e client.Event) {
	if s, ok := c.blocks[e.Client]; ok {
		for _, p := range s.Peers {
			if p.Seq == e.Call.Seq && p.While.Track != 0 {
				line.Int("track", p.While.Track)
			}
		}
	}
}

// told is the line of a client's session that comes or goes.
func (c *clients) told(e client.Event) {
	state := map[bool]string{true: "up", false: "down"}[e.Kind == client.Connected]
	word := map[bool]string{true: "UP", false: "DOWN"}[e.Kind == client.Connected]
	line := c.r.log.Info().Str("event", "flexvpn-"+state).Str("mnemonic", "FLEXVPN-6-FLEXVPN_CONNECTION_"+word).Str("client", e.Client).Str("tunnel", e.Tunnel).
		Stringer("peer", e.Call.Peer).Str("state", state)
	c.tracked(line, e)
	local := e.Call.Local
	if i := c.r.ifs[e.Tunnel]; i != nil && i.spec.Tunnel != nil && !local.IsValid() {
		local = i.spec.Tunnel.Source
	}
	text := "FlexVPN(" + e.Client + ") Client_public_addr = " + local.String() + " Server_public_addr = " + e.Call.Peer.String()
	for _, p := range e.Assigned {
		family := "v4"
		if p.Addr().Is6() {
			family = "v6"
		}
		text += " Assigned_Tunnel_" + family + "_addr = " + p.Addr().String()
	}
	if len(e.Assigned) > 0 {
		line.Strs("addresses", prefixTexts(e.Assigned))
	}
	if e.Reason != "" {
		line.Str("reason", e.Reason)
	}
	line.Msg(text)
}

// ConnectClient and DisconnectClient are the operator's words to a manual block, ClearClient to any.
func (r *Router) ConnectClient(name string) error {
	return r.clientVerb("connect", func(now time.Time) error { return r.clients.Connect(now, name) })
}

func (r *Router) DisconnectClient(name string) error {
	return r.clientVerb("disconnect", func(now time.Time) error { return r.clients.Disconnect(now, name) })
}

// ClearClient has client blocks begin anew with their best peer; without a name all of them.
func (r *Router) ClearClient(name string) error {
	return r.clientVerb("clear", func(now time.Time) error {
		names := []string{name}
		if name == "" {
			names = r.clients.Names()
		}
		for _, n := range names {
			if err := r.clients.Clear(now, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Router) clientVerb(word string, f func(now time.Time) error) error {
	return r.call(word+" a client block", func() error {
		err := f(r.clock.Now())
		r.clients.arm()
		return err
	})
}
