package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/config"
	"felloe/manage/agent"
	"felloe/manage/cli"
	"felloe/manage/commands"
	"felloe/manage/probe"
	"felloe/routing/bgp"
	"felloe/vpn/ikev2"
)

// The router is what the commands look at.
var _ commands.Router = (*Router)(nil)

// Exec runs one command line as the console would and returns what it prints.
func (r *Router) Exec(ctx context.Context, line string) (string, error) {
	var out bytes.Buffer
	s := &cli.Session{Tree: r.Commands(), Out: &out}
	if agent.JSON(ctx) && !strings.Contains(line, "|") {
		line += " | json"
	}
	err := s.Exec(ctx, line)
	return out.String(), err
}

// Commands is the router's command tree.
func (r *Router) Commands() *cli.Tree {
	r.treeOnce.Do(func() { r.tree = commands.New(r) })
	return r.tree
}

// Prober implements commands.Verbs.
func (r *Router) Prober(name string) (*probe.Prober, error) {
	var p *probe.Prober
	err := r.inVRF(name, func(v *vrf) error { p = v.prober; return nil })
	return p, err
}

// SourceAddress implements commands.Verbs.
func (r *Router) SourceAddress(name string, v6 bool) (netip.Addr, error) {
	all := r.interfaces()
	full, err := matchInterface(name, all)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range all {
		if i.Name != full {
			continue
		}
		for _, p := range i.Addresses {
			if p.Addr().Is6() == v6 {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%% %s has no address of the right family", full)
}

// ClearCrypto implements commands.Verbs. Sessions that are wanted come back by themselves.
func (r *Router) ClearCrypto(kind string, peer netip.Addr) int {
	n := 0
	r.look(func() {
		const reason = "cleared by the operator"
		for _, s := range r.protect.Sessions() {
			if peer.IsValid() && s.NBMA != peer {
				continue
			}
			switch kind {
			case "session", "ikev2 sa":
				n++
				r.protect.Reset(s.Session, reason)
			default:
				// The IPsec SAs only: they are made anew under the IKE SA.
				n += len(s.Pairs)
				r.protect.ResetChildren(s.Session, reason)
			}
		}
		for _, sa := range r.engine.Snapshot(r.clock.Now()) {
			if (kind == "session" || kind == "ikev2 sa") && (!peer.IsValid() || sa.Remote.Addr() == peer) && len(sa.Children) == 0 {
				r.protect.DeleteIKE(ikev2.SAID(sa.ID), reason)
			}
		}
	})
	return n
}

// ClearNHRP implements commands.Verbs.
func (r *Router) ClearNHRP(v6 bool, addr netip.Addr) int {
	n := 0
	r.look(func() { n = r.dmvpn.Clear(v6, addr) })
	return n
}

// ClearBGP implements commands.Verbs.
func (r *Router) ClearBGP(name string, neighbor netip.Addr, soft bool) error {
	how := bgp.ClearHard
	if soft {
		how = bgp.ClearSoft
	}
	var cleared error
	err := r.inBGP(name, func(b *bgp.BGP) { cleared = b.Clear(neighbor, how) })
	return errors.Join(err, cleared)
}

// ClearNeighbours implements commands.Verbs.
func (r *Router) ClearNeighbours(v6 bool) int {
	n := 0
	r.look(func() {
		for _, i := range r.ifs {
			if i.net != nil && i.spec.Kind == config.Ethernet {
				n += len(i.net.Neighbours())
				i.net.ClearNeighbours()
			}
		}
	})
	return n
}

// Replace implements commands.Verbs.
func (r *Router) Replace(ctx context.Context, text string) (cli.Result, error) {
	var c *config.Config
	var diags config.Diagnostics
	if text == "" {
		if r.o.Reload == nil {
			return nil, errors.New("% This router has no configuration disk to read again")
		}
		var err error
		if c, diags, err = r.o.Reload(); err != nil {
			return nil, fmt.Errorf("%% %w", err)
		}
	} else {
		c, diags = config.Parse("configuration", []byte(text))
	}
	if !diags.HasErrors() {
		diags = append(diags, CheckPKI(c)...)
	}
	if diags.HasErrors() {
		return nil, fmt.Errorf("%% The configuration was not applied; the router is as it was:\n%s", diags)
	}
	if err := r.Apply(ctx, c); err != nil {
		return nil, err
	}
	out := "Applied"
	if len(diags) > 0 {
		out += "\n" + diags.String()
	}
	for _, p := range r.Problems() {
		out += "\nProblem: " + p
	}
	return cli.Text(out), nil
}

// SetShutdown implements commands.Verbs: it applies the running configuration with that one difference.
func (r *Router) SetShutdown(ctx context.Context, name string, shut bool) error {
	full, err := matchInterface(name, r.interfaces())
	if err != nil {
		return err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	return r.call("apply", func() error {
		if r.stopped {
			return ErrStopped
		}
		next := *r.applied
		next.Interface = map[string]*config.Interface{}
		for n, i := range r.applied.Interface {
			c := *i
			if n == full {
				c.Shutdown = shut
			}
			next.Interface[n] = &c
		}
		r.apply(&next)
		return nil
	})
}

// Power implements commands.Verbs. It returns at once; the router says goodbye to its peers first.
func (r *Router) Power(kind string) error {
	if r.o.Power == nil {
		return errors.New("% This router is a process: end the process")
	}
	go func() {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		_ = r.Shutdown(ctx) // what could not be said to a peer is its DPD's to find out
		r.o.Power(kind)
	}()
	return nil
}
