package node

import (
	"log/slog"
	"net"
	"testing"

	"k8s.io/client-go/rest"
)

// TestPortIsTaken: whoever has the agent's port, the agent starts, and tells
// where it is.
func TestPortIsTaken(t *testing.T) {
	workers, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer workers.Close()
	s, err := Listen(t.Context(), workers.Addr().String(), backend(), &rest.Config{Host: "https://127.0.0.1:1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	if taken := workers.Addr().(*net.TCPAddr).Port; s.Port() == 0 || s.Port() == taken {
		t.Errorf("it listens at port %d, and %d is taken", s.Port(), taken)
	}
}
