package admission

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// eventually waits until a request is refused with words: the API server comes
// to know of grants and nodes a moment after they were written.
func eventually(t *testing.T, words string, do func() error) {
	t.Helper()
	NewWithT(t).Eventually(do, patience, 20*time.Millisecond).Should(MatchError(ContainSubstring(words)))
}

// allowed waits until a request is taken.
func allowed(t *testing.T, c client.Client, do func(context.Context, client.Client) error) {
	t.Helper()
	NewWithT(t).Eventually(func() error { return do(t.Context(), c) }, patience, 20*time.Millisecond).Should(Succeed())
}

// TestNobodyElseWrites: not even who may do everything writes what is the
// daemons' to write.
func TestNobodyElseWrites(t *testing.T) {
	w := boundWorker(t, "watched", nodeA)
	n := stormNode("watched")
	create(t, manager, n)
	i := &api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "watched"}, Spec: api.StormImageSpec{Tag: "a:1"}}
	create(t, admin, i)
	p := boundProfile(t, "watched", nodeA)
	bind(t, "chief", "", "ClusterRole", "cluster-admin")
	chief := person(t, "chief")
	allowed(t, chief, list(&corev1.SecretList{}))
	attempts := []attempt{
		{"a worker's status", report(w, `{"status":{"pid":1}}`), "stormworkers/status is written only by service account stormcell-manager and stormcell-node-agent of namespace stormcell-system, not by "},
		{"an image's status", report(i, `{"status":{"manifestDigest":"sha256:1"}}`), "stormimages/status is written only by service account stormcell-manager of"},
		{"a StormNode's status", report(n, `{"status":{"imagesReady":1}}`), "stormnodes/status is written only by service account stormcell-node-agent of"},
		{"a profile's status", report(p, `{"status":{"output":"x"}}`), "stormprofiles/status is written only by service account stormcell-manager and stormcell-node-agent of"},
		{"a StormNode", try(stormNode("x")), "stormnodes is written only by service account stormcell-manager of"},
		{"a StormNode's spec", change(n, `{"spec":{"images":[{"tag":"a","manifestDigest":"sha256:`+digest+`"}]}}`), "stormnodes is written only by"},
		{"who may ask a node's agent", change(n, `{"spec":{"managers":{"caBundle":"eA=="}}}`), "stormnodes is written only by"},
		{"the finalizer", change(w, `{"metadata":{"finalizers":null}}`), "keep stormcell.dev/worker in metadata.finalizers"},
		{"a StormNode's labels", change(n, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"nothing", report(w, `{"status":{}}`), ""},
		{"a worker as any user", try(worker("free")), ""},
	}
	t.Run("cluster-admin", func(t *testing.T) { check(t, chief, attempts) })
	t.Run("system:masters", func(t *testing.T) { check(t, admin, attempts) })
	t.Run("in the manager's name", func(t *testing.T) {
		check(t, person(t, "system:serviceaccount:stormcell-system:stormcell-manager", "system:serviceaccounts"), []attempt{
			{"the finalizer", change(w, `{"metadata":{"finalizers":null}}`), ""},
		})
	})
}

const digest = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// TestManager: the manager writes what it has to say, and no specs.
func TestManager(t *testing.T) {
	w := boundWorker(t, "managed", nodeA)
	n := stormNode("managed")
	create(t, manager, n)
	check(t, manager, []attempt{
		{"keeps a finalizer", change(w, `{"metadata":{"finalizers":["stormcell.dev/worker"]}}`), ""},
		{"wants an image of a node", change(n, `{"spec":{"images":[{"tag":"a","manifestDigest":"sha256:`+digest+`"}]}}`), ""},
		{"makes an image", try(&api.StormImage{ObjectMeta: metav1.ObjectMeta{Name: "made"}, Spec: api.StormImageSpec{Tag: "a:1"}}), ""},
		{"writes a worker's spec", change(w, `{"spec":{"restartPolicy":"Never"}}`), "service account stormcell-manager may change only finalizers and status"},
		{"writes a worker's labels", change(w, `{"metadata":{"labels":{"a":"b"}}}`), "may change only finalizers and status"},
		{"makes a worker", try(worker("made")), `cannot create resource "stormworkers"`},
		{"deletes a worker", func(ctx context.Context, c client.Client) error { return c.Delete(ctx, worker("managed")) }, `cannot delete resource "stormworkers"`},
		{"writes a StormNode's status", report(n, `{"status":{"imagesReady":1}}`), `cannot patch resource "stormnodes/status"`},
		{"changes a node", change(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeA}}, `{"metadata":{"labels":{"a":"b"}}}`), `cannot patch resource "nodes"`},
		{"reads Secrets", list(&corev1.SecretList{}), `cannot list resource "secrets"`},
	})
}
