package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

const imagesHelp = `Lists the images that the cluster knows: those that workers name, and those for
which an admin has created a StormImage. RESOLVED is the digest of the manifest
that the tag names in the store, or why there is none. NODES is the number of nodes
that are known to have the image: they have prefetched it, or run a worker of it.
PREFETCHED is how many of the nodes that are to prefetch the image have it.`

func newImages(p *plugin) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List images: what is allowed, resolved, and where it is",
		Long:  imagesHelp,
		Example: `  kubectl storm images
  kubectl storm images -o wide              # with the names of the nodes
  kubectl storm images -o json | jq -r '.images[] | select(.allowed | not).tag'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := addOutput(cmd, asWide, asJSON, asYAML, asName)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		objects, err := p.objects()
		if err != nil {
			return err
		}
		images, err := objects.StormImages().List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list images: %w", err)
		}
		if output.form == asName {
			for _, i := range images.Items {
				fmt.Fprintf(p.Out, "stormimage.%s/%s\n", api.GroupVersion.Group, i.Name)
			}
			return nil
		}
		nodes, err := objects.StormNodes().List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			p.note("which nodes have prefetched an image is not known: list StormNodes: %v", err)
			nodes = &api.StormNodeList{}
		}
		workers, err := objects.StormWorkers(metav1.NamespaceAll).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			p.note("which nodes have an image for a worker is not known: list StormWorkers: %v", err)
			workers = &api.StormWorkerList{}
		}
		return p.writeImages(imageRows(images.Items, nodes.Items, workers.Items), output)
	}
	return cmd
}

// imageRow is an image, and where it is.
type imageRow struct {
	Tag     string `json:"tag"`
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	// Manifest is the digest that the tag names; Trouble says why there is none,
	// or why it may be old.
	Manifest string `json:"manifest,omitempty"`
	Trouble  string `json:"trouble,omitempty"`
	// Bytes is the size of the squashfs files of all layers.
	Bytes  int64 `json:"bytes"`
	Layers int   `json:"layers"`
	// Nodes are those that are known to have the image.
	Nodes []string `json:"nodes,omitempty"`
	// Wanted is how many nodes shall have the image ahead of time; absent where
	// nothing asks for that. Prefetched is how many of them do.
	Wanted     *int32 `json:"wanted,omitempty"`
	Prefetched int32  `json:"prefetched,omitempty"`
}

// imageRows joins images with what nodes have of them, by tag.
func imageRows(images []api.StormImage, nodes []api.StormNode, workers []api.StormWorker) []imageRow {
	rows := make([]imageRow, 0, len(images))
	for _, i := range images {
		row := imageRow{
			Tag: i.Spec.Tag, Name: i.Name, Allowed: meta.IsStatusConditionTrue(i.Status.Conditions, api.ImageAllowed),
			Manifest: i.Status.ManifestDigest, Layers: len(i.Status.Layers), Nodes: holders(i, nodes, workers),
		}
		for _, l := range i.Status.Layers {
			row.Bytes += l.SquashfsSize
		}
		if i.Status.Prefetch != nil {
			row.Wanted, row.Prefetched = &i.Status.Prefetch.Nodes, i.Status.Prefetch.NodesReady
		}
		if c := meta.FindStatusCondition(i.Status.Conditions, api.ImageReady); c != nil && c.Status != metav1.ConditionTrue {
			row.Trouble = c.Reason
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b imageRow) int { return cmp.Compare(a.Tag, b.Tag) })
	return rows
}

// holders are the nodes that are known to have every layer of what an image's tag
// names.
func holders(i api.StormImage, nodes []api.StormNode, workers []api.StormWorker) []string {
	var names []string
	for _, w := range workers {
		image := w.Status.Image
		if image != nil && image.Tag == i.Spec.Tag && image.ManifestDigest == i.Status.ManifestDigest &&
			meta.IsStatusConditionTrue(w.Status.Conditions, api.WorkerLocalized) {
			names = append(names, w.Status.NodeName)
		}
	}
	for _, n := range nodes {
		if slices.ContainsFunc(n.Status.Images, func(has api.StormNodeImageStatus) bool {
			return has.Tag == i.Spec.Tag && has.ManifestDigest == i.Status.ManifestDigest && has.State == api.PrefetchReady
		}) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *plugin) writeImages(rows []imageRow, output *outputFlag) error {
	if output.forMachine() {
		return output.write(p.harmless(), struct {
			Images []imageRow `json:"images"`
		}{rows})
	}
	if len(rows) == 0 {
		p.note("there are no images yet: the manager creates a StormImage for each allowed tag that a worker names, and admins can create them in advance")
		return nil
	}
	table := screen.Table{Header: []string{"TAG", "ALLOWED", "RESOLVED", "SIZE", "LAYERS", "NODES", "PREFETCHED"}}
	wide := output.form == asWide
	if wide {
		table.Header = append(table.Header, "NODE NAMES")
	}
	for _, r := range rows {
		table.Rows = append(table.Rows, r.cells(wide))
	}
	return table.Write(p.Out, p.colored())
}

func (r imageRow) cells(wide bool) []screen.Cell {
	allowed := screen.Cell{Text: "no", Color: screen.Red}
	if r.Allowed {
		allowed = screen.Cell{Text: "yes", Color: screen.Green}
	}
	resolved := screen.Cell{Text: orUnknown(cmp.Or(r.Trouble, shortDigest(r.Manifest))), Color: screen.Red}
	switch r.Trouble {
	case "":
		resolved.Color = screen.Plain
	case api.ReasonImagePending:
		resolved.Color = screen.Amber
	}
	size, layers := unknown, unknown
	if r.Layers > 0 {
		size, layers = bytesText(r.Bytes), strconv.Itoa(r.Layers)
	}
	prefetched := screen.Cell{Text: unknown, Right: true}
	if r.Wanted != nil {
		prefetched.Text = fmt.Sprintf("%d/%d", r.Prefetched, *r.Wanted)
		if r.Prefetched < *r.Wanted {
			prefetched.Color = screen.Amber
		}
	}
	cells := []screen.Cell{{Text: r.Tag}, allowed, resolved, {Text: size, Right: true}, {Text: layers, Right: true}, {Text: strconv.Itoa(len(r.Nodes)), Right: true}, prefetched}
	if wide {
		cells = append(cells, screen.Cell{Text: orUnknown(strings.Join(r.Nodes, ","))})
	}
	return cells
}

// shortDigest is enough of a digest to tell manifests apart on a screen.
func shortDigest(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}
