package tags

import (
	"container/list"

	"github.com/opencontainers/go-digest"
)

// lru keeps the entries that were used last. It is not safe for concurrent use.
type lru struct {
	limit int
	// order has *item, the one used last in front.
	order *list.List
	items map[digest.Digest]*list.Element
}

type item struct {
	key   digest.Digest
	entry entry
}

func newLRU(limit int) *lru {
	return &lru{limit: max(limit, 1), order: list.New(), items: map[digest.Digest]*list.Element{}}
}

func (l *lru) get(d digest.Digest) (entry, bool) {
	e, ok := l.items[d]
	if !ok {
		return entry{}, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*item).entry, true //nolint:errcheck,forcetypeassert // put stores nothing else
}

func (l *lru) put(d digest.Digest, v entry) {
	l.remove(d)
	l.items[d] = l.order.PushFront(&item{d, v})
	if l.order.Len() > l.limit {
		oldest := l.order.Remove(l.order.Back())
		delete(l.items, oldest.(*item).key) //nolint:errcheck,forcetypeassert // put stores nothing else
	}
}

func (l *lru) remove(d digest.Digest) {
	if e, ok := l.items[d]; ok {
		l.order.Remove(e)
		delete(l.items, d)
	}
}
