package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// TestFilesWithoutRecordAreSwept: after a reboot, the files of every worker
// are there and no record is. Those that are wanted are made anew, once the old
// ones are gone; their logs stay.
func TestFilesWithoutRecordAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a")
		n.marked = []string{w.ContainerID(), strayID}
		n.setFailure("sweep "+w.ContainerID(), errors.New("disk trouble"))
		a := n.begin()
		defer a.end()
		a.Ensure(w, Past{})
		if s := a.phase(t, "a", Waiting); s.Blocker != "of container "+w.ContainerID() {
			t.Errorf("waits for %q", s.Blocker)
		}
		if states := a.States(); len(states) != 1 {
			t.Errorf("states %+v, want that of the worker only", states)
		}
		n.setFailure("sweep "+w.ContainerID(), nil)
		time.Sleep(backOffFirst)
		a.phase(t, "a", Running)
		if len(n.marked) != 0 {
			t.Errorf("files are left of %v", n.marked)
		}
		for _, call := range n.taken() {
			if call == "remove logs" {
				t.Error("the logs of a worker that is wanted were removed")
			}
		}
	})
}

// TestOldLogsWithoutRecordGo: those of a worker that runs stay, however old,
// and those that somebody may look for.
func TestOldLogsWithoutRecordGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := aWorker("a")
		first := n.begin()
		first.Ensure(w, Past{})
		first.phase(t, "a", Running)
		first.end()
		const recent = "6704-6c23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
		old := time.Now().Add(-strayLogAge - time.Second)
		n.logs = map[string]time.Time{w.ContainerID(): old, strayID: old, recent: time.Now().Add(-strayLogAge + time.Second)}
		n.marked = []string{strayID, recent}
		second := n.begin()
		defer second.end()
		synctest.Wait()
		if _, left := n.logs[strayID]; left || len(n.logs) != 2 {
			t.Errorf("logs %v, want those of the worker and the recent ones", n.logs)
		}
	})
}

// TestUnreadableRecordIsSwept: with its container, and everything.
func TestUnreadableRecordIsSwept(t *testing.T) {
	for name, content := range map[string]string{
		"garbage": "{", "empty": "", "of no version": "{}", "of another container": `{"version":1,"spec":{"id":"../.."}}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.addStray()
				n.writeRecord(strayID, content)
				a := n.begin()
				defer a.end()
				synctest.Wait()
				if ids, err := a.records.list(); err != nil || len(ids) > 0 || len(n.containers) > 0 {
					t.Errorf("left: records %v (%v), containers %v", ids, err, n.containers)
				}
			})
		})
	}
}

func (n *node) writeRecord(id, content string) (path string) {
	n.t.Helper()
	path = filepath.Join(n.runRoot, "workers", id, recordName)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// TestHalfWrittenRecordIsSwept: of an agent that died before its first record
// had its name.
func TestHalfWrittenRecordIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		path := n.writeRecord(strayID, "")
		if err := os.Rename(path, path+".new"); err != nil {
			t.Fatal(err)
		}
		a := n.begin()
		defer a.end()
		synctest.Wait()
		if ids, err := a.records.list(); err != nil || len(ids) > 0 {
			t.Errorf("left: records %v (%v)", ids, err)
		}
	})
}

// TestNewerRecordStopsTheAgent: an agent that was downgraded kills nobody, and
// says what to do.
func TestNewerRecordStopsTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		first := n.begin()
		w := aWorker("a")
		first.Ensure(w, Past{})
		first.phase(t, "a", Running)
		first.end()
		n.addStray()
		n.marked = []string{strayID}
		newer := n.writeRecord(strayID, fmt.Sprintf(`{"version": %d, "worker": "told in another way"}`, recordVersion+1))
		n.taken()

		a, err := n.recover()
		a.end()
		if !errors.Is(err, ErrNewerRecord) || !strings.Contains(err.Error(), newer) {
			t.Errorf("error %v, want ErrNewerRecord that names %s", err, newer)
		}
		wantCalls(t, n)
		if len(n.containers) != 2 {
			t.Errorf("containers %v, want both", n.containers)
		}
		if err := os.Remove(newer); err != nil { // the cure that the error tells
			t.Fatal(err)
		}
		second := n.begin()
		defer second.end()
		second.phase(t, "a", Running)
		if len(n.containers) != 1 {
			t.Errorf("containers %v, want the one with a record", n.containers)
		}
	})
}

// TestReleasedRecordsAreRead: of every version that was released, for ever. A
// field that is new is missing there; one that is unknown is passed over.
func TestReleasedRecordsAreRead(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	zone := 1
	want := map[string]*record{"record-v1.json": {
		Version: 1,
		Spec: worker.Spec{
			Namespace: "storm", Name: "wc-6703", UID: "0a7d8a0e-7f0c-4b3c-9f5e-2f1d1c8f6a11",
			ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc1-2-1608581491", User: "alice",
			Image: manifest.Image{
				Tag: "storm/rhel7:dev_current", ManifestDigest: digest.FromString("manifest"),
				Config: manifest.Blob{Digest: digest.FromString("config"), Size: 7877},
				Layers: []manifest.Layer{{
					Digest: digest.FromString("tar.gz"), Size: 26858854, File: "layers/x.sqsh",
					Squashfs: manifest.Blob{Digest: digest.FromString("squashfs"), Size: 26091520},
				}},
			},
			Command: []string{"java", "-Xmx1g"}, Env: []worker.EnvVar{{Name: "A", Value: "b"}},
			CPUMillis: 1400, MemoryBytes: 1 << 30, NUMAZone: &zone, RestartPolicy: worker.RestartOnFailure, GracePeriod: 3 * time.Second,
		},
		Layers: []digest.Digest{digest.FromString("squashfs")}, Launched: 2, Running: true, PID: 4242, StartedAt: at,
		LastExit: &runtime.Exit{Code: 137, Signal: 9, OOMKilled: true, At: at.Add(-time.Minute)}, Failures: 1, RetryAt: at, Unverified: 1,
	}, "record-v2.json": {
		Version: 2,
		Spec: worker.Spec{
			Namespace: "storm", Name: "wc-6704", UID: "1b7d8a0e-7f0c-4b3c-9f5e-2f1d1c8f6a11",
			ID: "2b23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6704, TopologyID: "wc1-2-1608581491", Runtime: "Docker", User: "alice",
			Image:   manifest.Image{Tag: "registry.example:5000/storm/rhel7:dev_current"},
			Command: []string{"java", "-Xmx1g"}, RestartPolicy: worker.RestartAlways, GracePeriod: 3 * time.Second,
		},
		Launched: 1, Running: true, PID: 4243, StartedAt: at, LastExit: &runtime.Exit{Code: 1, PidsLimited: true, At: at.Add(-time.Minute)},
	}}
	for file, want := range want {
		content, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		id := want.Spec.ContainerID()
		r := records{dir: t.TempDir(), runtimes: runtime.Drivers{worker.Runc: {}, "Docker": {}}}
		if err := errors.Join(os.Mkdir(filepath.Join(r.dir, id), 0o700), os.WriteFile(r.path(id), content, 0o600)); err != nil {
			t.Fatal(err)
		}
		got, err := r.load(id)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
}
