// Package profile profiles the Java processes of workers: a script runs in a worker's
// container, confined as the worker is. The script comes from the node, is watched from
// the node, and has its own cgroup.
//
//	agent ──> runtime's exec ──> bash, in the container: waits until it is in its cgroup ──exec──> script
package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Errors of a profile. Their texts say more.
var (
	// ErrGone is a worker that has ended before or meanwhile.
	ErrGone = errors.New("the worker has ended")
	// ErrForeign is a process that is not in its container's cgroup.
	ErrForeign = errors.New("process does not belong to the container")
	// ErrScript is a script that failed, or did not do what it was asked for.
	ErrScript = errors.New("the profiler script failed")
	// ErrTimeout is a script that took longer than Options.Timeout.
	ErrTimeout = errors.New("the profiler script took too long and was killed")
)

// Verb is what the script is asked to do, in the words of Storm's flight.bash.
type Verb string

// The verbs. Start alone writes no file.
const (
	JStack Verb = "jstack"
	JMap   Verb = "jmap"
	Start  Verb = "start"
	Dump   Verb = "dump"
	Stop   Verb = "stop"
)

// killLimit is how long the processes of a script may take to end.
const killLimit = 10 * time.Second

// Options of a Profiler.
type Options struct {
	// Script returns what runs in the containers, such as Script.
	Script func() ([]byte, error)
	// Timeout returns how long a script may run.
	Timeout func() time.Duration
	Cgroups *cgroup.Tree
}

// Profiler runs scripts in workers. Calls for one worker may not run side by side.
type Profiler struct{ options Options }

// New returns a profiler.
func New(o Options) *Profiler { return &Profiler{o} }

// Target is a worker that runs.
type Target struct {
	// ID is the container's.
	ID        string
	Container runtime.Info
	// Exec runs programs in the container, as runtime.Runtime does.
	Exec func(context.Context, runtime.Program) (code int, err error)
	// Artifacts is the worker's artifacts directory, on the node and in the
	// container alike. Only its parents are the node's alone.
	Artifacts string
}

// Result is what a script has left.
type Result struct {
	// Output is the end of what it has printed, in printable UTF-8.
	Output string
	// Files are the paths of what it has written.
	Files []string
}

// Run has the script do one thing to the worker's Java process, and returns when
// all its processes have ended. The result is also good for what there is if it
// failed.
func (p *Profiler) Run(ctx context.Context, t Target, verb Verb) (Result, error) {
	art, err := openArtifacts(t.Artifacts)
	if err != nil {
		return Result{}, err
	}
	defer art.close()
	before, err := art.recordings()
	if err != nil {
		return Result{}, err
	}
	args := []string{art.javaPID(), string(verb)}
	if verb != Start {
		args = append(args, t.Artifacts)
	}
	output, err := p.run(ctx, t, args)
	after, listErr := art.recordings()
	result := Result{Output: output, Files: after.since(before, t.Artifacts)}
	if err == nil {
		err = listErr
	}
	if err == nil && verb != Start && len(result.Files) == 0 {
		err = fmt.Errorf("%w: it succeeded but wrote nothing to %s", ErrScript, t.Artifacts)
	}
	return result, err
}

// notFound is the exit code of a shell that finds no program.
const notFound = 127

// groupPrefix begins the names of the cgroups of scripts.
const groupPrefix = "profile-"

func group(id string) string { return groupPrefix + id }

// run runs the script and returns what it printed last.
func (p *Profiler) run(ctx context.Context, t Target, args []string) (output string, err error) {
	limit := p.options.Timeout()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w (after %s, see stormcell.profiler.timeout.secs)", ErrTimeout, limit))
	defer cancel()
	init, err := p.hold(t.Container)
	if err != nil {
		return "", err
	}
	defer init.Close()
	script, err := p.options.Script()
	if err != nil {
		return "", err
	}
	if err := p.sweep(ctx, group(t.ID)); err != nil { // one that was stuck when its agent ended
		return "", err
	}
	defer func() { err = errors.Join(err, p.sweep(context.WithoutCancel(ctx), group(t.ID))) }()
	out := new(tail)
	code, err := t.Exec(ctx, runtime.Program{
		Args: words(script, args), Stdin: io.MultiReader(strings.NewReader("\n"), bytes.NewReader(script)), Output: out,
		Started: func(script process.Process) error { return p.confine(ctx, t, script) },
	})
	switch {
	case err == nil && code == 0:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case init.Ending():
		err = fmt.Errorf("%w while it was profiled", ErrGone)
	case err != nil:
	case code == notFound:
		err = fmt.Errorf("%w: exit status %d; the image may lack a program, such as that of the script's first line", ErrScript, code)
	default:
		err = fmt.Errorf("%w: exit status %d", ErrScript, code)
	}
	return out.String(), err
}

// sweep ends all processes of a script and removes its cgroup.
func (p *Profiler) sweep(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	if err := p.options.Cgroups.Kill(ctx, group); err != nil {
		return err
	}
	return p.options.Cgroups.Remove(ctx, group)
}

// Recover ends what scripts of an earlier agent have left.
func (p *Profiler) Recover(ctx context.Context) error {
	groups, err := p.options.Cgroups.Groups(groupPrefix)
	for _, g := range groups {
		err = errors.Join(err, p.sweep(ctx, g))
	}
	if err != nil {
		return fmt.Errorf("end profiler scripts of an earlier agent: %w", err)
	}
	return nil
}
