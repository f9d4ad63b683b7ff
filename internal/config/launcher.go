package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/trust"
)

// DefaultLauncherPath is where Storm's worker-launcher.cfg is. Only a file at
// this place may be missing.
const DefaultLauncherPath = "/etc/storm/worker-launcher.cfg"

// LauncherOption changes how LoadLauncher reads.
type LauncherOption func(*launcherLoader)

// InPod leaves out the check of owners and modes, and the resolving of links,
// for a file of a pod that this program has left. A volume of kubelet's is a tree of links in a
// directory that anybody may write to, but that nobody gets to: not from the
// pod, which has no other user, and not from the machine. Who says what is
// mounted there is who runs the pod.
func InPod() LauncherOption {
	return func(l *launcherLoader) {
		l.read = func(path string) ([]byte, error) { return readFile(path, MaxLauncherSize, 0) }
	}
}

// ReadTrusted reads a file of at most limit bytes that root obeys, by the rule
// that LoadLauncher has for its own: else the error wraps trust.ErrNotTrusted.
func ReadTrusted(path string, limit int64) ([]byte, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := trust.File(target); err != nil {
		return nil, err
	}
	// Nobody but root can have put a link here since then.
	return readFile(target, limit, unix.O_NOFOLLOW)
}

type launcherLoader struct {
	// read reads the file.
	read func(path string) ([]byte, error)
}

// LoadLauncher reads the worker-launcher.cfg at path. Root obeys this file, so
// after symbolic links are resolved, the file and every directory above it
// must belong to root and be writable by nobody else; else the error wraps
// trust.ErrNotTrusted and says what to run. A file that breaks the grammar gives an
// error that wraps ErrInvalid. Where DefaultLauncherPath is missing, the
// result is all defaults. notes are as in Load.
func LoadLauncher(path string, opts ...LauncherOption) (conf *Launcher, notes []string, err error) {
	l := launcherLoader{read: func(path string) ([]byte, error) { return ReadTrusted(path, MaxLauncherSize) }}
	for _, o := range opts {
		o(&l)
	}
	content, err := l.read(path)
	if errors.Is(err, fs.ErrNotExist) && path == DefaultLauncherPath {
		return newLauncher(), []string{path + " does not exist: the defaults apply"}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read launcher configuration: %w", err)
	}
	return ParseLauncher(path, content)
}

// newLauncher returns the defaults of the original.
func newLauncher() *Launcher {
	return &Launcher{
		MinUserID:   1000,
		BannedUsers: []string{"bin"},
		BannedGroups: []string{
			"root", "adm", "disk", "docker", "incus-admin", "kmem", "libvirt", "lxd", "shadow", "sudo", "systemd-journal", "wheel",
		},
		Runc:    "/usr/bin/runc",
		Docker:  "/usr/bin/docker",
		Nsenter: "/usr/bin/nsenter",
	}
}

// ParseLauncher reads the content of a worker-launcher.cfg; file names it in
// errors and notes. A line is empty, a comment that begins with '#', or
// key=value with blanks around both ignored; a value may contain '='. Unlike
// the original, which drops the whole file for one bad line, every bad line is
// reported with its number.
func ParseLauncher(file string, content []byte) (conf *Launcher, notes []string, err error) {
	d := launcherDraft{Launcher: newLauncher(), file: file, lines: map[string]int{}}
	if len(content) > MaxLauncherSize {
		d.problem(0, "", "larger than %d bytes", MaxLauncherSize)
		return nil, nil, d.problems.err()
	}
	n := 0
	for line := range strings.Lines(string(content)) {
		n++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			d.readLine(n, line)
		}
	}
	if d.Group == "" {
		d.notes = append(d.notes, file+": storm.worker-launcher.group is not set: workers' files belong to the group of their user")
	}
	if err := d.problems.err(); err != nil {
		return nil, d.notes, err
	}
	return d.Launcher, d.notes, nil
}

// launcherKey is one key of worker-launcher.cfg. read says in words what it
// wants if the value is wrong.
type launcherKey struct {
	name, kind, def, effect string
	read                    func(l *Launcher, value string) (want string)
}

