package frr

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	hub := func(isFRR bool) member { return member{name: "hub", index: 1, frr: isFRR, hub: true} }
	spoke := func(n int, isFRR bool) member {
		return member{name: fmt.Sprintf("spoke%d", n), index: 10 + n, frr: isFRR}
	}
	for _, a := range []struct {
		name, title string
		o           overlay
	}{
		{"felloe-hub", "two FRR spokes at a Felloe hub", overlay{hub: hub(false), spokes: [2]member{spoke(1, true), spoke(2, true)}}},
		{"frr-hub", "two Felloe spokes at an FRR hub", overlay{hub: hub(true), spokes: [2]member{spoke(1, false), spoke(2, false)}}},
		{"mixed-felloe-hub", "a Felloe spoke and an FRR spoke at a Felloe hub", overlay{hub: hub(false), spokes: [2]member{spoke(1, false), spoke(2, true)}}},
		{"mixed-frr-hub", "a Felloe spoke and an FRR spoke at an FRR hub", overlay{hub: hub(true), spokes: [2]member{spoke(1, false), spoke(2, true)}}},
	} {
		for _, c := range []struct {
			name, title string
			cipher      cipher
		}{{"plain", "plain GRE", plain}, {"gcm-esn", "ESP AES-GCM-256 with ESN", gcm}, {"cbc", "ESP AES-CBC-256 with SHA-512", cbc}} {
			o := a.o
			o.cipher = c.cipher
			peer := "FRR nhrpd and bgpd, Linux GRE"
			if c.cipher.on() {
				peer += " and XFRM, strongSwan"
			}
			matrix.Register(matrix.Case{
				Name: "frr/dmvpn/" + a.name + "/" + c.name, Group: "DMVPN with FRR", Peer: peer, Title: a.title + ", " + c.title,
				Rows: o.rows(), Images: []peers.Image{peers.FRR}, Timeout: 20 * time.Minute,
				Run: func(r *matrix.Run) { o.run(r) },
			})
		}
	}
}

func (o overlay) rows() []matrix.Row {
	rows := []matrix.Row{
		{ID: "registration", What: "both spokes register with NHRP authentication, for IPv4 and IPv6"},
		{ID: "bgp", What: "BGP through the tunnel, over IPv4 and over IPv6: everybody knows everybody's networks"},
		{ID: "redirect", What: "the first packets go through the hub, and its redirect, resolution request and reply lead to a shortcut, IPv4"},
		{ID: "direct", What: "then the way is direct, in both directions, IPv4"},
		{ID: "redirect6", What: "the same for IPv6 payload: a shortcut"},
		{ID: "direct6", What: "then the way is direct, IPv6"},
	}
	if o.cipher.on() {
		rows = append(rows,
			matrix.Row{ID: "esp", What: "nothing of the overlay was in clear on the wire; spokes sent ESP to each other; the kernel's SAs are in transport mode" + map[bool]string{true: ", with extended sequence numbers"}[o.cipher.esn]},
			matrix.Row{ID: "rekey", What: "Child SA and IKE SA rekeyed by the kernel's side while packets flow, none lost"},
		)
	}
	switch {
	case o.spokes[0].frr && o.spokes[1].frr:
	case o.spokes[1].frr:
		rows = append(rows, matrix.Row{ID: "purge", What: "Felloe's spoke loses its network and sends a purge request: FRR's shortcut to it goes"})
		if o.withdraws() {
			rows = append(rows, matrix.Row{ID: "withdrawn", What: "FRR's spoke loses its network: Felloe's shortcut to it goes with the route"})
		}
	default:
		rows = append(rows, matrix.Row{ID: "purge", What: "a spoke loses its network and sends a purge request: the other's shortcut to it goes"})
	}
	return append(rows,
		matrix.Row{ID: "authentication", What: "a spoke with another authentication string is refused"},
	)
}

// withdraws: a route to a network that is lost goes from the spokes' tables. It does not with an FRR hub, whose summary stays
// and covers the shortcut; nhrpd sends no purge request for a network that it loses, so the shortcut ends with its hold time.
func (o overlay) withdraws() bool { return !o.hub.frr }

// world is an overlay that runs.
type world struct {
	overlay
	*matrix.Run
	members map[string]live
	wire    string // capture
	capture *peers.Process
}

