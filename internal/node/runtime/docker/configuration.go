package docker

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/ocispec"
)

// Configuration is the configuration of a worker's container for Docker: the two
// halves of "docker run".
type Configuration struct {
	// Name is the container's, Storm's id of the worker.
	Name   string               `json:"name"`
	Config container.Config     `json:"config"`
	Host   container.HostConfig `json:"hostConfig"`
}

// Configure returns the configuration of a worker's container: Storm's, made
// tighter. It is pure, and fails for a NUMA zone that the node does not have.
func Configure(in ocispec.Input) (Configuration, error) {
	c, err := build(in)
	if err != nil {
		return c, err
	}
	for _, m := range measures {
		m.apply(&c, in)
	}
	return c, nil
}

// build returns what Storm's DockerManager says in its "docker run".
func build(in ocispec.Input) (Configuration, error) {
	resources, err := resources(in)
	if err != nil {
		return Configuration{}, err
	}
	security, err := securityOptions(in)
	if err != nil {
		return Configuration{}, err
	}
	w, paths := in.Worker, ocispec.PathsOf(in.Policy.Node, in.Worker)
	var env, groups []string
	for _, g := range append([]int{in.User.GID}, in.User.Groups...) { // all that "id --groups" prints
		groups = append(groups, strconv.Itoa(g))
	}
	for _, v := range w.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	return Configuration{
		Name: w.ID,
		Config: container.Config{
			Image: w.Image.Tag,
			User:  fmt.Sprintf("%d:%d", in.User.UID, in.User.GID),
			// The image's entrypoint, if it has one, gets these words.
			Cmd:        []string{"bash", paths.Script},
			WorkingDir: paths.Worker,
			// Storm's script exports it; what is run beside that, such as a
			// profile, has it from here.
			Env: env,
		},
		Host: container.HostConfig{
			NetworkMode:     "host",
			ReadonlyRootfs:  true,
			Mounts:          mounts(in),
			GroupAdd:        groups,
			ContainerIDFile: filepath.Join(paths.Worker, "container.cid"),
			CapDrop:         []string{"ALL"},
			SecurityOpt:     security,
			Resources:       resources,
		},
	}, nil
}

// mounts are what a worker sees of the host, but for the files of which Docker
// makes its own. As Docker's --mount and unlike its --volume, one whose source
// is missing is an error, and not a new directory of root's.
func mounts(in ocispec.Input) []mount.Mount {
	var all []mount.Mount
	for _, b := range ocispec.Binds(in) {
		if !b.Network {
			all = append(all, mount.Mount{Type: mount.TypeBind, Source: b.Source, Target: b.Target, ReadOnly: !b.Writable})
		}
	}
	return all
}

// securityOptions are no-new-privileges and the node's system call filter. Docker's
// own permits more, such as io_uring or ptrace, depending on its release.
func securityOptions(in ocispec.Input) ([]string, error) {
	filter := config.Unconfined
	if in.Policy.Worker.SeccompProfile != config.Unconfined {
		profile, err := json.Marshal(in.Seccomp)
		if err != nil {
			return nil, fmt.Errorf("encode seccomp profile: %w", err)
		}
		filter = string(profile)
	}
	return []string{"no-new-privileges", "seccomp=" + filter}, nil
}

// resources are the limits of the worker's cgroup, below the node's parent.
func resources(in ocispec.Input) (container.Resources, error) {
	limits, err := ocispec.Resources(in)
	if err != nil {
		return container.Resources{}, err
	}
	r := container.Resources{CgroupParent: in.Policy.Cgroup.Parent}
	if cpu := limits.CPU; cpu != nil {
		r.CpusetCpus, r.CpusetMems = cpu.Cpus, cpu.Mems
		if cpu.Quota != nil && cpu.Period != nil {
			const second = 1_000_000_000                          // of CPU time, in nanoseconds
			r.NanoCPUs = *cpu.Quota * second / int64(*cpu.Period) //nolint:gosec // a tenth of a second
		}
	}
	if memory := limits.Memory; memory != nil {
		r.Memory = *memory.Limit
	}
	return r, nil
}
