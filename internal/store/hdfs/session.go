package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store/hdfs/sasl"
)

// errEnded is what a session's connections fail with once it is over.
var errEnded = errors.New("the connection was abandoned")

// session is one client of the library with the connections that it made. The
// library knows no contexts, keeps a lock while it waits for a NameNode, and
// does not find back after some errors; so a session is used by one operation
// at a time, is ended by closing its connections, and is not used again after
// an error that is no answer of the NameNode.
type session struct {
	client *hdfs.Client
	cancel context.CancelFunc
	// dataConnections is the number of connections to DataNodes so far.
	dataConnections atomic.Int64

	mu    sync.Mutex
	ended bool
	// conns are the open connections, true for those to DataNodes.
	conns map[net.Conn]bool
	// nameNode is the address that was last connected to.
	nameNode string
	// fault is why the last connection to a NameNode failed. The library keeps
	// the text of it only, or nothing.
	fault error
}

// newSession connects to the first NameNode of options that lets us in. What
// goes to DataNodes is protected by protection, or not if that is empty.
func newSession(ctx context.Context, options hdfs.ClientOptions, timeout time.Duration, protection sasl.Level, admit func(ctx context.Context, addr string) error) (*session, error) {
	// The library dials with a context of its own, which never ends.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &session{cancel: cancel, conns: make(map[net.Conn]bool)}
	dialer := &net.Dialer{Timeout: timeout}
	options.NamenodeDialFunc = func(_ context.Context, network, addr string) (net.Conn, error) {
		c, err := s.dialNameNode(life, dialer, network, addr, admit)
		if err != nil {
			s.note(addr, err)
			return nil, err
		}
		return c, nil
	}
	options.DatanodeDialFunc = func(_ context.Context, network, addr string) (net.Conn, error) {
		s.dataConnections.Add(1)
		return s.dialDataNode(life, dialer, network, addr, protection)
	}
	stop := context.AfterFunc(ctx, s.end)
	defer stop()
	client, err := hdfs.NewClient(options)
	if err != nil {
		s.end()
		err, _ = s.judge(err)
		return nil, err
	}
	s.client = client
	return s, nil
}

func (s *session) dialNameNode(ctx context.Context, d *net.Dialer, network, addr string, admit func(context.Context, string) error) (net.Conn, error) {
	raw, err := s.dial(ctx, d, network, addr)
	if err != nil {
		return nil, err
	}
	if err := admit(ctx, addr); err != nil {
		raw.Close()
		return nil, err
	}
	s.mu.Lock()
	s.nameNode, s.fault = addr, nil
	s.mu.Unlock()
	c := newConn(raw, d.Timeout, nameBuffer)
	c.first, c.failed = peekRefusal, func(err error) { s.note(addr, err) }
	return s.adopt(raw, false, c)
}

// trustedPorts are those below: only root can serve there, and Hadoop takes that
// for the proof that a DataNode is one.
const trustedPorts = 1024

func (s *session) dialDataNode(ctx context.Context, d *net.Dialer, network, addr string, protection sasl.Level) (net.Conn, error) {
	raw, err := s.dial(ctx, d, network, addr)
	if err != nil {
		return nil, err
	}
	c, err := s.adopt(raw, true, newConn(raw, d.Timeout, dataBuffer))
	if err != nil || protection == "" {
		return c, err
	}
	if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok && tcp.Port < trustedPorts {
		return c, nil
	}
	return sasl.Guard(c, protection), nil
}

func (s *session) dial(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		// Not to be taken for the fs.ErrPermission of a file, as a
		// firewall's EPERM is.
		return nil, errors.New(err.Error())
	}
	return c, nil
}

// adopt remembers a connection, to close it when the session ends.
func (s *session) adopt(raw net.Conn, data bool, c *conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		raw.Close()
		return nil, errEnded
	}
	s.conns[raw] = data
	c.closed = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, raw)
	}
	return c, nil
}

// note keeps why a NameNode cannot be spoken to.
func (s *session) note(addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nameNode, s.fault = addr, fmt.Errorf("NameNode %s: %w", addr, err)
}

// judge tells from the error of an operation whether the session is good for
// another one, and returns the error with what the library dropped of it.
func (s *session) judge(err error) (cause error, good bool) { //nolint:revive // not an error of judge's
	if answered(err) {
		return err, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault, false
	}
	return err, errors.Is(err, ErrNoReplica)
}

// hangUp closes the connections to DataNodes: the library forgets to, where a
// read went over to another node.
func (s *session) hangUp() { s.drop(func(data bool) bool { return data }) }

// end closes all connections, for good; what waits for one of them fails.
func (s *session) end() {
	s.cancel()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.drop(func(bool) bool { return true })
}

func (s *session) drop(which func(data bool) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, data := range s.conns {
		if which(data) {
			c.Close()
			delete(s.conns, c)
		}
	}
}

// close ends the session and the library's lease renewal.
func (s *session) close() {
	s.end()
	if s.client != nil {
		_ = s.client.Close() // its connections are closed already
	}
}

// address is that of the NameNode that was last connected to.
func (s *session) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nameNode
}

// faulty tells whether the last connection to a NameNode failed.
func (s *session) faulty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault != nil
}
