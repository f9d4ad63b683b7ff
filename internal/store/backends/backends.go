// Package backends opens the store of a URL. It is the only package that knows every
// backend.
package backends

import (
	"path"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/localdir"
)

// Options says how to reach stores that are not on this machine.
type Options struct {
	// HadoopConf is the folder of Hadoop's configuration files, which name
	// services and secure clusters need; empty: there is none.
	HadoopConf string
	// Keytab and Principal log in to a secure HDFS; both or neither are set.
	// Without them the ticket cache of kinit is used.
	Keytab, Principal string
}

// Open returns the store at url. It reads configuration files, but does not
// contact the store.
func Open(url string, o Options) (store.Writer, error) {
	a, err := store.ParseAddress(url)
	if err != nil {
		return nil, err
	}
	if a.Scheme == "file" {
		return localdir.New(a.Path), nil
	}
	store, err := hdfs.New(a, hdfs.Options{ConfDir: o.HadoopConf, Keytab: o.Keytab, Principal: o.Principal})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// OpenFile returns the store that is the folder of the file at url, such as a
// tag file, and the file's name in it. It does not contact the store.
func OpenFile(url string, o Options) (writer store.Writer, name string, err error) {
	a, err := store.ParseAddress(url)
	if err != nil {
		return nil, "", err
	}
	dir, name := path.Split(a.Path)
	a.Path = path.Clean(dir)
	writer, err = Open(a.String(), o)
	return writer, name, err
}

// HadoopConf is the folder of Hadoop's configuration files that the environment
// names: HADOOP_CONF_DIR, or else etc/hadoop below HADOOP_PREFIX, as in the
// original, or HADOOP_HOME. It is empty if none is set.
func HadoopConf(getenv func(string) string) string {
	if dir := getenv("HADOOP_CONF_DIR"); dir != "" {
		return dir
	}
	for _, key := range []string{"HADOOP_PREFIX", "HADOOP_HOME"} {
		if dir := getenv(key); dir != "" {
			return path.Join(dir, "etc/hadoop")
		}
	}
	return ""
}
