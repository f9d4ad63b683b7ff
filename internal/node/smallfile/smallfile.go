// Package smallfile reads the kernel's files about processes and cgroups.
package smallfile

import (
	"io"
	"os"
)

// maxSize is far beyond what such a file holds, a page or so.
const maxSize = 64 << 10

// Read returns what a file holds, cut off at 64 KiB.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize))
}
