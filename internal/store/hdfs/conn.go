package hdfs

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"
)

// The buffers of connections in bytes: a DataNode sends packets of 64 KiB, a
// NameNode small answers.
const (
	dataBuffer = 128 << 10
	nameBuffer = 4 << 10
)

// conn is a connection whose peer must not be silent for longer than timeout
// while we wait for it. The library sets deadlines of its own, mostly none;
// they are ignored.
type conn struct {
	net.Conn
	reader  *bufio.Reader
	timeout time.Duration
	// first, if set, looks at what comes first.
	first func(*bufio.Reader) error
	// failed and closed, if set, hear of a failed read or write, and of Close.
	failed func(error)
	closed func()
}

func newConn(c net.Conn, timeout time.Duration, buffer int) *conn {
	return &conn{Conn: c, timeout: timeout, reader: bufio.NewReaderSize(&patientReader{c, timeout}, buffer)}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.first != nil {
		if err := c.first(c.reader); err != nil {
			return 0, c.tell(err)
		}
		c.first = nil
	}
	n, err := c.reader.Read(p)
	return n, c.tell(err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, c.tell(err)
	}
	n, err := c.Conn.Write(p)
	return n, c.tell(err)
}

func (c *conn) tell(err error) error {
	if err != nil && c.failed != nil {
		c.failed(err)
	}
	return err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return c.Conn.Close()
}

// SetDeadline implements net.Conn; it does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; it does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; it does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// patientReader gives each read from the network the same time.
type patientReader struct {
	conn    net.Conn
	timeout time.Duration
}

func (r *patientReader) Read(p []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, err
	}
	n, err := r.conn.Read(p)
	// Neither protocol ends by closing the connection. The library takes an
	// EOF from a DataNode for the end of the block, and asks the same node
	// again and again.
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
