//go:build faults

package faults

import (
	"time"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

const (
	randomRounds = 3
	killsOfRound = 70
	// lifetime is the longest life of an agent in this scenario: long enough
	// to take over what is there and be in the midst of launches and removals.
	lifetime = 700 * time.Millisecond
	// crowd is how many workers there are at most at once.
	crowd = 8
)

// randomKills kills the agent at random moments while workers come and go.
func randomKills(t *trial) {
	for range randomRounds {
		for range killsOfRound {
			t.startAgent()
			t.comeOrGo()
			<-time.After(time.Duration(t.random.Int64N(int64(lifetime))))
			t.killAgent()
			t.inject("kills of the agent at a random moment", 1)
		}
		t.settle()
	}
}

// comeOrGo creates a worker or deletes one, of any kind and in any state.
func (t *trial) comeOrGo() {
	t.Helper()
	if n := len(t.present); n == crowd || n > 0 && t.random.IntN(3) == 0 {
		t.delete(t.present[t.random.IntN(n)])
		return
	}
	switch t.random.IntN(5) {
	case 0:
		t.create(api.RestartAlways)
	case 1:
		t.create(api.RestartAlways, 3)
	case 2:
		t.create(api.RestartOnFailure, 4, 0)
	case 3:
		t.create(api.RestartNever, 5)
	case 4:
		t.create(api.RestartNever, 0)
	}
}
