package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/ocispec"
)

// hostFacts asks the kernel what containers can have here.
func hostFacts(cgroupRoot string) (ocispec.Host, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return ocispec.Host{}, fmt.Errorf("host name: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return ocispec.Host{}, fmt.Errorf("limit on open files: %w", err)
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return ocispec.Host{}, err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return ocispec.Host{}, fmt.Errorf("/proc/self/oom_score_adj: %w", err)
	}
	return ocispec.Host{
		Hostname:         hostname,
		CgroupNamespaces: exists("/proc/self/ns/cgroup"),
		SwapAccounting:   swapAccounting(cgroupRoot),
		MaxOpenFiles:     files.Max,
		OOMScoreAdj:      score,
		Arch:             javaArch(),
	}, nil
}

// javaArch is Java's os.arch, which names directories of native code.
func javaArch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return runtime.GOARCH
}

// swapAccounting looks for the file of either version of cgroups. The root of
// version 2 has none of the limits, so any group below it has to tell.
func swapAccounting(cgroupRoot string) bool {
	if exists(filepath.Join(cgroupRoot, "memory", "memory.memsw.limit_in_bytes")) {
		return true
	}
	groups, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "memory.swap.max"))
	return err == nil && len(groups) > 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
