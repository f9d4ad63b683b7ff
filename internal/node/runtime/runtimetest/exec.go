package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

func (b *trial) exec(id string, p runtime.Program) error {
	_, err := b.Exec(b.t.Context(), id, p)
	return err
}

// execute runs a program beside the first process, confined as that is.
func execute(b *trial) {
	b.run("forever")
	b.ready()
	info, err := b.Inspect(b.t.Context(), ID)
	b.must(err)
	var out bytes.Buffer
	for range 2 {
		out.Reset()
		code, err := b.Exec(b.t.Context(), ID, runtime.Program{
			Args: []string{"guest", "repeat"}, Stdin: strings.NewReader("text"), Output: &out,
			Started: func(p process.Process) error {
				if d := cmp.Diff(b.confinement(info.Init.PID), b.confinement(p.PID)); d != "" {
					b.t.Errorf("it is not confined as the first process: %s", d)
				}
				members, err := b.Members(info.Cgroup)
				if !members[p.PID] {
					b.t.Errorf("process %d is not in the container's cgroup", p.PID)
				}
				return err
			},
		})
		if err != nil || code != 7 || out.String() != "/bin|text" {
			b.t.Errorf("code %d, %v: %q", code, err, &out)
		}
	}
}

// confinement is what the kernel says of the confinement of a process.
func (b *trial) confinement(pid int) map[string]string {
	b.t.Helper()
	all := map[string]string{}
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		b.must(err)
		all[name] = link
	}
	for _, name := range []string{"limits", "oom_score_adj", "cgroup"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		b.must(err)
		all[name+" file"] = string(text)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	for line := range strings.Lines(string(status)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// executeNothing: no program, one that its caller stops, one that the context ends,
// and none in a container that has ended.
func executeNothing(b *trial) {
	b.run("trap")
	b.ready()
	none := func(process.Process) error { return nil }
	if err := b.exec(ID, runtime.Program{Args: []string{NoProgram}, Stdin: strings.NewReader(""), Output: new(bytes.Buffer), Started: none}); err == nil {
		b.t.Error("a program that the image lacks: no error")
	}
	unwanted := errors.New("unwanted")
	err := b.exec(ID, runtime.Program{
		Args: []string{"guest", "repeat"}, Stdin: strings.NewReader("text"), Output: new(bytes.Buffer),
		Started: func(process.Process) error { return unwanted },
	})
	if !errors.Is(err, unwanted) {
		b.t.Errorf("one that its caller stops: error = %v", err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	_, err = b.Exec(ctx, ID, runtime.Program{
		Args: []string{"guest", "forever"}, Stdin: strings.NewReader(""), Output: new(bytes.Buffer),
		Started: func(process.Process) error { cancel(); return nil },
	})
	if !errors.Is(err, context.Canceled) {
		b.t.Errorf("one that the context ends: error = %v", err)
	}
	b.must(b.Signal(b.t.Context(), ID, syscall.SIGTERM, false))
	b.wants(runtime.Exit{Code: 42})
	if err := b.exec(ID, runtime.Program{Args: []string{"guest", "repeat"}, Started: none}); !errors.Is(err, runtime.ErrNotFound) {
		b.t.Errorf("a container that has ended: error = %v", err)
	}
}
