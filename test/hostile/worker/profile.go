package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// spaces are the name spaces that a container has of its own.
var spaces = []string{"cgroup", "ipc", "mnt", "pid", "uts"}

// jvm looks like a JVM, and has a jcmd in its artifacts that breaks out of where it
// runs. Its own environment names that as the only program there is. Its arguments
// are the artifacts, and the host's name spaces.
func jvm(args []string) error {
	if len(args) != 1+len(spaces) {
		return fmt.Errorf("jvm ARTIFACTS SPACE..., not %q", args)
	}
	home := filepath.Join(args[0], "jdk")
	bin := filepath.Join(home, "bin")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Getenv("BASH_ENV") == "" {
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return err
		}
		words := strings.Join(append([]string{self, "jcmd", filepath.Join(args[0], "found")}, args[1:]...), "' '")
		jcmd := filepath.Join(bin, "jcmd")
		if err := os.WriteFile(jcmd, []byte("#!/bin/bash\nexec '"+words+"'\n"), 0o700); err != nil {
			return err
		}
		return unix.Exec(self, os.Args, []string{"JAVA_HOME=" + home, "PATH=" + bin, "BASH_ENV=" + jcmd, "ENV=" + jcmd})
	}
	library, err := os.Create(filepath.Join(args[0], "libjvm.so"))
	if err != nil {
		return err
	}
	if err := library.Truncate(1); err != nil {
		return err
	}
	if _, err := unix.Mmap(int(library.Fd()), 0, 1, unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
		return err
	}
	fmt.Println("ready")
	stay()
	return nil
}

// jcmd is what the profiler script runs. It writes down how far it gets. Its arguments
// are the file for that, and the host's name spaces.
func jcmd(args []string) error {
	if len(args) != 1+len(spaces) {
		return fmt.Errorf("jcmd FILE SPACE..., not %q", args)
	}
	out, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	report := func(what string, err error) {
		if err == nil {
			fmt.Fprintf(out, "ESCAPED: %s\n", what)
		} else {
			fmt.Fprintf(out, "held: %s: %v\n", what, err)
		}
	}
	for i, name := range spaces {
		link, err := os.Readlink("/proc/self/ns/" + name)
		if err == nil && link != args[1+i] {
			err = fmt.Errorf("it is %s", link)
		}
		report("the host's name space "+name, err)
	}
	report("a user name space", unix.Unshare(unix.CLONE_NEWUSER))
	report("a mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	report("ptrace", unix.PtraceAttach(1))
	_, err = unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
	report("the keys of the session", err)
	_, err = unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	report("a socket to the hypervisor", err)
	_, _, errno := unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	report("io_uring", nilIfAllowed(errno))
	var core unix.Rlimit
	if err = unix.Getrlimit(unix.RLIMIT_CORE, &core); err == nil && core.Max == 0 {
		err = errors.New("the limit is 0")
	}
	report("a core dump", err)
	worker, err := os.ReadFile("/proc/1/oom_score_adj")
	if own, _ := os.ReadFile("/proc/self/oom_score_adj"); err == nil && bytes.Equal(own, worker) {
		err = fmt.Errorf("the score is the worker's, %s", bytes.TrimSpace(own))
	}
	report("to be spared when memory is short", err)
	fmt.Fprintln(out, "over")
	return errors.New("no dump")
}

// nilIfAllowed is nil for a call that the kernel has looked at.
func nilIfAllowed(errno syscall.Errno) error {
	if errno == unix.EFAULT {
		return nil
	}
	return errno
}
