// Package install checks the manifests and the chart by which stormcell is
// installed, with kubectl, helm and a real API server.
package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/stormcell/stormcell/test/cluster"
)

// helm and kubeconfig are what the tests call programs with.
var helm, kubeconfig string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	out, err := exec.Command("go", "-C", filepath.Join(cluster.Root(), "hack", "helm"), "tool", "-n", "helm").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build helm:", err)
		return 1
	}
	helm = strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp("", "stormcell-install-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	return cluster.Main(m, func(c *cluster.Cluster) {
		if kubeconfig, err = cluster.WriteKubeconfig(c.Config, dir); err != nil {
			panic(err)
		}
	})
}

var (
	chart   = filepath.Join(cluster.Root(), "charts", "stormcell")
	install = filepath.Join(cluster.Root(), "dist", "install.yaml")
)

// command runs a program with some input and returns what it printed.
func command(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w:\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := command(t, input, cluster.Kubectl(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// render is what the chart makes of values, options of helm.
func render(t *testing.T, values ...string) (string, error) {
	t.Helper()
	return command(t, "", helm, append([]string{"template", "stormcell", chart, "--namespace", "stormcell-system"}, values...)...)
}

// objects reads manifests, by kind and name.
func objects(t *testing.T, manifests string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifests)), 4096)
	for {
		u := new(unstructured.Unstructured)
		err := decoder.Decode(u)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if u.Object != nil {
			all[u.GetKind()+" "+u.GetName()] = u
		}
	}
}

// TestChartIsTheManifests: with its defaults, the chart installs what
// dist/install.yaml does.
func TestChartIsTheManifests(t *testing.T) {
	rendered, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(install)
	if err != nil {
		t.Fatal(err)
	}
	of, want := objects(t, rendered), objects(t, string(content))
	delete(want, "Namespace stormcell-system") // Helm's to make
	for _, all := range []map[string]*unstructured.Unstructured{of, want} {
		for _, u := range all {
			normalize(t, u)
		}
	}
	if diff := cmp.Diff(want, of); diff != "" {
		t.Errorf("dist/install.yaml (-) and the chart (+) differ:\n%s", diff)
	}
	if len(want) < 20 {
		t.Errorf("only %d objects were compared", len(want))
	}
}

// normalize takes away what Helm alone needs, and reads what is YAML in YAML.
func normalize(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	annotations := u.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	if len(annotations) > 0 {
		u.SetAnnotations(annotations)
	}
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "annotations")
	if u.GetKind() == "ConfigMap" {
		text, _, err := unstructured.NestedString(u.Object, "data", "storm.yaml")
		var conf map[string]any
		if err := errors.Join(err, yaml.Unmarshal([]byte(text), &conf)); err != nil {
			t.Fatal(err)
		}
		u.Object["data"].(map[string]any)["storm.yaml"] = conf
	}
}

// TestManifestsAreAccepted: applied for real, and once more.
func TestManifestsAreAccepted(t *testing.T) {
	for range 2 {
		kubectl(t, "", "apply", "--server-side", "--filename", install)
	}
	kubectl(t, "", "get", "stormworkers,stormimages,stormnodes")
}

