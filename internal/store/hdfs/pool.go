package hdfs

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

// idleTime is how long a session is kept for the next operation. An open one
// costs the NameNode a call each second.
const idleTime = 5 * time.Second

// pool keeps sessions that nobody uses at the moment for a while.
type pool struct {
	cluster *cluster
	login   *login

	mu   sync.Mutex
	idle []idleSession
	// nameNodes are the addresses, the one that answered last in front.
	nameNodes []string
	// janitor runs while there are idle sessions.
	janitor *time.Timer
}

type idleSession struct {
	*session
	since time.Time
}

func newPool(c *cluster, l *login) *pool {
	return &pool{cluster: c, login: l, nameNodes: c.options.Addresses}
}

// take returns a session for the caller alone, who gives it back by put or
// ends it by drop.
func (p *pool) take(ctx context.Context) (*session, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1].session
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	return p.open(ctx)
}

func (p *pool) open(ctx context.Context) (*session, error) {
	options := p.cluster.options
	p.mu.Lock()
	options.Addresses = slices.Clone(p.nameNodes)
	p.mu.Unlock()
	admit, err := p.login.identify(ctx, &options)
	if err != nil {
		return nil, err
	}
	return newSession(ctx, options, p.cluster.timeout, p.cluster.protection, admit)
}

// put gives back a session that is in order.
func (p *pool) put(s *session) {
	s.hangUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, idleSession{s, time.Now()})
	p.prefer(s.address())
	if p.janitor == nil {
		p.janitor = time.AfterFunc(idleTime, p.clean)
	}
}

// drop ends a session that failed. If that was its NameNode's fault, the
// NameNode is asked last from now on: the library does not turn to another one
// by itself where one is silent.
func (p *pool) drop(s *session) {
	faulty := s.faulty()
	s.close()
	if !faulty {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.nameNodes, s.address()); i >= 0 {
		p.nameNodes = append(slices.Delete(slices.Clone(p.nameNodes), i, i+1), p.nameNodes[i])
	}
}

// prefer puts a NameNode that answered in front.
func (p *pool) prefer(nameNode string) {
	if i := slices.Index(p.nameNodes, nameNode); i > 0 {
		p.nameNodes = append([]string{nameNode}, slices.Delete(slices.Clone(p.nameNodes), i, i+1)...)
	}
}

// clean closes the sessions that have been idle for too long.
func (p *pool) clean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := time.Now().Add(-idleTime)
	// The oldest are in front.
	for len(p.idle) > 0 && !p.idle[0].since.After(limit) {
		go p.idle[0].close()
		p.idle = p.idle[1:]
	}
	if len(p.idle) == 0 {
		p.janitor = nil
		return
	}
	p.janitor.Reset(time.Until(p.idle[0].since.Add(idleTime)))
}

// use runs f with a session that ends with ctx.
func (p *pool) use(ctx context.Context, f func(*hdfs.Client) error) error {
	s, err := p.take(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.end)
	err, good := s.judge(f(s.client))
	if stop() && good {
		p.put(s)
	} else {
		p.drop(s)
	}
	return err
}
