package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/internal/node/cgroup"
	"github.com/stormcell/stormcell/internal/node/engine"
	"github.com/stormcell/stormcell/internal/node/runtime"
)

// station is a node with workers that are nowhere but in a test.
type station []engine.State

func (s station) States() []engine.State { return s }

// usage is the same of all that run.
func (s station) usage(_ context.Context, uid string) (cgroup.Usage, error) {
	for _, w := range s {
		switch {
		case w.UID != uid || w.Phase != engine.Running:
		case w.Name == "ends": // between the look at it and this one
			return cgroup.Usage{}, fs.ErrNotExist
		default:
			return cgroup.Usage{
				Memory: &cgroup.MemoryUsage{Usage: 5, Limit: 7},
				CPU:    &cgroup.CPUUsage{User: time.Second, System: time.Millisecond, Cores: 1.5}, Pids: new(uint64(3)),
			}, nil
		}
	}
	return cgroup.Usage{}, runtime.ErrNotFound
}

// OpenLog knows the containers that have been started.
func (s station) OpenLog(_ context.Context, uid string, o runtime.LogOptions) (io.ReadCloser, error) {
	for _, w := range s {
		if w.UID == uid && !o.Previous && w.Phase != engine.Localizing {
			return io.NopCloser(strings.NewReader(w.ContainerID)), nil
		}
	}
	return nil, runtime.ErrNoLog
}

func backend() *Backend {
	s := station{
		{Namespace: "a", Name: "w", UID: "0", ContainerID: "older", Phase: engine.Removed},
		{Namespace: "a", Name: "w", UID: "6", ContainerID: "old", Phase: engine.Stopping},
		{Namespace: "a", Name: "w", UID: "1", ContainerID: "new", Phase: engine.Running, Restarts: 2},
		{Namespace: "b", Name: "w", UID: "2", ContainerID: "other", Phase: engine.Running},
		{Namespace: "a", Name: "early", UID: "3", ContainerID: "early", Phase: engine.Localizing},
		{Namespace: "a", Name: "ends", UID: "4", ContainerID: "ends", Phase: engine.Running},
		{Namespace: "a", Name: "b", UID: "5", ContainerID: "b", Phase: engine.Running},
	}
	return &Backend{Node: "n1", Engine: s, Usage: s.usage}
}

func TestLog(t *testing.T) {
	for name, tt := range map[string]struct {
		worker   types.NamespacedName
		previous bool
		want     string
		refused  func(error) bool
	}{
		"of one that runs":     {types.NamespacedName{Namespace: "a", Name: "w"}, false, "new", nil},
		"of another namespace": {types.NamespacedName{Namespace: "b", Name: "w"}, false, "other", nil},
		"of none":              {types.NamespacedName{Namespace: "c", Name: "w"}, false, `"w" not found`, apierrors.IsNotFound},
		"not started yet":      {types.NamespacedName{Namespace: "a", Name: "early"}, false, "has not started yet on node n1, it is Localizing", apierrors.IsBadRequest},
		"none before":          {types.NamespacedName{Namespace: "a", Name: "w"}, true, "no earlier attempt", apierrors.IsBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := backend().Log(t.Context(), tt.worker, connectv1.LogOptions{Previous: tt.previous})
			if tt.refused != nil {
				if !tt.refused(err) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if content, err := io.ReadAll(log); err != nil || string(content) != tt.want {
				t.Errorf("%q, %v, want %q", content, err, tt.want)
			}
		})
	}
}

func TestStats(t *testing.T) {
	b := backend()
	list, err := b.ListStats(t.Context(), "a")
	if err != nil || len(list.Items) != 2 || list.Items[0].Name != "b" || list.Items[1].Name != "w" {
		t.Fatalf("those of namespace a: %+v, %v", list, err)
	}
	is := list.Items[1]
	if is.Namespace != "a" || is.ContainerID != "new" || is.Attempt != 2 || is.CPUNanoseconds != 1_001_000_000 ||
		is.CPULimitMillis != 1500 || is.MemoryBytes != 5 || is.MemoryLimitBytes != 7 || is.Pids != 3 || is.Time.IsZero() {
		t.Errorf("%+v", is)
	}
	for name, ok := range map[string]func(error) bool{"early": apierrors.IsBadRequest, "ends": apierrors.IsBadRequest, "none": apierrors.IsNotFound} {
		if _, err := b.Stats(t.Context(), types.NamespacedName{Namespace: "a", Name: name}); !ok(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.Usage = func(context.Context, string) (cgroup.Usage, error) {
		return cgroup.Usage{}, errors.New("no cgroups are mounted")
	}
	if _, err := b.ListStats(t.Context(), "b"); err == nil {
		t.Error("a node that cannot read its cgroups says nothing")
	}
}
