package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// figures answers as nodes do on which clock-a uses 0.25 processors.
func figures(unreachable ...connect.UnreachableNode) http.Handler {
	begun := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var readings atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := readings.Add(1)
		answer(w, http.StatusOK, connect.StormWorkerStatsList{
			TypeMeta: metav1.TypeMeta{APIVersion: connect.GroupVersion.String(), Kind: "StormWorkerStatsList"},
			Items: []connect.StormWorkerStats{{
				ObjectMeta:     metav1.ObjectMeta{Name: "clock-a"},
				Time:           metav1.NewMicroTime(begun.Add(time.Duration(n) * time.Second)),
				CPUNanoseconds: n * int64(250*time.Millisecond), CPULimitMillis: 1500, MemoryBytes: 112 << 20, MemoryLimitBytes: 256 << 20, Pids: 31,
			}, {
				ObjectMeta:     metav1.ObjectMeta{Name: "clock-b"},
				Time:           metav1.NewMicroTime(begun.Add(time.Duration(n) * time.Second)),
				CPUNanoseconds: n * int64(2*time.Second), MemoryBytes: 11 << 30, Attempt: int32(n), Pids: 5,
			}},
			Unreachable: unreachable,
		})
	})
}

func TestPs(t *testing.T) {
	f := newFixture(t, figures(connect.UnreachableNode{Node: "node-2", Message: "no agent\x1b[2J listens"}))
	f.threeWorkers()
	r := f.run("ps")
	wantOutput(t, r)
	golden(t, "ps", r.out+r.notes)
	golden(t, "ps-topology", f.run("ps", "clock-1-1764000000").out)
	golden(t, "ps-wide", f.run("ps", "-o", "wide").out)
	golden(t, "ps-name", f.run("ps", "-o", "name").out)
	wantOutput(t, f.run("ps", "--all-namespaces"), "NAMESPACE", f.namespace+"   clock-a")
}

func TestPsForMachines(t *testing.T) {
	f := newFixture(t, figures())
	f.threeWorkers()
	type workers struct {
		Workers []workerRow `json:"workers"`
	}
	var asJSON, asYAML workers
	if err := json.Unmarshal([]byte(f.run("ps", "-o", "json").out), &asJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(f.run("ps", "-o", "yaml").out), &asYAML); err != nil {
		t.Fatal(err)
	}
	for _, got := range []workers{asJSON, asYAML} {
		if len(got.Workers) != 3 {
			t.Fatalf("got %+v", got)
		}
		a, b, other := got.Workers[0], got.Workers[1], got.Workers[2]
		if a.Name != "clock-a" || !a.Ready || a.Usage == nil || a.Usage.CPUMillis == nil || *a.Usage.CPUMillis != 250 || a.Usage.MemoryLimitBytes != 256<<20 {
			t.Errorf("got %+v", a)
		}
		if b.Status != api.ReasonCrashLoopBackOff || b.Restarts != 12 || b.Usage == nil || b.Usage.CPUMillis != nil {
			t.Errorf("got %+v: the use of processors of another attempt is not known", b)
		}
		if other.Status != unseen || other.Usage != nil {
			t.Errorf("got %+v", other)
		}
	}
}

// TestPsWithoutFigures lists workers of a cluster that does not serve
// connect.stormcell.dev.
func TestPsWithoutFigures(t *testing.T) {
	f := newFixture(t, nil)
	f.threeWorkers()
	r := f.run("ps")
	wantOutput(t, r)
	golden(t, "ps-without-figures", r.out+r.notes)
}

func TestPsOfNothing(t *testing.T) {
	f := newFixture(t, figures())
	r := f.run("ps", "absent-1-1")
	wantOutput(t, r)
	if want := "there are no workers of topology absent-1-1 in namespace " + f.namespace; r.out != "" || !strings.Contains(r.notes, want) {
		t.Errorf("got %q, %q", r.out, r.notes)
	}
	var empty struct{ Workers []any }
	if err := json.Unmarshal([]byte(f.run("ps", "-o", "json").out), &empty); err != nil || empty.Workers == nil || len(empty.Workers) != 0 {
		t.Errorf("got %+v, %v; want an empty list", empty, err)
	}
	wantError(t, f.run("ps", "-o", "xml"), "must be one of wide, json, yaml, name")
}

func TestTop(t *testing.T) {
	f := newFixture(t, figures())
	f.threeWorkers()
	golden(t, "top-cpu", f.run("top").out)
	golden(t, "top-memory", f.run("top", "clock-1-1764000000", "--sort-by", "memory").out)
	wantOutput(t, f.run("top", "-o", "json"), `"name": "clock-a"`)
	wantError(t, f.run("top", "--sort-by", "age"), "must be cpu or memory")
}

