package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLauncher(t *testing.T) {
	for _, c := range []struct {
		name, content string
		change        func(*Launcher)
		notes         []string
	}{
		{
			"the documentation's", "storm.worker-launcher.group=storm\nmin.user.id=1000\nworker.profiler.script.path=/usr/share/apache-storm-2.3.0/bin/flight.bash\n",
			func(l *Launcher) { l.ProfilerScript = "/usr/share/apache-storm-2.3.0/bin/flight.bash" }, nil,
		},
		{
			"every key", "storm.worker-launcher.group=storm\nmin.user.id=500\nbanned.users=bin, daemon ,hdfs\nbanned.groups=root, docker\nworker.launcher.oci.runc=/a//runc\n" +
				"worker.launcher.oci.run-root=/run/wl\ndocker.binary=/d\nnsenter.binary=/n\n",
			func(l *Launcher) {
				*l = Launcher{Group: "storm", MinUserID: 500, BannedUsers: []string{"bin", "daemon", "hdfs"}, BannedGroups: []string{"root", "docker"}, Runc: "/a/runc", RunRoot: "/run/wl", Docker: "/d", Nsenter: "/n"}
			}, nil,
		},
		{
			"blanks, comments, no line feed at the end", "\n  # comment\n\t storm.worker-launcher.group =  storm \r\n#min.user.id=1\nmin.user.id = 7",
			func(l *Launcher) { l.MinUserID = 7 }, nil,
		},
		// The original ends the value at the second '='.
		{"value with =", "storm.worker-launcher.group=storm\nworker.profiler.script.path=/opt/a=b\n", func(l *Launcher) { l.ProfilerScript = "/opt/a=b" }, nil},
		{
			"unknown key", "storm.worker-launcher.group=storm\nmin.userid=5\n", func(*Launcher) {},
			[]string{"wl.cfg:2: min.userid: unknown key, ignored: the nearest known one is min.user.id"},
		},
		{
			"empty", "", func(l *Launcher) { l.Group = "" },
			[]string{"wl.cfg: storm.worker-launcher.group is not set: workers' files belong to the group of their user"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := newLauncher()
			want.Group = "storm"
			c.change(want)
			got, notes, err := ParseLauncher("wl.cfg", []byte(c.content))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v, (-want +got)\n%s", err, diff)
			}
			if !slices.Equal(notes, c.notes) {
				t.Errorf("notes %q, want %q", notes, c.notes)
			}
		})
	}
}

func TestParseLauncherProblems(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"no =", "a\nmin.user.id\n", "wl.cfg:1: \"a\" is not key=value\nwl.cfg:2: \"min.user.id\" is not key=value"},
		{"no key", "=5\n", `wl.cfg:1: "=5" is not key=value`},
		{"no value", "\nbanned.users=\n", "wl.cfg:2: banned.users: has no value: remove the line to use the default"},
		{"twice", "min.user.id=1\nmin.user.id=2\n", "wl.cfg:2: min.user.id: appears twice, first in line 1: keep one"},
		{"uid", "min.user.id=many\n", `wl.cfg:1: min.user.id: want a uid, such as 1000, have "many"`},
		{"negative uid", "min.user.id=-1\n", `wl.cfg:1: min.user.id: want a uid, such as 1000, have "-1"`},
		{"uid with a comment", "min.user.id=1000 # least\n", `wl.cfg:1: min.user.id: want a uid, such as 1000, have "1000 # least"`},
		{"placeholder", "storm.worker-launcher.group=$(worker_launcher_group)\n", `wl.cfg:1: storm.worker-launcher.group: want the name of a group, have "$(worker_launcher_group)"`},
		{"banned users with blanks", "banned.users=a b\n", `wl.cfg:1: banned.users: want names of users with commas between them, have "a b"`},
		{"banned users with a gap", "banned.users=a,,b\n", `wl.cfg:1: banned.users: want names of users with commas between them, have "a,,b"`},
		{"banned groups by number", "banned.groups=0\n", `wl.cfg:1: banned.groups: want names of groups with commas between them, have "0"`},
		{"relative path", "worker.launcher.oci.runc=runc\n", `wl.cfg:1: worker.launcher.oci.runc: want an absolute path, have "runc"`},
		{"too large", strings.Repeat("#", MaxLauncherSize+1), "wl.cfg: larger than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, _, err := ParseLauncher("wl.cfg", []byte(c.content))
			if !errors.Is(err, ErrInvalid) || conf != nil || err.Error() != c.want {
				t.Errorf("%v\ngot  %v\nwant %s", conf, err, c.want)
			}
		})
	}
}

func TestLoadLauncherDefaults(t *testing.T) {
	if _, err := os.Lstat(DefaultLauncherPath); err == nil {
		t.Skipf("this machine has a %s of its own", DefaultLauncherPath)
	}
	got, notes, err := LoadLauncher(DefaultLauncherPath)
	if diff := cmp.Diff(newLauncher(), got); err != nil || diff != "" || len(notes) != 1 {
		t.Errorf("%q, %v, (-want +got)\n%s", notes, err, diff)
	}
	if _, _, err := LoadLauncher(filepath.Join(t.TempDir(), "worker-launcher.cfg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another path: %v, want %v", err, fs.ErrNotExist)
	}
}

func FuzzParseLauncher(f *testing.F) {
	f.Add([]byte("storm.worker-launcher.group=storm\nmin.user.id=1000\nbanned.users=a,b\n#x\n worker.launcher.oci.runc = /a=b\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, _, err := ParseLauncher("f", content)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || l != nil {
				t.Errorf("%v, %v", l, err)
			}
			return
		}
		for _, p := range []string{l.Runc, l.RunRoot, l.ProfilerScript, l.Docker, l.Nsenter} {
			if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p) {
				t.Errorf("path %q", p)
			}
		}
		if l.MinUserID < 0 {
			t.Errorf("min.user.id %d", l.MinUserID)
		}
	})
}
