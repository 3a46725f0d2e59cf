package image

import (
	"fmt"
	"os"
	"path"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
)

// fatEpoch is the oldest time that FAT can tell: every file of ours has it.
const fatEpoch = "315532800"

// fatFile is a file to be put on a volume; the order of writing is the order on the disk.
type fatFile struct {
	Name string // with a leading slash
	Data []byte
}

// makeFAT writes a volume at an offset of f: FAT32 where its rules allow it (more than 65,524 clusters), else FAT16.
func makeFAT(f *os.File, start, size int64, label string, files []fatFile) error {
	// go-diskfs takes the time of files from this convention of reproducible builds, and from nowhere else.
	if err := os.Setenv("SOURCE_DATE_EPOCH", fatEpoch); err != nil {
		return err
	}
	var fs filesystem.FileSystem
	var err error
	if size >= smallestFAT32 {
		fs, err = fat32.Create(file.New(f, false), size, start, sectorSize, label, true)
	} else {
		fs, err = fat16.Create(file.New(f, false), size, start, sectorSize, label, true)
	}
	if err != nil {
		return fmt.Errorf("image: cannot make a FAT volume of %d bytes: %w", size, err)
	}
	made := map[string]bool{"/": true}
	for _, ff := range files {
		if dir := path.Dir(ff.Name); !made[dir] {
			if err := fs.Mkdir(dir); err != nil {
				return fmt.Errorf("image: %s: %w", dir, err)
			}
			made[dir] = true
		}
		w, err := fs.OpenFile(ff.Name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("image: %s: %w", ff.Name, err)
		}
		if _, err := w.Write(ff.Data); err != nil {
			return fmt.Errorf("image: %s: %w", ff.Name, err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("image: %s: %w", ff.Name, err)
		}
	}
	return fs.Close()
}

const (
	sectorSize    = 512
	smallestFAT32 = 34 << 20 // with clusters of one sector
)
