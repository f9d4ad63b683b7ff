package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/agent"
	"github.com/stormcell/stormcell/internal/node/bundle"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/process"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/runtime/docker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// third is a runtime that stormcell does not have, with a daemon and with
// images of its own. Its containers are names.
type third struct {
	docker.Rootfs // which has nothing to do

	mu         sync.Mutex
	containers map[string]*thirds
}

type thirds struct {
	state runtime.State
	exit  runtime.Exit
	ended chan struct{}
}

func (r *third) driver() runtime.Driver {
	return runtime.Driver{Images: r, Rootfs: r, Runtime: r, Logs: r, Form: func(in ocispec.Input) (string, any, error) {
		return "third.json", map[string]string{"id": in.Worker.ContainerID()}, nil
	}}
}

// Localize has the failures that the image's tag names.
func (r *third) Localize(_ context.Context, _ string, image manifest.Image, _ func(done, total int64)) (*manifest.LocalImage, error) {
	switch image.Tag {
	case "away:1":
		return nil, fmt.Errorf("%w: nobody answers", runtime.ErrUnavailable)
	case "missing:1":
		return nil, fmt.Errorf("%w %s: no such repository", runtime.ImageError("fetch"), image.Tag)
	}
	return &manifest.LocalImage{}, nil
}

func (r *third) Hold(string, []digest.Digest) {}
func (r *third) Release(string)               {}

func (r *third) get(id string) (*thirds, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, runtime.ErrNotFound
	}
	return c, nil
}

func (r *third) Create(_ context.Context, id, dir string, _ int) (runtime.State, error) {
	if _, err := os.Stat(filepath.Join(dir, "third.json")); err != nil {
		return runtime.State{}, fmt.Errorf("%w: %w", runtime.ErrCreate, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id] = &thirds{state: runtime.State{ID: id, Status: runtime.Created, PID: 4711}, ended: make(chan struct{})}
	return r.containers[id].state, nil
}

func (r *third) Start(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id].state.Status = runtime.Running
	return nil
}

func (r *third) Inspect(_ context.Context, id string) (runtime.Info, error) {
	c, err := r.get(id)
	if err != nil {
		return runtime.Info{}, err
	}
	return runtime.Info{Init: process.Process{PID: c.state.PID}}, nil
}

func (r *third) Exec(context.Context, string, runtime.Program) (int, error) {
	return 0, errors.ErrUnsupported
}

func (r *third) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	c, err := r.get(id)
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-c.ended:
		return c.exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

func (r *third) Signal(_ context.Context, id string, sig syscall.Signal, _ bool) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.state.Status == runtime.Running {
		c.exit, c.state.Status = runtime.ExitOf(128+int(sig)), runtime.Stopped
		c.exit.At = time.Now()
		close(c.ended)
	}
	return nil
}

func (r *third) Delete(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	return nil
}

func (r *third) List(context.Context) ([]runtime.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []runtime.State
	for _, c := range r.containers {
		list = append(list, c.state)
	}
	return list, nil
}

func (r *third) Log(context.Context, string, runtime.LogOptions) (io.ReadCloser, error) {
	return nil, runtime.ErrNoLog
}
func (r *third) RemoveLogs(string) error             { return nil }
func (r *third) OldLogs(time.Time) ([]string, error) { return nil, nil }

// alice may run workers.
type alice struct{}

func (alice) Lookup(context.Context, string) (hostuser.User, error) {
	return hostuser.User{Name: "alice", UID: 54321, GID: 54322}, nil
}

func (alice) LookupGroup(context.Context, string) (int, error) { return 0, hostuser.ErrUnknownGroup }

// agentWith is an agent of a node: its parts as assemble joins them, but for
// what needs a machine with Storm, and an API server that takes any runtime.
type agentWith struct {
	*engine.Engine
	t          *testing.T
	reconciler *agent.Reconciler
	changed    chan struct{}
}

func newAgentWith(ctx context.Context, t *testing.T, dir string, c client.Client, add func(runtime.Drivers)) (*agentWith, error) {
	t.Helper()
	conf := &config.Config{Fixed: config.Fixed{
		Node: config.Node{
			RunRoot: filepath.Join(dir, "run"), LocalDir: filepath.Join(dir, "local"), ArtifactsDir: filepath.Join(dir, "artifacts"),
			LogDir: filepath.Join(dir, "log"), LogBytes: 1 << 20,
		},
		Cgroup:       config.Cgroup{Root: "/sys/fs/cgroup", Parent: "/stormcell-third"},
		DockerSocket: filepath.Join(dir, "docker.sock"),
	}}
	configuration := &configuration{
		first: conf, launcher: &config.Launcher{Runc: "/usr/sbin/runc"},
		watcher: config.NewWatcher("", conf, config.WatchOptions{}),
	}
	log := slog.New(slog.DiscardHandler)
	o := &options{conmon: "/usr/bin/conmon"}
	drivers, err := o.runtimes(configuration, nil, docker.Rootfs{}, log)
	if err != nil {
		t.Fatal(err)
	}
	add(drivers)
	a := &agentWith{t: t, changed: make(chan struct{}, 1)}
	a.Engine = engine.New(engine.Options{
		Runtimes: drivers,
		Bundles:  bundle.New(bundle.Options{Users: alice{}, Config: configuration.watcher.Current, Runtimes: drivers}),
		RunRoot:  conf.Node.RunRoot, Log: log,
		Changed: func(engine.State) {
			select {
			case a.changed <- struct{}{}:
			default:
			}
		},
	})
	a.reconciler = &agent.Reconciler{Client: c, Events: events.NewFakeRecorder(100), Engine: a.Engine, Node: "n1"}
	return a, a.Recover(ctx)
}