func (o overlay) run(r *matrix.Run) {
	w := &world{overlay: o, Run: r, members: map[string]live{}}
	wan := r.Switch("wan")
	w.wire, w.capture = wan.Capture("")
	var booting []machine
	for _, m := range o.members() {
		if m.frr {
			vm := machine{m, r.Boot(m.name, peers.MachineConfig{Image: peers.FRR, Files: o.files(m)}, wan)}
			booting = append(booting, vm)
			w.members[m.name] = vm
		} else {
			w.members[m.name] = felloe{m, r.Router(m.name, o.toml(m), wan)}
		}
	}
	for _, vm := range booting {
		vm.Ready()
		r.Evidence(func() string { return vm.member.name + ": frr.log\n" + vm.Run("tail -n 400 /var/log/frr/frr.log") })
		if o.cipher.on() {
			r.Evidence(func() string {
				return vm.member.name + ": charon.log\n" + vm.Run("tail -n 100 /var/log/charon.log; swanctl --list-sas")
			})
		}
		r.Evidence(func() string {
			return vm.Run("vtysh -c 'show ip nhrp cache' -c 'show ipv6 nhrp cache' -c 'show ip nhrp shortcut' -c 'show ipv6 nhrp shortcut' -c 'show ip route' -c 'show ipv6 route' -c 'show bgp summary'; ip neigh; ip -6 neigh")
		})
	}
	for _, m := range w.members {
		if f, ok := m.(felloe); ok {
			r.Evidence(func() string {
				var b strings.Builder
				for _, c := range []string{"show dmvpn", "show ip nhrp", "show ipv6 nhrp", "show ip nhrp traffic", "show ip route", "show ipv6 route", "show ip bgp summary", "show crypto ipsec sa", "show counters"} {
					out, err := f.Try(c)
					fmt.Fprintf(&b, "%s# %s\n%s%v\n", f.Router.Name, c, out, err)
				}
				return b.String()
			})
		}
	}
	noteVersions(r, booting[0].Machine)
	w.check()
}

func noteVersions(r *matrix.Run, m *peers.Machine) {
	kernel, _, _ := strings.Cut(strings.TrimSpace(m.Run("uname -r")), "+")
	r.Version("Linux (machines)", kernel)
	for name, pkg := range map[string]string{"FRR": "frr", "strongSwan (Debian trixie)": "charon-systemd"} {
		r.Version(name, peers.Upstream(m.Run("dpkg-query -W -f '${Version}' "+pkg)))
	}
}

func (w *world) one() live { return w.members[w.spokes[0].name] }
func (w *world) two() live { return w.members[w.spokes[1].name] }
func (w *world) at() live  { return w.members[w.hub.name] }

func (w *world) check() {
	w.Must("registration", func() {
		for _, s := range w.spokes {
			w.Until(60*time.Second, s.name+" is registered at the hub", func() error { return w.at().registered(s) })
			w.Until(30*time.Second, s.name+"'s server has answered", func() error { return w.members[s.name].served(w.hub) })
		}
	})
	w.Must("bgp", func() {
		for _, m := range w.overlay.members() {
			for _, n := range w.others(m) {
				for _, p := range []string{n.prefix(), n.prefix6()} {
					w.Until(60*time.Second, m.name+" has a route to "+p, func() error { return w.members[m.name].route(p) })
				}
			}
		}
	})
	one, two := w.spokes[0], w.spokes[1]
	w.Check("redirect", func() { w.redirect(one.lan(), two.lan(), w.hub.tunnel()) })
	w.Check("direct", func() { w.direct(one.lan(), two.lan()) })
	w.Check("redirect6", func() { w.redirect(one.lan6(), two.lan6(), w.hub.tunnel6()) })
	w.Check("direct6", func() { w.direct(one.lan6(), two.lan6()) })
	if w.cipher.on() {
		w.Check("esp", w.protected)
		w.Check("rekey", w.rekey)
	}
	switch {
	case w.spokes[0].frr && w.spokes[1].frr: // nothing of it is ours
	case w.spokes[1].frr:
		w.Check("purge", func() { w.lose(w.one(), w.two()) })
		if w.withdraws() {
			w.Check("withdrawn", func() { w.lose(w.two(), w.one()) })
		}
	default:
		w.Check("purge", func() { w.lose(w.two(), w.one()) })
	}
	w.Check("authentication", w.authentication)
}

func (w *world) redirect(from, to, hub string) {
	first, err := w.one().hops(from, to)
	if err != nil || !slices.Contains(first, hub) {
		w.Fatalf("the first packets do not go through the hub %s, but: %v (%v)", hub, first, err)
	}
	w.Until(40*time.Second, "a shortcut from "+from+" to "+to, func() error {
		if _, err := w.one().ping(from, to, 3); err != nil {
			return err
		}
		return w.one().shortcut(to, w.spokes[1])
	})
}

func (w *world) direct(from, to string) {
	w.Until(20*time.Second, "a direct way", func() error {
		if _, err := w.two().ping(to, from, 2); err != nil { // the other direction finds its own
			return err
		}
		for _, way := range []struct {
			l        live
			from, to string
			far      member
		}{{w.one(), from, to, w.spokes[1]}, {w.two(), to, from, w.spokes[0]}} {
			hops, err := way.l.hops(way.from, way.to)
			if err != nil {
				return err
			}
			if len(hops) != 1 {
				return fmt.Errorf("from %s to %s: %v", way.from, way.to, hops)
			}
		}
		return nil
	})
	n, err := w.one().ping(from, to, 20)
	if n != 20 {
		w.Fatalf("%d of 20 packets were answered (%v)", n, err)
	}
}