func TestLogs(t *testing.T) {
	var asked atomic.Value
	f := newFixture(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path + "?" + r.URL.RawQuery)
		switch {
		case strings.Contains(r.URL.Path, "/absent/"):
			refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, `stormworkers.stormcell.dev "absent" not found`)
		case strings.Contains(r.URL.Path, "/lost/"):
			refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the node-agent of node-1 does not answer")
		default:
			_, _ = io.WriteString(w, "one\n\x1b[31mtwo\n")
		}
	}))
	r := f.run("logs", "clock")
	if wantOutput(t, r); r.out != "one\n\x1b[31mtwo\n" {
		t.Errorf("got %q, which goes to a file, where all must be as it was", r.out)
	}
	wantOutput(t, f.run("logs", "clock", "-f", "--tail", "20", "--previous", "--timestamps"))
	want := "/apis/connect.stormcell.dev/v1alpha1/namespaces/" + f.namespace + "/stormworkers/clock/log?follow=true&previous=true&tailLines=20&timestamps=true"
	if asked.Load() != want {
		t.Errorf("it asked %s, want %s", asked.Load(), want)
	}
	wantError(t, f.run("logs", "absent"), `log of worker absent in namespace `+f.namespace, `"absent" not found`, "kubectl storm ps -A")
	wantError(t, f.run("logs", "lost"), "the node-agent of node-1 does not answer")
	wantError(t, f.run("logs", "clock", "--tail", "-1"), "--tail -1: must be from 0 to")
	wantError(t, f.run("logs"), "accepts 1 arg")
}

func TestLogsWithoutServer(t *testing.T) {
	wantError(t, newFixture(t, nil).run("logs", "clock"), "this cluster does not serve connect.stormcell.dev", "kubectl get apiservice v1alpha1.connect.stormcell.dev")
}

func TestExplain(t *testing.T) {
	f := newFixture(t, nil)
	f.threeWorkers()
	r := f.run("explain", "clock-b")
	wantOutput(t, r, "Said:   ended with exit code 1\n", "Next:   read its last output: kubectl storm -n "+f.namespace+" logs clock-b\n",
		"worker clock-b does not run: it ended with exit code 1, ", " ago, and waits to be restarted, as it was 12 times before\n")
	wantOutput(t, f.run("explain", "other"), "no manager has processed it since it was created")
	wantOutput(t, f.run("explain", "clock-a", "-o", "json"), `"sentence": "worker clock-a has run on node-1, port 6700, for`)
	wantError(t, f.run("explain", "absent"), "there is no worker absent in namespace "+f.namespace)
}

// TestExplainReadsTheRest checks that image, node, Lease and events are found.
func TestExplainReadsTheRest(t *testing.T) {
	f := newFixture(t, nil)
	w := f.worker("clock", 6700, func(w *api.StormWorker) {
		ready(w, api.ReasonImageNotResolved, "StormImage: TagNotFound: \x1b[2Jabsent")
	})
	makeImage(t, f, "stormcell/demo:latest", func(i *api.StormImage) {
		meta.SetStatusCondition(&i.Status.Conditions, metav1.Condition{Type: api.ImageResolved, Status: metav1.ConditionFalse, Reason: api.ReasonTagNotFound})
	})
	makeEvent(t, w)
	r := f.run("explain", "clock")
	wantOutput(t, r, "the image store has no tag stormcell/demo:latest", "Before: 5m ago StoreUnavailable: the store was away", "TagNotFound: ␛[2Jabsent")
	if strings.Contains(r.out, "\x1b") {
		t.Errorf("the cluster's text steers the terminal: %q", r.out)
	}
	lost := f.worker("lost", 6701, func(w *api.StormWorker) { ready(w, api.ReasonNodeLost, "node is gone") })
	wantOutput(t, f.run("explain", lost.Name), "its node node-1 was removed from the cluster")
}

