package diskusage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is a directory that a worker writes to. The directory above it is root's.
type Place struct {
	// Name is how people know it, such as "/tmp".
	Name string
	Path string
}

const (
	// maxDepth is how deep directories may be nested: no path of PATH_MAX bytes leads
	// deeper, so only a program that works against its node makes deeper ones.
	maxDepth = unix.PathMax / 2
	// maxRounds is how often a directory is read if names in it lead elsewhere, or
	// nowhere, when they are looked up: one that renames its files all the time.
	maxRounds = 8
	// maxMissing is how many such files are looked for again.
	maxMissing = 1 << 10
	// batchSize is the size of what is read of a directory at once, in bytes.
	batchSize = 4 << 10
	// blockSize is the unit of st_blocks.
	blockSize = 512
)

var (
	// errOver ends a walk at the limit.
	errOver = errors.New("over the limit")
	// errMoved is a name that leads to another file than it did.
	errMoved = errors.New("moved")
)

// walk counts what one worker takes up.
type walk struct {
	ctx   context.Context //nolint:containedctx // a walk is one call
	pace  *pace
	limit Usage
	// depth is how deep directories may be nested.
	depth int

	report Report
	part   *Part
	// inodes and bytes are those of part. A file with several names counts as a
	// fraction at each.
	inodes, bytes float64
	// devices are the file systems of the places.
	devices map[device]bool
	// deleted are the files that are counted although they have no name.
	deleted map[file]bool
	// links is the number of links to open files that were looked at.
	links int
}

type device struct{ major, minor uint32 }

type file struct {
	device
	inode uint64
}

// measure counts what lies in places, and what processes hold of deleted files there. It
// ends at the limit. The calling goroutine has locked its thread, whose pace p is.
func measure(ctx context.Context, p *pace, limit Usage, places []Place, pids map[int]bool) (Report, error) {
	depth, err := depthLimit()
	if err != nil {
		return Report{}, err
	}
	w := &walk{ctx: ctx, pace: p, limit: limit, depth: depth, devices: map[device]bool{}, deleted: map[file]bool{}}
	err = w.all(places, pids)
	w.end()
	if errors.Is(err, errOver) {
		w.report.Over, err = true, nil
	}
	return w.report, err
}

// depthLimit is maxDepth, or less if this process may have few open files: each level is
// one while the walk is in it.
func depthLimit() (int, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("limit on open files: %w", err)
	}
	return int(min(files.Cur/4, maxDepth)), nil
}

