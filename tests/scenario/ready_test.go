package scenario

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEveryReadyLabHoldsWhatItPromises runs all lab files of qemu/labs as `felloe lab run -backend memory` does, and
// looks at their wires.
func TestEveryReadyLabHoldsWhatItPromises(t *testing.T) {
	entries, err := os.ReadDir(labs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			x := start(t, load(t, filepath.Join(labs, e.Name(), "lab.toml")))
			x.script()
			x.nothingLeaked()
			x.dissect(x.lab.Links[0].Name)
		})
	}
}
