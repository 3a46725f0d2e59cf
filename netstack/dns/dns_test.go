package dns

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/netstack/clock"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	first  = netip.MustParseAddr("10.0.0.53")
	second = netip.MustParseAddr("2001:db8::53")
)

// servers are name servers by address. Each is a function from a question to an answer.
type servers struct {
	by    map[netip.Addr]func(q dnsmessage.Message, tcp bool) (dnsmessage.Message, error)
	asked []string
}

func (s *servers) Exchange(ctx context.Context, server netip.Addr, query []byte, tcp bool) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	s.asked = append(s.asked, server.String()+" "+m.Questions[0].Name.String()+" "+m.Questions[0].Type.String())
	f := s.by[server]
	if f == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	m.Response = true
	m, err := f(m, tcp)
	if err != nil {
		return nil, err
	}
	return m.Pack()
}

// zone answers with A and AAAA records of a TTL.
func zone(ttl uint32, names map[string][]string) func(dnsmessage.Message, bool) (dnsmessage.Message, error) {
	return func(m dnsmessage.Message, _ bool) (dnsmessage.Message, error) {
		q := m.Questions[0]
		at := q.Name
		list, there := names[at.String()]
		if !there {
			m.RCode = dnsmessage.RCodeNameError
			return m, nil
		}
		for _, x := range list {
			h := dnsmessage.ResourceHeader{Name: at, Class: dnsmessage.ClassINET, TTL: ttl}
			a, err := netip.ParseAddr(x)
			switch {
			case err != nil:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(x)}})
				at = dnsmessage.MustNewName(strings.ToUpper(x))
			case a.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		return m, nil
	}
}

type steps struct{ n byte }

func (s *steps) Read(b []byte) (int, error) {
	for k := range b {
		s.n++
		b[k] = s.n
	}
	return len(b), nil
}

func newResolver(t *testing.T, c Config) (*Resolver, *servers, *clock.Virtual) {
	v := clock.NewVirtual(time.Unix(1000, 0))
	s := &servers{by: map[netip.Addr]func(dnsmessage.Message, bool) (dnsmessage.Message, error){}}
	r := New(v, &steps{}, s)
	if c.Servers == nil {
		c.Servers = []netip.Addr{first, second}
	}
	r.SetConfig(c)
	return r, s, v
}

func look(t *testing.T, r *Resolver, name string, v6 bool, want ...string) {
	t.Helper()
	got, err := r.Lookup(context.Background(), name, v6)
	var text []string
	for _, a := range got {
		text = append(text, a.String())
	}
	if err != nil || !slices.Equal(text, want) {
		t.Fatalf("%s: %v, %v; want %v", name, text, err, want)
	}
}

func fails(t *testing.T, r *Resolver, name string, v6 bool, want error) {
	t.Helper()
	if got, err := r.Lookup(context.Background(), name, v6); !errors.Is(err, want) {
		t.Fatalf("%s: %v, %v; want %v", name, got, err, want)
	}
}

func TestAnAnswerIsKeptAsLongAsItSays(t *testing.T) {
	r, s, v := newResolver(t, Config{Domain: "example.com"})
	s.by[first] = zone(60, map[string][]string{"hub1.example.com.": {"172.25.1.1", "2001:db8:25::1", "172.25.1.2"}})
	look(t, r, "hub1", false, "172.25.1.1", "172.25.1.2")
	look(t, r, "Hub1.Example.com.", false, "172.25.1.1", "172.25.1.2")
	look(t, r, "hub1", true, "2001:db8:25::1")
	v.Advance(59 * time.Second)
	look(t, r, "hub1", false, "172.25.1.1", "172.25.1.2")
	v.Advance(time.Second)
	s.by[first] = zone(0, map[string][]string{"hub1.example.com.": {"172.25.9.9"}})
	look(t, r, "hub1", false, "172.25.9.9")
	look(t, r, "hub1", false, "172.25.9.9")
	if len(s.asked) != 4 { // a TTL of 0 is not kept
		t.Errorf("asked %v", s.asked)
	}
	known := r.Known()
	if len(known) != 2 || known[0].Name != "hub1.example.com" || known[0].Server != first {
		t.Errorf("%+v", known)
	}
	r.Clear()
	if len(r.Known()) != 0 {
		t.Error("it remembers")
	}
}

func TestTheHostTableAndAddressesNeedNoServer(t *testing.T) {
	r, s, _ := newResolver(t, Config{Domain: "example.com", Hosts: map[string][]netip.Addr{
		"hub1.example.com": {netip.MustParseAddr("172.25.1.1"), netip.MustParseAddr("2001:db8::1")}, "nas": {netip.MustParseAddr("10.0.0.9")}}})
	look(t, r, "HUB1", false, "172.25.1.1")
	look(t, r, "hub1.example.com", true, "2001:db8::1")
	look(t, r, "nas", false, "10.0.0.9")
	fails(t, r, "nas", true, ErrNoAddress)
	look(t, r, "10.1.1.1", false, "10.1.1.1")
	fails(t, r, "10.1.1.1", true, ErrNoAddress)
	for _, bad := range []string{"", ".", "a..b", strings.Repeat("x", 64), strings.Repeat("x.", 130)} {
		fails(t, r, bad, false, ErrName)
	}
	if len(s.asked) != 0 || len(r.Known()) != 2 || !r.Known()[0].Permanent {
		t.Errorf("asked %v, knows %+v", s.asked, r.Known())
	}
	r.SetConfig(Config{})
	fails(t, r, "hub", false, ErrNoServer)
}

