// Package imports checks who imports whom: the rules of .golangci.yml, which the
// linter holds file by file, and what the commands carry with them.
package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	root   = "../.."
	module = "github.com/stormcell/stormcell"
)

// list says which packages are refused: those that begin with an entry of deny,
// unless an entry of allow is longer.
type list struct {
	deny, allow []string
}

func (l list) refuses(pkg string) bool {
	denied := longest(l.deny, pkg)
	return denied > 0 && denied >= longest(l.allow, pkg)
}

// longest returns the length of the longest entry that holds for a package, or 0.
// An entry holds for what begins with it, or with "$" at its end for itself alone.
func longest(entries []string, pkg string) int {
	found := 0
	for _, entry := range entries {
		name, exact := strings.CutSuffix(entry, "$")
		if pkg == name || !exact && strings.HasPrefix(pkg, name) {
			found = max(found, len(entry))
		}
	}
	return found
}

// rule is a rule of depguard.
type rule struct {
	list

	files, except []*regexp.Regexp
}

// refuses tells whether a file, named from the module's root, must not import a package.
func (r rule) refuses(file, pkg string) bool {
	matches := func(patterns []*regexp.Regexp) bool {
		for _, p := range patterns {
			if p.MatchString("/" + file) {
				return true
			}
		}
		return false
	}
	return matches(r.files) && !matches(r.except) && r.list.refuses(pkg)
}

