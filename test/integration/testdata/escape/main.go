// escape is a worker that wants out: it tries what the kernel must refuse, and
// leaves behind what root must not fall for. Every line that it prints begins
// with the round, which is counted in its artifacts.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var (
	artifacts = flag.String("artifacts", "", "the worker's `DIR` of artifacts")
	canary    = flag.String("canary", "", "a `DIR` of root's on the host")
	bystander = flag.String("bystander", "", "the `PID` of a process of the host")
	hidden    = flag.String("hidden", "", "`PATHS` of the host that no worker sees, with commas between")
	parent    = flag.String("cgroup", "", "the `GROUP` of all workers")
)

func main() {
	flag.Parse()
	round := 1 + number(filepath.Join(*artifacts, "round"))
	say := func(format string, args ...any) {
		fmt.Printf("round %d: "+format+"\n", append([]any{round}, args...)...)
	}
	must(os.WriteFile(filepath.Join(*artifacts, "round"), []byte(strconv.Itoa(round)), 0o600))
	for name, attempt := range attempts() {
		if err := attempt(); err != nil {
			say("refused: %s: %v", name, err)
		} else {
			say("ESCAPED: %s", name)
		}
	}
	say("uid %d, tmp is empty: %v", os.Getuid(), empty("/tmp"))
	if round == 3 {
		// What takes long to delete, and must not take the agent's memory.
		fill()
		say("stays")
		for {
			_ = syscall.Pause()
		}
	}
	for _, path := range names() {
		must(os.RemoveAll(path))
		must(plant(round, path))
	}
	say("planted")
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(2)
	}
}

func number(file string) int {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(content))
	must(err)
	return n
}

func empty(dir string) bool {
	entries, err := os.ReadDir(dir)
	must(err)
	return len(entries) == 0
}

// attempts are what the kernel must refuse. One that succeeds returns nil.
func attempts() map[string]func() error {
	all := map[string]func() error{
		"mount a file system":        func() error { return syscall.Mount("none", "/tmp", "tmpfs", 0, "") },
		"bind the root elsewhere":    func() error { return syscall.Mount("/", "/tmp", "", syscall.MS_BIND, "") },
		"make the root writable":     func() error { return syscall.Mount("", "/", "", syscall.MS_REMOUNT, "") },
		"unmount what hides a path":  func() error { return syscall.Unmount("/proc/kcore", 0) },
		"a namespace of its own":     func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) },
		"be root":                    func() error { return syscall.Setuid(0) },
		"give a file to root":        func() error { return os.Chown(filepath.Join(*artifacts, "round"), 0, 0) },
		"make a device":              func() error { return syscall.Mknod("/tmp/mem", syscall.S_IFCHR|0o666, 1<<8|1) },
		"hard link to a host's file": func() error { return os.Link("/etc/hostname", "/tmp/hostname") },
		"write to the root":          func() error { return os.WriteFile("/planted", nil, 0o600) },
		"signal the host":            func() error { return syscall.Kill(number32(*bystander), 0) },
		"see the host's cgroups":     func() error { return anyOf(filepath.Glob("/sys/fs/cgroup/*" + *parent)) },
		"see all its cgroups":        func() error { return anyOf(filepath.Glob("/sys/fs/cgroup" + *parent)) },
		"write to a cgroup":          writeBelow("/sys/fs/cgroup"),
		"write to /proc/sys":         writeBelow("/proc/sys/kernel"),
		"write to /sys":              writeBelow("/sys/kernel"),
		"open a disk":                func() error { return anyOf(filepath.Glob("/dev/[lsv]*[0-9a-d]")) },
	}
	for _, file := range []string{"/proc/sysrq-trigger", "/proc/kcore", "/etc/hosts", "/dev/mem", "/dev/kmsg"} {
		all["write to "+file] = func() error { return open(file) }
	}
	for path := range strings.SplitSeq(*hidden, ",") {
		all["see "+path] = func() error {
			_, err := os.Lstat(path)
			return err
		}
	}
	return all
}

func number32(s string) int {
	n, err := strconv.Atoi(s)
	must(err)
	return n
}

func open(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err
}

// anyOf is nil if there is one.
func anyOf(found []string, err error) error {
	if err == nil && len(found) == 0 {
		err = fs.ErrNotExist
	}
	return err
}

// writeBelow opens every file below dir for writing, until one can be.
func writeBelow(dir string) func() error {
	return func() error {
		opened := errors.New("none can be opened")
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && open(path) == nil {
				opened = nil
				return fs.SkipAll
			}
			return nil
		})
		return errors.Join(err, opened)
	}
}

// names are those at which root writes in a worker's directories, now or in
// Storm, and those that its worker-launcher read there.
func names() []string {
	worker, err := os.Getwd()
	must(err)
	container := filepath.Base(*artifacts) + "-" + filepath.Base(worker)
	var all []string
	for _, name := range []string{
		"storm-worker-script.sh", ".storm-worker-script.sh.stormcell", "tmp", "heartbeats", "pids", "artifacts", "resources",
		"config.json", "oci-config.json", "bundle", "record.json",
	} {
		all = append(all, filepath.Join(worker, name))
	}
	for _, name := range []string{
		"worker.yaml", ".worker.yaml.stormcell", "worker.pid", "container-" + container + ".pid",
		"runc-" + container + ".out", "runc-" + container + ".err", "runc-" + container + ".yaml", ".runc-" + container + ".yaml.stormcell",
	} {
		all = append(all, filepath.Join(*artifacts, name))
	}
	return all
}

// plant puts at path what a round is about.
func plant(round int, path string) error {
	if round == 2 {
		return syscall.Mkfifo(path, 0o666)
	}
	switch name := filepath.Base(path); {
	case strings.HasSuffix(name, ".pid") || name == "pids":
		return os.WriteFile(path, []byte(*bystander), 0o666)
	case strings.HasSuffix(name, ".json"):
		return os.WriteFile(path, []byte(`{"ociVersion":"1.0.0","process":{"user":{"uid":0,"gid":0},"args":["id"],"cwd":"/"},"root":{"path":"/"}}`), 0o666)
	case name == "tmp" || name == "heartbeats" || name == "artifacts" || name == "bundle":
		return os.Symlink(*canary, path)
	default:
		return os.Symlink(filepath.Join(*canary, "file"), path)
	}
}

// fill plants a last link in the artifacts, which stay, and makes a directory
// of 100,000 names, a file of a tebibyte with nothing in it, and a tree that is
// deeper than the limits on paths and open files.
func fill() {
	for i := range 100_000 {
		must(os.WriteFile("tmp/"+strconv.Itoa(i), nil, 0o600))
	}
	must(os.WriteFile("huge", nil, 0o600))
	must(os.Truncate("huge", 1<<40))
	must(os.Symlink(*canary, "heartbeats/link"))
	must(os.Remove(filepath.Join(*artifacts, "worker.yaml")))
	must(os.Symlink(filepath.Join(*canary, "file"), filepath.Join(*artifacts, "worker.yaml")))
	must(os.WriteFile("pids/"+*bystander, nil, 0o600))
	name := string(bytes.Repeat([]byte("d"), 200))
	for range 2000 {
		must(os.Mkdir(name, 0o700))
		must(os.Chdir(name))
	}
	must(os.WriteFile("bottom", nil, 0o400))
	must(os.Chmod(".", 0o500))
}
