package boot

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"felloe/config"
	"felloe/vpn/dmvpn"
)

// notes are for people: they are shown with the configuration and do nothing else.
var notes = []string{"VRF.Description", "KeyringPeer.Description", "IKEProfile.Description", "IPsecProfile.Description", "Route.Name",
	"PrefixList.Description", "RouteMap.Description", "RouteMapEntry.Description", "FlexClient.Description", "Track.Description"}

// effects is all that a router makes of a configuration. NICs are bound by name here.
func effects(c *config.Config) any {
	ike, err := ikeConfig(c)
	b, policies, berr := bgpConfig(c, nil, nil)
	grants := authzConfig(c, policies)
	nics := map[string]*NIC{}
	for n, i := range c.Interface {
		nics[n] = &NIC{Name: fmt.Sprintf("%s %s", n, i.MAC)}
	}
	nhrp := map[string]dmvpn.Config{}
	tracked := map[string]any{}
	live := map[string]liveSpec{}
	for n, i := range c.Interface {
		live[n] = liveSpecOf(i)
		if i.NHRP != nil {
			nhrp[n] = nhrpConfig(i.NHRP)
			tracked[n] = serverTracks(i.NHRP)
		}
	}
	watched := []any{bfdRules(c), clientSpecs(c), dnsConfig(&c.DNS), c.DNS.Source, c.DNS.VRF}
	for _, n := range c.TrackNumbers() {
		o, spec, probe := trackObject(c.Track[n])
		watched = append(watched, o, spec, probe)
	}
	for _, n := range c.InterfaceNames() {
		watched = append(watched, interfaceTimers(c, n))
	}
	return []any{clusterEffects(c), c.Hostname, c.Logging.Session, logLevels(c), debugCategories(c), c.Lab.KeyLog, slices.Sorted(maps.Keys(c.VRF)), fmt.Sprint(err), ike, grants,
		new(Router).interfaceSpecs(c, nics, &ike), nhrp, tracked, watched, live, staticSpecs(c), fmt.Sprint(berr), b, policies}
}

func TestEveryKeyHasAnEffect(t *testing.T) {
	// A key counts for all that have it: a tunnel's key means nothing on a Loopback.
	effect := map[string]bool{}
	all, diags := config.Load("../config/testdata/good/everything.toml") // has every key that there is
	if all == nil {
		t.Fatal(diags)
	}
	// A name that is changed to "x" must mean something.
	all.PrefixList["x"], all.RouteMap["x"] = all.PrefixList["LAN"], all.RouteMap["IN"]
	tryKeys(t, all, effect)
	for _, path := range sorted(effect) {
		if !effect[path] {
			t.Errorf("%s has no effect: give it one in boot, or take it out of config", path)
		}
	}
	if len(effect) < 250 {
		t.Errorf("only %d keys were tried", len(effect))
	}
}

// tryKeys changes one key after the other and notes whether anything comes of it.
func tryKeys(t *testing.T, c *config.Config, effect map[string]bool) {
	t.Helper()
	before := effects(c)
	leaves(reflect.ValueOf(c).Elem(), "", func(path, owner string, v reflect.Value) {
		if slices.Contains(notes, owner) {
			return
		}
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		if !alter(v) {
			t.Errorf("%s: the test cannot change a %s", path, v.Type())
			return
		}
		effect[path] = effect[path] || !reflect.DeepEqual(before, effects(c))
		v.Set(was)
	})
	if !reflect.DeepEqual(before, effects(c)) {
		t.Error("the test did not put back what it changed")
	}
}

// leaves calls f for every key. owner is "Type.Field".
func leaves(v reflect.Value, path string, f func(path, owner string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			leaves(v.Elem(), path, f)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			leaves(v.MapIndex(k), path+".NAME", f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), path+"[]", f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			tag := field.Tag.Get("toml")
			if field.Anonymous && tag == "" {
				leaves(v.Field(i), path, f)
			}
			if tag == "" || tag == "-" {
				continue
			}
			p := strings.TrimPrefix(path+"."+tag, ".")
			if table(field.Type) {
				leaves(v.Field(i), p, f)
			} else {
				f(p, v.Type().Name()+"."+field.Name, v.Field(i))
			}
		}
	}
}

// table tells a table, or a list or map of tables, from a value.
func table(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return table(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("toml") != "" || f.Anonymous && table(f.Type) {
				return true
			}
		}
	}
	return false
}

// alter gives a value another one of its kind.
func alter(v reflect.Value) bool {
	switch x := v.Interface().(type) {
	case netip.Addr:
		if !x.IsValid() {
			x = netip.MustParseAddr("172.31.0.1")
		}
		v.Set(reflect.ValueOf(x.Next()))
		return true
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.77.0.0/16")))
		return true
	case config.File:
		v.Set(reflect.ValueOf(config.File{Path: x.Path, Data: append([]byte("x"), x.Data[:len(x.Data)/2]...)}))
		return true
	case config.AddressRange:
		v.Set(reflect.ValueOf(config.AddressRange{From: x.From, To: x.To.Next()}))
		return true
	case config.NameMatch:
		v.Set(reflect.ValueOf(config.NameMatch{Operator: x.Operator, Value: x.Value + "x"}))
		return true
	case config.Secret:
		v.Set(reflect.ValueOf(config.NewSecret(x.Reveal() + "x")))
		return true
	case config.PreSharedKey:
		v.Set(reflect.ValueOf(config.PreSharedKey{Local: config.NewSecret("other"), Remote: x.Remote}))
		return true
	case config.Local:
		v.Set(reflect.ValueOf(config.Local{Address: netip.MustParseAddr("172.16.44.44")}))
		return true
	case config.PeerBFD:
		v.Set(reflect.ValueOf(map[bool]config.PeerBFD{true: config.BFDOff, false: config.BFDMultiHop}[x == config.BFDMultiHop]))
		return true
	case config.KeyLog:
		v.Set(reflect.ValueOf(config.KeyLog{Enabled: !x.Enabled, Path: x.Path}))
		return true
	case config.ESP:
		v.Set(reflect.ValueOf(config.ESP{Encryption: config.AESGCM128}))
		return true
	case config.HostTable:
		other := config.HostTable{"other.example.com": {netip.MustParseAddr("172.31.0.2")}}
		maps.Copy(other, x)
		v.Set(reflect.ValueOf(other))
		return true
	case config.MulticastMap:
		v.Set(reflect.ValueOf(config.MulticastMap{Dynamic: !x.Dynamic, NBMA: x.NBMA}))
		return true
	case time.Duration:
		v.SetInt(int64(x + time.Second))
		return true
	}
	if w, ok := v.Interface().(interface{ Values() []string }); ok && v.Kind() == reflect.String {
		for _, s := range w.Values() {
			if s != v.String() {
				v.SetString(s)
				return true
			}
		}
		// Only one value there is: what else comes must not mean the same.
		v.SetString("another")
		return true
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Pointer:
		n := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			n.Elem().Set(v.Elem())
		}
		if !alter(n.Elem()) {
			return false
		}
		v.Set(n)
	case reflect.Slice:
		n := reflect.MakeSlice(v.Type(), v.Len(), v.Len()+1)
		reflect.Copy(n, v)
		if v.Len() == 0 {
			n = reflect.Append(n, reflect.Zero(v.Type().Elem()))
		}
		if !alter(n.Index(0)) {
			return false
		}
		v.Set(n)
	default:
		return false
	}
	return true
}
