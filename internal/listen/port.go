package listen

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stormcell/stormcell/internal/backoff"
)

// listenAgain is the pause before a port is tried again that another program has.
const listenAgain = 5 * time.Second

// State is how a Port fares.
type State struct {
	// Port is where it listens now; 0 if nowhere.
	Port int
	// Taken is that another program has the port that was wanted.
	Taken bool
}

// Port is a net.Listener at an address that another program may have: a worker,
// which has the node's network. Run tries until it is free.
type Port struct {
	address   string
	elsewhere bool
	told      func(context.Context, State)
	again     time.Duration
	// own and other are what is open of the wanted port and, until that is, of
	// another one.
	own, other net.Listener

	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

// NewPort returns a Port at an address. If elsewhere is true it listens at
// another port of the same host while it cannot have its own. The states are
// told when they change, and while the port is taken at each attempt.
func NewPort(address string, elsewhere bool, told func(context.Context, State)) *Port {
	return &Port{
		address: address, elsewhere: elsewhere, told: told, again: listenAgain,
		conns: make(chan net.Conn), closed: make(chan struct{}),
	}
}

// Open tries to have the port, for the first time; Run does, if it is not called.
// Its error is that the address cannot be listened at for another reason than that
// it is taken.
func (p *Port) Open(ctx context.Context) error {
	own, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address)
	switch {
	case err == nil:
		p.own = own
		p.told(ctx, State{Port: portOf(own)})
		return nil
	case !errors.Is(err, syscall.EADDRINUSE):
		return err
	}
	if p.other == nil && p.elsewhere {
		p.other = p.any(ctx)
	}
	p.told(ctx, State{Port: portOf(p.other), Taken: true})
	return nil
}

// Run listens until ctx ends or the port is closed. Its error is that of a first Open.
func (p *Port) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.listen(ctx, group) })
	group.Go(func() error { // ends the others, whichever ends first
		select {
		case <-p.closed:
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	return group.Wait()
}

// listen opens the port when it can, and another one meanwhile.
func (p *Port) listen(ctx context.Context, group *errgroup.Group) error {
	var other net.Listener // that accepts
	for pause := time.Duration(0); ; pause = p.again {
		if p.own == nil && (pause > 0 || p.other == nil) {
			if backoff.Wait(ctx, pause) != nil {
				return nil //nolint:nilerr // it ends
			}
			// Later, an address that was good is so still: whatever is wrong passes.
			if err := p.Open(ctx); err != nil && pause == 0 {
				return err
			}
		}
		if p.own != nil {
			p.accept(ctx, group, p.own)
			if p.other != nil {
				p.other.Close() // who has come by it stays
			}
			return nil
		}
		if p.other != other {
			other = p.other
			p.accept(ctx, group, other)
		}
	}
}

// any opens any port that is free; nil if there is none.
func (p *Port) any(ctx context.Context) net.Listener {
	host, _, err := net.SplitHostPort(p.address)
	if err != nil {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil
	}
	return l
}

// accept passes on the connections of a listener until that or ctx ends.
func (p *Port) accept(ctx context.Context, group *errgroup.Group, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	group.Go(func() error {
		defer stop()
		for {
			c, err := l.Accept()
			switch {
			case err == nil:
				p.pass(ctx, c)
			case errors.Is(err, net.ErrClosed) || backoff.Wait(ctx, acceptAgain) != nil:
				return nil
			}
		}
	})
}

func (p *Port) pass(ctx context.Context, c net.Conn) {
	select {
	case p.conns <- c:
	case <-ctx.Done():
		c.Close()
	}
}

// Accept implements net.Listener.
func (p *Port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends Run.
func (p *Port) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *Port) Addr() net.Addr { return wanted(p.address) }

// wanted is an address that may be another's.
type wanted string

func (wanted) Network() string  { return "tcp" }
func (w wanted) String() string { return string(w) }

func portOf(l net.Listener) int {
	if l == nil {
		return 0
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return address.Port
}
