package config

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// defaultCheck is how often the file is read though nothing was heard: for
	// a link whose target changes elsewhere, and file systems without events.
	defaultCheck = 10 * time.Second
	// settleTime is the silence after the last event that ends a change, so
	// that a file is not read while an editor writes it.
	settleTime = 100 * time.Millisecond
)

// WatchOptions has the settings and callbacks of a Watcher. Callbacks run one at a
// time in Run's goroutine; nil ones are ignored.
type WatchOptions struct {
	// Every is the time between checks without events; 0 means 10 seconds.
	Every time.Duration
	// Read are the options that the first configuration was read with.
	Read []Option
	// Pin keeps Fixed as it is in the first configuration. A file that changes
	// it is followed in all else, and a note says so.
	Pin bool
	// Accept may refuse a configuration for what it refers to. The last good
	// one stays in force then, as with any other fault, and Accept is asked
	// again at the next check, though the file be the same.
	Accept func(*Config) error
	// Reloaded hears of a changed configuration, and of one that is good again
	// after Failed, with its notes.
	Reloaded func(conf *Config, notes []string)
	// Failed hears, once, of a file that cannot be read or breaks the rules.
	// The last good configuration stays in force.
	Failed func(error)
}

// Watcher follows a storm.yaml. Replace the file by a rename, as kubelet does
// with ConfigMaps: a file that is written in place may be read half written.
type Watcher struct {
	path    string
	opts    WatchOptions
	current atomic.Pointer[Config]

	mu        sync.Mutex
	listeners []chan struct{}

	// fixed is that of the first configuration.
	fixed Fixed
	// Of Run's goroutine only: the content that was judged last, nil if the
	// file could not be read, the Fixed that the last good file had, and the
	// failure that was reported last.
	judged  []byte
	said    Fixed
	failure string
}

// NewWatcher returns a watcher of the file at path that begins with conf, as
// Load returned it. It does nothing until Run.
func NewWatcher(path string, conf *Config, opts WatchOptions) *Watcher {
	if opts.Every == 0 {
		opts.Every = defaultCheck
	}
	w := &Watcher{path: path, opts: opts, fixed: conf.Fixed, said: conf.Fixed}
	w.current.Store(conf)
	return w
}

// Current returns the last good configuration. Nobody may change it.
func (w *Watcher) Current() *Config { return w.current.Load() }

// Changes returns a new channel that gets a token when Current has changed.
// Tokens that nobody has taken yet become one.
func (w *Watcher) Changes() <-chan struct{} {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, c)
	return c
}

// Run watches the file until ctx ends, then returns nil. Without a working inotify it
// calls Failed and reads the file at intervals.
func (w *Watcher) Run(ctx context.Context) error {
	dir := filepath.Dir(w.path)
	var events chan fsnotify.Event
	var faults chan error
	notifier, err := fsnotify.NewWatcher()
	if err == nil {
		defer notifier.Close()
		events, faults = notifier.Events, notifier.Errors
		err = notifier.Add(dir)
	}
	if err != nil {
		w.fail(fmt.Errorf("watch %s: %w: it is read every %s instead", dir, err, w.opts.Every))
	}
	tick := time.NewTicker(w.opts.Every)
	defer tick.Stop()
	settle := time.NewTimer(0) // the file may have changed since it was loaded
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			settle.Reset(settleTime)
		case err := <-faults:
			// Events were lost.
			w.fail(fmt.Errorf("watch %s: %w", dir, err))
			settle.Reset(settleTime)
		case <-settle.C:
			w.check()
		case <-tick.C:
			if notifier != nil {
				// The directory may have been replaced by another one.
				_ = notifier.Add(dir)
			}
			w.check()
		}
	}
}

// check reads the file and takes it over if it is good and new.
func (w *Watcher) check() {
	content, err := readFile(w.path, MaxConfigSize, 0)
	if err != nil {
		w.judged = nil
		w.fail(fmt.Errorf("read configuration: %w: the last valid one stays in use", err))
		return
	}
	if w.judged != nil && bytes.Equal(content, w.judged) {
		return
	}
	w.judged = append([]byte{}, content...)
	conf, notes, err := Parse(w.path, content, w.opts.Read...)
	var said Fixed
	if err == nil {
		said = conf.Fixed
		notes, err = w.pin(conf, notes)
	}
	if err == nil && w.opts.Accept != nil {
		if err = w.opts.Accept(conf); err != nil {
			w.judged = nil // what it refers to may be put right meanwhile
		}
	}
	if err != nil {
		w.fail(fmt.Errorf("the last valid configuration stays in use: %w", err))
		return
	}
	changed := !reflect.DeepEqual(conf, w.current.Load())
	if changed {
		w.current.Store(conf)
		w.tell()
	}
	if (changed || said != w.said || w.failure != "") && w.opts.Reloaded != nil {
		w.opts.Reloaded(conf, notes)
	}
	w.said, w.failure = said, ""
}

// pin puts the Fixed of the first configuration in the place of conf's, if that
// is wanted, and judges what then comes together: a directory of root's that
// is fixed may lie where workers write by the new file.
func (w *Watcher) pin(conf *Config, notes []string) ([]string, error) {
	if !w.opts.Pin {
		return notes, nil
	}
	if conf.Fixed != w.fixed {
		notes = append(notes, w.path+": the store, the directories of the node, the cgroup parent, whether and where Docker is, and the limits of "+
			"the cache, of logs and of kept mounts stay as they are until this program is restarted")
	}
	conf.Fixed = w.fixed
	problems := conf.misplaced(keyRunRoot)
	for i := range problems {
		problems[i].File = w.path
		problems[i].Message += ", and restart this program"
	}
	return notes, problems.err()
}

func (w *Watcher) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.listeners {
		select {
		case c <- struct{}{}:
		default: // a token is waiting there
		}
	}
}

// fail reports an error that differs from the last one.
func (w *Watcher) fail(err error) {
	if err.Error() == w.failure {
		return
	}
	w.failure = err.Error()
	if w.opts.Failed != nil {
		w.opts.Failed(err)
	}
}
