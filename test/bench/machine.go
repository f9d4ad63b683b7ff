package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says where figures were measured.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	// Tools are the versions of the programs that take part.
	Tools []string `json:"tools"`
	// Load is the load average of the last minute before the run: a figure
	// from a busy machine is worth little.
	Load string `json:"load"`
}

// String is the machine on one line.
func (m machine) String() string {
	return fmt.Sprintf("machine: %s, %d cores, Linux %s, load %s; %s", m.CPU, m.Cores, m.Kernel, m.Load, strings.Join(m.Tools, "; "))
}

func thisMachine(ctx context.Context) machine {
	m := machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Load: "unknown"}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(load), " ")
	}
	for _, args := range [][]string{{"mksquashfs", "-version"}, {"tar", "--version"}, {"runc", "--version"}} {
		// Some versions of mksquashfs exit with 1 after telling it.
		out, _ := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		if line, _, _ := bytes.Cut(out, []byte("\n")); len(line) > 0 {
			m.Tools = append(m.Tools, string(line))
		}
	}
	return m
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.SplitSeq(string(info), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
