package boot

import (
	"net/netip"
	"strings"
	"testing"

	"felloe/config"
	"felloe/vpn/ikev2"
)

func TestTheRoutesOfAPoliciesPeersAreBoundByItsPrefixList(t *testing.T) {
	text := strings.Replace(overlayText, "accept = true,", "accept = true, accept-prefix-list = \"LAN\",", 1) + `
[prefix-list.LAN]
entry = [{ permit = "192.168.101.0/24", le = 32 }]
`
	parse := func(text string) *config.Config {
		c, diags := config.Parse("router.toml", []byte(strings.NewReplacer("MODE", "ipsec ipv4", "AUTO", "auto").Replace(text)))
		if err := diags.Err(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(c *config.Config) ikev2.RouteAccept {
		r.compilePolicies(c)
		return authzConfig(c, r.policies).Policies["uCPE-author-pol"].Accept
	}
	a := accepts(parse(text))
	for p, want := range map[string]bool{"192.168.101.0/24": true, "192.168.101.7/32": true, "192.168.102.0/24": false, "192.168.0.0/16": false} {
		if a.Only == nil || a.Only.Permit(netip.MustParsePrefix(p)) != want {
			t.Errorf("%s: not %v", p, want)
		}
	}
	// Peers are told again of what has changed, and of that only.
	if b := accepts(parse(strings.Replace(text, "tag = 9", "tag = 10", 1))); b.Only != a.Only || b == a {
		t.Errorf("%+v, then %+v", a, b)
	}
	if b := accepts(parse(strings.Replace(text, "101.0/24", "101.0/25", 1))); b.Only == a.Only || b.Only.Permit(netip.MustParsePrefix("192.168.101.0/24")) {
		t.Errorf("%+v, then %+v", a, b)
	}
	if b := accepts(parse(strings.Replace(text, ", accept-prefix-list = \"LAN\"", "", 1))); b.Only != nil {
		t.Errorf("%+v", b)
	}
	// A list that could not be made lets nothing in.
	c := parse(text)
	for _, lists := range []*config.Config{nil, parse(overlayText)} {
		if r.policies = nil; lists != nil {
			r.compilePolicies(lists)
		}
		if b := authzConfig(c, r.policies).Policies["uCPE-author-pol"].Accept; b.Only == nil || b.Only.Permit(netip.MustParsePrefix("192.168.101.0/24")) {
			t.Errorf("%+v", b)
		}
	}
}

// A spoke that has proven who it is tells, over a shortcut, of half a network that is another's.
func TestASpokesClaimOverAShortcutGoesNoFartherThanThePrefixList(t *testing.T) {
	t.Parallel() // it mostly waits
	x := flexFamilies["IPv4 over IPv4"]
	c := flexCloud(t, x, 2, 3)
	c.apply("spoke3", strings.Replace(x.spokeText(3), `permit = "192.168.3.0/24"`, `permit = ["192.168.3.0/24", "192.168.4.128/25"]`, 1))
	through := func() bool {
		return strings.Contains(c.exec("spoke2", "show ip route 192.168.4.129"), "Virtual-Access")
	}
	c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
	c.until(func() string { return unless(through(), "the claim where nothing bounds it") })
	c.apply("spoke2", strings.Replace(x.spokeText(2), `set-access-list = "flex-route"`, `set-access-list = "flex-route", accept-prefix-list = "OTHERS"`, 1)+`
[prefix-list.OTHERS]
entry = [{ permit = "0.0.0.0/0" }, { permit = "192.168.3.0/24" }, { permit = "172.16.0.0/23", ge = 32 }]
`)
	c.until(func() string { return unless(!through(), "an end of the claim") })
	c.want("spoke2", "show ip route", "S*       0.0.0.0/0")
	// What is the spoke's own it still has, over a shortcut.
	c.want("host2", "ping "+x.host(3)+" repeat 3", "(3/3)")
	c.until(func() string {
		c.exec("host2", "ping "+x.host(3)+" repeat 1")
		return unless(strings.Contains(c.exec("spoke2", "show ip route "+x.host(3)), "Virtual-Access"), "shortcut")
	})
	if through() {
		t.Error("the claim is back")
	}
	c.want("spoke2", "show logging", "event=route-left-out", "192.168.4.128/25")
	c.want("spoke2", "show crypto ikev2 authorization policy", "route accept prefix-list OTHERS")
}