var launcherKeys = []launcherKey{
	{
		"storm.worker-launcher.group", "group name", "the user's own group", "Group of the files of workers. No worker starts while the node does not know it.",
		func(l *Launcher, v string) string {
			l.Group = v
			return unless(accountGrammar.MatchString(v), "the name of a group")
		},
	},
	{
		"min.user.id", "integer", "1000", "The least uid that may run a worker. Root never may.",
		func(l *Launcher, v string) string {
			id, err := strconv.Atoi(v)
			l.MinUserID = id
			return unless(err == nil && id >= 0 && id <= math.MaxInt32, "a uid, such as 1000")
		},
	},
	{
		"banned.users", "comma-separated list", "`bin`", "Users that may not run workers. Root is always one of them.",
		launcherNamesOf("users", func(l *Launcher) *[]string { return &l.BannedUsers }),
	},
	{
		"banned.groups", "comma-separated list",
		"`root`, `adm`, `disk`, `docker`, `incus-admin`, `kmem`, `libvirt`, `lxd`, `shadow`, `sudo`, `systemd-journal`, `wheel`",
		"Groups that no worker has, see [below](#banned-groups). Group 0 is always one of them.",
		launcherNamesOf("groups", func(l *Launcher) *[]string { return &l.BannedGroups }),
	},
	{
		"worker.launcher.oci.runc", "path", "`/usr/bin/runc`", "The runc program.",
		launcherPath(func(l *Launcher) *string { return &l.Runc }),
	},
	{
		keyLauncherRunRoot, "path", "`" + keyRunRoot + "` of storm.yaml", "Where mounts and the records of workers are.",
		launcherPath(func(l *Launcher) *string { return &l.RunRoot }),
	},
	{
		"worker.profiler.script.path", "path", "built in", "The profiler script, on the node: the file and all directories above it must belong to root. The built-in one is what `node-agent profiler-script` prints; see [profiling](profiling.md).",
		launcherPath(func(l *Launcher) *string { return &l.ProfilerScript }),
	},
	{
		"docker.binary", "path", "`/usr/bin/docker`", "Not used: Docker is asked by its Engine API.",
		launcherPath(func(l *Launcher) *string { return &l.Docker }),
	},
	{
		"nsenter.binary", "path", "`/usr/bin/nsenter`", "Not used: the runtime itself runs programs in its containers.",
		launcherPath(func(l *Launcher) *string { return &l.Nsenter }),
	},
}

// accountGrammar is what useradd and groupadd accept, with capitals and dots.
var accountGrammar = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$`)

// launcherNamesOf reads a list of accounts of a kind.
func launcherNamesOf(kind string, field func(*Launcher) *[]string) func(*Launcher, string) string {
	return func(l *Launcher, v string) string {
		*field(l) = nil
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimSpace(name)
			if !accountGrammar.MatchString(name) {
				return "names of " + kind + " with commas between them"
			}
			*field(l) = append(*field(l), name)
		}
		return ""
	}
}

func launcherPath(field func(*Launcher) *string) func(*Launcher, string) string {
	return func(l *Launcher, v string) string {
		*field(l) = filepath.Clean(v)
		return unless(filepath.IsAbs(v) && !strings.ContainsFunc(v, unicode.IsControl), "an absolute path")
	}
}

func unless(ok bool, want string) string {
	if ok {
		return ""
	}
	return want
}

// launcherDraft is a Launcher while it is read.
type launcherDraft struct {
	*Launcher
	file     string
	lines    map[string]int
	problems InvalidError
	notes    []string
}

func (d *launcherDraft) problem(line int, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.file, line, key, fmt.Sprintf(format, args...)})
}

func (d *launcherDraft) readLine(n int, line string) {
	name, value, found := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch first, twice := d.lines[name]; {
	case !found || name == "":
		d.problem(n, "", "%q is not key=value", truncate(line))
		return
	case twice:
		d.problem(n, name, "appears twice, first in line %d: keep one", first)
		return
	case value == "":
		d.problem(n, name, "has no value: remove the line to use the default")
		return
	}
	d.lines[name] = n
	for _, k := range launcherKeys {
		if k.name != name {
			continue
		}
		if want := k.read(d.Launcher, value); want != "" {
			d.problem(n, name, "want %s, have %q", want, truncate(value))
		}
		return
	}
	if len(d.notes) <= maxProblems {
		best, _ := nearest(name, launcherNames())
		d.notes = append(d.notes, Problem{d.file, n, name, "unknown key, ignored: the nearest known one is " + best}.String())
	}
}

func launcherNames() []string {
	all := make([]string, len(launcherKeys))
	for i, k := range launcherKeys {
		all[i] = k.name
	}
	return all
}
