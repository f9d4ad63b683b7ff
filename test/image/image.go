// Package image makes a small real image for tests and benchmarks: bash and a
// few programs of this machine with their libraries, in two layers.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Path is where the image's programs are.
const Path = "/bin"

// The programs of the two layers.
var (
	basePrograms  = []string{"bash", "sleep", "date", "cat", "id"}
	upperPrograms = []string{"ls", "mkdir", "head", "dd", "setsid", "flock"}
)

// Write writes the image to file as "docker save" does, under tag.
func Write(file, tag string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	image, err := build()
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	if err := tarball.WriteToFile(file, reference, image); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	return nil
}

// WriteLayers writes an image of count layers: the programs of Write's base
// layer, and above them one layer after the other with its number in the file
// /top and in the name of a file in /layers. One with an even number deletes
// the file of the layer below.
func WriteLayers(file, tag string, count int) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	base, err := layerOf(basePrograms)
	if err != nil {
		return err
	}
	layers := []v1.Layer{base}
	for i := 1; i < count; i++ {
		l, err := numbered(i)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	image, err := stack(layers)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	if err := tarball.WriteToFile(file, reference, image); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	return nil
}

// WriteEntries writes the image of Write with one more layer, of entries without content.
func WriteEntries(file, tag string, entries ...*tar.Header) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(e); err != nil {
			return fmt.Errorf("pack %s: %w", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("pack layer: %w", err)
	}
	top, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	layers, err := baseLayers()
	if err != nil {
		return err
	}
	image, err := stack(append(layers, top))
	if err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	if err := tarball.WriteToFile(file, reference, image); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	return nil
}

// numbered is a layer of WriteLayers.
func numbered(number int) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := strconv.Itoa(number)
	files := []struct{ name, content string }{{"top", text}, {fmt.Sprintf("layers/%03d", number), text}}
	if number%2 == 0 {
		files = append(files, struct{ name, content string }{fmt.Sprintf("layers/.wh.%03d", number-1), ""})
	}
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.content))})
		if err == nil {
			_, err = w.Write([]byte(f.content))
		}
		if err != nil {
			return nil, fmt.Errorf("pack layer %d: %w", number, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack layer %d: %w", number, err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// WriteBase writes the lower layer to file as a tar.gz: bash and the few
// programs that images of other files need to start with.
func WriteBase(file string) error {
	layer, err := layerOf(basePrograms)
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("compress layer: %w", err)
	}
	defer content.Close()
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	if _, err := io.Copy(out, content); err != nil {
		return errors.Join(fmt.Errorf("write layer: %w", err), out.Close())
	}
	return out.Close()
}

func build() (v1.Image, error) {
	layers, err := baseLayers()
	if err != nil {
		return nil, err
	}
	return stack(layers)
}

// baseLayers are the two layers of Write.
func baseLayers() ([]v1.Layer, error) {
	var layers []v1.Layer
	for _, programs := range [][]string{basePrograms, upperPrograms} {
		layer, err := layerOf(programs)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

func stack(layers []v1.Layer) (v1.Image, error) {
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("stack layers: %w", err)
	}
	return mutate.Config(image, v1.Config{Env: []string{"PATH=" + Path, "LANG=C.UTF-8"}})
}

// layerOf packs programs into /bin, with the libraries that they load and the
// folders that a container mounts on.
func layerOf(programs []string) (v1.Layer, error) {
	files := map[string]string{} // place in the image: file on this machine
	for _, p := range programs {
		found, err := exec.LookPath(p)
		if err != nil {
			return nil, fmt.Errorf("find program: %w", err)
		}
		files["bin/"+p] = found
		for _, library := range libraries(found) {
			files[library[1:]] = library
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"bin", "dev", "etc", "lib", "lib64", "proc", "sys", "tmp", "var"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return nil, fmt.Errorf("pack %s: %w", dir, err)
		}
	}
	places := make([]string, 0, len(files))
	for place := range files {
		places = append(places, place)
	}
	slices.Sort(places)
	for _, place := range places {
		if err := add(w, place, files[place]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

var libraryPath = regexp.MustCompile(`(?m)\s(/\S+) \(0x`)

// libraries lists what the dynamic linker loads for a program; none for a
// static one.
func libraries(program string) []string {
	out, err := exec.Command("ldd", program).Output() //nolint:noctx // a program of this machine
	if err != nil {
		return nil
	}
	var found []string
	for _, m := range libraryPath.FindAllSubmatch(out, -1) {
		found = append(found, path.Clean(string(m[1])))
	}
	return found
}

func add(w *tar.Writer, place, file string) error {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return fmt.Errorf("pack %s: %w", place, err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("pack %s: %w", place, err)
	}
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: place, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", place, err)
	}
	return nil
}
