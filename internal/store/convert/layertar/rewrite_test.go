package layertar_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/store/convert/layertar"
)

// limits are large enough for every test that is not about them.
var limits = layertar.Limits{Content: 1 << 20, Headers: 1 << 20}

// entry is one entry of a test archive, written without ceremony.
type entry struct {
	name string
	kind byte // 0 is a regular file
	body string
	link string
	mode int64
	pax  map[string]string
	uid  int
	dev  [2]int64
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{
			Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, Uid: e.uid, Size: int64(len(e.body)),
			ModTime: time.Unix(1700000000, 0), PAXRecords: e.pax, Devmajor: e.dev[0], Devminor: e.dev[1],
			Uname: "games", Gname: "games", // must not be looked up anywhere
		}
		switch e.kind {
		case 0:
			h.Typeflag = tar.TypeReg
		case tar.TypeXGlobalHeader: // the writer wants nothing else set
			h = &tar.Header{Typeflag: e.kind, PAXRecords: e.pax}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rewrite makes as many passes as it takes and returns the output as lines,
// and the number of passes.
func rewrite(content []byte, limits layertar.Limits) (lines []string, passes int, s layertar.Summary, err error) {
	var plan layertar.Plan
	for {
		passes++
		var out bytes.Buffer
		s, plan, err = layertar.Rewrite(&out, bytes.NewReader(content), limits, plan, "")
		if err != nil || plan == nil {
			if err == nil {
				lines, err = list(out.Bytes())
			}
			return lines, passes, s, err
		}
	}
}

// list writes each entry of an archive as a line.
func list(content []byte) ([]string, error) {
	var lines []string
	in := tar.NewReader(bytes.NewReader(content))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the output is no archive: %w", err)
		}
		if h.Uname != "" || h.Gname != "" {
			return nil, fmt.Errorf("%s has owner names", h.Name)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		line := fmt.Sprintf("%c %s", h.Typeflag, h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			line += " " + string(body)
		case tar.TypeLink, tar.TypeSymlink:
			line += " -> " + h.Linkname
		case tar.TypeChar, tar.TypeBlock:
			line += fmt.Sprintf(" %d:%d", h.Devmajor, h.Devminor)
		}
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if x, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				line = fmt.Sprintf("%s %s=%s", line, x, h.PAXRecords[key])
			}
		}
		lines = append(lines, line)
	}
}

const (
	dir     = tar.TypeDir
	symlink = tar.TypeSymlink
	link    = tar.TypeLink
	opaque  = " trusted.overlay.opaque=y"
)

