package config

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// complete fills in the defaults that depend on other keys and checks keys
// against each other.
func (d *draft) complete() {
	d.completeImages()
	d.completeDockerImages()
	d.completeStore()
	d.completeTagFile()
	d.completeLogin()
	d.completeCgroup()
	d.completeDirs()
	d.checkBinds()
	d.checkRunRoot()
	d.checkDisk()
	d.checkStorage()
}

// check notes a problem of key, at the line where the key stands, if any. A
// key that is known to be wrong is left alone: the rest would only follow.
func (d *draft) check(key, format string, args ...any) {
	if !d.faulty[key] {
		d.problem(key, d.lines[key], format, args...)
	}
}

func (d *draft) completeImages() {
	if d.faulty[keyAllowedImages] || d.faulty[keyImage] {
		return
	}
	for _, err := range unjoin(d.Images.Validate()) {
		d.problem("", d.lines[keyAllowedImages], "%v", err)
	}
	if len(d.Images.Allowed) == 0 {
		d.note(keyAllowedImages, "is empty, so no worker of the store's images may run")
	}
}

func (d *draft) completeDockerImages() {
	if d.faulty[keyDockerImages] {
		return
	}
	for _, err := range unjoin(d.DockerImages.Validate()) {
		d.problem(keyDockerImages, d.lines[keyDockerImages], "%v", err)
	}
	if d.Runtime == dockerRuntime && len(d.DockerImages.Allowed) == 0 {
		d.note(keyDockerImages, "is empty, so no worker may run in Docker, which %s makes the default", keyPlugin)
	}
}

// unjoin returns the errors that errors.Join has joined.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

func (d *draft) completeStore() {
	if d.Store.URL == "" {
		d.check(keyStore, "is not set: give the image store, such as hdfs://namenode:8020/containers or file:///srv/containers")
		return
	}
	a, err := store.ParseAddress(d.Store.URL)
	if err != nil {
		d.check(keyStore, "%v", err)
		return
	}
	if strings.HasPrefix(d.Store.URL, "/") {
		d.note(keyStore, "has no scheme, so it is taken as %s", a)
	}
	d.Store.URL = a.String()
}

// completeTagFile turns the URL of the store's tag file into one with a scheme.
func (d *draft) completeTagFile() {
	address, err := store.ParseAddress(d.Store.URL)
	if err != nil {
		return // completeStore has told
	}
	if d.Store.HDFSTagFile == "" {
		address.Path = path.Join(address.Path, manifest.TagFile)
		d.Store.HDFSTagFile = address.String()
		return
	}
	if strings.HasPrefix(d.Store.HDFSTagFile, "/") {
		address.Path = path.Clean(d.Store.HDFSTagFile)
		d.Store.HDFSTagFile = address.String()
	}
	a, err := store.ParseAddress(d.Store.HDFSTagFile)
	if err != nil {
		d.check(keyStoreTagFile, "%v", err)
		return
	}
	d.Store.HDFSTagFile = a.String()
}

func (d *draft) completeLogin() {
	for _, f := range []struct {
		value         *string
		older         string
		key, olderKey string
	}{
		{&d.Store.Principal, d.blobPrincipal, keyPrincipal, keyBlobPrincipal},
		{&d.Store.Keytab, d.blobKeytab, keyKeytab, keyBlobKeytab},
	} {
		if *f.value == "" && f.older != "" {
			*f.value = f.older
			d.note(f.olderKey, "is an older name: write %s", f.key)
		}
	}
	switch {
	case d.faulty[keyPrincipal] || d.faulty[keyKeytab]:
	case d.Store.Principal != "" && d.Store.Keytab == "":
		d.check(keyPrincipal, "is set without %s: set both or neither", keyKeytab)
	case d.Store.Principal == "" && d.Store.Keytab != "":
		d.check(keyKeytab, "is set without %s: set both or neither", keyPrincipal)
	}
}

func (d *draft) completeCgroup() {
	parent := d.Cgroup.Parent
	if strings.HasPrefix(parent, "/sys/fs/cgroup") {
		// The sample in Storm's Docker-support.md has the two swapped.
		d.check(keyCgroupParent, "%s is the place of %s: the parent is a cgroup below it, such as /storm", truncate(parent), keyCgroupRoot)
		return
	}
	if slices.Contains(strings.Split(parent, "/"), "..") {
		d.check(keyCgroupParent, "%q may not have .. segments", truncate(parent))
		return
	}
	if !strings.HasPrefix(parent, "/") {
		d.note(keyCgroupParent, "is taken as /%s", parent)
	}
	if d.Cgroup.Parent = path.Clean("/" + parent); d.Cgroup.Parent == "/" {
		d.check(keyCgroupParent, "must name a cgroup of its own, such as /storm")
	}
}

