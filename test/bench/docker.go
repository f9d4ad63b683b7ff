package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/test/dockerd"
)

// docker is the peer.
type docker struct{ *dockerd.Docker }

// startDocker starts it below dir; the caller calls Stop.
func startDocker(ctx context.Context, dir string) (*docker, error) {
	d, err := dockerd.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &docker{d}, nil
}

func (d *docker) pull(ctx context.Context, image string) error {
	_, err := d.Run(ctx, "pull", "--quiet", image)
	return err
}

// start runs the stamp in a container of an image and tells when it was there.
func (d *docker) start(ctx context.Context, image string) (time.Time, error) {
	out, err := d.Run(ctx, append([]string{"run", "--rm", "--network", "host", image}, stamp...)...)
	if err != nil {
		return time.Time{}, err
	}
	return stamped(out)
}

// remove deletes an image and waits until it is gone.
func (d *docker) remove(ctx context.Context, image string) error {
	_, err := d.Run(ctx, "rmi", "--force", image)
	return err
}

// version names Docker, its runtime and its storage driver.
func (d *docker) version(ctx context.Context) (string, error) {
	out, err := d.Run(ctx, "info", "--format", "Docker {{.ServerVersion}}, {{.Driver}}, containerd {{.ContainerdCommit.ID}}")
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
