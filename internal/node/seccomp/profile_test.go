package seccomp

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/stormcell/stormcell/internal/config"
)

func TestParse(t *testing.T) {
	tests := []struct{ name, content, says string }{
		{"plain", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, ""},
		{"comment lines in front, as Storm's example", "# License\n#\n  # more\n\n{\"defaultAction\":\"SCMP_ACT_ALLOW\"}\n", ""},
		{"comment inside", "{\"defaultAction\":\n# no\n\"SCMP_ACT_ALLOW\"}", "invalid character"},
		{"comments only", "# nothing\n#", "EOF"},
		{"empty", "", "EOF"},
		{"cut off", `{"defaultAction":"SCMP_ACT_ERRNO",`, "unexpected EOF"},
		{"two objects", `{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "follows"},
		{"no default", `{}`, `unknown defaultAction ""`},
		{"unknown action", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"ALLOW"}]}`, `(read, …): unknown action "ALLOW"`},
		{"notify", `{"defaultAction":"SCMP_ACT_NOTIFY"}`, "unknown defaultAction"},
		{"listener", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`, "listenerPath"},
		{"no names", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`, "no names"},
		{"unknown op", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"EQ"}]}]}`, `unknown op "EQ"`},
		{"seventh argument", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}`, "no argument 6"},
		{"unknown call", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["write","opne","sta tx"],"action":"SCMP_ACT_ALLOW"}]}`, `syscalls[1] (write, …): no system call of Linux is named "opne", "sta tx"`},
		{"many unknown calls", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["x` + strings.Repeat(`","x`, 20) + `"],"action":"SCMP_ACT_ALLOW"}]}`, `and 11 more`},
		{"calls of other architectures", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["_llseek","socketcall","set_tls","s390_pci_mmio_read","clone3"],"action":"SCMP_ACT_ALLOW"}]}`, ""},
		{"architectures", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_RISCV64"]}`, ""},
		{"unknown architecture", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","amd64"]}`, `architectures[1]: unknown architecture "amd64"`},
		{"flags", `{"defaultAction":"SCMP_ACT_ERRNO","flags":["SECCOMP_FILTER_FLAG_LOG"]}`, ""},
		{"unknown flag", `{"defaultAction":"SCMP_ACT_ERRNO","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`, `flags[0]: unknown flag`},
		{"docker's dialect", `{"defaultAction":"SCMP_ACT_ERRNO","archMap":[]}`, `unknown field "archMap"`},
		{"too long", strings.Repeat(" ", MaxSize) + "{}", "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.content))
			switch {
			case tt.says == "" && (err != nil || p == nil):
				t.Fatalf("got %v, %v", p, err)
			case tt.says != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says)):
				t.Fatalf("error = %v, want ErrInvalid with %q", err, tt.says)
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: error = %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), path) {
		t.Errorf("bad file: error = %v", err)
	}
}

// storms is Storm's example profile as a file: comment lines, then the object
// that its supervisor put into the example of OCI-support.md.
func storms(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../ocispec/testdata/oci-config.json")
	if err != nil {
		t.Fatal(err)
	}
	var launch struct {
		OCIRuntimeConfig struct {
			Linux struct {
				Seccomp json.RawMessage `json:"seccomp"`
			} `json:"linux"`
		} `json:"ociRuntimeConfig"`
	}
	if err := json.Unmarshal(content, &launch); err != nil {
		t.Fatal(err)
	}
	return append([]byte(strings.Repeat("# License\n", 18)), launch.OCIRuntimeConfig.Linux.Seccomp...)
}

func TestStormsExampleLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, storms(t), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Syscalls) != 7 || len(p.Syscalls[0].Names) != 311 {
		t.Errorf("%d rules, %d names in the first", len(p.Syscalls), len(p.Syscalls[0].Names))
	}
	if w := Warnings(p); len(w) != 1 || !strings.Contains(w[0], "clone3") {
		t.Errorf("warnings %q: no thread can start under it", w)
	}
}

