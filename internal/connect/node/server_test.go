package node

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/internal/listen"
)

// TestPortIsTaken: whoever has the agent's port, the agent starts, and tells
// where it is.
func TestPortIsTaken(t *testing.T) {
	workers, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer workers.Close()
	var told listen.State
	s, err := NewServer(workers.Addr().String(), backend(), &rest.Config{Host: "https://127.0.0.1:1"},
		func(_ context.Context, state listen.State) { told = state }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.port.Close()
	if taken := workers.Addr().(*net.TCPAddr).Port; told.Port == 0 || told.Port == taken || !told.Taken {
		t.Errorf("it tells %+v, and %d is taken", told, taken)
	}
	other, err := NewServer("nonsense", backend(), &rest.Config{}, nil, slog.New(slog.DiscardHandler))
	if err == nil {
		err = other.Open(t.Context())
	}
	if err == nil {
		t.Error("it listens at nonsense")
	}
}
