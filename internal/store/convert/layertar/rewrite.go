// Package layertar rewrites the tar archive of an image layer into one that
// mksquashfs turns into a lower directory of overlayfs.
//
// The result is the same as when an image tool unpacks the layer into an empty
// directory, but only the tree of names is kept in memory. The contents of files pass
// through in their order. Everything without content (directories, links, devices,
// whiteouts) follows at the end, when the whole layer is known. So the order of entries
// does not matter: a later entry of a name replaces an earlier one, a hard link may
// precede its target, and a whiteout marker may be anywhere.
//
// One case needs two passes: a content has passed through, and a later entry replaces
// its name. Then Rewrite returns a Plan, and a second pass with it writes the right
// archive. Usual images never need it.
package layertar

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
)

// Limits bound what a hostile layer can make of a small archive.
type Limits struct {
	// Content is the sum of the sizes of files, in bytes. It bounds sparse
	// files, which hold far more than their archive.
	Content int64
	// Headers is the number of bytes of memory that names and attributes may
	// take.
	Headers int64
}

// nodeCost is about what one name takes in memory besides its bytes.
const nodeCost = 256

// Plan is for a second pass: the path under which to write a content, by its number
// in the archive, if it is not its own path; "" omits the content.
type Plan map[int]string

// Summary is what a layer holds after rewriting.
type Summary struct {
	// Inodes is the number of distinct files and directories, the root included.
	Inodes uint32
	// RootMode, and RootMtime in seconds since 1970, are those of the layer's
	// root directory, which mksquashfs does not take from the archive.
	RootMode, RootMtime uint32
	// DroppedXattrs counts the extended attributes that were left out: kinds
	// that squashfs does not store, and those that steer overlayfs.
	DroppedXattrs int
	// Found is true if the layer has a non-empty entry for the sought file.
	Found bool
}

// Rewrite reads the layer archive r up to its end mark and writes the archive
// for mksquashfs to w. If it returns a Plan that is not nil, the caller discards
// what was written and starts again with that Plan; the first pass has a nil one. It
// also looks for the file sought, a path, if that is not empty. Errors wrap one of this package's, or come from r and w.
func Rewrite(w io.Writer, r io.Reader, limits Limits, plan Plan, sought string) (Summary, Plan, error) {
	rw := &rewriter{
		in:     tar.NewReader(r),
		out:    bufio.NewWriterSize(w, 1<<20),
		limits: limits,
		plan:   plan,
		sought: sought,
		root:   &directory{attr: impliedDir},
		meta:   map[string]*inode{},
	}
	if err := rw.readAll(); err != nil {
		return Summary{}, nil, err
	}
	if err := rw.linkPending(); err != nil {
		return Summary{}, nil, err
	}
	next := rw.nextPlan()
	switch {
	case plan == nil && (rw.muted || len(next) > 0):
		return Summary{}, next, nil
	case len(next) > 0:
		return Summary{}, nil, fmt.Errorf("%w: its two readings differ", ErrMalformed)
	}
	if err := rw.writeTree(rw.root, ""); err != nil {
		return Summary{}, nil, err
	}
	_, err := rw.out.Write(make([]byte, 2*blockSize))
	if err = errors.Join(err, rw.out.Flush()); err != nil {
		return Summary{}, nil, fmt.Errorf("write: %w", err)
	}
	rw.summary.RootMode, rw.summary.RootMtime = rw.root.attr.mode, rw.root.attr.mtime
	return rw.summary, nil, nil
}

// rewriter is one pass over an archive.
type rewriter struct {
	in     *tar.Reader
	out    *bufio.Writer
	limits Limits
	plan   Plan
	sought string

	root *directory
	// meta are the files among AUFS's metadata, by name: hard links of the
	// image may lead to them.
	meta map[string]*inode
	// contents are the files of the archive that have content, in its order.
	contents []*inode
	pending  []string // paths of hard links that wait for their targets
	// muted is set once the output is known to be of no use.
	muted   bool
	summary Summary
	buf     []byte // of header
	copyBuf []byte
}

func (rw *rewriter) readAll() error {
	rw.copyBuf = make([]byte, 256<<10)
	for {
		hdr, err := rw.in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
			return fmt.Errorf("%w: not a tar archive, or a damaged one: %w", ErrMalformed, err)
		case err != nil:
			return fmt.Errorf("read the next entry: %w", err)
		}
		if err := rw.entry(hdr); err != nil {
			return fmt.Errorf("entry %.300q: %w", hdr.Name, err)
		}
	}
}

