package hdfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store"
)

// maxStreams is how many idle streams an open file keeps.
const maxStreams = 8

// left is after how long a stream that nobody goes on with is taken for one at
// its end: a reader of pieces comes back sooner.
const left = 100 * time.Millisecond

// file is an open file. Its reads take streams, each of which reads forward
// from where it is: a read that goes on where an earlier one ended finds its
// stream there and asks nobody anything.
type file struct {
	ctx   context.Context //nolint:containedctx // Open's contract: reads stop when it ends
	store *Store
	path  string
	info  os.FileInfo

	mu     sync.Mutex
	idle   []*stream
	closed bool
}

var _ store.File = (*file)(nil)

// stream is one reader of a file at a position, with a session of its own.
type stream struct {
	session *session
	reader  *hdfs.FileReader
	offset  int64
	// stop takes the session off the context of the file's opening.
	stop func() bool
	// expire closes an idle stream, which it is since then.
	expire *time.Timer
	since  time.Time
}

// Open implements store.Reader.
func (s *Store) Open(ctx context.Context, name string) (store.File, error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	f := &file{ctx: ctx, store: s, path: p}
	err = s.try(ctx, func() error {
		first, err := f.open()
		if err == nil {
			f.info = first.reader.Stat()
			f.keep(first)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Size implements store.File.
func (f *file) Size() int64 { return f.info.Size() }

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: offset %d: %w", f.path, off, fs.ErrInvalid)
	}
	want := int(max(0, min(int64(len(p)), f.Size()-off)))
	n := 0
	// A stream tries all replicas that it knew of when it was opened. Another
	// one learns where they have gone since.
	err := f.store.try(f.ctx, func() error {
		if n == want {
			return nil
		}
		m, err := f.readOnce(p[n:want], off+int64(n))
		n += m
		return err
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// readOnce fills p by one stream.
func (f *file) readOnce(p []byte, off int64) (int, error) {
	s, err := f.take(off)
	if err != nil {
		return 0, err
	}
	n, err := s.read(p)
	s.offset += int64(n)
	if err != nil {
		err, good := s.session.judge(blame(f.path, s.reader, s.offset, err))
		s.drop(f.store.pool, good)
		return n, err
	}
	f.keep(s)
	return n, nil
}

// read fills p, and what cannot be read fast and surely, again and slowly.
func (s *stream) read(p []byte) (int, error) {
	if readFast(s.reader, p, s.session.dataConnections.Load) {
		return len(p), nil
	}
	if _, err := s.reader.Seek(s.offset, io.SeekStart); err != nil {
		return 0, err
	}
	return readFull(s.reader, p)
}

// take returns a stream at off: one that is there, one that was left and knows
// the file's blocks, or else a new one, for which a NameNode is asked.
func (f *file) take(off int64) (*stream, error) {
	s, err := f.takeIdle(off)
	if err == nil && s == nil {
		s, err = f.open()
	}
	if err != nil || s.offset == off {
		return s, err
	}
	if _, err := s.reader.Seek(off, io.SeekStart); err != nil {
		s.drop(f.store.pool, true)
		return nil, err
	}
	s.offset = off
	return s, nil
}

// takeIdle returns an idle stream for off, nil if there is none.
func (f *file) takeIdle(off int64) (*stream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("read %s: %w", f.path, fs.ErrClosed)
	}
	i := slices.IndexFunc(f.idle, func(s *stream) bool { return s.offset == off })
	if i < 0 && len(f.idle) > 0 && time.Since(f.idle[0].since) > left {
		i = 0
	}
	if i < 0 || !f.idle[i].expire.Stop() {
		return nil, nil //nolint:nilnil // none is no error
	}
	s := f.idle[i]
	f.idle = slices.Delete(f.idle, i, i+1)
	return s, nil
}

// open opens a stream at the beginning of the file.
func (f *file) open() (*stream, error) {
	pool := f.store.pool
	session, err := pool.take(f.ctx)
	if err != nil {
		return nil, err
	}
	s := &stream{session: session, stop: context.AfterFunc(f.ctx, session.end)}
	s.reader, err = session.client.Open(f.path)
	if err == nil {
		err = f.check(s.reader.Stat())
	}
	if err != nil {
		err, good := session.judge(err)
		s.drop(pool, good)
		return nil, err
	}
	return s, nil
}

// check refuses what is no file, and another file than the one first opened.
func (f *file) check(fi os.FileInfo) error {
	if !regular(fi) {
		return fmt.Errorf("%s: %w", f.path, store.ErrNotFile)
	}
	if f.info != nil && (status(fi).GetFileId() != status(f.info).GetFileId() || fi.Size() != f.info.Size()) {
		return fmt.Errorf("read %s: %w while it was read", f.path, store.ErrChanged)
	}
	return nil
}

// keep holds a stream for the read that goes on from it.
func (f *file) keep(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || s.offset >= s.reader.Stat().Size() {
		s.drop(f.store.pool, true)
		return
	}
	if len(f.idle) == maxStreams && f.idle[0].expire.Stop() {
		f.idle[0].drop(f.store.pool, true)
		f.idle = f.idle[1:]
	}
	s.since = time.Now()
	s.expire = time.AfterFunc(idleTime, func() { f.forget(s) })
	f.idle = append(f.idle, s)
}

// forget closes a stream that was idle for too long.
func (f *file) forget(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.idle, s); i >= 0 {
		f.idle = slices.Delete(f.idle, i, i+1)
		s.drop(f.store.pool, true)
	}
}

// Close implements io.Closer.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, s := range f.idle {
		s.expire.Stop()
		s.drop(f.store.pool, true)
	}
	f.idle = nil
	return nil
}

// drop closes a stream and gives back its session if that is good.
func (s *stream) drop(p *pool, good bool) {
	alive := s.stop()
	if s.reader != nil {
		_ = s.reader.Close() // only read from
	}
	if good && alive {
		p.put(s.session)
	} else {
		p.drop(s.session)
	}
}
