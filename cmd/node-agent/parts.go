package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/connect/node"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/diskusage"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/metrics"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/prefetch"
	"github.com/stormcell/stormcell/internal/node/preflight"
	"github.com/stormcell/stormcell/internal/node/rootfs"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store/backends"
)

// getent asks the host's own name service; it is part of every libc.
const getent = "/usr/bin/getent"

// userTTL is how long the answer of the host's name service is good for.
const userTTL = 30 * time.Second

// parts are what a node-agent is made of.
type parts struct {
	engine    *engine.Engine
	localizer *localizer.Localizer
	prefetch  *prefetch.Queue
	profiles  *profiles
	presence  *runtime.Presence
	watcher   *config.Watcher
	metrics   *nodeMetrics
	// storage measures what workers take up of the disks.
	storage *diskusage.Watcher
	// connect answers for the workers' logs and use.
	connect *node.Backend
	ports   *ports
	cleanup *cleanup
	runRoot string
}

// changes are where the parts tell of changes.
type changes struct {
	workers  agent.Changes
	profiles agent.ProfileChanges
	prefetch agent.PrefetchChanges
}

// assemble reads the configuration, checks the machine and joins the parts.
// Nothing is changed on the node yet.
func assemble(ctx context.Context, o *options, log *slog.Logger, changes *changes) (*parts, error) {
	c, err := o.configure(log)
	if err != nil {
		return nil, err
	}
	conf, launcher := c.first, c.launcher
	if err := o.bringPrograms(&launcher.Runc, log); err != nil {
		return nil, err
	}
	if err := errors.Join(check(ctx, o, conf, launcher, log), checkProfile(conf.Worker.SeccompProfile, log)); err != nil {
		return nil, err
	}
	store, err := backends.Open(conf.Store.URL, backends.Options{
		HadoopConf: o.pod.Path(backends.HadoopConf(os.Getenv)),
		Keytab:     o.pod.Path(conf.Store.Keytab), Principal: conf.Store.Principal,
	})
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	r := rootfs.New(rootfs.Options{
		RunRoot: conf.Node.RunRoot, LayersDir: filepath.Join(conf.Node.ResourcesDir, "layers"), KeepMounts: conf.Node.LayerMountsToKeep,
	})
	events := metrics.NewEvents()
	l := localizer.New(localizer.Options{
		Store: store, Dir: conf.Node.ResourcesDir, Verify: conf.Store.Verify, MaxBytes: conf.Node.CacheBytes,
		DiskHighPercent: conf.Node.DiskHighPercent, DiskLowPercent: conf.Node.DiskLowPercent,
		Evicted:  r.Reap,
		Observer: events,
	})
	images := &images{Localizer: l, store: store, verify: conf.Store.Verify}
	ahead := prefetch.New(images, changes.prefetch.Add)
	runtimes, err := o.runtimes(c, images, r, log)
	if err != nil {
		return nil, err
	}
	users := hostuser.New(hostuser.Options{
		Getent: getent, TTL: userTTL,
		Policy: hostuser.Policy{MinUserID: launcher.MinUserID, Banned: launcher.BannedUsers, BannedGroups: launcher.BannedGroups},
		Dropped: func(user string, groups []string) {
			log.Info("workers do not have all groups of their user", "user", user, "without", groups, "cause", "banned.groups of worker-launcher.cfg")
		},
	})
	bundles := bundle.New(bundle.Options{
		Config: c.watcher.Current, Group: launcher.Group, Users: users, Runtimes: runtimes,
	})
	e := engine.New(withFaults(engine.Options{
		Runtimes: runtimes, Bundles: bundles,
		RunRoot: conf.Node.RunRoot,
		Changed: changes.workers.Add, Observer: events,
		Log: log,
	}))
	tree := cgroup.New(conf.Cgroup.Root, conf.Cgroup.Parent)
	usage := func(ctx context.Context, uid string) (cgroup.Usage, error) {
		_, info, err := e.Inspect(ctx, uid)
		if err != nil {
			return cgroup.Usage{}, err
		}
		return tree.Usage(info.Cgroup)
	}
	storage := newStorage(e, c, tree, log)
	ports := &ports{holder: holderOf(e, tree), changed: changes.prefetch.Add, log: log}
	return &parts{
		storage: storage, presence: runtime.NewPresence(runtimes, changes.prefetch.Add),
		engine: e, localizer: l, prefetch: ahead, watcher: c.watcher, runRoot: conf.Node.RunRoot,
		ports:    ports,
		cleanup:  &cleanup{bundles, conf.Node, log},
		connect:  &node.Backend{Node: o.nodeName, Engine: e, Usage: usage},
		profiles: newProfiles(e, c, tree),
		metrics:  &nodeMetrics{events, newState(conf, e, usage, storage, l, r, ahead, ports.byUse)},
	}, nil
}

// recover takes over what an earlier agent left, before anything else happens.
func (p *parts) recover(ctx context.Context, log *slog.Logger) error {
	if err := p.localizer.Recover(ctx); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	if err := p.profiles.scripts.Recover(ctx); err != nil {
		log.Error("profiler scripts of an earlier agent may be left", "error", err) // they hinder no worker
	}
	return p.engine.Recover(ctx)
}

// check tells all at once what this machine lacks.
func check(ctx context.Context, o *options, conf *config.Config, launcher *config.Launcher, log *slog.Logger) error {
	warnings, err := preflight.Check(ctx, preflight.Options{
		Runc: launcher.Runc, Conmon: o.conmon, Getent: getent, CgroupRoot: conf.Cgroup.Root, NUMA: len(conf.NUMA) > 0,
		Dirs: append(ocispec.Dirs(conf.Node), conf.Node.ResourcesDir, conf.Node.RunRoot), LogDir: conf.Node.LogDir,
	})
	for _, w := range warnings {
		log.Warn("preflight", "problem", w.What, "cure", w.Cure)
	}
	if err != nil {
		return fmt.Errorf("this machine cannot run workers yet:\n%w", err)
	}
	return nil
}