// all counts deleted files first: one that is deleted meanwhile is counted at most once.
func (w *walk) all(places []Place, pids map[int]bool) error {
	tops := map[string]int{}
	defer func() {
		for _, fd := range tops {
			unix.Close(fd)
		}
	}()
	for _, p := range places {
		fd, err := unix.Open(p.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", p.Path, err)
		}
		tops[p.Path] = fd
		st, err := stat(fd, "", unix.AT_EMPTY_PATH)
		if err != nil {
			return fmt.Errorf("stat %s: %w", p.Path, err)
		}
		w.devices[deviceOf(st)] = true
	}
	w.begin("deleted files that are open")
	if err := w.open(pids); err != nil {
		return err
	}
	for _, p := range places {
		fd, ok := tops[p.Path]
		if !ok {
			continue
		}
		w.begin(p.Name)
		if err := w.directory(fd, 1); err != nil && !errors.Is(err, errOver) {
			return fmt.Errorf("count what is in %s: %w", p.Path, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// begin begins a part of the report, and ends the one before.
func (w *walk) begin(name string) {
	w.end()
	w.part, w.bytes, w.inodes = &Part{Name: name}, 0, 0
}

// end ends a part of the report.
func (w *walk) end() {
	if w.part == nil {
		return
	}
	w.part.Usage = w.current()
	w.report.Bytes += w.part.Bytes
	w.report.Inodes += w.part.Inodes
	w.report.Parts = append(w.report.Parts, *w.part)
	w.part = nil
}

// current is what was counted of the part so far.
func (w *walk) current() Usage {
	return Usage{Bytes: int64(math.Round(w.bytes)), Inodes: int64(math.Round(w.inodes))}
}

// add counts a file, at one of its names. All of its names are in one place, since
// nobody can link from one mount to another. So each is a fraction of it, and no walk
// has to remember what it has seen.
func (w *walk) add(st *unix.Statx_t) error {
	names := float64(1)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		names = float64(max(st.Nlink, 1))
	}
	w.bytes += float64(st.Blocks) * blockSize / names
	w.inodes += 1 / names
	now := w.current()
	now.Bytes, now.Inodes = now.Bytes+w.report.Bytes, now.Inodes+w.report.Inodes
	if now.beyond(w.limit) {
		return errOver
	}
	return w.pace.step(w.ctx)
}

// listing is an open directory while it is counted.
type listing struct {
	fd, depth int
	buf       []byte
	// missing are the files of it, by inode number, that were not found at their names.
	missing map[uint64]bool
}

// directory counts what is in an open directory. It reads the directory again for what was
// not where it had been listed: who renames a file has not made it vanish.
func (w *walk) directory(fd, depth int) error {
	d := &listing{fd: fd, depth: depth, buf: make([]byte, batchSize), missing: map[uint64]bool{}}
	for round := 1; round == 1 || round <= maxRounds && len(d.missing) > 0; round++ {
		if err := w.list(d, round); err != nil {
			return err
		}
	}
	return nil
}

// list reads a directory and counts what is in it; after the first round, what is missing.
func (w *walk) list(d *listing, round int) error {
	if _, err := unix.Seek(d.fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	for {
		n, err := unix.Getdents(d.fd, d.buf)
		if n == 0 || errors.Is(err, unix.ENOENT) { // it was deleted
			return nil
		}
		if err != nil {
			return err
		}
		for e := range entries(d.buf[:n]) {
			if round > 1 && !d.missing[e.inode] {
				continue
			}
			// At last, a name counts as what it leads to.
			err := w.entry(d, e, round == maxRounds || len(d.missing) >= maxMissing)
			if err != nil && !errors.Is(err, errMoved) {
				return err
			}
			if err == nil {
				delete(d.missing, e.inode)
			} else {
				d.missing[e.inode] = true
			}
		}
	}
}

// entry counts what is at a name of a directory, and below. errMoved if that is not the
// file that the name was read for; with anyway, whatever is there is counted.
func (w *walk) entry(d *listing, e entry, anyway bool) error {
	if e.directory {
		return w.subdirectory(d, e, anyway)
	}
	st, err := stat(d.fd, e.name, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT) && anyway:
		return nil
	case errors.Is(err, unix.ENOENT), err == nil && st.Ino != e.inode && !anyway:
		return errMoved
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR: // some file systems do not list the type
		return w.subdirectory(d, e, anyway)
	}
	return w.add(st)
}

func (w *walk) subdirectory(d *listing, e entry, anyway bool) error {
	fd, err := unix.Openat2(d.fd, e.name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.EXDEV): // a mount
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		if anyway {
			return nil
		}
		return errMoved
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	st, err := stat(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	if st.Ino != e.inode && !anyway {
		return errMoved
	}
	if err := w.add(st); err != nil {
		return err
	}
	if d.depth >= w.depth {
		w.report.Note = fmt.Sprintf("directories are nested deeper than %d levels", w.depth)
		return errOver
	}
	return w.directory(fd, d.depth+1)
}

// stat asks for what the machine knows of a file, and no server of a network.
func stat(dir int, name string, flags int) (*unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(dir, name, flags|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, &st)
	return &st, err
}

func deviceOf(st *unix.Statx_t) device { return device{st.Dev_major, st.Dev_minor} }

// entry is a name that was read of a directory.
type entry struct {
	inode     uint64
	directory bool
	name      string
}

// entries are those of a buffer of getdents64(2): inode, offset, length, type, name.
func entries(buf []byte) func(yield func(entry) bool) {
	const header = 19
	return func(yield func(entry) bool) {
		for len(buf) >= header {
			length := int(binary.NativeEndian.Uint16(buf[16:]))
			if length < header || length > len(buf) {
				return
			}
			name, _, _ := strings.Cut(string(buf[header:length]), "\x00")
			e := entry{inode: binary.NativeEndian.Uint64(buf), directory: buf[18] == unix.DT_DIR, name: name}
			buf = buf[length:]
			if name != "." && name != ".." && !yield(e) {
				return
			}
		}
	}
}
