package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// artifacts is a worker's artifacts directory, which the worker can write to.
// All that it has is opened below it, and no more believed than the worker is.
type artifacts struct{ root *os.Root }

func openArtifacts(path string) (*artifacts, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("artifacts directory of the worker: %w", err)
	}
	return &artifacts{root}, nil
}

func (a *artifacts) close() { a.root.Close() }

// pidFile is where Storm's worker writes the pid of its own JVM, as it is in the
// container: the first process there may be another, Storm's LogWriter.
const pidFile = "worker.pid"

// firstPID is the container's first process.
const firstPID = "1"

var pidGrammar = regexp.MustCompile(`^[1-9][0-9]{0,6}$`)

// javaPID is the pid of the worker's JVM, in its container.
func (a *artifacts) javaPID() string {
	f, err := a.root.OpenFile(pidFile, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return firstPID
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return firstPID
	}
	const longest = 16
	text, err := io.ReadAll(io.LimitReader(f, longest))
	if pid := pidText(string(text)); err == nil && pid != "" {
		return pid
	}
	return firstPID
}

// pidText is the number that a text consists of, or "".
func pidText(text string) string {
	for len(text) > 0 && text[len(text)-1] <= ' ' {
		text = text[:len(text)-1]
	}
	if !pidGrammar.MatchString(text) {
		return ""
	}
	return text
}

// recordings are the files of scripts in a directory: when each was changed.
type recordings map[string]time.Time

// recordingGrammar is what Storm's log viewer lists, by the names that
// flight.bash gives.
var recordingGrammar = regexp.MustCompile(`^(jstack|recording)-[A-Za-z0-9._-]{1,128}\.(txt|bin|jfr)$`)

const (
	// maxEntries is how many names of a directory are looked at.
	maxEntries = 100_000
	// maxFiles is how many files of one profile are told of.
	maxFiles = 16
)

// recordings lists the files that are not empty.
func (a *artifacts) recordings() (recordings, error) {
	d, err := a.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	defer d.Close()
	entries, err := d.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	found := recordings{}
	for _, e := range entries {
		if !recordingGrammar.MatchString(e.Name()) {
			continue
		}
		if info, err := a.root.Lstat(e.Name()); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			found[e.Name()] = info.ModTime()
		}
	}
	return found, nil
}

// since returns the paths of those that are new or were changed since before.
func (r recordings) since(before recordings, dir string) []string {
	var paths []string
	for name, changed := range r {
		if was, there := before[name]; !there || !was.Equal(changed) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	slices.Sort(paths)
	return paths[:min(len(paths), maxFiles)]
}
