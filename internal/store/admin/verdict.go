package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
)

// Kind is the kind of a finding.
type Kind string

// The kinds.
const (
	// Missing is a file that a manifest names, or a manifest that a tag names.
	Missing Kind = "missing"
	// Altered is a file that is not what its name or its identity says.
	Altered Kind = "altered"
	// Malformed is a document, a line of the tag file or a squashfs file that
	// breaks its format.
	Malformed Kind = "malformed"
	// Unreadable is a file that could not be read, or that nodes cannot read.
	Unreadable Kind = "unreadable"
	// Unreferenced is a layer, an identity, a config or a marker that belongs
	// to nothing.
	Unreferenced Kind = "unreferenced"
	// Stray is a file that is none of a store's.
	Stray Kind = "stray"
	// Unidentified is a layer that cannot be verified, as those of the
	// original's tool. It is no fault.
	Unidentified Kind = "unidentified"
)

// Finding is something about a store that an operator should know.
type Finding struct {
	Kind Kind `json:"kind"`
	// File is relative to the root of the store.
	File string `json:"file"`
	// Tags are those of the images that are hurt.
	Tags   []string `json:"tags,omitempty"`
	Detail string   `json:"detail"`
	// Fault is true if something is wrong with the store.
	Fault bool `json:"fault"`
}

// facts are all that was read of a store.
type facts struct {
	*inventory
	tagFile string
	dead    fs.FileMode
	// configs and identities are the documents that are there, or why they are
	// not known; layers are the squashfs files.
	configs    map[digest.Digest]configFact
	identities map[digest.Digest]identityFact
	layers     map[digest.Digest]layerFact
}

type configFact struct {
	size    int64
	diffIDs []digest.Digest
	err     error
}

type identityFact struct {
	manifest.Identity
	err error
}

type layerFact struct {
	size int64
	hash digest.Digest
	// format tells why it is no squashfs, and err why it could not be read.
	format, err error
}

// judge says what is wrong with a store, in an order that does not change.
func judge(f facts) []Finding {
	j := &judgement{facts: f, hurt: map[digest.Digest][]digest.Digest{}, diffIDs: map[digest.Digest][]digest.Digest{}}
	for _, w := range f.tagErrors {
		j.add(Malformed, f.tagFile, nil, w)
	}
	for _, name := range f.strays {
		j.add(Stray, name, nil, "no file of a store has such a name")
	}
	j.tagged()
	complete := true
	for _, d := range slices.Sorted(maps.Keys(f.manifests)) {
		complete = j.manifest(d) && complete
	}
	j.blobs(complete)
	for d := range f.markers {
		if _, ok := f.manifests[d]; !ok {
			j.add(Unreferenced, publish.MarkerFile(d), nil, "it marks a manifest that is not there; the next cleanup removes it")
		}
	}
	slices.SortFunc(j.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Detail, b.Detail))
	})
	return j.findings
}

type judgement struct {
	facts
	findings []Finding
	// hurt are the manifests that name a blob, and diffIDs what their configs
	// say is in a layer.
	hurt    map[digest.Digest][]digest.Digest
	diffIDs map[digest.Digest][]digest.Digest
}

func (j *judgement) add(k Kind, file string, manifests []digest.Digest, detail string) {
	var tags []string
	for _, d := range manifests {
		tags = append(tags, j.tags.Of(d)...)
	}
	slices.Sort(tags)
	j.findings = append(j.findings, Finding{Kind: k, File: file, Tags: slices.Compact(tags), Detail: detail, Fault: k != Unidentified})
}

// tagged looks at where tags lead.
func (j *judgement) tagged() {
	seen := map[digest.Digest]bool{}
	for _, t := range j.tags.All() {
		d, _ := j.tags.Lookup(t)
		m, ok := j.manifests[d]
		switch {
		case seen[d]:
		case !ok:
			j.add(Missing, manifest.ManifestFile(d), []digest.Digest{d}, "the tag file names it")
		case m.Mode == j.dead:
			j.add(Unreadable, manifest.ManifestFile(d), []digest.Digest{d}, fmt.Sprintf("its mode %04o hides it from nodes though it has a tag; the next cleanup or add-tag restores it", m.Mode))
		}
		seen[d] = true
	}
}