// onWire counts the packets of the capture that match the filter.
func (w *world) onWire(filter string) int {
	out := w.Command("tcpdump", "-n", "-r", w.wire, filter)
	n := 0
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "IP") {
			n++
		}
	}
	return n
}

func (w *world) protected() {
	if n := w.onWire("proto gre"); n > 0 {
		w.Fatalf("%d packets of the overlay were in clear", n)
	}
	between := fmt.Sprintf("esp and host %s and host %s", w.spokes[0].nbma(), w.spokes[1].nbma())
	if n := w.onWire(between); n < 40 {
		w.Fatalf("only %d packets of ESP between the spokes", n)
	}
	for _, m := range w.members {
		if vm, ok := m.(machine); ok {
			want := []string{`mode transport`, `!mode tunnel`}
			if w.cipher.esn {
				want = append(want, `flag .*esn`)
			}
			if err := peers.Match(vm.Run("ip xfrm state"), want...); err != nil {
				w.Fatalf("%s: %v", m.about().name, err)
			}
		}
	}
}

// rekey makes charon rekey everything that it has while packets flow.
func (w *world) rekey() {
	var vm machine
	for _, m := range []live{w.two(), w.one(), w.at()} {
		if v, ok := m.(machine); ok {
			vm = v
			break
		}
	}
	from, to := vm.about(), w.spokes[0]
	if vm.about().index == to.index {
		to = w.spokes[1]
	}
	vm.Run(fmt.Sprintf("ping -n -c 60 -i 0.2 -W 2 -I %s %s >/tmp/flow 2>&1 &", from.lan(), to.lan()))
	spis := vm.Run("ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort")
	vm.Run("sleep 2; for c in $(swanctl --list-sas | sed -n 's/^\\(to-[a-z0-9]*\\):.*/\\1/p' | sort -u); do swanctl --rekey --child gre --ike $c; sleep 2; swanctl --rekey --ike $c; sleep 1; done")
	var out string
	w.Until(40*time.Second, "the flow", func() (err error) {
		out = vm.Run("cat /tmp/flow")
		return peers.Match(out, "packets transmitted")
	})
	if err := peers.Match(out, "60 packets transmitted, 60 received"); err != nil {
		w.Fatalf("%v", err)
	}
	for _, spi := range strings.Split(strings.TrimSpace(spis), "\n") {
		w.Until(20*time.Second, "the old SAs go", func() error { return peers.Match(vm.Run("ip xfrm state"), "!"+spi+`\b`) })
	}
}

// lose takes a spoke's network away: the other spoke's shortcut to it must go long before its hold time is over.
func (w *world) lose(loser, other live) {
	from, to := other.about().lan(), loser.about().lan()
	w.Until(60*time.Second, "a shortcut to lose", func() error {
		if _, err := other.ping(from, to, 3); err != nil {
			return err
		}
		return other.shortcut(to, loser.about())
	})
	var back func()
	switch m := loser.(type) {
	case felloe:
		m.Apply(strings.ReplaceAll(w.toml(loser.about()), fmt.Sprintf("10.%d.0.", loser.about().index), "10.99.0."))
		back = func() { m.Apply(w.toml(loser.about())) }
	case machine:
		m.Run("ip addr del " + to + "/24 dev lan")
		back = func() { m.Run("ip addr add " + to + "/24 dev lan") }
	}
	defer func() {
		back()
		w.Until(60*time.Second, "the network comes back", func() error { return other.route(loser.about().prefix()) })
	}()
	w.Until(15*time.Second, "the shortcut goes", func() error { return other.noShortcut(to) })
	if f, ok := loser.(felloe); ok {
		f.Expect(5*time.Second, "show ip nhrp traffic", `(?s)Sent: .*[^0-9][1-9][0-9]* purge request.*Rcvd:`)
	}
}

// authentication gives spoke 2 another string: the hub does not register it again.
func (w *world) authentication() {
	two := w.spokes[1]
	switch m := w.two().(type) {
	case felloe:
		m.Apply(strings.Replace(w.toml(two), password, "WRONG", 1))
	case machine:
		m.Run("vtysh -c 'conf t' -c 'interface gre1' -c 'ip nhrp authentication WRONG'")
	}
	switch hub := w.at().(type) {
	case felloe:
		hub.Exec("clear ip nhrp " + two.tunnel())
		hub.Expect(60*time.Second, "show ip nhrp traffic", `(?i)authentication[^\n]*[1-9]`)
	case machine:
		peers.Expect(hub, 60*time.Second, "cat /var/log/frr/frr.log", `(?i)authentication.*fail|Processing Authentication Extension .*WRONG`)
		hub.Run("vtysh -c 'clear ip nhrp cache'")
	}
	w.Sleep(12 * time.Second)
	if err := w.at().registered(two); err == nil {
		w.Fatalf("the hub has registered it")
	}
	if err := w.at().registered(w.spokes[0]); err != nil {
		w.Fatalf("the other spoke is gone too: %v", err)
	}
}
