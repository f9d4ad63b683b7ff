package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// listening is the state of a socket that listens, in /proc/net/tcp.
const listening = "0A"

// Listeners returns the sockets, as links in /proc/<pid>/fd name them, that
// listen on a TCP port in this process's network, on any address.
func Listeners(port int) (sockets map[string]bool, err error) {
	sockets = map[string]bool{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if inode, ok := listener(lines.Text(), port); ok {
				sockets["socket:["+inode+"]"] = true
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
	}
	return sockets, nil
}

// listener returns the inode of the socket of a line of /proc/net/tcp, if it
// listens on port. The fields are sl, local address:port, remote, state, …, of
// which the tenth is the inode.
func listener(line string, port int) (inode string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listening {
		return "", false
	}
	_, local, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(local, 16, 16)
	return fields[9], err == nil && int(n) == port
}

// Has reports whether process pid has one of these open. They are named as the links
// in /proc/<pid>/fd. A process that has ended has none.
func Has(pid int, open map[string]bool) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if target, err := os.Readlink(dir + "/" + e.Name()); err == nil && open[target] {
			return true
		}
	}
	return false
}