func makeEvent(t *testing.T, w *api.StormWorker) {
	t.Helper()
	at := metav1.NewTime(time.Now().Add(-5 * time.Minute))
	_, err := coreClient(t).CoreV1().Events(w.Namespace).Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "clock-", Namespace: w.Namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "StormWorker", APIVersion: api.GroupVersion.String(), Name: w.Name, Namespace: w.Namespace, UID: w.UID},
		Type:           corev1.EventTypeWarning, Reason: api.ReasonStoreUnavailable, Message: "the store was away", LastTimestamp: at, FirstTimestamp: at,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func makeImage(t *testing.T, f *fixture, tag string, change func(*api.StormImage)) {
	t.Helper()
	made, err := f.objects.StormImages().Create(t.Context(), &api.StormImage{
		ObjectMeta: metav1.ObjectMeta{Name: api.ImageName(tag)}, Spec: api.StormImageSpec{Tag: tag},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.objects.StormImages().Delete(context.WithoutCancel(t.Context()), made.Name, metav1.DeleteOptions{})
	})
	change(made)
	for i := range made.Status.Conditions {
		made.Status.Conditions[i].LastTransitionTime = metav1.Now()
	}
	if _, err := f.objects.StormImages().UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	f := newFixture(t, nil)
	manifest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	allowed := metav1.Condition{Type: api.ImageAllowed, Status: metav1.ConditionTrue, Reason: api.ReasonAllowed}
	whole := func(i *api.StormImage) {
		i.Status.ManifestDigest = manifest
		i.Status.Layers = []api.ImageLayer{{Digest: manifest, SquashfsSize: 70 << 20}, {Digest: manifest, SquashfsSize: 50 << 20}}
		i.Status.Conditions = []metav1.Condition{allowed, {Type: api.ImageReady, Status: metav1.ConditionTrue, Reason: api.ReasonResolved}}
	}
	makeImage(t, f, "storm/plain:1", whole)
	makeImage(t, f, "storm/ahead:1", func(i *api.StormImage) {
		whole(i)
		i.Status.Prefetch = &api.StormImagePrefetchStatus{Nodes: 3, NodesReady: 1}
	})
	makeImage(t, f, "storm/absent:1", func(i *api.StormImage) {
		i.Status.Conditions = []metav1.Condition{allowed, {Type: api.ImageReady, Status: metav1.ConditionFalse, Reason: api.ReasonTagNotFound}}
	})
	makeImage(t, f, "storm/forbidden:1", func(i *api.StormImage) {
		i.Status.Conditions = []metav1.Condition{
			{Type: api.ImageAllowed, Status: metav1.ConditionFalse, Reason: api.ReasonNotAllowed},
			{Type: api.ImageReady, Status: metav1.ConditionFalse, Reason: api.ReasonNotAllowed},
		}
	})
	makeNode(t, f, "node-1", manifest, api.PrefetchReady)
	makeNode(t, f, "node-2", manifest, api.PrefetchFetching)
	makeNode(t, f, "node-3", "sha256:"+strings.Repeat("f", 64), api.PrefetchReady) // of what the tag named before
	for i, w := range []struct{ tag, manifest, node string }{
		{"storm/plain:1", manifest, "node-4"}, {"storm/plain:1", "sha256:before", "node-5"}, {"storm/ahead:1", manifest, "node-1"},
	} {
		f.worker(fmt.Sprintf("has-it-%d", i), 6710+int32(i), func(o *api.StormWorker) {
			o.Status.NodeName, o.Status.Image = w.node, &api.WorkerImage{Tag: w.tag, ManifestDigest: w.manifest}
			o.Status.Conditions = []metav1.Condition{{
				Type: api.WorkerLocalized, Status: metav1.ConditionTrue, Reason: api.ReasonLocalized, LastTransitionTime: metav1.Now(),
			}}
		})
	}
	golden(t, "images", f.run("images").out)
	golden(t, "images-wide", f.run("images", "-o", "wide").out)
	wantOutput(t, f.run("images", "-o", "yaml"), "wanted: 3", "bytes: 125829120", "manifest: "+manifest)
	wantOutput(t, f.run("images", "-o", "name"), "stormimage.stormcell.dev/"+api.ImageName("storm/plain:1"))
}

func makeNode(t *testing.T, f *fixture, name, manifest string, state api.PrefetchState) {
	t.Helper()
	nodes := f.objects.StormNodes()
	made, err := nodes.Create(t.Context(), &api.StormNode{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) })
	made.Status.Images = []api.StormNodeImageStatus{{Tag: "storm/ahead:1", ManifestDigest: manifest, State: state}}
	if _, err := nodes.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestProfile plays the node-agent: it completes the profile that the plugin
// has made.
func TestProfile(t *testing.T) {
	for _, test := range []struct {
		name, reason, message string
		check                 func(*testing.T, result)
	}{
		{"well", api.ReasonSucceeded, "wrote /artifacts/jstack-1.txt on node node-1", func(t *testing.T, r result) {
			wantOutput(t, r, "JStack of worker clock: wrote /artifacts/jstack-1.txt on node node-1\n", "  dumping\n  ␛[2Jdone\n")
			if !strings.Contains(r.notes, "Profiling: the script runs") {
				t.Errorf("it does not tell how far it is: %q", r.notes)
			}
		}},
		{"badly", api.ReasonFailed, "no JVM", func(t *testing.T, r result) {
			wantError(t, r, "JStack of worker clock failed: no JVM")
			if !strings.Contains(r.out, "on node node-1: /artifacts/jstack-1.txt\n") || !strings.Contains(r.out, "  dumping\n") {
				t.Errorf("it does not show the output: %q", r.out)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, nil)
			done := make(chan result)
			go func() { done <- f.run("profile", "clock", "jstack") }()
			complete(t, f, test.reason, test.message)
			test.check(t, <-done)
		})
	}
}

