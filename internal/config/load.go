package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/stormcell/stormcell/internal/store"
)

// DefaultPath is where daemons look for their storm.yaml.
const DefaultPath = "/etc/storm/storm.yaml"

// MaxConfigSize and MaxLauncherSize bound the two files, in bytes.
const (
	MaxConfigSize   = 1 << 20
	MaxLauncherSize = 64 << 10
)

// Load reads the storm.yaml at path. notes are things that an operator should
// know and that are no errors, a line each. A file that breaks the rules gives
// an error that wraps ErrInvalid and lists every problem; notes come with it.
func Load(path string, opts ...Option) (conf *Config, notes []string, err error) {
	content, err := readFile(path, MaxConfigSize, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read configuration: %w: give the path of your storm.yaml with --config", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, content, opts...)
}

// Parse reads the content of a storm.yaml; file names it in errors and notes.
// Values follow Storm's rules: YAML 1.1 booleans, no number or boolean where a
// string is due, a bare string for a list of one. A key without a value counts
// as not set. The result is complete and safe to share; nobody may change it.
func Parse(file string, content []byte, opts ...Option) (conf *Config, notes []string, err error) {
	d := newDraft(file)
	if len(content) > MaxConfigSize {
		d.problem("", 0, "larger than %d bytes", MaxConfigSize)
		return nil, nil, d.problems.err()
	}
	root, err := document(content)
	if err != nil {
		d.problem("", 0, "%v", err)
		return nil, nil, d.problems.err()
	}
	d.readKeys(root)
	for _, o := range opts {
		o(d)
	}
	d.complete()
	if err := d.problems.err(); err != nil {
		return nil, d.notes, err
	}
	return &d.Config, d.notes, nil
}

// Option changes what a storm.yaml says.
type Option func(*draft)

// RunRoot puts dir in the place of stormcell.run.root, as
// worker.launcher.oci.run-root of worker-launcher.cfg does. An empty dir
// changes nothing.
func RunRoot(dir string) Option {
	return func(d *draft) {
		if dir != "" {
			d.Node.RunRoot, d.runRootKey = dir, keyLauncherRunRoot
		}
	}
}

// document returns the only map of a YAML file, nil if the file is empty.
func document(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // an empty file is a configuration without keys
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document: remove the lines of three dashes")
	}
	root := target(doc.Content[0])
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil //nolint:nilnil // the same, with comments
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("want a map of keys to values, have %s", kindOf(root))
	}
	return root, nil
}

// draft is a configuration while it is read.
type draft struct {
	Config
	file string
	// logDir, blobPrincipal and blobKeytab only serve to complete others.
	logDir, blobPrincipal, blobKeytab string
	// runRootKey is the key that Node.RunRoot comes from.
	runRootKey string
	// lines has the line of every key that was met, faulty those with a problem.
	lines    map[string]int
	faulty   map[string]bool
	problems InvalidError
	notes    []string
}

// newDraft returns a draft with those defaults that depend on nothing.
func newDraft(file string) *draft {
	return &draft{
		file:       file,
		runRootKey: keyRunRoot,
		lines:      map[string]int{},
		faulty:     map[string]bool{},
		Config: Config{
			Fixed: Fixed{
				Store:        Store{RefreshInterval: time.Minute, ManifestsToCache: 10, Verify: store.VerifyIfPresent},
				Cgroup:       Cgroup{Root: "/sys/fs/cgroup", Parent: "/storm"},
				DockerSocket: defaultDockerSocket,
				Node: Node{
					LocalDir:          "storm-local",
					ArtifactsDir:      "workers-artifacts",
					CleanupAge:        7 * 24 * time.Hour,
					CleanupInterval:   10 * time.Minute,
					LayerMountsToKeep: 100,
					DiskHighPercent:   85,
					DiskLowPercent:    80,
					LogDir:            "/var/log/stormcell",
					LogBytes:          64 << 20,
					RunRoot:           "/run/stormcell",
				},
			},
			Worker: Worker{
				PidsLimit:           16384,
				StorageDefaultBytes: 10 << 30,
				StorageMaxBytes:     64 << 30,
				NSCDDir:             "/var/run/nscd",
				ProfilerTimeout:     10 * time.Minute,
				JavaLibraryPath:     "/usr/local/lib:/opt/local/lib:/usr/lib:/usr/lib64",
			},
			Docker: Docker{Pull: PullIfNotPresent},
		},
	}
}

func (d *draft) problem(key string, line int, format string, args ...any) {
	d.faulty[key] = true
	d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: key, Message: fmt.Sprintf(format, args...)})
}

// want notes that the value n of key is of the wrong kind.
func (d *draft) want(key string, n *yaml.Node, what string) {
	have := kindOf(n)
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		have += fmt.Sprintf(" (%s)", truncate(n.Value))
	}
	d.problem(key, n.Line, "want %s, have %s", what, have)
}

func (d *draft) note(key string, format string, args ...any) {
	d.notes = append(d.notes, Problem{d.file, d.lines[key], key, fmt.Sprintf(format, args...)}.String())
}

// readKeys reads every pair of the map root, which may be nil.
func (d *draft) readKeys(root *yaml.Node) {
	if root == nil {
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], target(root.Content[i+1])
		if name.Kind == yaml.ScalarNode && name.ShortTag() == "!!merge" {
			d.problem("<<", name.Line, "merge keys are not read: write the keys out")
			continue
		}
		d.readKey(target(name).Value, name.Line, value)
	}
}

func (d *draft) readKey(name string, line int, value *yaml.Node) {
	at := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	why, isIgnored := ignored[name]
	first, twice := d.lines[name]
	d.lines[name] = line
	switch {
	case at < 0 && !isIgnored:
		d.strange(name, line)
	case twice:
		d.problem(name, line, "appears twice, first in line %d: keep one", first)
	case isIgnored:
		d.note(name, "has no effect: %s", why)
	case kindOf(value) == "nothing":
		d.note(name, "has no value, so the default applies: %s", keys[at].def)
	default:
		keys[at].read(d, name, value)
	}
}

// strange judges a key that is neither read nor ignored: below our prefixes it
// is an error, elsewhere it is the business of another part of Storm.
func (d *draft) strange(name string, line int) {
	ours := strings.HasPrefix(name, ociPrefix) || strings.HasPrefix(name, ownPrefix)
	// Beyond that many problems nobody reads on, and comparing takes time.
	if len(d.problems)+len(d.notes) > maxProblems {
		if ours {
			d.problem(name, line, "unknown key")
		}
		return
	}
	best, edits := nearest(name, names())
	switch {
	case ours && best != "":
		d.problem(name, line, "unknown key: the nearest known one is %s", best)
	case ours:
		d.problem(name, line, "unknown key")
	case best != "" && edits <= 2:
		d.note(name, "is not a key of stormcell; did you mean %s?", best)
	}
}

// readFile returns a regular file of at most limit bytes. flags go to open.
func readFile(path string, limit int64, flags int) ([]byte, error) {
	// O_NONBLOCK: a fifo in the place of the file must not hang the caller.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return content, nil
}
