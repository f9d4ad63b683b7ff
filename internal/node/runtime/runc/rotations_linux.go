package runc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// rotations keeps the parts of the logs that are watched: see keepPart. One
// inotify instance serves all, since a user may have few of them. It asks for
// renames only, which fsnotify cannot: a log that is written to wakes nobody.
type rotations struct {
	log *slog.Logger

	mu sync.Mutex
	// file is the instance, nil while nothing is watched, and fd the same:
	// to ask file for it would make it block.
	file *os.File
	fd   int
	dirs map[int32]*logWatch // by watch descriptor
}

// logWatch is a directory of logs and how many watch it.
type logWatch struct {
	dir      string
	watchers int
}

func newRotations(log *slog.Logger) *rotations { return &rotations{log: log} }

// watch keeps the parts of the newest log in dir, from what it finds until
// stop is called. A container is worth more than its log: if this fails, it
// says so and watches nothing.
func (w *rotations) watch(dir string) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	descriptor, err := w.add(dir)
	if err != nil {
		w.log.Warn("parts of a log may be lost", "directory", dir, "error", err)
		return func() {}
	}
	w.keepNewest(dir)
	return func() { w.leave(descriptor) }
}

// add watches dir; the lock is held.
func (w *rotations) add(dir string) (int32, error) {
	if w.file == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return 0, fmt.Errorf("inotify (see fs.inotify.max_user_instances): %w", err)
		}
		w.file, w.fd, w.dirs = os.NewFile(uintptr(fd), "inotify"), fd, map[int32]*logWatch{}
		go w.follow(w.file)
	}
	number, err := unix.InotifyAddWatch(w.fd, dir, unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err != nil {
		w.closeIdle()
		return 0, fmt.Errorf("inotify (see fs.inotify.max_user_watches): %w", err)
	}
	descriptor := int32(number) //nolint:gosec // the kernel counts them in an int
	if w.dirs[descriptor] == nil {
		w.dirs[descriptor] = &logWatch{dir: dir}
	}
	w.dirs[descriptor].watchers++
	return descriptor, nil
}

func (w *rotations) leave(descriptor int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.dirs[descriptor]
	if d.watchers--; d.watchers > 0 {
		return
	}
	delete(w.dirs, descriptor)
	// A directory that was deleted is not watched any more: no error.
	_, _ = unix.InotifyRmWatch(w.fd, uint32(descriptor)) //nolint:gosec // as the kernel gave it
	w.closeIdle()
}

// closeIdle ends the instance, and with it follow, if nothing is watched.
func (w *rotations) closeIdle() {
	if len(w.dirs) == 0 {
		w.file.Close()
		w.file = nil
	}
}

// follow handles the events of an instance until that is closed.
func (w *rotations) follow(file *os.File) {
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		if err != nil {
			if !errors.Is(err, fs.ErrClosed) {
				w.log.Error("parts of logs may be lost", "error", err)
			}
			return
		}
		for _, e := range parseEvents(buf[:n]) {
			w.moved(file, e)
		}
	}
}

// moved keeps the log that has got a new part.
func (w *rotations) moved(file *os.File, e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if file != w.file {
		return // closed meanwhile: the descriptors are others'
	}
	if e.descriptor < 0 { // too many at once: which, the kernel did not keep
		for _, d := range w.dirs {
			w.keepNewest(d.dir)
		}
	}
	if d := w.dirs[e.descriptor]; d != nil {
		if _, ok := isLog(e.name); ok {
			w.keep(filepath.Join(d.dir, e.name))
		}
	}
}

func (w *rotations) keepNewest(dir string) {
	if attempt := newestAttempt(dir); attempt >= 0 {
		w.keep(filepath.Join(dir, logName(attempt)))
	}
}

func (w *rotations) keep(log string) {
	if err := keepPart(log); err != nil {
		w.log.Warn("part of a log may be lost", "log", log, "error", err)
	}
}

// newestAttempt is the last attempt that has a log in dir, or -1.
func newestAttempt(dir string) int {
	newest := -1
	entries, err := os.ReadDir(dir)
	if err != nil {
		return newest
	}
	for _, e := range entries {
		if attempt, ok := isLog(e.Name()); ok {
			newest = max(newest, attempt)
		}
	}
	return newest
}

// event is a name that something was renamed to in a watched directory.
type event struct {
	descriptor int32
	name       string
}

// parseEvents reads struct inotify_event, one after the other: descriptor,
// mask, cookie and length of the name, which is padded with NUL.
func parseEvents(buf []byte) []event {
	var events []event
	for len(buf) >= unix.SizeofInotifyEvent {
		descriptor := int32(binary.NativeEndian.Uint32(buf)) //nolint:gosec // an int of the kernel's
		length := int(binary.NativeEndian.Uint32(buf[12:]))
		buf = buf[unix.SizeofInotifyEvent:]
		if length > len(buf) {
			break
		}
		name, _, _ := bytes.Cut(buf[:length], []byte{0})
		events = append(events, event{descriptor, string(name)})
		buf = buf[length:]
	}
	return events
}
