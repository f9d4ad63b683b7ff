package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store/lease"
	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	"github.com/stormcell/stormcell/test/hdfs"
)

// TestHDFS runs the tool on a real HDFS.
func TestHDFS(t *testing.T) {
	hadoop, err := hdfs.Start(hdfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hadoop.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("HADOOP_CONF_DIR", hadoop.ConfDir())

	t.Run("every command", func(t *testing.T) {
		wholeTool(t, hadoop.URL("/whole/store"), hadoop.URL("/whole/other"))
	})
	t.Run("two pushes at once", func(t *testing.T) {
		pushTogether(t, hadoop.URL("/together"))
	})
	t.Run("killed in the middle", func(t *testing.T) {
		store := hadoop.URL("/killed")
		image, work := sharedImages(t, 2), t.TempDir()
		mustRun(t, "-b", "--store", store, "pull-build-push-update", image+":v1,storm/a")
		mustRun(t, "pull-build", "--working-dir", work, image+":v2")
		killedOverNetwork(t, store, "push-update", "--working-dir", work, image+":v2,storm/b")
		killedOverNetwork(t, store, "add-tag", "storm/b,storm/c")
		killedOverNetwork(t, store, "remove-image", tagsOf(t, store)["storm/b"])
		if tags := tagsOf(t, store); len(tags) != 1 || tags["storm/a"] == "" {
			t.Errorf("tags %v", tags)
		}
		wantNoFaults(t, store)
	})
	t.Run("Java reads what was copied there", func(t *testing.T) {
		readByJava(t, hadoop)
	})
}

// killedOverNetwork kills a command before its nth write, for growing n (each waits for the bid of the dead one), and
// lets the last run do the rest.
func killedOverNetwork(t *testing.T, store string, args ...string) {
	t.Helper()
	for n := 10; ; n *= 4 {
		killed := runInjected(t, program(t, argsFor(args, store)...), "write", n)
		wantWhole(t, store)
		if !killed {
			return
		}
	}
}

func readByJava(t *testing.T, hadoop *hdfs.Cluster) {
	local, store := filepath.Join(t.TempDir(), "store"), hadoop.URL("/copied")
	mustRun(t, "-b", "--store", local, "pull-build-push-update", sharedImages(t, 1)+":v1,storm/a")
	report := runJSON[publish.Report](t, "copy-update", "-b", "-r", "2", local, store, "storm/a")
	list, err := hadoop.DFS("-ls", "-R", store)
	if err != nil {
		t.Fatal(err)
	}
	d := report.Images[0].ManifestDigest
	for _, name := range []string{manifest.ManifestFile(d), manifest.LayerFile(report.Images[0].Layers[0].Digest), manifest.TagFile, lease.File} {
		if !strings.Contains(list, "/copied/"+name+"\n") {
			t.Errorf("hdfs dfs -ls does not show %s:\n%s", name, list)
		}
	}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 8 && strings.Contains(line, "/layers/") && strings.HasSuffix(fields[7], ".sqsh") && (fields[0] != "-r--r--r--" || fields[1] != "2") {
			t.Errorf("mode and replication of a layer: %s", line)
		}
	}
	tags, err := hadoop.DFS("-cat", store+"/"+manifest.TagFile)
	if err != nil || tags != string(mustRun(t, "list-tags", "--store", store)) {
		t.Errorf("hdfs dfs -cat prints %q, %v", tags, err)
	}
	wantNoFaults(t, store)
}
