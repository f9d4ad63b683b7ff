package runc

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

func TestOOMKillOfAChild(t *testing.T) {
	b := newBox(t)
	b.spec([]string{"feed"}, func(s *specs.Spec) {
		limit := int64(64 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	})
	b.launch()
	if d := cmp.Diff(runtime.Exit{Code: 5, OOMKilled: true}, b.wait()); d != "" {
		t.Error(d)
	}
}

func TestForksBeyondTheLimit(t *testing.T) {
	const limit = 40
	b := newBox(t)
	b.spec([]string{"multiply"}, func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(limit))}
	})
	b.launch()
	// Its code is not told: Go's runtime ends a program that lacks a thread.
	if exit := b.wait(); !exit.PidsLimited || exit.Code == 0 {
		t.Errorf("got %+v", exit)
	}
	if n := strings.Count(b.log(0), "ready"); n == 0 || n >= limit {
		t.Errorf("%d processes were started", n)
	}
}

func TestCreateFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*specs.Spec)
		says   string
	}{
		{"no such program", func(s *specs.Spec) { s.Process.Args = []string{"bash", "x"} }, `the image has no program "bash"`},
		{"no such source", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/no/such", Options: []string{"rbind"}})
		}, "bind mount source /no/such is missing"},
		{"nonsense", func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "time-travel" }, "time-travel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox(t)
			b.spec(nil, tt.change)
			_, err := b.Create(t.Context(), testID, b.bundle, 0)
			if !errors.Is(err, runtime.ErrCreate) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want ErrCreate with %q", err, tt.says)
			}
			if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("left behind %v, %v", list, err)
			}
			b.spec([]string{"exit", "3"}, nil) // nothing is in the way of the next
			b.launch()
			if exit := b.wait(); exit.Code != 3 {
				t.Errorf("then exited with %+v", exit)
			}
		})
	}
}

func TestUnknownContainer(t *testing.T) {
	b := newBox(t)
	if _, err := b.Wait(t.Context(), testID); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Wait: %v", err)
	}
	if err := b.Signal(t.Context(), testID, syscall.SIGTERM, false); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Signal: %v", err)
	}
	for _, id := range []string{"", ".", "..", "../../etc", "6703-x", testID + "/.."} {
		_, createErr := b.Create(t.Context(), id, b.bundle, 0)
		_, waitErr := b.Wait(t.Context(), id)
		for _, err := range []error{
			createErr, waitErr, b.Start(t.Context(), id), b.Delete(t.Context(), id), b.RemoveLogs(id), b.Signal(t.Context(), id, syscall.SIGKILL, true),
		} {
			if !errors.Is(err, runtime.ErrInvalidID) {
				t.Errorf("id %q: error = %v, want ErrInvalidID", id, err)
			}
		}
	}
}
