package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/stormcell/stormcell/test/cluster"
)

// krewManifest is what krew's index reads of a plugin. Krew refuses other fields.
type krewManifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
		} `json:"platforms"`
	} `json:"spec"`
}

// TestKrewManifest makes the manifest for archives of other content, and checks
// that it names each with its own digest.
func TestKrewManifest(t *testing.T) {
	dir, sums := t.TempDir(), map[string]string{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			name := fmt.Sprintf("kubectl-storm-%s-%s.tar.gz", system, arch)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
			sums[name] = fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
		}
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(cluster.Root(), "hack", "krew", "build.sh"), "manifest", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "storm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m krewManifest
	if err := yaml.UnmarshalStrict(text, &m); err != nil {
		t.Fatal(err)
	}
	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || m.Kind != "Plugin" || m.Metadata["name"] != "storm" ||
		m.Spec.ShortDescription == "" || len(m.Spec.ShortDescription) > 50 || strings.Contains(string(text), "@") {
		t.Errorf("got\n%s", text)
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(cluster.Root(), "hack", "version.sh")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "v" + strings.TrimSpace(string(version)); m.Spec.Version != want {
		t.Errorf("got version %s, want %s", m.Spec.Version, want)
	}
	for _, p := range m.Spec.Platforms {
		labels := p.Selector.MatchLabels
		name, bin := fmt.Sprintf("kubectl-storm-%s-%s.tar.gz", labels["os"], labels["arch"]), "kubectl-storm"
		if labels["os"] == "windows" {
			bin += ".exe"
		}
		if path.Base(p.URI) != name || !strings.Contains(p.URI, "/"+m.Spec.Version+"/") || p.SHA256 != sums[name] || p.Bin != bin {
			t.Errorf("%s: got %+v", name, p)
		}
		delete(sums, name)
	}
	if len(sums) > 0 {
		t.Errorf("not in the manifest: %v", sums)
	}
}
