package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// TestTheWholeTool goes through all sub-commands as an operator would.
func TestTheWholeTool(t *testing.T) {
	store, other := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "other")
	wholeTool(t, store, other)
}

// wholeTool runs every sub-command on two stores that are not there yet.
func wholeTool(t *testing.T, store, other string) {
	t.Helper()
	image := sharedImages(t, 2)
	mustRun(t, "--hdfs-root", store, "bootstrap")
	mustRun(t, "--hdfs-root", store, "bootstrap") // once more is no harm
	pushed := runJSON[publish.Report](t, "-r", "1", "--hdfs-root", store, "pull-build-push-update", image+":v1,storm/a:1", image+":v2,storm/b:1")
	a, b := pushed.Images[0].ManifestDigest, pushed.Images[1].ManifestDigest

	if out := string(mustRun(t, "list-tags", "--store", store)); !strings.Contains(out, "storm/a:1:"+a.Encoded()+"#"+image+":v1\n") {
		t.Errorf("list-tags prints %s", out)
	}
	images := runJSON[[]manifest.Image](t, "query-tag", "--store", store, "storm/a:1,storm/b:1")
	if len(images) != 2 || images[0].ManifestDigest != a || len(images[0].Layers) != 2 {
		t.Errorf("query-tag says %+v", images)
	}
	for _, name := range []string{a.Encoded(), "storm/a:1", image + ":v1"} {
		runJSON[admin.TagChange](t, "add-tag", "--store", store, name+",storm/a:2,storm/a:3")
		if got := tagsOf(t, store); got["storm/a:2"] != a.Encoded() || got["storm/a:3"] != a.Encoded() {
			t.Errorf("add-tag %s: %v", name, got)
		}
		runJSON[admin.TagChange](t, "remove-tag", "--store", store, "storm/a:2,storm/a:3")
	}
	if got, want := tagsOf(t, store), map[string]string{"storm/a:1": a.Encoded(), "storm/b:1": b.Encoded()}; !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	copied := runJSON[publish.Report](t, "copy-update", "-b", store, other, "storm/a:1", "storm/b:1,storm/c")
	if got := copied.Images[1].Layers[0].Outcome; got != publish.Kept {
		t.Errorf("the shared layer was %s by the second image", got)
	}
	if got, want := tagsOf(t, other), map[string]string{"storm/a:1": a.Encoded(), "storm/c": b.Encoded()}; !maps.Equal(got, want) {
		t.Errorf("tags of the copy %v, want %v", got, want)
	}
	wantNoFaults(t, other)

	plan := runJSON[admin.RemovalReport](t, "remove-image", "--store", store, "--dry-run", "storm/a:1")
	removed := runJSON[admin.RemovalReport](t, "remove-image", "--store", store, "storm/a:1")
	if !slices.Equal(plan.Images[0].Files, removed.Images[0].Files) || len(removed.Images[0].Files) != 4 {
		t.Errorf("removed %q, planned %q; want layer, identity, config, manifest", removed.Images[0].Files, plan.Images[0].Files)
	}
	wantNoFaults(t, store)
	for _, want := range []admin.Action{admin.Mark, admin.Keep, admin.Kill, admin.Delete} {
		if want == admin.Mark {
			mustRun(t, "remove-tag", "--store", store, "storm/b:1")
		}
		age := "604800"
		if want == admin.Kill || want == admin.Delete {
			age = "0"
		}
		report := runJSON[admin.CleanupReport](t, "--untagged-transition-sec", age, "cleanup", "--store", store)
		if len(report.Images) != 1 || report.Images[0].Action != want {
			t.Errorf("cleanup did %+v, want %s", report.Images, want)
		}
	}
	if v := runJSON[admin.Verification](t, "verify", "--store", store); v.Layers+v.Manifests+v.Configs+v.Tags+v.Faults != 0 {
		t.Errorf("an empty store is %+v", v)
	}
}

