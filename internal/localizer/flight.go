package localizer

import (
	"context"
	"sync"
)

// fetchFunc fetches a file into the cache. It calls arrived with each number
// of bytes that it has got of it.
type fetchFunc func(ctx context.Context, arrived func(n int64)) error

// flights let callers who want the same file share one fetch.
type flights struct {
	mu     sync.Mutex
	active map[string]*flight
}

// flight is a fetch under way. Its fields are guarded by flights.mu, but done.
type flight struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed after err is set
	err     error
	arrived int64
	// callers are told what arrives, by an id each.
	callers map[int]func(n int64)
	nextID  int
}

// do joins the fetch of key, or begins it. The fetch goes on while one of its
// callers waits; the last one to give up cancels it and waits for its end, so
// that nothing of it is left when do returns.
func (g *flights) do(ctx context.Context, key string, arrived func(n int64), fetch fetchFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, id := g.join(ctx, key, arrived, fetch)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
	}
	if last := g.leave(key, f, id); last {
		f.cancel()
		<-f.done
	}
	return ctx.Err()
}

func (g *flights) join(ctx context.Context, key string, arrived func(n int64), fetch fetchFunc) (f *flight, id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f = g.active[key]
	if f == nil {
		f = &flight{done: make(chan struct{}), callers: map[int]func(int64){}}
		// One caller's end must not be that of the others.
		var own context.Context
		own, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if g.active == nil {
			g.active = map[string]*flight{}
		}
		g.active[key] = f
		go g.run(own, key, f, fetch)
	}
	f.nextID++
	f.callers[f.nextID] = arrived
	arrived(f.arrived)
	return f, f.nextID
}

func (g *flights) run(ctx context.Context, key string, f *flight, fetch fetchFunc) {
	defer f.cancel()
	err := fetch(ctx, func(n int64) { g.tell(f, n) })
	g.mu.Lock()
	defer g.mu.Unlock()
	f.err = err
	g.remove(key, f)
	close(f.done)
}

func (g *flights) tell(f *flight, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.arrived += n
	for _, arrived := range f.callers {
		arrived(n)
	}
}

// leave takes a caller out and tells whether it was the last. Who comes after
// the last begins a new fetch: this one is doomed.
func (g *flights) leave(key string, f *flight, id int) (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(f.callers, id)
	if len(f.callers) > 0 {
		return false
	}
	g.remove(key, f)
	return true
}

// remove takes f away, but not a newer flight of the same key.
func (g *flights) remove(key string, f *flight) {
	if g.active[key] == f {
		delete(g.active, key)
	}
}
