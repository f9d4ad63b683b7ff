package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// The agent answers probes on a unix socket in its run root, which only root
// sees into. A worker has the node's network and outlives the agent, so it
// could take a port before the next agent does, and with it that agent's life.
func healthSocket(runRoot string) string { return filepath.Join(runRoot, "health.sock") }

const (
	// probeLimit is how long an answer to a probe may take.
	probeLimit = 5 * time.Second
	// maxAnswer is how much of an answer is repeated, in bytes.
	maxAnswer = 4 << 10
)

// healthServer answers probes.
type healthServer struct {
	socket       string
	alive, ready healthz.Checker
}

// Start implements manager.Runnable. The run root's lock is held, so a socket
// that is there is an earlier agent's.
func (s *healthServer) Start(ctx context.Context) error {
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", s.socket)
	if err != nil {
		return fmt.Errorf("listen for probes: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/alive", http.StripPrefix("/alive", &healthz.Handler{Checks: map[string]healthz.Checker{"alive": s.alive}}))
	mux.Handle("/ready", http.StripPrefix("/ready", &healthz.Handler{Checks: map[string]healthz.Checker{"objects": s.ready}}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: probeLimit, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer probes: %w", err)
	}
	return nil
}

// probe asks the agent of a run root whether it is "alive" or "ready".
func probe(ctx context.Context, runRoot, what string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", healthSocket(runRoot))
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node-agent/"+what, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no node-agent answers: %w; see its log", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the node-agent's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the node-agent is not %s: %s", what, strings.TrimSpace(string(text)))
	}
	return nil
}

// probeCommand is what kubelet's probes run in the agent's container.
func probeCommand() *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use:   "probe {alive|ready}",
		Short: "Ask this node's agent whether it is alive, or ready",
		Long: `probe asks the node-agent that runs on this node whether it is alive, or ready:
then it knows the cluster's objects. It asks by a socket in the run root, so it
needs root, and the flags by which the agent finds its configuration.`,
		Example: `  # On the node:
  node-agent probe ready

  # In the agent's pod, as kubelet does it:
  node-agent probe alive --enter-host`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"alive", "ready"}, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			conf, err := o.configure(slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return probe(c.Context(), conf.first.Node.RunRoot, args[0])
		},
	}
	o.registerPlaces(c.Flags())
	return c
}
