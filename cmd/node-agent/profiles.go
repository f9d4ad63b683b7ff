package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/profile"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// profiles takes profiles of an engine's workers.
type profiles struct {
	engine  *engine.Engine
	config  func() *config.Config
	scripts *profile.Profiler
}

var _ agent.Profiles = (*profiles)(nil)

func newProfiles(e *engine.Engine, c *configuration, tree *cgroup.Tree) *profiles {
	return &profiles{engine: e, config: c.watcher.Current, scripts: profile.New(profile.Options{
		Script:  func() ([]byte, error) { return profilerScript(c.launcher.ProfilerScript) },
		Timeout: func() time.Duration { return c.watcher.Current().Worker.ProfilerTimeout },
		Cgroups: tree,
	})}
}

// maxScript is how long a profiler script may be, in bytes; Storm's has 6,000.
const maxScript = 1 << 20

// profilerScript is the script at path, which must be root's alone, or the
// built-in one for "".
func profilerScript(path string) ([]byte, error) {
	if path == "" {
		return profile.Script, nil
	}
	script, err := config.ReadTrusted(path, maxScript)
	if err != nil {
		return nil, fmt.Errorf("worker.profiler.script.path: %w", err)
	}
	return script, nil
}

// Run implements agent.Profiles.
func (p *profiles) Run(ctx context.Context, uid, verb string) (profile.Result, error) {
	w, info, err := p.engine.Inspect(ctx, uid)
	if errors.Is(err, runtime.ErrNotFound) {
		return profile.Result{}, profile.ErrGone
	}
	if err != nil {
		return profile.Result{}, err
	}
	return p.scripts.Run(ctx, profile.Target{
		Exec: func(ctx context.Context, program runtime.Program) (int, error) {
			return p.engine.Exec(ctx, uid, program)
		},
		ID: w.ContainerID(), Container: info, Artifacts: ocispec.PathsOf(p.config().Node, w).Artifacts,
	}, profile.Verb(verb))
}

// Kill implements agent.Profiles.
func (p *profiles) Kill(ctx context.Context, uid string) error {
	err := p.engine.Kill(ctx, uid)
	if errors.Is(err, runtime.ErrNotFound) {
		return profile.ErrGone
	}
	return err
}
