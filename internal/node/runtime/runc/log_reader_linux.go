package runc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Log opens what the container has written to its standard output and error, in
// the order in which conmon read it; runtime.ErrNoLog if there is none. With
// Follow, reads block until there is more, and the stream ends when the attempt
// has ended and all of it was read. It fails when ctx ends. The bytes are the
// worker's own, unescaped.
func (r *Runtime) Log(ctx context.Context, id string, o runtime.LogOptions) (io.ReadCloser, error) {
	if err := runtime.CheckID(id); err != nil {
		return nil, err
	}
	attempt := newestAttempt(r.logDir(id))
	if o.Previous {
		attempt--
	}
	if attempt < 0 {
		return nil, fmt.Errorf("%w of container %s", runtime.ErrNoLog, id)
	}
	l := &logReader{ctx: ctx, log: filepath.Join(r.logDir(id), logName(attempt)), rotations: r.rotations}
	l.lines.timestamps = o.Timestamps
	err := l.open(r, id, attempt, o)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// logReader reads the parts of one attempt's log, oldest first.
type logReader struct {
	ctx       context.Context //nolint:containedctx // of the stream, as long as it is read
	log       string
	rotations *rotations

	// parts are those not read to their end; the first is being read, by in.
	parts []*os.File
	in    *bufio.Reader
	lines logLines

	// follower tells of what is to come; nil without Follow.
	follower *follower
	// drained tells that the attempt had ended before the last look.
	drained bool
}

// open opens the parts, and watches for more before that, so that none is missed.
func (l *logReader) open(r *Runtime, id string, attempt int, o runtime.LogOptions) (err error) {
	if o.Follow {
		if l.follower, err = r.follow(l.ctx, id, attempt); err != nil {
			return err
		}
	}
	if l.parts, err = l.list(); err != nil {
		return err
	}
	if len(l.parts) == 0 {
		return fmt.Errorf("%w of container %s", runtime.ErrNoLog, id)
	}
	l.in = bufio.NewReaderSize(l.parts[0], logBuffer)
	if o.TailLines != nil {
		l.lines.skip, err = linesBefore(l.parts, *o.TailLines)
	}
	return err
}

// Read implements io.Reader.
func (l *logReader) Read(p []byte) (int, error) {
	for l.lines.out.Len() == 0 {
		if err := l.ctx.Err(); err != nil {
			return 0, err
		}
		record, err := l.in.ReadSlice('\n')
		l.lines.add(record)
		switch {
		case errors.Is(err, io.EOF):
			if err := l.next(); err != nil {
				return 0, err
			}
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return 0, fmt.Errorf("read log: %w", err)
		}
	}
	return l.lines.out.Read(p)
}

// next finds what to read after the end of a part; io.EOF if there is nothing
// to come. A part that others follow is complete, since it was read to its end
// after they were found. So is the newest one of an attempt that had ended
// before it was read.
func (l *logReader) next() error {
	if len(l.parts) > 1 {
		l.parts[0].Close()
		l.parts = l.parts[1:]
		l.in.Reset(l.parts[0])
		return nil
	}
	if l.follower == nil || l.drained {
		return io.EOF
	}
	ended := l.follower.ended()
	newer, err := l.newer()
	switch {
	case err != nil:
		return err
	case len(newer) > 0:
		l.parts = append(l.parts, newer...)
	case ended:
		l.drained = true
	default:
		return l.follower.wait(l.ctx)
	}
	return nil
}

// newer opens the parts after the one that is being read. If that is not among
// them any more, all of them are newer, and some may have been lost: the worker
// writes faster than the log is read.
func (l *logReader) newer() ([]*os.File, error) {
	now, err := l.parts[0].Stat()
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	parts, err := l.list()
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		fi, err := p.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read log: %w", err), closeFiles(parts))
		}
		if os.SameFile(now, fi) {
			return parts[i+1:], closeFiles(parts[:i+1])
		}
	}
	return parts, nil
}

// list opens the parts that there are, oldest first. They do not change their
// names meanwhile, but for conmon's own, which is looked at last.
func (l *logReader) list() (parts []*os.File, err error) {
	l.rotations.mu.Lock()
	defer l.rotations.mu.Unlock()
	var last os.FileInfo
	for _, suffix := range []string{partBefore, partPin, ""} {
		f, err := os.Open(l.log + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open log: %w", err), closeFiles(parts))
		}
		parts = append(parts, f)
		fi, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open log: %w", err), closeFiles(parts))
		}
		if last != nil && os.SameFile(last, fi) { // the pin of what conmon writes
			parts = parts[:len(parts)-1]
			f.Close()
		}
		last = fi
	}
	return parts, nil
}

func closeFiles(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Close implements io.Closer.
func (l *logReader) Close() error {
	err := closeFiles(l.parts)
	if l.follower != nil {
		err = errors.Join(err, l.follower.close())
	}
	return err
}

// linesBefore counts the lines that come before the last n.
func linesBefore(parts []*os.File, n int64) (int64, error) {
	var all logLines
	all.skip = -1 // all of them
	for _, p := range parts {
		fi, err := p.Stat()
		if err != nil {
			return 0, fmt.Errorf("count lines of log: %w", err)
		}
		in := bufio.NewReaderSize(io.NewSectionReader(p, 0, fi.Size()), logBuffer)
		for err == nil || errors.Is(err, bufio.ErrBufferFull) {
			var record []byte
			record, err = in.ReadSlice('\n')
			all.add(record)
		}
		if !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("count lines of log: %w", err)
		}
	}
	return max(0, all.count-n), nil
}

// follower tells when a log may have grown, and when it will not any more.
type follower struct {
	watcher *fsnotify.Watcher
	stop    context.CancelFunc
	end     chan struct{}
}

// follow watches the log of an attempt until close.
func (r *Runtime) follow(ctx context.Context, id string, attempt int) (*follower, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("inotify (see fs.inotify.max_user_instances): %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	f := &follower{watcher: watcher, stop: stop, end: make(chan struct{})}
	if err := watcher.Add(r.logDir(id)); err != nil {
		return nil, errors.Join(fmt.Errorf("inotify (see fs.inotify.max_user_watches): %w", err), f.close())
	}
	conmon, err := r.writerOf(ctx, id, attempt)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	go func() {
		if err := waitFor(ctx, conmon); err != nil && ctx.Err() == nil {
			r.options.Log.Warn("a log is not followed to its end", "container", id, "error", err)
		}
		close(f.end)
	}()
	return f, nil
}

// writerOf is the conmon that writes the log of an attempt, or no process if
// that has ended.
func (r *Runtime) writerOf(ctx context.Context, id string, attempt int) (process.Process, error) {
	rec, err := r.find(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && newestAttempt(r.logDir(id)) != attempt {
		return process.Process{}, nil
	}
	return rec.Conmon, err
}

func (f *follower) ended() bool {
	select {
	case <-f.end:
		return true
	default:
		return false
	}
}

// wait returns when the log may have grown, or its attempt has ended.
func (f *follower) wait(ctx context.Context) error {
	select {
	case <-f.watcher.Events:
	case err := <-f.watcher.Errors:
		if !errors.Is(err, fsnotify.ErrEventOverflow) { // else it has grown a lot
			return fmt.Errorf("follow log: %w", err)
		}
	case <-f.end:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (f *follower) close() error {
	f.stop()
	return f.watcher.Close()
}
