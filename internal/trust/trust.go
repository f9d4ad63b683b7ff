// Package trust checks whether only root can change what is at a path. What root
// obeys, mounts or deletes must be at such a path.
package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrNotTrusted is a path that users other than root can change or replace.
var ErrNotTrusted = errors.New("users other than root can change it")

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// File checks the rule of Storm's worker-launcher for its configuration: path,
// which is absolute and without symbolic links, and every directory above it
// but "/" belong to root, and neither group nor others may write to them. Else
// the error wraps ErrNotTrusted, and says what to run.
func File(path string) error {
	var faults []string
	for p := path; p != "/"; p = filepath.Dir(p) {
		e, err := look(p)
		if err != nil {
			return fmt.Errorf("check owner of %s: %w", path, err)
		}
		faults = append(faults, e.faults()...)
	}
	return verdict(path, faults)
}

// Directory checks that only root can make, replace or delete what lies in the
// directory path: it is root's alone itself, and a Place. Else the error wraps
// ErrNotTrusted, and says what to run.
func Directory(path string) error {
	faults, err := directoryFaults(path)
	if err != nil {
		return err
	}
	return verdict(path, faults)
}

// Directories is Directory for those of paths that are there. Its error says
// everything that is to be run, each command once.
func Directories(paths ...string) error {
	var all []string
	for _, path := range paths {
		faults, err := directoryFaults(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range faults {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("%w: %s", ErrNotTrusted, strings.Join(all, "; "))
	}
	return nil
}

func directoryFaults(path string) ([]string, error) {
	target, faults, err := walk(path)
	if err != nil {
		return nil, err
	}
	if !target.mode.IsDir() {
		return nil, fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
	}
	for _, f := range target.faults() {
		if !slices.Contains(faults, f) {
			faults = append(faults, f)
		}
	}
	return faults, nil
}

// Place checks that only root can put something else at path, which is
// absolute: each directory that the path leads through belongs to root, and
// neither group nor others may write to it. A sticky directory that others may
// write to, such as /tmp, passes if what the path names in it is root's. The
// file itself may be anybody's. Symbolic links are followed, as mount(2) does.
// Else the error wraps ErrNotTrusted, and says what to run.
func Place(path string) error {
	_, faults, err := walk(path)
	if err != nil {
		return err
	}
	return verdict(path, faults)
}

// walk follows path to what lies there, and judges each step.
func walk(path string) (target entry, faults []string, err error) {
	rest := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	at, links := "/", 0
	dir, err := look(at)
	for len(rest) > 0 && err == nil {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			dir, err = look(at)
			continue
		}
		var child entry
		if child, err = look(filepath.Join(at, name)); err != nil {
			break
		}
		faults = append(faults, dir.faultsAround(child)...)
		if child.mode&fs.ModeSymlink == 0 {
			at, dir = child.path, child
			continue
		}
		if links++; links > maxLinks {
			err = syscall.ELOOP
			break
		}
		var target string
		if target, err = os.Readlink(child.path); err != nil {
			break
		}
		rest = append(strings.Split(target, "/"), rest...)
		if filepath.IsAbs(target) {
			at = "/"
			dir, err = look(at)
		}
	}
	if err != nil {
		return entry{}, nil, fmt.Errorf("check owner of %s: %w", path, err)
	}
	return dir, faults, nil
}

func verdict(path string, faults []string) error {
	if len(faults) > 0 {
		return fmt.Errorf("%s: %w: %s", path, ErrNotTrusted, strings.Join(faults, "; "))
	}
	return nil
}

// entry is what lies at a path.
type entry struct {
	path string
	uid  uint32
	mode fs.FileMode
}

func look(path string) (entry, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return entry{}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return entry{}, fmt.Errorf("no owner in %T", fi.Sys())
	}
	return entry{path, st.Uid, fi.Mode()}, nil
}

// faults says what allows users other than root to change e.
func (e entry) faults() []string {
	var faults []string
	if e.mode&fs.ModeSymlink != 0 {
		return []string{e.path + " has just become a symbolic link"}
	}
	if e.uid != 0 {
		faults = append(faults, fmt.Sprintf("%s belongs to uid %d, run: chown root %s", e.path, e.uid, e.path))
	}
	if e.mode.Perm()&0o022 != 0 {
		faults = append(faults, fmt.Sprintf("%s has mode %04o, run: chmod go-w %s", e.path, e.mode.Perm(), e.path))
	}
	return faults
}

// faultsAround says what allows users other than root to replace child, which lies in
// the directory e.
func (e entry) faultsAround(child entry) []string {
	sticky := e.mode&fs.ModeSticky != 0
	if sticky && e.uid == 0 && child.uid == 0 {
		return nil
	}
	if sticky && e.uid == 0 && e.mode.Perm()&0o022 != 0 {
		return []string{fmt.Sprintf("%s belongs to uid %d in %s, where it can be replaced by its owner, run: chown root %s", child.path, child.uid, e.path, child.path)}
	}
	return e.faults()
}
