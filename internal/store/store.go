// Package store reads and writes image stores: a folder tree of squashfs
// layers, image configs, manifests and a tag file, in the layout of Storm's
// docker-to-squash.py (see package manifest for the names). The packages below
// this one know where the tree is.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Errors that callers distinguish. Backends wrap these and fs.ErrNotExist,
// fs.ErrPermission and fs.ErrExist.
var (
	// ErrTooLarge is a file above the size limit that the caller gave.
	ErrTooLarge = errors.New("larger than its limit")
	// ErrUnavailable is a store that cannot be reached or whose root is not
	// there: nothing can be said about what it holds.
	ErrUnavailable = errors.New("image store is unavailable")
	// ErrNoRoot is an ErrUnavailable: the store's root is known not to exist.
	ErrNoRoot = fmt.Errorf("%w: its root does not exist", ErrUnavailable)
	// ErrNotFile is a folder, a device or the like where a file is expected.
	ErrNotFile = errors.New("not a regular file")
	// ErrLost is a file with a part that the store has lost or cannot read now: it
	// has no readable copy.
	ErrLost = errors.New("lost in the image store")
	// ErrChanged is a conditional write that lost against another writer.
	ErrChanged = errors.New("changed by another writer")
)

// Info describes one file of a store.
type Info struct {
	Size    int64
	ModTime time.Time
	Mode    fs.FileMode
}

// Entry is a file in a folder of a store. Name is that in the folder.
type Entry struct {
	Name string
	Info
}

// File is an open file of a store. Ranges of it may be read in parallel. A read that
// continues where an earlier one ended costs least.
type File interface {
	io.ReaderAt
	io.Closer
	// Size is the length in bytes at the time of opening.
	Size() int64
}

// Reader reads a store. Names are slash-separated and relative to its root;
// a name that is not local (fs.ValidPath) is refused with fs.ErrInvalid, and
// anything but a file with ErrNotFile. Every method returns soon after ctx
// ends. Methods may be called side by side.
//
// What another try at once would cure, such as a fail-over, is the backend's
// to try again: ErrUnavailable and ErrLost will last for a while.
type Reader interface {
	// URL is the store's address, for messages.
	URL() string
	// ReadFile returns a whole file of at most limit bytes, or an error that
	// wraps ErrTooLarge, fs.ErrNotExist, fs.ErrPermission or ErrUnavailable.
	ReadFile(ctx context.Context, name string, limit int64) ([]byte, error)
	// Stat describes a file.
	Stat(ctx context.Context, name string) (Info, error)
	// Open opens a file; the caller closes it. Reads stop when ctx ends.
	Open(ctx context.Context, name string) (File, error)
}

// Writer also writes a store.
type Writer interface {
	Reader
	// Bootstrap makes the root and the folders of a store and an empty tag
	// file, where they are not there yet. Nothing above the root is changed
	// but for missing folders that are made.
	Bootstrap(ctx context.Context) error
	// Create begins a new file that takes its name, whole and synced, only at
	// Commit. A file of that name is replaced.
	Create(ctx context.Context, name string, opts CreateOptions) (Upload, error)
	// Replace writes a small file if it still has the content that the caller
	// read (nil: if it does not exist), else it fails with ErrChanged.
	Replace(ctx context.Context, name string, old, content []byte, opts CreateOptions) error
	// Remove deletes a file; one that is not there is no error. Folders are
	// never removed.
	Remove(ctx context.Context, name string) error
	// List describes the files in a folder, sorted by name, without its
	// sub-folders and without what the backend itself keeps there, such as
	// uploads under way. A file that vanishes meanwhile may be left out.
	List(ctx context.Context, dir string) ([]Entry, error)
	// Chmod sets the permission bits of a file.
	Chmod(ctx context.Context, name string, mode fs.FileMode) error
}

// CreateOptions says how a new file is kept.
type CreateOptions struct {
	// Mode is the file's permission bits; 0 means 0444, as the original sets.
	Mode fs.FileMode
	// Replication is the number of copies in a distributed store; 0 means the
	// store's default. Directories ignore it.
	Replication int
}

// Upload is a file being written. After a failed Write the caller calls Abort;
// a Commit would fail.
type Upload interface {
	io.Writer
	// Commit syncs the file and gives it its name.
	Commit() error
	// Abort drops the file. After Commit it does nothing.
	Abort()
}
