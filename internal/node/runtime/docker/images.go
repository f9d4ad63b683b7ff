package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store/allowlist"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Why an image cannot be had.
var (
	// ErrImageName is a name outside of the grammar of images.
	ErrImageName = errors.New("malformed image name")
	// ErrPull is an image that the registry does not give. The text says why.
	ErrPull error = runtime.ImageError("pull image")
	// ErrNotPresent is an image that this node lacks and may not pull.
	ErrNotPresent error = runtime.ImageError("Docker has no image")
)

// Images brings images to this node's Docker by its own means.
type Images struct {
	*Daemon
	// Config returns the node's configuration.
	Config func() *config.Config
	// Path returns where this program finds a file that the configuration names;
	// nil if that is its path.
	Path func(string) string
}

// Localize makes Docker pull an image, by the pull policy. progress counts the bytes of
// the compressed layers with a size that Docker has reported. Errors wrap one of this
// package's if somebody has to act.
func (i *Images) Localize(ctx context.Context, _ string, image manifest.Image, progress func(done, total int64)) (*manifest.LocalImage, error) {
	// Checked again: who has come past the manager's allowlist talks to root.
	if !allowlist.WellFormed(image.Tag) {
		return nil, fmt.Errorf("%w: %q", ErrImageName, image.Tag)
	}
	settings := i.Config().Docker
	if settings.Pull != config.PullAlways {
		present, err := i.present(ctx, image.Tag)
		if err != nil || present {
			return &manifest.LocalImage{}, err
		}
	}
	if settings.Pull == config.PullNever {
		return nil, fmt.Errorf("%w %s, and stormcell.docker.pull.policy is %s: pull it on this node, or change the policy", ErrNotPresent, image.Tag, settings.Pull)
	}
	file := settings.ConfigFile
	if i.Path != nil {
		file = i.Path(file)
	}
	if err := i.pull(ctx, image.Tag, file, progress); err != nil {
		return nil, err
	}
	return &manifest.LocalImage{}, nil
}

// Hold has nothing to do: Docker keeps what its containers are made of.
func (i *Images) Hold(string, []digest.Digest) {}

// Release has nothing to do.
func (i *Images) Release(string) {}

func (i *Images) present(ctx context.Context, tag string) (bool, error) {
	_, err := call(ctx, i.Daemon, callLimit, func(ctx context.Context) (client.ImageInspectResult, error) {
		return i.api.ImageInspect(ctx, tag)
	})
	if errors.Is(err, runtime.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// pull has no limit of its own: a large image takes as long as it takes, and
// the worker's deletion ends it.
func (i *Images) pull(ctx context.Context, tag, configFile string, progress func(done, total int64)) error {
	auth, err := credentialsFor(configFile, tag)
	if err != nil {
		return err
	}
	stream, err := i.api.ImagePull(ctx, tag, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return i.refusal(ctx, tag, err)
	}
	layers := transfer{}
	for message, err := range stream.JSONMessages(ctx) {
		if err == nil && message.Error != nil {
			err = message.Error
		}
		if err != nil {
			return i.refusal(ctx, tag, err)
		}
		if layers.add(message) {
			progress(layers.sum())
		}
	}
	return ctx.Err()
}

// refusal tells why a pull has failed. dockerd repeats what the registry says
// in words alone.
func (i *Images) refusal(ctx context.Context, tag string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if away := i.explain(err); errors.Is(away, runtime.ErrUnavailable) {
		return away
	}
	text, cure := strings.TrimPrefix(err.Error(), "Error response from daemon: "), ""
	for _, c := range cures {
		if strings.Contains(text, c.words) {
			cure = "; " + c.cure
			break
		}
	}
	return fmt.Errorf("%w %s: %s%s", ErrPull, tag, text, cure)
}

// cures are for what registries most often say, the first that fits.
var cures = []struct{ words, cure string }{
	{"unauthorized", "give credentials for it in stormcell.docker.config"},
	{"no basic auth", "give credentials for it in stormcell.docker.config"},
	{"access denied", "check whether the name is right, or give credentials in stormcell.docker.config"},
	{"HTTP response to HTTPS", "it speaks no TLS: put it into Docker's insecure-registries, if that is meant"},
	{"connection refused", "check whether the registry runs and this node reaches it"},
	{"no such host", "check whether the registry's name is right"},
	{"not found", "push it, or name another"},
	{"manifest unknown", "push it, or name another"},
}

// transfer is how far the layers of a pull are, by the ids that Docker gives them.
type transfer map[string]jsonstream.Progress

// add notes what a message says of a layer's transfer, and tells whether it
// says something.
func (t transfer) add(m jsonstream.Message) bool {
	switch m.Status {
	case "Downloading":
		if m.Progress == nil || m.Progress.Total <= 0 {
			return false
		}
		t[m.ID] = jsonstream.Progress{Current: min(m.Progress.Current, m.Progress.Total), Total: m.Progress.Total}
	case "Download complete":
		layer := t[m.ID]
		layer.Current = layer.Total
		t[m.ID] = layer
	default:
		return false
	}
	return true
}

func (t transfer) sum() (done, total int64) {
	for _, layer := range t {
		done += layer.Current
		total += layer.Total
	}
	return done, total
}
