package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/live"
)

// monitor looks at workers, and at what they use, again and again.
type monitor struct {
	*plugin
	everywhere bool // --all-namespaces

	namespace, topology string
	objects             stormcell.StormcellV1alpha1Interface
	nodes               *live.Client

	workers       []api.StormWorker
	before, after live.Sample
	troubles      []string
}

func (m *monitor) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&m.everywhere, "all-namespaces", "A", false, "of all namespaces")
}

// begin connects, to look at the topology that args name, or at all.
func (m *monitor) begin(args []string) (err error) {
	m.topology = strings.Join(args, "")
	if !m.everywhere {
		if m.namespace, err = m.plugin.namespace(); err != nil {
			return err
		}
	}
	if m.objects, err = m.plugin.objects(); err != nil {
		return err
	}
	m.nodes, err = m.live()
	return err
}

// list reads the workers.
func (m *monitor) list(ctx context.Context) error {
	var options metav1.ListOptions
	if m.topology != "" {
		options.FieldSelector = fields.OneTermEqualSelector("spec.topologyID", m.topology).String()
	}
	list, err := m.objects.StormWorkers(m.namespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("list workers: %w", err)
	}
	m.workers = list.Items
	slices.SortFunc(m.workers, func(a, b api.StormWorker) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Spec.TopologyID, b.Spec.TopologyID),
			cmp.Compare(a.Spec.Port, b.Spec.Port), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// sample reads what the workers use, and keeps what it read before. False says
// that nothing could be read.
func (m *monitor) sample(ctx context.Context) bool {
	var namespaces []string
	for _, w := range m.workers {
		namespaces = append(namespaces, w.Namespace)
	}
	m.before = m.after
	m.after, m.troubles = m.nodes.Sample(ctx, slices.Compact(namespaces))
	return len(m.after) > 0
}

// workerRow is a worker with what it uses.
type workerRow struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Topology  string       `json:"topology"`
	Port      int32        `json:"port"`
	Node      string       `json:"node,omitempty"`
	Status    string       `json:"status"`
	Ready     bool         `json:"ready"`
	Restarts  int32        `json:"restarts"`
	Created   metav1.Time  `json:"created"`
	Started   *metav1.Time `json:"started,omitempty"`
	User      string       `json:"user"`
	Image     string       `json:"image,omitempty"`
	PID       int64        `json:"pid,omitempty"`
	// Usage is absent where it is not known.
	Usage *usage `json:"usage,omitempty"`
}

// usage is what a worker uses; limits are absent where there is none.
type usage struct {
	// CPUMillis is absent until two readings of one container are there.
	CPUMillis        *int64 `json:"cpuMillis,omitempty"`
	CPULimitMillis   int64  `json:"cpuLimitMillis,omitempty"`
	MemoryBytes      int64  `json:"memoryBytes"`
	MemoryLimitBytes int64  `json:"memoryLimitBytes,omitempty"`
	PIDs             int64  `json:"pids"`
}

// unseen is the status of a worker that no manager has looked at.
const unseen = "Unseen"

// rows join the workers with the samples.
func (m *monitor) rows() []workerRow {
	rows := make([]workerRow, len(m.workers))
	for i := range m.workers {
		w := &m.workers[i]
		rows[i] = workerRow{
			Namespace: w.Namespace, Name: w.Name, Topology: w.Spec.TopologyID, Port: w.Spec.Port, Node: w.Status.NodeName,
			Status: unseen, Restarts: w.Status.RestartCount, Created: w.CreationTimestamp, Started: w.Status.StartedAt,
			User: w.Spec.User, Image: w.Spec.Image, PID: w.Status.PID, Usage: m.usage(w),
		}
		if ready := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); ready != nil {
			rows[i].Status, rows[i].Ready = ready.Reason, ready.Status == metav1.ConditionTrue
		}
		if w.Status.Image != nil {
			rows[i].Image = w.Status.Image.Tag
		}
	}
	return rows
}

func (m *monitor) usage(w *api.StormWorker) *usage {
	key := types.NamespacedName{Namespace: w.Namespace, Name: w.Name}
	now, ok := m.after[key]
	if !ok {
		return nil
	}
	u := &usage{
		CPULimitMillis: now.CPULimitMillis, MemoryBytes: now.MemoryBytes, MemoryLimitBytes: now.MemoryLimitBytes, PIDs: now.Pids,
	}
	if earlier, ok := m.before[key]; ok {
		if millis, ok := live.CPUMillis(earlier, now); ok {
			u.CPUMillis = &millis
		}
	}
	return u
}

// writeNames writes the workers as kubectl takes them.
func (m *monitor) writeNames() error {
	for _, w := range m.workers {
		if _, err := fmt.Fprintf(m.Out, "stormworker.%s/%s\n", api.GroupVersion.Group, w.Name); err != nil {
			return err
		}
	}
	return nil
}

// write writes the workers in a form.
func (m *monitor) write(output *outputFlag) error {
	rows := m.rows()
	m.tellTroubles()
	if output.forMachine() {
		return output.write(m.harmless(), struct {
			Workers []workerRow `json:"workers"`
		}{rows})
	}
	if len(rows) == 0 {
		m.note("%s", m.nobody())
		return nil
	}
	return m.table(rows, output.form == asWide, time.Now()).Write(m.Out, m.colored())
}

// nobody says that there are no workers, and where.
func (m *monitor) nobody() string {
	text := "there are no workers"
	if m.topology != "" {
		text += " of topology " + m.topology
	}
	if !m.everywhere {
		text += fmt.Sprintf(" in namespace %s; -A shows those of all namespaces", m.namespace)
	}
	return text
}

// tellTroubles says in a line why figures are missing.
func (m *monitor) tellTroubles() {
	if len(m.troubles) > 0 {
		m.note("memory and CPU of some workers are not known: %s", strings.Join(m.troubles, "; "))
	}
}
