package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxNamed is how many unknown names one error repeats.
const maxNamed = 10

func validate(p *specs.LinuxSeccomp) error {
	if !slices.Contains(actions(), p.DefaultAction) {
		return fmt.Errorf("unknown defaultAction %q; one of %v", p.DefaultAction, actions())
	}
	// A listener would get file descriptors of the worker's process.
	if p.ListenerPath != "" || p.ListenerMetadata != "" {
		return errors.New("listenerPath is not supported")
	}
	for i, a := range p.Architectures {
		if !slices.Contains(architectures(), a) {
			return fmt.Errorf("architectures[%d]: unknown architecture %q; one of %v", i, a, architectures())
		}
	}
	for i, f := range p.Flags {
		if !slices.Contains(flags(), f) {
			return fmt.Errorf("flags[%d]: unknown flag %q; one of %v", i, f, flags())
		}
	}
	for i, c := range p.Syscalls {
		if len(c.Names) == 0 {
			return fmt.Errorf("syscalls[%d] has no names", i)
		}
		if err := validateRule(c); err != nil {
			return fmt.Errorf("syscalls[%d] (%.40s, …): %w", i, c.Names[0], err)
		}
	}
	return nil
}

func validateRule(c specs.LinuxSyscall) error {
	if !slices.Contains(actions(), c.Action) {
		return fmt.Errorf("unknown action %q; one of %v", c.Action, actions())
	}
	if err := known(c.Names); err != nil {
		return err
	}
	for _, a := range c.Args {
		if a.Index > 5 {
			return fmt.Errorf("no argument %d, they are 0 to 5", a.Index)
		}
		if !slices.Contains(operators(), a.Op) {
			return fmt.Errorf("unknown op %q; one of %v", a.Op, operators())
		}
	}
	return nil
}

// known returns an error that names those of names that no system call has.
func known(names []string) error {
	var unknown []string
	for _, n := range names {
		if _, ok := numbers()[n]; !ok {
			unknown = append(unknown, fmt.Sprintf("%.40q", n))
		}
	}
	if more := len(unknown) - maxNamed; more > 0 {
		unknown = append(unknown[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no system call of Linux is named %s; correct the spelling, or remove it", strings.Join(unknown, ", "))
	}
	return nil
}

// actions are those of the runtime specification, but for SCMP_ACT_NOTIFY,
// which needs a listener.
func actions() []specs.LinuxSeccompAction {
	return []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap,
		specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog,
	}
}

func operators() []specs.LinuxSeccompOperator {
	return []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
}

func architectures() []specs.Arch {
	return []specs.Arch{
		specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
		specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
	}
}

// flags are those of the runtime specification, but for that of listeners.
func flags() []specs.LinuxSeccompFlag {
	return []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}
}
