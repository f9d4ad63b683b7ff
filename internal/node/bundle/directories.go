package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stormcell/stormcell/internal/node/hostuser"
	"github.com/stormcell/stormcell/internal/node/ocispec"
	"github.com/stormcell/stormcell/internal/node/worker"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// Modes of what workers write to, as Storm's worker-launcher sets them: the
// group may do all, files get the directory's group, others nothing.
const (
	dirMode  = 0o2770
	tmpMode  = 0o770
	fileMode = 0o660
)

// contents are those of the files of a worker.
type contents struct {
	script string
	launch []byte
}

// makeDirs makes the worker's directories and files below storm.local.dir and
// the artifacts directory.
// They belong to the user, and to the group gid.
func (b *Builder) makeDirs(w worker.Spec, u hostuser.User, gid int, c contents) error {
	paths := ocispec.PathsOf(b.options.Config().Node, w)
	o := owner{uid: u.UID, gid: gid, mode: dirMode}
	if err := b.claim(w, paths); err != nil {
		return err
	}
	if err := b.makeArtifacts(paths, w, o, c.launch); err != nil {
		return err
	}
	if err := makeWorker(paths, o, c.script); err != nil {
		return err
	}
	if err := makeTmp(paths, o); err != nil {
		return err
	}
	if err := makeUserFile(paths, u); err != nil {
		return err
	}
	return b.makeShared(paths, o)
}

// claim marks w, whose files are made next. What bears its names already, and
// was not made for it, is somebody else's: another worker's, or one of Storm's
// own supervisor. Then w is not marked, and Remove leaves that alone.
func (b *Builder) claim(w worker.Spec, paths ocispec.Paths) error {
	b.shared.Lock()
	defer b.shared.Unlock()
	marked, err := b.isMarked(w)
	if err != nil {
		return err
	}
	if !marked {
		for _, path := range []string{paths.Worker, paths.Tmp, paths.UserFile} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: %s was not made for this worker; give the worker another workerID, or remove it if nobody needs it", ErrForeignOwner, path)
			}
		}
	}
	return b.mark(w)
}

// makeArtifacts makes the directory that outlives the worker, for its logs,
// and in it worker.yaml, by which Storm's log viewer knows whose they are, and
// the record of the launch.
func (b *Builder) makeArtifacts(paths ocispec.Paths, w worker.Spec, o owner, launch []byte) error {
	topology, err := makeTrusted(filepath.Dir(paths.Artifacts), 0o755)
	if err != nil {
		return err
	}
	defer topology.close()
	d, err := topology.owned(filepath.Base(paths.Artifacts), o)
	if err != nil {
		return err
	}
	defer d.close()
	o.mode = fileMode
	if err := d.writeFile("worker.yaml", workerYAML(w), o); err != nil || launch == nil {
		return err
	}
	return d.writeFile("runc-"+w.ContainerID()+".yaml", launch, o)
}

// launchYAML tells people what image of the store the worker was launched from:
// nothing reads it. manifest is the manifest's hash, where Storm has the config's.
func launchYAML(w worker.Spec, image *manifest.LocalImage) []byte {
	if w.Image.ManifestDigest == "" {
		return nil
	}
	tag, _ := json.Marshal(w.Image.Tag) // strings always encode
	hash, _ := json.Marshal(strings.TrimPrefix(string(w.Image.ManifestDigest), "sha256:"))
	config, _ := json.Marshal(image.ConfigPath)
	return fmt.Appendf(nil, "imageName: %s\nmanifest: %s\nconfigPath: %s\n", tag, hash, config)
}

// workerYAML is the log viewer's file; JSON strings are YAML.
func workerYAML(w worker.Spec) []byte {
	user, _ := json.Marshal(w.User) // a string always encodes
	id, _ := json.Marshal(w.ID)
	return fmt.Appendf(nil, "logs.groups: []\nlogs.users: []\ntopology.submitter.user: %s\nworker-id: %s\n", user, id)
}

// makeWorker makes the worker's own directory with its parts.
func makeWorker(paths ocispec.Paths, o owner, script string) error {
	workers, err := makeTrusted(filepath.Dir(paths.Worker), 0o755)
	if err != nil {
		return err
	}
	defer workers.close()
	d, err := workers.owned(filepath.Base(paths.Worker), o)
	if err != nil {
		return err
	}
	defer d.close()
	for _, name := range []string{"heartbeats", "pids"} {
		child, err := d.owned(name, o)
		if err != nil {
			return err
		}
		child.close()
	}
	// For commands with Storm's java.io.tmpdir: what lies there is in the container.
	if err := d.link("tmp", "/tmp"); err != nil {
		return err
	}
	if err := d.link("artifacts", paths.Artifacts); err != nil {
		return err
	}
	if exists(paths.Resources) {
		if err := d.link(filepath.Base(paths.Resources), paths.Resources); err != nil {
			return err
		}
	}
	o.mode = fileMode
	return d.writeFile(filepath.Base(paths.Script), []byte(script), o)
}

