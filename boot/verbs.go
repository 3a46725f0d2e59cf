package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"felloe/config"
	"felloe/manage/agent"
	"felloe/manage/cli"
	"felloe/manage/commands"
	"felloe/manage/probe"
	"felloe/manage/show"
	"felloe/routing/bgp"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
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
	full, err := r.InterfaceName(name)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range r.interfaces(func(n string) bool { return n == full }) {
		for _, p := range i.Addresses {
			if p.Addr().Is6() == v6 {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%% %s has no address of the right family", full)
}

// ClearCrypto implements commands.Verbs. What is wanted comes back by itself.
//
//	session     the sessions: their IPsec SAs and the IKE SAs that nothing else needs, and IKE SAs without a session
//	ikev2 sa    the IKE SAs, and with them their IPsec SAs
//	sa          the IPsec SAs only: new ones are made under their IKE SA, unless that is one tunnel's alone and goes with them
func (r *Router) ClearCrypto(kind string, only show.Only) int {
	n := 0
	r.look(func() {
		const reason = "cleared by the operator"
		sessions := r.protect.Sessions()
		inside := map[ikev2.SAID]string{}
		for i := range sessions {
			s := &sessions[i]
			ivrf := r.interfaceVRF(s.Tunnel)
			inside[s.IKE] = ivrf
			remote := s.NBMA
			if s.Remote.IsValid() {
				remote = s.Remote.Addr()
			}
			if !only.Fits(s.Tunnel, s.VRF, ivrf, s.Local.Addr(), remote) {
				continue
			}
			switch kind {
			case "session":
				n++
				r.protect.Reset(s.Session, reason)
			case "sa", "ipsec sa":
				pairs := s.Pairs
				if only.SPI != 0 {
					pairs = slices.DeleteFunc(slices.Clone(pairs), func(p protect.PairInfo) bool { return p.SPIIn != only.SPI && p.SPIOut != only.SPI })
				}
				if len(pairs) > 0 {
					n += len(pairs)
					r.protect.ResetChildren(s.Session, reason)
				}
			}
		}
		if kind != "session" && kind != "ikev2 sa" {
			return
		}
		for _, sa := range r.engine.Snapshot(r.clock.Now()) {
			if kind == "session" && len(sa.Children) > 0 {
				continue // its session has done it, or another session needs it
			}
			if ivrf, ok := inside[sa.ID]; only.Interface == "" && (only.Fits("", sa.VRF, sa.IVRF, sa.Local.Addr(), sa.Remote.Addr()) ||
				ok && only.Fits("", sa.VRF, ivrf, sa.Local.Addr(), sa.Remote.Addr())) {
				if kind == "ikev2 sa" {
					n++
				}
				r.protect.DeleteIKE(sa.ID, reason)
			}
		}
	})
	return n
}

// ClearCryptoCounters implements commands.Verbs. The SAs count on; what they had is subtracted from now on.
func (r *Router) ClearCryptoCounters() {
	r.look(func() {
		r.cleared = map[uint32]baseline{}
		for _, s := range r.protect.Sessions() {
			for _, p := range s.Pairs {
				r.cleared[p.SPIIn] = baseline{p.In, p.Out}
			}
		}
	})
}

// ClearNHRP implements commands.Verbs.
func (r *Router) ClearNHRP(v6 bool, addr netip.Addr) int {
	n := 0
	r.look(func() { n = r.dmvpn.Clear(v6, addr) })
	return n
}

// ClearBGP implements commands.Verbs.
func (r *Router) ClearBGP(c commands.BGPClear) error {
	how := bgp.ClearHard
	switch {
	case c.In && c.Out:
		how = bgp.ClearSoft
	case c.In:
		how = bgp.ClearSoftIn
	case c.Out:
		how = bgp.ClearSoftOut
	}
	if c.Every {
		return r.call("clear", func() error {
			var errs []error
			for _, name := range sorted(r.bgps) {
				errs = append(errs, r.bgps[name].bgp.Clear(netip.Addr{}, how))
			}
			if len(r.bgps) == 0 {
				return errNoBGP(c.VRF)
			}
			return errors.Join(errs...)
		})
	}
	found := !c.Neighbor.IsValid() || !c.All
	err := r.inBGP(c.BGPTables, func(_ string, b *bgp.BGP) error {
		if c.All && c.Neighbor.IsValid() {
			if !slices.ContainsFunc(b.Neighbors(), func(n bgp.NeighborInfo) bool { return n.Address == c.Neighbor }) {
				return nil
			}
			found = true
		}
		if err := b.Clear(c.Neighbor, how); err != nil {
			return fmt.Errorf("%% %w", err)
		}
		return nil
	})
	if err == nil && !found {
		return fmt.Errorf("%% No such neighbor: %s", c.Neighbor)
	}
	return err
}

// ClearNeighbours implements commands.Verbs.
func (r *Router) ClearNeighbours(vrf string, v6 bool) int {
	n := 0
	r.look(func() {
		for _, i := range r.ifs {
			if i.net == nil || i.spec.Kind != config.Ethernet || vrf != "" && i.spec.VRF != vrf {
				continue
			}
			for _, x := range i.net.Neighbours() {
				if x.Addr.Is6() == v6 {
					n++
				}
			}
			i.net.ClearNeighbours()
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
	full, err := r.InterfaceName(name)
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
