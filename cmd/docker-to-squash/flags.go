package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/admin"
	"github.com/stormcell/stormcell/internal/store/backends"
	"github.com/stormcell/stormcell/internal/store/convert"
	"github.com/stormcell/stormcell/internal/store/convert/source"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/internal/store/tagfile"
)

// flags are the flags of all sub-commands.
type flags struct {
	hadoop       backends.Options
	store        string
	bootstrap    bool
	force        bool
	dryRun       bool
	unreferenced bool
	platform     string
	pullFormat   string
	skopeoFormat string
	hadoopPrefix string
	maxLayers    int
	maxSize      byteSize
	maxUnpacked  byteSize
	checkMagic   bool
	magicFile    string
	replication  int
	transition   int64
	deadPerms    fileMode
	logLevel     string
	tagFile      string
	workingDir   string
	output       string

	// log is set once the flags are checked.
	log *slog.Logger
}

func (f *flags) register(set *pflag.FlagSet) {
	set.StringVar(&f.store, "store", "", "`URL` of the store: file:///path, hdfs://host:port/path, hdfs://nameservice/path or a path (--hdfs-root means the same)")
	set.BoolVarP(&f.bootstrap, "bootstrap", "b", false, "create the store's folders and its tag file first")
	set.BoolVarP(&f.force, "force", "f", false, "create files again that the store already has")
	set.BoolVar(&f.dryRun, "dry-run", false, "change nothing, report what would be done")
	set.BoolVar(&f.unreferenced, "unreferenced", false, "also delete layers and configs that no manifest names and that are older than --untagged-transition-sec")
	set.StringVar(&f.platform, "platform", "linux/"+runtime.GOARCH, "`OS/ARCH[/VARIANT]` to choose from an image for several platforms")
	set.StringVar(&f.pullFormat, "pull-format", string(source.Registry), "`transport` of images whose names do not begin with one: docker, oci, oci-archive or docker-archive")
	set.IntVar(&f.maxLayers, "max-layers", convert.DefaultLimits.Layers, "refuse images with more layers; Storm's own nodes mount 37 at most")
	set.Var(&f.maxSize, "max-size", "refuse images whose compressed layers have more `bytes` in total")
	set.Var(&f.maxUnpacked, "max-unpacked-size", "refuse layers that unpack to more `bytes`")
	set.BoolVar(&f.checkMagic, "check-magic-file", false, "refuse images without a layer that has a non-empty --magic-file")
	set.StringVar(&f.magicFile, "magic-file", "etc/dockerfile-version", "`path` in the image for --check-magic-file")
	set.IntVarP(&f.replication, "replication", "r", 3, "copies of each file in a distributed store")
	set.Int64Var(&f.transition, "untagged-transition-sec", 7*24*60*60, "`seconds` that an image without tags stays stale, and then dead")
	set.Var(&f.deadPerms, "dead-perms", "octal `mode` of the manifest of a dead image")
	set.StringVarP(&f.logLevel, "log", "l", "INFO", "least `level` of log lines: DEBUG, INFO, WARN or ERROR")
	set.StringVar(&f.tagFile, "image-tag-to-hash", manifest.TagFile, "`name` of the store's tag file")
	set.StringVar(&f.workingDir, "working-dir", cmp.Or(os.Getenv("TMPDIR"), "/var/tmp"), "`directory` for unfinished squashfs files, and for what pull-build keeps for push-update")
	set.StringVarP(&f.output, "output", "o", "text", "form of the result: text or json")
	set.StringVar(&f.hadoop.HadoopConf, "hadoop-conf", backends.HadoopConf(os.Getenv), "`directory` of core-site.xml and hdfs-site.xml; the default is $HADOOP_CONF_DIR, or etc/hadoop in $HADOOP_PREFIX or $HADOOP_HOME")
	set.StringVar(&f.hadoopPrefix, "hadoop-prefix", "", "`directory` that has these files in etc/hadoop, as with the original")
	set.StringVar(&f.hadoop.Keytab, "keytab", "", "`file` to log in to a secure HDFS with; the default is the tickets of kinit")
	set.StringVar(&f.hadoop.Principal, "principal", "", "Kerberos `name` in the keytab; _HOST in it stands for the host's name")
	set.StringVar(&f.skopeoFormat, "skopeo-format", "dir", "accepted for compatibility with the original, without effect: there is no skopeo")
	if err := set.MarkHidden("skopeo-format"); err != nil {
		panic(err) // it is registered above
	}
}

// originalNames lets people keep writing what docker-to-squash.py calls a flag.
func originalNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "hdfs-root" {
		name = "store"
	}
	return pflag.NormalizedName(name)
}

// check validates the flags of every command, and says which have no effect.
func (f *flags) check(cmd *cobra.Command, _ []string) error {
	log, err := f.logger(cmd)
	if err != nil {
		return err
	}
	f.log = log
	switch {
	case f.output != "text" && f.output != "json":
		return fmt.Errorf("--output %q: must be text or json", f.output)
	case f.replication < 1:
		return fmt.Errorf("--replication %d: must be at least 1", f.replication)
	case f.tagFile == "" || f.tagFile == "." || f.tagFile == ".." || strings.ContainsRune(f.tagFile, '/'):
		return fmt.Errorf("--image-tag-to-hash %q: must be the name of a file in the store, without a slash", f.tagFile)
	}
	if f.hadoopPrefix != "" && !cmd.Flags().Changed("hadoop-conf") {
		f.hadoop.HadoopConf = filepath.Join(f.hadoopPrefix, "etc", "hadoop")
	}
	if f.dryRun && !matters(cmd, "dry-run") {
		return fmt.Errorf("--dry-run: %s has none", cmd.Name())
	}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !matters(cmd, flag.Name) {
			f.log.Info("a flag has no effect on this command", "flag", "--"+flag.Name, "command", cmd.Name())
		}
	})
	return nil
}

