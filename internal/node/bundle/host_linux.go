package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/ocispec"
)

// hostFacts asks the kernel what containers can have here.
func hostFacts(cgroup config.Cgroup) (ocispec.Host, error) {
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
		SwapAccounting:   swapAccounting(cgroup),
		MaxOpenFiles:     files.Max,
		OOMScoreAdj:      score,
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
// version 2 has none of the limits, so any group below it has to tell; where
// there is none yet, the workers' parent is made, as the runtime makes it.
func swapAccounting(cgroup config.Cgroup) bool {
	if exists(filepath.Join(cgroup.Root, "memory", "memory.memsw.limit_in_bytes")) {
		return true
	}
	pattern := filepath.Join(cgroup.Root, "*", "memory.swap.max")
	if groups, err := filepath.Glob(pattern); err == nil && len(groups) > 0 {
		return true
	}
	control := filepath.Join(cgroup.Root, "cgroup.subtree_control")
	if !exists(control) || os.MkdirAll(filepath.Join(cgroup.Root, cgroup.Parent), 0o755) != nil ||
		os.WriteFile(control, []byte("+memory"), 0) != nil {
		return false
	}
	groups, err := filepath.Glob(pattern)
	return err == nil && len(groups) > 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
