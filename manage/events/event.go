package events

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"felloe/manage/syslog"
)

// Event is something that happened.
type Event struct {
	Time      time.Time    `json:"time"`
	Kind      string       `json:"event"`
	State     string       `json:"state,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Peer      string       `json:"peer,omitempty"`
	Inside    string       `json:"peer_tunnel,omitempty"`
	Interface string       `json:"interface,omitempty"`
	VRF       string       `json:"vrf,omitempty"`
	Client    string       `json:"client,omitempty"`
	Track     string       `json:"track,omitempty"`
	From      string       `json:"from,omitempty"`
	To        string       `json:"to,omitempty"`
	Assigned  string       `json:"assigned,omitempty"`
	Prefix    string       `json:"prefix,omitempty"`
	Mnemonic  string       `json:"mnemonic,omitempty"`
	Text      string       `json:"message"`
	Routes    *RoutesMoved `json:"routes,omitempty"`
	// Times is how often it happened, the last time at Last, when there was nothing but such attempts between.
	Times  int       `json:"times,omitempty"`
	Last   time.Time `json:"last,omitzero"`
	before string    // the address that was assigned before
	link   string    // the interface of one peer only that this is about
	phase  phase     // what it means for a story
	place  int       // among the events: of two at one time the first is the one that was heard of first
}

// RoutesMoved counts routes of a routing table that left some interfaces for others; no name is no route.
type RoutesMoved struct {
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Count int    `json:"count"`
}

// phase is what an event means for the story that it is in.
type phase int8

const (
	aside  phase = iota // says more
	notice              // something is wrong, or shall be different
	good                // something is well again
)

// read makes an event of a log line; a line without the field "event" is none.
func read(e *syslog.Entry) (*Event, bool) {
	field := func(key string) string {
		v, has := e.Fields[key]
		if !has {
			return ""
		}
		return fmt.Sprint(v)
	}
	x := &Event{Time: e.Time, Kind: field("event"), State: field("state"), Reason: field("reason"), Peer: bare(field("peer")), Inside: field("peer-tunnel"),
		Interface: field("tunnel"), VRF: field("vrf"), Client: field("client"), Track: field("track"), From: bare(field("from")), To: bare(field("to")),
		Assigned: addresses(e.Fields), Prefix: field("prefix"), Mnemonic: field("mnemonic"), Text: e.Message}
	if x.Interface == "" {
		x.Interface = field("interface")
	}
	if x.Kind == "" || e.Level == "debug" || slices.Contains(chatter, x.Kind) {
		return nil, false
	}
	x.phase = phaseOf(x)
	return x, true
}

// addresses are those that a hub gave: one, or one of each family.
func addresses(fields map[string]any) string {
	list, ok := fields["addresses"].([]any)
	if !ok {
		if one, has := fields["assigned"]; has {
			return bare(fmt.Sprint(one))
		}
		return ""
	}
	var out []string
	for _, a := range list {
		text, _, _ := strings.Cut(fmt.Sprint(a), "/")
		out = append(out, text)
	}
	return strings.Join(out, both)
}

// both joins the addresses of both families.
const both = " and "

// bare is an address without IKE's own ports; another port tells apart who is behind one NAT.
func bare(s string) string {
	if s == "invalid IP" {
		return ""
	}
	p, err := netip.ParseAddrPort(s)
	if err != nil {
		return s
	}
	if a := p.Addr().Unmap(); p.Port() == 500 || p.Port() == 4500 {
		return a.String()
	}
	return s
}

// host is an address without any port.
func host(s string) string {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().String()
	}
	return s
}

// chatter are lines about what is said, not about what has become of it.
var chatter = []string{"config", "config-acknowledged", "offer"}

// attempts are what a client block does again and again while no hub answers, or the better one does not.
var attempts = []string{"dialing", "preparing", "gateway-unreachable", "gateway-unknown", "gateways-exhausted"}

// routine is what happens all the time and belongs to no story.
var routine = []string{"ike-rekeyed", "child-rekeyed", "child-kept"}

// down and up are what kinds mean whose names do not tell.
var (
	down = []string{"peer-silent", "peer-dead", "auth-failed", "no-proposal", "no-profile", "no-key", "unregistered", "redirected", "redirect-followed", "moving", "shutdown", "too-many-sas", "initial-contact"}
	up   = []string{"registered", "peer-moved", "connected"}
)

func phaseOf(e *Event) phase {
	state := strings.ToLower(e.State)
	switch {
	case e.Kind == "dial-backup":
		return aside
	case e.Kind == "applied", slices.Contains(down, e.Kind), strings.HasSuffix(e.Kind, "-failed"):
		return notice
	case slices.Contains(up, e.Kind):
		return good
	case state == "down", strings.HasSuffix(e.Kind, "-down"):
		return notice
	case state == "up", state == "established", state == "active", strings.HasSuffix(e.Kind, "-up"):
		return good
	case e.Client == "":
		return aside
	}
	switch e.Kind[strings.LastIndexByte(e.Kind, '-')+1:] {
	case "lost", "preparing", "redirected", "moved":
		return notice
	case "connected":
		return good
	}
	return aside
}

// begins reports whether something new begins with the event, where all was well.
func (e *Event) begins() bool {
	return e.phase == notice || slices.Contains([]string{"ike-up", "dialing", "dpd", "bgp-lost", "bgp-notification"}, e.Kind) || strings.HasPrefix(e.Kind, "track")
}

// is reports whether the event is of a kind such as "ike" or "bgp" and has come to a phase.
func (e *Event) is(kind string, p phase) bool {
	return e.phase == p && (e.Kind == kind || strings.HasPrefix(e.Kind, kind+"-"))
}

// end is when it happened for the last time.
func (e *Event) end() time.Time {
	if e.Times > 1 {
		return e.Last
	}
	return e.Time
}

// ofSession reports whether the event's peer is a transport address, of a session.
func (e *Event) ofSession() bool {
	return e.Peer != "" && (strings.HasPrefix(e.Kind, "ike") || strings.HasPrefix(e.Kind, "child") || e.Kind == "line-protocol")
}

// trackNumber finds the tracked object in a reason.
var trackNumber = regexp.MustCompile(`track [0-9]+`)

// by is who noticed what the event says.
func (e *Event) by() string {
	reason := strings.ToLower(e.Reason)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(reason, w) })
	}
	switch {
	case strings.HasPrefix(e.Kind, "bfd"):
		return "BFD"
	case strings.HasPrefix(e.Kind, "cluster"):
		return "the cluster"
	case strings.HasPrefix(e.Kind, "track"):
		return "track " + e.Track
	case has("bfd"):
		return "BFD"
	case has("track"):
		return cmp.Or(trackNumber.FindString(reason), e.Reason)
	case strings.HasPrefix(e.Reason, "source ") && strings.HasSuffix(e.Reason, " is down"):
		return "the line protocol of " + strings.TrimSuffix(strings.TrimPrefix(e.Reason, "source "), " is down")
	case e.Kind == "initial-contact":
		return "the peer, who began anew"
	case e.Kind == "redirected", has("redirect"):
		return "a redirect of the hub"
	case has("operator"):
		return "the operator"
	case has("peer deleted", "delete by the peer"):
		return "the peer's delete"
	case has("does not answer", "dead", "dpd"):
		return "dead peer detection"
	case reason == "idle":
		return "the idle timer"
	case e.Kind == "applied", has("by the configuration"):
		return "a new configuration"
	case e.Kind == "preparing", has("reactivate", "better peer", "back to peer", "back to source"):
		return "a better peer's return"
	case strings.HasPrefix(e.Kind, "bgp") && has("hold"):
		return "BGP's hold timer"
	case strings.HasPrefix(e.Kind, "bgp"):
		return "BGP"
	case e.Kind == "line-protocol":
		return "the line protocol of " + e.Interface
	case e.Reason != "":
		return e.Reason
	}
	return e.Kind
}

// about are the things that the event is about.
func (e *Event) about() []string {
	var out []string
	add := func(kind, name string) {
		if name != "" {
			out = append(out, kind+name)
		}
	}
	add("client ", e.Client)
	add("track ", e.Track)
	add("peer ", e.Peer)
	if e.Inside != "" && e.Inside != e.Peer {
		add("peer ", e.Inside)
	}
	if !strings.HasPrefix(e.Kind, "bgp") { // there it is an interface's name now and then
		add("peer ", e.From)
		add("peer ", e.To)
	}
	add("link ", e.link)
	if e.ofSession() {
		add("session ", e.Peer)
	}
	if e.link == "" && e.Peer == "" && e.Client == "" {
		add("interface ", e.Interface)
	}
	return out
}

// Line is the event for a reader: the line of the log, with its reason unless it says that itself.
func (e *Event) Line() string {
	if r := e.Routes; r != nil {
		n := fmt.Sprintf("%d routes", r.Count)
		if r.Count == 1 {
			n = "1 route"
		}
		switch {
		case r.From == "":
			return n + " came to " + r.To
		case r.To == "":
			return n + " left " + r.From
		}
		return n + " moved from " + r.From + " to " + r.To
	}
	s := e.Text
	if e.Kind == "bfd" { // IOS's line says numbers
		s = "BFD session with " + e.Peer
		if e.Interface != "" {
			s += " on " + e.Interface
		}
		s += " is " + e.State
	}
	if e.Prefix != "" && !strings.Contains(s, e.Prefix) {
		s += " (" + e.Prefix + ")"
	}
	if e.Reason != "" && !strings.Contains(s, e.Reason) {
		s += ": " + e.Reason
	}
	return s
}
