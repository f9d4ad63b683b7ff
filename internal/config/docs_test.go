package config

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/configuration.md")

const (
	docsFile   = "../../docs/configuration.md"
	sampleFile = "../../config/storm/storm.yaml"
)

// tables are the parts of docs/configuration.md that come from the code.
func tables() map[string]string {
	var storm, without, launcher strings.Builder
	storm.WriteString("| key | value | default | read by | effect |\n|---|---|---|---|---|\n")
	for _, k := range keys {
		fmt.Fprintf(&storm, "| `%s` | %s | %s | %s | %s |\n", k.name, k.kind, k.def, k.reader, k.effect)
	}
	without.WriteString("| key | why |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(ignored)) {
		fmt.Fprintf(&without, "| `%s` | %s |\n", name, ignored[name])
	}
	launcher.WriteString("| key | value | default | effect |\n|---|---|---|---|\n")
	for _, k := range launcherKeys {
		fmt.Fprintf(&launcher, "| `%s` | %s | %s | %s |\n", k.name, k.kind, k.def, k.effect)
	}
	return map[string]string{"storm.yaml": storm.String(), "ignored": without.String(), "worker-launcher.cfg": launcher.String()}
}

func TestDocsHaveEveryKey(t *testing.T) {
	old, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	docs := string(old)
	for name, table := range tables() {
		begin := "<!-- " + name + ": written by \"go test ./internal/config -run Docs -update\" -->\n"
		before, rest, ok := strings.Cut(docs, begin)
		_, after, closed := strings.Cut(rest, "<!-- end -->")
		if !ok || !closed {
			t.Fatalf("%s has no place for the table of %s", docsFile, name)
		}
		docs = before + begin + table + "<!-- end -->" + after
	}
	if docs == string(old) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run go test ./internal/config -run Docs -update", docsFile)
	}
	if err := os.WriteFile(docsFile, []byte(docs), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestKeyTable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.name] || ignored[k.name] != "" {
			t.Errorf("%s stands twice", k.name)
		}
		seen[k.name] = true
		for what, s := range map[string]string{"kind": k.kind, "default": k.def, "effect": k.effect} {
			if s == "" || strings.ContainsAny(s, "|\n") {
				t.Errorf("%s: %s %q does not fit the table", k.name, what, s)
			}
		}
		if !slices.Contains([]string{byManager, byAgent, byBoth}, k.reader) || k.read == nil {
			t.Errorf("%s: nobody reads it", k.name)
		}
	}
}

// The sample shows every key, and every line of it holds, also in comments.
func TestSample(t *testing.T) {
	content, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, notes, err := Parse("sample", content); err != nil || len(notes) > 0 {
		t.Errorf("%v\nnotes %q", err, notes)
	}
	// A commented key or its further lines, unlike prose, has no blank after '#'
	// or two of them.
	commented := regexp.MustCompile(`(?m)^#([a-z]|  )`)
	full := commented.ReplaceAllString(string(content), "$1")
	conf, notes, err := Parse("sample", []byte(full))
	if err != nil || len(notes) > 0 {
		t.Fatalf("%v\nnotes %q", err, notes)
	}
	for _, k := range keys {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(k.name) + `:`).MatchString(full) {
			t.Errorf("%s is not in the sample", k.name)
		}
	}
	if len(conf.NUMA) != 2 || conf.Node.CacheBytes != 50<<30 {
		t.Errorf("the commented keys were not read: %+v", conf)
	}
}
