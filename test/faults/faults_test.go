//go:build faults

package faults

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stormcell/stormcell/test/stack"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "`NUMBER` that random moments follow from")

// TestFaults runs one scenario after the other on one node. Each leaves workers
// running for the next, so that what it broke shows there at the latest.
func TestFaults(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("run this as root: the node-agent needs it")
	}
	t.Logf("seed %d; -seed repeats the random choices, not the scheduling", *seed)
	s, err := stack.Start(t.Context(), stack.WithFaults())
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{
		T: t, stack: s, ended: true, random: rand.New(rand.NewPCG(*seed, 0)),
		faults: map[string]int{}, findings: map[string]int{},
	}
	defer func() {
		tr.report()
		if t.Failed() {
			tail(s, "node-agent.log")
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(s.BuildHostile(t.Context()), os.Mkdir(tr.canary(), 0o700), os.WriteFile(filepath.Join(tr.canary(), "secret"), []byte("secret"), 0o600)); err != nil {
		t.Fatal(err)
	}
	untouched, err := stack.Look(tr.canary())
	if err != nil {
		t.Fatal(err)
	}
	tr.settle()
	for _, scenario := range []struct {
		name string
		run  func(*trial)
	}{
		{"step boundaries", stepBoundaries},
		{"random kills", randomKills},
		{"programs fail", programsFail},
		{"steps fail", stepsFail},
		{"programs hang", programsHang},
		{"the API server is away", apiAway},
		{"disks are full", disksFull},
		{"files are deleted", filesDeleted},
		{"reboot", reboot},
		{"mounts fail", mountsFail},
	} {
		begun := time.Now()
		ok := t.Run(scenario.name, func(t *testing.T) {
			tr.T = t
			scenario.run(tr)
			tr.settle()
		})
		t.Logf("%s took %v", scenario.name, time.Since(begun).Round(time.Second))
		if !ok {
			break
		}
	}
	tr.T = t
	if !t.Failed() {
		tr.clear()
	}
	if now, err := stack.Look(tr.canary()); err != nil || now != untouched {
		t.Errorf("what workers planted led root to a directory of its own: it was\n%s and is\n%s (%v)", untouched, now, err)
	}
}

// tail prints the end of a daemon's log.
func tail(s *stack.Stack, name string) {
	const most = 16 << 10
	log, _ := os.ReadFile(s.Path(name))
	_, _ = os.Stderr.Write(log[max(0, len(log)-most):])
}