// waitFor reconciles a worker until its Ready has a reason.
func (a *agentWith) waitFor(name, reason string) *api.StormWorker {
	a.t.Helper()
	w := new(api.StormWorker)
	key := types.NamespacedName{Namespace: "storm", Name: name}
	for deadline := time.After(20 * time.Second); ; {
		result, err := a.reconciler.Reconcile(a.t.Context(), ctrl.Request{NamespacedName: key})
		if err = errors.Join(err, a.reconciler.Client.Get(a.t.Context(), key, w)); err != nil {
			a.t.Fatal(err)
		}
		ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady)
		if ready != nil && ready.Reason == reason {
			return w
		}
		select {
		case <-a.changed:
		case <-time.After(cmp.Or(result.RequeueAfter, time.Hour)):
		case <-deadline:
			a.t.Fatalf("worker %s: %+v, want reason %s", name, ready, reason)
		}
	}
}

// thirdsWorker is one that the manager has bound to the node, in a runtime that
// the API does not know yet.
func thirdsWorker(name, id string, port int32, tag string) *api.StormWorker {
	return &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Namespace: "storm", Name: name, UID: types.UID(id)},
		Spec: api.StormWorkerSpec{
			TopologyID: "wc-1", Port: port, User: "alice", Command: []string{"true"}, RestartPolicy: api.RestartNever,
		},
		Status: api.StormWorkerStatus{
			NodeName: "n1", Runtime: "Third", Image: &api.WorkerImage{Tag: tag},
			Conditions: []metav1.Condition{{Type: api.WorkerAdmitted, Status: metav1.ConditionTrue, Reason: api.ReasonAdmitted, LastTransitionTime: metav1.Now()}},
		},
	}
}

// TestThirdRuntime: a runtime is a package, here a type of this test, and the
// line that adds it to the others. Engine, bundles, records and status do the rest.
func TestThirdRuntime(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: bundles are root's")
	}
	workers := []client.Object{
		thirdsWorker("runs", "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", 6700, "good:1"),
		thirdsWorker("lacks-image", "2a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", 6701, "missing:1"),
		thirdsWorker("lacks-daemon", "3a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", 6702, "away:1"),
	}
	scheme := apiruntime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(workers...).WithStatusSubresource(&api.StormWorker{}).Build()
	dir, r := rootsDir(t), &third{containers: map[string]*thirds{}}
	addThird := func(drivers runtime.Drivers) { drivers["Third"] = r.driver() }

	ctx, end := context.WithCancel(t.Context())
	first, err := newAgentWith(ctx, t, dir, c, addThird)
	if err != nil {
		t.Fatal(err)
	}
	w := first.waitFor("runs", api.ReasonRunning)
	if w.Status.PID != 4711 || len(r.containers) != 1 {
		t.Errorf("status %+v, %d containers", w.Status, len(r.containers))
	}
	first.waitFor("lacks-image", api.ReasonImagePullFailed)
	first.waitFor("lacks-daemon", "ThirdUnavailable")
	end()
	first.Wait()

	_, err = newAgentWith(t.Context(), t, dir, c, func(runtime.Drivers) {})
	if !errors.Is(err, engine.ErrNewerRecord) || !strings.Contains(err.Error(), `"Third"`) {
		t.Errorf("an agent without the line: %v, want ErrNewerRecord", err)
	}

	ctx, end = context.WithCancel(t.Context())
	second, err := newAgentWith(ctx, t, dir, c, addThird)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Wait()
	defer end()
	second.waitFor("runs", api.ReasonRunning)
	if err := r.Signal(ctx, w.ContainerID(), syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if exit := second.waitFor("runs", api.ReasonFailed).Status.LastExit; exit.ExitCode != 137 || exit.Signal != 9 {
		t.Errorf("last exit %+v", exit)
	}
	second.Remove(string(w.UID))
	second.waitFor("runs", api.ReasonRemoved)
}
