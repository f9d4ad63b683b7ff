package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// jcmd is what the profiler script runs. It tries all that a worker tries, and what
// the script might have that the worker has not, and writes down what came of it. Its
// arguments are the file for that, and the host's name spaces.
func jcmd(args []string) error {
	if len(args) != 1+len(spaces) {
		return fmt.Errorf("jcmd FILE SPACE..., not %q", args)
	}
	out, err := os.Create(args[0])
	if err != nil {
		return err
	}
	os.Stdout = out
	attack(append(ofTheHost(args[1:]), everything(nil)...))
	return errors.New("no dump")
}

// ofTheHost are attempts to be less confined than the worker.
func ofTheHost(links []string) (all []attempt) {
	for i, name := range spaces {
		all = append(all, attempt{"be in the host's name space " + name, func() error {
			link, err := os.Readlink("/proc/self/ns/" + name)
			if err == nil && link != links[i] {
				err = fmt.Errorf("it is %s", link)
			}
			return err
		}})
	}
	return append(all, attempt{"dump core", func() error {
		var core unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_CORE, &core)
		if err == nil && core.Max <= 1 { // a core is not piped at 1, either
			err = fmt.Errorf("the limit is %d", core.Max)
		}
		return err
	}}, attempt{"be spared when memory is short", func() error {
		worker, err := os.ReadFile("/proc/1/oom_score_adj")
		if own, _ := os.ReadFile("/proc/self/oom_score_adj"); err == nil && bytes.Equal(own, worker) {
			err = fmt.Errorf("the score is the worker's, %s", bytes.TrimSpace(own))
		}
		return err
	}})
}
