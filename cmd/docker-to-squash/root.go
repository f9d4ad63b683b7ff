package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stormcell/stormcell/internal/convert"
	"github.com/stormcell/stormcell/internal/convert/source"
	"github.com/stormcell/stormcell/internal/imagestore"
	"github.com/stormcell/stormcell/internal/imagestore/opener"
	"github.com/stormcell/stormcell/internal/manifest"
)

// flags are the flags that every sub-command takes.
type flags struct {
	hadoop      opener.Options
	store       string
	bootstrap   bool
	force       bool
	platform    string
	maxLayers   int
	maxSize     byteSize
	maxUnpacked byteSize
	replication int
	logLevel    string
	tagFile     string
	workingDir  string
	output      string
}

const rootHelp = `Docker-to-squash puts container images into an image store: a folder tree of
squashfs layers, image configs, manifests and a tag file, in a directory, from
which stormcell's nodes (and, through HDFS, Storm's own supervisors) mount them.
It needs no root, and nothing of an image is unpacked to disk.

Sub-command and flags have the names that they have in Storm's
docker-to-squash.py, of whose sub-commands this is the first.`

func newRoot() *cobra.Command {
	f := &flags{
		maxSize:     byteSize(convert.DefaultLimits.Compressed),
		maxUnpacked: byteSize(convert.DefaultLimits.Unpacked),
	}
	root := &cobra.Command{
		Use:           "docker-to-squash",
		Short:         "Put container images into an image store as squashfs layers",
		Long:          rootHelp,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f.register(root.PersistentFlags())
	root.SetGlobalNormalizationFunc(originalNames)
	root.AddCommand(newPullBuildPushUpdate(f))
	return root
}

func (f *flags) register(set *pflag.FlagSet) {
	set.StringVar(&f.store, "store", "", "`URL` of the store: hdfs://host:port/path, hdfs://nameservice/path, file:///path, or a path (--hdfs-root means the same)")
	set.StringVar(&f.hadoop.HadoopConf, "hadoop-conf", opener.HadoopConf(os.Getenv), "`directory` of core-site.xml and hdfs-site.xml; as $HADOOP_CONF_DIR says by default, or etc/hadoop in $HADOOP_PREFIX or $HADOOP_HOME")
	set.StringVar(&f.hadoop.Keytab, "keytab", "", "`file` to log in to a secure HDFS with; the tickets of kinit by default")
	set.StringVar(&f.hadoop.Principal, "principal", "", "Kerberos `name` in the keytab; _HOST in it stands for the host's name")
	set.BoolVarP(&f.bootstrap, "bootstrap", "b", false, "make the store's folders and its tag file first")
	set.BoolVarP(&f.force, "force", "f", false, "make files anew that the store has already")
	set.StringVar(&f.platform, "platform", "linux/"+runtime.GOARCH, "`OS/ARCH[/VARIANT]` to take of an image for several")
	set.IntVar(&f.maxLayers, "max-layers", convert.DefaultLimits.Layers, "refuse images of more layers; Storm's own nodes mount 37 at most")
	set.Var(&f.maxSize, "max-size", "refuse images whose compressed layers have more `bytes`")
	set.Var(&f.maxUnpacked, "max-unpacked-size", "refuse layers that unpack to more `bytes`")
	set.IntVarP(&f.replication, "replication", "r", 3, "copies of each file in a distributed store")
	set.StringVarP(&f.logLevel, "log", "l", "INFO", "least `level` of log lines: DEBUG, INFO, WARN or ERROR")
	set.StringVar(&f.tagFile, "image-tag-to-hash", manifest.TagFile, "`name` of the store's tag file")
	set.StringVar(&f.workingDir, "working-dir", cmp.Or(os.Getenv("TMPDIR"), "/var/tmp"), "`directory` with room for the largest layer's squashfs file")
	set.StringVarP(&f.output, "output", "o", "text", "form of the result: text or json")
}

// originalNames lets people keep writing what docker-to-squash.py calls a flag.
func originalNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "hdfs-root" {
		name = "store"
	}
	return pflag.NormalizedName(name)
}

// options checks the flags.
func (f *flags) options() (convert.Options, error) {
	platform, err := source.ParsePlatform(f.platform)
	if err != nil {
		return convert.Options{}, fmt.Errorf("--platform: %w", err)
	}
	switch {
	case f.maxLayers < 1 || f.maxLayers > manifest.MaxLayers:
		err = fmt.Errorf("--max-layers %d: must be 1 to %d, which is what the kernel stacks", f.maxLayers, manifest.MaxLayers)
	case f.replication < 1 || f.replication > 512:
		err = fmt.Errorf("--replication %d: must be 1 to 512", f.replication)
	case f.tagFile == "" || strings.ContainsAny(f.tagFile, "/\x00") || strings.HasPrefix(f.tagFile, "."):
		err = fmt.Errorf("--image-tag-to-hash %q: must be a file name without a slash", f.tagFile)
	case f.output != "text" && f.output != "json":
		err = fmt.Errorf("--output %q: must be text or json", f.output)
	}
	return convert.Options{
		Platform:    platform,
		Limits:      convert.Limits{Layers: f.maxLayers, Compressed: int64(f.maxSize), Unpacked: int64(f.maxUnpacked)},
		TempDir:     f.workingDir,
		TagFile:     f.tagFile,
		Replication: f.replication,
		Force:       f.force,
	}, err
}

// openStore opens the store and sets it up where that is asked for.
func (f *flags) openStore(cmd *cobra.Command) (imagestore.Writer, error) {
	if f.store == "" {
		return nil, errors.New("--store is missing: say where the store is, such as --store file:///srv/images")
	}
	store, err := opener.Open(f.store, f.hadoop)
	if err != nil || !f.bootstrap {
		return store, err
	}
	return store, store.Bootstrap(cmd.Context())
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
