package v1alpha1_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

const watchTimeout = 20 * time.Second

func TestStormImageTags(t *testing.T) {
	c := newClient(t)
	tests := []struct {
		name, tag, want string // want is empty for a good tag
	}{
		{"repository and tag", "storm/rhel7:dev_current", ""},
		{"registry with a port", "Registry.example.com:5000/storm/rhel7:1.0", ""},
		{"no tag", "storm/rhel7", ""},
		{"a bare hash", strings.Repeat("0a", 32), ""},
		{"leads out", "../../x", "must be an image name"},
		{"leads out within", "a/../x", "must be an image name"},
		{"a slash", "/", "must be an image name"},
		{"a dash", "-", "must be an image name"},
		{"an option", "-x", "must be an image name"},
		{"empty", "", "must be an image name"},
		{"digest", "storm@sha256:" + strings.Repeat("a", 64), "must be an image name"},
		{"upper case", "storm/RHEL7", "must be an image name"},
		{"comma", "a,b", "must be an image name"},
		{"hash sign", "a#b", "must be an image name"},
		{"line feed", "a:1\n", "must be an image name"},
		{"star", "*", "must be an image name"},
		{"too long", strings.Repeat("a", 256), "Too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := image("tag-test", tt.tag)
			if tt.want == "" {
				create(t, c, i)
				return
			}
			wantRefused(t, c.Create(context.Background(), i), "spec.tag", tt.want)
		})
	}
}

func TestStormImageTagImmutable(t *testing.T) {
	c := newClient(t)
	i := image("fixed", "a:1")
	create(t, c, i)
	setField(t, i, "a:2", "tag")
	wantRefused(t, c.Update(context.Background(), i), "spec.tag", "cannot be changed")
}

func TestImageName(t *testing.T) {
	names := map[string]string{}
	for _, tag := range []string{
		"storm/rhel7:dev_current", "storm-rhel7:dev-current", "Registry:5000/a", "a", "A.b/___", "...",
		strings.Repeat("a", 255), strings.Repeat("a", 254),
	} {
		name := api.ImageName(tag)
		if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
			t.Errorf("%q -> %q: %v", tag, name, errs)
		}
		if other, ok := names[name]; ok {
			t.Errorf("%q and %q have one name %q", tag, other, name)
		}
		names[name] = tag
	}
}
