package layertar

import (
	"archive/tar"
	"maps"
	"slices"
)

// opaqueXattr makes overlayfs hide the lower directories of the same name.
var opaqueXattr = xattr{"trusted.overlay.opaque", "y"}

func (rw *rewriter) write(h header) error {
	rw.buf = h.encode(rw.buf[:0])
	_, err := rw.out.Write(rw.buf)
	return err
}

// nextPlan compares where the contents were written with where the whole
// layer has them, and says what a second pass must do otherwise.
func (rw *rewriter) nextPlan() Plan {
	nameContents(rw.root, "")
	next := Plan{}
	for i, ino := range rw.contents {
		if ino.final != ino.written {
			next[i] = ino.final
		}
	}
	return next
}

// nameContents sets the final path of each file with content below dir: the
// one it was written under, or else the first in the order of names.
func nameContents(dir *directory, dirPath string) {
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		full, n := join(dirPath, name), dir.children[name]
		switch {
		case n.dir != nil:
			nameContents(n.dir, full)
		case n.inode.kind == kindFile && (n.inode.final == "" || n.inode.written == full):
			n.inode.final = full
		}
	}
}

// writeTree writes dir and everything below it that has no content.
func (rw *rewriter) writeTree(dir *directory, dirPath string) error {
	rw.summary.Inodes++
	if dir != rw.root {
		if err := rw.write(header{path: dirPath, kind: tar.TypeDir, attr: dir.attributes()}); err != nil {
			return err
		}
	}
	names := slices.Collect(maps.Keys(dir.children))
	for name := range dir.hidden {
		if n, ok := dir.children[name]; !ok {
			names = append(names, name)
		} else if n.dir != nil {
			// Removed and made anew in this layer: what lower layers have in
			// it must not shine through.
			n.dir.opaque = true
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := rw.writeName(join(dirPath, name), dir.children[name]); err != nil {
			return err
		}
	}
	return nil
}

// writeName writes one name of a directory; the zero node is a whiteout.
func (rw *rewriter) writeName(full string, n node) error {
	switch {
	case n.dir != nil:
		return rw.writeTree(n.dir, full)
	case n.inode == nil:
		rw.summary.Inodes++
		return rw.write(header{path: full, kind: kindChar})
	case n.inode.written == full:
		rw.summary.Inodes++
		return nil // with its content
	case n.inode.written != "":
		return rw.write(header{path: full, kind: tar.TypeLink, link: n.inode.written})
	default:
		rw.summary.Inodes++
		ino := n.inode
		ino.written = full
		return rw.write(header{path: full, kind: ino.kind, attr: ino.attr, link: ino.target, major: ino.major, minor: ino.minor})
	}
}

// attributes are the directory's own, with the mark of an opaque one.
func (d *directory) attributes() attr {
	a := d.attr
	if d.opaque {
		a.xattrs = append([]xattr{opaqueXattr}, a.xattrs...)
	}
	return a
}
