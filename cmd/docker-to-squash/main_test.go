package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// asProgram makes this test binary be the program itself.
const asProgram = "STORMCELL_DOCKER_TO_SQUASH"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		// One thread makes what changes a store, so that killed can count.
		runtime.LockOSThread()
		os.Exit(run())
	}
	os.Exit(runTests(m))
}

// executable is this test's own program without the race detector, which would
// make each of its many runs take ten times as long.
var executable string

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "docker-to-squash")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	executable = filepath.Join(dir, "docker-to-squash")
	build := exec.Command("go", "test", "-c", "-o", executable, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build docker-to-squash: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

// program prepares a run of docker-to-squash.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), executable, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// TestFlagsStandWhereTheyLike runs the whole program on an image that umoci
// and skopeo made.
func TestFlagsStandWhereTheyLike(t *testing.T) {
	dir := t.TempDir()
	image := umociImage(t, dir)
	archive := "oci-archive:" + filepath.Join(dir, "a.tar") + ":v1"
	if out, err := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", image, archive).CombinedOutput(); err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	store := filepath.Join(dir, "store")
	for name, args := range map[string][]string{
		"before the sub-command": {"--hdfs-root", store, "-b", "-o", "json", "pull-build-push-update", image + ",storm/demo:1", archive + ",storm/demo:2"},
		"after it":               {"pull-build-push-update", image + ",storm/demo:1", "--store=file://" + store, "--bootstrap", "--output=json"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			var report publish.Report
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			tags, err := os.ReadFile(filepath.Join(store, manifest.TagFile))
			if err != nil || !strings.Contains(string(tags), "storm/demo:1") {
				t.Errorf("tag file %q, %v", tags, err)
			}
			for _, image := range report.Images {
				if len(image.Layers) != 1 || image.Layers[0].Squashfs.Compression != "zstd" {
					t.Errorf("report %+v", image)
				}
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	store := "--store=" + t.TempDir()
	tests := map[string]struct {
		args []string
		says string
	}{
		"no arguments":    {[]string{"pull-build-push-update"}, "requires at least 1 arg"},
		"no store":        {[]string{"pull-build-push-update", "a,b"}, "--store is missing"},
		"a store nowhere": {[]string{"pull-build-push-update", "a,b", "--store", "ftp://x/y"}, "scheme must be file or hdfs"},
		"a store not set": {[]string{"pull-build-push-update", "a,b", store}, "run with --bootstrap once"},
		"no tag":          {[]string{"pull-build-push-update", "a", store}, "IMAGE,TAG"},
		"a bad tag":       {[]string{"pull-build-push-update", "a,B c", store}, `tag "B c"`},
		"a bad platform":  {[]string{"pull-build-push-update", "a,b", store, "--platform", "amd64"}, "OS/ARCHITECTURE"},
		"a bad size":      {[]string{"pull-build-push-update", "a,b", store, "--max-size", "ten"}, "10GiB"},
		"too many layers": {[]string{"pull-build-push-update", "a,b", store, "--max-layers", "501"}, "1 to 500"},
		"a bad tag file":  {[]string{"pull-build-push-update", "a,b", store, "--image-tag-to-hash", "../x"}, "without a slash"},
		"a bad log level": {[]string{"pull-build-push-update", "a,b", store, "-l", "LOUD"}, "--log"},
		"a bad output":    {[]string{"pull-build-push-update", "a,b", store, "-o", "xml"}, "text or json"},
		"a bad mode":      {[]string{"cleanup", store, "--dead-perms", "044"}, "owner must be able to read"},
		"a bad transport": {[]string{"pull-build", "a", "--pull-format", "dir"}, "oci-archive"},
		"no dry run":      {[]string{"pull-build-push-update", "a,b", store, "--dry-run"}, "has none"},
		"an empty name":   {[]string{"remove-tag", "a,,b", store}, "is empty"},
		"no destination":  {[]string{"copy-update", "/a", "/b"}, "requires at least 3 arg"},
		"a bad age":       {[]string{"cleanup", store, "--untagged-transition-sec", "-1"}, "hundred years"},
		"a bad command":   {[]string{"pull"}, "unknown command"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := program(t, tt.args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v: %s, want %q", err, out, tt.says)
			}
		})
	}
}

// TestSignalsLeaveNothing ends the program in the middle of a layer: by
// SIGTERM, and by SIGKILL, which it cannot see.
func TestSignalsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	image := pipedImage(t, dir)
	for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			store, work := filepath.Join(t.TempDir(), "store"), t.TempDir()
			cmd := program(t, "--store", store, "-b", "--working-dir", work, "pull-build-push-update", image+",storm/demo:1")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// The layer's blob is a pipe: when its writer gets through, the
			// program is in the middle of it, and there it stays.
			pipe, err := os.OpenFile(filepath.Join(dir, "layer"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer pipe.Close()
			if _, err := pipe.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig != syscall.SIGKILL {
				pipe.Close() // a read of a file cannot be interrupted
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it says that all went well")
			}
			nothingLeft(t, store, work)
		})
	}
}

// nothingLeft checks that the store has no tag and no new file, and the
// working directory none at all.
func nothingLeft(t *testing.T, store, work string) {
	t.Helper()
	if tags, err := os.ReadFile(filepath.Join(store, manifest.TagFile)); err != nil || len(tags) > 0 {
		t.Errorf("tag file %q, %v", tags, err)
	}
	for _, d := range []string{work, filepath.Join(store, manifest.LayersDir), filepath.Join(store, manifest.ManifestsDir)} {
		if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
			t.Errorf("%s has %v, %v", d, left, err)
		}
	}
}

