// Package hostns takes a program out of the pod that it was started in. The program
// continues in the machine's own name spaces, where what it mounts and starts outlives
// the pod, and still reaches the pod's configuration and secrets.
package hostns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Pod is the pod that a program has left. The nil Pod is none.
type Pod struct {
	root int
}

// Path is where a file of the pod is, by its absolute path there. Do not
// resolve the links of it: they say what the path means in the pod, not here.
func (p *Pod) Path(path string) string {
	if p == nil || path == "" {
		return path
	}
	return fmt.Sprintf("/proc/self/fd/%d%s", p.root, path)
}

// handover has the file descriptors by which a program that has left its pod
// reaches it: that of the pod's root directory, and that of its name space of
// mounts, without which the kernel would undo the mounts below that root.
const handover = "STORMCELL_POD"

// namespaces are those of the machine that the program enters, beside the ones
// that the pod's spec gives it (hostPID, hostNetwork). What it starts has no
// others: a worker sees the host's network and gets its own of the rest.
var namespaces = []struct {
	name string
	kind int
}{
	{"uts", unix.CLONE_NEWUTS},
	{"ipc", unix.CLONE_NEWIPC},
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"mnt", unix.CLONE_NEWNS}, // the last, by which openNamespaces judges
}

// Leave takes the calling program out of its pod. It executes the program again, with
// the same arguments in the same process; when that calls Leave, Leave returns the pod
// that the program has left. So Leave must be called before anything else. The program
// keeps only the capabilities that capabilities lists.
func Leave() (*Pod, error) {
	if fds := os.Getenv(handover); fds != "" {
		return takeOver(fds)
	}
	machine, err := openMachine()
	if err != nil {
		return nil, err
	}
	// Never unlocked: the thread's name spaces are not the process's until it
	// is the only thread.
	runtime.LockOSThread()
	if err := leave(machine); err != nil {
		return nil, fmt.Errorf("leave the pod: %w", err)
	}
	return nil, errors.New("leave the pod: exec returned")
}

// takeOver is what is left to do in the program that was started anew.
func takeOver(fds string) (*Pod, error) {
	p := new(Pod)
	var mounts int
	if _, err := fmt.Sscanf(fds, "%d,%d", &p.root, &mounts); err != nil {
		return nil, fmt.Errorf("%s=%q is reserved for this program: do not set it", handover, fds)
	}
	// What the program starts gets neither; it would hold the pod's mounts.
	for _, fd := range []int{p.root, mounts} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("descriptor %d of %s: %w", fd, handover, err)
		}
	}
	if err := os.Unsetenv(handover); err != nil {
		return nil, err
	}
	// It was started by a descriptor's number, which says little in ps.
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
	return p, nil
}

// openMachine opens the machine's name spaces, in the order of namespaces: those
// of its first process, or where even root may not look at that, as in some
// virtual machines, of the container runtime's that has started this. If there
// is none, it tells what the pod's spec lacks.
func openMachine() (fds []int, err error) {
	if os.Getpid() == 1 {
		return nil, errors.New("the pod has processes of its own: set hostPID: true in its spec")
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(status), "\nSeccomp:\t0\n") {
		return nil, errors.New("the pod has a filter of system calls, which workers would inherit: set securityContext.privileged: true in its container")
	}
	for pid := 1; ; pid = os.Getppid() {
		fds, err := openNamespaces(pid)
		switch {
		case err == nil:
			return fds, nil
		case errors.Is(err, errOwn):
			return nil, err
		case errors.Is(err, os.ErrNotExist), pid == 1 && os.Getppid() != 1:
			// A parent that ends; the next one is soon there.
		default:
			return nil, fmt.Errorf("the pod may not see the machine's processes: set hostPID: true in its spec and securityContext.privileged: true in its container (%w)", err)
		}
	}
}

// errOwn is a process in the same name space of mounts.
var errOwn = errors.New("this is not a pod: omit --enter-host")

// openNamespaces opens those of a process, unless they are the caller's own.
func openNamespaces(pid int) (fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			fds = nil
		}
	}()
	for _, n := range namespaces {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, n.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fds, fmt.Errorf("open the %s name space of process %d: %w", n.name, pid, err)
		}
		fds = append(fds, fd)
	}
	var theirs, own unix.Stat_t
	if err := errors.Join(unix.Fstat(fds[len(fds)-1], &theirs), unix.Stat("/proc/self/ns/mnt", &own)); err != nil {
		return fds, err
	}
	if theirs.Ino == own.Ino {
		return fds, errOwn
	}
	return fds, nil
}

// leave enters the machine's name spaces with the calling thread and starts the
// program anew.
func leave(machine []int) error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open the root directory: %w", err)
	}
	mounts, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open the name space of mounts: %w", err)
	}
	program, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open this program: %w", err)
	}
	if err := reduceCapabilities(); err != nil {
		return err
	}
	if err := enter(machine); err != nil {
		return err
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d,%d", handover, root, mounts))
	return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program), os.Args, env)
}

// enter moves the calling thread, and its root and working directory.
func enter(machine []int) error {
	// Threads share their root directory, and one that does cannot move.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("part from the other threads: %w", err)
	}
	for i, n := range namespaces {
		if err := unix.Setns(machine[i], n.kind); err != nil {
			return fmt.Errorf("enter the machine's %s name space: %w", n.name, err)
		}
	}
	return unix.Chdir("/")
}
