package admission

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/test/cluster"
)

var update = flag.Bool("update", false, `write what "kubectl auth can-i --list" prints into docs/security.md`)

// TestDocsTellRights: docs/security.md has what the cluster says that the
// service accounts may do.
func TestDocsTellRights(t *testing.T) {
	file := filepath.Join(cluster.Root(), "docs", "security.md")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- can-i: written by \"go test ./test/admission -run Docs -update\" -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for what service accounts may do", file)
	}
	docs := before + begin + rights(t) + end + after
	if docs == string(old) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run go test ./test/admission -run Docs -update", file)
	}
	if err := os.WriteFile(file, []byte(docs), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rights is what the service accounts may do, beside what every one may.
func rights(t *testing.T) string {
	t.Helper()
	kubeconfig, err := cluster.WriteKubeconfig(testCluster.Config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, account := range []string{"stormcell-manager", "stormcell-node-agent"} {
		for _, namespace := range []string{"stormcell-system", team} {
			var common []string
			for _, line := range canI(t.Context(), t, kubeconfig, "nobody", namespace)[1:] {
				common = append(common, words(line))
			}
			fmt.Fprintf(&text, "`%s` in namespace `%s`:\n\n```\n", account, namespace)
			for _, line := range canI(t.Context(), t, kubeconfig, account, namespace) {
				if !slices.Contains(common, words(line)) {
					text.WriteString(line + "\n")
				}
			}
			text.WriteString("```\n\n")
		}
	}
	return text.String()
}

// words is a line without the width of its columns.
func words(line string) string { return strings.Join(strings.Fields(line), " ") }

func canI(ctx context.Context, t *testing.T, kubeconfig, account, namespace string) []string {
	t.Helper()
	out, err := exec.CommandContext(ctx, cluster.Kubectl(), "--kubeconfig", kubeconfig, "auth", "can-i", "--list", "--namespace", namespace,
		"--as", "system:serviceaccount:stormcell-system:"+account, "--as-group", "system:serviceaccounts", "--as-group", "system:authenticated").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
