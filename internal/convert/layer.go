package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/convert/layertar"
	"github.com/stormcell/stormcell/internal/convert/source"
	"github.com/stormcell/stormcell/internal/manifest"
	"github.com/stormcell/stormcell/internal/squashfs"
)

// layer is a layer of an image: its blob, and the digest of what is in it.
type layer struct {
	manifest.Descriptor
	diffID digest.Digest
}

// layer sees to it that the store has a layer with its identity.
func (c *Converter) layer(ctx context.Context, img *source.Image, l layer) (LayerResult, error) {
	result := LayerResult{Digest: l.Digest, Size: l.Size}
	if !c.Options.Force {
		id, outcome, err := c.present(ctx, l)
		if err != nil || outcome != "" {
			result.Squashfs, result.Outcome = id, outcome
			return result, err
		}
	}
	c.Progress.Begin(l.Digest, l.Size)
	id, dropped, err := c.convert(ctx, img, l)
	c.Progress.End(l.Digest, err == nil)
	result.Squashfs, result.Outcome, result.DroppedXattrs = id, Converted, dropped
	return result, err
}

// convert makes a layer's squashfs file and publishes it.
func (c *Converter) convert(ctx context.Context, img *source.Image, l layer) (manifest.Identity, int, error) {
	out, err := unnamedFile(c.Options.TempDir)
	if err != nil {
		return manifest.Identity{}, 0, err
	}
	defer out.Close()
	// The first pass is right for usual images; see package layertar.
	summary, plan, err := c.pass(ctx, img, l, out, nil)
	if err == nil && plan != nil {
		c.Progress.Advance(l.Digest, -l.Size)
		if err = out.Truncate(0); err == nil {
			summary, _, err = c.pass(ctx, img, l, out, plan)
		}
	}
	if err != nil {
		return manifest.Identity{}, 0, err
	}
	id, err := c.upload(ctx, l, out)
	return id, summary.DroppedXattrs, err
}

// pass reads the blob once and makes the squashfs file of it. It trusts
// nothing of the blob before all of it has been read and hashed; the file is
// good only if it returns neither an error nor a plan for another pass.
func (c *Converter) pass(ctx context.Context, img *source.Image, l layer, out *os.File, plan layertar.Plan) (layertar.Summary, layertar.Plan, error) {
	blob, err := img.Blob(ctx, l.Descriptor)
	if err != nil {
		return layertar.Summary{}, nil, err
	}
	defer blob.Close()
	in := newStream(ctx, blob, l, c.Options.Limits.Unpacked, c.Progress)
	build, err := c.Squasher.Start(ctx, out)
	if err != nil {
		return layertar.Summary{}, nil, errors.Join(err, in.close())
	}
	limits := layertar.Limits{Content: c.Options.Limits.Unpacked, Headers: maxHeaders}
	summary, next, err := layertar.Rewrite(build, in, limits, plan)
	if err == nil {
		err = in.finish()
	}
	if err != nil || next != nil {
		died := build.Abort()
		switch {
		case err == nil:
			return summary, next, nil
		case errors.Is(err, syscall.EPIPE) && died != nil:
			return summary, nil, errors.Join(died, in.close())
		}
		return summary, nil, in.diagnose(err)
	}
	_, err = build.Finish(summary.Inodes, squashfs.Root{Mode: summary.RootMode, Mtime: summary.RootMtime})
	return summary, nil, err
}

// upload publishes a finished squashfs file and then its identity.
func (c *Converter) upload(ctx context.Context, l layer, file *os.File) (manifest.Identity, error) {
	// A file that is replaced must not keep the identity of the old one.
	if err := c.Store.Remove(ctx, manifest.IdentityFile(l.Digest)); err != nil {
		return manifest.Identity{}, fmt.Errorf("remove the old identity: %w", err)
	}
	name := manifest.LayerFile(l.Digest)
	up, err := c.Store.Create(ctx, name, c.createOptions())
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("create %s: %w", name, err)
	}
	defer up.Abort()
	hash := digest.SHA256.Digester()
	fi, err := file.Stat()
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("stat squashfs: %w", err)
	}
	content := io.NewSectionReader(file, 0, fi.Size())
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(up, hash.Hash())}, struct{ io.Reader }{content}, make([]byte, 1<<20))
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("upload %s: %w", name, err)
	}
	if err := up.Commit(); err != nil {
		return manifest.Identity{}, fmt.Errorf("upload %s: %w", name, err)
	}
	id := manifest.Identity{Digest: hash.Digest(), Size: n, DiffID: l.diffID, Compression: squashfs.Compression}
	return id, c.putIdentity(ctx, l.Digest, id)
}

func (c *Converter) putIdentity(ctx context.Context, d digest.Digest, id manifest.Identity) error {
	content, err := id.Format()
	if err != nil {
		return err
	}
	return c.putFile(ctx, manifest.IdentityFile(d), content)
}

// present tells what the store has of a layer; the outcome is empty if the
// layer must be made.
//
// A file without an identity is one of the original's tool, or of a run that
// was killed between the two. It is kept, and gets the identity of the content
// that it has now: nodes mount it anyway unless they require identities, and
// from now on they notice when it changes. Only Force makes it anew.
func (c *Converter) present(ctx context.Context, l layer) (manifest.Identity, Outcome, error) {
	name := manifest.LayerFile(l.Digest)
	info, err := c.Store.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Identity{}, "", nil
	}
	if err != nil {
		return manifest.Identity{}, "", fmt.Errorf("stat %s: %w", name, err)
	}
	content, err := c.Store.ReadFile(ctx, manifest.IdentityFile(l.Digest), manifest.MaxIdentitySize)
	if errors.Is(err, fs.ErrNotExist) {
		id, err := c.identify(ctx, l)
		return id, Identified, err
	}
	if err != nil {
		return manifest.Identity{}, "", fmt.Errorf("read identity: %w", err)
	}
	id, err := manifest.ParseIdentity(content)
	switch {
	case err != nil:
		return id, "", fmt.Errorf("%w: %w: run with --force to make it anew", ErrDamaged, err)
	case id.Size != info.Size || id.DiffID != l.diffID:
		return id, "", fmt.Errorf("%w: %s does not match its identity: run with --force to make it anew", ErrDamaged, name)
	}
	return id, Kept, nil
}

// identify makes the identity of a layer file as it is in the store.
func (c *Converter) identify(ctx context.Context, l layer) (manifest.Identity, error) {
	name := manifest.LayerFile(l.Digest)
	f, err := c.Store.Open(ctx, name)
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	super, err := squashfs.CheckSuperblock(f, f.Size())
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("%w: %s: %w: run with --force to make it anew", ErrDamaged, name, err)
	}
	hash := digest.SHA256.Digester()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash.Hash()}, io.NewSectionReader(f, 0, f.Size()), make([]byte, 1<<20))
	if err != nil {
		return manifest.Identity{}, fmt.Errorf("read %s: %w", name, err)
	}
	id := manifest.Identity{Digest: hash.Digest(), Size: n, DiffID: l.diffID, Compression: super.Compression}
	return id, c.putIdentity(ctx, l.Digest, id)
}
