package connect

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errGaveUp is that a reader gave its place to somebody who had fewer.
var errGaveUp = errors.New("another user needed the place of this reader")

// streams are the places for logs that are read at once. Each user gets the same
// share of them, when all are taken: one who has at least two more than a user who
// comes gives up the latest of them. So nobody shuts others out, and who is alone
// may have all.
type streams struct {
	places int

	mu     sync.Mutex
	byUser map[string][]*place
	taken  int
}

// place is one of them. end ends what is read there.
type place struct {
	user string
	end  context.CancelCauseFunc
}

func newStreams(places int) *streams {
	return &streams{places: places, byUser: map[string][]*place{}}
}

// take returns a context for what a user reads, and what gives the place back. The
// context ends with errGaveUp if somebody else gets the place. ok is false if there
// is none for this user.
func (s *streams) take(ctx context.Context, user string) (reading context.Context, release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.places {
		most := s.most()
		if len(s.byUser[most]) < len(s.byUser[user])+2 {
			return nil, nil, false
		}
		all := s.byUser[most]
		latest := all[len(all)-1]
		s.remove(latest)
		latest.end(errGaveUp)
	}
	reading, end := context.WithCancelCause(ctx)
	own := &place{user: user, end: end}
	s.byUser[user] = append(s.byUser[user], own)
	s.taken++
	return reading, func() {
		end(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.remove(own)
	}, true
}

// most is the user who has most places.
func (s *streams) most() (user string) {
	for u, all := range s.byUser {
		if len(all) > len(s.byUser[user]) {
			user = u
		}
	}
	return user
}

// remove frees a place, unless it has been; the lock is held.
func (s *streams) remove(p *place) {
	all := s.byUser[p.user]
	at := slices.Index(all, p)
	if at < 0 {
		return
	}
	s.taken--
	if all = slices.Delete(all, at, at+1); len(all) == 0 {
		delete(s.byUser, p.user)
		return
	}
	s.byUser[p.user] = all
}
