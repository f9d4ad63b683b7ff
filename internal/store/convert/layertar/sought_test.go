package layertar_test

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"

	"github.com/stormcell/stormcell/internal/store/convert/layertar"
)

// TestSoughtFile looks for a file in both ways: while rewriting, and by
// reading only.
func TestSoughtFile(t *testing.T) {
	const sought = "etc/version"
	for name, tt := range map[string]struct {
		header tar.Header
		want   bool
	}{
		"there":              {tar.Header{Typeflag: tar.TypeReg, Name: "etc/version", Size: 1}, true},
		"with a dot":         {tar.Header{Typeflag: tar.TypeReg, Name: "./etc//version", Size: 1}, true},
		"empty":              {tar.Header{Typeflag: tar.TypeReg, Name: "etc/version"}, false},
		"a directory":        {tar.Header{Typeflag: tar.TypeDir, Name: "etc/version/"}, false},
		"a symbolic link":    {tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/version", Linkname: "x"}, false},
		"a whiteout":         {tar.Header{Typeflag: tar.TypeReg, Name: "etc/.wh.version"}, false},
		"in another folder":  {tar.Header{Typeflag: tar.TypeReg, Name: "usr/etc/version", Size: 1}, false},
		"of a longer name":   {tar.Header{Typeflag: tar.TypeReg, Name: "etc/version2", Size: 1}, false},
		"in upper-case form": {tar.Header{Typeflag: tar.TypeReg, Name: "ETC/version", Size: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := w.WriteHeader(&tt.header); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, tt.header.Size)); err != nil {
				t.Fatal(err)
			}
			w.Close()
			found, err := layertar.Contains(bytes.NewReader(b.Bytes()), sought)
			if err != nil || found != tt.want {
				t.Errorf("Contains: %v, %v", found, err)
			}
			summary, _, err := layertar.Rewrite(io.Discard, &b, layertar.Limits{Content: 1 << 10, Headers: 1 << 20}, nil, sought)
			if err != nil || summary.Found != tt.want {
				t.Errorf("Rewrite: %v, %v", summary.Found, err)
			}
		})
	}
	if _, err := layertar.Contains(bytes.NewReader(bytes.Repeat([]byte("text"), 999)), sought); err == nil {
		t.Error("text is an archive")
	}
}
