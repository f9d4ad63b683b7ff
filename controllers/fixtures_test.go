package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/localdir"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/tags"
)

// testStore is a real store in a directory, with the real resolver over it,
// which it counts the calls of.
type testStore struct {
	t       testing.TB
	dir     string
	asked   atomic.Int64
	resolve *tags.Resolver
	tags    *manifest.Tags
}

func newTestStore(t testing.TB) *testStore {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	local := localdir.New(dir)
	if err := local.Bootstrap(context.Background()); err != nil {
		t.Fatal(err)
	}
	index := tags.NewIndex([]tags.File{{Store: local, Name: manifest.TagFile}}, interval/2, time.Now)
	resolver := tags.NewResolver(index, local, tags.Options{
		Verify: store.VerifyIfPresent, Interval: interval / 2, Images: 10, Now: time.Now,
	})
	return &testStore{t: t, dir: dir, resolve: resolver, tags: new(manifest.Tags)}
}

// Resolve implements Resolver.
func (s *testStore) Resolve(ctx context.Context, tag string) (*manifest.Image, tags.Answer, error) {
	s.asked.Add(1)
	return s.resolve.Resolve(ctx, tag)
}

// add writes an image of two layers, whose content depends on salt, and tags it.
func (s *testStore) add(tag, salt string) *manifest.Manifest {
	s.t.Helper()
	config := s.document(manifest.ConfigDir, map[string]any{"os": "linux", "salt": salt})
	m := &manifest.Manifest{SchemaVersion: 2, MediaType: manifest.MediaTypeOCIManifest}
	m.Config = manifest.Descriptor{MediaType: manifest.MediaTypeOCIConfig, Digest: config.Digest, Size: config.Size}
	for i := range 2 {
		m.Layers = append(m.Layers, s.layer(fmt.Sprintf("%s layer %d", salt, i)))
	}
	s.tag(tag, s.document(manifest.ManifestsDir, m).Digest)
	return m
}

func (s *testStore) layer(content string) manifest.Descriptor {
	s.t.Helper()
	archive := digest.FromString("archive of " + content)
	s.write(manifest.LayerFile(archive), []byte(content))
	identity, err := manifest.Identity{
		Digest: digest.FromString(content), Size: int64(len(content)), DiffID: archive, Compression: "zstd",
	}.Format()
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(manifest.IdentityFile(archive), identity)
	return manifest.Descriptor{MediaType: manifest.MediaTypeOCILayerGzip, Digest: archive, Size: 1000}
}

func (s *testStore) document(dir string, value any) manifest.Blob {
	s.t.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		s.t.Fatal(err)
	}
	d := digest.FromBytes(content)
	s.write(filepath.Join(dir, d.Encoded()), content)
	return manifest.Blob{Digest: d, Size: int64(len(content))}
}

func (s *testStore) tag(tag string, d digest.Digest) {
	s.t.Helper()
	if err := s.tags.Set(tag, d); err != nil {
		s.t.Fatal(err)
	}
	s.write(manifest.TagFile, s.tags.Format())
}

func (s *testStore) digest(tag string) string {
	d, ok := s.tags.Lookup(tag)
	if !ok {
		s.t.Fatalf("no tag %s", tag)
	}
	return d.String()
}

func (s *testStore) write(name string, content []byte) {
	s.t.Helper()
	temp := filepath.Join(s.dir, ".temp")
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *testStore) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

func newImage(tag string) *api.StormImage {
	return &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: api.ImageName(tag)}, Spec: api.StormImageSpec{Tag: tag}}
}

func newWorker(name, image string, port int32) *api.StormWorker {
	return &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: api.StormWorkerSpec{
			TopologyID: "wc1-2-1608581491", Port: port, User: "storm", Image: image, Command: []string{"java"},
		},
	}
}

func onNode(w *api.StormWorker, node string) *api.StormWorker {
	w.Spec.NodeName = node
	return w
}

func newNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func newLease(node string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: api.LeaseName(node), Namespace: api.SystemNamespace},
		Spec:       coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: time.Now()}},
	}
}

// addNode makes a node with a live agent.
func (w *world) addNode(name string) {
	w.Helper()
	w.create(newNode(name))
	w.create(newLease(name))
}

// reportRuntimes writes the runtimes of a node as its node-agent does, once the
// manager has made the StormNode.
func (w *world) reportRuntimes(node string, runtimes ...api.Runtime) {
	w.Helper()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"runtimes": runtimes}})
	w.must(err)
	w.eventually(func() error {
		n := &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: node}}
		return w.c.Status().Patch(w.ctx, n, client.RawPatch(types.MergePatchType, patch))
	})
}

// renew renews the Lease of a node's agent.
func (w *world) renew(node string) {
	w.Helper()
	lease := newLease(node)
	w.must(client.IgnoreAlreadyExists(w.c.Create(w.ctx, newLease(node))))
	patch := client.MergeFrom(&coordinationv1.Lease{ObjectMeta: lease.ObjectMeta})
	w.must(w.c.Patch(w.ctx, lease, patch))
}

// hasCondition waits until a condition of obj has a status and a reason.
func (w *world) hasCondition(obj client.Object, conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
	w.Helper()
	var found metav1.Condition
	w.eventually(func() error {
		if err := w.c.Get(w.ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		c := meta.FindStatusCondition(conditionsOf(obj), conditionType)
		if c == nil || c.Status != status || c.Reason != reason {
			return fmt.Errorf("%s: condition %s is %+v, want %s %s", obj.GetName(), conditionType, c, status, reason)
		}
		found = *c
		return nil
	})
	return found
}

func conditionsOf(obj client.Object) []metav1.Condition {
	if i, ok := obj.(*api.StormImage); ok {
		return i.Status.Conditions
	}
	return obj.(*api.StormWorker).Status.Conditions
}

func (w *world) bound(obj *api.StormWorker) {
	w.Helper()
	w.hasCondition(obj, api.WorkerScheduled, metav1.ConditionTrue, api.ReasonScheduled)
}

// report writes a part of a worker's status as its node-agent does.
func (w *world) report(obj *api.StormWorker, status metav1.ConditionStatus, reason string) {
	w.Helper()
	condition := func(t string, s metav1.ConditionStatus) map[string]any {
		return map[string]any{
			"type": t, "status": string(s), "reason": reason, "message": "says the agent",
			"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}
	}
	fields := map[string]any{"containerID": obj.ContainerID(), "conditions": []any{
		condition(api.WorkerLocalized, metav1.ConditionTrue), condition(api.WorkerMounted, status), condition(api.WorkerReady, status),
	}}
	if status == metav1.ConditionTrue {
		fields["startedAt"] = time.Now().UTC().Format(time.RFC3339)
	}
	w.must(w.c.Status().Apply(w.ctx, statusOf(obj, fields), client.FieldOwner(api.AgentFieldOwner), client.ForceOwnership))
}

func (s *testStore) hex(tag string) string {
	d, ok := s.tags.Lookup(tag)
	if !ok {
		s.t.Fatalf("no tag %s", tag)
	}
	return d.Encoded()
}

// hasEvent waits for an event on obj.
func (w *world) hasEvent(obj client.Object, reason string) {
	w.Helper()
	w.eventually(func() error {
		var list eventsv1.EventList
		if err := w.c.List(w.ctx, &list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.UID == obj.GetUID() && e.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("no event %s on %s", reason, obj.GetName())
	})
}

// leave makes the store unavailable for the rest of the test.
func (s *testStore) leave() {
	s.t.Helper()
	if err := os.Rename(s.dir, s.dir+".away"); err != nil {
		s.t.Fatal(err)
	}
}

// reconcileCount is how often a controller of this process has reconciled.
func reconcileCount(t *testing.T, controller string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var n float64
	for _, f := range families {
		if f.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "controller" && l.GetValue() == controller {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
