package runc

import (
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// Name is what workers call this runtime.
const Name = worker.Runc

// Driver returns the driver of this runtime. runc itself has neither images nor
// root file systems.
func Driver(o Options, images runtime.Images, rootfs runtime.Rootfs) runtime.Driver {
	r := New(o)
	return runtime.Driver{Images: images, Rootfs: rootfs, Runtime: r, Logs: r, Form: Form}
}

// configFile is the file of a bundle.
const configFile = "config.json"

// Form is the document of the OCI runtime specification, hardened.
func Form(in ocispec.Input) (name string, content any, err error) {
	s, err := ocispec.Build(in)
	if err != nil {
		return "", nil, err
	}
	ocispec.Harden(s, in)
	return configFile, s, nil
}