func TestRewrite(t *testing.T) {
	tests := map[string]struct {
		entries []entry
		want    []string
		passes  int // 0 is 1
	}{
		"an empty layer": {},
		"files first, directories at the end": {
			entries: []entry{{name: "b", kind: dir}, {name: "b/f", body: "1"}, {name: "a", body: "2"}},
			want:    []string{"0 b/f 1", "0 a 2", "5 b"},
		},
		"missing parents are made": {
			entries: []entry{{name: "x/y/f", body: "1"}},
			want:    []string{"0 x/y/f 1", "5 x", "5 x/y"},
		},
		"names are cleaned": {
			entries: []entry{{name: "./a", body: "1"}, {name: "/b", body: "2"}, {name: "c/../d", body: "3"}, {name: "./", kind: dir}},
			want:    []string{"0 a 1", "0 b 2", "0 d 3"},
		},
		"a whiteout": {
			entries: []entry{{name: "d/.wh.gone"}},
			want:    []string{"5 d", "3 d/gone 0:0"},
		},
		"a whiteout in any form": {
			entries: []entry{{name: ".wh.a", kind: link, link: ".wh..wh.aufs"}, {name: ".wh.b", kind: symlink, link: "x"}, {name: "c", kind: tar.TypeChar}},
			want:    []string{"3 a 0:0", "3 b 0:0", "3 c 0:0"},
		},
		"an opaque directory, marker last": {
			entries: []entry{{name: "d", kind: dir}, {name: "d/f", body: "1"}, {name: "d/.wh..wh..opq"}},
			want:    []string{"0 d/f 1", "5 d" + opaque},
		},
		"an opaque directory, marker first": {
			entries: []entry{{name: "d/.wh..wh..opq"}, {name: "d", kind: dir}},
			want:    []string{"5 d" + opaque},
		},
		"an opaque directory without an entry": {
			entries: []entry{{name: "d/.wh..wh..opq"}},
			want:    []string{"5 d" + opaque},
		},
		"an entry wins over the whiteout before it": {
			entries: []entry{{name: ".wh.f"}, {name: "f", body: "new"}},
			want:    []string{"0 f new"},
		},
		"an entry wins over the whiteout after it": {
			entries: []entry{{name: "f", body: "new"}, {name: ".wh.f"}},
			want:    []string{"0 f new"},
		},
		"a directory made anew is opaque": {
			entries: []entry{{name: ".wh.d"}, {name: "d", kind: dir}, {name: "d/f", body: "1"}},
			want:    []string{"0 d/f 1", "5 d" + opaque},
		},
		"a directory made anew without an entry is opaque": {
			entries: []entry{{name: "d/f", body: "1"}, {name: ".wh.d"}},
			want:    []string{"0 d/f 1", "5 d" + opaque},
		},
		"the metadata of AUFS is dropped": {
			entries: []entry{{name: ".wh..wh.aufs"}, {name: ".wh..wh.plnk", kind: dir}, {name: ".wh..wh.plnk/1.2", body: "x"}, {name: ".wh..wh.orph", kind: dir}},
		},
		"a hard link into the metadata of AUFS has the content": {
			entries: []entry{{name: ".wh..wh.plnk", kind: dir}, {name: ".wh..wh.plnk/1.2", body: "x"}, {name: "f", kind: link, link: ".wh..wh.plnk/1.2"}, {name: "g", kind: link, link: "f"}},
			want:    []string{"0 f x", "1 g -> f"},
			passes:  2,
		},
		"the last of two files of a name": {
			entries: []entry{{name: "f", body: "old"}, {name: "f", body: "new"}},
			want:    []string{"0 f new"},
			passes:  2,
		},
		"the last of three": {
			entries: []entry{{name: "f", body: "1"}, {name: "f", kind: symlink, link: "x"}, {name: "f", body: "3"}},
			want:    []string{"0 f 3"},
			passes:  2,
		},
		"the last of two directories keeps what is in it": {
			entries: []entry{{name: "d", kind: dir}, {name: "d/f", body: "1"}, {name: "d", kind: dir, pax: map[string]string{"SCHILY.xattr.user.x": "1"}}},
			want:    []string{"0 d/f 1", "5 d user.x=1"},
		},
		"a file in the place of a directory": {
			entries: []entry{{name: "d/e/f", body: "1"}, {name: "d", body: "2"}},
			want:    []string{"0 d 2"},
			passes:  2,
		},
		"a directory in the place of a file": {
			entries: []entry{{name: "d", body: "1"}, {name: "d", kind: dir}, {name: "d/f", body: "2"}},
			want:    []string{"0 d/f 2", "5 d"},
			passes:  2,
		},
		"a symbolic link in the place of an empty directory takes one pass": {
			entries: []entry{{name: "d", kind: dir}, {name: "d", kind: symlink, link: "x"}},
			want:    []string{"2 d -> x"},
		},
		"a hard link after its target": {
			entries: []entry{{name: "f", body: "1"}, {name: "l", kind: link, link: "f"}},
			want:    []string{"0 f 1", "1 l -> f"},
		},
		"a hard link before its target": {
			entries: []entry{{name: "a", kind: link, link: "./f"}, {name: "b", kind: link, link: "/a"}, {name: "f", body: "1"}},
			want:    []string{"0 f 1", "1 a -> f", "1 b -> f"},
		},
		"a hard link keeps the content of a name that is replaced": {
			entries: []entry{{name: "f", body: "old"}, {name: "l", kind: link, link: "f"}, {name: "f", body: "new"}},
			want:    []string{"0 l old", "0 f new"},
			passes:  2,
		},
		"a content whose name goes and comes back": {
			entries: []entry{{name: "f", body: "1"}, {name: "l", kind: link, link: "f"}, {name: "f", kind: symlink, link: "x"}, {name: "f", kind: link, link: "l"}},
			want:    []string{"0 f 1", "1 l -> f"},
			passes:  2,
		},
		"a planned name that is replaced on the way": {
			entries: []entry{
				{name: "x", body: "1"},
				{name: "l", kind: link, link: "x"},
				{name: "l", body: "2"},
				{name: "l", kind: link, link: "x"},
				{name: "x", body: "3"},
				{name: "z", body: "4"},
			},
			want:   []string{"0 l 1", "0 x 3", "0 z 4"},
			passes: 2,
		},
		"hard links to links, devices and pipes": {
			entries: []entry{
				{name: "s", kind: symlink, link: "x"},
				{name: "s2", kind: link, link: "s"},
				{name: "p", kind: tar.TypeFifo},
				{name: "a", kind: link, link: "p"},
			},
			want: []string{"6 a", "1 p -> a", "2 s -> x", "1 s2 -> s"},
		},
		"a hard link to itself": {
			entries: []entry{{name: "f", body: "1"}, {name: "f", kind: link, link: "f"}},
			want:    []string{"0 f 1"},
		},
		"names lead through the layer's own symbolic links": {
			entries: []entry{
				{name: "usr/lib", kind: dir},
				{name: "lib", kind: symlink, link: "usr/lib"},
				{name: "lib/f", body: "1"},
				{name: "abs", kind: symlink, link: "/../usr/../lib"},
				{name: "abs/g", body: "2"},
				{name: "h", kind: link, link: "abs/f"},
			},
			want: []string{"0 usr/lib/f 1", "0 usr/lib/g 2", "2 abs -> /../usr/../lib", "1 h -> usr/lib/f", "2 lib -> usr/lib", "5 usr", "5 usr/lib"},
		},
		"a symbolic link to nothing is made a directory": {
			entries: []entry{{name: "l", kind: symlink, link: "../new/dir"}, {name: "l/f", body: "1"}},
			want:    []string{"0 new/dir/f 1", "2 l -> ../new/dir", "5 new", "5 new/dir"},
		},
		"extended attributes of both forms": {
			entries: []entry{
				{name: "f", pax: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\n=", "SCHILY.xattr.system.posix_acl_access": "x"}},
				{name: "g", pax: map[string]string{"LIBARCHIVE.xattr.user.a%20b": "eA"}},
				{name: "h", pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.x": "1"}},
			},
			want: []string{"0 f  security.capability=\x01\x00\x00\n=", "0 g  user.a b=x", "0 h "},
		},
		"long names and large numbers": {
			entries: []entry{
				{name: strings.Repeat("n", 255) + "/f", body: "1", uid: 1<<32 - 1},
				{name: "l", kind: symlink, link: strings.Repeat("t/", 2000)},
				{name: "m", kind: link, link: strings.Repeat("n", 255) + "/f"},
				{name: "dev", kind: tar.TypeBlock, dev: [2]int64{4095, 1<<19 - 1}},
			},
			want: []string{
				"0 " + strings.Repeat("n", 255) + "/f 1", "4 dev 4095:524287", "2 l -> " + strings.Repeat("t/", 2000),
				"1 m -> " + strings.Repeat("n", 255) + "/f", "5 " + strings.Repeat("n", 255),
			},
		},
		"comments of git are skipped": {
			entries: []entry{{kind: tar.TypeXGlobalHeader, name: "pax_global_header", pax: map[string]string{"comment": "abc"}}, {name: "f", body: "1"}},
			want:    []string{"0 f 1"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, passes, _, err := rewrite(archive(t, tt.entries...), limits)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if want := max(1, tt.passes); passes != want {
				t.Errorf("%d passes, want %d", passes, want)
			}
		})
	}
}

func TestRewriteRefuses(t *testing.T) {
	tests := map[string]struct {
		entries []entry
		limits  layertar.Limits
		want    error
		says    string
	}{
		"a name that leads out":            {entries: []entry{{name: "a/../../b"}}, want: layertar.ErrMalformed, says: `leads out of the layer`},
		"a hard link that leads out":       {entries: []entry{{name: "a", kind: link, link: "../b"}}, want: layertar.ErrMalformed},
		"a hard link to nothing":           {entries: []entry{{name: "a", kind: link, link: "b"}}, want: layertar.ErrMalformed, says: `"a": malformed layer: a hard link to "b"`},
		"a hard link to a whiteout":        {entries: []entry{{name: ".wh.b"}, {name: "a", kind: link, link: ".wh.b"}}, want: layertar.ErrMalformed},
		"a hard link to a directory":       {entries: []entry{{name: "d", kind: dir}, {name: "a", kind: link, link: "d"}}, want: layertar.ErrMalformed},
		"a hard link to the root":          {entries: []entry{{name: "a", kind: link, link: "/"}}, want: layertar.ErrMalformed},
		"a later link to a directory":      {entries: []entry{{name: "a", kind: link, link: "d"}, {name: "d", kind: dir}}, want: layertar.ErrMalformed},
		"hard links in a circle":           {entries: []entry{{name: "a", kind: link, link: "b"}, {name: "b", kind: link, link: "a"}}, want: layertar.ErrMalformed},
		"symbolic links in a circle":       {entries: []entry{{name: "a", kind: symlink, link: "b"}, {name: "b", kind: symlink, link: "a"}, {name: "a/f"}}, want: layertar.ErrMalformed},
		"a file as a directory":            {entries: []entry{{name: "f", body: "1"}, {name: "f/g", body: "2"}}, want: layertar.ErrMalformed, says: `"f" of its path is not a directory`},
		"a file below a whiteout":          {entries: []entry{{name: ".wh.d/f"}}, want: layertar.ErrMalformed},
		"a whiteout by a symbolic link":    {entries: []entry{{name: "l", kind: symlink, link: ".wh.d"}, {name: "l/f"}}, want: layertar.ErrMalformed},
		"a whiteout of nothing":            {entries: []entry{{name: "d/.wh."}}, want: layertar.ErrMalformed},
		"a whiteout of the parent":         {entries: []entry{{name: "d/.wh..."}}, want: layertar.ErrMalformed},
		"a root that hides all":            {entries: []entry{{name: ".wh..wh..opq"}}, want: layertar.ErrUnsupported, says: "squashed into one"},
		"a root that is no directory":      {entries: []entry{{name: "./", kind: symlink, link: "x"}}, want: layertar.ErrMalformed},
		"a type that is unknown":           {entries: []entry{{name: "f", kind: 'Z'}}, want: layertar.ErrUnsupported},
		"a name that is too long":          {entries: []entry{{name: strings.Repeat("n", 256)}}, want: layertar.ErrUnsupported},
		"a path that is too long":          {entries: []entry{{name: strings.Repeat("n/", 2048) + "f"}}, want: layertar.ErrUnsupported},
		"a long path by symbolic links":    {entries: []entry{{name: "l", kind: symlink, link: strings.Repeat("n/", 2000)}, {name: "l/" + strings.Repeat("m/", 50) + "f"}}, limits: layertar.Limits{Content: 1, Headers: 16 << 20}, want: layertar.ErrUnsupported},
		"a long name by symbolic links":    {entries: []entry{{name: "l", kind: symlink, link: strings.Repeat("n/", 2000)}, {name: "l/" + strings.Repeat("f", 200)}}, limits: layertar.Limits{Content: 1, Headers: 16 << 20}, want: layertar.ErrUnsupported},
		"an empty symbolic link":           {entries: []entry{{name: "l", kind: symlink}}, want: layertar.ErrMalformed},
		"a device that would be garbled":   {entries: []entry{{name: "d", kind: tar.TypeChar, dev: [2]int64{8, 1 << 19}}}, want: layertar.ErrUnsupported},
		"an attribute that is too large":   {entries: []entry{{name: "f", pax: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 65537)}}}, want: layertar.ErrUnsupported},
		"an attribute not in base64":       {entries: []entry{{name: "f", pax: map[string]string{"LIBARCHIVE.xattr.user.x": "!"}}}, want: layertar.ErrMalformed},
		"more content than the limit":      {entries: []entry{{name: "f", body: "12345"}}, limits: layertar.Limits{Content: 4, Headers: 1 << 20}, want: layertar.ErrTooLarge},
		"more names than the limit":        {entries: []entry{{name: "a/b/c/d/e/f/g"}}, limits: layertar.Limits{Content: 1, Headers: 1000}, want: layertar.ErrTooLarge},
		"more attributes than the limit":   {entries: []entry{{name: "f", pax: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 2000)}}}, limits: layertar.Limits{Headers: 1000}, want: layertar.ErrTooLarge},
		"more whiteouts than the limit":    {entries: []entry{{name: ".wh.a"}, {name: ".wh.b"}, {name: ".wh.c"}, {name: ".wh.d"}}, limits: layertar.Limits{Headers: 1000}, want: layertar.ErrTooLarge},
		"an owner beyond squashfs's range": {entries: []entry{{name: "f", uid: 1 << 32}}, want: layertar.ErrUnsupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := tt.limits
			if l == (layertar.Limits{}) {
				l = limits
			}
			_, _, _, err := rewrite(archive(t, tt.entries...), l)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestRewriteAttributes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o40751, ModTime: time.Unix(77, 999), Format: tar.FormatPAX},
		{Typeflag: tar.TypeReg, Name: "past", Mode: 0o106755, Uid: 7, Gid: 8, ModTime: time.Unix(-5, 0), Format: tar.FormatPAX},
		{Typeflag: tar.TypeReg, Name: "future", ModTime: time.Unix(1<<33, 0), Format: tar.FormatPAX},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	var out bytes.Buffer
	s, _, err := layertar.Rewrite(&out, &b, limits, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.RootMode != 0o751 || s.RootMtime != 77 || s.Inodes != 3 {
		t.Errorf("summary %+v", s)
	}
	in := tar.NewReader(&out)
	for _, want := range []tar.Header{{Name: "past", Mode: 0o6755, Uid: 7, Gid: 8, ModTime: time.Unix(0, 0)}, {Name: "future", ModTime: time.Unix(1<<32-1, 0)}} {
		got, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != want.Name || got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || !got.ModTime.Equal(want.ModTime) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestRewriteNotATar(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":      bytes.Repeat([]byte("no archive "), 100),
		"truncated": archive(t, entry{name: "f", body: strings.Repeat("x", 2000)})[:1024],
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := rewrite(content, limits)
			if !errors.Is(err, layertar.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzRewrite checks what holds for any archive that is taken: the output has
// no name twice, none that leads out or is a marker, every parent, and hard
// links only to files before them.
func FuzzRewrite(f *testing.F) {
	f.Add(archive(f, entry{name: "a/b", body: "1"}, entry{name: "l", kind: link, link: "a/b"}, entry{name: "a/.wh..wh..opq"}))
	f.Add(archive(f, entry{name: "s", kind: symlink, link: "../a"}, entry{name: "s/f", body: "1"}, entry{name: "s/.wh.x"}))
	f.Add(archive(f, entry{name: "f", body: "1"}, entry{name: "l", kind: link, link: "f"}, entry{name: "f", kind: dir}, entry{name: "f/x", pax: map[string]string{"SCHILY.xattr.user.x": "1"}}))
	f.Add(archive(f, entry{name: "l", kind: link, link: "m"}, entry{name: "m", kind: tar.TypeFifo}, entry{name: ".wh..wh.plnk/1", body: "x"}))
	f.Fuzz(func(t *testing.T, content []byte) {
		lines, passes, s, err := rewrite(content, limits)
		if err != nil {
			if strings.Contains(err.Error(), "readings differ") || strings.Contains(err.Error(), "the output") {
				t.Fatal(err)
			}
			return
		}
		if passes > 2 {
			t.Fatalf("%d passes", passes)
		}
		checkOutput(t, content, s)
		if again, _, _, _ := rewrite(content, limits); !cmp.Equal(lines, again) {
			t.Fatal("a second time gives another output")
		}
	})
}

func checkOutput(t *testing.T, content []byte, s layertar.Summary) {
	var out bytes.Buffer
	_, plan, _ := layertar.Rewrite(&out, bytes.NewReader(content), limits, nil, "")
	if plan != nil {
		out.Reset()
		if _, _, err := layertar.Rewrite(&out, bytes.NewReader(content), limits, plan, ""); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[string]byte{}
	inodes := uint32(1)
	in := tar.NewReader(&out)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if _, twice := kinds[name]; twice || name == "" || strings.HasPrefix(name, "/") {
			t.Fatalf("name %q twice or absolute", name)
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." || part == ".." || strings.HasPrefix(part, ".wh..wh.") || len(part) > 255 {
				t.Fatalf("name %q", name)
			}
		}
		kinds[name] = h.Typeflag
		if h.Typeflag != tar.TypeLink {
			inodes++
			continue
		}
		if k, ok := kinds[h.Linkname]; !ok || k == tar.TypeDir || k == tar.TypeLink {
			t.Fatalf("hard link %q to %q", name, h.Linkname)
		}
	}
	if inodes != s.Inodes {
		t.Fatalf("%d inodes, the summary says %d", inodes, s.Inodes)
	}
	for name := range kinds {
		if i := strings.LastIndexByte(name, '/'); i >= 0 && kinds[name[:i]] != tar.TypeDir {
			t.Fatalf("%q has no parent directory", name)
		}
	}
}
