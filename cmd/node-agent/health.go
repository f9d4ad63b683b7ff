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

// The agent answers probes on a unix socket in a directory that only root sees
// into. A worker has the node's network and outlives the agent, so it could
// take a port before the next agent does, and with it that agent's life.
func healthSocket(dir string) string { return filepath.Join(dir, "health.sock") }

// probeProgram is a link to this program beside the socket. kubelet's probes run
// in the name spaces of the agent, which has left its pod: the files of the
// pod's image are not there.
func probeProgram(dir string) string { return filepath.Join(dir, "node-agent") }

const (
	// probeLimit is how long an answer to a probe may take.
	probeLimit = 5 * time.Second
	// maxAnswer is how much of an answer is repeated, in bytes.
	maxAnswer = 4 << 10
)

// healthServer answers probes.
type healthServer struct {
	dir          string
	alive, ready healthz.Checker
}

// Start implements manager.Runnable. The run root's lock is held, so what is
// there is an earlier agent's.
func (s *healthServer) Start(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for probes: %w", err)
	}
	defer os.Remove(s.dir) // a run root has more in it, and stays
	for _, path := range []string{healthSocket(s.dir), probeProgram(s.dir)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what an earlier agent had for probes: %w", err)
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", healthSocket(s.dir))
	if err != nil {
		return fmt.Errorf("listen for probes: %w", err)
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/exe", os.Getpid()), probeProgram(s.dir)); err != nil {
		listener.Close()
		return fmt.Errorf("link the program for probes: %w", err)
	}
	defer os.Remove(probeProgram(s.dir))
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

// probe asks the agent whose socket is in dir whether it is "alive" or "ready".
func probe(ctx context.Context, dir, what string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", healthSocket(dir))
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
then it knows the cluster's objects. It asks by a socket that only root reaches:
in the agent's --probe-dir, or else in the run root that the configuration names.`,
		Example: `  # On a node whose agent is a service of systemd's:
  node-agent probe ready

  # As kubelet asks an agent that has left its pod, with its own --probe-dir:
  /run/stormcell-probe/node-agent probe alive --probe-dir /run/stormcell-probe`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"alive", "ready"}, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			if o.probeDir != "" {
				return probe(c.Context(), o.probeDir, args[0])
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
