package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt is one thing that no worker may be able to do. Its error says why it was not.
type attempt struct {
	name string
	try  func() error
}

// probe tries, one after the other, all that a process can ask of the kernel to get
// out of its container or into others. Its arguments are the files that it may read and
// not write. A last argument "stay" keeps it from ending.
func probe(args []string) error {
	n := len(args) - 1
	remain := n >= 0 && args[n] == "stay"
	if remain {
		args = args[:n]
	}
	if attack(everything(args)); remain {
		stay()
	}
	return nil
}

func everything(files []string) []attempt {
	return concat(closedFiles(files), privileges(), namespaces(), otherProcesses(), kernel(), sockets(), leaks())
}

// attack makes attempts and prints what came of each.
func attack(all []attempt) {
	for _, a := range all {
		if err := a.try(); err != nil {
			held("%s: %v", a.name, err)
		} else {
			escaped("%s", a.name)
		}
	}
	fmt.Printf("tried %d\n", len(all))
}

func concat(lists ...[]attempt) (all []attempt) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// closedFiles are those that a worker cannot open for writing: an open changes nothing.
func closedFiles(more []string) (all []attempt) {
	write := append([]string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches", "/proc/sys/fs/binfmt_misc/register", "/proc/irq/0/smp_affinity",
		"/proc/kcore", "/proc/timer_list", "/proc/keys",
		"/dev/mem", "/dev/kmsg", "/dev/port", "/dev/loop-control", "/dev/loop0", "/dev/fuse", "/dev/kvm", "/dev/sda", "/dev/vda",
		"/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
		"/etc/passwd", "/etc/resolv.conf", "/etc/hosts", "/run/docker.sock", "/run/containerd/containerd.sock",
	}, more...)
	for _, pattern := range []string{"cgroup.procs", "*/cgroup.procs", "*/*/cgroup.procs", "*/release_agent", "*/devices.allow", "memory.max", "*/memory.limit_in_bytes"} {
		found, _ := filepath.Glob("/sys/fs/cgroup/" + pattern)
		write = append(write, found...)
	}
	for _, path := range write {
		all = append(all, attempt{"open " + path + " for writing", func() error { return opens(path, unix.O_WRONLY) }})
	}
	for _, path := range []string{"/proc/kcore", "/proc/kmsg", "/dev/mem", "/etc/shadow", "/proc/1/environ/../../../etc/shadow", "/sys/firmware/acpi/tables/DSDT"} {
		all = append(all, attempt{"open " + path + " for reading", func() error { return opens(path, unix.O_RDONLY) }})
	}
	for _, dir := range []string{"/", "/etc", "/usr", "/var", "/proc", "/sys", "/sys/fs/cgroup", "/dev"} {
		all = append(all, attempt{"make a file in " + dir, func() error { return opens(filepath.Join(dir, "hostile"), unix.O_WRONLY|unix.O_CREAT) }})
	}
	return all
}

func opens(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) {
		return errors.New("it is /dev/null")
	}
	return nil
}

// privileges are those that a process could take.
func privileges() []attempt {
	return []attempt{
		{"become root", func() error { return unix.Setresuid(0, 0, 0) }},
		{"get root's group", func() error { return unix.Setresgid(0, 0, 0) }},
		{"leave its groups", func() error { return unix.Setgroups([]int{}) }},
		{"get capabilities", func() error {
			header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
			return unix.Capset(header, &data[0])
		}},
		{"get ambient capabilities", func() error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0)
		}},
		{"be allowed new privileges", func() error {
			if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || n == 1 {
				return errors.Join(errors.New("no_new_privs is set"), err)
			}
			return nil
		}},
		{"be another user to the kernel", func() error { return os.WriteFile("/proc/self/uid_map", []byte("0 0 1"), 0) }},
		{"be spared when memory is short", func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) }},
		{"take the CPU in real time", func() error { return unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1}, 0) }},
		{"run before all others", func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }},
		{"dump cores", func() error {
			return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
		}},
		{"make a device of a disk", func() error { return device(unix.S_IFBLK, unix.Mkdev(8, 0)) }},
		{"make a device of the memory", func() error { return device(unix.S_IFCHR, unix.Mkdev(1, 1)) }},
		{"use the ports of a PC", func() error { return raw(unix.SYS_IOPERM, 0, 1024, 1) }},
	}
}

