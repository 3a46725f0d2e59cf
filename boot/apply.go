package boot

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"felloe/config"
	"felloe/manage/commands"
	"felloe/manage/probe"
	"felloe/manage/syslog"
	"felloe/netstack/fib"
	"felloe/routing/rib"
)

// Apply makes the router be what the configuration says. What the machine cannot do (a NIC that is not there) is logged
// and shown as a problem, and the rest goes on: Apply fails only when nothing could be tried. Applying the same
// configuration again changes nothing.
func (r *Router) Apply(ctx context.Context, desired *config.Config) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.call("apply", func() error {
		if r.stopped {
			return ErrStopped
		}
		r.apply(desired)
		return nil
	})
}

// Problems are what could not be applied, in words.
func (r *Router) Problems() []string {
	var out []string
	_ = r.call("problems", func() error { out = slices.Clone(r.problems); return nil })
	return out
}

func (r *Router) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.problems = append(r.problems, text)
	r.log.Warn().Str("event", "apply-problem").Msg(text)
}

// apply runs on the control loop. The order is: take away from the top (BGP, NHRP, protection) to the bottom
// (interfaces, VRFs), then build from the bottom to the top.
func (r *Router) apply(desired *config.Config) {
	changes := config.Diff(r.applied, desired)
	r.problems = nil
	r.applyLogging(desired)
	if err := r.keylog.set(desired.Lab.KeyLog); err != nil {
		r.problem("%v", err)
	}
	ike, err := ikeConfig(desired)
	ike.Authorize, ike.Redirect = r.authz, r.cluster
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			r.problem("%s", strings.TrimSpace(line))
		}
	}
	nics := r.assignNICs(desired)
	want := r.interfaceSpecs(desired, nics, &ike)
	templates := templateSpecs(desired, &ike)

	r.removeBGP(desired)
	r.cluster.remove(desired)
	r.removeTemplates(templates, desired)
	r.endLost(desired)
	for _, n := range sorted(r.ifs) {
		if w, ok := want[n]; !ok || !reflect.DeepEqual(r.ifs[n].spec, w) {
			r.removeInterface(n)
		}
	}
	for _, n := range sorted(r.vrfs) {
		if n != config.DefaultVRF && desired.VRF[n] == nil {
			r.removeVRF(n)
		}
	}

	for _, n := range sorted(desired.VRF) {
		if r.vrfs[n] == nil {
			if err := r.addVRF(n); err != nil {
				r.problem("[vrf.%s]: %v", n, err)
			}
		}
	}
	// What happens from here on, such as a tunnel's loss of the address that its peer had given, is looked at by what is desired.
	r.applied = desired
	r.books.configure(desired)
	r.names.apply(desired)
	r.compilePolicies(desired)
	r.authz.SetConfig(authzConfig(r.numbered(desired, false), r.policies))
	if !reflect.DeepEqual(ike, r.ikeApply) {
		r.engine.SetConfig(ike)
		r.ikeApply = ike
	}
	for _, n := range desired.InterfaceNames() {
		if r.ifs[n] == nil {
			r.addInterface(n, want[n], nics[n])
		}
		r.changeInterface(r.ifs[n], desired.Interface[n])
	}
	r.cluster.apply(desired)
	r.applyUnnumbered()
	r.applyTemplates(templates)
	r.applyTracks(desired)
	r.applyStatics(desired)
	r.applyNHRP(desired)
	r.applyBGP(r.numbered(desired, true))
	r.clients.apply(desired)

	if len(changes) > 0 {
		r.protect.Reauthorize()
	}
	r.settle()
	r.reviewBFD()
	r.reviewTracks()
	r.log.Info().Str("event", "applied").Int("changes", len(changes)).Int("problems", len(r.problems)).Msg("configuration applied")
	r.milestone("apply")
}

func logLevels(c *config.Config) syslog.Levels {
	return syslog.Levels{Buffer: c.Logging.Level.Severity(), Console: c.Logging.Console.Severity(), Buffered: c.Logging.Buffered}
}

func debugCategories(c *config.Config) map[string]bool {
	out := map[string]bool{}
	for _, topic := range c.Debug {
		for _, category := range commands.Categories(string(topic)) {
			out[category] = true
		}
	}
	return out
}

// applyLogging sets levels and debugging. Debugging that the console switched on stays as it is.
func (r *Router) applyLogging(desired *config.Config) {
	r.logs.Configure(logLevels(desired))
	r.protect.LogSessions(desired.Logging.Session)
	before, after := debugCategories(r.applied), debugCategories(desired)
	for c := range before {
		if !after[c] {
			r.logs.SetDebug(c, false)
		}
	}
	for c := range after {
		if !before[c] {
			r.logs.SetDebug(c, true)
		}
	}
}

func (r *Router) addVRF(name string) error {
	net, ok := r.dp.VRF(name)
	if !ok {
		var err error
		if net, err = r.dp.AddVRF(name); err != nil {
			return err
		}
	}
	v := &vrf{net: net, static: map[string]*staticRoute{}}
	v.rib = rib.New(rib.Options{VRF: name, Output: func(changes []fib.Change) { net.Program(changes) },
		Defer: func(f func()) { r.loop.Post("rib", f) }, Now: r.clock.Now, Log: r.log})
	v.prober = probe.New(net, r.clock)
	r.vrfs[name] = v
	r.past.vrfs.Store(name, net)
	r.debugRoutes(name, v.rib)
	r.dmvpn.AddVRF(name, v.rib)
	return nil
}

func (r *Router) removeVRF(name string) {
	r.dmvpn.RemoveVRF(name)
	delete(r.vrfs, name)
	r.past.vrfs.Delete(name)
	if err := r.dp.RemoveVRF(name); err != nil {
		r.problem("vrf %s: %v", name, err)
	}
}
