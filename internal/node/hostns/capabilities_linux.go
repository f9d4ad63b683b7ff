package hostns

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilities are those that a node-agent and the programs that it starts
// need. A privileged pod has all; kubelet gives no choice between that and the
// devices that mounts need.
var capabilities = map[int]string{
	unix.CAP_CHOWN:           "files of workers belong to their users",
	unix.CAP_DAC_OVERRIDE:    "directories of workers are theirs alone",
	unix.CAP_DAC_READ_SEARCH: "the same, to read and count what is in them",
	unix.CAP_FOWNER:          "modes of files that belong to workers",
	unix.CAP_FSETID:          "the set-group-ID bit of a topology's directory",
	unix.CAP_KILL:            "signals to workers, who are other users",
	unix.CAP_MKNOD:           "loop devices beyond those that are there, a worker's /dev",
	unix.CAP_NET_ADMIN:       "with cgroup v2, rules for devices are a program that older kernels ask this for",
	unix.CAP_SETGID:          "runc becomes the worker's user",
	unix.CAP_SETPCAP:         "runc takes capabilities away from workers",
	unix.CAP_SETUID:          "runc becomes the worker's user",
	unix.CAP_SYS_ADMIN:       "mounts, loop devices, name spaces",
	unix.CAP_SYS_CHROOT:      "entering a name space of mounts, pivot_root",
	unix.CAP_SYS_PTRACE:      "looking at processes of other users below /proc",
	unix.CAP_SYS_RESOURCE:    "limits above the pod's, a worker's score for the OOM killer",
}

// reduceCapabilities takes all others from the calling thread: at once from
// what it can give, and from what it has when it next starts a program.
func reduceCapabilities() error {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return fmt.Errorf("find the kernel's capabilities: %w", err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("find the kernel's capabilities: %w", err)
	}
	for c := 0; c <= last; c++ {
		if _, needed := capabilities[c]; needed {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	// Those that can be inherited would come back.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop inheritable capabilities: %w", err)
	}
	return nil
}
