package allowlist_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store/allowlist"
)

// TestFullName: what Docker makes of a name is what docker pull makes of it.
func TestFullName(t *testing.T) {
	for name, want := range map[string]string{
		"demo:latest":                           "docker.io/library/demo:latest",
		"demo":                                  "docker.io/library/demo:latest",
		"storm/rhel7:dev":                       "docker.io/storm/rhel7:dev",
		"docker.io/demo:1":                      "docker.io/library/demo:1",
		"index.docker.io/library/demo:1":        "docker.io/library/demo:1",
		"localhost/demo:1":                      "localhost/demo:1",
		"127.0.0.1:5000/demo":                   "127.0.0.1:5000/demo:latest",
		"registry.example.com/a/b:c":            "registry.example.com/a/b:c",
		"../x":                                  "",
		"/":                                     "",
		"a//b":                                  "",
		strings.Repeat("a", 64):                 "", // Docker's id of an image
		"a@sha256:" + strings.Repeat("a", 64):   "",
		"registry.example.com/Storm/rhel7:dev":  "",
		"registry.example.com/a:" + "b/c":       "",
		"registry.example.com/" + "a:.starts":   "",
		"registry.example.com:port/a:1":         "",
		"registry.example.com/a:1\nother/b:2":   "",
		"registry.example.com/" + "a b:1":       "",
		"registry.example.com/a:1 --privileged": "",
	} {
		got, err := allowlist.FullName(name)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, allowlist.ErrMalformed) {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestDocker(t *testing.T) {
	const demo = "docker.io/library/demo:latest"
	listed, anything := allowlist.Docker{Allowed: []string{demo}}, allowlist.Docker{Allowed: []string{"*"}}
	for _, c := range []struct {
		name  string
		rules allowlist.Docker
		image string
		err   error
		say   string
	}{
		{"listed", listed, demo, nil, ""},
		{"not listed", listed, "docker.io/library/other:latest", allowlist.ErrDockerNotAllowed, "stormcell.docker.allowed.images"},
		{"no registry is not Docker Hub", listed, "demo:latest", allowlist.ErrNotFullName, `"demo:latest" means docker.io/library/demo:latest`},
		{"no tag is not latest", listed, "docker.io/library/demo", allowlist.ErrNotFullName, "means " + demo},
		{"star, full", anything, "registry.example.com/a:1", nil, ""},
		{"star, not full", anything, "storm/rhel7:dev", allowlist.ErrNotFullName, "means docker.io/storm/rhel7:dev"},
		{"star, malformed", anything, "../x", allowlist.ErrMalformed, ""},
		{"star, star", anything, "*", allowlist.ErrMalformed, ""},
		{"none named", anything, "", allowlist.ErrNoDockerImage, ""},
		{"empty list", allowlist.Docker{}, demo, allowlist.ErrNoDockerImages, ""},
		{"empty list, none named", allowlist.Docker{}, "", allowlist.ErrNoDockerImages, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.rules.Select(c.image)
			if !errors.Is(err, c.err) || err == nil && got != c.image || err != nil && !strings.Contains(err.Error(), c.say) {
				t.Errorf("%q, %v, want %v", got, err, c.err)
			}
		})
	}
}

func TestDockerValidate(t *testing.T) {
	for entry, want := range map[string]error{
		"*": nil, "docker.io/library/demo:latest": nil,
		"demo:latest": allowlist.ErrNotFullName, "docker.io/library/*": allowlist.ErrMalformed,
	} {
		if err := (allowlist.Docker{Allowed: []string{entry}}).Validate(); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", entry, err, want)
		}
	}
	if err := (allowlist.Docker{}).Validate(); err != nil {
		t.Errorf("an empty list: %v", err)
	}
}
