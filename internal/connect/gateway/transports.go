package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// idleConnections are kept for the next questions to an agent, for idleLimit,
	// which is shorter than the agent's own.
	idleConnections = 4
	idleLimit       = 60 * time.Second
	// dialAgain is when another connection is tried beside one that an agent has
	// not answered: strangers may keep that busy, who are not told from us before
	// the handshake.
	dialAgain = 300 * time.Millisecond
	// maxDials is how many connections are tried for one question.
	maxDials = 10
)

// target is a server that is to be an agent's.
type target struct {
	node, address string
	// roots is by what it is known, trusts by what it knows managers.
	roots, trusts []byte
}

func (t target) equal(o target) bool {
	return t.node == o.node && t.address == o.address && bytes.Equal(t.roots, o.roots) && bytes.Equal(t.trusts, o.trusts)
}

// transports keep connections to agents, so that questions need no handshake each.
type transports struct {
	// present returns the certificate for those who trust a bundle; nil if there
	// is none.
	present func(bundle []byte) *tls.Certificate

	mu     sync.Mutex
	byNode map[string]*transport
}

// transport reaches one agent, by one certificate.
type transport struct {
	*http.Transport
	target      target
	certificate *tls.Certificate
}

func newTransports(present func([]byte) *tls.Certificate) *transports {
	return &transports{present: present, byNode: map[string]*transport{}}
}

// to returns what reaches a target. A node has one at a time: what reached another
// agent of it, or by another certificate, ends with its last answer.
func (t *transports) to(target target) *transport {
	certificate := t.present(target.trusts)
	t.mu.Lock()
	defer t.mu.Unlock()
	is := t.byNode[target.node]
	if is != nil && is.certificate == certificate && is.target.equal(target) {
		return is
	}
	if is != nil {
		is.CloseIdleConnections()
	}
	is = newTransport(target, certificate)
	t.byNode[target.node] = is
	return is
}

// newTransport follows no redirection and keeps no more than it must.
func newTransport(target target, certificate *tls.Certificate) *transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(target.roots)
	config := &tls.Config{RootCAs: roots, ServerName: target.node, MinVersion: tls.VersionTLS13}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &transport{
		Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dial(ctx, network, address, config)
			},
			ResponseHeaderTimeout: answerLimit, MaxResponseHeaderBytes: maxHeaders,
			MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleLimit, DisableCompression: true,
		},
		target: target, certificate: certificate,
	}
}

// dialed is what came of an attempt.
type dialed struct {
	conn net.Conn
	err  error
}

// dial connects, and makes the handshake. It tries again beside an attempt that is
// not answered, and after one that is cut off, until dialLimit has passed.
func dial(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	dialer := &tls.Dialer{Config: config}
	results := make(chan dialed)
	try := func() {
		conn, err := dialer.DialContext(ctx, network, address)
		select {
		case results <- dialed{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}
	again := time.NewTicker(dialAgain)
	defer again.Stop()
	go try()
	var last error
	for tried := 1; ; {
		select {
		case r := <-results:
			if r.err == nil || final(r.err) {
				return r.conn, r.err
			}
			last = r.err
		case <-again.C:
			if tried++; tried <= maxDials {
				go try()
			}
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), last)
		}
	}
}

// final tells whether another attempt would end with the same error: all but
// those of a server that is too busy.
func final(err error) bool {
	return !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF)
}
