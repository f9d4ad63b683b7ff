package integration

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/image"
	"github.com/stormcell/stormcell/test/stack"
	"github.com/stormcell/stormcell/test/suite"
)

// jdkImage is an image with a JDK.
const jdkImage = "storm/jdk:latest"

// aJavaWorker runs a program in a JVM of its image, which has a JDK.
func aJavaWorker(t *testing.T) *api.StormWorker {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "jdk.tar")
	if err := image.WriteJDK(archive, jdkImage, "testdata/Spinner.java"); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), "docker-archive:"+archive, jdkImage); err != nil {
		t.Fatal(err)
	}
	w := apply(t, aWorker("java", func(w *api.StormWorkerSpec) {
		w.Image, w.Command = jdkImage, []string{"java", "-Xmx64m", "-cp", image.Classes, "Spinner"}
	}))
	running(t, w)
	expect(t).Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("spins"))
	return w
}

func running(t *testing.T, w *api.StormWorker) {
	t.Helper()
	if err := s.Await(t.Context(), w, api.ReasonRunning); err != nil {
		t.Fatal(err)
	}
}

func profiled(t *testing.T, worker string, action api.ProfileAction, reason string, duration ...time.Duration) *api.StormProfile {
	t.Helper()
	return suite.Profiled(t, s.Client, worker, action, reason, duration...)
}

func messageOf(p *api.StormProfile) string {
	return meta.FindStatusCondition(p.Status.Conditions, api.ProfileComplete).Message
}

// TestProfiles does to a Java worker what the buttons of Storm's UI do, by
// objects alone.
func TestProfiles(t *testing.T) {
	w := aJavaWorker(t)
	suite.Profiles(t, s.Client, w)
	expect(t).Eventually(func() int { return strings.Count(logOf(t, w), "spins") }).Should(Equal(2), "it runs again")
	profileByKubectl(t, w)
}

// profileByKubectl: what a person sees.
func profileByKubectl(t *testing.T, w *api.StormWorker) {
	t.Helper()
	kubectl, g := plugin(t), expect(t)
	out, err := kubectl("profile", w.Name, "jstack", "--as-group", "system:masters")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(MatchRegexp(`(?m)^JStack of worker java: wrote /.*/jstack-1-\d{14}\.txt on node ` + stack.NodeName + `$`))
	out, err = kubectl("profile", "nobody-has-it", "HeapDump", "--as-group", "system:masters")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("error: HeapDump of worker nobody-has-it failed: there is no StormWorker nobody-has-it in namespace default"))
	out, err = kubectl("profile", w.Name, "HeapDump")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("forbidden"))
}

// TestProfilesOfNothing: each failure says what it is about.
func TestProfilesOfNothing(t *testing.T) {
	g := expect(t)
	g.Expect(messageOf(profiled(t, "nobody-has-it", api.ProfileJStack, api.ReasonFailed))).To(
		ContainSubstring("there is no StormWorker nobody-has-it in namespace default"))

	w := apply(t, aWorker("no-jvm"))
	running(t, w)
	g.Expect(messageOf(profiled(t, w.Name, api.ProfileJStack, api.ReasonFailed))).To(ContainSubstring("is no JVM: bash"))

	ended := apply(t, aWorker("ended", func(w *api.StormWorkerSpec) {
		w.Command, w.RestartPolicy = shell("exit 0"), api.RestartNever
	}))
	if err := s.Await(t.Context(), ended, api.ReasonCompleted); err != nil {
		t.Fatal(err)
	}
	g.Expect(messageOf(profiled(t, ended.Name, api.ProfileHeapDump, api.ReasonFailed))).To(ContainSubstring("is not running (Completed"))
}

// TestRecordingOutlivesTheAgent: a recording is stopped in its time though the
// agent was killed, and one action at a time is done to a worker.
func TestRecordingOutlivesTheAgent(t *testing.T) {
	w := aJavaWorker(t)
	p := profiled(t, w.Name, api.ProfileFlightRecordStart, api.ReasonRecording, 3*time.Second)
	started := time.Now()
	if err := s.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.StartAgent(); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAgent(t.Context(), started); err != nil {
		t.Fatal(err)
	}
	suite.AwaitProfile(t, s.Client, p, api.ReasonSucceeded)
	if len(p.Status.Files) != 1 || !strings.HasSuffix(p.Status.Files[0], ".jfr") {
		t.Errorf("files %v", p.Status.Files)
	}
}

// TestProfileCannotBeChanged: nor made for what does not exist.
func TestProfileCannotBeChanged(t *testing.T) {
	g := expect(t)
	p := profiled(t, "nobody-has-it", api.ProfileJStack, api.ReasonFailed)
	p.Spec.WorkerName = "other"
	g.Expect(errors.IsInvalid(s.Client.Update(t.Context(), p))).To(BeTrue())
	for name, spec := range map[string]api.StormProfileSpec{
		"no action":          {WorkerName: "w"},
		"an unknown action":  {WorkerName: "w", Action: "Dump"},
		"no worker":          {Action: api.ProfileJStack},
		"a duration of both": {WorkerName: "w", Action: api.ProfileJStack, Duration: &metav1.Duration{Duration: time.Minute}},
		"too long":           {WorkerName: "w", Action: api.ProfileFlightRecordStart, Duration: &metav1.Duration{Duration: 25 * time.Hour}},
	} {
		p := &api.StormProfile{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: metav1.NamespaceDefault}, Spec: spec}
		if err := s.Client.Create(t.Context(), p); !errors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
