package rootfs

import (
	"context"
	"sync"
)

// locks are mutexes by name. One that is waited for can be given up, so that a
// mount that hangs in the kernel holds up only those who need the same one.
type locks struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the name is free again
}

// lock waits until nobody else holds name.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		free, ok := l.try(name)
		if ok {
			return func() { l.unlock(name) }, nil
		}
		select {
		case <-free:
		case <-ctx.Done():
		}
	}
}

func (l *locks) try(name string) (free chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if free, taken := l.busy[name]; taken {
		return free, false
	}
	if l.busy == nil {
		l.busy = map[string]chan struct{}{}
	}
	l.busy[name] = make(chan struct{})
	return nil, true
}

func (l *locks) unlock(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.busy[name])
	delete(l.busy, name)
}
