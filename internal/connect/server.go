package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits on those who are not known yet.
const (
	maxConnections = 512
	maxHeaderBytes = 32 << 10
	headerLimit    = 10 * time.Second
	idleLimit      = 90 * time.Second
	// closeLimit is how long an answer that has begun may take at the end.
	closeLimit = 2 * time.Second
)

// Serve answers on listener until ctx ends, and with it what is being answered.
func Serve(ctx context.Context, listener net.Listener, config *tls.Config, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, TLSConfig: config, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerLimit, IdleTimeout: idleLimit,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	err := server.ServeTLS(netutil.LimitListener(listener, maxConnections), "", "")
	if !stop() {
		<-closed
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
	return nil
}
