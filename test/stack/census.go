package stack

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/census"
)

// places are where the stack's agent keeps what is of workers.
func (s *Stack) places() census.Places {
	return census.Places{
		RunRoot: s.Path("run"), LocalDir: s.Path("storm"), CacheDir: s.Path("cache"), LogDir: s.Path("log"), CgroupParent: s.CgroupParent(),
	}
}

// CgroupDirs lists the cgroups below the stack's parent as census.Places does.
func (s *Stack) CgroupDirs(pattern string) ([]string, error) { return s.places().CgroupDirs(pattern) }

// Deviations compares what is of workers on this machine with what shall be:
// exactly that of those that run (the stack's only ones). Those that have ended
// and are not deleted may have their directories. Each line begins with one of census.Kinds.
func (s *Stack) Deviations(ctx context.Context, running, ended []*api.StormWorker) ([]string, error) {
	is, err := s.places().Count()
	if err != nil {
		return nil, err
	}
	shall, may := census.Census{}, census.Census{}
	for _, w := range running {
		if err := s.addRunning(ctx, shall, w); err != nil {
			return nil, err
		}
		s.addPresent(shall, w)
	}
	for _, w := range ended {
		s.addPresent(may, w) // they do not outlive a boot
	}
	return compare(is, shall, may), nil
}

// compare lists what differs between is and shall, except for what may be.
func compare(is, shall, may census.Census) []string {
	var deviations []string
	all := maps.Clone(is)
	maps.Copy(all, shall)
	for _, name := range all.Names() {
		switch n := is[name] - shall[name]; {
		case n < 0:
			deviations = append(deviations, fmt.Sprintf("%s: %d missing", name, -n))
		case n > may[name]:
			deviations = append(deviations, fmt.Sprintf("%s: %d too many", name, n))
		}
	}
	return deviations
}

// Leftovers lists what is of workers on this machine: mounts, loop devices,
// cgroups, processes of containers, directories. Empty when every worker is gone.
func (s *Stack) Leftovers() []string {
	is, err := s.places().Count()
	if err != nil {
		return []string{err.Error()}
	}
	return is.Names()
}

// addRunning adds what a worker that runs has, beside its directories. Layers
// are shared: one mount and one loop device each, whoever uses them.
func (s *Stack) addRunning(ctx context.Context, c census.Census, w *api.StormWorker) error {
	id := w.ContainerID()
	c["mount "+s.Path("run", "workers", id, "rootfs")] = 1
	c["process conmon of "+id] = 1
	c["process first of "+id] = 1
	c["directory "+s.Path("run", "runc", id)] = 1
	for _, dir := range []string{"persist", "rootfs", "upper", "work"} {
		c["directory "+s.Path("run", "workers", id, dir)] = 1
	}
	layers, err := s.layers(ctx, w)
	if err != nil {
		return err
	}
	for _, l := range layers {
		c["mount "+s.Path("run", "layers", l, "mnt")] = 1
		c["loop device of "+s.Path("cache", "layers", l+".sqsh")] = 1
		c["directory "+s.Path("run", "layers", l)] = 1
	}
	groups, err := census.Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range groups {
		for _, name := range []string{id, "conmon-" + id} {
			c["cgroup "+filepath.Join(h, s.CgroupParent(), name)] = 1
		}
	}
	return nil
}

// layers are the digests of the squashfs files of the image that a worker is
// pinned to.
func (s *Stack) layers(ctx context.Context, w *api.StormWorker) ([]string, error) {
	var images api.StormImageList
	if err := s.Client.List(ctx, &images); err != nil {
		return nil, fmt.Errorf("list StormImages: %w", err)
	}
	for i := range images.Items {
		if w.Status.Image == nil || images.Items[i].Status.ManifestDigest != w.Status.Image.ManifestDigest {
			continue
		}
		var layers []string
		for _, l := range images.Items[i].Status.Layers {
			layers = append(layers, strings.TrimPrefix(l.SquashfsDigest, "sha256:"))
		}
		return layers, nil
	}
	return nil, fmt.Errorf("StormWorker %s: no StormImage has its manifest", w.Name)
}

// addPresent adds the directories of a worker that is not deleted.
func (s *Stack) addPresent(c census.Census, w *api.StormWorker) {
	id := w.ContainerID()
	for _, path := range []string{
		s.Path("storm", "workers", w.ID()), s.Path("storm", "workers-users", w.ID()), s.Path("log", id),
		s.Path("storm", "supervisor", "stormdist", w.Spec.TopologyID),
		s.Path("storm", "stormcell", "topologies", w.Spec.TopologyID), s.Path("storm", "stormcell", "topologies", w.Spec.TopologyID, id),
		s.Path("run", "workers", id), s.Path("run", "workers", id, "bundle"), s.Path("run", "workers", id, "record.json"),
	} {
		c["directory "+path] = 1
	}
}
