package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/internal/kube/managers"
	"github.com/stormcell/stormcell/test/cluster"
)

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
			identity, err = c.Account(context.Background(), api.ManagerFieldOwner, "")
		}
		if err != nil {
			panic(err)
		}
	}))
}

// waitingManager returns a manager that waits for another, which leads for ever.
func waitingManager(t *testing.T) ctrl.Manager {
	t.Helper()
	admin, err := client.New(testCluster.Config, client.Options{Scheme: kinds.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: api.ManagerFieldOwner},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(3600)), RenewTime: new(metav1.NowMicro())},
	}); err != nil {
		t.Fatal(err)
	}
	objects := map[client.Object]cache.ByObject{}
	CacheObjects(objects)
	managers.CacheSecret(objects)
	mgr, err := ctrl.NewManager(identity, ctrl.Options{
		Scheme: kinds.Scheme(), Cache: cache.Options{ByObject: objects}, Metrics: server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: api.ManagerFieldOwner, LeaderElectionNamespace: api.SystemNamespace,
	})
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// strangers connect, and come again when they are thrown out, until the test ends.
// Some say nothing; the others ask once, are refused, and stay.
func strangers(t *testing.T, address string, n int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var all, first sync.WaitGroup
	for i := range n {
		first.Add(1)
		all.Go(func() {
			connected := sync.OnceFunc(first.Done)
			defer connected()
			for ctx.Err() == nil {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				connected()
				if err != nil {
					_ = backoff.Wait(ctx, 10*time.Millisecond) // the loop looks at ctx
					continue
				}
				end := context.AfterFunc(ctx, func() { conn.Close() })
				stay(conn, i%4 != 0)
				end()
				conn.Close()
			}
		})
	}
	first.Wait()
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
}

// stay is what a stranger does until it is thrown out.
func stay(conn net.Conn, silent bool) {
	if !silent {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		if _, err := io.WriteString(conn, "GET "+connect.Base+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, conn)
}

// TestManagerThatDoesNotLead answers the API server, too, with the rights of the
// manager's role and by a certificate that it has made itself. Strangers who take all
// connections while it starts, from the API server's own address, do not hinder it.
func TestManagerThatDoesNotLead(t *testing.T) {
	mgr := waitingManager(t)
	loopback := cluster.Loopback()
	if err := testCluster.Connect(t.Context(), loopback); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := Setup(ctx, mgr, net.JoinHostPort(loopback, cluster.ConnectPort), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	strangers(t, net.JoinHostPort(loopback, cluster.ConnectPort), 3000)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil && !strings.Contains(err.Error(), "leader election lost") {
			t.Error(err)
		}
	}()
	clients, err := discovery.NewDiscoveryClientForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	var last error
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) {
		var found *metav1.APIResourceList
		found, last = clients.ServerResourcesForGroupVersion(connectv1.GroupVersion.String())
		return last == nil && len(found.APIResources) == 3, nil
	})
	if err != nil {
		t.Error(err, last)
	}
	select {
	case <-mgr.Elected():
		t.Error("it leads")
	default:
	}
}
