package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/trust"
)

// trusted makes a directory that only root can change, all the way up. /tmp is
// none, so it lies in /run or, in its absence, in root's home.
func trusted(t *testing.T) string {
	t.Helper()
	for _, parent := range []string{"/run", "/root", "/var/lib"} {
		if trust.File(parent) != nil {
			continue
		}
		dir, err := os.MkdirTemp(parent, "stormcell-test-") //nolint:usetesting // t.TempDir lies in /tmp
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	t.Fatal("neither /run, /root nor /var/lib is root's alone")
	return ""
}

func TestLoadLauncherTrust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes files that root owns")
	}
	for _, c := range []struct {
		name string
		// harm changes dir/conf/wl.cfg or returns another path to load.
		harm func(dir, path string) (string, error)
		// says is in the error; "" means that the file is trusted.
		says func(dir string) string
	}{
		{"root's alone", func(_, p string) (string, error) { return p, nil }, nil},
		{"link to a trusted file", func(dir, p string) (string, error) {
			return dir + "/link", os.Symlink("conf/wl.cfg", dir+"/link")
		}, nil},
		{
			"file of another", func(_, p string) (string, error) { return p, os.Chown(p, 65534, 0) },
			func(dir string) string { return "run: chown root " + dir + "/conf/wl.cfg" },
		},
		{
			"file that the group writes", func(_, p string) (string, error) { return p, os.Chmod(p, 0o664) },
			func(dir string) string { return "has mode 0664, run: chmod go-w " + dir + "/conf/wl.cfg" },
		},
		{
			"directory of another", func(_, p string) (string, error) { return p, os.Chown(filepath.Dir(p), 65534, 0) },
			func(dir string) string { return "run: chown root " + dir + "/conf" },
		},
		{
			"directory above that all write", func(dir, p string) (string, error) { return p, os.Chmod(dir, 0o777) },
			func(dir string) string { return "run: chmod go-w " + dir },
		},
		{"link to a distrusted place", func(dir, p string) (string, error) {
			other := filepath.Join(dir, "other")
			if err := errors.Join(os.Mkdir(other, 0o755), os.Rename(p, other+"/wl.cfg"), os.Chown(other, 65534, 0)); err != nil {
				return "", err
			}
			return p, os.Symlink("../other/wl.cfg", p)
		}, func(dir string) string { return "run: chown root " + dir + "/other" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := trusted(t)
			path := filepath.Join(dir, "conf", "wl.cfg")
			if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("min.user.id=7\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
			path, err := c.harm(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			conf, _, err := LoadLauncher(path)
			if c.says == nil {
				if err != nil || conf.MinUserID != 7 {
					t.Errorf("%+v, %v, want the file's", conf, err)
				}
				return
			}
			if !errors.Is(err, trust.ErrNotTrusted) || conf != nil || !strings.Contains(err.Error(), c.says(dir)) {
				t.Errorf("%+v, %v, want %v that says %q", conf, err, trust.ErrNotTrusted, c.says(dir))
			}
		})
	}
}
