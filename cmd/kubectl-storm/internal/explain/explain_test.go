package explain

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden file again")

// neverReady are the reasons that the Ready of a worker never bears, nor the
// Resolved of an image that a worker waits for.
var neverReady = []string{
	// Of other conditions, which are true.
	api.ReasonAllowed, api.ReasonResolved, api.ReasonAdmitted, api.ReasonLocalized, api.ReasonMounted,
	// Of Scheduled; Ready then says why it is not admitted.
	api.ReasonNotAdmitted,
	// Of an image's Prefetched.
	api.ReasonPrefetched, api.ReasonPrefetching, api.ReasonPrefetchFailed, api.ReasonNoNodeSelected, api.ReasonSelectorInvalid,
	// Of a StormNode's Listening.
	api.ReasonListening, api.ReasonPortTaken,
	// Of a StormProfile's Complete.
	api.ReasonPending, api.ReasonProfiling, api.ReasonRecording, api.ReasonSucceeded,
}

// reasons reads the names and values of all reasons from the API's source.
func reasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "..", "..", "api", "v1alpha1", "conditions.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}

// TestEveryReasonIsExplained fails when a reason is added to the API without an
// explanation of what to do about it.
func TestEveryReasonIsExplained(t *testing.T) {
	all := reasons(t)
	if len(all) < 40 {
		t.Fatalf("only %d reasons were found in the API's source", len(all))
	}
	for _, reason := range all {
		if explained, never := explanations[reason] != nil, slices.Contains(neverReady, reason); explained == never {
			t.Errorf("reason %s: is explained: %t, is named as one that no worker's Ready bears: %t; it must be one of both", reason, explained, never)
		}
	}
	for reason := range explanations {
		if !slices.Contains(all, reason) {
			t.Errorf("there is an explanation of reason %s, which the API does not have", reason)
		}
	}
}

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// worker is one whose Ready has a reason, as daemons write it.
func worker(reason string) *api.StormWorker {
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: "clock", Namespace: "storm", CreationTimestamp: ago(3 * time.Hour)},
		Spec: api.StormWorkerSpec{
			TopologyID: "clock-1-1764000000", Port: 6700, User: "stormdemo", Image: "stormcell/demo:latest", NodeName: "node-1",
			Command: []string{"java", "Clock"}, Runtime: api.RuntimeRunc, RestartPolicy: api.RestartAlways,
			Resources: api.WorkerResources{Limits: api.WorkerLimits{Memory: new(resource.MustParse("256Mi"))}},
		},
		Status: api.StormWorkerStatus{NodeName: "node-1"},
	}
	ready := metav1.Condition{Type: api.WorkerReady, Status: metav1.ConditionFalse, Reason: reason, Message: "the particulars"}
	switch reason {
	case api.ReasonRunning:
		ready.Status = metav1.ConditionTrue
		w.Status.StartedAt = new(ago(2 * time.Hour))
	case api.ReasonNodeLost:
		ready.Status = metav1.ConditionUnknown
	case api.ReasonImageNameNotFull, api.ReasonImagePullFailed, api.ReasonDockerUnavailable, api.ReasonRuntimeMissing:
		w.Spec.Runtime = api.RuntimeDocker
	case api.ReasonLocalizing:
		w.Status.Localization = &api.WorkerLocalization{Bytes: 54 << 20, TotalBytes: 120 << 20}
	case api.ReasonCompleted:
		w.Spec.RestartPolicy = api.RestartOnFailure
		w.Status.LastExit = exit(0, 0, false)
	case api.ReasonFailed:
		w.Spec.RestartPolicy = api.RestartNever
		w.Status.LastExit = exit(1, 0, false)
	case api.ReasonCommandNotFound:
		w.Spec.RestartPolicy = api.RestartNever
		w.Status.LastExit = exit(127, 0, false)
	case api.ReasonOOMKilled:
		w.Spec.RestartPolicy = api.RestartNever
		w.Status.LastExit = exit(137, 9, true)
	case api.ReasonEphemeralStorageExceeded:
		w.Spec.Resources.Limits.EphemeralStorage = new(resource.MustParse("1Gi"))
		w.Status.LastExit = exit(137, 9, false)
		w.Status.LastExit.EphemeralStorageExceeded = true
	case api.ReasonCrashLoopBackOff:
		w.Status.LastExit, w.Status.RestartCount = exit(137, 9, false), 4
	case api.ReasonStopping:
		w.DeletionTimestamp = new(ago(5 * time.Second))
	}
	w.Status.Conditions = []metav1.Condition{ready}
	return w
}

func exit(code, signal int32, oom bool) *api.WorkerExit {
	return &api.WorkerExit{ExitCode: code, Signal: signal, OOMKilled: oom, FinishedAt: ago(90 * time.Second)}
}

