package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trees are the same cgroups in both versions: "worker" with limits, "free"
// without.
func trees() map[string]*Tree {
	var v1 []hierarchy
	for _, controller := range []string{"memory", "cpu", "cpuacct", "pids"} {
		v1 = append(v1, hierarchy{mount: filepath.Join("testdata/v1", controller), controllers: []string{"rw", controller}})
	}
	v1 = append(v1, hierarchy{mount: "testdata/systemd", controllers: []string{"rw", "name=systemd"}})
	return map[string]*Tree{
		"version 1":     treeOf(v1...),
		"both versions": treeOf(append(v1, hierarchy{mount: "testdata/unified"})...),
		"version 2":     treeOf(hierarchy{mount: "testdata/v2"}),
	}
}

func treeOf(h ...hierarchy) *Tree {
	return &Tree{parent: "/storm", hierarchies: func() ([]hierarchy, error) { return h, nil }}
}

func TestUsage(t *testing.T) {
	want := map[string]Usage{
		"worker": {
			Memory: &MemoryUsage{Usage: 70 << 20, Limit: 256 << 20, OOMKills: 2},
			CPU: &CPUUsage{
				User: 12340 * time.Millisecond, System: 560 * time.Millisecond, Cores: 1.4,
				Periods: 600, ThrottledPeriods: 30, Throttled: 1500 * time.Millisecond,
			},
			Pids: new(uint64(42)),
		},
		"free": {Memory: &MemoryUsage{Usage: 4096}, CPU: &CPUUsage{System: 10 * time.Millisecond}, Pids: new(uint64(1))},
	}
	for version, tree := range trees() {
		for name, want := range want {
			t.Run(version+"/"+name, func(t *testing.T) {
				got, err := tree.Usage(name)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			})
		}
		t.Run(version+"/gone", func(t *testing.T) {
			if u, err := tree.Usage("gone"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%+v, %v", u, err)
			}
		})
	}
	if u, err := trees()["version 2"].Usage("bare"); err != nil || u != (Usage{}) {
		t.Errorf("without controllers: %+v, %v", u, err)
	}
}

// A cgroup goes file by file, and hierarchy by hierarchy: a part is not
// taken for the whole.
func TestUsageOfWhatGoes(t *testing.T) {
	for version, tree := range trees() {
		tree, files := copyOf(t, tree)
		for _, file := range files {
			if u, err := tree.Usage("worker"); err != nil || u == (Usage{}) {
				t.Fatalf("%s: %+v, %v", version, u, err)
			}
			aside := file + ".aside"
			rename(t, file, aside)
			if u, err := tree.Usage("worker"); !errors.Is(err, fs.ErrNotExist) || u != (Usage{}) {
				t.Errorf("%s without %s: %+v, %v", version, file, u, err)
			}
			if err := os.WriteFile(file, []byte("18446744073709551616\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			// Where it is a list of words, this one says nothing.
			if u, err := tree.Usage("worker"); u != (Usage{}) && err != nil || filepath.Base(file) != "cgroup.controllers" && err == nil {
				t.Errorf("%s with a number that is none in %s: %+v, %v", version, file, u, err)
			}
			rename(t, aside, file)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// copyOf makes a copy that can be spoilt, and returns the files of its worker.
func copyOf(t *testing.T, tree *Tree) (spare *Tree, files []string) {
	t.Helper()
	hierarchies, err := tree.hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "testdata"), os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	hierarchies = slices.Clone(hierarchies)
	for i := range hierarchies {
		h := &hierarchies[i]
		h.mount = filepath.Join(root, h.mount)
		if len(hierarchies) > 1 && h.controllers == nil {
			continue // beside version 1, nothing is read of it
		}
		found, err := filepath.Glob(filepath.Join(h.mount, "storm/worker/*"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 7 {
		t.Fatalf("only %v", files)
	}
	return treeOf(hierarchies...), files
}

func TestParseNumberAndLimit(t *testing.T) {
	tests := []struct {
		content       string
		number, limit uint64
		bad, badLimit bool
	}{
		{content: "0\n"},
		{content: "4096", number: 4096, limit: 4096},
		{content: " 7 \n", number: 7, limit: 7},
		{content: "max\n", bad: true},
		{content: "-1\n", bad: true},
		{content: "9223372036854771712\n", number: 9223372036854771712}, // pages of 4 KiB
		{content: "9223372036854710272\n", number: 9223372036854710272}, // pages of 64 KiB
		{content: "-2\n", bad: true, badLimit: true},
		{content: "", bad: true, badLimit: true},
		{content: "1 2\n", bad: true, badLimit: true},
		{content: "1.5\n", bad: true, badLimit: true},
		{content: "18446744073709551616\n", bad: true, badLimit: true},
	}
	for _, tt := range tests {
		n, err := parseNumber([]byte(tt.content))
		if (err != nil) != tt.bad || err == nil && n != tt.number {
			t.Errorf("number %q: %d, %v", tt.content, n, err)
		}
		n, err = parseLimit([]byte(tt.content))
		if (err != nil) != tt.badLimit || err == nil && n != tt.limit {
			t.Errorf("limit %q: %d, %v", tt.content, n, err)
		}
	}
}

func TestParseTable(t *testing.T) {
	tests := []struct {
		content string
		want    map[string]uint64
		bad     bool
	}{
		{content: "", want: map[string]uint64{}},
		{content: "user 12\nsystem 3\n", want: map[string]uint64{"user": 12, "system": 3}},
		{content: "last 1", want: map[string]uint64{"last": 1}},
		{content: "alone\n", bad: true},
		{content: "user -1\n", bad: true},
		{content: "some avg10=0.00 avg60=0.00\n", bad: true},
	}
	for _, tt := range tests {
		got, err := parseTable([]byte(tt.content))
		if (err != nil) != tt.bad || err == nil && !cmp.Equal(got, tt.want) {
			t.Errorf("%q: %v, %v", tt.content, got, err)
		}
	}
}

func TestDuration(t *testing.T) {
	if d := duration(150, time.Second/userHZ); d != 1500*time.Millisecond {
		t.Error(d)
	}
	if d := duration(math.MaxUint64, time.Microsecond); d != math.MaxInt64 {
		t.Error(d)
	}
}

// Whatever a file holds, what is read of it is a number that can be exposed.
func FuzzUsageFiles(f *testing.F) {
	for _, seed := range []string{"max\n", "-1", "140000 100000\n", "user 12\nsystem 3\n", "9223372036854771712\n", "oom_kill 2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if n, err := parseLimit(content); err == nil && n >= noLimit {
			t.Errorf("limit %d", n)
		}
		table, err := parseTable(content)
		if err != nil && table != nil {
			t.Error("a table beside an error")
		}
		for name, n := range table {
			if d := duration(n, time.Microsecond); d < 0 {
				t.Errorf("%s: %v", name, d)
			}
		}
		quota, quotaErr := parseLimit(content)
		if c := cores(quota, quota); quotaErr == nil && c != 0 && c != 1 {
			t.Errorf("cores %v", c)
		}
	})
}
