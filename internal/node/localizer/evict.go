package localizer

import (
	"cmp"
	"slices"
	"time"
)

// entry is a file of the cache.
type entry struct {
	size int64
	used time.Time
	// busy is a file that is being written.
	busy bool
}

// victims returns the files to delete so that at least need bytes get free:
// the least recently used ones that nobody holds or writes. They may be too
// few.
func victims(entries map[string]entry, held func(name string) bool, need int64) []string {
	var idle []string
	for name, e := range entries {
		if !e.busy && !held(name) {
			idle = append(idle, name)
		}
	}
	slices.SortFunc(idle, func(a, b string) int {
		return cmp.Or(entries[a].used.Compare(entries[b].used), cmp.Compare(a, b))
	})
	var freed int64
	for i, name := range idle {
		if freed >= need {
			return idle[:i]
		}
		freed += entries[name].size
	}
	return idle
}
