package seccomp

import (
	_ "embed"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultJSON is the built-in profile, as a file for people to copy and change.
// It permits what Docker's permits to programs without capabilities, for 64-bit
// programs of x86 and ARM, but for
//   - ptrace, process_vm_readv, process_vm_writev, name_to_handle_at, which reach
//     into other processes and under mounts,
//   - sockets of other families than unix, inet, inet6 and netlink: workers are in
//     the host's network, where vsock leads to the hypervisor,
//   - adjtimex, clock_adjtime, fanotify_mark, memfd_secret, modify_ldt and calls
//     that are obsolete,
//
// and permits the NUMA calls, which a JVM uses. clone3 has its flags in memory
// where a filter cannot see them; it is said not to exist (ENOSYS), upon which
// glibc takes clone. So is io_uring, for programs that can do without.
//
//go:embed default.json
var DefaultJSON []byte

// Default returns the built-in profile for the architecture of this host. With an
// architecture in it, runc lets calls that are newer than every call that it
// names fail with ENOSYS and not with EPERM, so that libraries fall back.
func Default() *specs.LinuxSeccomp {
	p, err := Parse(DefaultJSON)
	if err != nil {
		panic(err) // it is part of the program
	}
	own := map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}[runtime.GOARCH]
	p.Architectures = slices.DeleteFunc(p.Architectures, func(a specs.Arch) bool { return a != own })
	return p
}
