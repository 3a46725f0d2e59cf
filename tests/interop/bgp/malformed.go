package bgp

import (
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// fault is a message that is wrong, and what must become of it.
type fault struct {
	id, what string
	message  []byte
	// outcome: the announced prefix is used, is not used (and withdrawn when it was), or the session ends with a notification
	used  bool
	reset *notification
}

var (
	origin  = attribute(0x40, 1, 0)
	asPath  = attribute(0x40, 2, 2, 1, 0, 0, 0xfd, 0xec)
	nextHop = attribute(0x40, 3, 192, 0, 2, 4)
	victim  = []byte{24, 203, 0, 113} // 203.0.113.0/24
)

var faults = []fault{
	{id: "origin-value", what: "ORIGIN of value 5: treated as withdrawn", message: update(victim, attribute(0x40, 1, 5), asPath, nextHop)},
	{id: "origin-length", what: "ORIGIN of two bytes: treated as withdrawn", message: update(victim, attribute(0x40, 1, 0, 0), asPath, nextHop)},
	{id: "origin-flags", what: "ORIGIN that calls itself optional: treated as withdrawn", message: update(victim, attribute(0xc0, 1, 0), asPath, nextHop)},
	{id: "no-origin", what: "no ORIGIN: treated as withdrawn", message: update(victim, asPath, nextHop)},
	{id: "as-path-segment", what: "AS_PATH with a segment longer than the attribute: treated as withdrawn", message: update(victim, origin, attribute(0x40, 2, 2, 9, 0, 0, 0xfd, 0xec), nextHop)},
	{id: "as-path-type", what: "AS_PATH with a segment of type 9: treated as withdrawn", message: update(victim, origin, attribute(0x40, 2, 9, 1, 0, 0, 0xfd, 0xec), nextHop)},
	{id: "as-0", what: "AS 0 in the AS_PATH (RFC 7607): treated as withdrawn", message: update(victim, origin, attribute(0x40, 2, 2, 2, 0, 0, 0xfd, 0xec, 0, 0, 0, 0), nextHop)},
	{id: "first-as", what: "an AS_PATH that does not begin with the neighbour's AS: treated as withdrawn", message: update(victim, origin, attribute(0x40, 2, 2, 1, 0, 0, 0xfd, 0xff), nextHop)},
	{id: "next-hop-length", what: "NEXT_HOP of five bytes: treated as withdrawn", message: update(victim, origin, asPath, attribute(0x40, 3, 192, 0, 2, 4, 0))},
	{id: "next-hop-ours", what: "NEXT_HOP that is our own address: not used", message: update(victim, origin, asPath, attribute(0x40, 3, 192, 0, 2, 1))},
	{id: "med-length", what: "MULTI_EXIT_DISC of three bytes: treated as withdrawn", message: update(victim, origin, asPath, nextHop, attribute(0x80, 4, 0, 0, 1))},
	{id: "community-length", what: "COMMUNITIES of five bytes: treated as withdrawn", message: update(victim, origin, asPath, nextHop, attribute(0xc0, 8, 1, 2, 3, 4, 5))},
	{id: "large-community-length", what: "LARGE_COMMUNITY of five bytes: treated as withdrawn", message: update(victim, origin, asPath, nextHop, attribute(0xc0, 32, 1, 2, 3, 4, 5))},
	{id: "attribute-overrun", what: "an attribute that ends behind the attributes: treated as withdrawn", message: update(victim, origin, asPath, nextHop, []byte{0xc0, 8, 200, 1, 2})},
	{id: "atomic-aggregate-length", what: "ATOMIC_AGGREGATE of one byte: the attribute is discarded", message: update(victim, origin, asPath, nextHop, attribute(0x40, 6, 1)), used: true},
	{id: "aggregator-length", what: "AGGREGATOR of five bytes: the attribute is discarded", message: update(victim, origin, asPath, nextHop, attribute(0xc0, 7, 1, 2, 3, 4, 5)), used: true},
	{id: "local-pref", what: "LOCAL_PREF from an external neighbour: the attribute is discarded", message: update(victim, origin, asPath, nextHop, attribute(0x40, 5, 0, 0, 1, 0)), used: true},
	{id: "twice", what: "ORIGIN twice: the second is discarded", message: update(victim, origin, asPath, nextHop, attribute(0x40, 1, 2)), used: true},
	{id: "unknown", what: "an unknown optional attribute: the prefix is used", message: update(victim, origin, asPath, nextHop, attribute(0xc0, 99, 1, 2, 3)), used: true},
	{id: "mp-reach-twice", what: "MP_REACH_NLRI twice: the session is reset", reset: &notification{3, 1},
		message: update(nil, origin, asPath, attribute(0x80, 14, mpReach...), attribute(0x80, 14, mpReach...))},
	{id: "prefix-length", what: "a prefix of 33 bits: the session is reset", message: update([]byte{33, 203, 0, 113, 0, 0}, origin, asPath, nextHop), reset: &notification{3, 10}},
	{id: "attributes-length", what: "attributes longer than the message: the session is reset", message: message(typeUpdate, []byte{0, 0, 0xff, 0, 0x40, 1, 1, 0}), reset: &notification{3, 1}},
	{id: "marker", what: "a wrong marker: the session is reset", message: append(make([]byte, 16), 0, 19, typeKeepalive), reset: &notification{1, 1}},
	{id: "length", what: "a message of 18 bytes: the session is reset", message: message(typeKeepalive, nil)[:16:16], reset: &notification{1, 2}},
	{id: "type", what: "a message of type 9: the session is reset", message: message(9, nil), reset: &notification{1, 3}},
}

var mpReach = append([]byte{0, 2, 1, 16}, append([]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0}, 32, 0x20, 0x01, 0x0d, 0xb9)...)

