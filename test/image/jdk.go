package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// JavaHome is where the JDK of WriteJDK's image is, and Classes its class path.
const (
	JavaHome = "/opt/java"
	Classes  = "/classes"
)

// jdkPrograms are what a profiler script needs beside bash.
var jdkPrograms = []string{"chmod", "rm"}

// WriteJDK writes an image with a small JDK and the program of a Java source file.
func WriteJDK(file, tag, source string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	image, err := jdk(source)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	if err := tarball.WriteToFile(file, reference, image); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	return nil
}

func jdk(source string) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "stormcell-jdk-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	java, classes := filepath.Join(dir, "java"), filepath.Join(dir, "classes")
	for _, line := range [][]string{
		{"jlink", "--add-modules", "java.base,jdk.jcmd,jdk.jfr", "--strip-debug", "--output", java},
		{"javac", "-d", classes, source},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil { //nolint:noctx // programs of this machine
			return nil, fmt.Errorf("%s: %w: %s", line[0], err, out)
		}
	}
	base, err := layerOf(append(jdkPrograms, basePrograms...))
	if err != nil {
		return nil, err
	}
	top, err := layerOfTrees(map[string]string{JavaHome[1:]: java, Classes[1:]: classes})
	if err != nil {
		return nil, err
	}
	image, err := stack([]v1.Layer{base, top})
	if err != nil {
		return nil, err
	}
	return mutate.Config(image, v1.Config{Env: []string{"PATH=" + JavaHome + "/bin:" + Path, "JAVA_HOME=" + JavaHome}})
}

// layerOfTrees packs directories of this machine, by their places in the image,
// and the libraries that their programs load.
func layerOfTrees(trees map[string]string) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	shared := map[string]string{}
	for place, tree := range trees {
		err := filepath.WalkDir(tree, func(file string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			below, err := filepath.Rel(tree, file)
			if err != nil {
				return err
			}
			for _, library := range libraries(file) {
				if !strings.HasPrefix(library, tree) {
					shared[library[1:]] = library
				}
			}
			return add(w, filepath.Join(place, below), file)
		})
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", tree, err)
		}
	}
	for place, library := range shared {
		if err := add(w, place, library); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}
