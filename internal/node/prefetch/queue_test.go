package prefetch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// node takes a minute for each image, and fails as it is told.
type node struct {
	mu       sync.Mutex
	fails    map[string]error  // by tag
	tries    []string          // tags
	released []string          // tags
	evicted  map[string]func() // by tag: what the last try gave
	now      int               // tries under way
	most     int
}

func (n *node) LocalizeAhead(ctx context.Context, _ string, image manifest.Image, progress func(done, total int64), evicted func()) error {
	n.mu.Lock()
	n.evicted[image.Tag] = evicted
	n.tries = append(n.tries, image.Tag)
	n.now++
	n.most = max(n.most, n.now)
	err := n.fails[image.Tag]
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.now--
	}()
	progress(50, 100)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
	}
	if err == nil {
		progress(100, 100)
	}
	return err
}

func (n *node) Release(owner string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	tag, _, _ := strings.Cut(strings.TrimPrefix(owner, "prefetch/"), "@")
	n.released = append(n.released, tag)
}

// fail lets tries of a tag fail from now on; nil lets them succeed.
func (n *node) fail(tag string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails[tag] = err
}

// evict deletes the files of a tag.
func (n *node) evict(tag string) {
	n.mu.Lock()
	evicted := n.evicted[tag]
	n.mu.Unlock()
	evicted()
}

// took returns the tries since it was last asked.
func (n *node) took() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	tries := n.tries
	n.tries = nil
	return tries
}

// began runs a queue in a bubble of its own time. The bubble stands still in
// synctest.Wait until nothing can happen without time going on.
func began(t *testing.T, test func(t *testing.T, n *node, q *Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{fails: map[string]error{}, evicted: map[string]func(){}}
		q := New(n, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.Run(ctx)
		}()
		test(t, n, q)
		cancel()
		<-done
		if n.most > 1 {
			t.Errorf("%d images at a time, want 1", n.most)
		}
	})
}

func pinned(tag string) manifest.Image {
	return manifest.Image{Tag: tag, ManifestDigest: digest.FromString(tag)}
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func phases(q *Queue) map[string]Phase {
	is := map[string]Phase{}
	for _, s := range q.States() {
		is[s.Tag] = s.Phase
	}
	return is
}

func stateOf(t *testing.T, q *Queue, tag string) State {
	t.Helper()
	states := q.States()
	i := slices.IndexFunc(states, func(s State) bool { return s.Tag == tag })
	if i < 0 {
		t.Fatalf("%s is not in the queue", tag)
	}
	return states[i]
}

func TestQueueBringsOneAfterTheOther(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("b"), pinned("a")})
		synctest.Wait()
		if s := stateOf(t, q, "a"); s.Phase != Fetching || s.Bytes != 50 || s.TotalBytes != 100 {
			t.Errorf("a is %+v, want half of it here", s)
		}
		if p := phases(q)["b"]; p != Pending {
			t.Errorf("b is in phase %d before its turn", p)
		}
		pass(time.Minute)
		if got := phases(q); got["a"] != Ready || got["b"] != Fetching {
			t.Errorf("after a minute: %v", got)
		}
		pass(time.Minute)
		if got := phases(q); got["a"] != Ready || got["b"] != Ready {
			t.Errorf("after two minutes: %v", got)
		}
		q.Want([]manifest.Image{pinned("a"), pinned("b")})
		pass(time.Minute)
		if got := n.took(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("tried %v, want a and b, once each", got)
		}
		pass(recheck)
		if got := n.took(); len(got) < 1 || len(n.released) > 0 {
			t.Errorf("looked again at %v, released %v", got, n.released)
		}
	})
}

func TestQueueLetsGo(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("a"), pinned("b")})
		pass(90 * time.Second) // b is half here
		q.Want(nil)
		synctest.Wait()
		if len(q.States()) != 0 || n.now != 0 {
			t.Errorf("states %v, %d tries under way", q.States(), n.now)
		}
		if slices.Sort(n.released); !slices.Contains(n.released, "a") || !slices.Contains(n.released, "b") {
			t.Errorf("released %v, want both", n.released)
		}
	})
}

func TestQueueFollowsATagThatMoves(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("a")})
		pass(time.Minute)
		moved := manifest.Image{Tag: "a", ManifestDigest: digest.FromString("new")}
		q.Want([]manifest.Image{moved})
		synctest.Wait()
		if s := stateOf(t, q, "a"); s.Phase != Fetching || s.ManifestDigest != moved.ManifestDigest {
			t.Errorf("a is %+v, want the new manifest fetched", s)
		}
		pass(time.Minute)
		if s := stateOf(t, q, "a"); s.Phase != Ready || !slices.Equal(n.released, []string{"a"}) {
			t.Errorf("a is %+v, released %v", s, n.released)
		}
	})
}

