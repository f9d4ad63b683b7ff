package listen

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// states receives what a Port tells.
type states chan State

func (s states) told(_ context.Context, is State) { s <- is }

// await returns the first state that is as wanted.
func (s states) await(want func(State) bool) State {
	for is := range s {
		if want(is) {
			return is
		}
	}
	return State{}
}

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// running runs a Port until the test ends.
func running(t *testing.T, p *Port) {
	t.Helper()
	p.again = 10 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// anywhere is any port of an address that no other program is likely to use, so that
// the port stays free when it is.
func anywhere() string {
	return fmt.Sprintf("127.%d.%d.1:0", 1+rand.IntN(254), rand.IntN(256))
}

func dialTo(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPortIsTriedAgain: while another program has it, nobody waits for it; when it
// is free, it is taken, and who came by the other port stays.
func TestPortIsTriedAgain(t *testing.T) {
	taker := listenAt(t, anywhere())
	told := make(states, 1000)
	p := NewPort(taker.Addr().String(), true, told.told)
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := told.await(func(s State) bool { return s.Taken })
	if other.Port == 0 || other.Port == portOf(taker) {
		t.Fatalf("%+v while the port is taken", other)
	}
	running(t, p)
	early := dialTo(t, (&net.TCPAddr{IP: taker.Addr().(*net.TCPAddr).IP, Port: other.Port}).String())
	accepted, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	taker.Close()
	told.await(func(s State) bool { return !s.Taken && s.Port == portOf(taker) })
	if _, err := io.WriteString(early, "x"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(accepted, make([]byte, 1)); err != nil {
		t.Errorf("who came by the other port: %v", err)
	}
	dialTo(t, taker.Addr().String())
	if _, err := p.Accept(); err != nil {
		t.Error(err)
	}
}

// TestPortThatIsNeededAlone is not looked for elsewhere.
func TestPortThatIsNeededAlone(t *testing.T) {
	taker := listenAt(t, anywhere())
	told := make(states, 1000)
	p := NewPort(taker.Addr().String(), false, told.told)
	running(t, p)
	if is := told.await(func(s State) bool { return s.Taken }); is.Port != 0 {
		t.Errorf("%+v", is)
	}
	taker.Close()
	told.await(func(s State) bool { return !s.Taken && s.Port == portOf(taker) })
}

func TestAddressThatIsNone(t *testing.T) {
	if err := NewPort("nonsense", true, nil).Run(t.Context()); err == nil {
		t.Error("it listens")
	}
}
