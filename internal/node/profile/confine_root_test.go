package profile

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// spaces are the name spaces of a container that are not the host's. The kernel may
// lack that of cgroups.
var spaces = []string{"cgroup", "ipc", "mnt", "pid", "uts"}

// TestScriptIsConfinedAsTheWorker: by its filter, in all its name spaces, with its
// rights, limits and score; and with a limit on CPU time.
func TestScriptIsConfinedAsTheWorker(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	status := `grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status; ulimit -aH; cat /proc/self/oom_score_adj`
	spaceOf := func(pid string) string {
		var all strings.Builder
		for _, name := range spaces {
			link, err := os.Readlink("/proc/" + pid + "/ns/" + name)
			r.must(err)
			fmt.Fprintln(&all, link)
		}
		return all.String()
	}
	measured := make(chan float64, 1)
	go func() {
		defer close(measured)
		seen := filepath.Join(r.target.Artifacts, "seen")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(r.target.Artifacts, "ready")); err != nil {
				continue
			}
			if usage, err := r.tree.Usage(group(r.target.ID)); err == nil && usage.CPU != nil {
				measured <- usage.CPU.Cores
			}
			_ = os.WriteFile(seen, nil, 0o644)
			return
		}
	}()
	result, err := r.profiler(`
		for name in `+strings.Join(spaces, " ")+`; do readlink /proc/self/ns/$name; done
		`+status+`
		touch `+r.target.Artifacts+`/ready
		until [[ -e `+r.target.Artifacts+`/seen ]]; do sleep 0.05; done`, time.Minute).Run(t.Context(), r.target, Start)
	if err != nil {
		t.Fatal(err, result.Output)
	}
	pid := strconv.Itoa(r.target.Container.Init.PID)
	if want := spaceOf(pid); !strings.HasPrefix(result.Output, want) {
		t.Errorf("name spaces: got %s, want %s", result.Output, want)
	}
	if host := spaceOf("self"); strings.Contains(host, strings.SplitN(result.Output, "\n", 2)[0]) {
		t.Errorf("it is in a name space of the host: %s", result.Output)
	}
	if cores := <-measured; cores != 1 {
		t.Errorf("its limit on CPU time is %v cores, want 1", cores)
	}
	own := r.statusOf(pid)
	for _, line := range append(own, "Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000") {
		if !strings.Contains(result.Output, line+"\n") {
			t.Errorf("it lacks %q of the worker:\n%s", line, result.Output)
		}
	}
	score, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
	r.must(err)
	if !strings.HasSuffix(result.Output, "\n"+strings.TrimSpace(string(score))) || strings.TrimSpace(string(score)) == "0" {
		t.Errorf("the worker's score is %s; of the script:\n%s", score, result.Output)
	}
	if !strings.Contains(result.Output, "core file size              (blocks, -c) 0") {
		t.Errorf("it may dump core:\n%s", result.Output)
	}
}

// statusOf are the lines of a process's status that a script must have too.
func (r *rig) statusOf(pid string) []string {
	r.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/status")
	r.must(err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// TestEnvironmentOfTheBundle: what the worker's process has in its own environment
// chooses no program.
func TestEnvironmentOfTheBundle(t *testing.T) {
	r := newRig(t, "bash", "-c", "JAVA_HOME=/of/the/process PATH=/of/the/process BASH_ENV=/of/the/process LD_PRELOAD=/of/the/process.so exec /usr/bin/sleep 1000")
	r.eventually("the worker has an environment of its own", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.target.Container.Init.PID))
		return err == nil && string(name) == "sleep\n"
	})
	result, err := r.profiler(`echo "$PATH"; /usr/bin/env`, time.Minute).Run(t.Context(), r.target, Start)
	if err != nil || strings.Contains(result.Output, "/of/the/process") || !strings.HasPrefix(result.Output, javaHome(t)+"/bin:/usr/bin:/bin\n") {
		t.Errorf("%v: %s", err, result.Output)
	}
}

// TestFirstLineOfTheScript: it says what runs the script.
func TestFirstLineOfTheScript(t *testing.T) {
	r := newRig(t, "sleep", "1000")
	for first, want := range map[string]string{
		"#!/bin/bash -e\nfalse\necho not reached": "",
		"#!/bin/sh\necho $0 $BASH_VERSION":        "/proc/self/fd/3",
		"echo ${BASH_VERSION:+bash}":              "bash",
	} {
		p := r.profiler("", time.Minute)
		p.options.Script = func() ([]byte, error) { return []byte(first), nil }
		if result, _ := p.Run(t.Context(), r.target, Start); result.Output != want {
			t.Errorf("%q: %q, want %q", first, result.Output, want)
		}
	}
	p := r.profiler("", time.Minute)
	p.options.Script = func() ([]byte, error) { return []byte("#!/no/such/program\n"), nil }
	if result, err := p.Run(t.Context(), r.target, Start); err == nil || !strings.Contains(err.Error(), "exit status 127") || !strings.Contains(result.Output, "/no/such/program") {
		t.Errorf("%v: %s", err, result.Output)
	}
}
