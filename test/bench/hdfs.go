package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stormcell/stormcell/test/cluster"
	"github.com/stormcell/stormcell/test/hdfs"
)

// blockProperty has clients write blocks of 128 MiB, Hadoop's own default; the
// blocks of tests are small.
const blockProperty = "<property><name>dfs.blocksize</name><value>134217728</value></property>\n</configuration>"

// withHDFS runs do with an HDFS, and with a HADOOP_CONF_DIR below dir for its
// clients.
func withHDFS(ctx context.Context, dir string, do func(h *hdfs.Cluster, conf string) error) (err error) {
	h, err := hdfs.Start(hdfs.Options{}) //nolint:contextcheck // its script has time limits of its own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop()) }() //nolint:contextcheck // as above
	if err := ctx.Err(); err != nil {
		return err
	}
	conf := filepath.Join(dir, "hadoop-conf")
	if err := clientConf(h, conf); err != nil {
		return fmt.Errorf("copy HDFS's configuration: %w", err)
	}
	return do(h, conf)
}

// clientConf copies the configuration of an HDFS, with larger blocks.
func clientConf(h *hdfs.Cluster, conf string) error {
	if err := os.CopyFS(conf, os.DirFS(h.ConfDir())); err != nil {
		return err
	}
	root, err := os.OpenRoot(conf)
	if err != nil {
		return err
	}
	defer root.Close()
	const name = "hdfs-site.xml"
	content, err := root.ReadFile(name)
	if err != nil {
		return err
	}
	// The last value of a property counts.
	changed := strings.Replace(string(content), "</configuration>", blockProperty, 1)
	return root.WriteFile(name, []byte(changed), 0o600)
}

// getter is a JVM that runs "hdfs dfs -get" again and again.
type getter struct {
	jvm  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	text *tail
}

// startGetter starts the JVM, with the options that java has by itself.
func startGetter(ctx context.Context, conf string) (*getter, error) {
	jars, err := filepath.Glob(filepath.Join(cluster.Root(), "bin", "hadoop", "jars", "*.jar"))
	if err != nil || len(jars) == 0 {
		return nil, errors.Join(errors.New("there is no Hadoop in bin/hadoop: make hadoop fetches it"), err)
	}
	g := &getter{text: &tail{}}
	g.jvm = exec.CommandContext(ctx, "java", "-cp", strings.Join(append(jars, conf), ":"),
		filepath.Join(cluster.Root(), "test", "bench", "Get.java"))
	g.jvm.Stderr = g.text
	if g.in, err = g.jvm.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the Java client: %w", err)
	}
	out, err := g.jvm.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the Java client: %w", err)
	}
	g.out = bufio.NewScanner(out)
	if err := g.jvm.Start(); err != nil {
		return nil, fmt.Errorf("start the Java client: %w", err)
	}
	return g, nil
}

// get copies a file of HDFS to a new local one and returns the time it took.
func (g *getter) get(source, destination string) (time.Duration, error) {
	if _, err := fmt.Fprintln(g.in, source, destination); err != nil {
		return 0, fmt.Errorf("hdfs dfs -get: %w: %s", err, g.text)
	}
	if !g.out.Scan() {
		return 0, fmt.Errorf("hdfs dfs -get %s has failed: %s", source, g.text)
	}
	n, err := strconv.ParseInt(g.out.Text(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("hdfs dfs -get: %w: %s", err, g.text)
	}
	return time.Duration(n), nil
}

// stop ends the JVM.
func (g *getter) stop() error {
	if err := errors.Join(g.in.Close(), g.jvm.Wait()); err != nil {
		return fmt.Errorf("end the Java client: %w: %s", err, g.text)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 1000
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
