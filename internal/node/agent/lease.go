package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	coordinationv1 "k8s.io/client-go/applyconfigurations/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// The kubelet's own figures: a node that is silent for 40 s counts as lost.
const (
	leaseRenewal  = 10 * time.Second
	leaseDuration = 40 * time.Second
)

// Heartbeat renews the Lease that shows the manager that the agent of this node is
// live. It starts once the agent has recovered what is on the node.
type Heartbeat struct {
	Client client.Client
	Node   string

	renewed atomic.Int64 // the last renewal, in Unix seconds
}

// Beats reports whether the Lease was renewed within its duration.
func (h *Heartbeat) Beats() bool {
	return time.Since(time.Unix(h.renewed.Load(), 0)) < leaseDuration
}

// Start implements manager.Runnable.
func (h *Heartbeat) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := h.renew(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "heartbeat")
		}
	}, leaseRenewal)
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every agent beats.
func (h *Heartbeat) NeedLeaderElection() bool { return false }

func (h *Heartbeat) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRenewal)
	defer cancel()
	lease := coordinationv1.Lease(api.LeaseName(h.Node), api.SystemNamespace).
		WithSpec(coordinationv1.LeaseSpec().
			WithHolderIdentity(h.Node).
			WithLeaseDurationSeconds(int32(leaseDuration / time.Second)).
			WithRenewTime(metav1.NowMicro()))
	if err := h.Client.Apply(ctx, lease, client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("renew Lease %s/%s: %w", api.SystemNamespace, api.LeaseName(h.Node), err)
	}
	h.renewed.Store(time.Now().Unix())
	return nil
}
