package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/message"
	"github.com/stormcell/stormcell/internal/node/prefetch"
)

// stormNodeStatus is what the queue's states make of n's status. What n says of
// an image stands while it is only looked at: after a restart, or to see
// whether it is still there. passing tells that such a look is under way.
func stormNodeStatus(n *api.StormNode, states []prefetch.State, now time.Time) (status api.StormNodeStatus, passing bool) {
	status = api.StormNodeStatus{
		ObservedGeneration: n.Generation,
		ImagesWanted:       new(int32(len(states))), //nolint:gosec // MaxStormNodeImages at most
		ImagesReady:        new(int32),
		ImagesFailed:       new(int32),
	}
	for _, s := range states {
		image := imageStatusOf(s)
		said := saidOfImage(n, s.Tag, string(s.ManifestDigest))
		switch {
		case s.Phase == prefetch.Fetching && now.Sub(s.Since) < lookDelay(said):
			passing = true
			fallthrough
		case s.Phase == prefetch.Pending:
			if said != nil {
				image = *said
			} else {
				image.State, image.Bytes = api.PrefetchPending, 0
			}
		}
		switch image.State {
		case api.PrefetchReady:
			*status.ImagesReady++
		case api.PrefetchFailed:
			*status.ImagesFailed++
		case api.PrefetchPending, api.PrefetchFetching:
		}
		status.Images = append(status.Images, image)
	}
	return status, passing
}

// listening are the conditions of n when the ports that a message names are taken;
// with "" none is.
func listening(n *api.StormNode, taken string, now time.Time) []metav1.Condition {
	c := metav1.Condition{Type: api.NodeListening, Status: metav1.ConditionTrue, Reason: api.ReasonListening, Message: "the agent listens on its ports"}
	if taken != "" {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, api.ReasonPortTaken, taken
	}
	conditions := condition.Select(n.Status.Conditions, api.NodeListening)
	condition.Set(&conditions, c, n.Generation, now)
	return conditions
}

// readyDelay is how long a look at an image that was ready may last until it
// is told of as a fetch: a busy disk is no news.
const readyDelay = 2 * time.Second

func lookDelay(said *api.StormNodeImageStatus) time.Duration {
	if said != nil && said.State == api.PrefetchReady {
		return readyDelay
	}
	return passingDelay
}

var prefetchStates = map[prefetch.Phase]api.PrefetchState{
	prefetch.Pending:  api.PrefetchPending,
	prefetch.Fetching: api.PrefetchFetching,
	prefetch.Ready:    api.PrefetchReady,
	prefetch.Failed:   api.PrefetchFailed,
}

func imageStatusOf(s prefetch.State) api.StormNodeImageStatus {
	image := api.StormNodeImageStatus{
		Tag: s.Tag, ManifestDigest: string(s.ManifestDigest), State: prefetchStates[s.Phase],
		Bytes: s.Bytes, TotalBytes: s.TotalBytes,
	}
	if s.Phase == prefetch.Failed {
		image.Reason = cmp.Or(reasonOf(s.Err), api.ReasonLocalizeFailed)
		image.Message = fmt.Sprintf("%s; next attempt at %s UTC", message.Truncate(s.Err.Error(), condition.MaxMessage), s.RetryAt.UTC().Format(time.TimeOnly))
	}
	return image
}

// saidOfImage is what n's status says of an image, nil for nothing.
func saidOfImage(n *api.StormNode, tag, manifestDigest string) *api.StormNodeImageStatus {
	for i := range n.Status.Images {
		if s := &n.Status.Images[i]; s.Tag == tag && s.ManifestDigest == manifestDigest {
			return s
		}
	}
	return nil
}

// onlyBytes tells whether two statuses differ in nothing but bytes.
func onlyBytes(a, b api.StormNodeStatus) bool {
	without := func(s api.StormNodeStatus) api.StormNodeStatus {
		s.Images = slices.Clone(s.Images)
		for i := range s.Images {
			s.Images[i].Bytes, s.Images[i].TotalBytes = 0, 0
		}
		return s
	}
	return equality.Semantic.DeepEqual(without(a), without(b))
}
