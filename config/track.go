package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// Track is an object that is up or down. Exactly one of its kinds is there.
type Track struct {
	Number int `toml:"-"`
	// Free text.
	Description string `toml:"description" example:"\"hub 1\""`
	// Up while a host answers pings.
	ICMPEcho *TrackICMP `toml:"icmp-echo" layout:"inline" example:"{ address = \"172.25.1.1\", interval = \"100ms\", timeout = \"100ms\" }"`
	// Up while a host takes TCP connections.
	TCPConnect *TrackTCP `toml:"tcp-connect" layout:"inline" example:"{ address = \"192.168.0.1\", port = 179 }"`
	// Up while a web server answers as expected.
	HTTP *TrackHTTP `toml:"http" layout:"inline" example:"{ url = \"http://10.0.0.1/health\" }"`
	// Up while an interface is.
	Interface *TrackInterface `toml:"interface" layout:"inline" example:"{ name = \"Tunnel1\" }"`
	// Up while the routing table has a prefix.
	Route *TrackRoute `toml:"route" layout:"inline" example:"{ prefix = \"10.0.0.0/8\" }"`
	// Up while a BFD session is, which is made for this.
	BFD *TrackBFD `toml:"bfd" layout:"inline" example:"{ address = \"172.25.1.1\", multihop = true }"`
	// All or any of other objects.
	Boolean *TrackBoolean `toml:"boolean" layout:"inline" example:"{ operator = \"or\", object = [1, -2] }"`
	// How many of other objects are up, in per cent.
	ThresholdPercentage *TrackPercentage `toml:"threshold-percentage" layout:"inline" example:"{ object = [1, 2, 3], up = 60, down = 40 }"`
	// How much other objects that are up weigh.
	ThresholdWeight *TrackWeight `toml:"threshold-weight" layout:"inline" example:"{ object = [{ track = 1, weight = 10 }], up = 10, down = 5 }"`
	// A change counts after it has lasted this long.
	Delay TrackDelay `toml:"delay" layout:"inline" example:"{ up = \"10s\" }"`
}

// TrackProbe is how a host is asked.
type TrackProbe struct {
	// Where the packets come from: an interface's name or one of the router's addresses.
	Source Local `toml:"source" example:"\"GigabitEthernet1\""`
	// The routing table.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// How often.
	Interval time.Duration `toml:"interval" default:"1s" range:"50ms..1h"`
	// How long an answer may take.
	Timeout time.Duration `toml:"timeout" default:"500ms" range:"10ms..1m"`
	// So many failures in a row are down.
	Failures int `toml:"failures" default:"3" range:"1..100"`
	// So many successes in a row are up.
	Successes int `toml:"successes" default:"1" range:"1..100"`
}

// TrackICMP pings a host.
type TrackICMP struct {
	// The host.
	Address netip.Addr `toml:"address" required:"true" example:"\"172.25.1.1\""`
	TrackProbe
	// What a ping carries.
	Size int `toml:"size" default:"64" unit:"bytes" range:"0..1400"`
}

// TrackTCP connects to a host, and closes the connection again.
type TrackTCP struct {
	// The host.
	Address netip.Addr `toml:"address" required:"true" example:"\"192.168.0.1\""`
	// The port.
	Port uint16 `toml:"port" required:"true" range:"1..65535" example:"179"`
	TrackProbe
}

// TrackHTTP gets a page. Nothing but the status is looked at.
type TrackHTTP struct {
	// What to get; a name is found by `[dns]`.
	URL string `toml:"url" required:"true" example:"\"http://10.0.0.1/health\""`
	TrackProbe
	// Which answers are good.
	Status []int `toml:"status" default:"200" range:"100..599"`
}

// TrackInterface looks at an interface.
type TrackInterface struct {
	// The interface.
	Name string `toml:"name" required:"true" ref:"interface" example:"\"Tunnel1\""`
	// `line-protocol`: it can carry packets; `ip-routing`: it has an address, too.
	What TrackWhat `toml:"what" default:"line-protocol"`
}

// TrackWhat is what is looked at of an interface.
type TrackWhat string

const (
	TrackLineProtocol TrackWhat = "line-protocol"
	TrackIPRouting    TrackWhat = "ip-routing"
)

// Values lists what may be written.
func (TrackWhat) Values() []string {
	return []string{string(TrackLineProtocol), string(TrackIPRouting)}
}

// TrackRoute looks for a prefix.
type TrackRoute struct {
	// Exactly this prefix, with a next hop that can be used.
	Prefix netip.Prefix `toml:"prefix" required:"true" example:"\"10.0.0.0/8\""`
	// The routing table.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
}

// TrackBFD makes a BFD session.
type TrackBFD struct {
	// The other end.
	Address netip.Addr `toml:"address" required:"true" example:"\"172.25.1.1\""`
	// This end: an interface's name or one of the router's addresses.
	Source Local `toml:"source" example:"\"GigabitEthernet1\""`
	// The routing table.
	VRF string `toml:"vrf" default:"default" ref:"vrf"`
	// The other end is not on a connected subnet (RFC 5883); timers are those of `[[bfd.multihop]]`.
	Multihop bool `toml:"multihop"`
}

