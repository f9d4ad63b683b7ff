package controllers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/condition"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

// imageFindings is what a StormImage's status is made of.
type imageFindings struct {
	// refusal is the allowlist's; nil if it permits the tag.
	refusal error
	// image is what the store has, or err says why not. With both, image is
	// what it had before err. Neither is looked for if the tag is refused.
	image *manifest.Image
	err   error
}

// imageStatus returns the status that follows from the findings. It keeps the store's
// last answer as long as the store is unavailable.
func imageStatus(i *api.StormImage, f imageFindings, now time.Time) api.StormImageStatus {
	status := *i.Status.DeepCopy()
	allowed := allowedCondition(f.refusal)
	if f.image != nil {
		setImage(&status, f.image, now)
	}
	resolved := resolvedCondition(f, status.ManifestDigest)
	if resolved.Status == metav1.ConditionFalse || allowed.Status == metav1.ConditionFalse {
		status.ManifestDigest, status.Config, status.Layers, status.ResolvedAt = "", nil, nil, nil
	}
	for _, c := range []metav1.Condition{allowed, resolved, readyImage(allowed, resolved)} {
		condition.Set(&status.Conditions, c, i.Generation, now)
	}
	return status
}

func setImage(status *api.StormImageStatus, image *manifest.Image, now time.Time) {
	if digest := image.ManifestDigest.String(); status.ManifestDigest != digest {
		status.ManifestDigest = digest
		status.ResolvedAt = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	status.Config = &api.ImageBlob{Digest: image.Config.Digest.String(), Size: image.Config.Size}
	status.Layers = make([]api.ImageLayer, 0, len(image.Layers))
	for _, l := range image.Layers {
		status.Layers = append(status.Layers, api.ImageLayer{
			Digest: l.Digest.String(), Size: l.Size, File: l.File,
			SquashfsDigest: l.Squashfs.Digest.String(), SquashfsSize: l.Squashfs.Size,
		})
	}
}

func allowedCondition(refusal error) metav1.Condition {
	if refusal == nil {
		return metav1.Condition{
			Type: api.ImageAllowed, Status: metav1.ConditionTrue, Reason: api.ReasonAllowed,
			Message: "storm.oci.allowed.images permits the tag",
		}
	}
	reason, cure := refusalReason(refusal)
	return metav1.Condition{
		Type: api.ImageAllowed, Status: metav1.ConditionFalse, Reason: reason,
		Message: fmt.Sprintf("%v; %s", refusal, cure),
	}
}

// refusalReason returns why the allowlist refuses an image, and the cure.
func refusalReason(refusal error) (reason, cure string) {
	switch {
	case errors.Is(refusal, allowlist.ErrNoImages):
		return api.ReasonNoImagesAllowed, "list the image in storm.oci.allowed.images of the manager's storm.yaml"
	case errors.Is(refusal, allowlist.ErrNoDockerImages):
		return api.ReasonNoImagesAllowed, "list the image there in the manager's storm.yaml"
	case errors.Is(refusal, allowlist.ErrNoDockerImage):
		return api.ReasonNoImage, "create the worker again with spec.image"
	case errors.Is(refusal, allowlist.ErrNotFullName):
		return api.ReasonImageNameNotFull, "create the worker again with the full name, if that image is meant"
	case errors.Is(refusal, allowlist.ErrNoDefault):
		return api.ReasonNoImage, "set spec.image of the worker, or storm.oci.image in the manager's storm.yaml"
	case errors.Is(refusal, allowlist.ErrMalformed):
		return api.ReasonMalformedName, "correct the name: [registry[:port]/]repository[:tag], repository in lower case, no digest"
	default:
		return api.ReasonNotAllowed, "add it there in the manager's storm.yaml, or use an image of that list"
	}
}

// resolvedCondition returns the condition of what is known of the image; last is the
// digest of the manifest that was found last, "" for none.
func resolvedCondition(f imageFindings, last string) metav1.Condition {
	c := metav1.Condition{Type: api.ImageResolved, Status: metav1.ConditionTrue, Reason: api.ReasonResolved}
	switch {
	case f.refusal != nil:
		c.Status, c.Reason = metav1.ConditionUnknown, api.ReasonNotAllowed
		c.Message = "the store is not asked for an image that is not allowed"
	case f.err != nil:
		t := storeTrouble(f.err)
		c.Status, c.Reason, c.Message = t.status, t.reason, f.err.Error()
		if f.image != nil {
			c.Status = metav1.ConditionUnknown
		}
		if t.cure != "" {
			c.Message += "; " + t.cure
		}
		if c.Status == metav1.ConditionUnknown && last != "" {
			c.Message += fmt.Sprintf("; until then the last answer is used, manifest %s, which may be stale", last)
		}
	default:
		c.Message = resolvedMessage(f.image)
	}
	return c
}

func resolvedMessage(image *manifest.Image) string {
	unknown := 0
	for _, l := range image.Layers {
		if l.Squashfs.Digest == "" {
			unknown++
		}
	}
	message := fmt.Sprintf("manifest %s, %d layers, %d bytes of squashfs", image.ManifestDigest, len(image.Layers), image.SquashfsBytes())
	if unknown > 0 {
		message += fmt.Sprintf("; nodes cannot verify %d of the layers, which have no identity file in the store: push the image again with docker-to-squash", unknown)
	}
	return message
}

// trouble is what an error of the store means for an image.
type trouble struct {
	err error
	// status is False where the store has answered, Unknown where it has not.
	status metav1.ConditionStatus
	reason string
	// cure is what helps, "" where the error says it itself.
	cure string
}

const pushAnew = "push the image again with docker-to-squash"

// troubles are matched in order: the first whose err is in the chain counts.
var troubles = []trouble{
	{tags.ErrTagNotFound, metav1.ConditionFalse, api.ReasonTagNotFound, ""},
	{store.ErrUnavailable, metav1.ConditionUnknown, api.ReasonStoreUnavailable, "make the store available again, or correct storm.oci.image.hdfs.toplevel.dir in the manager's storm.yaml"},
	{context.DeadlineExceeded, metav1.ConditionUnknown, api.ReasonStoreUnavailable, "the store did not answer in time: check its health"},
	{store.ErrManifestMissing, metav1.ConditionFalse, api.ReasonManifestMissing, pushAnew},
	{store.ErrConfigMissing, metav1.ConditionFalse, api.ReasonConfigMissing, pushAnew},
	{store.ErrLayerMissing, metav1.ConditionFalse, api.ReasonLayerMissing, pushAnew},
	{store.ErrIdentityMismatch, metav1.ConditionFalse, api.ReasonLayerInvalid, "the layer's file or its identity file was altered: remove both and " + pushAnew},
	{store.ErrUnverifiable, metav1.ConditionFalse, api.ReasonLayerInvalid, pushAnew + ", or set stormcell.image.verify to if-present"},
	{manifest.ErrDigestMismatch, metav1.ConditionFalse, api.ReasonManifestInvalid, "the file was altered: remove it and " + pushAnew},
	{manifest.ErrMalformed, metav1.ConditionFalse, api.ReasonManifestInvalid, pushAnew},
	{manifest.ErrUnsupported, metav1.ConditionFalse, api.ReasonManifestInvalid, pushAnew},
	{tags.ErrUnreadable, metav1.ConditionUnknown, api.ReasonStoreUnreadable, "check the tag file; docker-to-squash --bootstrap creates one if it is missing"},
	// After the tag file, which may be too large as well.
	{store.ErrTooLarge, metav1.ConditionFalse, api.ReasonManifestInvalid, "no document of an image is that large: remove the file and " + pushAnew},
	{fs.ErrPermission, metav1.ConditionUnknown, api.ReasonStoreUnreadable, "give the manager's user read access to the store"},
}

func storeTrouble(err error) trouble {
	for _, t := range troubles {
		if errors.Is(err, t.err) {
			return t
		}
	}
	return trouble{status: metav1.ConditionUnknown, reason: api.ReasonStoreUnreadable, cure: "check the health of the store"}
}

// readyImage returns Ready: the first of the conditions that is not true, or true.
func readyImage(allowed, resolved metav1.Condition) metav1.Condition {
	for _, c := range []metav1.Condition{allowed, resolved} {
		if c.Status != metav1.ConditionTrue {
			c.Type = api.ImageReady
			return c
		}
	}
	return metav1.Condition{
		Type: api.ImageReady, Status: metav1.ConditionTrue, Reason: api.ReasonResolved,
		Message: "workers can use the image",
	}
}
