package listen

import (
	"net"
	"testing"
	"time"
)

// fake is a connection from an address that only tells whether it was closed.
type fake struct {
	net.Conn
	from   address
	closed chan struct{}
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func (f *fake) RemoteAddr() net.Addr { return f.from }

func (f *fake) Close() error {
	close(f.closed)
	return nil
}

func (f *fake) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

func from(a address) *fake { return &fake{from: a, closed: make(chan struct{})} }

// TestRoomIsOpenToOthers: whoever fills it gives way to those who come, the oldest
// first, and those from an address with fewer are neither thrown out nor kept waiting.
func TestRoomIsOpenToOthers(t *testing.T) {
	r := newRoom(4, 3, 4, time.Hour)
	var crowd []*fake
	come := func(a address) *fake {
		c := from(a)
		r.admit(c)
		return c
	}
	for range 4 {
		crowd = append(crowd, come("10.0.0.1:1"))
	}
	if !crowd[0].isClosed() || crowd[1].isClosed() {
		t.Error("beyond its share, an address does not lose its oldest connection")
	}
	one := come("10.0.0.2:1")
	two := come("10.0.0.3:1")
	if !crowd[1].isClosed() || crowd[2].isClosed() || one.isClosed() || two.isClosed() {
		t.Error("when all places are taken, the address with most of them does not lose its oldest")
	}
	served := map[address]bool{r.next().RemoteAddr().(address): true, r.next().RemoteAddr().(address): true}
	if !served["10.0.0.2:1"] || !served["10.0.0.3:1"] {
		t.Errorf("served first are %v", served)
	}
	if c := r.next(); c == nil || c.Conn != net.Conn(crowd[3]) {
		t.Error("of one address, the latest is not served first")
	}
	r.close()
	late := come("10.0.0.4:1")
	if !crowd[2].isClosed() || !late.isClosed() || crowd[3].isClosed() || one.isClosed() {
		t.Error("at the end those who wait go, and nobody else")
	}
}

// TestServedStrangersMakePlace: those who are being served, and say nothing, go when
// others wait, those of a crowd first and the slowest of them.
func TestServedStrangersMakePlace(t *testing.T) {
	r := newRoom(9, 9, 3, time.Hour)
	serve := func(a address) *fake {
		c := from(a)
		r.admit(c)
		if got := r.next(); got == nil || got.Conn != net.Conn(c) {
			t.Fatalf("%v is not served", a)
		}
		return c
	}
	one := serve("10.0.0.2:1")
	slow, other := serve("10.0.0.1:1"), serve("10.0.0.1:2")
	serve("10.0.0.3:1")
	if !slow.isClosed() || other.isClosed() || one.isClosed() || r.served != 3 {
		t.Errorf("%d are served; the slowest of the crowd went: %v", r.served, slow.isClosed())
	}
}

// TestStrangersHaveToGo: in time, unless they are known by then.
func TestStrangersHaveToGo(t *testing.T) {
	r := newRoom(4, 4, 4, time.Hour)
	known, stranger := from("10.0.0.1:1"), from("10.0.0.1:2")
	r.admit(known)
	r.leave(r.next())
	r.limit = time.Millisecond
	r.admit(stranger)
	<-stranger.closed
	if known.isClosed() {
		t.Error("one who is known was thrown out")
	}
	if r.next() != nil || r.size != 0 || r.served != 0 || len(r.strangers) != 0 {
		t.Errorf("%d are left, of %v", r.size, r.strangers)
	}
}

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"10.1.2.3:4": "10.1.2.3/32", "[::ffff:10.1.2.3]:4": "10.1.2.3/32", "127.3.2.1:4": "127.0.0.0/8",
		"[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64", "[fe80::1%eth0]:7": "fe80::/64", "@": "invalid Prefix",
	} {
		if got := Address(remote); got != want {
			t.Errorf("%s counts as %s, want %s", remote, got, want)
		}
	}
}
