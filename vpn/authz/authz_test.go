package authz

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

var (
	any4 = netip.MustParsePrefix("0.0.0.0/32")
	any6 = netip.MustParsePrefix("::/128")
	now  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func span(from, to string) Range { return Range{netip.MustParseAddr(from), netip.MustParseAddr(to)} }

func manager(change ...func(*Config)) *Manager {
	c := Config{
		Policies: map[string]Policy{
			"clients": {Pool: "P", Pool6: "P6", Netmask: 27, DNS: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Domain: "example.com", PFS: true, Self: true,
				Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, Accept: ikev2.RouteAccept{Accept: true, Distance: 7, Tag: 9}},
			"example.org": {},
		},
		Manglers: map[string]Mangler{"domain": {FQDN: "domain"}},
		Pools: map[string]Pool{
			"P":  {Ranges: []Range{span("10.1.0.1", "10.1.0.5")}, Exclude: []Range{span("10.1.0.2", "10.1.0.3")}},
			"P6": {Ranges: []Range{span("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")}},
		},
		Self: map[string][]netip.Prefix{"prof": {netip.MustParsePrefix("166.34.121.112/24"), netip.MustParsePrefix("fd00::1/64")}},
	}
	for _, f := range change {
		f(&c)
	}
	m := New()
	m.SetConfig(c)
	return m
}

func ask(sa ikev2.SAID, who string, want ...netip.Prefix) ikev2.AuthorizeRequest {
	return ikev2.AuthorizeRequest{SA: sa, Profile: "prof", Authorization: ikev2.Authorization{Policy: "clients"}, Peer: ikev2.FQDNIdentity(who),
		HasRequest: len(want) > 0, Wanted: ikev2.Configuration{Addresses: want}}
}

func address(t *testing.T, m *Manager, r ikev2.AuthorizeRequest) string {
	t.Helper()
	c, err := m.Authorize(now, r)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range c.Addresses {
		out = append(out, a.Addr().String())
	}
	return strings.Join(out, " ")
}

func TestAPolicyIsGrantedAsItIsWritten(t *testing.T) {
	c, err := manager().Authorize(now, ask(1, "a", any4, any6))
	if err != nil {
		t.Fatal(err)
	}
	want := "address 10.1.0.1/27, address 2001:db8::1/128, dns 10.0.0.1, subnet 166.34.121.112/32, subnet fd00::1/128, subnet 10.9.0.0/16, domain example.com, pfs 1"
	if c.String() != want {
		t.Errorf("got  %s\nwant %s", c, want)
	}
	if c.Policy != "clients" || c.Accept != (ikev2.RouteAccept{Accept: true, Distance: 7, Tag: 9}) {
		t.Errorf("policy %q, accept %+v", c.Policy, c.Accept)
	}
}

func TestAnAddressIsGivenOnlyToThoseWhoAsk(t *testing.T) {
	m := manager()
	if got := address(t, m, ask(1, "a")); got != "" {
		t.Errorf("got %s unasked", got)
	}
	if got := address(t, m, ask(2, "a", any6)); got != "2001:db8::1" {
		t.Errorf("got %s", got)
	}
	r := ask(3, "b", any4)
	r.Initiator = true
	if got := address(t, m, r); got != "" {
		t.Errorf("an initiator gave its responder %s", got)
	}
}

func TestAPoolGivesEachAddressOnceSkipsExcludedOnesAndIsThenExhausted(t *testing.T) {
	m := manager()
	var got []string
	for i := range 3 {
		got = append(got, address(t, m, ask(ikev2.SAID(i+1), fmt.Sprint("peer", i), any4)))
	}
	if !slices.Equal(got, []string{"10.1.0.1", "10.1.0.4", "10.1.0.5"}) {
		t.Errorf("got %v", got)
	}
	_, err := m.Authorize(now, ask(9, "late", any4))
	if !errors.Is(err, ikev2.ErrNoAddress) || !strings.Contains(err.Error(), `pool "P" has no free IPv4 address`) {
		t.Errorf("got %v", err)
	}
	if p := m.Pools()[0]; p.Held != 3 || p.Exhausted != 1 {
		t.Errorf("got %+v", p)
	}
	// What could not be granted holds nothing, and one family is enough.
	if len(m.grants) != 3 {
		t.Errorf("%d grants", len(m.grants))
	}
	if got := address(t, m, ask(10, "late", any4, any6)); got != "2001:db8::1" {
		t.Errorf("got %s", got)
	}
	m.Release(2)
	if got := address(t, m, ask(11, "later", any4)); got != "10.1.0.4" {
		t.Errorf("got %s after a release", got)
	}
}

func TestAnIdentityGetsItsAddressBackAsLongAsNobodyNeedsIt(t *testing.T) {
	m := manager()
	address(t, m, ask(1, "a", any4))
	address(t, m, ask(2, "b", any4))
	m.Release(1)
	m.Release(2)
	if got := address(t, m, ask(3, "b", any4)); got != "10.1.0.4" {
		t.Errorf("b got %s", got)
	}
	m.Release(3)
	if got := address(t, m, ask(4, "c", any4)); got != "10.1.0.5" {
		t.Errorf("c got %s: a never given one goes first", got)
	}
	if got := address(t, m, ask(5, "d", any4)); got != "10.1.0.1" {
		t.Errorf("d got %s: a's is free the longest", got)
	}
	if got := address(t, m, ask(6, "a", any4)); got != "10.1.0.4" {
		t.Errorf("a got %s: its own was given away", got)
	}
}

func TestTwoSAsOfOneIdentityShareAnAddressOnlyWhenTheSecondAsksForIt(t *testing.T) {
	m := manager()
	address(t, m, ask(1, "a", any4))
	if got := address(t, m, ask(2, "a", any4)); got != "10.1.0.4" {
		t.Errorf("got %s", got)
	}
	same := netip.MustParsePrefix("10.1.0.1/32")
	if got := address(t, m, ask(3, "a", same)); got != "10.1.0.1" {
		t.Errorf("got %s", got)
	}
	m.Release(1)
	if l := m.Leases(false); len(l) != 2 || !slices.Equal(l[0].SAs, []ikev2.SAID{3}) || l[0].Policy != "clients" {
		t.Errorf("leases %+v", l)
	}
	if got := address(t, m, ask(4, "thief", same)); got == "10.1.0.1" {
		t.Error("another identity took an address by asking for it")
	}
}

func TestAWishForAFreeAddressIsGranted(t *testing.T) {
	m := manager()
	if got := address(t, m, ask(1, "a", netip.MustParsePrefix("10.1.0.5/32"))); got != "10.1.0.5" {
		t.Errorf("got %s", got)
	}
	for i, c := range []struct{ wish, want string }{{"10.1.0.2/32", "10.1.0.1"}, {"10.1.0.5/32", "10.1.0.4"}} { // excluded, taken
		if got := address(t, m, ask(ikev2.SAID(i+2), c.wish, netip.MustParsePrefix(c.wish))); got != c.want {
			t.Errorf("%s: got %s", c.wish, got)
		}
	}
}

func TestNamesAreMadeOfIdentities(t *testing.T) {
	name := pkix.Name{CommonName: "r1", Organization: []string{"Wheel"}, OrganizationalUnit: []string{"spokes"}, Country: []string{"CH"}, Province: []string{"ZH"},
		Locality: []string{"Uster"}}
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	dn := ikev2.Identity{Type: message.ID_DER_ASN1_DN, Value: string(der)}
	fqdn, mail := ikev2.FQDNIdentity("r1.spokes.example.com"), ikev2.EmailIdentity("joe@example.com")
	for _, c := range []struct {
		m    Mangler
		id   ikev2.Identity
		want string
	}{
		{Mangler{FQDN: "all"}, fqdn, "r1.spokes.example.com"}, {Mangler{FQDN: "hostname"}, fqdn, "r1"}, {Mangler{FQDN: "domain"}, fqdn, "spokes.example.com"},
		{Mangler{FQDN: "domain"}, ikev2.FQDNIdentity("r1"), ""}, {Mangler{FQDN: "all"}, mail, ""},
		{Mangler{Email: "all"}, mail, "joe@example.com"}, {Mangler{Email: "username"}, mail, "joe"}, {Mangler{Email: "domain"}, mail, "example.com"},
		{Mangler{Email: "domain"}, fqdn, ""}, {Mangler{DN: "common-name"}, dn, "r1"}, {Mangler{DN: "organization"}, dn, "Wheel"},
		{Mangler{DN: "organization-unit"}, dn, "spokes"}, {Mangler{DN: "country"}, dn, "CH"}, {Mangler{DN: "state"}, dn, "ZH"},
		{Mangler{DN: "locality"}, dn, "Uster"}, {Mangler{DN: "common-name"}, fqdn, ""}, {Mangler{DN: "title"}, dn, ""},
		{Mangler{DN: "country"}, ikev2.Identity{Type: message.ID_DER_ASN1_DN, Value: "nonsense"}, ""}, {Mangler{}, fqdn, ""},
	} {
		got, err := c.m.Name(c.id)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v of %v: got %q, %v, want %q", c.m, c.id, got, err, c.want)
		}
	}
}

