package convert

import (
	"fmt"
	"os"
)

// unnamedFile makes a file without a name in dir: however this process ends,
// nothing is left of it.
func unnamedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "docker-to-squash-*.sqsh")
	if err != nil {
		return nil, fmt.Errorf("make a working file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("take the working file's name away: %w", err)
	}
	return f, nil
}
