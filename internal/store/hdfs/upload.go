package hdfs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store"
)

const defaultMode fs.FileMode = 0o444

// deadAge is the age, by the NameNode's clock, from which an unfinished upload
// is taken for that of a writer that died. HDFS has no lock that goes with its
// holder, and the time of a file does not move while it is written: a day is
// more than any upload of one file lasts.
const deadAge = 24 * time.Hour

// Create implements store.Writer.
func (s *Store) Create(ctx context.Context, name string, opts store.CreateOptions) (store.Upload, error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	u, err := s.create(ctx, p, opts)
	if err != nil {
		return nil, err
	}
	return u, nil
}

// create begins a file that is to become p. What uploads of the same name have
// left that were killed long ago is removed.
func (s *Store) create(ctx context.Context, p string, opts store.CreateOptions) (*upload, error) {
	u := &upload{ctx: ctx, store: s, name: p, mode: opts.Mode.Perm(), replication: opts.Replication}
	if u.mode == 0 {
		u.mode = defaultMode
	}
	if err := s.try(ctx, func() error { return u.open() }); err != nil {
		return nil, err
	}
	if err := u.sweep(); err != nil {
		u.Abort()
		return nil, err
	}
	return u, nil
}

// sweep removes the dead uploads of the same name.
func (u *upload) sweep() error {
	dir := path.Dir(u.name)
	var dead []string
	err := u.store.do(u.ctx, func(c *hdfs.Client) error {
		found, err := c.ReadDir(dir)
		dead = deadUploads(found, path.Base(u.name), path.Base(u.temp))
		return err
	})
	for _, name := range dead {
		if err == nil {
			err = u.store.discard(u.ctx, path.Join(dir, name))
		}
	}
	return err
}

// deadUploads picks the uploads of a name that are much older than the living
// one, which has just begun.
func deadUploads(found []os.FileInfo, name, living string) (dead []string) {
	var now time.Time
	for _, fi := range found {
		if fi.Name() == living {
			now = fi.ModTime()
		}
	}
	for _, fi := range found {
		if strings.HasPrefix(fi.Name(), uploadPrefix+name+".") && now.Sub(fi.ModTime()) > deadAge {
			dead = append(dead, fi.Name())
		}
	}
	return dead
}

