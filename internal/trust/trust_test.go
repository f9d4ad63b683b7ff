package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  uint32
		mode fs.FileMode
		want []string
	}{
		{"root's alone", 0, 0o644, nil},
		{"set-uid and sticky do not matter", 0, 0o755 | fs.ModeSetuid | fs.ModeSticky, nil},
		{"another owner", 5, 0o600, []string{"/p belongs to uid 5, run: chown root /p"}},
		{"group may write", 0, 0o664, []string{"/p has mode 0664, run: chmod go-w /p"}},
		{"all may write, sticky", 0, fs.ModeDir | fs.ModeSticky | 0o777, []string{"/p has mode 0777, run: chmod go-w /p"}},
		{"both", 5, 0o666, []string{"/p belongs to uid 5, run: chown root /p", "/p has mode 0666, run: chmod go-w /p"}},
		{"link", 0, fs.ModeSymlink | 0o777, []string{"/p has just become a symbolic link"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (entry{"/p", c.uid, c.mode}).faults(); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestPlace: whoever can put another directory at a path, by its own name or by
// that of a directory or a link on the way, is named with the cure.
func TestPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files to other users")
	}
	const user = 54321
	for _, c := range []struct {
		name string
		// harm changes dir, which has /a/b/c and /other, and returns the path.
		harm func(dir string) (string, error)
		says string
	}{
		{"root's alone", func(d string) (string, error) { return d + "/a/b/c", nil }, ""},
		{"the file itself is anybody's", func(d string) (string, error) { return d + "/a/b/c", os.Chown(d+"/a/b/c", user, 0) }, ""},
		{
			"another's parent", func(d string) (string, error) { return d + "/a/b/c", os.Chown(d+"/a/b", user, 0) },
			"/a/b belongs to uid 54321, run: chown root ",
		},
		{
			"another's grandparent", func(d string) (string, error) { return d + "/a/b/c", os.Chown(d+"/a", user, 0) },
			"/a belongs to uid 54321",
		},
		{
			"a group may write", func(d string) (string, error) { return d + "/a/b/c", os.Chmod(d+"/a/b", 0o775) },
			"/a/b has mode 0775, run: chmod go-w ",
		},
		{
			"sticky, and root's", func(d string) (string, error) { return d + "/a/b/c", os.Chmod(d+"/a/b", 0o777|fs.ModeSticky) }, "",
		},
		{
			"sticky, and its owner's", func(d string) (string, error) {
				return d + "/a/b/c", errors.Join(os.Chmod(d+"/a/b", 0o777|fs.ModeSticky), os.Chown(d+"/a/b/c", user, 0))
			}, "/a/b/c belongs to uid 54321 in ",
		},
		{"root's link", func(d string) (string, error) { return d + "/l/b/c", os.Symlink("a", d+"/l") }, ""},
		{
			"root's link to another's directory", func(d string) (string, error) {
				return d + "/l", errors.Join(os.Symlink(d+"/other/../a/b/c", d+"/l"), os.Chown(d+"/a/b", user, 0))
			}, "/a/b belongs to uid 54321",
		},
		{
			"a link that lies in another's directory", func(d string) (string, error) {
				return d + "/other/l", errors.Join(os.Symlink("../a/b/c", d+"/other/l"), os.Chown(d+"/other", user, 0))
			}, "/other belongs to uid 54321",
		},
		{"a circle", func(d string) (string, error) { return d + "/l", os.Symlink("l", d+"/l") }, "too many levels"},
		{"missing", func(d string) (string, error) { return d + "/a/x", nil }, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.MkdirAll(dir+"/a/b/c", 0o755), os.Mkdir(dir+"/other", 0o755)); err != nil {
				t.Fatal(err)
			}
			path, err := c.harm(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = Place(path)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want one that says %q", err, c.says)
			}
			if err != nil && strings.Contains(c.says, "uid") && (!errors.Is(err, ErrNotTrusted) || !strings.HasPrefix(err.Error(), filepath.Clean(path))) {
				t.Errorf("%v does not wrap ErrNotTrusted, or name the path", err)
			}
		})
	}
}

// TestDirectories: all that is to be run is said at once, and what is missing is
// no fault.
func TestDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files to other users")
	}
	dir := t.TempDir()
	paths := []string{dir + "/a", dir + "/a/b", dir + "/a/none", dir + "/a/b/c"}
	if err := os.MkdirAll(dir+"/a/b/c", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Directories(paths...); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Chown(dir+"/a", 54321, 0), os.Chmod(dir+"/a/b/c", 0o777)); err != nil {
		t.Fatal(err)
	}
	err := Directories(paths...)
	if !errors.Is(err, ErrNotTrusted) || strings.Count(err.Error(), "chown root "+dir+"/a") != 1 || !strings.Contains(err.Error(), "chmod go-w "+dir+"/a/b/c") {
		t.Errorf("%v, want each command once", err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Directories(dir + "/file"); err == nil {
		t.Error("a file is taken for a directory")
	}
}
