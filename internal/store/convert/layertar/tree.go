package layertar

import "archive/tar"

// Kinds of inodes are tar's type flags, and one of our own.
const (
	kindFile    byte = tar.TypeReg
	kindSymlink byte = tar.TypeSymlink
	kindChar    byte = tar.TypeChar
	// kindPending is a hard link that stands before its target in the archive.
	kindPending byte = 'P'
)

// attr are the attributes that any file has.
type attr struct {
	mode     uint32 // permission, setuid, setgid and sticky bits
	uid, gid uint32
	mtime    uint32 // seconds since 1970
	xattrs   []xattr
}

type xattr struct{ name, value string }

// impliedDir are the attributes of a directory that has no entry of its own.
var impliedDir = attr{mode: 0o755}

// node is a name in a directory: a directory itself, or a link to an inode.
// The other one is nil.
type node struct {
	dir   *directory
	inode *inode
}

// directory is a directory of the layer.
type directory struct {
	attr     attr
	opaque   bool // hides the lower layers' directory of this name
	children map[string]node
	hidden   map[string]struct{} // names of lower layers that whiteouts hide
}

// inode is a file that is not a directory. Several names may link to it.
type inode struct {
	kind         byte
	attr         attr
	target       string // of a symbolic link, or of a pending hard link
	major, minor uint32
	// written is the path under which the output has it, or empty.
	written string
	// final is a path that a file with content has in the end, or empty.
	final string
}

func (d *directory) set(name string, n node) {
	if d.children == nil {
		d.children = map[string]node{}
	}
	d.children[name] = n
}

func (d *directory) hide(name string) {
	if d.hidden == nil {
		d.hidden = map[string]struct{}{}
	}
	d.hidden[name] = struct{}{}
}