// limits checks the flags that bound images.
func (f *flags) limits() (publish.Limits, error) {
	if f.maxLayers < 1 || f.maxLayers > manifest.MaxLayers {
		return publish.Limits{}, fmt.Errorf("--max-layers %d: must be 1 to %d, which is what the kernel stacks", f.maxLayers, manifest.MaxLayers)
	}
	return publish.Limits{Layers: f.maxLayers, Compressed: int64(f.maxSize)}, nil
}

// options checks the flags for a conversion.
func (f *flags) options() (convert.Options, error) {
	platform, err := source.ParsePlatform(f.platform)
	if err != nil {
		return convert.Options{}, err
	}
	limits, err := f.limits()
	if err != nil {
		return convert.Options{}, err
	}
	o := convert.Options{
		Platform:    platform,
		Limits:      convert.Limits{Layers: limits.Layers, Compressed: limits.Compressed, Unpacked: int64(f.maxUnpacked)},
		TempDir:     f.workingDir,
		TagFile:     f.tagFile,
		Replication: f.replication,
		Force:       f.force,
	}
	if f.checkMagic {
		o.MagicFile = f.magicFile
	}
	return o, nil
}

// image is the name of an image with the transport of --pull-format.
func (f *flags) image(name string) (string, error) {
	switch transport := source.Transport(f.pullFormat); transport {
	case source.Registry:
		return name, nil
	case source.OCI, source.OCIArchive, source.DockerArchive:
		if before, _, found := strings.Cut(name, ":"); found {
			switch source.Transport(before) {
			case source.Registry, source.OCI, source.OCIArchive, source.DockerArchive:
				return name, nil
			}
		}
		return f.pullFormat + ":" + name, nil
	default:
		return "", fmt.Errorf("--pull-format %q: must be docker, oci, oci-archive or docker-archive", f.pullFormat)
	}
}

// open opens a store.
func (f *flags) open(url string) (store.Writer, error) { return backends.Open(url, f.hadoop) }

// curator opens a store to look after it, and sets it up where that is asked
// for.
func (f *flags) curator(cmd *cobra.Command) (*admin.Curator, error) {
	store, err := f.openStore(cmd)
	if err != nil {
		return nil, err
	}
	return f.curatorOf(store), nil
}

func (f *flags) curatorOf(store store.Writer) *admin.Curator {
	return &admin.Curator{
		Store:       store,
		TagFile:     f.tagFile,
		Replication: f.replication,
		DeadMode:    fs.FileMode(f.deadPerms),
		DryRun:      f.dryRun,
		Log:         f.log,
	}
}

// openStore opens --store and sets it up where that is asked for.
func (f *flags) openStore(cmd *cobra.Command) (store.Writer, error) {
	if f.store == "" {
		return nil, errors.New("--store is missing: say where the store is, such as --store file:///srv/images")
	}
	store, err := f.open(f.store)
	if err != nil || !f.bootstrap {
		return store, err
	}
	return store, f.setUp(cmd, store, f.tagFile)
}

func (f *flags) setUp(cmd *cobra.Command, writer store.Writer, tagFile string) error {
	file := tagfile.File{Store: writer, Name: tagFile, Options: store.CreateOptions{Replication: f.replication}}
	return file.Bootstrap(cmd.Context())
}

// builtDir is where pull-build keeps images in the working directory: a store
// whose tags are the names of the images.
const builtDir = "docker-to-squash"

// built opens the store of pull-build.
func (f *flags) built() (store.Writer, error) {
	dir, err := filepath.Abs(f.workingDir)
	if err != nil {
		return nil, fmt.Errorf("--working-dir %s: %w", f.workingDir, err)
	}
	return backends.Open(filepath.Join(dir, builtDir), f.hadoop)
}

// waiting tells whom the tags of a store have to wait for.
func (f *flags) waiting(holder string) {
	f.log.Info("waiting for another user of the store", "holder", holder)
}

// write writes a result to standard output: as JSON, or by text.
func (f *flags) write(cmd *cobra.Command, result any, text func(w io.Writer)) error {
	if f.output == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	}
	var b strings.Builder
	text(&b)
	_, err := io.WriteString(cmd.OutOrStdout(), b.String())
	return err
}

// logger writes to standard error; standard output is for the result.
func (f *flags) logger(cmd *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	name := strings.ToUpper(f.logLevel)
	if name == "WARNING" { // Python's name
		name = "WARN"
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("--log %q: must be DEBUG, INFO, WARN or ERROR", f.logLevel)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// fileMode is a flag for permission bits, in octal.
type fileMode fs.FileMode

// String writes the mode.
func (m *fileMode) String() string { return fmt.Sprintf("%03o", uint32(*m)) }

// Set parses the mode. The owner must be able to read a manifest, since the manifest
// names the layers that it needs; and the mode of a dead one must differ from others.
func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is not a mode: write three octal digits", text)
	}
	if n&0o400 == 0 || fs.FileMode(n) == publish.LiveMode {
		return fmt.Errorf("%q: the owner must be able to read, and it must differ from %03o", text, publish.LiveMode)
	}
	*m = fileMode(n)
	return nil
}

// Type implements pflag.Value.
func (m *fileMode) Type() string { return "mode" }

// transitionTime is --untagged-transition-sec.
func (f *flags) transitionTime() (time.Duration, error) {
	if f.transition < 0 || f.transition > int64(100*365*24*time.Hour/time.Second) {
		return 0, fmt.Errorf("--untagged-transition-sec %d: must be 0 to a hundred years", f.transition)
	}
	return time.Duration(f.transition) * time.Second, nil
}
