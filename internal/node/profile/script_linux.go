package profile

import (
	_ "embed"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Script is the profiler script of nodes that name no other.
//
//go:embed profiler.sh
var Script []byte

// sealed returns the script as a file that nobody can change, and that has no
// name: what the container has at any path does not matter.
func sealed(script []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("profiler", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("file of the profiler script: %w", err)
	}
	f := os.NewFile(uintptr(fd), "profiler")
	_, err = f.Write(script)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err == nil {
		// Readable and executable for the worker's user, by the descriptor alone.
		err = f.Chmod(0o555)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("file of the profiler script: %w", err)
	}
	return f, nil
}
