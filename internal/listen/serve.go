// Package listen answers on ports that anybody reaches. Those who are not known
// yet get nothing there that others need; and a port that another program has is
// tried again until it is free.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	maxHeaderBytes = 32 << 10
	headerLimit    = 10 * time.Second
	idleLimit      = 90 * time.Second
	// closeLimit is how long an answer that has begun may take at the end.
	closeLimit = 2 * time.Second
)

// Serve answers on listener until ctx ends, and with it what is being answered; by
// TLS, unless config is nil. The handler calls Known once it knows who asks.
func Serve(ctx context.Context, listener net.Listener, config *tls.Config, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, TLSConfig: config, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerLimit, IdleTimeout: idleLimit,
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: remember,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
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
	guarded := newGuard(listener, newRoom(maxStrangers, maxOfAddress, maxServed, strangerLimit))
	defer guarded.Close()
	var err error
	if config == nil {
		err = server.Serve(guarded)
	} else {
		err = server.ServeTLS(guarded, "", "")
	}
	if !stop() {
		<-closed
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
	return nil
}
