package docker

import (
	"fmt"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Name is what workers call this runtime.
const Name worker.Runtime = "Docker"

// errOff is why a worker does not start where Docker is not turned on.
var errOff = fmt.Errorf("%w: set stormcell.docker.enable to true in this node's storm.yaml and restart the node-agent, or create the worker again on another node",
	runtime.ErrOff)

// Driver returns the driver of this node's Docker. current and path are as in
// Images.
func Driver(current func() *config.Config, path func(string) string) (runtime.Driver, error) {
	fixed := current().Fixed
	d, err := New(fixed.DockerSocket)
	if err != nil {
		return runtime.Driver{}, err
	}
	r := NewRuntime(d, Options{RunRoot: fixed.Node.RunRoot, CgroupRoot: fixed.Cgroup.Root, CgroupParent: fixed.Cgroup.Parent})
	driver := runtime.Driver{
		Images: &Images{Daemon: d, Config: current, Path: path}, Rootfs: Rootfs{}, Runtime: r, Logs: r,
		Form: Form, Ping: d.Ping,
	}
	if !fixed.DockerEnabled {
		driver.Off = errOff
	}
	return driver, nil
}

// fileName is the file of a bundle.
const fileName = "container.json"

// Form is what Create reads of a bundle.
func Form(in ocispec.Input) (name string, content any, err error) {
	c, err := Configure(in)
	return fileName, c, err
}
