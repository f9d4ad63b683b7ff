package rootfs

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Plan is a root file system as data: the layers to mount, base first, the
// directories to make, and the overlay over them.
type Plan struct {
	Layers  []Layer
	Dirs    []Dir
	Overlay Overlay
}

// Layer is a squashfs file and where it is mounted.
type Layer struct {
	Digest digest.Digest
	File   string
	Target string
}

// Dir is a directory to make.
type Dir struct {
	Path string
	Mode fs.FileMode
}

// Overlay is an overlay mount. Lower is top first, as overlayfs takes it.
type Overlay struct {
	Lower               []string
	Upper, Work, Target string
}

// newPlan says how layers (base first) become owner's root file system. A
// layer that an image stacks twice counts once, in its upper place: overlayfs
// refuses a directory twice, and the upper one hides all of the lower.
func newPlan(dirs layout, owner string, layers []manifest.LocalLayer) (Plan, error) {
	if !ownerForm.MatchString(owner) {
		return Plan{}, fmt.Errorf("root file system of %q: %w: not a valid name", owner, ErrInvalid)
	}
	if len(layers) == 0 {
		return Plan{}, fmt.Errorf("root file system of %s: %w: the image has no layers", owner, ErrInvalid)
	}
	if len(layers) > manifest.MaxLayers {
		return Plan{}, fmt.Errorf("root file system of %s: %w: %d layers, the kernel stacks at most %d",
			owner, ErrInvalid, len(layers), manifest.MaxLayers)
	}
	p := Plan{
		// The mode of the upper directory is that of the container's "/".
		Dirs: []Dir{
			{dirs.owner(owner), dirMode},
			{dirs.rootfs(owner), dirMode},
			{dirs.upper(owner), 0o755},
			{dirs.work(owner), dirMode},
		},
		Overlay: Overlay{Upper: dirs.upper(owner), Work: dirs.work(owner), Target: dirs.rootfs(owner)},
	}
	seen := map[digest.Digest]bool{}
	for _, l := range slices.Backward(layers) {
		if err := manifest.ValidateDigest(l.Digest); err != nil {
			return Plan{}, fmt.Errorf("root file system of %s: %w: %w", owner, ErrInvalid, err)
		}
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		target := dirs.layerMnt(l.Digest)
		p.Layers = append(p.Layers, Layer{Digest: l.Digest, File: l.Path, Target: target})
		p.Overlay.Lower = append(p.Overlay.Lower, target)
	}
	slices.Reverse(p.Layers)
	return p, nil
}

func (p Plan) digests() []digest.Digest {
	ds := make([]digest.Digest, len(p.Layers))
	for i, l := range p.Layers {
		ds[i] = l.Digest
	}
	return ds
}

// unique keeps the last of equal layers, as newPlan does.
func unique(layers []digest.Digest) []digest.Digest {
	var out []digest.Digest
	for i, d := range layers {
		if !slices.Contains(layers[i+1:], d) {
			out = append(out, d)
		}
	}
	return out
}
