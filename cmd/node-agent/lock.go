package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockNode makes this process the only agent on a run root, until it ends: the
// kernel drops the lock with it, whatever its end. Children do not inherit it.
func lockNode(runRoot string) (*os.File, error) {
	if err := os.MkdirAll(runRoot, 0o700); err != nil {
		return nil, fmt.Errorf("make run root: %w", err)
	}
	path := filepath.Join(runRoot, "agent.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock run root: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another node-agent uses %s: stop it first, or give this one a stormcell.run.root of its own", runRoot)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
