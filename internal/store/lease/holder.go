package lease

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// holder says who holds a lock.
type holder struct {
	// ID tells two locks of one process apart.
	ID string `json:"id"`
	// Renewal counts the writes, so that each changes the file.
	Renewal int    `json:"renewal"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	// Started is when the process began, in clock ticks since the boot, and
	// World the boot and the namespace in which PID has a meaning.
	Started string `json:"started,omitempty"`
	World   string `json:"world,omitempty"`
}

// holderOf reads the lock's file. What cannot be read has no process that
// could be asked for; it expires.
func holderOf(content []byte) holder {
	var h holder
	if json.Unmarshal(content, &h) != nil {
		return holder{}
	}
	return h
}

// String names the holder for people.
func (h holder) String() string {
	return fmt.Sprintf("process %d on %q", h.PID, cmp.Or(h.Host, "unknown host"))
}

// thisProcess is the holder that this process is.
var thisProcess = sync.OnceValue(func() holder {
	h := holder{PID: os.Getpid(), World: world()}
	h.Host, _ = os.Hostname() // it is for messages
	h.Started, _ = started(h.PID)
	return h
})

// world names this boot of this machine and our PID namespace; "" if unknown.
func world() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, err2 := os.Readlink("/proc/self/ns/pid")
	if errors.Join(err, err2) != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace
}

// started reads when a process began.
func started(pid int) (string, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	// The name in parentheses may hold anything; field 22 is the start.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const after = 19
	if len(fields) <= after {
		return "", fmt.Errorf("process %d: %d fields in stat", pid, len(fields))
	}
	return fields[after], nil
}

// dead tells whether the holder is known to have ended: it was a process of
// this very machine and namespace, and there is none of its number and age.
func (h holder) dead() bool {
	me := thisProcess()
	if h.World == "" || h.World != me.World || h.PID <= 0 || h.Started == "" {
		return false
	}
	if errors.Is(unix.Kill(h.PID, 0), syscall.ESRCH) {
		return true
	}
	s, err := started(h.PID)
	return err == nil && s != h.Started
}
