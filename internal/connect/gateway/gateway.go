// Package gateway is the manager's side of connect: the API server forwards requests
// to it, and it forwards them to the agent of the worker's node.
package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/listen"
)

// What the manager needs for this: to ask who may, to be known to agents, and
// the certificate that all managers serve with. That of the API server's client
// is in a ConfigMap that Kubernetes' own role lets it read.
//
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=connect.stormcell.dev,resources=stormworkers/log;stormworkers/stats,verbs=get
// +kubebuilder:rbac:groups=connect.stormcell.dev,resources=stormworkerstats,verbs=list
// +kubebuilder:rbac:groups=apiregistration.k8s.io,resources=apiservices,resourceNames=v1alpha1.connect.stormcell.dev,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",namespace=stormcell-system,resources=serviceaccounts/token,resourceNames=stormcell-manager,verbs=create
// +kubebuilder:rbac:groups="",namespace=stormcell-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=stormcell-system,resources=secrets,resourceNames=stormcell-manager-connect,verbs=get;list;watch;update

// maxStreams is how many logs can be read at once by way of one manager.
const maxStreams = 256

// Gateway answers the API server, whether or not its manager leads.
type Gateway struct {
	listener    net.Listener
	certificate *certificate
	proxy       *frontProxy
	handler     *connect.Handler
	log         *slog.Logger
}

// CacheObjects narrows a manager's cache to the objects that this package watches,
// but for the Secret, for which package managers does.
func CacheObjects(objects map[client.Object]cache.ByObject) {
	objects[apiService()] = cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", apiServiceName)}
}

// Setup opens an address and registers a Gateway with mgr.
func Setup(ctx context.Context, mgr ctrl.Manager, address string, log *slog.Logger) error {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up connect: %w", err)
	}
	proxy, err := newFrontProxy(clients)
	if err != nil {
		return err
	}
	guard, err := connect.NewGuard(mgr.GetConfig(), proxy)
	if err != nil {
		return err
	}
	c := &certificate{client: mgr.GetClient(), reader: mgr.GetAPIReader()}
	b := &backend{
		objects: mgr.GetClient(), tokens: newTokens(clients.CoreV1().ServiceAccounts(api.SystemNamespace)),
		transports: newTransports(c.present),
	}
	if err := c.setup(mgr); err != nil {
		return fmt.Errorf("set up the certificate of connect: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the API server (--connect-bind-address): %w", err)
	}
	return mgr.Add(&Gateway{
		listener: listener, certificate: c, proxy: proxy,
		handler: connect.NewHandler(b, guard, maxStreams, connect.Themselves, log), log: log,
	})
}

// Start implements manager.Runnable.
func (g *Gateway) Start(ctx context.Context) error {
	go g.proxy.run(ctx)
	config := &tls.Config{GetCertificate: g.certificate.serve, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	return listen.Serve(ctx, g.listener, config, g.handler, g.log)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*Gateway) NeedLeaderElection() bool { return false }