// rules reads the rules of .golangci.yml.
func rules(t *testing.T) map[string]rule {
	t.Helper()
	content, err := os.ReadFile(root + "/.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						Mode  string `yaml:"list-mode"`
						Files []string
						Allow []string
						Deny  []struct{ Pkg string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	found := map[string]rule{}
	for name, written := range config.Linters.Settings.Depguard.Rules {
		if written.Mode != "lax" {
			t.Errorf("rule %s has list-mode %q; this test understands lax alone", name, written.Mode)
		}
		r := rule{list: list{allow: written.Allow}}
		for _, d := range written.Deny {
			r.deny = append(r.deny, d.Pkg)
		}
		for _, f := range written.Files {
			if f, except := strings.CutPrefix(f, "!"); except {
				r.except = append(r.except, glob(f))
			} else {
				r.files = append(r.files, glob(f))
			}
		}
		found[name] = r
	}
	return found
}

// glob turns a file pattern of depguard into a regular expression for the names
// of files, which begin with a slash at the module's root.
func glob(pattern string) *regexp.Regexp {
	pattern = strings.Replace(pattern, "$test", "**/*_test.go", 1)
	pattern = strings.Replace(pattern, "${config-path}", "", 1)
	expr := regexp.QuoteMeta(pattern)
	expr = strings.ReplaceAll(expr, `\*\*`, `.*`)
	expr = strings.ReplaceAll(expr, `\*`, `[^/]*`)
	return regexp.MustCompile("^" + expr + "$")
}

// imports returns what each Go file of the module imports, whatever it is built for.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		for _, i := range file.Imports {
			pkg, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			found[name] = append(found[name], pkg)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNoFileBreaksARule(t *testing.T) {
	files := imports(t)
	if len(files) < 300 {
		t.Fatalf("only %d files import anything", len(files))
	}
	for name, r := range rules(t) {
		for file, pkgs := range files {
			for _, pkg := range pkgs {
				if r.refuses(file, pkg) {
					t.Errorf("%s imports %s, which rule %s of .golangci.yml refuses", file, pkg, name)
				}
			}
		}
	}
}

func TestEachRuleRefuses(t *testing.T) {
	const internal = module + "/internal/"
	tests := []struct{ rule, file, pkg string }{
		{"leaves", "internal/backoff/backoff.go", internal + "config"},
		{"leaves", "internal/message/message.go", internal + "backoff"},
		{"leaves", "internal/trust/trust.go", internal + "backoff"},
		{"listen", "internal/listen/serve.go", internal + "kube/review"},
		{"store", "internal/store/hdfs/open.go", internal + "config"},
		{"store", "internal/store/resolve.go", internal + "node/worker"},
		{"store", "internal/store/manifest/manifest.go", internal + "storm/zookeeper"},
		{"config", "internal/config/node.go", internal + "node/hostuser"},
		{"node", "internal/node/localizer/fetch.go", internal + "kube/review"},
		{"node", "internal/node/runtime/runc/runc.go", internal + "storm/nimbus"},
		{"node", "internal/node/bundle/bundle_test.go", internal + "connect"},
		{"agent", "internal/node/agent/agent.go", internal + "connect/node"},
		{"agent", "internal/node/agent/agent.go", module + "/client/clientset/versioned"},
		{"storm", "internal/storm/nimbus/nimbus.go", internal + "store"},
		{"storm", "internal/storm/nimbus/nimbus.go", internal + "node/worker"},
		{"thrift", "internal/storm/protocol/znode.go", internal + "config"},
		{"thrift", "internal/storm/thrift/plan.go", internal + "storm/protocol"},
		{"kube", "internal/kube/review/review.go", internal + "connect"},
		{"connect", "internal/connect/gateway/gateway.go", internal + "store"},
		{"connect", "internal/connect/node/node.go", internal + "config"},
		{"controllers", "controllers/placement.go", internal + "config"},
		{"controllers", "controllers/placement.go", internal + "connect"},
		{"api", "api/v1alpha1/names.go", internal + "store/manifest"},
		{"api", "client/applyconfiguration/utils.go", internal + "backoff"},
		{"kubernetes", "internal/node/engine/engine.go", "k8s.io/apimachinery/pkg/types"},
		{"kubernetes", "internal/config/node.go", "sigs.k8s.io/controller-runtime"},
		{"kubernetes", "internal/storm/nimbus/nimbus.go", module + "/api/v1alpha1"},
		{"kubernetes", "internal/store/store.go", module + "/client/listers/api/v1alpha1"},
		{"manager", "controllers/placement.go", internal + "node/worker"},
		{"manager", "cmd/manager/main.go", internal + "connect/node"},
		{"manager", "internal/connect/connect.go", internal + "node/engine"},
		{"manager", "internal/connect/gateway/gateway.go", internal + "store/convert"},
		{"manager", "controllers/images.go", internal + "store/admin"},
		{"node-agent", "internal/node/agent/agent.go", module + "/controllers"},
		{"node-agent", "internal/node/localizer/fetch.go", internal + "store/convert/source"},
		{"node-agent", "internal/connect/node/node.go", internal + "connect/gateway"},
		{"node-agent", "cmd/node-agent/main.go", internal + "store/admin"},
		{"node-agent", "cmd/node-agent/main.go", internal + "store/tags"},
		{"go-runc", "internal/node/runtime/runc/runtime.go", "github.com/containerd/go-runc"},
		{"engine", "internal/node/engine/engine.go", internal + "node/localizer"},
		{"engine", "internal/node/engine/engine.go", internal + "node/runtime/runc"},
		{"engine", "internal/node/engine/engine_test.go", internal + "node/seccomp"},
		{"engine", "internal/node/engine/engine.go", internal + "store"},
		{"runtimes", "internal/node/agent/agent.go", internal + "node/runtime/docker"},
		{"runtimes", "cmd/node-agent/parts.go", internal + "node/runtime/runc"},
		{"roots", "internal/connect/gateway/gateway.go", module + "/controllers"},
		{"roots", "test/stack/stack.go", module + "/cmd/node-agent"},
		{"roots", "internal/connect/node/node.go", internal + "node/agent"},
		{"tests", "cmd/manager/main.go", module + "/test/cluster"},
		{"registry", "internal/node/runtime/docker/pull.go", "github.com/google/go-containerregistry/pkg/name"},
		{"hdfs", "internal/store/backends/backends.go", "github.com/colinmarc/hdfs/v2"},
		{"hdfs", "internal/store/localdir/localdir.go", "github.com/jcmturner/gokrb5/v8/client"},
		{"superseded", "cmd/manager/main.go", "github.com/pkg/errors"},
		{"superseded", "test/bench/main.go", "io/ioutil"},
		{"superseded", "internal/node/runtime/runc/runc.go", "github.com/opencontainers/runc/libcontainer"},
	}
	all := rules(t)
	tried := map[string]bool{}
	for _, tt := range tests {
		tried[tt.rule] = true
		if r, ok := all[tt.rule]; !ok || !r.refuses(tt.file, tt.pkg) {
			t.Errorf("rule %s of .golangci.yml does not refuse that %s imports %s", tt.rule, tt.file, tt.pkg)
		}
	}
	for name := range all {
		if !tried[name] {
			t.Errorf("no import is tried on rule %s", name)
		}
	}
}

// TestEntriesDoNotNest checks that no entry of a list begins with another one:
// depguard compares a package with the entry that is next to it in the order of
// names, so that "a/b" in a list would hide "a" from "a/c".
func TestEntriesDoNotNest(t *testing.T) {
	for name, r := range rules(t) {
		for _, entries := range [][]string{r.deny, r.allow} {
			for i, outer := range entries {
				for j, inner := range entries {
					if i != j && strings.HasPrefix(inner, outer) {
						t.Errorf("rule %s: %s begins with %s, which depguard will not see", name, inner, outer)
					}
				}
			}
		}
	}
}
