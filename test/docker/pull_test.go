package docker

import (
	"errors"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	engineapi "github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/test/image"
)

func TestImagesThatCannotBeHad(t *testing.T) {
	for _, tt := range []struct{ name, image, say string }{
		{"absent", d.Registry + "/storm/absent:latest", "push it, or name another"},
		{"without-credentials", otherHost, "stormcell.docker.config"},
		{"nowhere", nowhere, "check whether the registry runs and this node reaches it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := apply(t, aWorker(tt.name, func(spec *api.StormWorkerSpec) { spec.Image = tt.image }))
			c := waitFor(t, w, api.ReasonImagePullFailed)
			expect(t).Expect(c.Message).To(And(ContainSubstring(tt.image), ContainSubstring(tt.say)))
			t.Log(c.Message)
		})
	}
}

// TestPullPolicies: the registry has a newer image of a tag than the node.
func TestPullPolicies(t *testing.T) {
	const tag = "storm/pulled:latest"
	old, young := filepath.Join(t.TempDir(), "old.tar"), filepath.Join(t.TempDir(), "new.tar")
	must(t, image.WriteLayers(old, tag, 2))
	must(t, image.WriteLayers(young, tag, 3))
	name, err := d.Push(t.Context(), young, tag)
	must(t, err)
	daemon, err := engineapi.New(d.Socket())
	must(t, err)
	localize := func(p config.PullPolicy) error {
		images := &engineapi.Images{Daemon: daemon, Config: func() *config.Config {
			return &config.Config{Docker: config.Docker{Pull: p, ConfigFile: filepath.Join(d.Dir, "config.json")}}
		}}
		_, err := images.Localize(t.Context(), "owner", manifest.Image{Tag: name}, func(int64, int64) {})
		return err
	}
	layers := func() string { return docker(t, "image", "inspect", "--format", "{{len .RootFS.Layers}}", name) }
	if err := localize(config.PullNever); !errors.Is(err, engineapi.ErrNotPresent) {
		t.Errorf("never, and it is not there: %v", err)
	}
	docker(t, "load", "--quiet", "--input", old)
	docker(t, "tag", tag, name)
	t.Cleanup(func() { docker(t, "rmi", "--force", tag, name) })
	for _, tt := range []struct {
		policy config.PullPolicy
		layers string
	}{{config.PullNever, "2"}, {config.PullIfNotPresent, "2"}, {config.PullAlways, "3"}} {
		if err := localize(tt.policy); err != nil || layers() != tt.layers {
			t.Errorf("%s: %v, and %s layers, want %s", tt.policy, err, layers(), tt.layers)
		}
	}
	docker(t, "rmi", name)
	if err := localize(config.PullIfNotPresent); err != nil || layers() != "3" {
		t.Errorf("absent: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
