// Package preflight checks, before the agent starts, whether the node has everything
// that containers need, and reports everything that is missing at once.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/node/program"
	"github.com/stormcell/stormcell/internal/trust"
)

// programLimit is how long a program may take to print its version.
const programLimit = 10 * time.Second

// Problem is one thing that is not as it should be on the node.
type Problem struct {
	// What is wrong, and Cure what to do about it.
	What, Cure string
}

func (p Problem) String() string { return p.What + ": " + p.Cure }

// Options of a check; the paths are those that the agent will use.
type Options struct {
	Runc, Conmon string
	// Getent is the name service's program; empty for /usr/bin/getent.
	Getent string
	// CgroupRoot is storm.oci.cgroup.root.
	CgroupRoot string
	// Dirs are the directories that root makes, gives and deletes things in, and
	// LogDir is stormcell.log.dir. They need not be there yet.
	Dirs   []string
	LogDir string
	// NUMA is true if workers are bound to zones (supervisor.numa.meta), which
	// takes one more controller.
	NUMA bool
	// Root is where the host's file system is; empty for "/". Tests set it.
	Root string
	// UID is the effective user id; nil for the process's own. Tests set it.
	UID func() int
}

// Check returns an error that lists a Problem for each thing without which the
// agent cannot work, and as warnings those that it can live with.
func Check(ctx context.Context, o Options) (warnings []Problem, err error) {
	var missing []Problem
	uid := os.Geteuid
	if o.UID != nil {
		uid = o.UID
	}
	if uid() != 0 {
		missing = append(missing, Problem{"the agent does not run as root", "run it as root; it mounts file systems and makes containers"})
	}
	runc, err := inspectRunc(ctx, o.Runc)
	if err != nil {
		missing = append(missing, noProgram("runc", o.Runc, err, ", or set worker.launcher.oci.runc in worker-launcher.cfg to its path"))
	} else {
		warnings = runc.problems()
	}
	if err := runs(ctx, o.Conmon); err != nil {
		missing = append(missing, noProgram("conmon", o.Conmon, err, ""))
	}
	missing = append(missing, getent(o.Getent)...)
	missing = append(missing, kernel(ctx, o.Root)...)
	missing = append(missing, cgroups(o.CgroupRoot, o.NUMA)...)
	missing = append(missing, directories("directories in which root works can be changed by others", o.Dirs...)...)
	warnings = append(warnings, directories("the log directory can be changed by others", o.LogDir)...)
	var errs []error
	for _, p := range missing {
		errs = append(errs, errors.New(p.String()))
	}
	return warnings, errors.Join(errs...)
}

func noProgram(name, path string, err error, otherwise string) Problem {
	return Problem{
		fmt.Sprintf("%s does not run from %s (%v)", name, path, err),
		fmt.Sprintf("apt-get install %s (Debian) or dnf install %s (RHEL)%s", name, name, otherwise),
	}
}

// runs has the program print its version, which is the only proof that it can.
func runs(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = program.Environment()
	cmd.WaitDelay = time.Second
	return cmd.Run()
}

func getent(path string) []Problem {
	if path == "" {
		path = "/usr/bin/getent"
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode()&0o111 != 0 {
		return nil
	}
	return []Problem{{
		"there is no program " + path + ", which looks up users",
		"apt-get install libc-bin (Debian) or dnf install glibc-common (RHEL)",
	}}
}

// directories checks that nobody but root can change what lies in them. For logs
// this is a warning: nothing of them is mounted, and some distributions let the
// group of their syslog daemon write to /var/log.
func directories(what string, dirs ...string) []Problem {
	if err := trust.Directories(dirs...); err != nil {
		return []Problem{{
			fmt.Sprintf("%s (%v)", what, err),
			"run the commands, or choose other directories in storm.yaml; leave the mode of /var/log as it is, if it is among them",
		}}
	}
	return nil
}

// kernel checks for file systems and loop devices.
func kernel(ctx context.Context, root string) []Problem {
	content, err := os.ReadFile(root + "/proc/filesystems")
	if err != nil {
		return []Problem{{err.Error(), "mount /proc"}}
	}
	var found []Problem
	for _, fs := range []struct{ name, cure string }{
		{"squashfs", "modprobe squashfs; where there is no such module: apt-get install linux-image-amd64 (Debian) or dnf install kernel-modules (RHEL), and reboot"},
		{"overlay", "modprobe overlay; where there is no such module, install your distribution's own kernel and reboot"},
	} {
		if !hasFilesystem(string(content), fs.name) && !loadable(ctx, fs.name) {
			found = append(found, Problem{"the kernel has no " + fs.name + " file system", fs.cure})
		}
	}
	var st unix.Stat_t
	err = unix.Stat(root+"/dev/loop-control", &st)
	if (err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR) && !loadable(ctx, "loop") {
		found = append(found, Problem{"there are no loop devices (/dev/loop-control)", "modprobe loop; in a container, mount the host's /dev"})
	}
	return found
}

// hasFilesystem looks for a name in /proc/filesystems: lines of an optional
// word "nodev", a tab and the name.
func hasFilesystem(content, name string) bool {
	for line := range strings.Lines(content) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

// loadable is true if the kernel will load the module when it is used.
func loadable(ctx context.Context, module string) bool {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "modprobe", "--dry-run", "--quiet", module)
	cmd.Env = program.Environment()
	return cmd.Run() == nil
}

// cgroups checks for the controllers whose limits workers get.
func cgroups(root string, numa bool) []Problem {
	const cure = "mount the cgroup file systems, or set storm.oci.cgroup.root to where they are"
	wanted := []string{"cpu", "memory", "pids", "devices"}
	if numa {
		wanted = append(wanted, "cpuset")
	}
	have, err := controllers(root, wanted)
	if err != nil {
		return []Problem{{fmt.Sprintf("no cgroups at %s (%v)", root, err), cure}}
	}
	var missing []string
	for _, name := range wanted {
		if !have[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Problem{{fmt.Sprintf("cgroup controllers %s are not at %s", strings.Join(missing, ", "), root), cure}}
}

// controllers tells which of the wanted ones either version of cgroups has at
// root; version 2 alone has a file there that lists them.
func controllers(root string, wanted []string) (map[string]bool, error) {
	if _, err := os.Stat(root); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	content, err := os.ReadFile(root + "/cgroup.controllers")
	switch {
	case err == nil:
		have["devices"] = true // by a program in the kernel, not by a controller
		for name := range strings.FieldsSeq(string(content)) {
			have[name] = true
		}
		return have, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for _, name := range wanted {
		_, err := os.Stat(root + "/" + name + "/cgroup.procs")
		have[name] = err == nil
	}
	return have, nil
}
