package hostuser

import (
	"sync"
	"time"
)

// answers remembers the answers of the name service for some time.
type answers[T any] struct {
	ttl time.Duration
	now func() time.Time

	mu    sync.Mutex
	known map[string]answer[T]
}

type answer[T any] struct {
	value   T
	expires time.Time
}

func newAnswers[T any](ttl time.Duration, now func() time.Time) *answers[T] {
	return &answers[T]{ttl: ttl, now: now, known: map[string]answer[T]{}}
}

// get returns what is known of name, unless it is too old.
func (a *answers[T]) get(name string) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[name]
	if ok && !a.now().Before(known.expires) {
		delete(a.known, name)
		ok = false
	}
	return known.value, ok
}

func (a *answers[T]) put(name string, value T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[name] = answer[T]{value: value, expires: a.now().Add(a.ttl)}
}
