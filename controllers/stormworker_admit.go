package controllers

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// admission is the verdict on whether a worker may run, and with which image.
type admission struct {
	condition metav1.Condition
	// image is the image that the worker is pinned to, nil for none.
	image *api.WorkerImage
}

func admit(reason, message string, image *api.WorkerImage) admission {
	return admission{image: image, condition: metav1.Condition{
		Type: api.WorkerAdmitted, Status: metav1.ConditionTrue, Reason: reason, Message: message,
	}}
}

func refuse(reason, message string, image *api.WorkerImage) admission {
	return admission{image: image, condition: metav1.Condition{
		Type: api.WorkerAdmitted, Status: metav1.ConditionFalse, Reason: reason, Message: message,
	}}
}

func refuseImage(refusal error, image *api.WorkerImage) admission {
	reason, cure := refusalReason(refusal)
	if reason == api.ReasonNotAllowed {
		reason = api.ReasonImageNotAllowed
	}
	return refuse(reason, fmt.Sprintf("%v; %s", refusal, cure), image)
}

// runtimeOf returns the runtime of a worker. A bound worker keeps its runtime; managers
// that knew only Runc recorded none.
func runtimeOf(w *api.StormWorker, byDefault api.Runtime) api.Runtime {
	if bound(w) {
		return cmp.Or(w.Status.Runtime, api.RuntimeRunc)
	}
	return cmp.Or(w.Spec.Runtime, byDefault, api.RuntimeRunc)
}

// admitWorker decides on a worker. images are the StormImages of the tag that
// imageTag names. A bound worker keeps its image, even if the tag has moved
// since. For a runtime that pulls images itself, the allowlist decides.
func admitWorker(w *api.StormWorker, runtime api.Runtime, rules imageRules, images []api.StormImage) admission {
	if bound(w) && w.Status.Image != nil {
		return admitBound(w, runtime, rules)
	}
	tag, err := rules.Select(w.Spec.Image)
	if err != nil {
		return refuseImage(err, nil)
	}
	if runtime.PullsImages() {
		image := &api.WorkerImage{Tag: tag}
		return admit(api.ReasonAdmitted, pinnedMessage(runtime, image), image)
	}
	return admitTag(tag, runtime, images)
}

// admitBound decides again on a worker that has its node and its image. If it has not
// started yet, the image must still be allowed; otherwise it continues to run.
func admitBound(w *api.StormWorker, runtime api.Runtime, rules imageRules) admission {
	image := w.Status.Image
	refusal := rules.Check(image.Tag)
	switch {
	case refusal == nil:
		return admit(api.ReasonAdmitted, pinnedMessage(runtime, image), image)
	case w.Status.StartedAt == nil && w.Status.LastExit == nil:
		return refuseImage(refusal, image)
	default:
		return admit(api.ReasonImageNotAllowed, fmt.Sprintf("%v; the worker had started before and continues to run until it is deleted", refusal), image)
	}
}

func admitTag(tag string, runtime api.Runtime, images []api.StormImage) admission {
	if len(images) == 0 {
		return refuse(api.ReasonImagePending, fmt.Sprintf("image %s is being looked up", tag), nil)
	}
	for _, i := range images {
		if usable(i) {
			image := &api.WorkerImage{Tag: tag, ManifestDigest: i.Status.ManifestDigest}
			return admit(api.ReasonAdmitted, pinnedMessage(runtime, image), image)
		}
	}
	i := images[0]
	resolved := meta.FindStatusCondition(i.Status.Conditions, api.ImageResolved)
	// The StormImage may lag behind the allowlist, which is known to permit it.
	if resolved == nil || !meta.IsStatusConditionTrue(i.Status.Conditions, api.ImageAllowed) {
		return refuse(api.ReasonImagePending, fmt.Sprintf("image %s is being looked up, see StormImage %s", tag, i.Name), nil)
	}
	return refuse(api.ReasonImageNotResolved, fmt.Sprintf("StormImage %s: %s: %s", i.Name, resolved.Reason, resolved.Message), nil)
}

// usable reports whether workers can be pinned to an image: the store has it, or had it
// when it last answered. Nodes may have the layers although the store is away.
func usable(i api.StormImage) bool {
	return meta.IsStatusConditionTrue(i.Status.Conditions, api.ImageAllowed) &&
		!meta.IsStatusConditionFalse(i.Status.Conditions, api.ImageResolved) &&
		i.Status.ManifestDigest != ""
}

func pinnedMessage(runtime api.Runtime, image *api.WorkerImage) string {
	if image.ManifestDigest == "" {
		return fmt.Sprintf("image %s is allowed; %s pulls it on the node", image.Tag, runtime)
	}
	return fmt.Sprintf("image %s is pinned to manifest %s", image.Tag, image.ManifestDigest)
}