// entry takes in one entry of the archive.
func (rw *rewriter) entry(hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader || hdr.Typeflag == 'V' {
		return nil // comments of git and of GNU tar
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	rw.summary.Found = rw.summary.Found || isSought(hdr, name, rw.sought)
	if isMetadata(name) && path.Base(name) != opaqueMarker {
		return rw.metadata(name, hdr)
	}
	if name == "." {
		return rw.rootEntry(hdr)
	}
	dir, dirPath, err := walk(rw.root, path.Dir(name), rw.budgetFor)
	if err != nil {
		return err
	}
	base := path.Base(name)
	full := join(dirPath, base)
	switch {
	case len(full) > maxPath: // by way of symbolic links
		return fmt.Errorf("%w: a name of %d bytes, at most %d are possible", ErrUnsupported, len(full), maxPath)
	case base == opaqueMarker:
		return rw.opaque(dir)
	case strings.HasPrefix(base, whiteoutPrefix):
		hidden, err := hiddenName(base)
		if err != nil {
			return err
		}
		return rw.whiteout(dir, hidden)
	case hdr.Typeflag == tar.TypeChar && hdr.Devmajor == 0 && hdr.Devminor == 0:
		// Overlayfs's own form of a whiteout.
		rw.remove(dir, base, full)
		return rw.whiteout(dir, base)
	default:
		return rw.place(dir, base, full, hdr)
	}
}

func isSought(hdr *tar.Header, name, sought string) bool {
	return name == sought && hdr.Typeflag == tar.TypeReg && hdr.Size > 0
}

// Contains reports whether the layer archive r has a non-empty entry for the file
// sought, a path. It reads up to the archive's end mark.
func Contains(r io.Reader, sought string) (bool, error) {
	in, found := tar.NewReader(r), false
	for {
		hdr, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
			return false, fmt.Errorf("%w: not a tar archive, or a damaged one: %w", ErrMalformed, err)
		case err != nil:
			return false, fmt.Errorf("read the next entry: %w", err)
		}
		if name, err := cleanName(hdr.Name); err == nil {
			found = found || isSought(hdr, name, sought)
		}
	}
}

func (rw *rewriter) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: it has no name", ErrMalformed)
	}
	a, err := rw.attributes(hdr)
	rw.root.attr = a
	return err
}

// opaque marks a directory that hides the one below it.
func (rw *rewriter) opaque(dir *directory) error {
	if dir == rw.root {
		// Overlayfs stacks all roots, whatever their attributes.
		return fmt.Errorf("%w: it hides everything below this layer, which overlayfs cannot do: build the image again with its layers squashed into one", ErrUnsupported)
	}
	dir.opaque = true
	return nil
}

func (rw *rewriter) whiteout(dir *directory, name string) error {
	dir.hide(name)
	return rw.budgetFor(name)
}

// place puts the file or directory of an entry into dir, in the place of what
// is there under that name.
func (rw *rewriter) place(dir *directory, base, full string, hdr *tar.Header) error {
	a, err := rw.attributes(hdr)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		if old := dir.children[base]; old.dir != nil {
			old.dir.attr = a
			return nil
		}
		rw.remove(dir, base, full)
		dir.set(base, node{dir: &directory{attr: a}})
		return rw.budgetFor(full)
	}
	ino, err := rw.inode(full, hdr, a)
	if err != nil {
		return err
	}
	if old := dir.children[base]; ino == nil || old.inode == ino {
		return nil // a hard link to itself
	}
	rw.remove(dir, base, full)
	dir.set(base, node{inode: ino})
	if err := rw.budgetFor(full); err != nil {
		return err
	}
	if ino.kind == kindFile && hdr.Typeflag != tar.TypeLink {
		return rw.content(ino, full, hdr)
	}
	return nil
}

// remove takes a name out of dir, and everything below it. If in a first pass
// its content has been written under that path, the output is of no use any
// more: mksquashfs keeps the first of two entries with one name. A second pass
// writes each content under a path that it has in the end.
func (rw *rewriter) remove(dir *directory, base, full string) {
	old, ok := dir.children[base]
	if !ok {
		return
	}
	delete(dir.children, base)
	if old.inode != nil {
		rw.muted = rw.muted || (rw.plan == nil && old.inode.written == full)
		return
	}
	for name := range maps.Clone(old.dir.children) {
		rw.remove(old.dir, name, join(full, name))
	}
}

// budgetFor counts the memory that one more name takes.
func (rw *rewriter) budgetFor(name string) error {
	return rw.spend(nodeCost + len(name))
}

func (rw *rewriter) spend(bytes int) error {
	if rw.limits.Headers -= int64(bytes); rw.limits.Headers < 0 {
		return fmt.Errorf("%w: its names and attributes take too much memory", ErrTooLarge)
	}
	return nil
}
