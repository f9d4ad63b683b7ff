package opener_test

import (
	"testing"

	"github.com/stormcell/stormcell/internal/imagestore/opener"
)

func TestOpenFile(t *testing.T) {
	for _, c := range []struct{ url, root, name string }{
		{"file:///srv/containers/image-tag-to-hash", "file:///srv/containers", "image-tag-to-hash"},
		{"/etc/storm/tags", "file:///etc/storm", "tags"},
		{"file:///srv/a%20b/c%25", "file:///srv/a%20b", "c%"},
	} {
		store, name, err := opener.OpenFile(c.url)
		if err != nil || store.URL() != c.root || name != c.name {
			t.Errorf("%s: %v, %q, %v, want %s, %q", c.url, store, name, err, c.root, c.name)
		}
	}
	for _, url := range []string{"", "/tags", "ftp://host/tags", "hdfs://host/a/tags"} {
		if store, _, err := opener.OpenFile(url); err == nil {
			t.Errorf("%s: opened %v", url, store)
		}
	}
}