func TestTheMangledNameGoesBeforeTheNamedPolicyAndNeitherIsRefused(t *testing.T) {
	m := manager()
	for _, c := range []struct{ peer, mangler, policy, want, err string }{
		{"r1.example.org", "domain", "clients", "example.org", ""},
		{"r1.Example.ORG", "domain", "", "example.org", ""},
		{"r1.example.net", "domain", "clients", "clients", ""},
		{"r1.example.net", "domain", "", "", `makes "example.net", and there is no authorization policy of that name`},
		{"r1", "", "none", "", `there is no authorization policy "none"`},
		{"r1", "gone", "clients", "", `there is no name mangler "gone"`},
	} {
		r := ask(1, c.peer)
		r.Authorization = ikev2.Authorization{Policy: c.policy, NameMangler: c.mangler}
		got, err := m.Authorize(now, r)
		if got.Policy != c.want || (err == nil) != (c.err == "") {
			t.Errorf("%+v: got %q, %v", c, got.Policy, err)
		}
		if err != nil && (!errors.Is(err, ikev2.ErrUnauthorized) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}

func TestAChangeOfTheConfigurationLeavesLeasesAndTellsNewRoutes(t *testing.T) {
	m := manager()
	address(t, m, ask(1, "a", any4))
	c := m.cfg
	c.Pools = map[string]Pool{"Q": {Ranges: []Range{span("10.2.0.1", "10.2.0.1")}}}
	c.Policies = map[string]Policy{"clients": {Pool: "Q", Subnets: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")}}}
	m.SetConfig(c)
	got, ok := m.Refresh(1, ikev2.Authorization{Policy: "clients"})
	if !ok || got.String() != "address 10.1.0.1/32, subnet 10.10.0.0/16" {
		t.Errorf("got %v", got)
	}
	// A profile that authorizes nothing any more leaves the address.
	if got, ok := m.Refresh(1, ikev2.Authorization{}); !ok || got.String() != "address 10.1.0.1/32" || got.Accept.Accept || got.Policy != "" {
		t.Errorf("got %v", got)
	}
	if got := address(t, m, ask(2, "b", any4)); got != "10.2.0.1" {
		t.Errorf("got %s", got)
	}
	m.Release(1)
	if l := m.Leases(true); len(l) != 1 || l[0].Address.String() != "10.2.0.1" {
		t.Errorf("a removed pool still has %+v", l)
	}
	if m.pools["P"] != nil {
		t.Error("the removed pool is still there")
	}
	if _, ok := m.Refresh(1, ikev2.Authorization{Policy: "clients"}); ok {
		t.Error("what was released is refreshed")
	}
}

// sequence asks and releases at random; no two identities ever have one address, and nothing leaks.
func sequence(t *testing.T, data []byte) {
	m := manager()
	owner := map[netip.Addr]ikev2.Identity{}
	users := map[netip.Addr]int{}
	live := map[ikev2.SAID][]netip.Addr{}
	drop := func(sa ikev2.SAID) {
		m.Release(sa)
		for _, a := range live[sa] {
			if users[a]--; users[a] == 0 {
				delete(owner, a)
			}
		}
		delete(live, sa)
	}
	next := ikev2.SAID(0)
	for len(data) >= 3 {
		op, who, what := data[0], data[1]%7, data[2]
		data = data[3:]
		switch op % 4 {
		case 0, 1:
			next++
			want := [][]netip.Prefix{{any4}, {any6}, {any4, any6}, {netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, what}), 32)}}[what%4]
			c, err := m.Authorize(now, ask(next, fmt.Sprint(who), want...))
			if err != nil {
				continue
			}
			for _, a := range c.Addresses {
				id := ikev2.FQDNIdentity(fmt.Sprint(who))
				if o, taken := owner[a.Addr()]; taken && o != id {
					t.Fatalf("%v is given to %v and %v", a, o, id)
				}
				if !m.cfg.Pools["P"].Ranges[0].contains(a.Addr()) && !m.cfg.Pools["P6"].Ranges[0].contains(a.Addr()) || a.Addr() == netip.MustParseAddr("10.1.0.2") {
					t.Fatalf("%v is not in the pool", a)
				}
				owner[a.Addr()] = id
				users[a.Addr()]++
				live[next] = append(live[next], a.Addr())
			}
		case 2:
			for sa := range live {
				if int(sa)%8 == int(what)%8 {
					drop(sa)
				}
			}
		case 3:
			m.SetConfig(m.cfg)
		}
		if n := len(m.Leases(false)); n != len(owner) {
			t.Fatalf("%d leases, %d addresses in use", n, len(owner))
		}
	}
	for sa := range m.grants {
		drop(sa)
	}
	if len(m.Leases(false))+len(m.grants) != 0 {
		t.Fatalf("left over: %+v", m.Leases(false))
	}
	for _, p := range m.pools {
		if p.free.Len() != len(p.known) {
			t.Fatalf("pool %s: %d free, %d known", p.name, p.free.Len(), len(p.known))
		}
	}
}

func FuzzPools(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 2, 0, 2, 0, 1, 0, 1, 2, 3, 0, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) { sequence(t, data) })
}

