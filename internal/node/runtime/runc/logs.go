package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// The logs of a container, in <LogDir>/<id>:
//
//	<attempt>.log      what conmon writes
//	<attempt>.log.1    the part before it
//	<attempt>.log.pin  a second name of what conmon writes, while it does
//
// When a part is full, conmon renames an empty file over it. The second name
// saves the part: it becomes the part before, and the new one is pinned. While
// no agent is there to do that, the pin keeps the part that the last one saw,
// and of the parts after it the newest stays. So there are three parts at most.
const (
	logParts   = 3
	partBefore = ".1"
	partPin    = ".pin"
)

func (r *Runtime) logDir(id string) string { return filepath.Join(r.options.LogDir, id) }

func logName(attempt int) string { return fmt.Sprintf("%d.log", attempt) }

// isLog tells whether name is conmon's file of an attempt, and of which.
func isLog(name string) (attempt int, ok bool) {
	text, ok := strings.CutSuffix(name, ".log")
	attempt, err := strconv.Atoi(text)
	return attempt, ok && err == nil && name == logName(attempt)
}

// prepareLog makes the container's log directory, deletes the logs of all but
// the last attempt, and returns the path of the next one's log.
func (r *Runtime) prepareLog(id string, attempt int) (string, error) {
	dir := r.logDir(id)
	if strings.Contains(dir, ":") {
		return "", fmt.Errorf("log directory %s (stormcell.log.dir) may not have a colon in it: conmon takes that for a separator", dir)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make log directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read log directory: %w", err)
	}
	last := []string{logName(attempt - 1), logName(attempt-1) + partBefore}
	for _, e := range entries {
		if slices.Contains(last, e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("remove old log: %w", err)
		}
	}
	return filepath.Join(dir, logName(attempt)), nil
}

// keepPart makes the pin a name of what conmon writes to log now. If it was
// that of an older part, this becomes the part before. It can be repeated, and
// finishes what an agent that was killed in it has left.
func keepPart(log string) error {
	if same, err := sameFile(log, log+partPin); err != nil || same {
		return err
	}
	if err := savePin(log); err != nil {
		return err
	}
	if err := os.Link(log, log+partPin); err != nil {
		return fmt.Errorf("pin the log's newest part (stormcell.log.dir must be on a file system with hard links): %w", err)
	}
	return nil
}

// savePin makes the part that is pinned, if one is, the part before.
func savePin(log string) error {
	if err := os.Rename(log+partPin, log+partBefore); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep part of log: %w", err)
	}
	return nil
}

// settleLogs takes the pins away, of a container that has ended.
func (r *Runtime) settleLogs(id string) error {
	pins, err := filepath.Glob(filepath.Join(r.logDir(id), "*.log"+partPin))
	if err != nil {
		return fmt.Errorf("log directory: %w", err)
	}
	for _, pin := range pins {
		log := strings.TrimSuffix(pin, partPin)
		same, err := sameFile(log, pin)
		switch {
		case err != nil:
			return err
		case same:
			err = os.Remove(pin)
		default:
			err = savePin(log)
		}
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	return nil
}

// sameFile tells whether both are names of one file. A name that is not there
// is that of none.
func sameFile(a, b string) (bool, error) {
	first, err := os.Lstat(a)
	second, err2 := os.Lstat(b)
	for _, err := range []error{err, err2} {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("log: %w", err)
		}
	}
	return os.SameFile(first, second), nil
}

// OldLogs returns the containers whose logs were last written before then.
func (r *Runtime) OldLogs(then time.Time) (ids []string, err error) {
	entries, err := os.ReadDir(r.options.LogDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	for _, e := range entries {
		if runtime.CheckID(e.Name()) != nil || !e.IsDir() {
			continue // not ours
		}
		written, err := lastWritten(r.logDir(e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		if written.Before(then) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// lastWritten is when a directory or a file in it was last written to.
func lastWritten(dir string) (last time.Time, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // renamed meanwhile, so it is new
			last = time.Now()
		case err != nil:
			return err
		case info.ModTime().After(last):
			last = info.ModTime()
		}
		return nil
	})
	return last, err
}

// RemoveLogs deletes the container's logs.
func (r *Runtime) RemoveLogs(id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if err := os.RemoveAll(r.logDir(id)); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return nil
}