// TestChartIsAccepted: each of these values, by the API server, and by its own linter.
func TestChartIsAccepted(t *testing.T) {
	kubectl(t, "", "apply", "--server-side", "--filename", install)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range append(files, filepath.Join(chart, "values.yaml")) {
		t.Run(filepath.Base(values), func(t *testing.T) {
			if _, err := command(t, "", helm, "lint", "--strict", chart, "--namespace", "stormcell-system", "--values", values); err != nil {
				t.Error(err)
			}
			rendered, err := render(t, "--values", values)
			if err != nil {
				t.Fatal(err)
			}
			kubectl(t, rendered, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-")
			stormYAML(t, rendered)
		})
	}
}

// TestMetricsAreServedAlike: config/observability makes the daemons serve what
// the chart's metrics.enabled does, and the API server takes it.
func TestMetricsAreServedAlike(t *testing.T) {
	kubectl(t, "", "apply", "--server-side", "--force-conflicts", "--filename", install)
	rendered, err := render(t, "--set", "metrics.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := filepath.Rel(dir, filepath.Join(cluster.Root(), "config"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := fmt.Sprintf("resources: [%[1]s/default]\ncomponents: [%[1]s/observability]\n", config)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	built := objects(t, kubectl(t, "", "kustomize", dir))
	if built["PodMonitor stormcell"] == nil {
		t.Error("no PodMonitor")
	}
	delete(built, "PodMonitor stormcell") // of a kind that this cluster has not
	for daemon, port := range map[string]string{"Deployment stormcell-manager": ":9082", "DaemonSet stormcell-node-agent": ":9083"} {
		want, of := container(t, built[daemon]), container(t, objects(t, rendered)[daemon])
		for _, field := range []string{"args", "ports"} {
			if diff := cmp.Diff(sorted(want[field]), sorted(of[field])); diff != "" {
				t.Errorf("%s of %s in config/observability (-) and the chart (+) differ:\n%s", field, daemon, diff)
			}
		}
		if !slices.Contains(sorted(of["args"]), "--metrics-bind-address="+port) {
			t.Errorf("%s has arguments %v", daemon, of["args"])
		}
	}
	for name, u := range built {
		manifest, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := command(t, string(manifest), cluster.Kubectl(), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// container is the only one of a daemon's pods.
func container(t *testing.T, daemon *unstructured.Unstructured) map[string]any {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(daemon.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%d containers, %v", len(containers), err)
	}
	return containers[0].(map[string]any)
}

// sorted prints the elements of a list.
func sorted(list any) (words []string) {
	elements, _ := list.([]any)
	for _, e := range elements {
		words = append(words, fmt.Sprint(e))
	}
	slices.Sort(words)
	return words
}

// TestBadValues: each is refused with the cure, before anything is installed.
func TestBadValues(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string
		want []string
	}{
		"a typo":                         {[]string{"--set", "store.ulr=x"}, []string{"ulr", "not allowed"}},
		"another namespace":              {[]string{"--namespace", "default"}, []string{"stormcell-system", "--create-namespace"}},
		"half of Kerberos":               {[]string{"--set", "store.kerberos.principal=p"}, []string{"keytabSecret", "both or neither"}},
		"a directory that nobody mounts": {[]string{"--set", "store.url=file:///x"}, []string{"store.persistentVolumeClaim"}},
		"a claim that nobody needs":      {[]string{"--set", "store.persistentVolumeClaim=c"}, []string{"store.persistentVolumeClaim", "leave it out"}},
		"a store of two names":           {[]string{"--set", `storm.storm\.oci\.image\.hdfs\.toplevel\.dir=hdfs://a/b`}, []string{"store.url"}},
		"a directory of a host":          {[]string{"--set", "store.url=file://host/x"}, []string{"url", "pattern"}},
		"another kind of store":          {[]string{"--set", "store.url=s3://x"}, []string{"url", "pattern"}},
		"no manager":                     {[]string{"--set", "manager.replicas=0"}, []string{"replicas", "minimum"}},
		"no duration":                    {[]string{"--set", "manager.nodeLeaseDuration=soon"}, []string{"nodeLeaseDuration"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, c.set...)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

// TestConfigurationRollsAgents: agents read both files when they start.
func TestConfigurationRollsAgents(t *testing.T) {
	seen := map[string]string{}
	for _, set := range []string{"launcher.min\\.user\\.id=1000", "launcher.min\\.user\\.id=1001", "images.default=storm/other:1"} {
		rendered, err := render(t, "--set", set)
		if err != nil {
			t.Fatal(err)
		}
		agent := objects(t, rendered)["DaemonSet stormcell-node-agent"].Object
		sum, _, err := unstructured.NestedString(agent, "spec", "template", "metadata", "annotations", "stormcell.dev/config")
		if err != nil || sum == "" {
			t.Fatalf("no annotation of the configuration: %v", err)
		}
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s give the same pods", set, other)
		}
		seen[sum] = set
	}
}

// TestPodSecurity: the manager's pod keeps to the restricted standard of
// Kubernetes; the agent's cannot, and is refused where it counts.
func TestPodSecurity(t *testing.T) {
	kubectl(t, "", "create", "namespace", "restricted")
	kubectl(t, "", "label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
	kubectl(t, "", "create", "serviceaccount", "stormcell-manager", "--namespace", "restricted")
	kubectl(t, "", "create", "serviceaccount", "stormcell-node-agent", "--namespace", "restricted")
	values := [][]string{nil, {"--values", "testdata/kerberos.yaml"}, {"--values", "testdata/file.yaml"}}
	for _, v := range values {
		rendered, err := render(t, v...)
		if err != nil {
			t.Fatal(err)
		}
		all := objects(t, rendered)
		if _, err := podIn(t, all["Deployment stormcell-manager"]); err != nil {
			t.Errorf("values %v: %v", v, err)
		}
		if _, err := podIn(t, all["DaemonSet stormcell-node-agent"]); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("the agent's pod is accepted (%v): nothing is enforced here", err)
		}
	}
}

// podIn makes, in effigy, the pod of a template in the restricted namespace.
func podIn(t *testing.T, of *unstructured.Unstructured) (string, error) {
	t.Helper()
	spec, _, err := unstructured.NestedMap(of.Object, "spec", "template", "spec")
	if err != nil {
		t.Fatal(err)
	}
	delete(spec, "priorityClassName") // they are the system's
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": "pod", "namespace": "restricted"},
	}}
	manifest, err := pod.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return command(t, string(manifest), cluster.Kubectl(), "create", "--dry-run=server", "--filename", "-")
}

// stormYAML parses the storm.yaml and worker-launcher.cfg that the daemons will.
func stormYAML(t *testing.T, rendered string) {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(objects(t, rendered)["ConfigMap stormcell-config"].Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	if err := readable(data); err != nil {
		t.Error(err)
	}
	if !slices.Contains(strings.Split(data["worker-launcher.cfg"], "\n"), "min.user.id=1000") && !strings.Contains(data["worker-launcher.cfg"], "min.user.id=500") {
		t.Errorf("worker-launcher.cfg:\n%s", data["worker-launcher.cfg"])
	}
}
