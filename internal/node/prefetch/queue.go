// Package prefetch fetches images to this node before a worker needs them: one at a
// time, again after a failure, and again after they were evicted for a worker.
package prefetch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// recheck is after how long a ready image is looked at again: somebody may have
// deleted its files. It costs no read of what is whole.
const recheck = 10 * time.Minute

// Images brings images to the node, as localizer.Localizer does.
type Images interface {
	// LocalizeAhead fetches what is missing of image and holds it softly for
	// owner. evicted is called when the files have made room for a worker, also
	// after LocalizeAhead has returned. An error that wraps localizer.ErrEvicted
	// or ErrDiskFull is one of room, which does not come back soon.
	LocalizeAhead(ctx context.Context, owner string, image manifest.Image, progress func(done, total int64), evicted func()) error
	// Release ends owner's hold; none is no error.
	Release(owner string)
}

// Phase is how far an image is.
type Phase int

// An image is Pending until its turn comes, also after a restart of this
// process, and Failed until the next try.
const (
	Pending Phase = iota
	Fetching
	Ready
	Failed
)

// State is how far an image is.
type State struct {
	Tag            string
	ManifestDigest digest.Digest
	Phase          Phase
	// Since is when the phase began.
	Since time.Time
	// Bytes are here, of TotalBytes; both are 0 until they are known.
	Bytes, TotalBytes int64
	// Err says why it Failed, RetryAt when the next try is due.
	Err     error
	RetryAt time.Time
}

// Queue has the images that a node is to prefetch, and what the node has of them.
type Queue struct {
	images  Images
	changed func()

	mu   sync.Mutex
	jobs map[string]*job // by tag
	gone []*job          // to be released by Run
	// woken gets a token when there may be something to do.
	woken chan struct{}
}

// job is one image. Queue.mu guards it.
type job struct {
	image manifest.Image
	state State
	due   time.Time
	// cancel ends the try that is under way, nil for none.
	cancel context.CancelFunc
	// evicted tells that the files went while that try was ending.
	evicted   bool
	failures  int // since it was ready
	evictions int // since it was ready for long
	// readySince is since when it is ready, rechecks included.
	readySince time.Time
}

// New returns a queue that does nothing until Run. changed is called after each
// change of a phase; it must not block.
func New(images Images, changed func()) *Queue {
	return &Queue{images: images, changed: changed, jobs: map[string]*job{}, woken: make(chan struct{}, 1)}
}

// owner names an image to the cache. A tag that has moved is another owner.
func (j *job) owner() string {
	return "prefetch/" + j.image.Tag + "@" + j.image.ManifestDigest.String()
}

// Want sets the images to prefetch, one for each tag. The files of others stay until
// their space is needed.
func (q *Queue) Want(images []manifest.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wanted := map[string]bool{}
	for _, image := range images {
		wanted[image.Tag] = true
		if j := q.jobs[image.Tag]; j != nil && j.image.ManifestDigest == image.ManifestDigest {
			j.image = image // more may be known of it
			continue
		}
		q.removeLocked(image.Tag)
		now := time.Now()
		q.jobs[image.Tag] = &job{image: image, due: now, state: State{
			Tag: image.Tag, ManifestDigest: image.ManifestDigest, Since: now, TotalBytes: image.SquashfsBytes(),
		}}
		q.wake()
	}
	for tag := range q.jobs {
		if !wanted[tag] {
			q.removeLocked(tag)
		}
	}
}

func (q *Queue) removeLocked(tag string) {
	j := q.jobs[tag]
	if j == nil {
		return
	}
	delete(q.jobs, tag)
	q.gone = append(q.gone, j)
	if j.cancel != nil {
		j.cancel()
	}
	q.wake()
}

// States returns the state of each image to prefetch, by tag.
func (q *Queue) States() []State {
	q.mu.Lock()
	defer q.mu.Unlock()
	states := make([]State, 0, len(q.jobs))
	for _, j := range q.jobs {
		states = append(states, j.state)
	}
	slices.SortFunc(states, func(a, b State) int { return cmp.Compare(a.Tag, b.Tag) })
	return states
}

// evicted notes that a job's files were deleted for want of room.
func (q *Queue) evicted(j *job) {
	defer q.changed()
	defer q.wake()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case j.cancel != nil:
		j.evicted = true
	case j.state.Phase == Ready:
		j.fail(localizer.ErrEvicted, time.Now())
	}
}

func (q *Queue) wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// Run brings images, one at a time, until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	for ctx.Err() == nil {
		for _, j := range q.takeGone() {
			q.images.Release(j.owner())
		}
		j, wait := q.next(time.Now())
		if j != nil {
			q.bring(ctx, j)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-q.woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (q *Queue) takeGone() []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	gone := q.gone
	q.gone = nil
	return gone
}

// next returns the job that has been due for longest, or how long there is none.
func (q *Queue) next(now time.Time) (*job, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first *job
	for _, j := range q.jobs {
		if first == nil || cmp.Or(j.due.Compare(first.due), cmp.Compare(j.image.Tag, first.image.Tag)) < 0 {
			first = j
		}
	}
	switch {
	case first == nil:
		return nil, recheck
	case first.due.After(now):
		return nil, first.due.Sub(now)
	}
	return first, 0
}

// bring tries to bring one image.
func (q *Queue) bring(ctx context.Context, j *job) {
	try, cancel := context.WithCancel(ctx)
	defer cancel()
	image, owner, ok := q.begin(j, cancel)
	if !ok {
		return
	}
	q.changed()
	err := q.images.LocalizeAhead(try, owner, image, func(done, total int64) {
		q.mu.Lock()
		defer q.mu.Unlock()
		j.state.Bytes, j.state.TotalBytes = done, total
	}, func() { q.evicted(j) })
	if ctx.Err() != nil {
		return // this process ends
	}
	if err != nil {
		q.images.Release(owner)
	}
	q.end(j, err)
	q.changed()
}

func (q *Queue) begin(j *job, cancel context.CancelFunc) (image manifest.Image, owner string, wanted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.jobs[j.image.Tag] != j {
		return image, "", false
	}
	j.cancel, j.evicted = cancel, false
	j.state.Phase, j.state.Since = Fetching, time.Now()
	return j.image, j.owner(), true
}

func (q *Queue) end(j *job, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.cancel = nil
	now := time.Now()
	if err == nil && j.evicted {
		err = localizer.ErrEvicted
	}
	if err != nil {
		j.fail(err, now)
		return
	}
	j.failures, j.due = 0, now.Add(recheck)
	if j.readySince.IsZero() {
		j.readySince = now
	}
	s := &j.state
	s.Phase, s.Since, s.Err, s.RetryAt, s.Bytes = Ready, now, nil, time.Time{}, s.TotalBytes
}