func TestPoolsHoldAtRandom(t *testing.T) {
	for seed := range 200 {
		b := make([]byte, 600)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
		sequence(t, b)
	}
}

func BenchmarkTakeOfAnIPv6Pool(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := manager()
			for i := range n {
				if _, err := m.Authorize(now, ask(ikev2.SAID(i+1), fmt.Sprint(i), any6)); err != nil {
					b.Fatal(err)
				}
			}
			for i := range b.N {
				sa := ikev2.SAID(n + i + 1)
				if _, err := m.Authorize(now, ask(sa, fmt.Sprint("x", i), any6)); err != nil {
					b.Fatal(err)
				}
				m.Release(sa)
			}
		})
	}
}

func TestAnotherSpellingOfANameHasTheSameAddress(t *testing.T) {
	m := manager()
	first := address(t, m, ask(1, "Spoke", any4))
	m.Release(1)
	if got := address(t, m, ask(2, "sPOKE", any4)); got != first {
		t.Errorf("%s, then %s", first, got)
	}
}

func TestAPeerThatComesBackAThousandTimesHoldsOneAddressOfEachFamilyAndExcludedOnesAreNobodys(t *testing.T) {
	m := manager(func(c *Config) {
		c.Pools["P6"] = Pool{Ranges: []Range{span("2001:db8::1", "2001:db8::9")}, Exclude: []Range{span("2001:db8::1", "2001:db8::3"), span("2001:db8::5", "2001:db8::5")}}
	})
	had := []netip.Prefix{any4, any6}
	for n := range ikev2.SAID(1000) {
		// The new SA is there before the old one is gone, which may die much later.
		c, err := m.Authorize(now, ask(n+1, "spoke", had...))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.Addresses); got != "[10.1.0.1/27 2001:db8::4/128]" {
			t.Fatalf("the %dth time it got %s", n, got)
		}
		had = []netip.Prefix{netip.PrefixFrom(c.Addresses[0].Addr(), 32), c.Addresses[1]}
		if n >= 3 {
			m.Release(n - 2)
		}
	}
	if l := m.Leases(false); len(l) != 2 || len(l[0].SAs) != 3 {
		t.Errorf("%+v", l)
	}
	for n := range ikev2.SAID(1001) {
		m.Release(n)
	}
	for _, p := range m.Pools() {
		if p.Held != 0 || p.Reusable != 1 {
			t.Errorf("%+v", p)
		}
	}
	for n, want := range []string{"2001:db8::6", "2001:db8::7", "2001:db8::8", "2001:db8::9", "2001:db8::4"} {
		if got := address(t, m, ask(ikev2.SAID(2000+n), fmt.Sprint("other", n), any6)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAnAddressThatIsNoLongerInThePoolIsNotGivenToAnotherSAOfItsOwnerEither(t *testing.T) {
	m := manager()
	had := address(t, m, ask(1, "spoke", any4))
	c := m.cfg
	c.Pools = map[string]Pool{"P": {Ranges: []Range{span("10.2.0.1", "10.2.0.9")}}}
	m.SetConfig(c)
	if got := address(t, m, ask(2, "spoke", netip.MustParsePrefix(had+"/32"))); got != "10.2.0.1" {
		t.Errorf("it had %s and gets %s", had, got)
	}
	m.Release(1)
	if l := m.Leases(true); len(l) != 1 || l[0].Address.String() != "10.2.0.1" {
		t.Errorf("%+v", l)
	}
}