func device(kind uint32, dev uint64) error {
	path := filepath.Join("/tmp", "device-"+strconv.FormatUint(dev, 10))
	if err := unix.Mknod(path, kind|0o600, int(dev)); err != nil { //nolint:gosec // small
		return err
	}
	return opens(path, unix.O_RDONLY)
}

func raw(call uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall6(call, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// namespaces and mounts.
func namespaces() (all []attempt) {
	for name, flag := range map[string]int{
		"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
		"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP,
	} {
		all = append(all, attempt{"make a namespace: " + name, func() error { return unix.Unshare(flag) }})
	}
	for _, name := range []string{"user", "mnt", "pid", "net"} {
		all = append(all, attempt{"enter the namespace of its first process: " + name, func() error {
			fd, err := unix.Open("/proc/1/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Setns(fd, 0)
		}})
	}
	return append(all,
		attempt{"mount a file system", func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }},
		attempt{"mount proc", func() error { return unix.Mount("proc", "/tmp", "proc", 0, "") }},
		attempt{"mount cgroups", func() error { return unix.Mount("cgroup2", "/tmp", "cgroup2", 0, "") }},
		attempt{"make / writable", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		attempt{"bind a directory", func() error { return unix.Mount("/", "/tmp", "", unix.MS_BIND, "") }},
		attempt{"unmount /proc", func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
		attempt{"unmount /tmp", func() error { return unix.Unmount("/tmp", unix.MNT_DETACH) }},
		attempt{"clone a tree of mounts", func() error {
			_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
			return err
		}},
		attempt{"open a file system", func() error {
			_, err := unix.Fsopen("tmpfs", 0)
			return err
		}},
		attempt{"change its root", func() error { return unix.Chroot("/tmp") }},
		attempt{"swap roots", func() error { return unix.PivotRoot("/tmp", "/tmp") }},
		attempt{"change the host's name", func() error { return unix.Sethostname([]byte("hostile")) }},
		attempt{"open a file by its handle", func() error {
			_, err := unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY)
			return err
		}},
	)
}

// otherProcesses are attempts at processes that are not its own.
func otherProcesses() []attempt {
	local := unix.Iovec{Base: new(byte), Len: 1}
	remote := unix.RemoteIovec{Base: 1 << 12, Len: 1}
	return []attempt{
		{"trace its first process", func() error { return unix.PtraceAttach(1) }},
		{"read another process's memory", func() error {
			_, err := unix.ProcessVMReadv(1, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
			return err
		}},
		{"compare processes", func() error { return raw(unix.SYS_KCMP, 1, uintptr(os.Getpid()), 0) }},
		{"see the host's processes", func() error {
			found, _ := filepath.Glob("/proc/[0-9]*")
			if len(found) < 10 {
				return fmt.Errorf("it sees %d", len(found))
			}
			return nil
		}},
		{"see where its cgroup is", func() error {
			content, err := os.ReadFile("/proc/self/cgroup")
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(content)) {
				// A profile's script has one beside the worker's, which says no more.
				if path := line[strings.LastIndex(line, ":")+1:]; path != "/\n" && !strings.HasPrefix(path, "/../profile-") {
					return nil
				}
			}
			return fmt.Errorf("it is %q", content)
		}},
		{"see the host's shared memory", func() error {
			content, err := os.ReadFile("/proc/sysvipc/shm")
			if n := strings.Count(string(content), "\n"); err != nil || n <= 1 {
				return errors.Join(errors.New("it sees none"), err)
			}
			return nil
		}},
	}
}

// kernel are attempts at the kernel itself. None of them changes anything, even if
// it is allowed: the arguments are such as it refuses.
func kernel() []attempt {
	const bad = ^uintptr(0)
	// refused tells whether the kernel refuses the call, and not its arguments.
	refused := func(call uintptr, args ...uintptr) func() error {
		return func() error {
			err := raw(call, args...)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
				return err
			}
			return nil
		}
	}
	return []attempt{
		{"load a module", refused(unix.SYS_INIT_MODULE, bad, 0, bad)},
		{"load a module of a file", refused(unix.SYS_FINIT_MODULE, bad, bad, 0)},
		{"load another kernel", refused(unix.SYS_KEXEC_LOAD, bad, 0, bad, 0)},
		{"reboot", refused(unix.SYS_REBOOT, bad, bad, bad)},
		{"set the clock", refused(unix.SYS_CLOCK_SETTIME, 0, bad)},
		{"adjust the clock", refused(unix.SYS_CLOCK_ADJTIME, 0, bad)},
		{"swap to a file", refused(unix.SYS_SWAPON, bad, 0)},
		{"account for processes", refused(unix.SYS_ACCT, bad)},
		{"change quotas", refused(unix.SYS_QUOTACTL, 0x800002<<8, bad, 0, bad)},
		{"read the kernel's log", refused(unix.SYS_SYSLOG, 3, bad, 0)},
		{"load a program into the kernel", refused(unix.SYS_BPF, bad, bad, bad)},
		{"count the CPU's events", refused(unix.SYS_PERF_EVENT_OPEN, bad, 0, bad, bad, 0)},
		{"handle page faults", refused(unix.SYS_USERFAULTFD, bad)},
		{"use the kernel's keys", refused(unix.SYS_KEYCTL, bad)},
		{"add a key", refused(unix.SYS_ADD_KEY, bad, bad, bad, 0, bad)},
		{"make a ring of io_uring", refused(unix.SYS_IO_URING_SETUP, 1, bad)},
		{"watch whole file systems", refused(unix.SYS_FANOTIFY_INIT, 0, 0)},
		{"name a file by its handle", refused(unix.SYS_NAME_TO_HANDLE_AT, bad, bad, bad, bad, 0)},
		{"change the local descriptor table", refused(unix.SYS_MODIFY_LDT, 0, bad, 0)},
	}
}

// sockets that are not for workers. The net is the host's.
func sockets() []attempt {
	open := func(domain, kind, protocol int) func() error {
		return func() error {
			fd, err := unix.Socket(domain, kind, protocol)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	return []attempt{
		{"read packets", open(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"write packets", open(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)},
		{"talk to the hypervisor", open(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{"use the kernel's ciphers", open(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{"listen at a port of root's", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}})
		}},
		{"take down an interface", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			request, err := unix.NewIfreq("no-such-if")
			if err != nil {
				return err
			}
			// Root would be told that there is no such interface.
			err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
			if errors.Is(err, unix.EPERM) {
				return err
			}
			return nil
		}},
	}
}

// leaks are what who started it could have left open.
func leaks() []attempt {
	return []attempt{{"have a directory open", func() error {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		for _, fd := range open {
			path := filepath.Join("/proc/self/fd", fd.Name())
			target, _ := os.Readlink(path)
			if strings.HasPrefix(target, "/proc/") { // of this look
				continue
			}
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				return nil
			}
		}
		return fmt.Errorf("of %d descriptors none is one", len(open))
	}}, {"be somewhere else than it was put", func() error {
		var here, there unix.Stat_t
		wd, err := unix.Getwd()
		if err := errors.Join(err, unix.Stat(".", &here), unix.Stat(wd, &there)); err != nil {
			return nil //nolint:nilerr // its directory has no name in its own root: it is outside of it
		}
		if here.Ino != there.Ino || here.Dev != there.Dev {
			return nil
		}
		return syscall.EEXIST
	}}}
}
