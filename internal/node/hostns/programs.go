package hostns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxProgram is more than any program that an image brings has, in bytes.
const maxProgram = 256 << 20

// Install copies a directory of programs of the pod's image to the same place on the
// machine, where it outlives the pod. Other programs need another directory name, so
// that a running program is never overwritten. Existing files that differ are
// replaced.
func (p *Pod) Install(dir string) error {
	entries, err := os.ReadDir(p.Path(dir))
	if err != nil {
		return fmt.Errorf("install %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("install %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("install %s: %w", dir, err)
	}
	defer root.Close()
	if err := rootsAlone(dir); err != nil {
		return fmt.Errorf("install %s: users other than root can change it: %w", dir, err)
	}
	for _, e := range entries {
		if err := install(root, e.Name(), p.Path(filepath.Join(dir, e.Name()))); err != nil {
			return fmt.Errorf("install %s: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	return nil
}

// install puts one program into root, unless it is there.
func install(root *os.Root, name, source string) error {
	content, err := readProgram(source)
	if err != nil || installed(root, name, content) {
		return err
	}
	return put(root, name, content)
}

func readProgram(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProgram {
		return nil, fmt.Errorf("%s is not a program (%s, %d bytes)", path, info.Mode(), info.Size())
	}
	return os.ReadFile(path)
}

// rootsAlone checks that only root can change what is at dir: it and all above
// it are root's, and nobody else may write there, unless, as in /tmp, only what
// is his own.
func rootsAlone(dir string) error {
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		shared := p != dir && info.Mode()&fs.ModeSticky != 0
		if !shared && !rootsOwn(info) {
			return fmt.Errorf("%s has mode %s, or does not belong to root", p, info.Mode())
		}
		if p == "/" {
			return nil
		}
	}
}

// rootsOwn tells whether a file is root's and nobody else may write to it.
func rootsOwn(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && info.Mode().Perm()&0o022 == 0
}

// installed tells whether a program is there with that content, and root's own.
func installed(root *os.Root, name string, want []byte) bool {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || !rootsOwn(info) || info.Mode().Perm() != 0o755 {
		return false
	}
	content, err := root.ReadFile(name)
	return err == nil && bytes.Equal(content, want)
}

// put writes a program under another name and renames it when it is on disk.
func put(root *os.Root, name string, content []byte) error {
	temporary := name + ".new"
	if err := root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	// After the mask of the process.
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return root.Rename(temporary, name)
}

// Prune removes the directories beside dir, which Install made for earlier
// images and of whose programs no process runs any more.
func Prune(dir string) error {
	parent := filepath.Dir(dir)
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old programs: %w", err)
	}
	used, err := running()
	if err != nil {
		return fmt.Errorf("look for old programs: %w", err)
	}
	used[dir] = true
	var errs []error
	for _, e := range entries {
		if old := filepath.Join(parent, e.Name()); e.IsDir() && !used[old] {
			errs = append(errs, os.RemoveAll(old))
		}
	}
	return errors.Join(errs...)
}

// running has the directories of the programs that any process runs.
func running() (map[string]bool, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	dirs := map[string]bool{}
	for _, l := range links {
		if path, err := os.Readlink(l); err == nil {
			dirs[filepath.Dir(path)] = true
		}
	}
	return dirs, nil
}
