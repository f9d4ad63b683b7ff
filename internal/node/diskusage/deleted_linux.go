package diskusage

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLinks is how many open files and mappings of a worker are looked at. A worker with
// more is over its limit: they would hold up the walks of all others.
const maxLinks = 1 << 20

// open counts the files that processes have open or mapped and that have no name any
// more. A walk of directories does not see these.
func (w *walk) open(pids map[int]bool) error {
	for pid := range pids {
		for _, links := range []string{"fd", "map_files"} {
			if err := w.linked(fmt.Sprintf("/proc/%d/%s", pid, links)); err != nil {
				return err
			}
		}
	}
	return nil
}

// linked counts the deleted files that the links of a directory of /proc lead to. Of a
// process that ends meanwhile, nothing is counted.
func (w *walk) linked(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return nil // ended, or the kernel has no such directory
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(maxMissing)
		if err != nil && !errors.Is(err, io.EOF) || len(names) == 0 {
			return nil // ended
		}
		for _, name := range names {
			if err := w.link(int(dir.Fd()), name); err != nil {
				return err
			}
		}
	}
}

// link counts the file that a link leads to, if it is deleted and on a disk of the worker's.
func (w *walk) link(dir int, name string) error {
	if w.links++; w.links > maxLinks {
		w.report.Note = fmt.Sprintf("its processes have more than %d files open or mapped", maxLinks)
		return errOver
	}
	st, err := stat(dir, name, 0)
	if err != nil {
		return nil //nolint:nilerr // closed meanwhile
	}
	f := file{deviceOf(st), st.Ino}
	if st.Nlink > 0 || !w.devices[f.device] || w.deleted[f] {
		return w.pace.step(w.ctx)
	}
	w.deleted[f] = true
	return w.add(st)
}
