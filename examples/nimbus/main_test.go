package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	apply "github.com/stormcell/stormcell/client/applyconfiguration/api/v1alpha1"
	"github.com/stormcell/stormcell/client/clientset/versioned"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/test/cluster"
)

const (
	account   = "nimbus"
	namespace = "storm"
	user      = "stormdemo"
	image     = "stormcell/demo:latest"
	patience  = 20 * time.Second
)

var (
	// kubeconfig connects as Nimbus does, with the grants of rbac.yaml.
	kubeconfig string
	// manager writes status, as the manager and an agent do.
	manager stormcell.StormWorkerInterface
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nimbus-")
	if err != nil {
		panic(err)
	}
	code := cluster.Main(m, func(c *cluster.Cluster) {
		if err := prepare(context.Background(), c, dir); err != nil {
			panic(err)
		}
	})
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func prepare(ctx context.Context, c *cluster.Cluster, dir string) error {
	if err := c.Install(ctx, "base"); err != nil {
		return err
	}
	config, err := c.Account(ctx, api.ManagerFieldOwner, "")
	if err != nil {
		return err
	}
	manager = versioned.NewForConfigOrDie(config).StormcellV1alpha1().StormWorkers(namespace)
	if config, err = grant(ctx, c, dir); err != nil {
		return err
	}
	if kubeconfig, err = cluster.WriteKubeconfig(config, dir); err != nil {
		return err
	}
	return awaitPolicy(ctx, versioned.NewForConfigOrDie(config).StormcellV1alpha1().StormWorkers(namespace))
}

// grant applies rbac.yaml and connects as the service account that is in it.
func grant(ctx context.Context, c *cluster.Cluster, dir string) (*rest.Config, error) {
	admin, err := cluster.WriteKubeconfig(c.Config, dir)
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, cluster.Kubectl(), "--kubeconfig", admin, "apply", "--filename", "rbac.yaml").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("apply rbac.yaml: %w:\n%s", err, out)
	}
	token, err := kubernetes.NewForConfigOrDie(c.Config).CoreV1().ServiceAccounts(namespace).
		CreateToken(ctx, account, new(authenticationv1.TokenRequest), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token.Status.Token
	return config, nil
}

// awaitPolicy waits until the API server obeys the grants and asks for "use".
func awaitPolicy(ctx context.Context, workers stormcell.StormWorkerInterface) error {
	probe := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec:       api.StormWorkerSpec{TopologyID: "probe-1-1", Port: 1, User: "other", Command: []string{"true"}},
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		_, err := workers.Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "stormusers"), nil
	})
}

// nimbus is the example as it runs.
type nimbus struct {
	lines     chan string
	interrupt context.CancelFunc
	err       error // once lines is closed
}

func start(t *testing.T, topologyID string, more ...string) *nimbus {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	n := &nimbus{lines: make(chan string, 100), interrupt: interrupt}
	out, in := io.Pipe()
	go func() {
		args := append([]string{"--kubeconfig", kubeconfig, "--namespace", namespace, "--topology", topologyID, "--workers", "2"}, more...)
		n.err = run(ctx, append(args, "--", "java", "-version"), in)
		in.Close()
	}()
	go func() {
		defer close(n.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			n.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		interrupt()
		for range n.lines {
			// What it prints is of no interest any more.
		}
	})
	return n
}

// await reads what the example prints until a line holds every one of words.
func (n *nimbus) await(t *testing.T, words ...string) {
	t.Helper()
	for line := range n.lines {
		t.Log(line)
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(line, word)
		}
		if !missing {
			return
		}
	}
	t.Fatalf("it ended before it said %q: %v", words, n.err)
}

// end reads the rest of what the example prints, and returns how it ended.
func (n *nimbus) end(t *testing.T) error {
	t.Helper()
	for line := range n.lines {
		t.Log(line)
	}
	return n.err
}

// edit changes a worker as the manager does, once it is there.
func edit(t *testing.T, name string, do func(*api.StormWorker) error) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		worker, err := manager.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = do(worker)
		}
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("change worker %s: %v", name, err)
	}
}

var asManager = metav1.ApplyOptions{FieldManager: api.ManagerFieldOwner, Force: true}

