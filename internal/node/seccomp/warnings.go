package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Warnings says, a sentence each, what of a valid profile will surprise.
func Warnings(p *specs.LinuxSeccomp) []string {
	if p == nil || !refusesClone3(p) {
		return nil
	}
	return []string{"the seccomp profile denies clone3 with an error other than ENOSYS, so no program of an image with glibc 2.34 or newer can start a thread, " +
		`and no JVM there can start: add {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} to its syscalls`}
}

// refusesClone3 is true if clone3 fails in another way than with ENOSYS, on
// which alone glibc falls back to clone.
func refusesClone3(p *specs.LinuxSeccomp) bool {
	own := slices.IndexFunc(p.Syscalls, func(c specs.LinuxSyscall) bool {
		return slices.Contains(c.Names, "clone3") && len(c.Args) == 0
	})
	if own >= 0 {
		return refuses(p.Syscalls[own].Action, p.Syscalls[own].ErrnoRet)
	}
	return refuses(p.DefaultAction, p.DefaultErrnoRet) && (len(p.Architectures) == 0 || newest(p) >= clone3)
}

func refuses(action specs.LinuxSeccompAction, errno *uint) bool {
	switch action {
	case specs.ActAllow, specs.ActLog, specs.ActTrace: // nobody traces a worker, so the kernel says ENOSYS
		return false
	case specs.ActErrno:
		return errno == nil || *errno != uint(unix.ENOSYS)
	default:
		return true
	}
}

// clone3 is its number, the same on every architecture that counts.
const clone3 = 435

// newest is the highest number of the calls that p names. If p has
// architectures, runc answers ENOSYS to all that are higher.
func newest(p *specs.LinuxSeccomp) int {
	highest := -1
	for _, c := range p.Syscalls {
		for _, n := range c.Names {
			highest = max(highest, numbers()[n])
		}
	}
	return highest
}
