package scenario

import (
	"path/filepath"
	"testing"
)

// TestEveryReadyLabHoldsWhatItPromises runs all lab files of qemu/labs that are ours alone as `felloe lab run -backend memory` does, and
// looks at their wires.
func TestEveryReadyLabHoldsWhatItPromises(t *testing.T) {
	for _, file := range labFiles(t, false) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			x := start(t, load(t, file))
			x.script()
			x.nothingLeaked()
			x.dissect(x.lab.Links[0].Name)
		})
	}
}
