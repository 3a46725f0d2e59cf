package pid1

import (
	"errors"
	"path/filepath"
	"time"

	"felloe/boot/disk"
)

// configWait bounds how long a disk controller may take to find its disks.
const configWait = 3 * time.Second

// waitConfig looks for the configuration until it finds one, good or bad, or the time is over.
func waitConfig(limit time.Duration) (*disk.Volume, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		v, err := disk.Find(blockDevices("/sys"))
		if v != nil || !errors.Is(err, disk.ErrNone) || time.Now().After(deadline) {
			return v, err
		}
	}
}

// blockDevices are the disks and partitions of the machine.
func blockDevices(sys string) []string {
	var out []string
	for _, dir := range sortedGlob(filepath.Join(sys, "class/block/*")) {
		if size := readTrim(filepath.Join(dir, "size")); size != "" && size != "0" {
			out = append(out, filepath.Join("/dev", filepath.Base(dir)))
		}
	}
	return out
}
