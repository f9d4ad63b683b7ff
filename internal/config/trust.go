package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNotTrusted is a file that root obeys and that somebody else could change.
var ErrNotTrusted = errors.New("others than root can change it")

// rootOnly checks the rule of Storm's worker-launcher for its configuration:
// path, which is absolute and without symbolic links, and every directory
// above it but "/" belong to root and are not writable by group or others.
func rootOnly(path string) error {
	var faults []string
	for p := path; p != "/"; p = filepath.Dir(p) {
		fi, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("check owner of %s: %w", path, err)
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("check owner of %s: no owner in %T", path, fi.Sys())
		}
		faults = append(faults, distrust(p, st.Uid, fi.Mode())...)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s: %w: %s", path, ErrNotTrusted, strings.Join(faults, "; "))
	}
	return nil
}

// distrust says what about one file lets others than root change it.
func distrust(path string, uid uint32, mode fs.FileMode) []string {
	var faults []string
	if mode&fs.ModeSymlink != 0 {
		faults = append(faults, path+" has just become a symbolic link")
		return faults
	}
	if uid != 0 {
		faults = append(faults, fmt.Sprintf("%s belongs to uid %d, run: chown root %s", path, uid, path))
	}
	if mode.Perm()&0o022 != 0 {
		faults = append(faults, fmt.Sprintf("%s has mode %04o, run: chmod go-w %s", path, mode.Perm(), path))
	}
	return faults
}
