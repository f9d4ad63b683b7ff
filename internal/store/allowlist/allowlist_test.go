package allowlist_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store/allowlist"
)

// The rows follow the regular expression of Storm's OciUtils, but for those of parts.
func TestWellFormed(t *testing.T) {
	for name, want := range map[string]bool{
		"storm/rhel7:dev_current":              true,
		"storm":                                true,
		"storm:latest":                         true,
		"a/b/c/d:1":                            true,
		"docker.xxx.com:4443/storm/rhel7:2020": true,
		"DOCKER.xxx.com/storm":                 true,
		"host:1/x":                             true,
		"a_b-c.d/e":                            true,
		"storm:Tag_1.2-3":                      true,
		strings.Repeat("a", 64):                true, // names a manifest
		"host/storm":                           true,
		"a__b/c--d/e..f":                       true,
		"storm:_1":                             true,

		// Storm's grammar has no parts.
		"../../etc/passwd": false,
		"../x":             false,
		"a/../b":           false,
		"a/./b":            false,
		"a//b":             false,
		"..":               false,
		".":                false,
		"/":                false,
		"/storm":           false,
		"storm/":           false,
		"storm/.":          false,
		".storm":           false,
		"storm.":           false,
		"_storm":           false,
		"-":                false,
		"-storm":           false,
		"--help":           false,
		"-host/storm":      false,
		"host-/storm":      false,
		"..:1/storm":       false,
		"storm:-1":         false,
		"storm:.":          false,
		"storm:..":         false,

		"":                false,
		"*":               false,
		"Storm":           false, // capitals only in the registry and the tag
		"a/Storm":         false,
		"storm:":          false,
		"storm:a:b":       false,
		"storm:a/b":       false,
		"host:port/storm": false,
		":1/storm":        false,
		"storm@sha256:" + strings.Repeat("a", 64): false,
		"storm rhel7": false,
		"storm\n":     false,
		"\nstorm":     false,
		"stormé":      false,
		"storm,other": false,
		"storm#x":     false,
	} {
		if got := allowlist.WellFormed(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestSelect(t *testing.T) {
	hash := strings.Repeat("a", 64)
	listed := allowlist.Rules{Allowed: []string{"storm:a", "storm:b", "a/x"}, Default: "storm:a"}
	anything := allowlist.Rules{Allowed: []string{"*"}, Default: "storm:a"}
	for _, c := range []struct {
		name  string
		rules allowlist.Rules
		image string
		want  string
		err   error
	}{
		{"listed", listed, "storm:b", "storm:b", nil},
		{"none named", listed, "", "storm:a", nil},
		{"not listed", listed, "storm:c", "", allowlist.ErrNotAllowed},
		{"no tag is not latest", allowlist.Rules{Allowed: []string{"storm:latest"}}, "storm", "", allowlist.ErrNotAllowed},
		{"no registry is not Docker Hub", allowlist.Rules{Allowed: []string{"docker.io/library/storm"}}, "storm", "", allowlist.ErrNotAllowed},
		{"prefix", listed, "storm:", "", allowlist.ErrNotAllowed},
		{"case", listed, "storm:A", "", allowlist.ErrNotAllowed},
		{"listed with ..", allowlist.Rules{Allowed: []string{"../x"}}, "../x", "", allowlist.ErrMalformed},
		{"star, well formed", anything, "other/image:1", "other/image:1", nil},
		{"star, malformed", anything, "Other Image", "", allowlist.ErrMalformed},
		{"star, digest", anything, "storm@sha256:" + hash, "", allowlist.ErrMalformed},
		{"star, hash", anything, hash, hash, nil},
		{"star, star", anything, "*", "", allowlist.ErrMalformed},
		{"star, none named", anything, "", "storm:a", nil},
		{"star among others", allowlist.Rules{Allowed: []string{"x", "*"}}, "other", "other", nil},
		{"a star is no glob", allowlist.Rules{Allowed: []string{"storm:*"}}, "storm:a", "", allowlist.ErrNotAllowed},
		{"listed but malformed", allowlist.Rules{Allowed: []string{"Bad"}}, "Bad", "", allowlist.ErrMalformed},
		{"empty list", allowlist.Rules{Default: "storm:a"}, "storm:a", "", allowlist.ErrNoImages},
		{"empty list, none named", allowlist.Rules{Default: "storm:a"}, "", "", allowlist.ErrNoImages},
		{"no default", allowlist.Rules{Allowed: []string{"*"}}, "", "", allowlist.ErrNoDefault},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.rules.Select(c.image)
			if !errors.Is(err, c.err) || err == nil && got != c.want {
				t.Errorf("%q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules allowlist.Rules
		want  []error
	}{
		{"nothing set", allowlist.Rules{}, nil},
		{"empty list, any default", allowlist.Rules{Default: "Not Even A Name"}, nil},
		{"list and default", allowlist.Rules{Allowed: []string{"a", "b"}, Default: "b"}, nil},
		{"star and default", allowlist.Rules{Allowed: []string{"*"}, Default: "a"}, nil},
		{"no default", allowlist.Rules{Allowed: []string{"a"}}, []error{allowlist.ErrDefaultUnset}},
		{"default not in the list", allowlist.Rules{Allowed: []string{"a"}, Default: "b"}, []error{allowlist.ErrNotAllowed}},
		{"malformed default", allowlist.Rules{Allowed: []string{"*"}, Default: "B"}, []error{allowlist.ErrMalformed}},
		{"malformed entry", allowlist.Rules{Allowed: []string{"a", "B"}, Default: "a"}, []error{allowlist.ErrMalformed}},
		{"glob", allowlist.Rules{Allowed: []string{"a*"}, Default: "a"}, []error{allowlist.ErrMalformed, allowlist.ErrNotAllowed}},
		{"all at once", allowlist.Rules{Allowed: []string{"A"}}, []error{allowlist.ErrMalformed, allowlist.ErrDefaultUnset}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.rules.Validate()
			if (err == nil) != (len(c.want) == 0) {
				t.Errorf("%v, want %v", err, c.want)
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
		})
	}
}

func FuzzWellFormed(f *testing.F) {
	f.Add("docker.xxx.com:4443/storm/rhel7:2020")
	f.Fuzz(func(t *testing.T, name string) {
		if allowlist.WellFormed(name) && strings.ContainsAny(name, " ,#@\\\n\r\x00\"'$`") {
			t.Errorf("%q is well formed", name)
		}
	})
}
