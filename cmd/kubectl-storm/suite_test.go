package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/client/clientset/versioned"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testCluster is the API server that this package's tests share; each test
// works in a namespace of its own.
var testCluster *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, func(c *cluster.Cluster) { testCluster = c }))
}

// result is what a run of the plugin has written.
type result struct {
	out, notes string
	err        error
}

// runPlugin runs the plugin as a user does, against a server.
func runPlugin(ctx context.Context, kubeconfig string, args ...string) result {
	streams, _, out, notes := genericiooptions.NewTestIOStreams()
	root := newRoot(streams) //nolint:contextcheck // commands get theirs when they run
	root.SetArgs(append([]string{"--kubeconfig", kubeconfig}, args...))
	err := root.ExecuteContext(ctx)
	return result{out.String(), notes.String(), err}
}

// fixture is a namespace, and what tells of its workers' nodes.
type fixture struct {
	t          *testing.T
	namespace  string
	kubeconfig string
	objects    stormcell.StormcellV1alpha1Interface
}

// newFixture makes a namespace. Requests for connect.stormcell.dev go to nodes,
// if that is given, and all others to the API server.
func newFixture(t *testing.T, nodes http.Handler) *fixture {
	t.Helper()
	config := rest.CopyConfig(testCluster.Config)
	if nodes != nil {
		config = &rest.Config{Host: newFront(t, nodes)}
	}
	kubeconfig, err := cluster.WriteKubeconfig(config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := coreClient(t).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "storm-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := versioned.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, namespace.Name, kubeconfig, objects.StormcellV1alpha1()}
}

// newFront serves connect.stormcell.dev by nodes, and hands on all else to the
// API server, as that does itself with the manager.
func newFront(t *testing.T, nodes http.Handler) string {
	t.Helper()
	target, err := url.Parse(testCluster.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.Handle("/apis/"+connect.GroupVersion.Group+"/", nodes)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	return front.URL
}

// run runs the plugin in the fixture's namespace.
func (f *fixture) run(args ...string) result {
	return runPlugin(f.t.Context(), f.kubeconfig, append([]string{"--namespace", f.namespace}, args...)...)
}

// worker makes a worker with a status.
func (f *fixture) worker(name string, port int32, change func(*api.StormWorker)) *api.StormWorker {
	f.t.Helper()
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: f.namespace},
		Spec: api.StormWorkerSpec{
			TopologyID: "clock-1-1764000000", Port: port, User: "stormdemo", Image: "stormcell/demo:latest", Command: []string{"java", "Clock"},
		},
	}
	made, err := f.objects.StormWorkers(f.namespace).Create(f.t.Context(), w, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	made.Status.NodeName = "node-1"
	change(made)
	if made, err = f.objects.StormWorkers(f.namespace).UpdateStatus(f.t.Context(), made, metav1.UpdateOptions{}); err != nil {
		f.t.Fatal(err)
	}
	return made
}

// ready sets a worker's Ready.
func ready(w *api.StormWorker, reason, message string) {
	status := metav1.ConditionFalse
	if reason == api.ReasonRunning {
		status = metav1.ConditionTrue
	}
	w.Status.Conditions = []metav1.Condition{{
		Type: api.WorkerReady, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
	}}
}

// threeWorkers are one that runs, one that ends again and again, and one that
// nobody has looked at, of another topology.
func (f *fixture) threeWorkers() {
	f.worker("clock-a", 6700, func(w *api.StormWorker) {
		ready(w, api.ReasonRunning, "container runs")
		w.Status.StartedAt, w.Status.PID = new(metav1.Now()), 4242
	})
	f.worker("clock-b", 6701, func(w *api.StormWorker) {
		ready(w, api.ReasonCrashLoopBackOff, "ended with exit code 1")
		w.Status.RestartCount = 12
		w.Status.LastExit = &api.WorkerExit{ExitCode: 1, FinishedAt: metav1.Now()}
	})
	_, err := f.objects.StormWorkers(f.namespace).Create(f.t.Context(), &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: f.namespace},
		Spec:       api.StormWorkerSpec{TopologyID: "wc-1-1608581491", Port: 6702, User: "stormdemo", Command: []string{"java"}},
	}, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
}

var (
	age       = regexp.MustCompile(`(?m) +\d+s\b`)
	namespace = regexp.MustCompile(`storm-[a-z0-9]{5}`)
)

// golden compares a screen with a file, apart from ages and the namespace.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = namespace.ReplaceAllString(age.ReplaceAllString(got, " AGE"), "NAMESPACE")
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s -want +got (go test -update writes it anew):\n%s", file, diff)
	}
}

// wantError checks that a run has failed, and that the error names all words.
func wantError(t *testing.T, r result, words ...string) {
	t.Helper()
	if r.err == nil {
		t.Fatalf("no error; it wrote\n%s%s", r.out, r.notes)
	}
	for _, word := range words {
		if !strings.Contains(r.err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, r.err)
		}
	}
}

// wantOutput checks that a run has written all words, and has not failed.
func wantOutput(t *testing.T, r result, words ...string) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	for _, word := range words {
		if !strings.Contains(r.out, word) {
			t.Errorf("it does not write %q:\n%s%s", word, r.out, r.notes)
		}
	}
}

// answer answers a request with an object.
func answer(w http.ResponseWriter, code int, object any) {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = bytes.NewReader(text).WriteTo(w)
}

// refuse answers a request with an error as the API server words it.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
		Details: &metav1.StatusDetails{Group: connect.GroupVersion.Group, Kind: connect.ResourceWorkers},
	})
}

func coreClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	core, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	return core
}
