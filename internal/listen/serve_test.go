package listen

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// serving serves by TLS to those who say that they are known, and says where.
func serving(t *testing.T) (address string, client *http.Client) {
	t.Helper()
	pattern := httptest.NewUnstartedServer(nil)
	pattern.StartTLS()
	t.Cleanup(pattern.Close)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	config := &tls.Config{Certificates: pattern.TLS.Certificates, MinVersion: tls.VersionTLS13}
	go func() {
		ended <- Serve(ctx, listener, config, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Known") != "" {
				Known(req.Context())
			}
			_, _ = io.WriteString(w, req.RemoteAddr)
		}), slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	insecure := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	return listener.Addr().String(), &http.Client{Transport: &http.Transport{TLSClientConfig: insecure}}
}

func ask(t *testing.T, client *http.Client, address, known string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Known", known)
	response, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestIdleConnections: more than there are places for one address, some of them after the
// handshake, neither shut the port for others nor end the connection of somebody who
// is known. All come from that address.
func TestIdleConnections(t *testing.T) {
	address, client := serving(t)
	own := ask(t, client, address, "yes")
	for n := range 3000 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if n%100 == 0 { // each costs the server a handshake, of which there are so many in a second
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context())
		}
	}
	if now := ask(t, client, address, "yes"); now != own {
		t.Error("the connection of somebody who is known was ended")
	}
	client.CloseIdleConnections()
	if now := ask(t, client, address, "yes"); now == own {
		t.Error("the new connection is the old one")
	}
}

// TestStrangersAfterTheHandshake have to go, too.
func TestStrangersAfterTheHandshake(t *testing.T) {
	r := newRoom(4, 4, 4, time.Hour)
	client, server := net.Pipe()
	defer client.Close()
	r.admit(server)
	c := r.next()
	ctx := remember(t.Context(), tls.Server(c, new(tls.Config)))
	c.limit.Reset(time.Millisecond)
	if _, err := client.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // as io.Reader has it
		t.Errorf("it ends with %v", err)
	}
	Known(ctx) // too late, which does no harm
}