func TestByteSize(t *testing.T) {
	for in, want := range map[string]string{"1024": "1KiB", "10G": "10GiB", "10GiB": "10GiB", "0": "0", "1025": "1025", "2T": "2TiB"} {
		var s byteSize
		if err := s.Set(in); err != nil || s.String() != want {
			t.Errorf("%s: %s, %v, want %s", in, s.String(), err, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5G", "9999999999T", "99999999999999999999", "10GB"} {
		var s byteSize
		if err := s.Set(in); err == nil {
			t.Errorf("%s is %s", in, s.String())
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := humanBytes(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}

func TestLinesAreWrittenAtIntervals(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	l := &lines{log: slog.New(slog.NewTextHandler(&b, nil)), say: converting, now: func() time.Time { return now }, layers: map[digest.Digest]*layerLine{}}
	d := digest.FromString("layer")
	l.Begin(d, 4<<20)
	for range 40 {
		now = now.Add(lineInterval / 10)
		l.Advance(d, 100<<10)
	}
	l.End(d, true)
	if n := strings.Count(b.String(), "read="); n != 4 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
	if !strings.Contains(b.String(), `read="2.0 MiB of 4.0 MiB"`) || !strings.Contains(b.String(), "took=20s") {
		t.Errorf("lines:\n%s", b.String())
	}
}

// umociImage makes an image by umoci.
func umociImage(t *testing.T, dir string) string {
	t.Helper()
	content := filepath.Join(dir, "layer.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := os.WriteFile(content, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	for _, args := range [][]string{{"init", "--layout", layout}, {"new", "--image", layout + ":v1"}, {"raw", "add-layer", "--image", layout + ":v1", content}} {
		if out, err := exec.CommandContext(t.Context(), "umoci", args...).CombinedOutput(); err != nil {
			t.Fatalf("umoci %v: %v: %s", args, err, out)
		}
	}
	return "oci:" + layout + ":v1"
}

// pipedImage is an image whose layer is the named pipe "layer" of dir; what
// ought to come through it is the file "blob".
func pipedImage(t *testing.T, dir string) string {
	t.Helper()
	image := umociImage(t, dir)
	blobs := filepath.Join(dir, "layout", "blobs", "sha256")
	index, err := os.ReadFile(filepath.Join(dir, "layout", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entry struct{ Manifests []manifest.Descriptor }
	if err := json.Unmarshal(index, &entry); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(blobs, entry.Manifests[0].Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(content, entry.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(blobs, m.Layers[0].Digest.Encoded())
	if err := os.Rename(blob, filepath.Join(dir, "blob")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "layer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "layer"), blob); err != nil {
		t.Fatal(err)
	}
	return image
}
