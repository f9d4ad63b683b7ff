package bundle

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/ocispec"
)

// accountFiles are what a runtime opens in a container's root before it has become the
// worker's user: it looks for the user's home and groups there.
var accountFiles = []string{"/etc/passwd", "/etc/group"}

const (
	// maxAccounts is how large such a file may be: it is read whole, by root.
	maxAccounts = 4 << 20
	// maxAccountLinks is how many links may lead to it.
	maxAccountLinks = 8
)

// checkAccounts returns ErrBadImage unless the account files of an image are regular files
// of it, or missing. The image cannot change afterwards: its layers are read-only. What the
// container has mounted over it can, so no link may lead there. A runtime that mounts the
// image itself has no rootfs.
func checkAccounts(rootfs string, mounts []string) error {
	if rootfs == "" {
		return nil
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // nobody can open what is in it
	}
	if err != nil {
		return fmt.Errorf("open root file system %s: %w", rootfs, err)
	}
	defer unix.Close(root)
	for _, file := range accountFiles {
		if err := checkAccount(root, file, mounts); err != nil {
			return err
		}
	}
	return nil
}

// checkAccount follows file to what it is, in the root, and opens none of that.
func checkAccount(root int, file string, mounts []string) error {
	path := file
	for range maxAccountLinks {
		if at := mountAbove(path, mounts); at != "" {
			return badAccount(file, "leads to %s, below %s, which is not of the image", path, at)
		}
		st, link, err := lookIn(root, path)
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil
		case err != nil:
			return badAccount(file, "cannot be looked at: %s: %v", path, err)
		case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > maxAccounts:
			return badAccount(file, "has %d bytes, more than %d", st.Size, maxAccounts)
		case st.Mode&unix.S_IFMT == unix.S_IFREG:
			return nil
		case link == "":
			return badAccount(file, "is no regular file")
		case !filepath.IsAbs(link):
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = filepath.Clean(link)
	}
	return badAccount(file, "leads through more than %d links", maxAccountLinks)
}

func badAccount(file, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s; build the image again with a regular file there, or none", ErrBadImage, file, fmt.Sprintf(format, args...))
}

// mountAbove returns the first of mounts that path is, or lies below.
func mountAbove(path string, mounts []string) string {
	for _, m := range mounts {
		if m = filepath.Clean(m); path == m || strings.HasPrefix(path, m+"/") {
			return m
		}
	}
	return ""
}

// lookIn returns what is at a path of the root, and its target if it is a link. No
// directory above it may be a link: that could lead where the container mounts something.
func lookIn(root int, path string) (st unix.Stat_t, link string, err error) {
	fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return st, "", err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return st, "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return st, string(buf[:max(n, 0)]), err
}

// mountsOf are the places in a container where something else than its image is.
func mountsOf(in ocispec.Input) []string {
	places := []string{"/proc", "/dev", "/sys"}
	for _, b := range ocispec.Binds(in) {
		places = append(places, b.Target)
	}
	return places
}