// TestQueueTriesAgain: one image's failure is not another's, and ends when its
// cause does.
func TestQueueTriesAgain(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		n.fail("a", store.ErrUnavailable)
		q.Want([]manifest.Image{pinned("a"), pinned("b")})
		pass(time.Minute + time.Second)
		if s := stateOf(t, q, "a"); s.Phase != Failed || !errors.Is(s.Err, store.ErrUnavailable) || s.RetryAt.IsZero() {
			t.Errorf("a is %+v", s)
		}
		if phases(q)["b"] != Fetching {
			t.Error("b waits for a")
		}
		n.fail("a", nil)
		pass(2 * time.Minute)
		if s := stateOf(t, q, "a"); s.Phase != Ready || s.Err != nil {
			t.Errorf("a is %+v", s)
		}
		if phases(q)["b"] != Ready {
			t.Error("b is not ready")
		}
	})
}

// TestQueueDoesNotFightForRoom: what a worker has pushed out is not fetched
// again soon, and each time later.
func TestQueueDoesNotFightForRoom(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("a")})
		for round, limit := range []time.Duration{noRoom.First, 2 * noRoom.First, 4 * noRoom.First} {
			pass(time.Minute + time.Second)
			if p := phases(q)["a"]; p != Ready {
				t.Fatalf("round %d: a is in phase %d", round, p)
			}
			n.took()
			n.evict("a")
			synctest.Wait()
			if s := stateOf(t, q, "a"); s.Phase != Failed || !errors.Is(s.Err, localizer.ErrEvicted) {
				t.Errorf("round %d: a is %+v", round, s)
			}
			pass(limit/2 - time.Second)
			if tries := n.took(); len(tries) > 0 {
				t.Errorf("round %d: tried again before %s", round, limit/2)
			}
			// When it begins depends on the jitter.
			at := stateOf(t, q, "a").RetryAt
			if wait := time.Until(at); wait > limit/2+time.Second {
				t.Errorf("round %d: %s to wait yet", round, wait)
			}
			pass(time.Until(at))
		}
	})
}

// TestQueueIsToldOfAnEvictionWhileItEnds: the news may come between the end of
// a fetch and the queue's own look at it.
func TestQueueIsToldOfAnEvictionWhileItEnds(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("a")})
		synctest.Wait()
		n.evict("a")
		pass(time.Minute)
		if s := stateOf(t, q, "a"); s.Phase != Failed || !errors.Is(s.Err, localizer.ErrEvicted) {
			t.Errorf("a is %+v", s)
		}
	})
}

// TestQueueTellsEvictionsApart: the news of an image that was wanted before comes
// late, when it is wanted again. It is none of the one that is fetched now.
func TestQueueTellsEvictionsApart(t *testing.T) {
	began(t, func(t *testing.T, n *node, q *Queue) {
		q.Want([]manifest.Image{pinned("a")})
		pass(time.Minute)
		before := n.evicted["a"]
		q.Want(nil)
		q.Want([]manifest.Image{pinned("a")})
		synctest.Wait()
		before()
		pass(time.Minute)
		if s := stateOf(t, q, "a"); s.Phase != Ready {
			t.Errorf("a is %+v, want it ready", s)
		}
		before()
		synctest.Wait()
		if s := stateOf(t, q, "a"); s.Phase != Ready {
			t.Errorf("a is %+v after late news, want it ready", s)
		}
	})
}

func TestPauses(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   backoff.Policy
		n    int
		want time.Duration
	}{
		{"first", trouble, 1, 10 * time.Second},
		{"third", trouble, 3, 40 * time.Second},
		{"at most", trouble, 100, 5 * time.Minute},
		{"for room", noRoom, 1, 10 * time.Minute},
		{"for room, at most", noRoom, 100, 2 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 100 {
				if got := tt.of.Pause(tt.n); got > tt.want || got < tt.want/2 {
					t.Errorf("%s, want %s or down to half of it", got, tt.want)
				}
			}
			tt.of.Jitter = 0
			if got := tt.of.Pause(tt.n); got != tt.want {
				t.Errorf("%s without jitter, want %s", got, tt.want)
			}
		})
	}
}
