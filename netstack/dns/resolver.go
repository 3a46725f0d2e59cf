package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"felloe/netstack/clock"
)

// The reasons why a name has no address.
var (
	ErrNoServer  = errors.New("no name server is configured")
	ErrNotFound  = errors.New("no such name")
	ErrNoAddress = errors.New("the name has no address of the family")
	ErrNoAnswer  = errors.New("no name server answers")
	ErrName      = errors.New("not a host name")
)

const (
	maxTTL      = 24 * time.Hour
	negativeTTL = 30 * time.Second
	staleFor    = 24 * time.Hour
	maxCached   = 4096
	rounds      = 2
)

// Config is whom to ask.
type Config struct {
	Servers []netip.Addr // in order of preference
	Domain  string       // put behind a name without a dot
	Timeout time.Duration
	Hosts   map[string][]netip.Addr // names, in lower case, that no server is asked for
}

// Transport takes a query to a server and brings the answer.
type Transport interface {
	Exchange(ctx context.Context, server netip.Addr, query []byte, tcp bool) ([]byte, error)
}

// Resolver finds addresses. It is safe for concurrent use.
type Resolver struct {
	clock clock.Clock
	rand  io.Reader
	via   Transport

	mu    sync.Mutex
	cfg   Config
	cache map[key]*record
}

type key struct {
	name string
	v6   bool
}

type record struct {
	addrs   []netip.Addr
	err     error // ErrNotFound or ErrNoAddress
	asked   time.Time
	expires time.Time
	server  netip.Addr
}

// New makes a Resolver that knows no server yet. rand numbers the queries.
func New(c clock.Clock, rand io.Reader, via Transport) *Resolver {
	return &Resolver{clock: c, rand: rand, via: via, cache: map[key]*record{}}
}

// SetConfig changes whom is asked. What was learned from other servers is forgotten.
func (r *Resolver) SetConfig(c Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.from(&r.cfg) {
		clear(r.cache)
	}
	r.cfg = c
}

// Clear forgets what was learned.
func (r *Resolver) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.cache)
}

// full is the name that is asked for: lower case, with the domain behind it when it has no dot.
func (c *Config) full(name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if c.Domain != "" && !strings.Contains(name, ".") {
		name += "." + strings.ToLower(strings.Trim(c.Domain, "."))
	}
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return name, nil
}

// Lookup are the addresses of a name, of one family, in the order of the answer. It asks only when nothing that is still
// valid is known.
func (r *Resolver) Lookup(ctx context.Context, name string, v6 bool) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		if a.Unmap().Is6() != v6 {
			return nil, fmt.Errorf("%s: %w", name, ErrNoAddress)
		}
		return []netip.Addr{a.Unmap()}, nil
	}
	r.mu.Lock()
	cfg := r.cfg
	r.mu.Unlock()
	full, err := cfg.full(name)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{strings.ToLower(strings.TrimSuffix(name, ".")), full} {
		if list, is := cfg.Hosts[n]; is {
			return family(n, list, v6)
		}
	}
	k := key{full, v6}
	r.mu.Lock()
	known := r.cache[k]
	r.mu.Unlock()
	now := r.clock.Now()
	if known != nil && now.Before(known.expires) {
		return slices.Clone(known.addrs), known.wrong(full)
	}
	fresh, err := r.ask(ctx, cfg, k)
	if err != nil {
		if known != nil && known.err == nil && now.Sub(known.expires) < staleFor {
			return slices.Clone(known.addrs), nil
		}
		return nil, fmt.Errorf("%s: %w", full, err)
	}
	return slices.Clone(fresh.addrs), fresh.wrong(full)
}

func (x *record) wrong(name string) error {
	if x.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, x.err)
}

func family(name string, list []netip.Addr, v6 bool) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range list {
		if a = a.Unmap(); a.Is6() == v6 {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNoAddress)
	}
	return out, nil
}

// ask goes to the servers.
func (r *Resolver) ask(ctx context.Context, cfg Config, k key) (*record, error) {
	if len(cfg.Servers) == 0 {
		return nil, ErrNoServer
	}
	var last error
	for range rounds {
		for _, server := range cfg.Servers {
			x, err := r.askOne(ctx, cfg, k, server)
			if err == nil {
				r.keep(&cfg, k, x)
				return x, nil
			}
			last = fmt.Errorf("%s: %w", server, err)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, fmt.Errorf("%w (%w)", ErrNoAnswer, last)
}

func (r *Resolver) askOne(ctx context.Context, cfg Config, k key, server netip.Addr) (*record, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timer := r.clock.AfterFunc(cmp.Or(cfg.Timeout, 2*time.Second), func() { stop(errSilent) })
	defer timer.Stop()
	var number [2]byte
	if _, err := io.ReadFull(r.rand, number[:]); err != nil {
		return nil, err
	}
	id := uint16(number[0])<<8 | uint16(number[1])
	query, err := question(id, k.name, k.v6)
	if err != nil {
		return nil, err
	}
	for _, tcp := range []bool{false, true} {
		b, err := r.via.Exchange(ctx, server, query, tcp)
		if err != nil {
			return nil, cmp.Or(context.Cause(ctx), err)
		}
		x, err := read(b, id, k.name, k.v6)
		if errors.Is(err, errTruncated) && !tcp {
			continue
		}
		if err != nil {
			return nil, err
		}
		now := r.clock.Now()
		x.record.asked, x.record.expires, x.record.server = now, now.Add(x.ttl), server
		return &x.record, nil
	}
	return nil, errTruncated
}

var errSilent = errors.New("no answer in time")

// from says whether both would ask the same servers for the same names.
func (c *Config) from(o *Config) bool {
	return slices.Equal(c.Servers, o.Servers) && c.Domain == o.Domain
}

// keep remembers an answer, unless others than those who gave it are to be asked by now; the ones that expire first make room.
func (r *Resolver) keep(asked *Config, k key, x *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !asked.from(&r.cfg) {
		return
	}
	if len(r.cache) >= maxCached {
		var first key
		var at time.Time
		for o, y := range r.cache {
			if at.IsZero() || y.expires.Before(at) {
				first, at = o, y.expires
			}
		}
		delete(r.cache, first)
	}
	r.cache[k] = x
}

// Host is a name that is known, for show commands.
type Host struct {
	Name      string
	Permanent bool // of the host table
	Addresses []netip.Addr
	Missing   string // why it has no address
	Server    netip.Addr
	Asked     time.Time
	Expires   time.Time
}

// Known are the names that are known, in order: the host table and what was learned.
func (r *Resolver) Known() []Host {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Host
	for name, list := range r.cfg.Hosts {
		out = append(out, Host{Name: name, Permanent: true, Addresses: slices.Clone(list)})
	}
	for k, x := range r.cache {
		h := Host{Name: k.name, Addresses: slices.Clone(x.addrs), Server: x.server, Asked: x.asked, Expires: x.expires}
		if x.err != nil {
			h.Missing = x.err.Error()
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Host) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), -cmp.Compare(len(a.Addresses), len(b.Addresses)), cmp.Compare(fmt.Sprint(a.Addresses), fmt.Sprint(b.Addresses)))
	})
	return out
}
