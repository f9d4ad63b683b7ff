package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/stormcell/stormcell/internal/backoff"
)

// A handshake costs a third of a millisecond of CPU, and a connection that is let in
// and thrown out a fiftieth. So there are so many of both in a second, and some more
// when it was quiet before.
const (
	handshakesPerSecond  = 100
	handshakesAtOnce     = 50
	connectionsPerSecond = 2000
	connectionsAtOnce    = 1000
)

// acceptAgain is the pause after a connection that could not be accepted, as
// when there are no descriptors left.
const acceptAgain = 100 * time.Millisecond

// guard is a listener that keeps those who are not known from using up what
// others need: their number, their time and their handshakes are limited.
type guard struct {
	net.Listener
	room *room
	// arrivals and turns pace who is let in, and who is served.
	arrivals, turns *rate.Limiter

	ctx   context.Context //nolint:containedctx // until Close; Accept has none
	end   context.CancelFunc
	group sync.WaitGroup
}

func newGuard(listener net.Listener, r *room) *guard {
	g := &guard{
		Listener: listener, room: r,
		arrivals: rate.NewLimiter(connectionsPerSecond, connectionsAtOnce), turns: rate.NewLimiter(handshakesPerSecond, handshakesAtOnce),
	}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.group.Go(g.admit)
	return g
}

// admit lets in who comes, soon: in the kernel's queue one waits behind all others.
func (g *guard) admit() {
	for g.arrivals.Wait(g.ctx) == nil {
		c, err := g.Listener.Accept()
		switch {
		case err == nil:
			g.room.admit(c)
		case errors.Is(err, net.ErrClosed) || backoff.Wait(g.ctx, acceptAgain) != nil:
			g.end()
			return
		}
	}
}

// Accept implements net.Listener. It returns whose turn it is.
func (g *guard) Accept() (net.Conn, error) {
	for {
		select {
		case <-g.ctx.Done():
			return nil, net.ErrClosed
		case <-g.room.arrived:
		}
		if g.turns.Wait(g.ctx) != nil {
			return nil, net.ErrClosed
		}
		if c := g.room.next(); c != nil {
			g.room.ring() // for those who may still wait
			return c, nil
		}
	}
}

// Close implements net.Listener. It turns out those who wait, and nobody else.
func (g *guard) Close() error {
	g.end()
	err := g.Listener.Close()
	g.group.Wait()
	g.room.close()
	return err
}

// connKey is where a request's context has its connection.
type connKey struct{}

// remember is for http.Server.ConnContext.
func remember(ctx context.Context, is net.Conn) context.Context {
	if secure, ok := is.(*tls.Conn); ok {
		is = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, is)
}

// Known says that whoever sent the request of ctx is known: the limits on
// strangers no longer hold for the connection.
func Known(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		c.room.leave(c)
	}
}
