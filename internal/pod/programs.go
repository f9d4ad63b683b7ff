package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxProgram is more than any program that an image brings has, in bytes.
const maxProgram = 256 << 20

// Install puts a program of the pod's image into a directory of the machine,
// where it outlives the pod, and returns its path. Its name there is that of
// the program with its digest: a program that runs is never written over, and
// each version of the image has its own. One that is there already and is not
// what it shall be is replaced.
func (p *Pod) Install(program, dir string) (path string, err error) {
	content, err := readProgram(p.Path(program))
	if err != nil {
		return "", fmt.Errorf("install %s: %w", program, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install %s (another directory can be given by --install-dir): %w", program, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("install %s: %w", program, err)
	}
	defer root.Close()
	if err := rootsOwn(root, "."); err != nil {
		return "", fmt.Errorf("install %s: others than root can change %s: %w", program, dir, err)
	}
	sum := sha256.Sum256(content)
	name := filepath.Base(program) + "-" + hex.EncodeToString(sum[:6])
	if !installed(root, name, sum) {
		if err := put(root, name, content); err != nil {
			return "", fmt.Errorf("install %s in %s (another directory can be given by --install-dir): %w", program, dir, err)
		}
	}
	return filepath.Join(dir, name), nil
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

// rootsOwn checks that a file or directory is root's and that nobody else may
// write to it.
func rootsOwn(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		return fmt.Errorf("it belongs to uid %d", st.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("its mode is %04o", info.Mode().Perm())
	}
	return nil
}

// installed tells whether name is the program with that digest, and root's own.
func installed(root *os.Root, name string, sum [sha256.Size]byte) bool {
	if err := rootsOwn(root, name); err != nil {
		return false
	}
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 {
		return false
	}
	content, err := root.ReadFile(name)
	return err == nil && sha256.Sum256(content) == sum
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

// Prune removes the programs of earlier images from the directory of Install:
// those that are not among keep, and that no process runs.
func Prune(dir string, keep ...string) error {
	entries, err := os.ReadDir(dir)
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
	for _, path := range keep {
		used[path] = true
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); ours(e.Name()) && !used[path] {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// ours tells whether a name is one of Install's.
func ours(name string) bool {
	_, digest, found := strings.Cut(strings.TrimSuffix(name, ".new"), "-")
	_, err := hex.DecodeString(digest)
	return found && err == nil && len(digest) == 12
}

// running has the paths of the programs that any process runs.
func running() (map[string]bool, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for _, l := range links {
		if path, err := os.Readlink(l); err == nil {
			paths[path] = true
		}
	}
	return paths, nil
}
