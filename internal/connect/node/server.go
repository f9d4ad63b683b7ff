package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/managers"
	"github.com/stormcell/stormcell/internal/kube/review"
	"github.com/stormcell/stormcell/internal/listen"
)

// maxStreams is how many logs of a node can be read at once. Each that is
// followed takes one of root's inotify instances, of which there are 128.
const maxStreams = 32

// lifetime is longer than any agent runs: its certificate is made anew at each start.
const lifetime = 10 * 365 * 24 * time.Hour

// Server answers the manager, on a port of its own.
type Server struct {
	port    *listen.Port
	door    door
	pem     []byte
	handler *connect.Handler
	log     *slog.Logger
}

// NewServer returns a server of a backend at an address, with a new certificate.
// config is of the API server, which authorizes the callers. While another program
// has the port it listens at another one; each is told. It lets in nobody before
// Trust.
func NewServer(address string, backend *Backend, config *rest.Config, told func(context.Context, listen.State), log *slog.Logger) (*Server, error) {
	tokens, err := review.NewTokens(config, review.Only{Audience: connect.Audience(backend.Node), User: managers.User})
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
	return &Server{
		port: listen.NewPort(address, true, told), door: door{own: pair}, pem: certificate,
		handler: connect.NewHandler(backend, guard, maxStreams, connect.OnBehalf, log), log: log,
	}, nil
}

// Trust lets in the managers that have a certificate of a bundle in PEM, and
// nobody else from now on.
func (s *Server) Trust(bundle []byte) { s.door.trust(bundle) }

// Certificate is by what the server is known, as PEM.
func (s *Server) Certificate() []byte { return s.pem }

// Open tries to have the port, which may be another program's. Its error is that the
// address is none to listen at.
func (s *Server) Open(ctx context.Context) error {
	if err := s.port.Open(ctx); err != nil {
		return fmt.Errorf("listen for the manager (--connect-bind-address): %w", err)
	}
	return nil
}

// Start implements manager.Runnable.
func (s *Server) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.port.Run(ctx); err != nil {
			return fmt.Errorf("listen for the manager (--connect-bind-address): %w", err)
		}
		return nil
	})
	group.Go(func() error { return listen.Serve(ctx, s.port, s.door.config(), s.handler, s.log) })
	return group.Wait()
}