// report writes what the manager or an agent says of a worker.
func report(t *testing.T, name, node string, status metav1.ConditionStatus, reason, message string) {
	t.Helper()
	said := apply.StormWorkerStatus().WithConditions(applymeta.Condition().WithType(api.WorkerReady).
		WithStatus(status).WithReason(reason).WithMessage(message).WithLastTransitionTime(metav1.Now()))
	if node != "" {
		said.WithNodeName(node)
	}
	edit(t, name, func(worker *api.StormWorker) error {
		_, err := manager.ApplyStatus(t.Context(), apply.StormWorker(name, namespace).WithUID(worker.UID).WithStatus(said), asManager)
		return err
	})
}

// setFinalizers keeps a worker's object, or with none lets it go.
func setFinalizers(t *testing.T, name string, finalizers ...string) {
	t.Helper()
	edit(t, name, func(worker *api.StormWorker) error {
		_, err := manager.Apply(t.Context(), apply.StormWorker(name, namespace).WithUID(worker.UID).WithFinalizers(finalizers...), asManager)
		return err
	})
}

// awaitDeletion waits until somebody has deleted a worker that has a finalizer.
func awaitDeletion(t *testing.T, name string) {
	t.Helper()
	edit(t, name, func(worker *api.StormWorker) error {
		if worker.DeletionTimestamp == nil {
			return apierrors.NewConflict(api.Resource("stormworkers"), name, errors.New("it is not deleted yet"))
		}
		return nil
	})
}

// TestLife: it starts workers, shows what becomes of them, and deletes them
// when it is interrupted; it ends when nothing is left of them.
func TestLife(t *testing.T) {
	n := start(t, "WC_x-1-1764000000", "--user", user, "--image", image)
	names := []string{"wc-x-1-1764000000-6700", "wc-x-1-1764000000-6701"}
	for _, name := range names {
		setFinalizers(t, name, api.WorkerFinalizer)
		report(t, name, "node-1", metav1.ConditionFalse, api.ReasonLocalizing, "1 of 2 bytes")
		n.await(t, name, "node-1", "Localizing", "1 of 2 bytes")
		report(t, name, "node-1", metav1.ConditionTrue, api.ReasonRunning, "it runs")
		n.await(t, name, "node-1", "Running")
	}
	n.await(t, "all 2 workers run")
	n.interrupt()
	for _, name := range names {
		awaitDeletion(t, name)
		report(t, name, "node-1", metav1.ConditionFalse, api.ReasonStopping, "")
		n.await(t, name, "Stopping")
		setFinalizers(t, name)
		n.await(t, name, "Gone")
	}
	n.await(t, "all are gone")
	if err := n.end(t); err != nil {
		t.Error(err)
	}
}

// TestNotRunning: it says why workers do not run, and takes them away.
func TestNotRunning(t *testing.T) {
	n := start(t, "stuck-1-1764000000", "--user", user, "--image", image, "--patience", "5s")
	report(t, "stuck-1-1764000000-6700", "", metav1.ConditionFalse, api.ReasonImageNotAllowed, "ask for it")
	err := n.end(t)
	for _, words := range []string{"not all run after 5s", "stuck-1-1764000000-6700: ImageNotAllowed: ask for it", "stuck-1-1764000000-6701: nobody has taken it up"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("it does not say %q: %v", words, err)
		}
	}
	left, err := manager.List(t.Context(), ofTopology("stuck-1-1764000000"))
	if err != nil || len(left.Items) != 0 {
		t.Errorf("left are %v, %v", left.Items, err)
	}
}

// TestRefused: it says which grant is missing, and what else is wrong.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, words string
		args        []string
	}{
		{"user", `grant verb "use" on resource "stormusers"`, []string{"--user", "other", "--image", image}},
		{"image", `grant verb "use" on resource "stormimages"`, []string{"--user", user}},
		{"port", "spec.port: Invalid value", []string{"--user", user, "--image", image, "--port", "0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := start(t, "refused-1-1", c.args...).end(t); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("it does not say %q: %v", c.words, err)
			}
		})
	}
}

// TestStillGoing: a worker that is on its way out is not started again.
func TestStillGoing(t *testing.T) {
	const id, name = "going-1-1764000000", "going-1-1764000000-6700"
	n := start(t, id, "--user", user, "--image", image, "--workers", "1")
	setFinalizers(t, name, api.WorkerFinalizer)
	n.await(t, "WORKER")
	n.interrupt()
	awaitDeletion(t, name)
	second := start(t, id, "--user", user, "--image", image, "--workers", "1", "--patience", "1s")
	if err := second.end(t); err == nil || !strings.Contains(err.Error(), "still being deleted") || !strings.Contains(err.Error(), "after 1s there still are "+name) {
		t.Error(err)
	}
	setFinalizers(t, name)
	n.await(t, "all are gone")
}
