package show

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/manage/events"
)

// Events is `show events`.
type Events struct {
	Stories []events.Story `json:"stories"`
}

// NewEvents makes the answer: the stories that are about an address, if one is given, and of these the last ones, if a number
// is given.
func NewEvents(all []events.Story, peer netip.Addr, last int) Events {
	out := Events{Stories: []events.Story{}}
	for i := range all {
		if !peer.IsValid() || all[i].Has(peer) {
			out.Stories = append(out.Stories, all[i])
		}
	}
	if last > 0 {
		out.Stories = out.Stories[max(len(out.Stories)-last, 0):]
	}
	return out
}

// Text implements cli.Result.
func (r Events) Text(w *cli.Table) {
	for i := range r.Stories {
		s := &r.Stories[i]
		w.Linef("%s  %s", s.Begin.UTC().Format("Jan _2 15:04:05.000"), cli.Plain(s.Title, ""))
		if len(s.Events) == 1 {
			if line := s.Events[0].Line(); line != s.Title {
				w.Linef("  %s", cli.Plain(line, ""))
			}
			continue
		}
		if s.By != "" {
			w.Linef("  Noticed by %s: %s", cli.Plain(s.By, ""), cli.Plain(s.Noticed, ""))
			switch {
			case s.Seconds >= 0 && s.Beside:
				w.Linef("  Moved after %.3f s, with the old session up", s.Seconds)
			case s.Seconds >= 0:
				w.Linef("  Up again after %.3f s", s.Seconds)
			}
		}
		if len(s.Moved) > 0 {
			w.Linef("  What moved: %s", cli.Plain(strings.Join(s.Moved, "; "), ""))
		}
		for j := range s.Events {
			e := &s.Events[j]
			after := func(t time.Time) string { return fmt.Sprintf("+%.3f", t.Sub(s.Begin).Seconds()) }
			again := ""
			if e.Times > 1 {
				again = fmt.Sprintf(" (%d times, until %s)", e.Times, after(e.Last))
			}
			w.Linef("    %9s  %-8s %s%s", after(e.Time), part(e.Kind), cli.Plain(e.Line(), ""), again)
		}
	}
}

// part is the part of the router that an event is of.
func part(kind string) string {
	word, _, _ := strings.Cut(kind, "-")
	switch word {
	case "child":
		return "ipsec"
	case "no", "initial", "superseded", "auth", "peer", "moved":
		return "ike"
	case "nhs", "shortcut", "registered", "unregistered", "registration", "resolution", "purged", "redirect":
		return "nhrp"
	case "applied", "apply":
		return "config"
	case "flexvpn", "dialing", "preparing", "moving", "gateway", "gateways", "dial":
		return "client"
	}
	return word
}
