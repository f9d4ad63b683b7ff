package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/node/runtime"
	"github.com/stormcell/stormcell/internal/node/worker"
)

// recordVersion counts the versions of the record and of all that an agent
// finds by it in the run root. It goes up when an older agent could not take over
// what is there. A new field does not need that: it must mean, where it is
// missing, what was so before there was one. What released agents wrote is kept
// in testdata, and read for ever.
//
// Records of versions 1 to 3 have the command and the environment.
const (
	recordVersion = 4
	recordName    = "record.json"
	maxRecordSize = 16 << 20
)

// record is what survives the agent of one worker: enough to go on after a
// crash at any point. It is written before the step that it announces, and
// lies in the run root, which is root's and empty after a reboot.
type record struct {
	Version int `json:"version"`
	// Spec is written without command and environment, which may be long: before
	// anything is started by it, the cluster says again what is wanted.
	Spec worker.Spec `json:"spec"`
	// Layers are the squashfs digests that the rootfs is made of, base first.
	Layers []digest.Digest `json:"layers,omitempty"`
	// Launched is the number of containers whose process was started.
	Launched int `json:"launched"`
	// NoContainer is true as long as the runtime has nothing of the worker: before
	// the first attempt to create a container, and once the last one is deleted.
	// Then nothing is to be asked of a daemon that may be away. It is false in the
	// records of agents that did not know it.
	NoContainer bool `json:"noContainer,omitempty"`
	// Running is true from the start of a process until its end was handled.
	Running bool `json:"running"`
	// Exceeded says what takes up more ephemeral storage than the running process
	// may: it is to be ended.
	Exceeded  string        `json:"exceeded,omitempty"`
	PID       int           `json:"pid,omitempty"`
	StartedAt time.Time     `json:"startedAt,omitzero"`
	LastExit  *runtime.Exit `json:"lastExit,omitempty"`
	// Failures counts failures in a row, for the back-off.
	Failures int `json:"failures,omitempty"`
	// RetryAt is when the next start is due.
	RetryAt time.Time `json:"retryAt,omitzero"`
	// Unverified is the number of layers that the store has no identity for.
	Unverified int `json:"unverified,omitempty"`
}

// ended tells whether policy leaves a worker as it has ended.
func (r *record) ended(policy worker.RestartPolicy) bool {
	return !r.Running && r.LastExit != nil && !startsAgain(policy, *r.LastExit)
}

// takeBack drops a start that did not come to pass.
func (r *record) takeBack() {
	r.Launched--
	r.Running, r.PID, r.StartedAt = false, 0, time.Time{}
}

// restarts counts the starts after the first.
func (r *record) restarts() int { return max(0, r.Launched-1) }

// ErrNewerRecord is a record that a newer agent wrote and this one cannot read.
// Its worker may run, so it is neither adopted nor killed: the agent must not
// start.
var ErrNewerRecord = errors.New("record of a newer version of stormcell")

// records keeps the records of all workers below the run root.
type records struct {
	// dir is <run root>/workers.
	dir string
	// runtimes are those that this agent knows.
	runtimes runtime.Drivers
}

func (r records) path(id string) string { return filepath.Join(r.dir, id, recordName) }

// save writes a record so that a crash leaves the old one or the new one. The
// run root is a tmpfs, so that no sync is needed: a machine that stops loses
// the containers with the records.
func (r records) save(rec *record) error {
	rec.Version = recordVersion
	written := *rec
	written.Spec.Command, written.Spec.Env = nil, nil
	content, err := json.Marshal(written)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.Spec.ContainerID(), err)
	}
	path := r.path(rec.Spec.ContainerID())
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make directory of worker: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// remove deletes a record and the worker's directory, which must hold nothing
// else any more.
func (r records) remove(id string) error {
	path := r.path(id)
	for _, p := range []string{path + ".new", path, filepath.Dir(path)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove record of %s: %w", id, err)
		}
	}
	return nil
}

// load reads the record of one container. fs.ErrNotExist if there is none.
func (r records) load(id string) (*record, error) {
	path := r.path(id)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	if info.Size() > maxRecordSize {
		return nil, fmt.Errorf("record of %s: larger than %d bytes", id, maxRecordSize)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(content, &head); err == nil && head.Version > recordVersion {
		return nil, fmt.Errorf("%w: %s has version %d, this node-agent knows %d; run the newer one again, or delete that file to have its worker killed",
			ErrNewerRecord, path, head.Version, recordVersion)
	}
	rec := new(record)
	if err := json.Unmarshal(content, rec); err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	if err := rec.Spec.ValidateNames(); err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	if rec.Version < 1 || rec.Spec.ContainerID() != id {
		return nil, fmt.Errorf("record of %s: version %d of %s", id, rec.Version, rec.Spec.ContainerID())
	}
	if _, err := r.runtimes.Of(rec.Spec); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; or delete that file to have its worker killed", ErrNewerRecord, path, err)
	}
	return rec, nil
}

// list names every container that has a directory in the run root.
func (r records) list() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && worker.ValidContainerID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
