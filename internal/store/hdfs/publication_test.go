package hdfs_test

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
	"github.com/stormcell/stormcell/internal/store/publish"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// dying is a content in whose middle a DataNode dies, when it is read first.
type dying struct {
	*bytes.Reader
	kill func()
}

// ReadAt implements io.ReaderAt.
func (d *dying) ReadAt(p []byte, off int64) (int, error) {
	if d.kill != nil && off >= d.Size()/2 {
		d.kill()
		d.kill = nil
	}
	return d.Reader.ReadAt(p, off)
}

// A layer arrives although a DataNode dies that is taking it. The library does
// not go on with the others, so the layer is uploaded anew.
func TestDataNodeDeathWhileLayerIsPut(t *testing.T) {
	s, _ := newStore(t)
	content := noise(4 * blockSize)
	l := publish.Layer{
		Descriptor: manifest.Descriptor{Digest: digest.FromString("archive")}, DiffID: digest.FromString("tar"),
	}
	source := &dying{Reader: bytes.NewReader(content), kill: func() { kill(t, cluster.DataNode1) }}
	p := publish.Publisher{Store: s}
	id, err := p.PutLayer(t.Context(), l, source, source.Size(), "zstd", nil)
	check(t, err)
	if source.kill != nil || id.Digest != digest.FromBytes(content) {
		t.Errorf("the DataNode lives, or the identity is wrong: %+v", id)
	}
	f, err := s.Open(t.Context(), manifest.LayerFile(l.Digest))
	check(t, err)
	defer f.Close()
	wantRead(t, f, content, 0)
}
