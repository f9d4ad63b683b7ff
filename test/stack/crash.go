package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Crash does to what is of workers on this machine what a crash and a reboot
// would: no process, no mount, no cgroup and an empty run root. The node-agent
// must not run, and the stack be made WithFaults.
func (s *Stack) Crash() error {
	if err := s.killWorkers(); err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.Dir))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range slices.Backward(mounts) {
		if name, _ := strings.CutPrefix(m.Mountpoint, s.Dir+"/"); slices.Contains(Disks, name) && name != "run" {
			continue
		}
		if err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return errors.Join(s.removeCgroups(), s.mountDisk("run"))
}

// killWorkers kills every process in workers' cgroups until there is none.
func (s *Stack) killWorkers() error {
	deadline := time.Now().Add(patience)
	for {
		groups, err := s.CgroupDirs("*")
		if err != nil {
			return err
		}
		killed := 0
		for _, g := range groups {
			content, _ := os.ReadFile(filepath.Join(g, "cgroup.procs")) // it may be a file of the parent, or gone
			for word := range strings.FieldsSeq(string(content)) {
				pid, err := strconv.Atoi(word)
				if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
			}
		}
		if killed == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("processes of workers survive SIGKILL")
		}
		<-time.After(pollInterval)
	}
}

// StartAgentWithoutLoopDevices starts the node-agent where the kernel has no
// loop device for it: in a mount namespace whose /dev/loop-control is another
// device. It can mount nothing, since nobody else would see that.
func (s *Stack) StartAgentWithoutLoopDevices() error {
	return s.startAgent("unshare", "--mount", "sh", "-c", `mount --bind /dev/null /dev/loop-control && exec "$@"`, "sh")
}

// LoseRecord deletes what the agent, which must not run, knows of a worker.
func (s *Stack) LoseRecord(w *api.StormWorker) error {
	return os.Remove(s.Path("run", "workers", w.ContainerID(), "record.json"))
}
