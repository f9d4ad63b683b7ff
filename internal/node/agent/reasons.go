package agent

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/localizer"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store"
)

// reasonsOfErrors name failures that a person can do something about.
var reasonsOfErrors = []struct {
	err    error
	reason string
}{
	{localizer.ErrCorrupt, api.ReasonImageCorrupt},
	{localizer.ErrEvicted, api.ReasonEvicted},
	{localizer.ErrDiskFull, api.ReasonDiskFull},
	{store.ErrUnverifiable, api.ReasonLayerInvalid},
	{store.ErrIdentityMismatch, api.ReasonLayerInvalid},
	{store.ErrLayerMissing, api.ReasonLayerMissing},
	{store.ErrConfigMissing, api.ReasonConfigMissing},
	{store.ErrManifestMissing, api.ReasonManifestMissing},
	{store.ErrUnavailable, api.ReasonStoreUnavailable},
	{hostuser.ErrRefused, api.ReasonUserRefused},
	{hostuser.ErrUnknownGroup, api.ReasonGroupUnknown},
	{bundle.ErrBindSourceMissing, api.ReasonBindSourceMissing},
	{runtime.ErrOff, api.ReasonRuntimeMissing},
	{runtime.ErrUnknown, api.ReasonRuntimeMissing},
}

// reasonsOfSteps name the other failures by where they happened.
var reasonsOfSteps = map[engine.Step]string{
	engine.StepLocalize: api.ReasonLocalizeFailed,
	engine.StepMount:    api.ReasonMountFailed,
}

// failureReason names a failed launch of a worker in a runtime.
func failureReason(r api.Runtime, err error) string {
	if errors.Is(err, runtime.ErrUnavailable) {
		return r.ReasonUnavailable()
	}
	if _, ok := errors.AsType[runtime.ImageError](err); ok {
		return api.ReasonImagePullFailed
	}
	if reason := reasonOf(err); reason != "" {
		return reason
	}
	if step, ok := errors.AsType[*engine.StepError](err); ok {
		if reason, ok := reasonsOfSteps[step.Step]; ok {
			return reason
		}
	}
	return api.ReasonStartFailed
}

// reasonOf names an error that a person can do something about, "" for others.
func reasonOf(err error) string {
	for _, r := range reasonsOfErrors {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return ""
}

// eventType is Warning for reasons that want a person's eye.
func eventType(reason string) string {
	switch reason {
	case api.ReasonLocalizing, api.ReasonStarting, api.ReasonRunning, api.ReasonCompleted, api.ReasonStopping, api.ReasonRemoved:
		return corev1.EventTypeNormal
	default:
		return corev1.EventTypeWarning
	}
}
