package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

func TestTransfer(t *testing.T) {
	layers := transfer{}
	for _, m := range []struct {
		id, status     string
		current, total int64
		done, sum      int64 // so far
	}{
		{"a", "Pulling fs layer", 0, 0, 0, 0},
		{"a", "Downloading", 10, 100, 10, 100},
		{"b", "Downloading", 5, -1, 10, 100}, // of a size that the registry does not tell
		{"b", "Downloading", 5, 50, 15, 150},
		{"a", "Download complete", 0, 0, 105, 150},
		{"a", "Extracting", 7, 400, 105, 150},
		{"c", "Already exists", 0, 0, 105, 150},
		{"b", "Downloading", 90, 50, 150, 150}, // more than all
	} {
		layers.add(jsonstream.Message{ID: m.id, Status: m.status, Progress: &jsonstream.Progress{Current: m.current, Total: m.total}})
		if done, total := layers.sum(); done != m.done || total != m.sum {
			t.Errorf("after %+v: %d of %d", m, done, total)
		}
	}
}

func TestCredentials(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the file must be root's")
	}
	const auths = `{"auths": {"registry.example:5000": {"auth": "c3Rvcm06c2VjcmV0"}, "https://index.docker.io/v1/": {"identitytoken": "hub"}}}`
	file := func(content string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, file, image string
		user, token       string
		say               string // of a refusal
	}{
		{"of the registry", file(auths, 0o600), "registry.example:5000/storm:1", "storm", "", ""},
		{"of Docker's own", file(auths, 0o400), "storm/storm:1", "", "hub", ""},
		{"of another port", file(auths, 0o600), "registry.example:5001/storm:1", "", "", ""},
		{"no file", "", "registry.example:5000/storm:1", "", "", ""},
		{"a file that is not there", "/no/such", "a:1", "", "", "/no/such"},
		{"readable by others", file(auths, 0o644), "a:1", "", "", "chmod 0600"},
		{"a store", file(`{"auths": {}, "credsStore": "pass"}`, 0o600), "a:1", "", "", "credential helpers"},
		{"a helper", file(`{"credHelpers": {"a.example": "ecr-login"}}`, 0o600), "a:1", "", "", "credential helpers"},
		{"no JSON", file(`auths`, 0o600), "a:1", "", "", "no Docker config.json"},
		{"too large", file(strings.Repeat(" ", maxCredentials+1), 0o600), "a:1", "", "", "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header, err := credentialsFor(tt.file, tt.image)
			if tt.say != "" {
				if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), tt.say) {
					t.Errorf("error = %v, want one with %q", err, tt.say)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if header == "" {
				if tt.user+tt.token != "" {
					t.Error("none")
				}
				return
			}
			auth, err := authconfig.Decode(header)
			if err != nil || auth.Username != tt.user || auth.IdentityToken != tt.token {
				t.Errorf("got %+v, %v", auth, err)
			}
		})
	}
}

// TestNoDocker: every call says that Docker is away, and what to do.
func TestNoDocker(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	d, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	const id = "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
	r := NewRuntime(d, Options{RunRoot: t.TempDir(), CgroupRoot: "/sys/fs/cgroup", CgroupParent: "/storm"})
	images := &Images{Daemon: d, Config: func() *config.Config { return &config.Config{Docker: config.Docker{Pull: config.PullAlways}} }}
	_, listErr := r.List(t.Context())
	_, inspectErr := r.Inspect(t.Context(), id)
	_, pullErr := images.Localize(t.Context(), id, manifest.Image{Tag: "a:1"}, func(int64, int64) {})
	for _, err := range []error{listErr, inspectErr, pullErr, r.Delete(t.Context(), id), r.Start(t.Context(), id)} {
		if !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "install Docker") {
			t.Errorf("error = %v", err)
		}
	}
	if _, err := images.Localize(t.Context(), id, manifest.Image{Tag: "a@sha256:1"}, func(int64, int64) {}); !errors.Is(err, ErrImageName) {
		t.Errorf("a name outside of the grammar: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*pauses.First)
	defer cancel()
	if _, err := r.Wait(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait ends without Docker: %v", err)
	}
}
