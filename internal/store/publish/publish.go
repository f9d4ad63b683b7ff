// Package publish puts the files of images into a store in an order that keeps it
// consistent at any moment: a layer, its identity, the image config, the
// manifest, and the tags last.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/squashfs"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

// Errors besides those of the store.
var (
	// ErrLimit is an image above one of the Limits.
	ErrLimit = errors.New("image is above a limit")
	// ErrDamaged is a file of the store that contradicts itself.
	ErrDamaged = errors.New("damaged file in the store")
)

// Publisher writes images into a store.
type Publisher struct {
	Store store.Writer
	// TagFile is the name of the store's tag file.
	TagFile string
	// Replication is the number of copies in a distributed store; 0 is the
	// store's default.
	Replication int
	// Force creates files again that the store already has.
	Force bool
	// Policy says whether an image may have layers without identity.
	Policy store.VerifyPolicy
	// Waiting, if not nil, receives the holder of the lock that the tags wait for.
	Waiting func(holder string)
}

// Limits bound the images that are taken.
type Limits struct {
	// Layers is the number of layers.
	Layers int
	// Compressed is the sum of the layers' blobs, in bytes.
	Compressed int64
}

// Check compares an image with the limits.
func (l Limits) Check(m *manifest.Manifest) error {
	if len(m.Layers) > l.Layers {
		return fmt.Errorf("%w: %d layers, at most %d are allowed: squash some, or raise --max-layers", ErrLimit, len(m.Layers), l.Layers)
	}
	left := l.Compressed
	for _, layer := range m.Layers {
		if left -= layer.Size; left < 0 {
			return fmt.Errorf("%w: its layers have more than %d bytes: raise --max-size", ErrLimit, l.Compressed)
		}
	}
	return nil
}

// Tags is the store's tag file.
func (p *Publisher) Tags() tagfile.File {
	return tagfile.File{Store: p.Store, Name: p.TagFile, Options: p.createOptions()}
}

func (p *Publisher) createOptions() store.CreateOptions {
	return store.CreateOptions{Replication: p.Replication}
}

// PutDocument writes a file that is named by the digest of its content, unless
// it is there.
func (p *Publisher) PutDocument(ctx context.Context, name string, content []byte) error {
	old, err := p.Store.ReadFile(ctx, name, int64(len(content)))
	if err == nil && string(old) == string(content) && !p.Force {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrTooLarge) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return p.put(ctx, name, content)
}

func (p *Publisher) put(ctx context.Context, name string, content []byte) error {
	up, err := p.Store.Create(ctx, name, p.createOptions())
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer up.Abort()
	if _, err := up.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return up.Commit()
}

// Layer is a layer of an image: its blob, and the digest of what is in it.
type Layer struct {
	manifest.Descriptor
	DiffID digest.Digest
}

// An upload of a layer's file that the store could not keep is begun anew after
// a pause that doubles: HDFS loses a file on its way when a DataNode dies that
// takes it, and goes on choosing that one until it is missed.
const uploads = 5

// pauses are those between the uploads.
var pauses = backoff.Policy{First: 2 * time.Second, Last: 16 * time.Second}

// PutLayer publishes a squashfs file of size bytes and then its identity. Where
// want is not nil and the content is another, nothing is published:
// ErrDigestMismatch. Others may publish the same layer at the same time.
func (p *Publisher) PutLayer(ctx context.Context, l Layer, content io.ReaderAt, size int64, compression string, want *manifest.Identity) (manifest.Identity, error) {
	id := manifest.Identity{Size: size, DiffID: l.DiffID, Compression: compression}
	for n := 1; ; n++ {
		err := p.upload(ctx, l.Digest, io.NewSectionReader(content, 0, size), &id, want)
		if err == nil {
			return id, p.putIdentity(ctx, l.Digest, id)
		}
		if n == uploads || !errors.Is(err, store.ErrUnavailable) || backoff.Wait(ctx, pauses.Pause(n)) != nil {
			return manifest.Identity{}, fmt.Errorf("upload %s: %w", manifest.LayerFile(l.Digest), err)
		}
	}
}

