package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// depth is how many levels of directories there are: more than a path has room for, or
// a program that deletes them by recursion has descriptors for, and fewer than end a
// worker for its ephemeral storage.
const depth = 2000

// plant fills every directory that it can write to with what a careless program of
// root's would follow, wait for or stumble over at its next launch and its removal.
// Then it ends, to be started again. Its arguments are the directory that its links
// lead to, and the directories.
func plant(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("plant TARGET DIRECTORY..., not %q", args)
	}
	planted := 0
	for round, dir := range args[1:] {
		for i, name := range []string{
			"worker.yaml", ".worker.yaml.stormcell", "worker.pid", "storm-worker-script.sh", ".storm-worker-script.sh.stormcell",
			"tmp", ".tmp.stormcell", "artifacts", "heartbeats", "pids", "resources", "shared_by_topology", "launch.yaml",
			"a\nb", "\xff\xfe", "-rf", " ", string(bytes.Repeat([]byte("x"), 255)),
		} {
			if err := put(filepath.Join(dir, name), args[0], round+i+os.Getpid()); err == nil {
				planted++
			}
		}
		if err := deep(dir); err != nil {
			return err
		}
	}
	// The agent keeps what a worker prints, and shows it.
	garbage := append(bytes.Repeat([]byte{0, 0x1b, ']', 0xff, '\r'}, 1000), bytes.Repeat([]byte("x"), 300_000)...)
	if _, err := os.Stdout.Write(garbage); err != nil {
		return err
	}
	fmt.Printf("\nplanted %d\n", planted)
	return errors.New("starts again")
}

// put puts one kind of thing at path, in the place of what is there.
func put(path, target string, kind int) error {
	away := path + "." + strconv.Itoa(os.Getpid())
	if len(filepath.Base(path)) < 200 {
		_ = os.Rename(path, away) // kept: it is planted, too
	}
	switch kind % 6 {
	case 0:
		return os.Symlink(target, path)
	case 1:
		return os.Symlink(filepath.Join(target, "secret"), path)
	case 2:
		return unix.Mkfifo(path, 0o666)
	case 3:
		if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
			return err
		}
		return os.Chmod(path, 0)
	case 4:
		return unix.Mknod(path, unix.S_IFSOCK|0o666, 0)
	default:
		if err := os.WriteFile(path, bytes.Repeat([]byte("1"), 64<<10), 0o600); err != nil {
			return err
		}
		return os.Chmod(path, 0o4000)
	}
}

// deep makes a path that is longer than the kernel takes in one piece.
func deep(dir string) error {
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for range depth {
		if err := unix.Mkdirat(at, "deep", 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			break // the limit of the worker's inodes
		}
		next, err := unix.Openat(at, "deep", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		unix.Close(at)
		at = next
	}
	return unix.Close(at)
}
