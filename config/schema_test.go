package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// conform is as much of a JSON Schema validator as Schema needs.
func conform(root, schema map[string]any, v any, path string) error {
	if ref, ok := schema["$ref"].(string); ok {
		def := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if err := conform(root, def, v, path); err != nil {
			return err
		}
	}
	if list, ok := schema["anyOf"].([]any); ok {
		var last error
		if !slices.ContainsFunc(list, func(s any) bool {
			last = conform(root, s.(map[string]any), v, path)
			return last == nil
		}) {
			return fmt.Errorf("%s: none of the alternatives: %w", path, last)
		}
	}
	if list, ok := schema["enum"].([]any); ok && !slices.ContainsFunc(list, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		return fmt.Errorf("%s: %v is none of %v", path, v, list)
	}
	if c, ok := schema["const"]; ok && c != v {
		return fmt.Errorf("%s: %v is not %v", path, v, c)
	}
	if t, ok := schema["type"].(string); ok {
		if got := jsonType(v); got != t {
			return fmt.Errorf("%s: %s, not %s", path, got, t)
		}
	}
	switch v := v.(type) {
	case string:
		if p, ok := schema["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s: %q is not like %s", path, v, p)
		}
		if n, ok := schema["minLength"].(float64); ok && len(v) < int(n) {
			return fmt.Errorf("%s: too short", path)
		}
	case int64:
		if n, ok := schema["minimum"].(float64); ok && float64(v) < n {
			return fmt.Errorf("%s: %d is below %v", path, v, n)
		}
		if n, ok := schema["maximum"].(float64); ok && float64(v) > n {
			return fmt.Errorf("%s: %d is above %v", path, v, n)
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for i, x := range v {
				if err := conform(root, items, x, fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, r := range required {
			if _, ok := v[r.(string)]; !ok {
				return fmt.Errorf("%s: %s is missing", path, r)
			}
		}
		for k, x := range v {
			if names, ok := schema["propertyNames"].(map[string]any); ok {
				if err := conform(root, names, k, path); err != nil {
					return err
				}
			}
			s, known := properties[k].(map[string]any)
			if more, ok := schema["additionalProperties"].(map[string]any); ok && !known {
				s, known = more, true
			}
			if schema["additionalProperties"] == false && !known {
				return fmt.Errorf("%s: unknown key %s", path, k)
			}
			if known {
				if err := conform(root, s, x, path+"."+k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

func TestTheSchemaAcceptsWhatParseAcceptsAndKnowsNoOtherKeys(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	check := func(text []byte) error {
		var doc map[string]any
		if err := toml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		return conform(schema, schema, doc, "")
	}
	for _, name := range good(t) {
		data, err := os.ReadFile(filepath.Join("testdata", "good", name))
		if err != nil {
			t.Fatal(err)
		}
		c, _ := loadGood(t, name)
		for _, text := range [][]byte{data, Marshal(c, WithSecrets()), Marshal(c, WithDefaults())} {
			if err := check(text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, wrong := range []string{
		"hostnam = \"R\"", "[interface.Gi1]", "[interface.Tunnel0]\nmode = \"gre\"", "[interface.Tunnel0]\nttl = 0", "[interface.Tunnel0]\naddress = \"10.0.0.1\"",
		"[[route]]\nvia = \"10.0.0.1\"", "[bgp]\nnetwork = []", "[ipsec.profile.P]\nikev2-profile = \"x\"\npfs = 3", "[interface.Tunnel0.nhrp]\nnetwork-id = 0",
		"[bgp]\nas = 1\n[bgp.neighbor.hub]\nremote-as = 1", "[ikev2]\nnat-keepalive = \"20 s\"", "[ikev2.keyring.K.peer.p]\npre-shared-key = { local = \"x\" }",
	} {
		if err := check([]byte(wrong)); err == nil {
			t.Errorf("the schema accepts %q", wrong)
		}
	}
}