// TestExplanations compares the explanation of every reason with the golden file.
func TestExplanations(t *testing.T) {
	var got bytes.Buffer
	for _, reason := range reasons(t) {
		if explanations[reason] == nil {
			continue
		}
		s := Worker(Facts{Worker: worker(reason), Now: now})
		fmt.Fprintf(&got, "%s\n  %s\n  next: %s\n", reason, s.Sentence, s.Next)
		if strings.ContainsAny(s.Sentence+s.Next, "{}") {
			t.Errorf("%s: a name was left open: %s | %s", reason, s.Sentence, s.Next)
		}
		if s.Next == "" || (s.Said == "") != (reason == api.ReasonRunning) {
			t.Errorf("%s: said %q, next %q", reason, s.Said, s.Next)
		}
	}
	golden := filepath.Join("testdata", "explanations.txt")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("-want +got (go test -update writes it anew):\n%s", diff)
	}
}

// TestRuntimes: what is said, and the cures, are of the worker's own runtime.
func TestRuntimes(t *testing.T) {
	in := func(runtime api.Runtime, node string) func(*api.StormWorker) {
		return func(w *api.StormWorker) { w.Status.Runtime, w.Status.NodeName = runtime, node }
	}
	for _, tt := range []struct {
		reason    string
		change    func(*api.StormWorker)
		why, next string
		never     string // words of another runtime
	}{
		{api.ReasonImageNotAllowed, in(api.RuntimeDocker, ""), "allowlist of runtime Docker", "stormcell.docker.allowed.images", "storm.oci"},
		{api.ReasonImageNotAllowed, in(api.RuntimeRunc, ""), "the cluster's allowlist", "storm.oci.allowed.images", "ocker"},
		{api.ReasonNoImagesAllowed, in(api.RuntimeDocker, ""), "allows no images in runtime Docker", "stormcell.docker.allowed.images", "storm.oci"},
		{api.ReasonNoImagesAllowed, in(api.RuntimeRunc, ""), "allows no images", "storm.oci.allowed.images", "ocker"},
		{api.ReasonNoImage, in(api.RuntimeDocker, ""), "runtime Docker has no default", "with spec.image", "storm.oci"},
		{api.ReasonNoImage, in(api.RuntimeRunc, ""), "the cluster has no default", "storm.oci.image", "ocker"},
		{api.ReasonRuntimeMissing, in(api.RuntimeDocker, ""), "node-1 does not have runtime Docker", "stormcell.docker.enable", "update"},
		{api.ReasonRuntimeMissing, in("Third", "node-2"), "node-2 does not have runtime Third", "update its node-agent", "ocker"},
		{api.ReasonImagePullFailed, in("Third", "node-2"), "Third on node-2 could not pull", "what the registry says", "ocker"},
		{"ThirdUnavailable", in("Third", "node-2"), "Third does not answer on node-2", "check its daemon there", "ocker"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			w := worker(tt.reason)
			tt.change(w)
			w.Spec.Image = "registry.example.com/a:1"
			s := Worker(Facts{Worker: w, Now: now})
			if !strings.Contains(s.Sentence, tt.why) || !strings.Contains(s.Next, tt.next) || strings.Contains(s.Sentence+s.Next, tt.never) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func lease(renewed time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		RenewTime: new(metav1.NewMicroTime(now.Add(-renewed))), LeaseDurationSeconds: new(int32(40)),
	}}
}

func event(kind, reason, message string, at time.Duration) corev1.Event {
	return corev1.Event{Type: kind, Reason: reason, Message: message, EventTime: metav1.NewMicroTime(now.Add(-at))}
}

func image(reason string) *api.StormImage {
	i := &api.StormImage{Spec: api.StormImageSpec{Tag: "stormcell/demo:latest"}}
	meta.SetStatusCondition(&i.Status.Conditions, metav1.Condition{Type: api.ImageResolved, Status: metav1.ConditionFalse, Reason: reason})
	return i
}

// TestFacts checks what facts beside the worker add to its explanation.
func TestFacts(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason string
		change func(*Facts)
		want   Explanation
	}{
		{
			"nobody has looked", "", func(f *Facts) { f.Worker.Status.Conditions = nil },
			Explanation{
				Sentence: "worker clock does not run: no manager has processed it since it was created 3h ago",
				Next:     "check whether the manager runs: kubectl -n stormcell-system get deployments,pods",
			},
		},
		{
			"a reason of another version", "Teleported", func(*Facts) {},
			Explanation{
				Sentence: "worker clock does not run: its state is Teleported", Said: "the particulars",
				Next: "kubectl -n storm describe stormworker clock shows more",
			},
		},
		{
			"the image's own reason", api.ReasonImageNotResolved, func(f *Facts) { f.Image = image(api.ReasonTagNotFound) },
			Explanation{
				Sentence: "worker clock does not run: the image store has no tag stormcell/demo:latest", Said: "the particulars",
				Next: "push it: docker-to-squash --store STORE pull-build-push-update SOURCE,stormcell/demo:latest; or create the worker again with one of: kubectl storm images",
			},
		},
		{
			"the agent has been silent since", api.ReasonLocalizing, func(f *Facts) {
				f.Lease = lease(5 * time.Minute)
				f.Worker.Status.Conditions = append(f.Worker.Status.Conditions, metav1.Condition{Type: api.WorkerLocalized})
			},
			Explanation{
				Sentence: "worker clock does not run: its image is being fetched to node-1, 45 % of 120Mi is there; but the node-agent of node-1 has been silent for 5m, so this may be outdated",
				Said:     "the particulars", Next: "wait, and watch it: kubectl -n storm get stormworker clock --watch",
			},
		},
		{
			"no agent on its node", api.ReasonScheduled, func(f *Facts) { f.LeaseGone = true },
			Explanation{
				Sentence: "worker clock does not run: it is bound to node-1, from where no node-agent has reported yet", Said: "the particulars",
				Next: "check whether one runs there: kubectl -n stormcell-system get pods -o wide --field-selector spec.nodeName=node-1",
			},
		},
		{
			"lost, node not ready", api.ReasonNodeLost, func(f *Facts) {
				f.Lease = lease(10 * time.Minute)
				f.Node = &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}}}
			},
			Explanation{
				Sentence: "it is not known whether worker clock runs: the node-agent of node-1 has been silent for 10m, and the node is not ready either",
				Said:     "the particulars",
				Next:     "check the node and its agent: kubectl describe node node-1; kubectl -n stormcell-system get pods -o wide --field-selector spec.nodeName=node-1",
			},
		},
		{
			"lost, node gone", api.ReasonNodeLost, func(f *Facts) { f.NodeGone, f.LeaseGone = true, true },
			Explanation{
				Sentence: "it is not known whether worker clock runs: its node node-1 was removed from the cluster", Said: "the particulars",
				Next: "delete it, and create it again: kubectl -n storm delete stormworker clock",
			},
		},
		{
			"lost, back again", api.ReasonNodeLost, func(f *Facts) { f.Lease = lease(time.Second) },
			Explanation{
				Sentence: "it is not known whether worker clock runs: the node-agent of node-1 is back, and has not reported on it yet", Said: "the particulars",
				Next: "check the node and its agent: kubectl describe node node-1; kubectl -n stormcell-system get pods -o wide --field-selector spec.nodeName=node-1",
			},
		},
		{
			"runs again after it lacked memory", api.ReasonRunning, func(f *Facts) {
				f.Worker.Status.RestartCount, f.Worker.Status.LastExit = 1, exit(137, 9, true)
				f.Events = []corev1.Event{
					event(corev1.EventTypeWarning, api.ReasonStartFailed, "older", 4*time.Hour),
					event(corev1.EventTypeWarning, api.ReasonCrashLoopBackOff, "was killed", 89*time.Second),
					event(corev1.EventTypeNormal, api.ReasonStarting, "no trouble", time.Second),
				}
			},
			Explanation{
				Sentence: "worker clock has run on node-1, port 6700, for 120m; it was restarted once, last after it was killed by the kernel for its memory limit of 256Mi, 90s ago",
				Before:   "89s ago CrashLoopBackOff: was killed",
				Next:     "create it again with a spec.resources.limits.memory above 256Mi, or give its JVM a smaller heap (-Xmx)",
			},
		},
		{
			"runs on, no longer allowed", api.ReasonRunning, func(f *Facts) {
				meta.SetStatusCondition(&f.Worker.Status.Conditions, metav1.Condition{Type: api.WorkerAdmitted, Status: metav1.ConditionTrue, Reason: api.ReasonImageNotAllowed})
			},
			Explanation{
				Sentence: "worker clock has run on node-1, port 6700, for 120m; its image stormcell/demo:latest is no longer allowed, so it cannot be created again once it is deleted",
				Next:     "nothing; kubectl storm -n storm logs clock -f follows what it writes",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Facts{Worker: worker(test.reason), Now: now}
			test.change(&f)
			if diff := cmp.Diff(test.want, Worker(f)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestExitWords(t *testing.T) {
	w := worker(api.ReasonFailed)
	for _, test := range []struct {
		exit *api.WorkerExit
		want string
	}{
		{exit(0, 0, false), "ended by itself with exit code 0"},
		{exit(3, 0, false), "ended with exit code 3"},
		{exit(126, 0, false), "ended with exit code 126 (a program could not be executed)"},
		{exit(127, 0, false), "ended with exit code 127 (a program was not found)"},
		{exit(137, 0, false), "ended with exit code 137 (one of its processes was killed by signal 9 (SIGKILL))"},
		{exit(137, 9, false), "was killed by signal 9 (SIGKILL)"},
		{exit(162, 34, false), "was killed by signal 34"},
		{exit(255, 0, false), "ended with exit code 255"},
		{exit(-1, 0, false), "ended unobserved, so its exit code is unknown"},
		{exit(137, 9, true), "was killed by the kernel for its memory limit of 256Mi"},
		{exit(1, 0, true), "ended with exit code 1 after the kernel had killed one of its processes for its memory limit of 256Mi"},
	} {
		if got := exitWords(test.exit, w); got != test.want {
			t.Errorf("%+v: got %q, want %q", *test.exit, got, test.want)
		}
	}
}
