package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/test/cluster"
)

// docker is a Docker and a registry of hack/docker.sh.
type docker struct {
	dir      string
	registry string // its address
}

// startDocker starts both below dir; the caller calls stop.
func startDocker(ctx context.Context, dir string) (*docker, error) {
	if err := script(ctx, "hack/docker.sh", "up", dir); err != nil {
		return nil, err
	}
	address, err := os.ReadFile(filepath.Join(dir, "registry.address"))
	if err != nil {
		return nil, fmt.Errorf("start Docker: %w", err)
	}
	return &docker{dir: dir, registry: strings.TrimSpace(string(address))}, nil
}

func (d *docker) stop(ctx context.Context) error {
	return script(ctx, "hack/docker.sh", "down", d.dir)
}

// script runs a script of the repository.
func script(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(cluster.Root(), name), args...)
	// The script ends what it has started, if it may.
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w:\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// run runs the client, with a configuration of its own, and returns its output.
func (d *docker) run(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "docker", "usr", "bin", "docker"),
		append([]string{"--host", "unix://" + filepath.Join(d.dir, "docker.sock")}, args...)...)
	c.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(d.dir, "client"))
	var text bytes.Buffer
	c.Stderr = &text
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %.500s", strings.Join(args, " "), errors.Join(ctx.Err(), err), text.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func (d *docker) pull(ctx context.Context, image string) error {
	_, err := d.run(ctx, "pull", "--quiet", image)
	return err
}

// start runs the stamp in a container of an image and tells when it was there.
func (d *docker) start(ctx context.Context, image string) (time.Time, error) {
	out, err := d.run(ctx, append([]string{"run", "--rm", "--network", "host", image}, stamp...)...)
	if err != nil {
		return time.Time{}, err
	}
	return stamped(out)
}

// remove deletes an image and waits until it is gone.
func (d *docker) remove(ctx context.Context, image string) error {
	_, err := d.run(ctx, "rmi", "--force", image)
	return err
}

// version names Docker, its runtime and its storage driver.
func (d *docker) version(ctx context.Context) (string, error) {
	out, err := d.run(ctx, "info", "--format", "Docker {{.ServerVersion}}, {{.Driver}}, containerd {{.ContainerdCommit.ID}}")
	if err != nil {
		return "", err
	}
	return out, nil
}

// diskUsage is what the files below a directory take on disk, as du tells it:
// a file of several names counts once, and mounts do not count.
func diskUsage(dir string) (int64, error) {
	var top unix.Stat_t
	if err := unix.Lstat(dir, &top); err != nil {
		return 0, fmt.Errorf("disk usage of %s: %w", dir, err)
	}
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Dev != top.Dev {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !seen[st.Ino] {
			seen[st.Ino] = true
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("disk usage of %s: %w", dir, err)
	}
	return total, nil
}

// dropCaches empties the page cache of what is on disk.
func dropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop the page cache: %w", err)
	}
	return nil
}
