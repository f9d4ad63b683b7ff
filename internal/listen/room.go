package listen

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Limits on those who are not known yet, for each port.
const (
	// maxStrangers is how many connections of strangers are open at once, and
	// maxOfAddress how many of them from one address. One that waits costs little
	// but a descriptor; one that is thrown out comes again, which costs more.
	maxStrangers = 4096
	maxOfAddress = 2048
	// maxServed is how many of them are answered at once.
	maxServed = 256
	// strangerLimit is how long somebody may stay unknown.
	strangerLimit = 10 * time.Second
)

// room has the connections of those who are not known yet. It is never closed to
// anybody: if it is full, the oldest of the address that has most of them goes.
type room struct {
	total, ofAddress, atOnce int
	limit                    time.Duration

	mu sync.Mutex
	// strangers are by address, the oldest first.
	strangers map[netip.Prefix][]*conn
	size      int
	served    int // of them
	closed    bool
	// arrived has something in it when somebody waits.
	arrived chan struct{}
}

func newRoom(total, ofAddress, atOnce int, limit time.Duration) *room {
	return &room{
		total: total, ofAddress: ofAddress, atOnce: atOnce, limit: limit,
		strangers: map[netip.Prefix][]*conn{}, arrived: make(chan struct{}, 1),
	}
}

// conn is a connection, at first a stranger's.
type conn struct {
	net.Conn
	room *room
	from netip.Prefix
	// limit ends the stay of a stranger.
	limit *time.Timer
	// served is that its handshake has begun, under the room's lock.
	served bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.room.leave(c)
	return c.Conn.Close()
}

// admit lets a connection in, to wait until it is served.
func (r *room) admit(is net.Conn) {
	c := &conn{Conn: is, room: r, from: addressOf(is.RemoteAddr().String())}
	c.limit = time.AfterFunc(r.limit, func() { c.Close() })
	r.mu.Lock()
	out := r.makePlace(c.from)
	if r.closed {
		out = append(out, c)
	} else {
		r.strangers[c.from] = append(r.strangers[c.from], c)
		r.size++
	}
	r.mu.Unlock()
	for _, o := range out {
		o.Close()
	}
	r.ring()
}

func (r *room) ring() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// makePlace takes out whoever has to go for one more from an address.
func (r *room) makePlace(from netip.Prefix) []*conn {
	if len(r.strangers[from]) < r.ofAddress {
		if r.size < r.total {
			return nil
		}
		for address, all := range r.strangers {
			if len(all) > len(r.strangers[from]) {
				from = address
			}
		}
	}
	if len(r.strangers[from]) == 0 {
		return nil
	}
	oldest := r.strangers[from][0]
	r.remove(oldest)
	return []*conn{oldest}
}

// remove takes c out if it is in; the lock is held.
func (r *room) remove(c *conn) {
	all := r.strangers[c.from]
	at := slices.Index(all, c)
	if at < 0 {
		return
	}
	c.limit.Stop()
	r.size--
	if c.served {
		r.served--
	}
	if len(all) == 1 {
		delete(r.strangers, c.from)
		return
	}
	r.strangers[c.from] = slices.Delete(all, at, at+1)
}

// leave is for those who go, and for those who are known.
func (r *room) leave(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(c)
}

// next returns whoever is to be served, nil if nobody waits: of the address that
// has the fewest strangers, the one who came last. Under a flood those who came
// early have given up, and those who come in crowds can wait for each other. If too
// many are being served, the one who has been for longest goes, of a crowd again.
func (r *room) next() *conn {
	r.mu.Lock()
	found := r.lastOfFewest()
	var slow *conn
	if found != nil {
		if r.served >= r.atOnce {
			slow = r.slowest()
		}
		if slow != nil {
			r.remove(slow)
		}
		found.served = true
		r.served++
	}
	r.mu.Unlock()
	if slow != nil {
		slow.Close()
	}
	return found
}

// lastOfFewest is for next; the lock is held.
func (r *room) lastOfFewest() *conn {
	var found *conn
	for _, all := range r.strangers {
		if found != nil && len(all) >= len(r.strangers[found.from]) {
			continue
		}
		if last := lastWaiting(all); last != nil {
			found = last
		}
	}
	return found
}

// slowest is, of the address with most strangers that has one who is being served,
// the oldest of those; the lock is held.
func (r *room) slowest() *conn {
	var found *conn
	for _, all := range r.strangers {
		if found != nil && len(all) <= len(r.strangers[found.from]) {
			continue
		}
		if at := slices.IndexFunc(all, func(c *conn) bool { return c.served }); at >= 0 {
			found = all[at]
		}
	}
	return found
}

func lastWaiting(all []*conn) *conn {
	for _, c := range slices.Backward(all) {
		if !c.served {
			return c
		}
	}
	return nil
}

// close turns out all who wait, and admits nobody any more.
func (r *room) close() {
	r.mu.Lock()
	r.closed = true
	var waiting []*conn
	for _, all := range r.strangers {
		for _, c := range all {
			if !c.served {
				waiting = append(waiting, c)
			}
		}
	}
	r.mu.Unlock()
	for _, c := range waiting {
		c.Close()
	}
	r.ring()
}

// addressOf is what counts as one address: with IPv6 a machine has a whole /64,
// and of the loopback everybody on the machine has a whole /8.
func addressOf(remote string) netip.Prefix {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // of all that have none, such as unix sockets
	}
	ip := address.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	switch {
	case ip.Is6():
		bits = 64
	case ip.IsLoopback():
		bits = 8
	}
	prefix, _ := ip.Prefix(bits) // the bits fit
	return prefix
}

// Address returns what counts as one address of a client's, from an
// http.Request's RemoteAddr.
func Address(remote string) string { return addressOf(remote).String() }