func TestServersAreAskedInOrderAndWhatIsKnownStandsIn(t *testing.T) {
	r, s, v := newResolver(t, Config{Timeout: time.Second})
	broken := func(m dnsmessage.Message, _ bool) (dnsmessage.Message, error) {
		m.RCode = dnsmessage.RCodeServerFailure
		return m, nil
	}
	s.by[first], s.by[second] = broken, zone(10, map[string][]string{"hub.example.com.": {"172.25.1.1"}, "six.example.com.": {"2001:db8::1"}})
	look(t, r, "hub.example.com", false, "172.25.1.1")
	fails(t, r, "no.example.com", false, ErrNotFound)
	fails(t, r, "six.example.com", false, ErrNoAddress)
	n := len(s.asked)
	fails(t, r, "no.example.com", false, ErrNotFound) // remembered
	if len(s.asked) != n {
		t.Errorf("asked %v", s.asked[n:])
	}
	s.by[second] = broken
	v.Advance(time.Minute)
	look(t, r, "hub.example.com", false, "172.25.1.1") // stale
	fails(t, r, "no.example.com", false, ErrNoAnswer)
	v.Advance(25 * time.Hour)
	fails(t, r, "hub.example.com", false, ErrNoAnswer)
}

func TestAnAnswerThatIsOnItsWayWhenTheServersChangeIsNotKept(t *testing.T) {
	r, s, _ := newResolver(t, Config{})
	old := zone(60, map[string][]string{"hub.example.com.": {"172.25.1.1"}})
	s.by[first] = func(m dnsmessage.Message, tcp bool) (dnsmessage.Message, error) {
		r.SetConfig(Config{Servers: []netip.Addr{second}})
		return old(m, tcp)
	}
	s.by[second] = zone(60, map[string][]string{"hub.example.com.": {"172.25.2.2"}})
	look(t, r, "hub.example.com", false, "172.25.1.1") // it was asked before
	look(t, r, "hub.example.com", false, "172.25.2.2")
}

func TestASilentServerCostsItsTimeout(t *testing.T) {
	r, s, v := newResolver(t, Config{Timeout: time.Second})
	s.by[second] = zone(10, map[string][]string{"hub.example.com.": {"172.25.1.1"}})
	done := make(chan error, 1)
	go func() {
		_, err := r.Lookup(context.Background(), "hub.example.com", false)
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil || v.Now().Sub(time.Unix(1000, 0)) < time.Second {
				t.Errorf("%v at %v", err, v.Now())
			}
			return
		default:
			v.Advance(10 * time.Millisecond)
		}
	}
}

func TestAliasesAreFollowedAndALongAnswerComesByTCP(t *testing.T) {
	r, s, _ := newResolver(t, Config{})
	full := zone(30, map[string][]string{"www.example.com.": {"a.example.com.", "b.example.com.", "10.0.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1"}, "loop.example.com.": {"loop.example.com."}})
	s.by[first] = func(m dnsmessage.Message, tcp bool) (dnsmessage.Message, error) {
		if !tcp {
			m.Truncated = true
			return m, nil
		}
		return full(m, tcp)
	}
	look(t, r, "www.example.com", false, "10.0.0.1")
	fails(t, r, "loop.example.com", false, ErrNoAddress)
	if len(s.asked) != 4 {
		t.Errorf("asked %v", s.asked)
	}
}

func TestAnAnswerToAnotherQuestionIsNone(t *testing.T) {
	good := zone(30, map[string][]string{"hub.example.com.": {"172.25.1.1"}})
	for name, change := range map[string]func(*dnsmessage.Message){
		"number":   func(m *dnsmessage.Message) { m.ID++ },
		"query":    func(m *dnsmessage.Message) { m.Response = false },
		"name":     func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("other.example.com.") },
		"type":     func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA },
		"question": func(m *dnsmessage.Message) { m.Questions = nil },
	} {
		r, s, _ := newResolver(t, Config{Servers: []netip.Addr{first}})
		s.by[first] = func(m dnsmessage.Message, tcp bool) (dnsmessage.Message, error) {
			m, err := good(m, tcp)
			change(&m)
			return m, err
		}
		if _, err := r.Lookup(context.Background(), "hub.example.com", false); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	// A record of another name is not believed.
	r, s, _ := newResolver(t, Config{Servers: []netip.Addr{first}})
	s.by[first] = func(m dnsmessage.Message, tcp bool) (dnsmessage.Message, error) {
		m, err := good(m, tcp)
		m.Answers[0].Header.Name = dnsmessage.MustNewName("evil.example.com.")
		return m, err
	}
	fails(t, r, "hub.example.com", false, ErrNoAddress)
}

// FuzzAnswer reads what a server, or somebody in its name, may send.
func FuzzAnswer(f *testing.F) {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.b."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	m, _ = zone(5, map[string][]string{"a.b.": {"c.d.", "10.0.0.1"}})(m, false)
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Add(bytes.Repeat([]byte{0xc0, 0x0c}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v6 := range []bool{false, true} {
			x, err := read(b, 1, "a.b", v6)
			if err == nil && (len(x.addrs) == 0) != (x.err != nil) || err == nil && (x.ttl < 0 || x.ttl > maxTTL) {
				t.Errorf("%+v", x)
			}
		}
	})
}