func TestLoadSettings(t *testing.T) {
	if p, err := Load(""); err != nil || p == nil || p.DefaultAction != specs.ActErrno {
		t.Errorf("unset: %v, %v; want the built-in profile", p, err)
	}
	if p, err := Load(config.Unconfined); err != nil || p != nil {
		t.Errorf("unconfined: %v, %v; want none", p, err)
	}
}

// What the built-in profile does with a call, whatever its arguments.
func TestDefaultProfile(t *testing.T) {
	p := Default()
	if len(p.Architectures) != 1 {
		t.Errorf("architectures %v: runc answers ENOSYS to newer calls only if there is one", p.Architectures)
	}
	verdicts := map[string]specs.LinuxSeccompAction{}
	for _, c := range p.Syscalls {
		for _, n := range c.Names {
			if verdicts[n] != "" && len(c.Args) == 0 {
				t.Errorf("%s stands twice", n)
			}
			verdicts[n] = c.Action
		}
	}
	for _, n := range []string{
		"clone", "statx", "rseq", "membarrier", "faccessat2", "openat2", "close_range", "pidfd_open", "pidfd_send_signal",
		"epoll_pwait2", "futex_waitv", "preadv2", "pwritev2", "get_mempolicy", "set_mempolicy", "mbind", "sched_setaffinity",
	} {
		if verdicts[n] != specs.ActAllow {
			t.Errorf("%s is not permitted", n)
		}
	}
	for _, n := range []string{
		"mount", "umount2", "umount", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "mount_setattr",
		"unshare", "setns", "reboot", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "bpf", "keyctl", "add_key",
		"request_key", "userfaultfd", "open_by_handle_at", "perf_event_open", "kexec_load", "init_module", "finit_module", "delete_module",
		"iopl", "ioperm", "swapon", "settimeofday", "clock_settime", "syslog", "quotactl", "fanotify_init", "acct",
	} {
		if v := verdicts[n]; v != "" {
			t.Errorf("%s: %s", n, v)
		}
	}
	if w := Warnings(p); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestWarnings(t *testing.T) {
	rule := func(names, action string) string { return `{"names":[` + names + `],"action":"` + action + `"}` }
	tests := []struct {
		name, profile string
		warns         bool
	}{
		{"permits by default", `{"defaultAction":"SCMP_ACT_ALLOW"}`, false},
		{"refuses by default, no architecture", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + rule(`"read"`, "SCMP_ACT_ALLOW") + `]}`, true},
		{"traced by default, by nobody", `{"defaultAction":"SCMP_ACT_TRACE"}`, false},
		{"kills by default", `{"defaultAction":"SCMP_ACT_KILL_PROCESS"}`, true},
		{"ENOSYS by default", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38}`, false},
		{"with an architecture, old calls only", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[` + rule(`"read","statx"`, "SCMP_ACT_ALLOW") + `]}`, false},
		{"with an architecture, newer calls", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[` + rule(`"read","openat2"`, "SCMP_ACT_ALLOW") + `]}`, true},
		{"allowed", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + rule(`"clone3"`, "SCMP_ACT_ALLOW") + `]}`, false},
		{"refused by name", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + rule(`"clone3"`, "SCMP_ACT_ERRNO") + `]}`, true},
		{"ENOSYS by name", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.profile))
			if err != nil {
				t.Fatal(err)
			}
			if w := Warnings(p); (len(w) > 0) != tt.warns {
				t.Errorf("warnings %q", w)
			}
		})
	}
	if w := Warnings(nil); len(w) != 0 {
		t.Errorf("no filter: %q", w)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# c\n{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"))
	f.Add(DefaultJSON)
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := Parse(content)
		if err != nil {
			return
		}
		if p.DefaultAction == specs.ActNotify {
			t.Fatalf("accepted %q", content)
		}
		Warnings(p)
	})
}
