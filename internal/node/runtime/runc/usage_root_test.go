package runc_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/ocispec"
)

// stormsMetrics does in a worker what org.apache.storm.metrics2.cgroup does: the
// path is the third field of the first line of /proc/self/cgroup, for every
// subsystem; the directory is that below storm.cgroup.hierarchy.dir if it exists,
// and else below storm.oci.cgroup.root. Only what is mounted as "cgroup" counts.
// It prints what it reads, or why it reads nothing, waits, and ends.
const stormsMetrics = `
	printf -v ballast '%*s' 33554432 ''
	for ((i = 0; i < 50000; i++)); do :; done
	IFS=: read -r _ _ path < /proc/self/cgroup
	directory() {
		local mounted= name at type options
		while read -r _ at type options _; do
			[[ $type != cgroup || ,$options, != *,$1,* ]] || mounted=yes
		done < /proc/mounts
		while read -r name _; do [[ $name != "$1" ]] || named=yes; done < /proc/cgroups
		[[ $named && $mounted ]] || return
		for at in /cgroup/storm_resources$path /cgroup/storm_resources/$1$path /sys/fs/cgroup/$1$path; do
			[[ ! -d $at ]] || { echo "$at"; return; }
		done
	}
	tell() {
		local at=$(directory "$1")
		[[ $at ]] || { echo "disabled $1"; return; }
		shift
		for file in "$@"; do
			while read -r line; do echo "$file $line"; done < "$at/$file"
		done
	}
	{
		tell memory memory.usage_in_bytes memory.limit_in_bytes
		tell cpuacct cpuacct.stat
		tell cpu cpu.cfs_quota_us cpu.cfs_period_us cpu.stat
		for file in memory.current memory.max cpu.max cpu.stat; do
			[[ ! -e /sys/fs/cgroup$path$file ]] || while read -r line; do echo "$file $line"; done < /sys/fs/cgroup$path$file
		done
	} > /tmp/said
	read -r _ < /tmp/go`

// TestWorkersOwnMetrics compares what Storm's metrics read in a worker with
// what the node reads of its cgroup.
func TestWorkersOwnMetrics(t *testing.T) {
	c := newCell(t, stormsMetrics, func(c *cell) {
		c.spec.CPUMillis, c.spec.MemoryBytes, c.conf.Worker.EnforceMemory = 200, 256<<20, true
	})
	said, usage := c.inAndOut()
	t.Logf("inside:\n%s\noutside: memory %+v, CPU %+v, pids %d", said, *usage.Memory, *usage.CPU, *usage.Pids)
	files, user, system := map[string]string{
		"memory": "memory.usage_in_bytes ", "limit": "memory.limit_in_bytes 268435456", "user": "cpuacct.stat user ", "system": "cpuacct.stat system ",
		"quota": "cpu.cfs_quota_us 20000", "period": "cpu.cfs_period_us 100000", "throttled": "cpu.stat throttled_time ",
	}, 10*time.Millisecond, 10*time.Millisecond
	throttled := time.Nanosecond
	if unified() {
		// Storm knows of version 1 only; the files are in sight all the same.
		for _, subsystem := range []string{"memory", "cpuacct", "cpu"} {
			if !strings.Contains(said, "disabled "+subsystem+"\n") {
				t.Errorf("Storm's metrics of %s are not disabled", subsystem)
			}
		}
		files = map[string]string{
			"memory": "memory.current ", "limit": "memory.max 268435456", "user": "cpu.stat user_usec ", "system": "cpu.stat system_usec ",
			"quota": "cpu.max 20000 100000", "throttled": "cpu.stat throttled_usec ",
		}
		user, system, throttled = time.Microsecond, time.Microsecond, time.Microsecond
	}
	for what, line := range files {
		if !strings.Contains(said, line) {
			t.Fatalf("no %s inside: no line %q", what, line)
		}
	}
	inside := func(what string) uint64 { return number(t, said, files[what]) }
	const ballast = 32 << 20
	if in, out := inside("memory"), usage.Memory.Usage; in < ballast || out < ballast || in > 2*out || out > 2*in {
		t.Errorf("memory is %d inside and %d outside", in, out)
	}
	if usage.Memory.Limit != 256<<20 || usage.CPU.Cores != 0.2 {
		t.Errorf("limits outside: %d bytes, %v cores", usage.Memory.Limit, usage.CPU.Cores)
	}
	for what, times := range map[string][2]time.Duration{
		"user":      {time.Duration(inside("user")) * user, usage.CPU.User},
		"system":    {time.Duration(inside("system")) * system, usage.CPU.System},
		"throttled": {time.Duration(inside("throttled")) * throttled, usage.CPU.Throttled},
	} {
		// Read one after the other, and the worker waits.
		if in, out := times[0], times[1]; in > out || out > in+time.Second || what != "system" && in == 0 {
			t.Errorf("%s is %v inside and %v outside", what, in, out)
		}
	}
	if usage.CPU.Periods < usage.CPU.ThrottledPeriods || usage.CPU.ThrottledPeriods == 0 || *usage.Pids == 0 {
		t.Errorf("periods %d, throttled %d, pids %d", usage.CPU.Periods, usage.CPU.ThrottledPeriods, *usage.Pids)
	}
}

// inAndOut runs a worker that writes what it sees to a pipe in its /tmp and then
// waits for another, and reads its cgroup meanwhile.
func (c *cell) inAndOut() (said string, usage cgroup.Usage) {
	c.t.Helper()
	if _, err := c.bundles.Prepare(c.t.Context(), c.spec, c.image, c.rootfs); err != nil {
		c.t.Fatal(err)
	}
	tmp := ocispec.PathsOf(c.conf.Node, c.spec).Tmp
	for _, name := range []string{"said", "go"} {
		pipe := filepath.Join(tmp, name)
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Chown(pipe, alice.UID, alice.GID); err != nil {
			c.t.Fatal(err)
		}
	}
	c.start()
	content, err := os.ReadFile(filepath.Join(tmp, "said"))
	if err != nil {
		c.t.Fatal(err)
	}
	usage, err = cgroup.New("/sys/fs/cgroup", c.parent).Usage(c.spec.ContainerID())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "go"), []byte("\n"), 0); err != nil {
		c.t.Fatal(err)
	}
	if exit, err := c.runtime.Wait(c.t.Context(), c.spec.ContainerID()); err != nil || exit.Code != 0 {
		c.t.Fatalf("%+v, %v", exit, err)
	}
	return string(content), usage
}

// number returns what follows a line's beginning.
func number(t *testing.T, text, beginning string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(text, beginning)
	word, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", beginning, err)
	}
	return n
}
