package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// settleTime is how long the start of an agent takes at most, with all that
	// it finds on its node.
	settleTime = time.Minute
	// garbagePercent is half of Go's default: an agent does little, and has a
	// node's memory from its workers.
	garbagePercent = 50
)

// saveMemory keeps the agent small: it runs on each of a thousand nodes. Once
// it has settled, it lets go of what only its start has needed.
func saveMemory(log logr.Logger) manager.RunnableFunc {
	return func(ctx context.Context) error {
		debug.SetGCPercent(garbagePercent)
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return nil
		}
		debug.FreeOSMemory()
		if err := letGoOfProgram(); err != nil {
			log.Error(err, "the agent takes more memory than it needs")
		}
		return nil
	}
}

// letGoOfProgram unmaps the pages of the program's own file. The start, which
// registers all types of Kubernetes' API, has touched nearly all of them once;
// the few that are needed again come back from the page cache. As long as they
// are mapped, the kernel takes them for used.
func letGoOfProgram() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("release the program's pages: %w", err)
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("release the program's pages: %w", err)
	}
	var errs []error
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		begin, end, ok := readOnlyMapping(lines.Text(), program)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("release the program's pages: madvise: %w", errno))
		}
	}
	return errors.Join(append(errs, lines.Err())...)
}

// readOnlyMapping reads a line of /proc/self/maps and tells where the mapping
// is, if it is one of the program's that nobody can write to: what was written
// to a private mapping would be lost.
func readOnlyMapping(line, program string) (begin, end uintptr, ok bool) {
	var mode, offset, device, inode string
	n, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &begin, &end, &mode, &offset, &device, &inode)
	if n != 6 || err != nil || strings.Contains(mode, "w") || !strings.HasSuffix(line, " "+program) {
		return 0, 0, false
	}
	return begin, end, true
}
