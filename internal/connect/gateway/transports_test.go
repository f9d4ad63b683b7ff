package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/connect"
)

// TestConnectionsAreKept: one question after the other needs one handshake, and an
// agent with another certificate gets a connection of its own.
func TestConnectionsAreKept(t *testing.T) {
	handshakes := map[string]bool{}
	node, n := serveAgent(t, func(w http.ResponseWriter, req *http.Request) {
		handshakes[req.RemoteAddr] = true
		_, _ = w.Write([]byte("{}"))
	})
	by := newTransports(noCertificate)
	for range 3 {
		if err := reach(t, by, node, n).read(t.Context(), "/", new(map[string]any)); err != nil {
			t.Fatal(err)
		}
	}
	if len(handshakes) != 1 {
		t.Errorf("3 questions took %d connections", len(handshakes))
	}
	before := reach(t, by, node, n).by
	if reach(t, by, node, n).by != before {
		t.Error("the same agent is reached in another way")
	}
	other, _, err := connect.SelfSigned("n1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Agent.CABundle = other
	a := reach(t, by, node, n)
	if err := a.read(t.Context(), "/", new(map[string]any)); err == nil || a.by == before {
		t.Error("the connection to the agent before is used for one with another certificate")
	}
}

// TestDialsAgain: a server that strangers keep busy, so that it does not answer the
// first attempts or cuts them off, is reached all the same.
func TestDialsAgain(t *testing.T) {
	node, n := serveAgent(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	at, err := targetOf(node, n)
	if err != nil {
		t.Fatal(err)
	}
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	var attempts atomic.Int32
	agents := at.address
	go func() {
		for {
			conn, err := busy.Accept()
			if err != nil {
				return
			}
			switch attempts.Add(1) {
			case 1: // no answer
				defer conn.Close()
			case 2:
				conn.Close()
			default:
				go forward(conn, agents)
			}
		}
	}()
	at.address = busy.Addr().String()
	a := &agent{target: at, by: newTransports(noCertificate).to(at)}
	if err := a.read(t.Context(), "/", new(map[string]any)); err != nil || attempts.Load() < 3 {
		t.Errorf("after %d attempts: %v", attempts.Load(), err)
	}
}

// forward passes what one end says to the other.
func forward(from net.Conn, address string) {
	defer from.Close()
	to, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = to.(*net.TCPConn).ReadFrom(from) }()
	_, _ = from.(*net.TCPConn).ReadFrom(to)
}

// TestNobodyListens: that is no reason to wait.
func TestNobodyListens(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, err = dial(t.Context(), "tcp", address, &tls.Config{ServerName: "n1", MinVersion: tls.VersionTLS13})
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}
