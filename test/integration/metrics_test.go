package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md")

// families are the metrics of an endpoint by name.
type families map[string]*dto.MetricFamily

// endpoints returns what both daemons tell, as text and as families, by the
// daemon's name.
func endpoints(t *testing.T) (texts map[string]string, told map[string]families) {
	t.Helper()
	texts, told = map[string]string{}, map[string]families{}
	for daemon, scrape := range map[string]func(context.Context) (string, error){"node-agent": s.AgentMetrics, "manager": s.ManagerMetrics} {
		text, err := scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		if told[daemon], err = parser.TextToMetricFamilies(strings.NewReader(text)); err != nil {
			t.Fatalf("%s: %v", daemon, err)
		}
		texts[daemon] = text
	}
	return texts, told
}

// measured starts a worker that has all that metrics tell of.
func measured(t *testing.T) *api.StormWorker {
	t.Helper()
	w := apply(t, aWorker("measured", limited("64Mi", shell(forever)...), func(spec *api.StormWorkerSpec) {
		cpu := resource.MustParse("500m")
		spec.Resources.Limits.CPU = &cpu
	}))
	waitFor(t, w, api.ReasonRunning)
	// The disks are measured every few seconds.
	expect(t).Eventually(func() (string, error) { return s.AgentMetrics(t.Context()) }).
		Should(MatchRegexp(`stormcell_worker_ephemeral_storage_bytes{[^}]*worker="` + w.Name + `"}`))
	return w
}

// ofWorker returns the samples of a worker by metric and its further labels.
func ofWorker(told families, w *api.StormWorker) map[string]float64 {
	own := map[string]string{
		"namespace": w.Namespace, "worker": w.Name, "topology": w.Spec.TopologyID, "port": strconv.Itoa(int(w.Spec.Port)),
	}
	samples := map[string]float64{}
	for name, family := range told {
		for _, m := range family.GetMetric() {
			labels := 0
			sample := []string{name}
			for _, l := range m.GetLabel() {
				if own[l.GetName()] == l.GetValue() {
					labels++
				} else {
					sample = append(sample, l.GetValue())
				}
			}
			if labels == len(own) {
				samples[strings.Join(sample, "/")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return samples
}

// TestMetricsOfAWorker: they come with the worker, say what the kernel says,
// and go with it.
func TestMetricsOfAWorker(t *testing.T) {
	g := expect(t)
	w := measured(t)
	_, told := endpoints(t)
	samples := ofWorker(told["node-agent"], w)
	g.Expect(samples).To(HaveKeyWithValue("stormcell_worker_memory_limit_bytes", 64.0*(1<<20)))
	g.Expect(samples).To(HaveKeyWithValue("stormcell_worker_cpu_limit_cores", 0.5))
	g.Expect(samples).To(HaveKeyWithValue("stormcell_worker_restarts_total", 0.0))
	for _, some := range []string{"memory_usage_bytes", "pids"} {
		g.Expect(samples).To(HaveKeyWithValue("stormcell_worker_"+some, BeNumerically(">", 0)))
	}
	g.Expect(samples).To(HaveLen(15), "all that docs/metrics.md has of a worker: %v", slices.Sorted(maps.Keys(samples)))
	g.Expect(told["node-agent"]["stormcell_layers_mounted"].GetMetric()[0].GetGauge().GetValue()).To(BeNumerically(">", 0))
	remove(t, w)
	_, told = endpoints(t)
	g.Expect(ofWorker(told["node-agent"], w)).To(BeEmpty())
}

// TestScrapeWhileWorkersDie: each scrape is whole, whatever comes and goes.
func TestScrapeWhileWorkersDie(t *testing.T) {
	g := expect(t)
	w := apply(t, aWorker("dies", func(spec *api.StormWorkerSpec) { spec.Command = shell("exit 3") }))
	seen := map[string]bool{}
	g.Eventually(func() int32 {
		_, told := endpoints(t)
		for name := range ofWorker(told["node-agent"], w) {
			seen[name] = true
		}
		ready(t, w)
		return w.Status.RestartCount
	}).Should(BeNumerically(">=", 2))
	g.Expect(seen).To(HaveKey("stormcell_worker_restarts_total"))
	_, told := endpoints(t)
	for _, m := range told["node-agent"]["stormcell_worker_exits_total"].GetMetric() {
		if m.GetLabel()[0].GetValue() == "error" {
			g.Expect(m.GetCounter().GetValue()).To(BeNumerically(">=", 2))
		}
	}
}

// promtool runs it on an input.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(cluster.Root(), "hack/promtool.sh"), args...)
	c.Dir, c.Stdin = cluster.Root(), strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestPromtoolAcceptsBothEndpoints runs "promtool check metrics" on what the
// daemons really tell while a worker runs.
func TestPromtoolAcceptsBothEndpoints(t *testing.T) {
	measured(t)
	texts, _ := endpoints(t)
	for daemon, text := range texts {
		t.Run(daemon, func(t *testing.T) { promtool(t, text, "check", "metrics") })
	}
}

const observability = "config/observability/"

// TestPromtoolAcceptsTheRules checks the alerts, and that they fire when they should.
func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool(t, "", "check", "rules", observability+"rules.yaml")
	promtool(t, "", "test", "rules", observability+"rules_test.yaml")
}

// TestPromtoolAcceptsTheDocs checks the configuration that the docs give.
func TestPromtoolAcceptsTheDocs(t *testing.T) {
	_, rest, _ := strings.Cut(repositoryFile(t, docsFile), "```yaml\n")
	config, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("there is none")
	}
	// Debian's promtool knows of no cloud, and of no Kubernetes.
	config = regexp.MustCompile(`kubernetes_sd_configs: .*`).ReplaceAllString(config, "static_configs: [{targets: [localhost]}]")
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "config", "--syntax-only", file)
}

// TestDashboardIsGrafanas checks the dashboard by Grafana's own schema, and its
// queries by promtool, as rules.
func TestDashboardIsGrafanas(t *testing.T) {
	file := filepath.Join(cluster.Root(), observability+"dashboard.json")
	c := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(cluster.Root(), "hack/tools"), "tool", "dashboard", file)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for i, query := range queries(t) {
		rules = append(rules, rule{"panel:" + strconv.Itoa(i), strings.ReplaceAll(query, "$__rate_interval", "5m")})
	}
	groups, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "rules.json") // which is YAML, too
	if err := os.WriteFile(file, groups, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}

