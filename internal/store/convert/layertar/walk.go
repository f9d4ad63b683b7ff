package layertar

import (
	"fmt"
	"strings"
)

// maxSymlinks is how many symbolic links one name may lead through, as in the
// kernel.
const maxSymlinks = 40

// walker is on its way from the root of a layer to a directory of it. It
// follows the layer's own symbolic links as a process would that has the
// layer as its root directory.
type walker struct {
	// admit is called before a missing directory is made; nil makes none.
	admit func(path string) error
	stack []*directory // from the root to where the walker stands
	names []string     // the names of stack[1:]
	links int
}

// walk finds the directory at path, which is clean and relative to root, and
// its path without symbolic links, "" for the root. Where admit is nil, a
// directory that is not there is nil.
func walk(root *directory, path string, admit func(path string) error) (*directory, string, error) {
	w := walker{admit: admit, stack: []*directory{root}}
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		target, err := w.step(rest[0])
		if err != nil || len(w.stack) == 0 {
			return nil, "", err
		}
		rest = rest[1:]
		if target != "" {
			rest = append(strings.Split(target, "/"), rest...)
		}
	}
	return w.stack[len(w.stack)-1], strings.Join(w.names, "/"), nil
}

// step enters the directory part. If part is a symbolic link, it returns the
// link's target, to be walked from where the walker then stands. An empty
// stack tells that part is not there.
func (w *walker) step(part string) (target string, err error) {
	switch part {
	case "", ".":
		return "", nil
	case "..": // only symbolic links have it; the root is its own parent
		if n := len(w.names); n > 0 {
			w.stack, w.names = w.stack[:n], w.names[:n-1]
		}
		return "", nil
	}
	child, ok := w.stack[len(w.stack)-1].children[part]
	switch {
	case !ok && w.admit == nil:
		w.stack = nil
		return "", nil
	case !ok:
		return "", w.makeDir(part)
	case child.dir != nil:
		w.stack, w.names = append(w.stack, child.dir), append(w.names, part)
		return "", nil
	case child.inode.kind == kindSymlink:
		return child.inode.target, w.follow(child.inode.target)
	default:
		return "", fmt.Errorf("%w: %q of its path is not a directory", ErrMalformed, part)
	}
}

func (w *walker) follow(target string) error {
	if w.links++; w.links > maxSymlinks {
		return fmt.Errorf("%w: its path leads through more than %d symbolic links", ErrMalformed, maxSymlinks)
	}
	if strings.HasPrefix(target, "/") {
		w.stack, w.names = w.stack[:1], nil
	}
	return nil
}

// makeDir makes and enters a directory that has no entry of its own (yet). Its
// name may come from a symbolic link's target, which nothing has checked.
func (w *walker) makeDir(part string) error {
	path := join(strings.Join(w.names, "/"), part)
	if strings.HasPrefix(part, whiteoutPrefix) {
		return fmt.Errorf("%w: the whiteout %q cannot hold files", ErrMalformed, path)
	}
	if _, err := cleanName(path); err != nil {
		return err
	}
	if err := w.admit(path); err != nil {
		return err
	}
	made := &directory{attr: impliedDir}
	w.stack[len(w.stack)-1].set(part, node{dir: made})
	w.stack, w.names = append(w.stack, made), append(w.names, part)
	return nil
}

// join appends a name to a path; "" is the path of the root.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
