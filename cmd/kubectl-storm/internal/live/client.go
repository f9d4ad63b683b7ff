// Package live reads the logs and the current usage of workers from their nodes, through
// the API server.
package live

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// Client speaks to connect.stormcell.dev.
type Client struct{ rest rest.Interface }

// NewClient makes a client that connects as config does.
func NewClient(config *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := connect.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	own := rest.CopyConfig(config)
	own.GroupVersion, own.APIPath = &connect.GroupVersion, "/apis"
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &Client{rest: client}, nil
}

// Log opens the log of a worker; the caller closes it. Errors name the worker,
// the cause and the cure.
func (c *Client) Log(ctx context.Context, worker types.NamespacedName, options connect.LogOptions) (io.ReadCloser, error) {
	request := c.rest.Get().Namespace(worker.Namespace).Resource(connect.ResourceWorkers).Name(worker.Name).SubResource(connect.SubresourceLog)
	for name, values := range options.Query() {
		request.Param(name, values[0])
	}
	log, err := request.Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of worker %s in namespace %s: %w", worker.Name, worker.Namespace, cured(err))
	}
	return log, nil
}

// Sample is what running workers use.
type Sample map[types.NamespacedName]connect.StormWorkerStats

// parallel is how many namespaces are asked at once.
const parallel = 8

// Sample asks what the running workers of namespaces use. Of those that cannot
// be had, a sentence each says why.
func (c *Client) Sample(ctx context.Context, namespaces []string) (Sample, []string) {
	var (
		lock     sync.Mutex
		sample   = Sample{}
		troubles = map[string]bool{}
		group    errgroup.Group
	)
	group.SetLimit(parallel)
	for _, namespace := range namespaces {
		group.Go(func() error {
			list := &connect.StormWorkerStatsList{}
			err := c.rest.Get().Namespace(namespace).Resource(connect.ResourceWorkerStats).Do(ctx).Into(list)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				troubles[cured(err).Error()] = true
				return nil
			}
			for _, node := range list.Unreachable {
				troubles[fmt.Sprintf("node %s: %s", node.Node, node.Message)] = true
			}
			for _, item := range list.Items {
				sample[types.NamespacedName{Namespace: namespace, Name: item.Name}] = item
			}
			return nil
		})
	}
	_ = group.Wait() // troubles are collected
	return sample, slices.Sorted(maps.Keys(troubles))
}

// cured adds to an error of connect.stormcell.dev what helps.
func cured(err error) error {
	group := connect.GroupVersion.Group
	apiService := fmt.Sprintf("kubectl get apiservice %s.%s", connect.GroupVersion.Version, group)
	switch {
	case apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		return fmt.Errorf("this cluster does not serve %s: install or upgrade stormcell (%s shows whether it is served)", group, apiService)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: kubectl storm ps -A lists the existing workers", err)
	case apierrors.IsServiceUnavailable(err) && !strings.Contains(err.Error(), "node"):
		return fmt.Errorf("the manager, which serves %s, cannot be reached: %w; %s -o yaml shows why", group, err, apiService)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; ask an admin to bind you to ClusterRole stormcell-view or stormcell-edit", err)
	default:
		return err
	}
}
