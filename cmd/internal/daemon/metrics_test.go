package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/test/cluster"
)

// admin may all, daemons are the configurations of both daemons' own accounts.
var (
	admin   *rest.Config
	daemons = map[string]*rest.Config{}
)

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) {
		admin = c.Config
		ctx := context.Background()
		if err := c.Install(ctx, "base"); err != nil {
			panic(err)
		}
		for _, name := range []string{"manager", "node-agent"} {
			conf, err := c.Account(ctx, "stormcell-"+name, "")
			if err != nil {
				panic(err)
			}
			daemons[name] = conf
		}
	}))
}

func TestOnLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:9082": true, "127.8.9.10:1": true, "[::1]:9082": true, "localhost:9082": true,
		":9082": false, "0.0.0.0:9082": false, "[::]:9082": false, "10.0.0.1:9082": false, "localhost.example:9082": false, "127.0.0.1": false, "": false,
	} {
		if got := onLoopback(address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}

// serve starts a daemon's server of metrics, and returns its address.
func serve(t *testing.T, host string, conf *rest.Config) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{MetricsAddress: listener.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.ServeMetrics(ctx, listener, conf, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", listener.Addr().(*net.TCPAddr).Port)
}

// get asks until the server is there.
func get(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		resp, err := client.Do(req)
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(content)
	}
}

// reader makes a service account, bound to the role or not, and returns a token.
func reader(t *testing.T, name string, bound bool) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	accounts := clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if bound {
		_, err := clients.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stormcell-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: metav1.NamespaceDefault}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	token, err := accounts.CreateToken(t.Context(), name, new(authenticationv1.TokenRequest), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// TestMetricsBeyondLoopback: with the rights that either daemon has, those who
// may read metrics do, and nobody else.
func TestMetricsBeyondLoopback(t *testing.T) {
	for daemon, conf := range daemons {
		t.Run(daemon, func(t *testing.T) {
			url := "https://" + serve(t, "0.0.0.0", conf) + "/metrics"
			may := reader(t, "may-"+daemon, true)
			for _, c := range []struct {
				name, token string
				want        int
			}{
				{"nobody", "", http.StatusUnauthorized},
				{"a token of nobody's", "nonsense", http.StatusUnauthorized},
				{"a token that is too long", strings.Repeat("a", 1<<15), http.StatusUnauthorized},
				{"somebody without the right", reader(t, "may-not-"+daemon, false), http.StatusForbidden},
				{"a reader", may, http.StatusOK},
				{"a reader again", may, http.StatusOK},
			} {
				status, body := get(t, url, c.token)
				if status != c.want || (status == http.StatusOK) != strings.Contains(body, "go_goroutines") {
					t.Errorf("%s gets %d: %.200s", c.name, status, body)
				}
			}
		})
	}
}

// TestMetricsOnLoopback: without HTTPS, for whoever is on the machine.
func TestMetricsOnLoopback(t *testing.T) {
	address := serve(t, "127.0.0.1", daemons["manager"])
	if status, body := get(t, "http://"+address+"/metrics", ""); status != http.StatusOK {
		t.Errorf("%d: %s", status, body)
	}
}

// TestMetricsWhileTheAPIServerIsAway: nobody is let in unseen.
func TestMetricsWhileTheAPIServerIsAway(t *testing.T) {
	address := serve(t, "0.0.0.0", &rest.Config{Host: "https://127.0.0.1:1"})
	if status, body := get(t, "https://"+address+"/metrics", "some"); status != http.StatusServiceUnavailable {
		t.Errorf("%d: %s", status, body)
	}
}

// TestMetricsUnderAFlood: a reader whose token was good reads on, while somebody
// shows tokens of nobody's from the same address. Those are refused, and so are more
// of them than the API server is asked about.
func TestMetricsUnderAFlood(t *testing.T) {
	url := "https://" + serve(t, "0.0.0.0", daemons["manager"]) + "/metrics"
	may := reader(t, "under-a-flood", true)
	if status, body := get(t, url, may); status != http.StatusOK {
		t.Fatalf("%d: %s", status, body)
	}
	said := map[int]int{}
	shown := 0
	for ; shown < 1000 && said[http.StatusTooManyRequests] == 0; shown++ {
		status, _ := get(t, url, fmt.Sprint("nobody's", shown))
		said[status]++
	}
	if said[http.StatusTooManyRequests] == 0 || said[http.StatusTooManyRequests]+said[http.StatusUnauthorized] != shown {
		t.Errorf("strangers get %v", said)
	}
	if status, body := get(t, url, may); status != http.StatusOK {
		t.Errorf("the reader gets %d: %s", status, body)
	}
}