// makeTmp makes what the container has as its /tmp.
func makeTmp(paths ocispec.Paths, o owner) error {
	all, err := makeTrusted(filepath.Dir(paths.Tmp), 0o755)
	if err != nil {
		return err
	}
	defer all.close()
	o.mode = tmpMode
	d, err := all.owned(filepath.Base(paths.Tmp), o)
	if err != nil {
		return err
	}
	d.close()
	return nil
}

// PutFile puts a file of root's at path, which is in a worker's own directory:
// whatever the worker has put there is replaced, and not followed.
func PutFile(path string, content []byte) error {
	workers, err := makeTrusted(filepath.Dir(filepath.Dir(path)), 0o755)
	if err != nil {
		return err
	}
	defer workers.close()
	d, err := workers.open(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer d.close()
	return d.writeFile(filepath.Base(path), content, owner{mode: 0o644})
}

// makeUserFile writes down whose the worker is; it is root's.
func makeUserFile(paths ocispec.Paths, u hostuser.User) error {
	users, err := makeTrusted(filepath.Dir(paths.UserFile), 0o755)
	if err != nil {
		return err
	}
	defer users.close()
	return users.writeFile(filepath.Base(paths.UserFile), []byte(u.Name), owner{mode: 0o644})
}

// makeShared makes the directory that all workers of the topology write to.
// The worker's mark keeps it there.
func (b *Builder) makeShared(paths ocispec.Paths, o owner) error {
	b.shared.Lock()
	defer b.shared.Unlock()
	topology, err := makeTrusted(filepath.Dir(paths.Shared), 0o755)
	if err != nil {
		return err
	}
	defer topology.close()
	d, err := topology.owned(filepath.Base(paths.Shared), o)
	if err != nil {
		return err
	}
	d.close()
	return nil
}

// Remove deletes what Prepare made for w, but the artifacts, which hold its
// logs. What is not there is no error. It enters no mount and follows no
// link, whatever the worker left behind.
func (b *Builder) Remove(ctx context.Context, w worker.Spec) error {
	if err := w.ValidateNames(); err != nil {
		return err
	}
	return b.removeFiles(ctx, w)
}

// Discard is Remove, with what else w may have filled the disk with: its artifacts, and
// what its topology shares, if no other worker of it is here. The artifacts are those of
// the port, which is w's until it is removed.
func (b *Builder) Discard(ctx context.Context, w worker.Spec) error {
	// A record of the worker has neither its command nor its environment.
	if err := w.ValidateNames(); err != nil {
		return err
	}
	if marked, err := b.isMarked(w); err != nil || !marked {
		return err // they were not made for w, or are removed
	}
	paths := ocispec.PathsOf(b.options.Config().Node, w)
	if err := errors.Join(remove(paths.Artifacts), b.discardShared(w, paths.Shared)); err != nil {
		return err
	}
	return b.removeFiles(ctx, w)
}

func (b *Builder) discardShared(w worker.Spec, shared string) error {
	b.shared.Lock()
	defer b.shared.Unlock()
	marks, err := b.openMarks(w.TopologyID)
	if err != nil {
		return fmt.Errorf("look for other workers of topology %s: %w", w.TopologyID, err)
	}
	defer marks.close()
	if others, err := marks.othersThan(w); err != nil || others {
		return err
	}
	return remove(shared)
}

// removeFiles deletes the files of a worker that is marked, and then its mark:
// its names are valid, the rest of w need not be known. What bears the names of
// one that is not marked was not made for it, and stays.
func (b *Builder) removeFiles(ctx context.Context, w worker.Spec) error {
	paths := ocispec.PathsOf(b.options.Config().Node, w)
	if err := remove(filepath.Join(b.workerDir(w), "bundle")); err != nil {
		return err
	}
	if marked, err := b.isMarked(w); err != nil || !marked {
		return err
	}
	var errs []error
	unfinished := filepath.Join(filepath.Dir(paths.UserFile), tempName(w.ID))
	for _, path := range []string{paths.Worker, paths.Tmp, paths.UserFile, unfinished} {
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, remove(path))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, path := range []string{paths.Artifacts, paths.Shared} { // they are kept from now on
		if err := touch(path); err != nil {
			return err
		}
	}
	b.shared.Lock()
	defer b.shared.Unlock()
	return b.unmark(w, paths.Shared, filepath.Dir(paths.Shared))
}

// remove deletes the last name of path, whose parent is root's.
func remove(path string) error {
	d, err := openTrusted(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	defer d.close()
	return d.clear(filepath.Base(path))
}