// completeDirs makes Storm's directories absolute, as Storm's ConfigUtils does.
func (d *draft) completeDirs() {
	home := d.Worker.StormHome
	if !filepath.IsAbs(d.Node.LocalDir) && home == "" && !d.faulty[keyStormHome] {
		d.check(keyLocalDir, "%q is relative to Storm's home: give an absolute path, or set %s", truncate(d.Node.LocalDir), keyStormHome)
	}
	d.Node.LocalDir = below(home, d.Node.LocalDir)
	if d.logDir == "" && home != "" {
		d.logDir = filepath.Join(home, "logs")
	}
	if !filepath.IsAbs(d.Node.ArtifactsDir) && d.logDir == "" && !d.faulty[keyStormHome] && !d.faulty[keyStormLogDir] {
		d.check(keyArtifactsDir, "%q is relative to Storm's log directory: give an absolute path, or set %s or %s",
			truncate(d.Node.ArtifactsDir), keyStormLogDir, keyStormHome)
	}
	d.Node.ArtifactsDir = below(d.logDir, d.Node.ArtifactsDir)
	if d.Node.ResourcesDir == "" {
		d.Node.ResourcesDir = filepath.Join(d.Node.LocalDir, "supervisor", "oci-resources")
	}
}

func below(dir, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

func (d *draft) checkBinds() {
	for _, f := range []struct {
		key   string
		paths []string
	}{{keyReadonly, d.Worker.ReadonlyBinds}, {keyReadwrite, d.Worker.ReadwriteBinds}} {
		if slices.Contains(f.paths, "/") {
			d.check(f.key, "/ would hide the image: name the directories that workers need")
		}
	}
	for _, p := range d.Worker.ReadwriteBinds {
		if slices.Contains(d.Worker.ReadonlyBinds, p) {
			d.check(keyReadwrite, "%s is also in %s: keep one", truncate(p), keyReadonly)
		}
	}
}

// checkRunRoot keeps root's own directories out of those that workers write.
func (d *draft) checkRunRoot() {
	for _, m := range d.misplaced(d.runRootKey) {
		d.check(m.Key, "%s", m.Message)
	}
}

// misplaced returns the problems of root's own directories that lie where
// workers write. runRootKey is the key that names the run root.
func (c *Config) misplaced(runRootKey string) InvalidError {
	writable := append([]string{c.Node.ArtifactsDir, filepath.Join(c.Node.LocalDir, "workers")}, c.Worker.ReadwriteBinds...)
	var problems InvalidError
	for _, own := range []struct{ key, dir string }{
		{runRootKey, c.Node.RunRoot},
		{keyResourcesDir, c.Node.ResourcesDir},
		{keyWorkerLogDir, c.Node.LogDir},
	} {
		if own.dir == "/" {
			problems = append(problems, Problem{Key: own.key, Message: "cannot be the root directory"})
		}
		for _, w := range writable {
			if filepath.IsAbs(w) && within(own.dir, w) {
				problems = append(problems, Problem{Key: own.key, Message: fmt.Sprintf("%s lies in %s, where workers write: choose another directory", truncate(own.dir), truncate(w))})
			}
		}
	}
	return problems
}

// checkDisk keeps what is removed from a full disk from being nothing.
func (d *draft) checkDisk() {
	if high, low := d.Node.DiskHighPercent, d.Node.DiskLowPercent; low >= high && !d.faulty[keyDiskHigh] {
		d.check(keyDiskLow, "%d is not less than %s, which is %d", low, keyDiskHigh, high)
	}
}

// checkStorage keeps a worker's default from being more than it can have.
func (d *draft) checkStorage() {
	if least, most := d.Worker.StorageDefaultBytes, d.Worker.StorageMaxBytes; most > 0 && least > most && !d.faulty[keyStorageMax] {
		d.check(keyStorageDefault, "%d is more than %s, which is %d", least, keyStorageMax, most)
	}
}

// within tells whether the clean path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
