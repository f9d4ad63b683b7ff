package runc

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) *runtimetest.Subject {
		b := newBox(t)
		return &runtimetest.Subject{
			Runtime: b.Runtime, Logs: b.Runtime, Members: b.cgroups.Members,
			Printed: func() string { return b.log(0) },
			Again:   func() runtime.Runtime { return New(b.options) },
			Bundle: func(args []string, l runtimetest.Limits) string {
				b.spec(args, func(s *specs.Spec) {
					if args[0] == runtimetest.NoProgram {
						s.Process.Args = args
					}
					if l.Memory > 0 {
						s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &l.Memory, Swap: &l.Memory}
					}
					if l.Pids > 0 {
						s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &l.Pids}
					}
				})
				return b.bundle
			},
		}
	})
}