// discard removes the file at p, which may be gone already.
func (s *Store) discard(ctx context.Context, p string) error {
	err := s.do(ctx, func(c *hdfs.Client) error { return c.Remove(p) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// upload is a file on its way: written under a temporary name beside its own,
// by a session that renews the lease of it.
type upload struct {
	ctx         context.Context //nolint:containedctx // writes stop when the upload's caller gives up
	store       *Store
	session     *session
	stop        func() bool
	writer      *hdfs.FileWriter
	temp, name  string
	mode        fs.FileMode
	replication int
	// begun: some bytes are on their way.
	begun bool
	// id is the file's number, which it keeps when it is renamed.
	id uint64
	// failed is the first error of a Write; such a file is never published.
	failed error
	state  uploadState
}

// uploadState is how far an upload has come.
type uploadState int

const (
	open      uploadState = iota // it is being written
	completed                    // all of it is written, and the session given up
	published                    // it has its name
	gone                         // it is removed
)

// open makes the temporary file, by a new name at each try.
func (u *upload) open() error {
	pool := u.store.pool
	session, err := pool.take(u.ctx)
	if err != nil {
		return err
	}
	u.session, u.stop = session, context.AfterFunc(u.ctx, session.end)
	u.temp = path.Join(path.Dir(u.name), uploadPrefix+path.Base(u.name)+"."+rand.Text())
	err = u.start(session.client)
	if err != nil {
		err, good := session.judge(err)
		u.leave(good)
		return err
	}
	return nil
}

func (u *upload) start(c *hdfs.Client) error {
	defaults, err := c.ServerDefaults()
	if err != nil {
		return err
	}
	conf := u.store.cluster
	size := cmp.Or(conf.blockSize, defaults.BlockSize)
	replication := cmp.Or(u.replication, conf.replication, defaults.Replication)
	u.writer, err = c.CreateFile(u.temp, replication, size, 0o600)
	return err
}

// leave gives up the upload's session.
func (u *upload) leave(good bool) {
	if u.stop() && good {
		u.store.pool.put(u.session)
	} else {
		u.store.pool.drop(u.session)
	}
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (int, error) {
	if u.failed == nil && u.state != open {
		u.failed = fmt.Errorf("write %s: %w", u.name, fs.ErrClosed)
	}
	if u.failed == nil {
		u.failed = u.ctx.Err()
	}
	if u.failed != nil || len(p) == 0 {
		return 0, u.failed // the library would make an empty block
	}
	var n int
	if u.begun {
		var err error
		if n, err = u.writeOn(p); err != nil {
			u.failed = u.store.fault(u.ctx, err)
		}
	} else {
		n, u.failed = u.writeFirst(p)
	}
	return n, u.failed
}

func (u *upload) writeOn(p []byte) (int, error) {
	n, err := u.writer.Write(p)
	if err, _ = u.session.judge(err); err != nil {
		err = fmt.Errorf("write %s: %w", u.name, err)
	}
	return n, err
}

// writeFirst writes the first bytes. The library gives up a file if one of the
// DataNodes that the NameNode chose for a block cannot be reached; here there
// is nothing to lose yet by beginning anew, with others.
func (u *upload) writeFirst(p []byte) (n int, err error) {
	err = u.store.try(u.ctx, func() error {
		if u.state == gone {
			if err := u.open(); err != nil {
				return err
			}
			u.state = open
		}
		n, err = u.writeOn(p)
		if err != nil {
			u.drop()
		}
		return err
	})
	u.begun = err == nil
	return n, err
}

// Commit implements store.Upload.
func (u *upload) Commit() error {
	err := u.complete()
	if err == nil {
		err = u.publish()
	}
	if err != nil {
		u.drop()
	}
	return err
}

// complete closes the file: all its bytes are at the DataNodes then, and its
// mode is set. The session is given up.
func (u *upload) complete() error {
	if u.failed != nil {
		return u.failed
	}
	if u.state != open {
		return fmt.Errorf("write %s: %w", u.name, fs.ErrClosed)
	}
	err := u.store.try(u.ctx, func() error {
		err, _ := u.session.judge(u.writer.Close())
		return err
	})
	if err != nil {
		return err
	}
	u.leave(true)
	u.state = completed
	return u.store.do(u.ctx, func(c *hdfs.Client) error {
		fi, err := c.Stat(u.temp)
		if err != nil {
			return err
		}
		u.id = status(fi).GetFileId()
		return c.Chmod(u.temp, u.mode)
	})
}

// publish gives the file its name.
func (u *upload) publish() error {
	err := u.rename(u.name)
	if err == nil {
		u.state = published
	}
	return err
}

// rename gives the file the name to, in the place of a file that has it. An
// answer of the NameNode that was lost on its way is found out by the file's
// number.
func (u *upload) rename(to string) error {
	err := u.store.do(u.ctx, func(c *hdfs.Client) error {
		err := c.Rename(u.temp, to)
		if errors.Is(err, fs.ErrNotExist) {
			if fi, statErr := c.Stat(to); statErr == nil && status(fi).GetFileId() == u.id {
				return nil
			}
		}
		return err
	})
	if err == nil {
		u.temp = to
	}
	return err
}

// abortTime is how long an abandoned upload may take to be removed.
const abortTime = 5 * time.Second

// Abort implements store.Upload.
func (u *upload) Abort() {
	if u.state != published {
		u.drop()
	}
}

// drop removes the file if it is still under its temporary name.
func (u *upload) drop() {
	if u.state == open {
		// Closing a file in order ends the library's goroutines.
		limit := time.AfterFunc(abortTime, u.session.end)
		_ = u.writer.Close() // it is removed
		limit.Stop()
		u.leave(false)
	}
	if u.state != gone {
		u.state = gone
		u.remove()
	}
}

// remove removes the temporary file, also when the caller's context has ended.
//
//nolint:contextcheck,nolintlint // for that reason; it is reported where this is called
func (u *upload) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTime)
	defer cancel()
	_ = u.store.discard(ctx, u.temp) // else a later Create removes it
}
