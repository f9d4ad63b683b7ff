package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/listen"
)

// serveAgent serves an agent of node n1, good or taken over, and says how it is
// reached.
func serveAgent(t *testing.T, answer http.HandlerFunc) (*corev1.Node, *api.StormNode) {
	t.Helper()
	certificate, key, err := connect.SelfSigned("n1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}
	go func() { ended <- listen.Serve(ctx, listener, config, answer, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "unknown.invalid"}, {Type: corev1.NodeInternalIP, Address: "127.0.0.1"},
	}}}
	agent := &api.StormNodeAgent{Port: int32(listener.Addr().(*net.TCPAddr).Port), CABundle: certificate}
	return node, &api.StormNode{Status: api.StormNodeStatus{Agent: agent}}
}

// noCertificate is of a manager that has none yet.
func noCertificate([]byte) *tls.Certificate { return nil }

// reach returns how a manager asks an agent.
func reach(t *testing.T, by *transports, node *corev1.Node, n *api.StormNode) *agent {
	t.Helper()
	at, err := targetOf(node, n)
	if err != nil {
		t.Fatal(err)
	}
	return &agent{target: at, token: "token", by: by.to(at)}
}

// TestHostileAgent: what a node says that was taken over is refused in words,
// and costs little.
func TestHostileAgent(t *testing.T) {
	status := func(code int, s metav1.Status) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(s)
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		code   int32
		say    string
	}{
		{"unauthorized is not who asks", status(401, metav1.Status{Message: "Unauthorized"}), 503, "it rejects the manager: Unauthorized"},
		{"nor forbidden", status(403, metav1.Status{Message: "no"}), 503, "config/rbac"},
		{"a refusal", status(400, metav1.Status{Message: "not started", Reason: metav1.StatusReasonBadRequest}), 400, "not started"},
		{"a long one", status(404, metav1.Status{Message: strings.Repeat("x", 9000)}), 404, strings.Repeat("x", maxMessage-len("…")) + "…"},
		{"a redirection", func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "https://127.0.0.1:1/", http.StatusFound)
		}, 503, "answers 302 without a message"},
		{"nonsense", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, 503, "answer is invalid"},
		{"without an end", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"kind":"`)
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		}, 503, "answer is invalid"},
		{"headers without an end", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, 503, "headers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node, n := serveAgent(t, tt.answer)
			a := reach(t, newTransports(noCertificate), node, n)
			err := a.read(t.Context(), "/", new(map[string]any))
			var refusal apierrors.APIStatus
			if !errors.As(err, &refusal) || refusal.Status().Code != tt.code || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("%.200v, want %d %.80q", err, tt.code, tt.say)
			}
		})
	}
}

// TestAgentIsKnownByItsCertificate: the token goes to no other program that
// listens at the node's port.
func TestAgentIsKnownByItsCertificate(t *testing.T) {
	asked := false
	node, n := serveAgent(t, func(http.ResponseWriter, *http.Request) { asked = true })
	other, _, err := connect.SelfSigned("n1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Agent.CABundle = other
	a := reach(t, newTransports(noCertificate), node, n)
	if _, err := a.get(t.Context(), "/", nil); err == nil || !strings.Contains(err.Error(), "does not have the certificate that the StormNode reports") || asked {
		t.Errorf("asked: %v, %v", asked, err)
	}
}

func TestAgentThatCannotBeReached(t *testing.T) {
	certificate, _, err := connect.SelfSigned("n1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for name, tt := range map[string]struct {
		said *api.StormNodeAgent
		say  string
	}{
		"says nothing":        {nil, "its StormNode does not report how to reach it"},
		"says nonsense":       {&api.StormNodeAgent{Port: 1, CABundle: []byte("x")}, "its StormNode does not report how to reach it"},
		"node has no address": {&api.StormNodeAgent{Port: 1, CABundle: certificate}, "its Node object has no address"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &api.StormNode{Status: api.StormNodeStatus{Agent: tt.said}}
			if _, err := targetOf(node, n); !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("%v, want %q", err, tt.say)
			}
		})
	}
}