// TestPullBuildThenPushUpdate takes the source away in between.
func TestPullBuildThenPushUpdate(t *testing.T) {
	image := sharedImages(t, 3)
	work, store := t.TempDir(), filepath.Join(t.TempDir(), "store")
	mustRun(t, "pull-build", "--working-dir", work, image+":v1,storm/a")
	second := runJSON[publish.Report](t, "--working-dir", work, "pull-build", image+":v2,storm/b", image+":v1")
	if got := second.Images[0].Layers[0].Outcome; got != publish.Kept {
		t.Errorf("the shared layer was %s by the second image", got)
	}
	dir := strings.TrimPrefix(image, "oci:")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	// --pull-format says what the name leaves out.
	pushed := runJSON[publish.Report](t, "push-update", "-b", "--store", store, "--working-dir", work, "--pull-format", "oci",
		dir+":v1,storm/a", image+":v2,storm/b,storm/c")
	tags := tagsOf(t, store)
	if tags["storm/a"] != pushed.Images[0].ManifestDigest.Encoded() || tags["storm/c"] != second.Images[0].ManifestDigest.Encoded() || len(tags) != 3 {
		t.Errorf("tags %v", tags)
	}
	wantNoFaults(t, store)
	out, err := program(t, "push-update", "--store", store, "--working-dir", work, image+":v3,storm/d").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `it has no tag "`+image+`:v3"`) {
		t.Errorf("%v: %s", err, out)
	}
	out, err = program(t, "push-update", "--store", store, "--working-dir", t.TempDir(), image+":v1,storm/d").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run pull-build first") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestMagicFile(t *testing.T) {
	image := sharedImages(t, 1) + ":v1,storm/a"
	store := filepath.Join(t.TempDir(), "store")
	args := []string{"pull-build-push-update", image, "-b", "--store", store, "--check-magic-file"}
	// The first run converts, the others look at layers that are kept.
	for _, path := range []string{"etc/dockerfile-version", "/etc/dockerfile-version", "f0"} {
		mustRun(t, append(args, "--magic-file", path)...)
	}
	for _, path := range []string{"etc", "none", "etc/dockerfile-version/x"} {
		out, err := program(t, append(args, "--magic-file", path)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "lacks the magic file") {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}

// TestVerifyEndsWithItsOwnCode tells a store with faults from one that cannot
// be read.
func TestVerifyEndsWithItsOwnCode(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	mustRun(t, "bootstrap", "--store", store)
	if err := os.WriteFile(filepath.Join(store, manifest.TagFile), []byte("storm/x:"+strings.Repeat("a", 64)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		store, form string
		code        int
	}{{store, "json", exitFaults}, {store, "text", exitFaults}, {store + "-none", "json", 1}} {
		out, err := program(t, "verify", "--store", tt.store, "-o", tt.form).Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.code {
			t.Errorf("%v, want %d", err, tt.code)
		}
		var v admin.Verification
		if tt.code == exitFaults && tt.form == "json" && (json.Unmarshal(out, &v) != nil || v.Faults != 1 || v.Findings[0].Kind != admin.Missing) {
			t.Errorf("it writes %s", out)
		}
		if tt.form == "text" && !strings.Contains(string(out), "hurts storm/x") {
			t.Errorf("it writes %s", out)
		}
	}
}

// TestEveryFlagOfTheOriginal stands before and after every sub-command.
func TestEveryFlagOfTheOriginal(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	mustRun(t, "bootstrap", "--store", store)
	every := []string{
		"--working-dir", t.TempDir(), "--skopeo-format", "dir", "--pull-format", "docker", "--log", "WARNING", "--hdfs-root", store,
		"--image-tag-to-hash", manifest.TagFile, "--replication", "1", "--hadoop-prefix", "/opt/hadoop", "--force", "--check-magic-file=false",
		"--magic-file", "etc/x", "--max-layers", "37", "--max-size", "10737418240", "--untagged-transition-sec", "604800", "--dead-perms", "400", "--bootstrap",
	}
	mustRun(t, append(slices.Clone(every), "list-tags")...)
	mustRun(t, append([]string{"list-tags"}, every...)...)
	mustRun(t, append(slices.Clone(every), "cleanup")...)
}

func TestHelpShowsWhatMatters(t *testing.T) {
	for command, tt := range map[string]struct{ has, lacks []string }{
		"cleanup":                {[]string{"--dead-perms", "--dry-run", "--store", "Examples:"}, []string{"--max-layers", "--magic-file"}},
		"list-tags":              {[]string{"--store", "--output"}, []string{"--dry-run", "--replication"}},
		"pull-build-push-update": {[]string{"--check-magic-file", "--platform", "--bootstrap"}, []string{"--dead-perms", "--skopeo-format"}},
		"copy-update":            {[]string{"SRC_ROOT", "--force"}, []string{"--platform", "--hdfs-root"}},
	} {
		out := string(mustRun(t, command, "--help"))
		for _, flag := range tt.has {
			if !strings.Contains(out, flag) {
				t.Errorf("%s --help lacks %s", command, flag)
			}
		}
		for _, flag := range tt.lacks {
			if strings.Contains(out, flag) {
				t.Errorf("%s --help has %s", command, flag)
			}
		}
	}
	if out := string(mustRun(t, "completion", "bash")); !strings.Contains(out, "docker-to-squash") {
		t.Error("there is no completion")
	}
}
