package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/test/cluster"
)

const patience = 30 * time.Second

var (
	testCluster *cluster.Cluster
	// identity is the manager's service account.
	identity *rest.Config
)

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) {
		testCluster = c
		err := c.Install(context.Background(), "base")
		if err == nil {
			identity, err = c.Account(context.Background(), "stormcell-manager", "")
		}
		if err != nil {
			panic(err)
		}
	}))
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, "storm.oci.allowed.images: 7\nstorm.oci.imag: x\nstorm.local.dir: /var/storm\n")
	hdfs := filepath.Join(dir, "far.yaml")
	write(t, hdfs, stormYAML("gopher://nn/containers", "a:1"))
	good := filepath.Join(dir, "good.yaml")
	write(t, good, stormYAML("file:///nonexistent/store", "a:1"))
	tests := []struct {
		name string
		args []string
		say  []string
	}{
		{"no configuration", []string{"--config", filepath.Join(dir, "none.yaml")}, []string{"none.yaml", "--config"}},
		{"every problem of a configuration", []string{"--config", bad}, []string{"bad.yaml:1: storm.oci.allowed.images", "bad.yaml:2: storm.oci.imag: unknown key", "storm.oci.image.hdfs.toplevel.dir"}},
		{"store of no known kind", []string{"--config", hdfs}, []string{"gopher"}},
		{"no such kubeconfig", []string{"--config", good, "--kubeconfig", filepath.Join(dir, "none")}, []string{"--kubeconfig", "none"}},
		{"impatient", []string{"--node-lease-duration", "5s"}, []string{"--node-lease-duration", "at least 20s"}},
		{"negative rate", []string{"--kube-api-qps", "-1"}, []string{"--kube-api-qps", "0 or more"}},
		{"log level", []string{"--log-level", "loud"}, []string{"--log-level", "debug, info, warn or error"}},
		{"log format", []string{"--log-format", "xml"}, []string{"--log-format", "text or json"}},
		{"an argument", []string{"start"}, []string{"start"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := command()
			c.SetArgs(tt.args)
			c.SetErr(io.Discard)
			err := c.ExecuteContext(t.Context())
			if err == nil {
				t.Fatal("accepted")
			}
			for _, s := range tt.say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error does not say %q: %v", s, err)
				}
			}
		})
	}
}

// TestManager runs the whole command, as its role, against an API server.
func TestManager(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if err := localdir.New(store).Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "storm.yaml")
	write(t, config, stormYAML("file://"+store, "a:1"))
	probes := net.JoinHostPort(cluster.Loopback(), "8081")
	stop := start(t, "--config", config, "--kubeconfig", kubeconfig(t), "--health-probe-bind-address", probes, "--connect-bind-address", "127.0.0.1:0", "--log-level", "error")

	c := adminClient(t)
	allowed, refused := image("a:1"), image("b:1")
	for _, i := range []*api.StormImage{allowed, refused} {
		if err := c.Create(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { return ready(c, allowed, api.ReasonTagNotFound) })
	eventually(t, func() error { return ready(c, refused, api.ReasonNotAllowed) })
	eventually(t, func() error { return get("http://" + probes + "/readyz") })

	write(t, config, stormYAML("file://"+store, "a:1", "b:1"))
	eventually(t, func() error { return ready(c, refused, api.ReasonTagNotFound) })

	write(t, config, "storm.oci.allowed.images: 7\n") // the last good one stays
	write(t, config, stormYAML("file://"+store, "b:1"))
	eventually(t, func() error { return ready(c, allowed, api.ReasonNotAllowed) })

	stop()
	lease := new(coordinationv1.Lease)
	key := client.ObjectKey{Namespace: api.SystemNamespace, Name: api.ManagerFieldOwner}
	if err := c.Get(context.Background(), key, lease); err != nil {
		t.Fatal(err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != "" {
		t.Errorf("%s still leads after its end", holder)
	}
}

// start runs the command; stop ends it and waits.
func start(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c := command()
	c.SetArgs(args)
	go func() { done <- c.ExecuteContext(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func stormYAML(store string, images ...string) string {
	return fmt.Sprintf(`storm.local.dir: /var/storm
storm.log.dir: /var/log/storm
storm.oci.image.hdfs.toplevel.dir: %q
storm.oci.allowed.images: [%s]
storm.oci.image: %s
storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs: 2
`, store, strings.Join(images, ", "), images[0])
}

// write replaces a file whole, as kubelet does.
func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func kubeconfig(t *testing.T) string {
	t.Helper()
	name, err := cluster.WriteKubeconfig(identity, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func adminClient(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func image(tag string) *api.StormImage {
	return &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: api.ImageName(tag)}, Spec: api.StormImageSpec{Tag: tag}}
}

// ready checks the reason of an image's condition Ready.
func ready(c client.Client, i *api.StormImage, reason string) error {
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(i), i); err != nil {
		return err
	}
	if got := meta.FindStatusCondition(i.Status.Conditions, api.ImageReady); got == nil || got.Reason != reason {
		return fmt.Errorf("%s: Ready is %+v, want %s", i.Name, got, reason)
	}
	return nil
}

func get(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("after %s: %v", patience, last)
	}
}
