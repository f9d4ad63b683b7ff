// Package dockerd gives tests and benchmarks a real Docker: Debian's dockerd,
// and a registry on loopback, all below one directory.
package dockerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/test/cluster"
)

// Docker is a dockerd and a registry of hack/docker.sh.
type Docker struct {
	// Dir has its files, and those of the registry.
	Dir string
	// Registry is the registry's address.
	Registry string
}

// Start starts both below dir; the caller calls Stop.
func Start(ctx context.Context, dir string) (*Docker, error) {
	if err := script(ctx, nil, "up", dir); err != nil {
		return nil, err
	}
	address, err := os.ReadFile(filepath.Join(dir, "registry.address"))
	if err != nil {
		return nil, fmt.Errorf("start Docker: %w", err)
	}
	return &Docker{Dir: dir, Registry: strings.TrimSpace(string(address))}, nil
}

// Stop ends both, and deletes all images.
func (d *Docker) Stop(ctx context.Context) error { return script(ctx, nil, "down", d.Dir) }

// Socket is the path of dockerd's socket.
func (d *Docker) Socket() string { return filepath.Join(d.Dir, "docker.sock") }

// End ends dockerd alone; SIGKILL is a crash.
func (d *Docker) End(ctx context.Context, sig unix.Signal) error {
	return script(ctx, []string{"SIGNAL=" + strings.TrimPrefix(unix.SignalName(sig), "SIG")}, "stop", d.Dir)
}

// Resume starts dockerd again, with this daemon.json.
func (d *Docker) Resume(ctx context.Context, config string) error {
	if err := os.WriteFile(filepath.Join(d.Dir, "daemon.json"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("configure dockerd: %w", err)
	}
	return script(ctx, nil, "start", d.Dir)
}

// script runs hack/docker.sh.
func script(ctx context.Context, env []string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "hack/docker.sh"), args...)
	c.Env = append(os.Environ(), env...)
	// The script ends what it has started, if it may.
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("hack/docker.sh %s: %w:\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Run runs Docker's client, with a configuration of its own, and returns what
// it prints.
func (d *Docker) Run(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "docker", "usr", "bin", "docker"),
		append([]string{"--host", "unix://" + d.Socket()}, args...)...)
	c.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(d.Dir, "client"))
	var text bytes.Buffer
	c.Stderr = &text
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %.500s", strings.Join(args, " "), errors.Join(ctx.Err(), err), text.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// Push puts the image of a docker-archive, which has a tag there, into the
// registry, and forgets it on this machine. It returns its name there.
func (d *Docker) Push(ctx context.Context, archive, tag string) (string, error) {
	name := d.Registry + "/" + tag
	for _, args := range [][]string{
		{"load", "--quiet", "--input", archive}, {"tag", tag, name}, {"push", "--quiet", name}, {"rmi", tag, name},
	} {
		if _, err := d.Run(ctx, args...); err != nil {
			return "", err
		}
	}
	return name, nil
}
