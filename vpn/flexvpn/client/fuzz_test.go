package client

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// gatewayHost is a Host that knows what is there, and complains of what makes no sense.
type gatewayHost struct {
	t      *testing.T
	m      *Manager
	now    time.Time
	groups map[string]string
	has    map[string]Call // by client: dialled, or committed
	ready  map[string]bool // has is up
	beside map[string]Call
	done   map[string]bool // beside is prepared
	query  map[uint64]Query
	depth  int
	answer bool // calls back at once
	failed bool // has done so: the Manager may not have heard of it yet
}

func (h *gatewayHost) taken(c Call) {
	for name, o := range h.has {
		if g := h.groups[c.Client]; name != c.Client && g != "" && g == h.groups[name] && o.Peer == c.Peer {
			h.t.Fatalf("%s and %s of group %s both have %s", c.Client, name, g, c.Peer)
		}
	}
	for name, o := range h.beside {
		if g := h.groups[c.Client]; name != c.Client && g != "" && g == h.groups[name] && o.Peer == c.Peer {
			h.t.Fatalf("%s and %s of group %s both have %s", c.Client, name, g, c.Peer)
		}
	}
}

func (h *gatewayHost) Dial(c Call) {
	if _, two := h.beside[c.Client]; two {
		h.t.Fatalf("%s dials while something is prepared", c.Client)
	}
	h.taken(c)
	h.has[c.Client], h.ready[c.Client] = c, false
	if h.answer && h.depth < 3 {
		h.depth++
		h.failed = true
		delete(h.has, c.Client)
		h.m.Failed(h.now, c.ID, "at once")
		h.depth--
	}
}

func (h *gatewayHost) Hangup(client, _, _ string) {
	_, there := h.has[client]
	if _, beside := h.beside[client]; !there && !beside && !h.failed {
		h.t.Fatalf("%s hangs up what is not there", client)
	}
	delete(h.beside, client)
	delete(h.has, client)
	delete(h.ready, client)
}

func (h *gatewayHost) Prepare(c Call) {
	if _, two := h.beside[c.Client]; two {
		h.t.Fatalf("%s prepares twice", c.Client)
	}
	if !h.ready[c.Client] {
		h.t.Fatalf("%s prepares beside nothing", c.Client)
	}
	h.taken(c)
	h.beside[c.Client], h.done[c.Client] = c, false
}

func (h *gatewayHost) Commit(c Call, _ string) error {
	if h.beside[c.Client].ID != c.ID || !h.done[c.Client] {
		h.t.Fatalf("%s moves to what is not prepared", c.Client)
	}
	delete(h.beside, c.Client)
	h.has[c.Client], h.ready[c.Client] = c, true
	h.m.Up(h.now, c.ID, Up{})
	return nil
}

func (h *gatewayHost) Abandon(c Call, _ string) {
	if h.beside[c.Client].ID != c.ID {
		h.t.Fatalf("%s abandons what is not there", c.Client)
	}
	delete(h.beside, c.Client)
}

func (h *gatewayHost) Resolve(q Query)             { h.query[q.ID] = q }
func (h *gatewayHost) Backup(string, bool, string) {}
func (h *gatewayHost) Event(Event)                 {}

