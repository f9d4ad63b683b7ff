package preflight

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/stormcell/stormcell/internal/node/runtime/runc/cli"
)

// installed is what the runc of the node says of itself.
type installed struct {
	path    string
	version cli.Version
	// features is nil, and silence says why, for a program that does not tell them.
	features *features.Features
	silence  error
}

// inspectRunc runs the program, which is the only proof that it can.
func inspectRunc(ctx context.Context, path string) (installed, error) {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	client := cli.New(path, "", "")
	version, err := client.Version(ctx)
	if err != nil {
		return installed{}, err
	}
	told, silence := client.Features(ctx)
	return installed{path, version, told, silence}, nil
}

// release is a version of runc. Candidates count as less than their release.
type release struct{ major, minor, patch, candidate int }

func (r release) less(o release) bool {
	switch {
	case r.major != o.major:
		return r.major < o.major
	case r.minor != o.minor:
		return r.minor < o.minor
	case r.patch != o.patch:
		return r.patch < o.patch
	default:
		return r.rank() < o.rank()
	}
}

// rank orders candidates; 0, no candidate, is the highest.
func (r release) rank() int {
	if r.candidate == 0 {
		return 1 << 30
	}
	return r.candidate
}

var releaseForm = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})(?:-rc\.?([0-9]{1,4}))?`)

func parseRelease(version string) (release, bool) {
	m := releaseForm.FindStringSubmatch(version)
	if m == nil {
		return release{}, false
	}
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // digits only, or empty for 0
	}
	return release{n[0], n[1], n[2], n[3]}, true
}

// flaw is a hole that lets a container out, with the release of each line that
// closed it, oldest line first.
type flaw struct {
	cve   string
	fixed []release
	// packaged matches versions of Debian's package that have the fix in an
	// older release, by its own changelog. runc prints them as its commit.
	packaged string
}

func flaws() []flaw {
	return []flaw{
		{"CVE-2024-21626 (leaked directory handle)", []release{{1, 1, 12, 0}}, `1\.1\.5\+ds1-1\+deb12u[1-9][0-9]*`},
		{"CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 (masked paths and /dev/console)", []release{{1, 2, 8, 0}, {1, 3, 3, 0}, {1, 4, 0, 3}}, ""},
	}
}

// backported is true for a package that is known to have the fix.
func (f flaw) backported(commit string) bool {
	return f.packaged != "" && regexp.MustCompile(`^`+f.packaged+`$`).MatchString(commit)
}

// has is true for releases before the first fix, and for those of a newer line
// before the fix of that line.
func (f flaw) has(r release) bool {
	for _, fix := range f.fixed {
		if r.major == fix.major && r.minor == fix.minor {
			return r.less(fix)
		}
	}
	return r.less(f.fixed[0])
}

// problems warns of a runc that is older than the fix of a known flaw, and of
// one that cannot filter system calls. Distributions fix flaws without changing
// the number of the release, so the former stays a warning.
func (r installed) problems() []Problem {
	version, ok := parseRelease(r.version.Runc)
	if !ok { // empty for a program that does not call itself runc: go-runc drops what it prints
		return []Problem{{fmt.Sprintf("the version of runc at %s is not understood: %.80q", r.path, r.version.Runc), "use a release of runc"}}
	}
	found := r.seccompProblems()
	for _, f := range flaws() {
		if f.has(version) && !f.backported(r.version.Commit) {
			found = append(found, Problem{
				What: fmt.Sprintf("runc %d.%d.%d is older than the fix of %s", version.major, version.minor, version.patch, f.cve),
				Cure: "check whether your distribution's package has the fix (apt-get changelog runc, rpm -q --changelog runc), else update runc",
			})
		}
	}
	return found
}

func (r installed) seccompProblems() []Problem {
	if r.features == nil {
		return []Problem{{
			fmt.Sprintf("runc does not tell whether it was built with seccomp (%v); without, it refuses to start workers whose system calls are filtered", r.silence),
			"use runc 1.1 or newer, or see that \"runc --version\" names libseccomp",
		}}
	}
	if l := r.features.Linux; l != nil && l.Seccomp != nil && l.Seccomp.Enabled != nil && *l.Seccomp.Enabled {
		return nil
	}
	return []Problem{{
		"runc was built without seccomp, and refuses to start workers whose system calls are filtered",
		"use your distribution's runc, or set storm.oci.seccomp.profile to unconfined",
	}}
}
