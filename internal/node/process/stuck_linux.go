package process

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stormcell/stormcell/internal/node/smallfile"
)

// Uninterruptible describes the thread of a directory in /proc if it is in
// state D. The end of a pid namespace's first process waits in that state for
// the others, and is not what keeps it.
func Uninterruptible(task string) (text string, ok bool) {
	stat, err := smallfile.Read(filepath.Join(task, "stat"))
	if err != nil {
		return "", false
	}
	before, after, _ := cutLast(string(stat), ")")
	pid, name, _ := strings.Cut(before, " (")
	if !strings.HasPrefix(strings.TrimSpace(after), "D") {
		return "", false
	}
	where, err := smallfile.Read(filepath.Join(task, "wchan"))
	if err != nil || string(where) == "zap_pid_ns_processes" {
		return "", false
	}
	return fmt.Sprintf("pid %s %q in %s", pid, name, where), true
}