// FuzzSequences gives the machine whatever may come in any order.
func FuzzSequences(f *testing.F) {
	for _, seed := range []string{"", "ufduf", "t1Tp", "u0123456789abcdefghijklmnopqrstuvwxyz", "wwwwuwwwwpwwwdwwpfr1r2u", "mMuMm", "qQwuqQpd", "sSuSsSpSd", "xufxudux"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h := &gatewayHost{t: t, now: time.Unix(1000, 0), groups: map[string]string{}, has: map[string]Call{}, ready: map[string]bool{},
			beside: map[string]Call{}, done: map[string]bool{}, query: map[uint64]Query{}}
		h.m = New(h)
		list := []Config{
			with(tracked(block("A", 3)), func(c *Config) {
				c.BackupGroup, c.Reactivate = "G", true
				c.Sources = []Source{{Interface: "Gig1", Track: 3}, {Interface: "Gig2"}}
			}),
			with(block("B", 3), func(c *Config) { c.BackupGroup, c.Reactivate, c.BackupInterface = "G", true, "Tunnel-C" }),
			with(block("C", 2), func(c *Config) { c.BackupGroup = "G"; c.Peers = append(c.Peers, Peer{Seq: 9, FQDN: "hub"}) }),
			with(block("M", 2), func(c *Config) { c.Manual, c.Reactivate = true, true; c.Peers[0] = Peer{Seq: 1, FQDN: "hub"} }),
		}
		for _, c := range list {
			h.groups[c.Name] = c.BackupGroup
		}
		h.m.SetClients(h.now, list)
		names := []string{"A", "B", "C", "M"}
		for k, b := range in {
			name := names[k%len(names)]
			arg := 0
			if k > 0 {
				arg = int(in[k-1])
			}
			c, has := h.has[name]
			side, beside := h.beside[name]
			switch b % 20 {
			case 0, 1:
				if has && !h.ready[name] {
					h.ready[name] = true
					h.m.Up(h.now, c.ID, Up{})
				}
			case 2:
				if has && !h.ready[name] {
					delete(h.has, name)
					h.m.Failed(h.now, c.ID, "fuzz")
				}
			case 3, 4:
				if has && h.ready[name] {
					delete(h.has, name)
					delete(h.ready, name)
					h.m.Down(h.now, c.ID, "fuzz")
				}
			case 5, 6:
				if beside && !h.done[name] {
					h.done[name] = true
					h.m.Prepared(h.now, side.ID)
				}
			case 7:
				if beside {
					delete(h.beside, name)
					h.m.Failed(h.now, side.ID, "fuzz")
				}
			case 8:
				h.m.TrackChanged(h.now, 1+arg%4, arg&16 != 0)
			case 9:
				h.m.SourceChanged(h.now, []string{"Gig1", "Gig2"}[arg%2], arg&2 != 0, []netip.Addr{hub(100 + arg&4)})
			case 10:
				for id := range h.query {
					delete(h.query, id)
					if arg&1 == 0 {
						h.m.Resolved(h.now, id, nil, errors.New("fuzz"))
					} else {
						h.m.Resolved(h.now, id, []netip.Addr{hub(1 + arg%5), hub(2)}, nil)
					}
					break
				}
			case 11:
				h.m.Redirected(h.now, c.ID, hub(1+arg%6))
			case 12:
				h.m.Redirected(h.now, side.ID, hub(1+arg%6))
			case 13:
				_ = h.m.Connect(h.now, "M")
			case 14:
				_ = h.m.Disconnect(h.now, "M")
			case 15:
				_ = h.m.Clear(h.now, name)
			case 16:
				h.answer = !h.answer
			case 17:
				x := list[arg%4]
				x.Reactivate = !x.Reactivate
				if x.Off = ""; arg&64 != 0 {
					x.Off = "fuzz"
				}
				list[arg%4] = x
				h.m.SetClients(h.now, list)
			case 18:
				h.m.SetClients(h.now, list[arg%3:])
				for _, gone := range list[:arg%3] {
					if _, left := h.has[gone.Name]; left {
						t.Fatalf("%s is removed and has a session", gone.Name)
					}
				}
				h.m.SetClients(h.now, list)
			case 19:
				h.now = h.now.Add(time.Duration(arg) * 100 * time.Millisecond)
			}
			for n := 0; ; n++ {
				at, ok := h.m.Deadline()
				if !ok || at.After(h.now) {
					break
				}
				if n > 100 {
					t.Fatalf("it never has done what is due: %+v", h.m.Snapshot())
				}
				h.m.Tick(h.now)
			}
			for _, s := range h.m.Snapshot() {
				if (s.State == StateActive) != h.ready[s.Name] {
					t.Fatalf("%s is %s, and its session's being up is %v", s.Name, s.State, h.ready[s.Name])
				}
			}
		}
	})
}