// manifest looks at a manifest and the config, and notes what it names. It
// returns false where that is not known.
func (j *judgement) manifest(d digest.Digest) bool {
	m := j.manifests[d]
	if m.err != nil {
		j.add(kindOf(m.err), manifest.ManifestFile(d), []digest.Digest{d}, m.err.Error())
		return false
	}
	config, ok := j.configs[m.manifest.Config.Digest]
	name, images := manifest.ConfigFile(m.manifest.Config.Digest), []digest.Digest{d}
	if j.hurt[m.manifest.Config.Digest] == nil { // each config once
		switch {
		case !ok:
			j.add(Missing, name, images, "manifest "+d.Encoded()+" names it")
		case config.err != nil:
			j.add(kindOf(config.err), name, images, config.err.Error())
		case config.size != m.manifest.Config.Size:
			j.add(Altered, name, images, fmt.Sprintf("it has %d bytes, its manifest says %d", config.size, m.manifest.Config.Size))
		case len(config.diffIDs) != len(m.manifest.Layers):
			j.add(Malformed, name, images, fmt.Sprintf("it has %d layers, its manifest %d", len(config.diffIDs), len(m.manifest.Layers)))
		}
	}
	j.hurt[m.manifest.Config.Digest] = append(j.hurt[m.manifest.Config.Digest], d)
	for i, l := range m.manifest.Layers {
		j.hurt[l.Digest] = append(j.hurt[l.Digest], d)
		if len(config.diffIDs) == len(m.manifest.Layers) {
			j.diffIDs[l.Digest] = append(j.diffIDs[l.Digest], config.diffIDs[i])
		}
	}
	return true
}

// blobs looks at the layers and at what nothing names. Without all manifests
// it cannot be told what that is.
func (j *judgement) blobs(complete bool) {
	for d, manifests := range j.hurt {
		if _, ok := j.layers[d]; !ok && !j.isConfig(d) {
			j.add(Missing, manifest.LayerFile(d), manifests, "manifest "+manifests[0].Encoded()+" names it")
		}
	}
	for d := range j.layers {
		j.layer(d)
		if complete && j.hurt[d] == nil {
			j.add(Unreferenced, manifest.LayerFile(d), nil, "no manifest names it")
		}
	}
	for d, id := range j.identities {
		if id.err != nil {
			j.add(kindOf(id.err), manifest.IdentityFile(d), j.hurt[d], id.err.Error())
		}
		if _, ok := j.layers[d]; !ok {
			j.add(Unreferenced, manifest.IdentityFile(d), j.hurt[d], "its layer is not there")
		}
	}
	for d, c := range j.configs {
		if !complete || j.hurt[d] != nil {
			continue
		}
		j.add(Unreferenced, manifest.ConfigFile(d), nil, "no manifest names it")
		if c.err != nil {
			j.add(kindOf(c.err), manifest.ConfigFile(d), nil, c.err.Error())
		}
	}
}

// isConfig tells whether a blob that manifests name is their config.
func (j *judgement) isConfig(d digest.Digest) bool {
	return j.manifests[j.hurt[d][0]].manifest.Config.Digest == d
}

// layer compares a layer with its identity and with the configs.
func (j *judgement) layer(d digest.Digest) {
	l, name, images := j.layers[d], manifest.LayerFile(d), j.hurt[d]
	id, identified := j.identities[d]
	switch {
	case l.err != nil:
		j.add(kindOf(l.err), name, images, l.err.Error())
	case l.format != nil && !identified:
		j.add(Malformed, name, images, l.format.Error())
	case !identified:
		j.add(Unidentified, name, images, "it has no identity to verify it by; \"pull-build-push-update\" of an image with this layer records one")
	case id.err != nil: // the identity is the finding
	case l.size != id.Size:
		j.add(Altered, name, images, fmt.Sprintf("it has %d bytes, its identity says %d", l.size, id.Size))
	case l.hash != id.Digest:
		j.add(Altered, name, images, fmt.Sprintf("it hashes to %s, its identity says %s", l.hash, id.Digest))
	case l.format != nil:
		j.add(Malformed, name, images, l.format.Error())
	}
	if !identified || id.err != nil {
		return
	}
	for _, want := range j.diffIDs[d] {
		if want != id.DiffID {
			j.add(Altered, manifest.IdentityFile(d), images, fmt.Sprintf("it says that the layer was made from %s, an image config says %s", id.DiffID, want))
			return
		}
	}
}

// kindOf tells what an error makes of a file.
func kindOf(err error) Kind {
	switch {
	case errors.Is(err, manifest.ErrDigestMismatch):
		return Altered
	case errors.Is(err, manifest.ErrMalformed), errors.Is(err, manifest.ErrUnsupported), errors.Is(err, store.ErrTooLarge):
		return Malformed
	default:
		return Unreadable
	}
}
