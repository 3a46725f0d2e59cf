package scenario

import (
	"testing"
	"time"

	"felloe/tests/soak/hubs"
)

// TestSpokesOutliveTheirHubs is a short `go run ./tests/soak`. The seed is its own each time, and printed.
func TestSpokesOutliveTheirHubs(t *testing.T) {
	t.Parallel()
	o := hubs.Options{Spokes: 12, Hubs: 3, For: 20 * time.Second, Seed: uint64(time.Now().UnixNano()), Say: t.Logf}
	if err := hubs.Run(t.Context(), o); err != nil {
		t.Errorf("seed %d: %v", o.Seed, err)
	}
}
