package install

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/store"
)

// TestDefaultsForAStranger: who installs stormcell and changes nothing has allowed
// nobody anything.
func TestDefaultsForAStranger(t *testing.T) {
	manifests, err := os.ReadFile(install)
	if err != nil {
		t.Fatal(err)
	}
	chart, err := render(t)
	if err != nil {
		t.Fatal(err)
	}
	for name, rendered := range map[string]string{"dist/install.yaml": string(manifests), "the chart": chart} {
		data, _, err := unstructured.NestedStringMap(objects(t, rendered)["ConfigMap stormcell-config"].Object, "data")
		if err != nil {
			t.Fatal(err)
		}
		conf, notes, err := config.Parse("storm.yaml", []byte(data["storm.yaml"]))
		if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "is empty, so no worker") {
			t.Fatalf("%s: %v, %v; want a word that nothing may run", name, notes, err)
		}
		if len(conf.Images.Allowed) > 0 || conf.Images.Default != "" {
			t.Errorf("%s allows images: %+v", name, conf.Images)
		}
		if conf.Store.Verify != store.VerifyRequired {
			t.Errorf("%s: layers without an identity are %q", name, conf.Store.Verify)
		}
	}
}

// TestNetworkPolicy: it is optional, and says who reads the metrics.
func TestNetworkPolicy(t *testing.T) {
	without, err := render(t, "--set", "networkPolicy.enabled=false")
	if err != nil || strings.Contains(without, "NetworkPolicy") {
		t.Errorf("it was switched off: %v", err)
	}
	with, err := render(t, "--set", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring")
	if err != nil {
		t.Fatal(err)
	}
	rules, _, _ := unstructured.NestedSlice(objects(t, with)["NetworkPolicy stormcell-manager"].Object, "spec", "ingress")
	var limited []string
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		if from, _, _ := unstructured.NestedSlice(rule, "from"); len(from) > 0 {
			ports, _, _ := unstructured.NestedSlice(rule, "ports")
			port, _ := ports[0].(map[string]any)
			limited = append(limited, fmt.Sprint(port["port"]))
		}
	}
	if len(rules) != 2 || len(limited) != 1 || limited[0] != "9082" {
		t.Errorf("limited are the ports %v of %d rules, want 9082 of 2", limited, len(rules))
	}
}
