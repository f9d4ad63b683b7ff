// Package bundle creates what a worker's container needs outside of its root file
// system: the directories of Storm's supervisor, with their owners and modes, the
// worker's script, and the runtime bundle. It opens paths that a worker can write to
// name by name, without following links.
package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/seccomp"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/trust"
)

// Users looks up the users of this host that may run workers, and its groups.
type Users interface {
	// Lookup returns an error for a user that may not run workers.
	Lookup(ctx context.Context, name string) (hostuser.User, error)
	// LookupGroup returns a group's id, or hostuser.ErrUnknownGroup.
	LookupGroup(ctx context.Context, name string) (int, error)
}

// Options of a Builder.
type Options struct {
	Users Users
	// Config returns the node's configuration. What is Fixed of it stays.
	Config func() *config.Config
	// Group is storm.worker-launcher.group, which workers' directories are
	// given to, so that Storm's log viewer can read them. Where it is empty,
	// they have the group of their user.
	Group string
	// Runtimes have the form of each runtime's bundles.
	Runtimes runtime.Drivers
}

// Builder makes and removes the directories of workers.
type Builder struct {
	options Options
	// shared guards the directories that workers of one topology share.
	shared sync.Mutex
}

// New returns a builder.
func New(o Options) *Builder { return &Builder{options: o} }

// Prepare makes everything that worker w needs outside of its root file
// system and returns the bundle directory. It can be repeated, also after the
// worker has run: whatever the worker left at a name that Prepare needs is
// replaced. Errors wrap one of this package's, hostuser.ErrRefused,
// hostuser.ErrUnknownGroup, seccomp.ErrInvalid, ocispec.ErrNoZone,
// runtime.ErrUnknown or worker.ErrInvalid where somebody has to act.
func (b *Builder) Prepare(ctx context.Context, w worker.Spec, image *manifest.LocalImage, rootfs string) (string, error) {
	if err := w.Validate(); err != nil {
		return "", err
	}
	driver, err := b.options.Runtimes.Of(w)
	if err != nil {
		return "", err
	}
	u, err := b.options.Users.Lookup(ctx, w.User)
	if err != nil {
		return "", err
	}
	gid, err := b.group(ctx, u)
	if err != nil {
		return "", err
	}
	conf := b.options.Config()
	w.Env = ocispec.Env(conf, w, javaArch())
	text, err := script(w)
	if err != nil {
		return "", err
	}
	in, err := input(conf, w, image, rootfs, u)
	if err != nil {
		return "", err
	}
	if err := checkAccounts(rootfs, mountsOf(in)); err != nil {
		return "", err
	}
	name, content, err := driver.Form(in)
	if err != nil {
		return "", err
	}
	if err := b.makeDirs(w, u, gid, contents{script: text, launch: launchYAML(w, image)}); err != nil {
		return "", err
	}
	if err := trusted(ocispec.Binds(in)); err != nil {
		return "", err
	}
	return b.writeBundle(w, name, content)
}

// input gathers what a container is made of, and checks the node for what it
// refers to.
func input(conf *config.Config, w worker.Spec, image *manifest.LocalImage, rootfs string, u hostuser.User) (ocispec.Input, error) {
	if err := visible(conf); err != nil {
		return ocispec.Input{}, err
	}
	conf, err := presentBinds(conf)
	if err != nil {
		return ocispec.Input{}, err
	}
	host, err := hostFacts(conf.Cgroup)
	if err != nil {
		return ocispec.Input{}, err
	}
	filter, err := seccomp.Load(conf.Worker.SeccompProfile)
	if err != nil {
		return ocispec.Input{}, err
	}
	return ocispec.Input{Worker: w, Image: image.Config, Rootfs: rootfs, User: u, Policy: conf, Host: host, Seccomp: filter}, nil
}

// visible returns ErrHidden for what workers would see below /tmp: the last
// mount of a container is its own /tmp, over all that was there.
func visible(conf *config.Config) error {
	all := []ocispec.Bind{
		{Key: "storm.local.dir", Target: conf.Node.LocalDir},
		{Key: "storm.workers.artifacts.dir", Target: conf.Node.ArtifactsDir},
	}
	for _, d := range append(all, ocispec.HostBinds(conf)...) {
		if strings.HasPrefix(filepath.Clean(d.Target)+"/", "/tmp/") {
			return fmt.Errorf("%w: %s is %s; choose one that is not below /tmp", ErrHidden, d.Key, d.Target)
		}
	}
	return nil
}

// trusted returns ErrUntrusted if others than root could put something else at
// the source of a bind mount: the runtime opens it again, and follows links.
func trusted(binds []ocispec.Bind) error {
	for _, b := range binds {
		// The system's own files; systemd-resolved's lies in a directory of that
		// daemon's. No configuration names them.
		if b.Network {
			continue
		}
		err := trust.Place(b.Source)
		switch {
		case err == nil:
		case errors.Is(err, trust.ErrNotTrusted) && b.Key != "":
			return fmt.Errorf("%w: %s: %w, or take it out of the configuration", ErrUntrusted, b.Key, err)
		case errors.Is(err, trust.ErrNotTrusted):
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		default:
			return err
		}
	}
	return nil
}

// defaultNSCDDir is the default of storm.oci.nscd.dir. Few hosts run nscd
// today, so this one directory may be missing.
const defaultNSCDDir = "/var/run/nscd"

// presentBinds returns the configuration without the default nscd directory if
// that is not there, or ErrBindSourceMissing for any other path.
func presentBinds(conf *config.Config) (*config.Config, error) {
	if conf.Worker.NSCDDir == defaultNSCDDir && !exists(defaultNSCDDir) {
		without := *conf
		without.Worker.NSCDDir = ""
		conf = &without
	}
	for _, bind := range ocispec.HostBinds(conf) {
		if _, err := os.Stat(bind.Source); err != nil {
			if bind.Key == "" {
				return nil, fmt.Errorf("%w: every worker sees the node's %s: %w; create it", ErrBindSourceMissing, bind.Source, err)
			}
			return nil, fmt.Errorf("%w: %s: %w; create it on this node or remove it from the configuration", ErrBindSourceMissing, bind.Key, err)
		}
	}
	return conf, nil
}

// group returns the group of what worker u may write to.
func (b *Builder) group(ctx context.Context, u hostuser.User) (int, error) {
	if b.options.Group == "" {
		return u.GID, nil
	}
	gid, err := b.options.Users.LookupGroup(ctx, b.options.Group)
	if err != nil {
		return 0, fmt.Errorf("storm.worker-launcher.group of worker-launcher.cfg: %w", err)
	}
	return gid, nil
}

func (b *Builder) workerDir(w worker.Spec) string {
	return filepath.Join(b.options.Config().Node.RunRoot, "workers", w.ContainerID())
}

// writeBundle writes what the runtime reads where only root can read and write.
func (b *Builder) writeBundle(w worker.Spec, name string, content any) (string, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", name, err)
	}
	d, err := makeTrusted(filepath.Join(b.workerDir(w), "bundle"), 0o700)
	if err != nil {
		return "", err
	}
	defer d.close()
	return d.path, d.writeFile(name, text, owner{mode: 0o600})
}
