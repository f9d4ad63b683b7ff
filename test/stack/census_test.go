package stack

import (
	"slices"
	"testing"

	"github.com/stormcell/stormcell/test/census"
)

func TestCompare(t *testing.T) {
	is := census.Census{"mount /a": 2, "mount /b": 1, "process x": 1, "directory /may": 1}
	shall := census.Census{"mount /a": 1, "mount /b": 1, "cgroup /c": 1}
	may := census.Census{"directory /may": 1, "directory /absent": 1}
	want := []string{"cgroup /c: 1 missing", "mount /a: 1 too many", "process x: 1 too many"}
	if got := compare(is, shall, may); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := compare(shall, shall, nil); len(got) > 0 {
		t.Errorf("equal ones differ: %q", got)
	}
}
