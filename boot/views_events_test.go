package boot

import (
	"testing"

	"felloe/routing/rib"
)

func TestARoutesInterfacesAreNamedOnceAndWhole(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "Tunnel1": {"Tunnel1"}, "Tunnel10+Tunnel1": {"Tunnel10", "Tunnel1", "Tunnel10"}} {
		route := &rib.Route{Source: rib.Static}
		for _, n := range names {
			route.Hops = append(route.Hops, rib.Hop{Interface: n})
		}
		if got := routeInterfaces(route); got != want {
			t.Errorf("%v: %q", names, got)
		}
	}
}