func init() {
	for i := range faults {
		if faults[i].id == "length" { // the length field says 18
			faults[i].message = append(faults[i].message, 0, 18, typeKeepalive)
		}
	}
	rows := []matrix.Row{{ID: "sessions", What: "sessions with FRR bgpd and with the sender; a sound message is used"}}
	for _, f := range faults {
		rows = append(rows, matrix.Row{ID: f.id, What: f.what})
	}
	rows = append(rows, matrix.Row{ID: "undisturbed", What: "FRR's session stayed up throughout, and its prefixes with it"})
	matrix.Register(matrix.Case{
		Name: "bgp/malformed", Group: "BGP", Peer: "a sender of malformed messages, FRR bgpd", Title: "malformed messages (RFC 7606)", Timeout: 5 * time.Minute, Short: true,
		Packages: []string{"frr"}, Rows: rows, Run: malformed,
	})
}

func malformed(r *matrix.Run) {
	lan := r.Switch("lan")
	router := r.Router("router", routerTOML, lan)
	w := startWatcher(r, lan, "  network 10.3.0.0/24\n")
	n := r.Namespace("sender")
	lan.Attach(n, "eth0", "192.0.2.4/24")
	var s *sender
	session := func() {
		if s != nil {
			s.close()
		}
		r.Until(30*time.Second, "a session with the sender", func() (err error) {
			s, err = dial(n, "192.0.2.1")
			return err
		})
	}
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	good := update(victim, origin, asPath, nextHop)
	withdrawal := message(typeUpdate, append([]byte{0, 4}, append(victim[:4:4], 0, 0)...))
	announce := func() {
		if err := s.send(good); err != nil {
			r.Fatalf("%v", err)
		}
		router.Expect(10*time.Second, "show ip route bgp", `^B +203\.0\.113\.0/24`)
	}
	r.Must("sessions", func() {
		router.Expect(60*time.Second, "show ip bgp summary", `192\.0\.2\.3 .* 1$`)
		session()
		announce()
	})
	for _, f := range faults {
		r.Check(f.id, func() {
			if _, over := s.ended(100 * time.Millisecond); over {
				session()
			}
			if f.used { // it must make the prefix come
				if err := s.send(withdrawal); err != nil {
					r.Fatalf("%v", err)
				}
				router.Expect(10*time.Second, "show ip route bgp", `!^B +203\.0\.113\.0`)
			} else { // it must make the prefix go
				announce()
			}
			if err := s.send(f.message); err != nil {
				r.Fatalf("%v", err)
			}
			if f.reset != nil {
				got, over := s.ended(10 * time.Second)
				s.close()
				for range s.notes { // until it is closed
				}
				if !over || got != *f.reset {
					r.Fatalf("ended: %v, with notification %d/%d instead of %d/%d", over, got.code, got.subcode, f.reset.code, f.reset.subcode)
				}
				return
			}
			pattern := `!^B +203\.0\.113\.0/24`
			if f.used {
				pattern = `^B +203\.0\.113\.0/24`
			}
			router.Expect(10*time.Second, "show ip route bgp", pattern)
			if got, over := s.ended(200 * time.Millisecond); over {
				r.Fatalf("the session has ended with notification %d/%d", got.code, got.subcode)
			}
		})
	}
	r.Check("undisturbed", func() {
		w.undisturbed(r)
		if err := peers.Match(router.Exec("show ip route bgp"), `^B +10\.3\.0\.0/24`); err != nil {
			r.Fatalf("%v", err)
		}
		if err := router.Alive(); err != nil {
			r.Fatalf("%v", err)
		}
		if err := peers.Match(router.Exec("show counters"), `event +panics +0$`); err != nil {
			r.Fatalf("%v", fmt.Errorf("the router has contained a panic: %w", err))
		}
	})
}
