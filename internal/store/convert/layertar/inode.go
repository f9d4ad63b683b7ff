package layertar

import (
	"archive/tar"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Limits of attributes: squashfs stores owners in 32 bits, and mksquashfs 4.5
// garbles devices whose numbers are larger than these.
const (
	maxOwner     = math.MaxUint32
	maxMajor     = 1<<12 - 1
	maxMinor     = 1<<19 - 1
	maxXattrName = 255
	maxXattr     = 64 << 10
)

// inode returns the inode that an entry makes, or links to. It is nil for a
// hard link to its own path.
func (rw *rewriter) inode(full string, hdr *tar.Header, a attr) (*inode, error) {
	ino := &inode{kind: hdr.Typeflag, attr: a}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		ino.kind = kindFile
	case tar.TypeSymlink:
		if hdr.Linkname == "" || len(hdr.Linkname) > maxPath || strings.IndexByte(hdr.Linkname, 0) >= 0 {
			return nil, fmt.Errorf("%w: a symbolic link to a name of %d bytes", ErrMalformed, len(hdr.Linkname))
		}
		ino.target = hdr.Linkname
	case tar.TypeLink:
		return rw.link(full, hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		if hdr.Devmajor < 0 || hdr.Devmajor > maxMajor || hdr.Devminor < 0 || hdr.Devminor > maxMinor {
			return nil, fmt.Errorf("%w: device %d:%d, at most %d:%d is possible", ErrUnsupported, hdr.Devmajor, hdr.Devminor, maxMajor, maxMinor)
		}
		ino.major, ino.minor = uint32(hdr.Devmajor), uint32(hdr.Devminor)
	case tar.TypeFifo:
	default:
		return nil, fmt.Errorf("%w: an entry of type %q", ErrUnsupported, hdr.Typeflag)
	}
	return ino, rw.spend(len(ino.target))
}

// link returns the inode that target names by now, or one that is pending.
func (rw *rewriter) link(full, target string) (*inode, error) {
	target, err := cleanName(target)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	if ino, ok := rw.meta[target]; ok {
		return ino, nil
	}
	n, targetPath, err := rw.lookup(target)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	if n.dir != nil {
		return nil, fmt.Errorf("%w: a hard link to the directory %.300q", ErrMalformed, target)
	}
	if n.inode != nil && targetPath == full {
		return nil, nil //nolint:nilnil // it is there already
	}
	if n.inode != nil && n.inode.kind != kindPending {
		return n.inode, nil
	}
	rw.pending = append(rw.pending, full)
	return &inode{kind: kindPending, target: target}, rw.spend(len(target) + len(full))
}

// lookup finds what name is in the layer so far; the zero node is nothing.
func (rw *rewriter) lookup(name string) (node, string, error) {
	if name == "." {
		return node{dir: rw.root}, "", nil
	}
	dir, dirPath, err := walk(rw.root, path.Dir(name), nil)
	if err != nil || dir == nil {
		return node{}, "", err
	}
	return dir.children[path.Base(name)], join(dirPath, path.Base(name)), nil
}

// linkPending gives the hard links that stood before their targets what they
// link to, now that the whole archive is known.
func (rw *rewriter) linkPending() error {
	for _, full := range rw.pending {
		dir, _, err := walk(rw.root, path.Dir(full), nil)
		if err != nil || dir == nil {
			continue // an entry after it took its directory away
		}
		first := dir.children[path.Base(full)].inode
		if first == nil || first.kind != kindPending {
			continue // replaced by a later entry, or done
		}
		ino := first
		for hops := 0; ino != nil && ino.kind == kindPending; hops++ {
			n, _, err := rw.lookup(ino.target)
			if err != nil || hops > len(rw.pending) {
				break
			}
			ino = n.inode
		}
		if ino == nil || ino.kind == kindPending {
			return fmt.Errorf("entry %.300q: %w: a hard link to %.300q, which is no file of this layer", full, ErrMalformed, first.target)
		}
		dir.set(path.Base(full), node{inode: ino})
	}
	return nil
}

// metadata takes in an entry below AUFS's metadata, which is no part of the
// image unless a hard link leads to it.
func (rw *rewriter) metadata(name string, hdr *tar.Header) error {
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
	default:
		return nil
	}
	a, err := rw.attributes(hdr)
	if err != nil {
		return err
	}
	ino := &inode{kind: kindFile, attr: a}
	rw.meta[name] = ino
	if err := rw.budgetFor(name); err != nil {
		return err
	}
	return rw.content(ino, "", hdr)
}

