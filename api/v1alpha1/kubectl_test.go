package v1alpha1_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
)

// kubectl runs the real kubectl and returns what it prints.
func kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	kubeconfig, err := cluster.WriteKubeconfig(testCluster.Config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const head = "apiVersion: stormcell.dev/v1alpha1\nkind: StormWorker\nmetadata: {name: by-hand}\n"

func TestKubectlApplyRefused(t *testing.T) {
	tests := []struct{ name, spec, field, say string }{
		{"port", `{topologyID: t, port: 70000, user: storm, command: ["true"]}`, "spec.port", "less than or equal to 65535"},
		{"user", `{topologyID: t, port: 1, user: root, command: ["true"]}`, "spec.user", "must not be root"},
		{"uuid", `{topologyID: t, port: 1, workerID: w1, user: storm, command: ["true"]}`, "spec.workerID", "must be a UUID"},
		{"unknown field", `{topologyID: t, port: 1, user: storm, command: ["true"], comand: x}`, "spec.comand", "unknown field"},
		{"all at once", `{topologyID: ../t, port: 0, user: storm, command: ["true"]}`, "spec.topologyID", "spec.port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := kubectl(t, head+"spec: "+tt.spec, "apply", "-f", "-")
			if err == nil {
				t.Fatalf("accepted: %s", out)
			}
			for _, want := range []string{tt.field, tt.say} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in: %s", want, out)
				}
			}
		})
	}
}

// TestKubectlGet checks the columns and the short names.
func TestKubectlGet(t *testing.T) {
	c := newClient(t)
	u := worker("listed")
	create(t, c, u)
	var w api.StormWorker
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(u), &w); err != nil {
		t.Fatal(err)
	}
	w.Status = api.StormWorkerStatus{
		NodeName: "n1", Image: &api.WorkerImage{Tag: "storm/rhel7:dev_current", ManifestDigest: "sha256:1"},
		ContainerID: w.ContainerID(), PID: 4711, RestartCount: 2,
		Conditions: []metav1.Condition{{Type: api.WorkerReady, Status: metav1.ConditionTrue, Reason: api.ReasonRunning, LastTransitionTime: metav1.Now()}},
	}
	mustUpdateStatus(t, c, &w)
	create(t, c, image("listed", "storm/rhel7:dev_current"))
	var i api.StormImage
	if err := c.Get(context.Background(), client.ObjectKey{Name: "listed"}, &i); err != nil {
		t.Fatal(err)
	}
	i.Status.Prefetch = &api.StormImagePrefetchStatus{Nodes: 17, NodesReady: 4}
	mustUpdateStatus(t, c, &i)
	n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	create(t, c, n)
	n.Status = api.StormNodeStatus{
		ImagesWanted: new(int32(2)), ImagesReady: new(int32(1)), ImagesFailed: new(int32(1)),
		Images: []api.StormNodeImageStatus{
			{Tag: "a", ManifestDigest: "sha256:1", State: api.PrefetchReady},
			{Tag: "b", ManifestDigest: "sha256:2", State: api.PrefetchFailed, Message: "no space in the layer cache"},
		},
	}
	mustUpdateStatus(t, c, n)

	tests := []struct {
		args      string
		head, row []string
	}{
		{
			"get sw listed",
			[]string{"NAME", "TOPOLOGY", "PORT", "NODE", "IMAGE", "STATUS", "RESTARTS", "AGE"},
			[]string{"listed", "wc1-2-1608581491", "6700", "n1", "storm/rhel7:dev_current", "Running", "2"},
		},
		{
			"get sw listed -o wide",
			[]string{"NAME", "TOPOLOGY", "PORT", "NODE", "IMAGE", "STATUS", "RESTARTS", "AGE", "CONTAINER", "PID", "RUNTIME", "USER", "DIGEST"},
			[]string{"listed", w.ContainerID(), "4711", "storm", "sha256:1"},
		},
		{
			"get stormimg listed",
			[]string{"NAME", "TAG", "READY", "STATUS", "NODES", "NODES", "READY", "AGE"},
			[]string{"listed", "storm/rhel7:dev_current", "17", "4"},
		},
		{"get sn n1", []string{"NAME", "WANTED", "READY", "FAILED", "AGE"}, []string{"n1", "2", "1"}},
		{"get stormnode n1 -o wide", []string{"NAME", "WANTED", "READY", "FAILED", "AGE", "RUNTIMES", "LISTENING", "MESSAGE"}, []string{"n1", "no space in the layer cache"}},
		{"get stormworkers --field-selector status.nodeName=n1", []string{"NAME"}, []string{"listed"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			out, err := kubectl(t, "", strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(out)
			}
			header, row, _ := strings.Cut(out, "\n")
			if got := strings.Fields(header); len(tt.head) > 1 && strings.Join(got, " ") != strings.Join(tt.head, " ") {
				t.Errorf("columns %v, want %v", got, tt.head)
			}
			for _, want := range tt.row {
				if !strings.Contains(row, want) {
					t.Errorf("%q is not in: %s", want, row)
				}
			}
		})
	}
}

// TestSamples checks that what config/samples shows is accepted.
func TestSamples(t *testing.T) {
	out, err := kubectl(t, "", "apply", "--dry-run=server", "-f", cluster.Root()+"/config/samples/")
	if err != nil {
		t.Error(out)
	}
}