// complete waits for a profile, says that it runs, and completes it.
func complete(t *testing.T, f *fixture, reason, message string) {
	t.Helper()
	profiles := f.objects.StormProfiles(f.namespace)
	watched, err := profiles.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Stop()
	event := <-watched.ResultChan()
	profile, ok := event.Object.(*api.StormProfile)
	if !ok || profile.Spec.WorkerName != "clock" || profile.Spec.Action != api.ProfileJStack {
		t.Fatalf("got %+v", event)
	}
	condition := metav1.Condition{Type: api.ProfileComplete, Status: metav1.ConditionFalse, Reason: api.ReasonProfiling, Message: "the script runs", LastTransitionTime: metav1.Now()}
	profile.Status.Conditions = []metav1.Condition{condition}
	if profile, err = profiles.UpdateStatus(t.Context(), profile, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, reason, message
	profile.Status.Conditions = []metav1.Condition{condition}
	profile.Status.NodeName, profile.Status.Files, profile.Status.Output = "node-1", []string{"/artifacts/jstack-1.txt"}, "dumping\n\x1b[2Jdone\n"
	if _, err := profiles.UpdateStatus(t.Context(), profile, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestProfileRefused(t *testing.T) {
	f := newFixture(t, nil)
	wantError(t, f.run("profile", "clock", "Explode"), `there is no action "Explode": use JStack, HeapDump,`)
	wantError(t, f.run("profile", "clock", "JStack", "--duration", "30s"), "is only for action FlightRecordStart")
	wantError(t, f.run("profile", "clock", "HeapDump", "--timeout", "1ms"), "is not complete after", "continues: see kubectl get stormprofile clock-heapdump-", " -n "+f.namespace+" -o wide, and kubectl storm explain -n "+f.namespace+" clock")
	wantOutput(t, f.run("profile", "clock", "FlightRecordStart", "--duration", "30s", "--wait=false", "-o", "yaml"), "duration: 30s", "workerName: clock", "kind: StormProfile")
	wantOutput(t, f.run("profile", "clock", "Restart", "--wait=false", "-o", "name"), "stormprofile.stormcell.dev/clock-restart-")
}

func TestVersion(t *testing.T) {
	f := newFixture(t, nil)
	wantOutput(t, f.run("version"), "kubectl storm           unknown\n", "stormcell.dev           v1alpha1\n", "connect.stormcell.dev   -\n")
	r := f.run("version", "-o", "json", "--server", "http://127.0.0.1:1")
	wantOutput(t, r, `"plugin": "unknown"`)
	if !strings.Contains(r.notes, "the cluster's versions are not known") {
		t.Errorf("got %q", r.notes)
	}
}

func TestCompletion(t *testing.T) {
	f := newFixture(t, nil)
	f.threeWorkers()
	complete := func(args ...string) result {
		// As kubectl runs the link, with its flags among the arguments.
		words := arguments(append([]string{"/usr/bin/" + completer + ".exe"}, args...))
		return runPlugin(t.Context(), f.kubeconfig, append(words[:1:1], append([]string{"--namespace", f.namespace, "--kubeconfig", f.kubeconfig}, words[1:]...)...)...)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"logs", ""}, "clock-a\tclock-1-1764000000\nclock-b\tclock-1-1764000000\nother\twc-1-1608581491\n:4\n"},
		{[]string{"explain", "clock-a", ""}, ":4\n"},
		{[]string{"ps", ""}, "clock-1-1764000000\nwc-1-1608581491\n:4\n"},
		{[]string{"profile", "clock-a", "H"}, "HeapDump\twrite the heap\n"},
		{[]string{"images", "-o", ""}, "wide\njson\nyaml\nname\n:4\n"},
		{[]string{"top", "--sort-by", ""}, "cpu\nmemory\n:4\n"},
	} {
		wantOutput(t, complete(test.args...), test.want)
	}
}

// TestHelp checks that every command has a help with examples.
func TestHelp(t *testing.T) {
	f := newFixture(t, nil)
	for _, command := range []string{"ps", "top", "logs", "profile", "images", "explain", "version"} {
		wantOutput(t, f.run(command, "--help"), "kubectl storm "+command, "Examples:\n  kubectl storm "+command, "--kubeconfig", "--context")
	}
}
