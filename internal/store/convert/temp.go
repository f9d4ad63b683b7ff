package convert

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// unnamedFile makes a file without a name in dir: however this process ends,
// nothing is left of it.
func unnamedFile(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return withoutName(dir) // not every file system makes such files (NFS does not)
	}
	if err != nil {
		return nil, fmt.Errorf("make a working file: %w", err)
	}
	return f, nil
}

// withoutName makes a file and takes its name away at once.
func withoutName(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "docker-to-squash-*.sqsh")
	if err != nil {
		return nil, fmt.Errorf("make a working file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("unlink the working file: %w", err)
	}
	return f, nil
}
