package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/review"
)

// maxStreams is how many logs of a node can be read at once. Each that is
// followed takes one of root's inotify instances, of which there are 128.
const maxStreams = 32

// lifetime is longer than any agent runs: its certificate is made anew at each start.
const lifetime = 10 * 365 * 24 * time.Hour

// Server answers the manager, on a port of its own.
type Server struct {
	listener    net.Listener
	certificate tls.Certificate
	pem         []byte
	handler     *connect.Handler
	log         *slog.Logger
}

// Listen opens an address for a backend, with a new certificate. config is of the API
// server, which authorizes the callers.
func Listen(ctx context.Context, address string, backend *Backend, config *rest.Config, log *slog.Logger) (*Server, error) {
	tokens, err := review.Tokens(config, connect.Audience(backend.Node))
	if err != nil {
		return nil, err
	}
	guard, err := connect.NewGuard(config, bearertoken.New(tokens))
	if err != nil {
		return nil, err
	}
	certificate, key, err := connect.SelfSigned(backend.Node, time.Now().Add(lifetime))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	listener, err := listen(ctx, address, log)
	if err != nil {
		return nil, fmt.Errorf("listen for the manager (--connect-bind-address): %w", err)
	}
	return &Server{
		listener: listener, certificate: pair, pem: certificate,
		handler: connect.NewHandler(backend, guard, maxStreams, log), log: log,
	}, nil
}

// listen takes another port if that of address is taken: a worker, which has the
// host's network, must not keep an agent from starting. The manager is told.
func listen(ctx context.Context, address string, log *slog.Logger) (net.Listener, error) {
	config := new(net.ListenConfig)
	listener, err := config.Listen(ctx, "tcp", address)
	host, _, splitErr := net.SplitHostPort(address)
	if !errors.Is(err, syscall.EADDRINUSE) || splitErr != nil {
		return listener, err
	}
	listener, otherErr := config.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if otherErr != nil {
		return nil, otherErr
	}
	log.Warn("another program uses the port for the manager", "error", err, "instead", listener.Addr(),
		"cure", "if a firewall allows the manager no other port, stop that program and restart the agent")
	return listener, nil
}

// Port is where the server listens.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port } //nolint:errcheck // of a TCP listener

// Certificate is by what the server is known, as PEM.
func (s *Server) Certificate() []byte { return s.pem }

// Start implements manager.Runnable.
func (s *Server) Start(ctx context.Context) error {
	config := &tls.Config{Certificates: []tls.Certificate{s.certificate}, MinVersion: tls.VersionTLS13}
	return connect.Serve(ctx, s.listener, config, s.handler, s.log)
}
