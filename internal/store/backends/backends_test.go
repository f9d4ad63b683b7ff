package backends_test

import (
	"testing"

	"github.com/stormcell/stormcell/internal/store/backends"
)

func TestOpenFile(t *testing.T) {
	for _, c := range []struct{ url, root, name string }{
		{"file:///srv/containers/image-tag-to-hash", "file:///srv/containers", "image-tag-to-hash"},
		{"/etc/storm/tags", "file:///etc/storm", "tags"},
		{"file:///srv/a%20b/c%25", "file:///srv/a%20b", "c%"},
		{"hdfs://host:8020/a/tags", "hdfs://host:8020/a", "tags"},
	} {
		store, name, err := backends.OpenFile(c.url, backends.Options{})
		if err != nil || store.URL() != c.root || name != c.name {
			t.Errorf("%s: %v, %q, %v, want %s, %q", c.url, store, name, err, c.root, c.name)
		}
	}
	for _, url := range []string{"", "/tags", "ftp://host/tags", "hdfs://host/tags"} {
		if store, _, err := backends.OpenFile(url, backends.Options{}); err == nil {
			t.Errorf("%s: opened %v", url, store)
		}
	}
}

func TestHadoopConf(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing", nil, ""},
		{"its own variable first", map[string]string{"HADOOP_CONF_DIR": "/c", "HADOOP_PREFIX": "/p", "HADOOP_HOME": "/h"}, "/c"},
		{"older prefix", map[string]string{"HADOOP_PREFIX": "/p", "HADOOP_HOME": "/h"}, "/p/etc/hadoop"},
		{"home", map[string]string{"HADOOP_HOME": "/h"}, "/h/etc/hadoop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := backends.HadoopConf(func(key string) string { return c.env[key] }); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
