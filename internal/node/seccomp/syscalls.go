package seccomp

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// syscalls is the output of hack/syscalls.sh.
//
//go:embed syscalls.txt
var syscalls string

// numbers has every system call of Linux by its name, on whatever architecture:
// profiles name those of several. The values are the numbers on x86-64, or -1.
var numbers = sync.OnceValue(func() map[string]int {
	found := map[string]int{
		// 32-bit ARM's own, which golang.org/x/sys does not list.
		"breakpoint": -1, "set_tls": -1,
	}
	for line := range strings.Lines(syscalls) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			n = -1
		}
		found[name] = n
	}
	return found
})
