package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// lookEvery is how often daemons are asked whether they are there: as long may a
// worker wait for one that has just come.
const lookEvery = 10 * time.Second

// Presence knows which runtimes workers can start in: those that are on, and whose
// daemon, if they have one, answers.
type Presence struct {
	drivers Drivers
	changed func()

	mu      sync.Mutex
	present []worker.Runtime
}

// NewPresence returns the presence of runtimes, none before the first Look. changed is
// called when they are others than before; it must not block.
func NewPresence(drivers Drivers, changed func()) *Presence {
	return &Presence{drivers: drivers, changed: changed}
}

// Names returns the runtimes that are present, sorted.
func (p *Presence) Names() []worker.Runtime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.present)
}

// Look asks every daemon. What ctx cuts short changes nothing.
func (p *Presence) Look(ctx context.Context) {
	var present []worker.Runtime
	for name, d := range p.drivers {
		if d.Off == nil && (d.Ping == nil || d.Ping(ctx) == nil) {
			present = append(present, name)
		}
	}
	if ctx.Err() != nil {
		return
	}
	slices.Sort(present)
	p.mu.Lock()
	changed := !slices.Equal(p.present, present)
	p.present = present
	p.mu.Unlock()
	if changed {
		p.changed()
	}
}

// Run looks again and again until ctx ends. It returns nil.
func (p *Presence) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		p.Look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