// queries are those of the dashboard's panels.
func queries(t *testing.T) (all []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(repositoryFile(t, observability+"dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d queries", len(all))
	}
	return all
}

// TestDashboardAndRulesNameWhatThereIs: every metric that they use is told by
// one of the daemons, and each alert has its line in the docs.
func TestDashboardAndRulesNameWhatThereIs(t *testing.T) {
	measured(t)
	_, told := endpoints(t)
	known := map[string]bool{}
	for _, f := range told {
		for name, family := range f {
			known[name] = true
			if family.GetType() == dto.MetricType_HISTOGRAM {
				known[name+"_bucket"], known[name+"_sum"], known[name+"_count"] = true, true, true
			}
		}
	}
	rules := repositoryFile(t, observability+"rules.yaml")
	metric := regexp.MustCompile(`\b(?:stormcell|controller_runtime|workqueue|rest_client)_[a-z0-9_]+\b`)
	for _, text := range append(queries(t), rules) {
		names := metric.FindAllString(text, -1)
		if len(names) == 0 {
			t.Errorf("no metric in %s", text)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("no daemon tells %s, of %s", name, text)
			}
		}
	}
	docs := repositoryFile(t, docsFile)
	alerts := regexp.MustCompile(`(?m)alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	for _, m := range alerts {
		if !strings.Contains(docs, "| `"+m[1]+"` |") {
			t.Errorf("%s does not say what to do about %s", docsFile, m[1])
		}
	}
	if len(alerts) < 10 {
		t.Errorf("only %d alerts", len(alerts))
	}
}

func repositoryFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(cluster.Root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

const docsFile = "docs/metrics.md"

// TestMetricsDocs: the tables of docs/metrics.md are what the daemons tell.
func TestMetricsDocs(t *testing.T) {
	measured(t)
	_, told := endpoints(t)
	old := repositoryFile(t, docsFile)
	docs := old
	for daemon, f := range told {
		begin := "<!-- " + daemon + ": written by \"go test ./test/integration -run MetricsDocs -update\" -->\n"
		before, rest, ok := strings.Cut(docs, begin)
		_, after, closed := strings.Cut(rest, "<!-- end -->")
		if !ok || !closed {
			t.Fatalf("%s has no place for the table of %s", docsFile, daemon)
		}
		docs = before + begin + table(f) + "<!-- end -->" + after
	}
	if docs == old {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run KUBEBUILDER_ASSETS=bin/k8s go test ./test/integration -run MetricsDocs -update; it should be\n%s", docsFile, docs)
	}
	if err := os.WriteFile(filepath.Join(cluster.Root(), docsFile), []byte(docs), 0o644); err != nil {
		t.Fatal(err)
	}
}

// table describes stormcell's own metrics.
func table(told families) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !strings.HasPrefix(name, "stormcell_") {
			continue
		}
		family := told[name]
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return b.String()
}
