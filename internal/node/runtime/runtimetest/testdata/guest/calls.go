package main

import (
	"fmt"
	"runtime"
	"syscall"
)

// bad is no address, no descriptor and no set of flags.
const bad = ^uintptr(0)

// numbers are x86-64's and ARM's, where those differ.
func number(x86, arm uintptr) uintptr {
	if runtime.GOARCH == "amd64" {
		return x86
	}
	return arm
}

// calls prints how the kernel answers to system calls: whatever it says of the
// arguments shows that it was asked, and not only a filter.
func calls() {
	for _, c := range []struct {
		name   string
		number uintptr
		args   [5]uintptr
	}{
		{"mount", number(165, 40), [5]uintptr{bad, bad, bad, bad, bad}},
		{"umount2", number(166, 39), [5]uintptr{bad, bad}},
		{"pivot_root", number(155, 41), [5]uintptr{bad, bad}},
		{"unshare", number(272, 97), [5]uintptr{bad}},
		{"setns", number(308, 268), [5]uintptr{bad, 0}},
		{"ptrace", number(101, 117), [5]uintptr{bad, 1}},
		{"process_vm_readv", number(310, 270), [5]uintptr{1, bad, 1, bad, 1}},
		{"process_vm_writev", number(311, 271), [5]uintptr{1, bad, 1, bad, 1}},
		{"reboot", number(169, 142), [5]uintptr{bad, bad}},
		{"bpf", number(321, 280), [5]uintptr{bad, bad, bad}},
		{"keyctl", number(250, 219), [5]uintptr{bad}},
		{"userfaultfd", number(323, 282), [5]uintptr{bad}},
		{"open_by_handle_at", number(304, 265), [5]uintptr{bad, bad, bad}},
		{"perf_event_open", number(298, 241), [5]uintptr{bad, bad, bad, bad, bad}},
		{"socket of vsock", number(41, 198), [5]uintptr{40, bad}},
		{"clone into a user namespace", number(56, 220), [5]uintptr{syscall.CLONE_NEWUSER | syscall.CLONE_THREAD}},
		{"setrlimit of core files", number(160, 164), [5]uintptr{4, bad}},
		{"setrlimit of core files, hidden", number(160, 164), [5]uintptr{1<<32 | 4, bad}},
		{"prlimit64 of core files", number(302, 261), [5]uintptr{0, 4, bad, 0}},
		{"prlimit64 of core files, hidden", number(302, 261), [5]uintptr{0, 1<<32 | 4, bad, 0}},

		{"clone3", 435, [5]uintptr{bad, 88}},
		{"io_uring_setup", 425, [5]uintptr{bad, bad}},
		{"a call of the future", 1000, [5]uintptr{}},

		{"setrlimit of open files", number(160, 164), [5]uintptr{7, bad}},
		{"setrlimit of locks", number(160, 164), [5]uintptr{12, bad}},
		{"prlimit64 of open files", number(302, 261), [5]uintptr{0, 7, bad, 0}},
		{"prlimit64 of CPU time", number(302, 261), [5]uintptr{0, 0, bad, 0}},
		{"prlimit64 that asks for core files", number(302, 261), [5]uintptr{0, 4, 0, bad}},
		{"statx", number(332, 291), [5]uintptr{bad, bad, bad, bad, bad}},
		{"rseq", number(334, 293), [5]uintptr{bad, bad, bad, bad}},
		{"membarrier", number(324, 283), [5]uintptr{bad, bad}},
		{"faccessat2", 439, [5]uintptr{bad, bad, 0, 0}},
		{"openat2", 437, [5]uintptr{bad, bad, bad, 24}},
		{"close_range", 436, [5]uintptr{bad, 0, 0}},
		{"pidfd_open", 434, [5]uintptr{bad, bad}},
		{"pidfd_send_signal", 424, [5]uintptr{bad, 0, 0, 0}},
		{"epoll_pwait2", 441, [5]uintptr{bad, bad, bad, bad, 0}},
		{"futex_waitv", 449, [5]uintptr{bad, bad, bad, bad}},
		{"preadv2", number(327, 286), [5]uintptr{bad, bad, bad}},
		{"pwritev2", number(328, 287), [5]uintptr{bad, bad, bad}},
		{"get_mempolicy", number(239, 236), [5]uintptr{bad, bad, bad, bad, bad}},
		{"set_mempolicy", number(238, 237), [5]uintptr{bad, bad, bad}},
	} {
		_, _, errno := syscall.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], 0)
		fmt.Printf("%s: %d\n", c.name, int(errno))
	}
}
