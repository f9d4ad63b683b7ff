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
	// givenUp is true once nobody wants it any more.
	givenUp bool
}

// do joins the fetch of key, or begins it. The fetch goes on while one of its
// callers waits; the last one to give up cancels it and waits for its end, so
// that nothing of it goes on when do returns.
func (g *flights) do(ctx context.Context, key string, arrived func(n int64), fetch fetchFunc) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, id, joined := g.join(ctx, key, arrived, fetch)
		select {
		case <-f.done:
			if joined {
				return f.err
			}
		case <-ctx.Done():
			if joined && g.leave(f, id) {
				f.cancel()
				<-f.done
			}
		}
	}
}

// join adds a caller to the flight of key, and begins one if there is none. A
// flight that was given up cannot be joined: it is in the way until it ends.
func (g *flights) join(ctx context.Context, key string, arrived func(n int64), fetch fetchFunc) (f *flight, id int, joined bool) {
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
	if f.givenUp {
		return f, 0, false
	}
	f.nextID++
	f.callers[f.nextID] = arrived
	arrived(f.arrived)
	return f, f.nextID, true
}

func (g *flights) run(ctx context.Context, key string, f *flight, fetch fetchFunc) {
	defer f.cancel()
	err := fetch(ctx, func(n int64) { g.tell(f, n) })
	g.mu.Lock()
	defer g.mu.Unlock()
	f.err = err
	delete(g.active, key)
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

// leave takes a caller out, and tells whether it was the last.
func (g *flights) leave(f *flight, id int) (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(f.callers, id)
	f.givenUp = len(f.callers) == 0
	return f.givenUp
}