// upload writes a layer's file whole, and the digest of its content to id.
func (p *Publisher) upload(ctx context.Context, layer digest.Digest, content *io.SectionReader, id, want *manifest.Identity) error {
	up, err := p.Store.Create(ctx, manifest.LayerFile(layer), p.createOptions())
	if err != nil {
		return err
	}
	defer up.Abort()
	hash := digest.SHA256.Digester()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(up, hash.Hash())}, struct{ io.Reader }{content}, make([]byte, 1<<20))
	if err == nil && n != content.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	id.Digest = hash.Digest()
	if want != nil && (id.Digest != want.Digest || n != want.Size) {
		return fmt.Errorf("%w: it has %d bytes that hash to %s, its identity says %d and %s",
			manifest.ErrDigestMismatch, n, id.Digest, want.Size, want.Digest)
	}
	if err := p.removeOther(ctx, layer, *id); err != nil {
		return err
	}
	return up.Commit()
}

// removeOther removes the identity of a layer, if it is another than id: a file
// that is replaced must not keep that of the old one. One that is the same
// stays: somebody has published the same file, and may be looking at it.
func (p *Publisher) removeOther(ctx context.Context, layer digest.Digest, id manifest.Identity) error {
	name := manifest.IdentityFile(layer)
	content, err := p.Store.ReadFile(ctx, name, manifest.MaxIdentitySize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if old, parseErr := manifest.ParseIdentity(content); err == nil && parseErr == nil && old == id {
		return nil
	}
	if err := p.Store.Remove(ctx, name); err != nil {
		return fmt.Errorf("remove the old identity: %w", err)
	}
	return nil
}

func (p *Publisher) putIdentity(ctx context.Context, d digest.Digest, id manifest.Identity) error {
	content, err := id.Format()
	if err != nil {
		return err
	}
	return p.put(ctx, manifest.IdentityFile(d), content)
}

// Present returns what the store has of a layer; the outcome is empty if it has
// nothing. The identity is empty for a layer without one: see Identify.
func (p *Publisher) Present(ctx context.Context, l Layer) (manifest.Identity, Outcome, error) {
	name := manifest.LayerFile(l.Digest)
	info, err := p.Store.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Identity{}, "", nil
	}
	if err != nil {
		return manifest.Identity{}, "", fmt.Errorf("stat %s: %w", name, err)
	}
	content, err := p.Store.ReadFile(ctx, manifest.IdentityFile(l.Digest), manifest.MaxIdentitySize)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Identity{}, Identified, nil
	}
	if err != nil {
		return manifest.Identity{}, "", fmt.Errorf("read identity: %w", err)
	}
	id, err := manifest.ParseIdentity(content)
	switch {
	case err != nil:
		return id, "", fmt.Errorf("%w: %w: run with --force to create it again", ErrDamaged, err)
	case id.Size != info.Size || id.DiffID != l.DiffID:
		return id, "", fmt.Errorf("%w: %s does not match its identity: run with --force to create it again", ErrDamaged, name)
	}
	return id, Kept, nil
}

// Identify creates the identity of a layer file as it is in the store.
//
// A file without an identity is one of the original's tool, or of a run that
// was killed between the two. It gets the identity of the content that it has
// now: nodes mount it anyway unless they require identities, and from now on
// they notice when it changes. Only Force converts it again.
func (p *Publisher) Identify(ctx context.Context, l Layer) (manifest.Identity, error) {
	name := manifest.LayerFile(l.Digest)
	f, err := p.Store.Open(ctx, name)
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	super, err := squashfs.CheckSuperblock(f, f.Size())
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("%w: %s: %w: run with --force to create it again", ErrDamaged, name, err)
	}
	hash := digest.SHA256.Digester()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash.Hash()}, io.NewSectionReader(f, 0, f.Size()), make([]byte, 1<<20))
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("read %s: %w", name, err)
	}
	id := manifest.Identity{Digest: hash.Digest(), Size: n, DiffID: l.DiffID, Compression: super.Compression}
	return id, p.putIdentity(ctx, l.Digest, id)
}
