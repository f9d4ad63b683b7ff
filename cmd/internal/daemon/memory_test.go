package daemon

import (
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct {
		name, container, goes string
		want                  int64
		fails                 bool
	}{
		{"none", "", "", 0, false},
		{"1 GiB", "1073741824", "", 966367620, false},
		{"somebody's own", "1073741824", "2GiB", 0, false},
		{"with a unit", "1Gi", "", 0, true},
		{"negative", "-1", "", 0, true},
		{"nothing", "0", "", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"MEMORY_LIMIT": tt.container, "GOMEMLIMIT": tt.goes}
			got, err := memoryLimit(func(name string) string { return env[name] })
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	if err := LimitMemory(func(name string) string { return map[string]string{"MEMORY_LIMIT": "100000000000"}[name] }); err != nil {
		t.Fatal(err)
	}
	if limit := debug.SetMemoryLimit(-1); limit != 90_000_000_000 {
		t.Errorf("the limit is %d", limit)
	}
}