// content writes a file's content under the planned path, or else under full.
// With "" it is passed over.
func (rw *rewriter) content(ino *inode, full string, hdr *tar.Header) error {
	if rw.limits.Content -= hdr.Size; rw.limits.Content < 0 {
		return fmt.Errorf("%w: the contents of its files exceed the limit", ErrTooLarge)
	}
	if planned, ok := rw.plan[len(rw.contents)]; ok {
		full = planned
	}
	rw.contents = append(rw.contents, ino)
	ino.written = full
	if full == "" || rw.muted {
		return nil
	}
	if err := rw.write(header{path: full, kind: kindFile, attr: ino.attr, size: hdr.Size}); err != nil {
		return err
	}
	ino.attr.xattrs = nil // written; a million of them would fill the memory
	n, err := io.CopyBuffer(struct{ io.Writer }{rw.out}, struct{ io.Reader }{rw.in}, rw.copyBuf)
	if err != nil {
		return fmt.Errorf("copy its content: %w", err)
	}
	if n != hdr.Size {
		return fmt.Errorf("%w: its content has %d bytes, its header says %d", ErrMalformed, n, hdr.Size)
	}
	_, err = rw.out.Write(make([]byte, padding(hdr.Size)))
	return err
}

// attributes reads an entry's attributes.
func (rw *rewriter) attributes(hdr *tar.Header) (attr, error) {
	if hdr.Uid < 0 || hdr.Uid > maxOwner || hdr.Gid < 0 || hdr.Gid > maxOwner {
		return attr{}, fmt.Errorf("%w: owner %d:%d, at most %d is possible", ErrUnsupported, hdr.Uid, hdr.Gid, int64(maxOwner))
	}
	a := attr{
		mode:  uint32(hdr.Mode & 0o7777),
		uid:   uint32(hdr.Uid),
		gid:   uint32(hdr.Gid),
		mtime: clampTime(hdr.ModTime.Unix()),
	}
	for key, value := range hdr.PAXRecords {
		x, ok, err := parseXattr(key, value)
		if err != nil {
			return attr{}, err
		}
		if !ok {
			continue
		}
		if !stored(x.name) {
			rw.summary.DroppedXattrs++
			continue
		}
		a.xattrs = append(a.xattrs, x)
		if err := rw.spend(len(x.name) + len(x.value)); err != nil {
			return attr{}, err
		}
	}
	slices.SortFunc(a.xattrs, func(x, y xattr) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(x.value, y.value))
	})
	// The same attribute may stand in both forms.
	a.xattrs = slices.CompactFunc(a.xattrs, func(x, y xattr) bool { return x.name == y.name })
	return a, nil
}

// parseXattr reads the pax record of an extended attribute, in the form of
// star and GNU tar or in that of libarchive (names percent-encoded, values in
// base64 without padding). ok is false for other records.
func parseXattr(key, value string) (x xattr, ok bool, err error) {
	if name, found := strings.CutPrefix(key, xattrRecord); found {
		x = xattr{name, value}
	} else if name, found := strings.CutPrefix(key, "LIBARCHIVE.xattr."); found {
		if x.name, err = url.PathUnescape(name); err != nil {
			return x, false, fmt.Errorf("%w: extended attribute %.64q: %w", ErrMalformed, name, err)
		}
		content, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return x, false, fmt.Errorf("%w: extended attribute %.64q: %w", ErrMalformed, name, err)
		}
		x.value = string(content)
	} else {
		return x, false, nil
	}
	if len(x.name) > maxXattrName || len(x.value) > maxXattr || strings.ContainsAny(x.name, "\x00=") {
		return x, false, fmt.Errorf("%w: extended attribute %.64q of %d bytes", ErrUnsupported, x.name, len(x.value))
	}
	return x, true, nil
}

// stored tells whether an attribute goes into the file system. Squashfs has
// three kinds. Those of overlayfs itself come from markers only: an image that
// brings its own could redirect names or hide layers.
func stored(name string) bool {
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	for _, kind := range []string{"user.", "trusted.", "security."} {
		if strings.HasPrefix(name, kind) && len(name) > len(kind) {
			return true
		}
	}
	return false
}
