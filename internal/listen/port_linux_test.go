package listen

import (
	"context"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// alone puts this thread, which ends with the test, into a network of its own that
// has so many ports to choose from.
func alone(t *testing.T, ports string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network of its own needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of its own: %v", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0); err != nil {
		t.Skipf("the ports to choose from cannot be set: %v", err)
	}
}

// TestAllPortsAreTaken: a worker that has them all does not keep the agent from
// starting, either.
func TestAllPortsAreTaken(t *testing.T) {
	alone(t, "20000 20003")
	for range 4 {
		listenAt(t, "127.0.0.1:0")
	}
	var told []State
	p := NewPort("127.0.0.1:20000", true, func(_ context.Context, s State) { told = append(told, s) })
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0] != (State{Taken: true}) {
		t.Errorf("it tells %+v", told)
	}
}