// TrackBoolean combines objects.
type TrackBoolean struct {
	// `and` is up while all of them are, `or` while any is.
	Operator TrackOperator `toml:"operator" default:"and"`
	// The objects; with a minus, such as -2, one counts while it is down.
	Object []TrackTerm `toml:"object" required:"true" ref:"track" example:"[1, -2]"`
}

// TrackOperator combines objects.
type TrackOperator string

const (
	TrackAnd TrackOperator = "and"
	TrackOr  TrackOperator = "or"
)

// Values lists what may be written.
func (TrackOperator) Values() []string { return []string{string(TrackAnd), string(TrackOr)} }

// TrackTerm is the number of an object; below zero it means the object's opposite.
type TrackTerm int

// Track is the number of the object.
func (t TrackTerm) Track() int { return int(max(t, -t)) }

// Not reports whether the opposite is meant.
func (t TrackTerm) Not() bool { return t < 0 }

// TrackPercentage counts objects.
type TrackPercentage struct {
	// The objects.
	Object []int `toml:"object" required:"true" ref:"track" range:"1..1000" example:"[1, 2, 3]"`
	// Up when at least this part is up.
	Up int `toml:"up" default:"100" unit:"per cent" range:"0..100" example:"60"`
	// Down when no more than this part is up.
	Down int `toml:"down" default:"0" unit:"per cent" range:"0..100" example:"40"`
}

// TrackWeight weighs objects.
type TrackWeight struct {
	// The objects.
	Object []*TrackWeightObject `toml:"object" layout:"inline" required:"true" example:"[{ track = 1, weight = 10 }]"`
	// Up when those that are up weigh at least this.
	Up int `toml:"up" required:"true" range:"1..65535" example:"30"`
	// Down when they weigh no more than this.
	Down int `toml:"down" required:"true" zero:"allowed" range:"0..65535" example:"10"`
}

// TrackWeightObject is an object with its weight.
type TrackWeightObject struct {
	// The object.
	Track int `toml:"track" required:"true" ref:"track" range:"1..1000" example:"1"`
	// What it weighs.
	Weight int `toml:"weight" default:"10" range:"1..65535"`
}

// TrackDelay holds changes back.
type TrackDelay struct {
	// Before it goes up.
	Up time.Duration `toml:"up" default:"0s" range:"0s..1h" example:"\"10s\""`
	// Before it goes down.
	Down time.Duration `toml:"down" default:"0s" range:"0s..1h" example:"\"1s\""`
}

// TrackState is a state that something waits for.
type TrackState string

const (
	TrackUp   TrackState = "up"
	TrackDown TrackState = "down"
)

// Values lists what may be written.
func (TrackState) Values() []string { return []string{string(TrackUp), string(TrackDown)} }

// Kind is the key of the kind that the object has; empty when there is none.
func (t *Track) Kind() string {
	for _, k := range t.kinds() {
		return k
	}
	return ""
}

// kinds are the keys of all kinds that are there.
func (t *Track) kinds() (out []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{{"icmp-echo", t.ICMPEcho != nil}, {"tcp-connect", t.TCPConnect != nil}, {"http", t.HTTP != nil}, {"interface", t.Interface != nil},
		{"route", t.Route != nil}, {"bfd", t.BFD != nil}, {"boolean", t.Boolean != nil},
		{"threshold-percentage", t.ThresholdPercentage != nil}, {"threshold-weight", t.ThresholdWeight != nil}} {
		if k.set {
			out = append(out, k.name)
		}
	}
	return out
}

// Objects are the numbers of the objects that this one is made of.
func (t *Track) Objects() (out []int) {
	switch {
	case t.Boolean != nil:
		for _, o := range t.Boolean.Object {
			out = append(out, o.Track())
		}
	case t.ThresholdPercentage != nil:
		out = append(out, t.ThresholdPercentage.Object...)
	case t.ThresholdWeight != nil:
		for _, o := range t.ThresholdWeight.Object {
			out = append(out, o.Track)
		}
	}
	return out
}

// maxTrack is the highest number of an object.
const maxTrack = 1000

// TrackNumbers lists the configured objects.
func (c *Config) TrackNumbers() []int {
	return sortedKeys(c.Track, func(a, b int) int { return a - b })
}

// trackNumber reads the number of an object, or says what would be right.
func trackNumber(s string) (int, string) {
	n, err := parseUint(s)
	if err != nil || n < 1 || n > maxTrack || s[0] == '0' {
		return 0, fmt.Sprintf("%q is not the number of an object: 1 to %d, such as in [track.1]", s, maxTrack)
	}
	return int(n), ""
}

// term fills the number of an object, which is negative when its opposite is meant.
func (d *decoder) term(n *node, s scope, v reflect.Value) {
	want := fmt.Sprintf("the number of an object from 1 to %d, or below zero for its opposite", maxTrack)
	i, ok := d.integer(n, s, want)
	switch {
	case !ok:
	case i == 0 || i < -maxTrack || i > maxTrack:
		d.errorf(n.pos, s, "%d is out of range: expected %s", i, want)
	default:
		v.SetInt(i)
	}
}
