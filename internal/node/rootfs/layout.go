package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

const dirMode = 0o700

// ownerForm is what may be the name of an owner's directory.
var ownerForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$`)

// layout knows the paths below a run root that has no symbolic link in it, so
// that they equal those of mountinfo.
type layout struct {
	root string
}

func (l layout) layersDir() string               { return l.root + "/layers" }
func (l layout) layer(d digest.Digest) string    { return l.layersDir() + "/" + d.Encoded() }
func (l layout) layerMnt(d digest.Digest) string { return l.layer(d) + "/mnt" }
func (l layout) workersDir() string              { return l.root + "/workers" }
func (l layout) owner(o string) string           { return l.workersDir() + "/" + o }
func (l layout) rootfs(o string) string          { return l.owner(o) + "/rootfs" }
func (l layout) upper(o string) string           { return l.owner(o) + "/upper" }
func (l layout) work(o string) string            { return l.owner(o) + "/work" }

// Upper returns the directory of what an owner has written to its root file system.
func Upper(runRoot, owner string) string { return layout{root: runRoot}.upper(owner) }

// ownerOf returns the owner whose directory holds path, which may lie deeper.
func (l layout) ownerOf(path string) (owner string, ok bool) {
	rest, ok := strings.CutPrefix(path, l.workersDir()+"/")
	if !ok {
		return "", false
	}
	owner, _, _ = strings.Cut(rest, "/")
	return owner, ownerForm.MatchString(owner)
}

// layerOf returns the layer whose mount point path is.
func (l layout) layerOf(path string) (d digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(path, l.layersDir()+"/")
	if !ok {
		return "", false
	}
	hex, mnt, _ := strings.Cut(rest, "/")
	d = digest.NewDigestFromEncoded(digest.SHA256, hex)
	return d, mnt == "mnt" && manifest.ValidateDigest(d) == nil
}

// openLayout makes the directories of a run root, for root only.
func openLayout(runRoot string) (layout, error) {
	if err := os.MkdirAll(filepath.Dir(runRoot), 0o755); err != nil {
		return layout{}, fmt.Errorf("make run root: %w", err)
	}
	if err := os.MkdirAll(runRoot, dirMode); err != nil {
		return layout{}, fmt.Errorf("make run root: %w", err)
	}
	// /run may be reached through /var/run; mountinfo has the real path.
	root, err := filepath.EvalSymlinks(runRoot)
	if err != nil {
		return layout{}, fmt.Errorf("resolve run root: %w", err)
	}
	fi, err := os.Lstat(root)
	if err != nil {
		return layout{}, fmt.Errorf("run root: %w", err)
	}
	if err := safe(fi); err != nil {
		return layout{}, fmt.Errorf("run root %s: %w: give it to root alone, or configure another one", root, err)
	}
	l := layout{root: root}
	if err := os.Chmod(root, dirMode); err != nil {
		return layout{}, fmt.Errorf("run root: %w", err)
	}
	for _, dir := range []string{l.layersDir(), l.workersDir()} {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return layout{}, fmt.Errorf("make run root: %w", err)
		}
	}
	return l, nil
}

// safe checks that only this process's user, which is root, can write.
func safe(fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: it has mode %v and owner %d", ErrUntrusted, fi.Mode(), st.Uid)
	}
	return nil
}

// inLayers tells whether path lies below the directory of layers.
func (l layout) inLayers(path string) bool { return strings.HasPrefix(path, l.layersDir()+"/") }

// fileID is a file whatever its name is.
type fileID struct {
	device, inode uint64
}

// fileIDs returns the files of a directory; none if there is no directory.
func fileIDs(dir string) (map[fileID]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list layer files: %w", err)
	}
	ids := map[fileID]bool{}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			ids[fileID{st.Dev, st.Ino}] = true
		}
	}
	return ids, nil
}
