// Package hdfs is an image store in HDFS (hdfs:// URLs). It is the only one
// that knows the HDFS client library and Kerberos.
//
// The library (github.com/colinmarc/hdfs) speaks the protocols well, but knows
// no contexts or time limits, does not come back after some faults, leaks
// connections, and renews leases every second for as long as a client is open.
// Here each operation gets a session of its own (a client and its connections)
// that the operation's context ends; a session with a fault is thrown away, and
// an idle one is closed after some seconds. So a Store needs no Close.
package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store"
)

// Names that the store keeps for itself: they are neither listed nor given out.
const (
	// uploadPrefix marks files that are still being written.
	uploadPrefix = ".upload-"
	// bidPrefix marks what a Replace would put in the place of a file.
	bidPrefix = ".replace-"
)

// Options says how to reach an HDFS. The zero Options serve a cluster without
// security and without name services.
type Options struct {
	// ConfDir holds Hadoop's core-site.xml and hdfs-site.xml. It is needed for
	// name services and for secure clusters.
	ConfDir string
	// Keytab and Principal log in to a secure cluster; _HOST in the principal
	// stands for this machine's name. Without them the ticket cache of the
	// environment ($KRB5CCNAME, as kinit fills it) is used.
	Keytab, Principal string
}

// Store is an image store below one folder of an HDFS.
type Store struct {
	address store.Address
	cluster *cluster
	pool    *pool
}

var _ store.Writer = (*Store)(nil)

// New returns the store at a, whose root need not exist yet. It reads the
// configuration files, but contacts no one.
func New(a store.Address, o Options) (*Store, error) {
	s := &Store{address: a}
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("store %s: %w", a, err) }
	c, err := readCluster(o.ConfDir, a.Host)
	if err != nil {
		return fail(err)
	}
	s.cluster = c
	login, err := newLogin(c, o)
	if err != nil {
		return fail(err)
	}
	s.pool = newPool(c, login)
	return s, nil
}

// URL implements store.Reader.
func (s *Store) URL() string { return s.address.String() }

// path checks the name of a file and returns its path in HDFS.
func (s *Store) path(name string) (string, error) {
	if !fs.ValidPath(name) || name == "." || reserved(path.Base(name)) {
		return "", fmt.Errorf("store %s: %q: %w", s.URL(), name, fs.ErrInvalid)
	}
	return path.Join(s.address.Path, name), nil
}

func reserved(base string) bool {
	return strings.HasPrefix(base, uploadPrefix) || strings.HasPrefix(base, bidPrefix)
}

// symlink is HdfsFileStatusProto.FileType.IS_SYMLINK.
const symlink = 3

// status is what a NameNode tells of a file.
func status(fi os.FileInfo) *hdfs.FileStatus {
	st, _ := fi.Sys().(*hdfs.FileStatus)
	return st
}

func infoOf(fi os.FileInfo) store.Info {
	return store.Info{Size: fi.Size(), ModTime: fi.ModTime(), Mode: fi.Mode().Perm()}
}

func regular(fi os.FileInfo) bool { return !fi.IsDir() && status(fi).GetFileType() != symlink }

// stat describes the file at p, which must be one.
func stat(c *hdfs.Client, p string) (os.FileInfo, error) {
	fi, err := c.Stat(p)
	if err == nil && !regular(fi) {
		err = fmt.Errorf("%s: %w", p, store.ErrNotFile)
	}
	return fi, err
}

// Stat implements store.Reader.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	fi, err := s.stat(ctx, name)
	if err != nil {
		return store.Info{}, err
	}
	return infoOf(fi), nil
}

func (s *Store) stat(ctx context.Context, name string) (fi os.FileInfo, err error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	err = s.do(ctx, func(c *hdfs.Client) error {
		fi, err = stat(c, p)
		return err
	})
	return fi, err
}

// Remove implements store.Writer.
func (s *Store) Remove(ctx context.Context, name string) error {
	p, err := s.path(name)
	if err != nil {
		return err
	}
	err = s.do(ctx, func(c *hdfs.Client) error {
		fi, err := c.Stat(p)
		if err != nil {
			return err
		}
		if fi.IsDir() {
			return fmt.Errorf("remove %s: %w", p, store.ErrNotFile)
		}
		return c.Remove(p)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements store.Writer.
func (s *Store) List(ctx context.Context, dir string) ([]store.Entry, error) {
	found, err := s.readDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	var files []store.Entry
	for _, fi := range found {
		if regular(fi) && !reserved(fi.Name()) {
			files = append(files, store.Entry{Name: fi.Name(), Info: infoOf(fi)})
		}
	}
	slices.SortFunc(files, func(a, b store.Entry) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

func (s *Store) readDir(ctx context.Context, dir string) (found []os.FileInfo, err error) {
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("store %s: %q: %w", s.URL(), dir, fs.ErrInvalid)
	}
	p := path.Join(s.address.Path, dir)
	err = s.do(ctx, func(c *hdfs.Client) error {
		found, err = c.ReadDir(p)
		return err
	})
	return found, err
}

// Chmod implements store.Writer.
func (s *Store) Chmod(ctx context.Context, name string, mode fs.FileMode) error {
	p, err := s.path(name)
	if err != nil {
		return err
	}
	return s.do(ctx, func(c *hdfs.Client) error {
		if _, err := stat(c, p); err != nil {
			return err
		}
		return c.Chmod(p, mode.Perm())
	})
}
