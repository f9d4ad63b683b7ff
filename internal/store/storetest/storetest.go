// Package storetest is the conformance suite of image stores, for every store.Writer.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/manifest"
)

// file is a name that the suite writes.
const file = manifest.LayersDir + "/some.sqsh"

// Run checks the stores that create returns: each call gives another one, whose
// root does not exist yet.
func Run(t *testing.T, create func(t *testing.T) store.Writer) {
	t.Helper()
	bare := map[string]func(*testing.T, store.Writer){
		"a store without a root is unavailable": noRoot,
		"bootstrap makes an empty store":        bootstrap,
	}
	for name, check := range bare {
		t.Run(name, func(t *testing.T) { check(t, create(t)) })
	}
	ready := map[string]func(*testing.T, store.Writer){
		"bootstrap keeps what is there":                bootstrapAgain,
		"a file is read as it was written":             readBack,
		"a file has the mode that was asked for":       modes,
		"an upload is seen only once committed":        uploadHidden,
		"an aborted upload leaves nothing":             aborted,
		"uploads of one name do not mix":               twoUploads,
		"a failed upload is never published":           failedUpload,
		"a missing file is not an unavailable store":   missing,
		"a file above the limit is refused":            tooLarge,
		"names that lead elsewhere are refused":        badNames,
		"a folder is not a file":                       folder,
		"ranges are read side by side":                 ranges,
		"nothing is done for an ended context":         endedContext,
		"reads of an open file end with its context":   endedRead,
		"replace writes only over what the caller saw": replace,
		"concurrent replaces lose no update":           replaceConcurrently,
		"remove can be repeated":                       remove,
		"list describes files only, sorted":            list,
		"a file can get another mode":                  chmod,
	}
	for name, check := range ready {
		t.Run(name, func(t *testing.T) {
			s := create(t)
			must(t, s.Bootstrap(t.Context()))
			check(t, s)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want one that wraps %q", err, want)
	}
}

func write(t *testing.T, s store.Writer, name, content string) {
	t.Helper()
	up, err := s.Create(t.Context(), name, store.CreateOptions{})
	must(t, err)
	defer up.Abort()
	_, err = io.WriteString(up, content)
	must(t, err)
	must(t, up.Commit())
}

func wantContent(t *testing.T, s store.Reader, name, want string) {
	t.Helper()
	got, err := s.ReadFile(t.Context(), name, int64(len(want))+100)
	must(t, err)
	if string(got) != want {
		t.Errorf("%s has %q, want %q", name, got, want)
	}
}

func noRoot(t *testing.T, s store.Writer) {
	_, err := s.ReadFile(t.Context(), manifest.TagFile, 10)
	wantErr(t, err, store.ErrUnavailable)
	wantErr(t, err, store.ErrNoRoot)
	if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v says that a file is missing, of a store that cannot be seen", err)
	}
	_, err = s.Stat(t.Context(), manifest.TagFile)
	wantErr(t, err, store.ErrUnavailable)
}

func bootstrap(t *testing.T, s store.Writer) {
	must(t, s.Bootstrap(t.Context()))
	for _, dir := range []string{manifest.LayersDir, manifest.ConfigDir, manifest.ManifestsDir, manifest.UnreferencedDir} {
		names, err := s.List(t.Context(), dir)
		if err != nil || len(names) > 0 {
			t.Errorf("%s: %v, %v, want an empty folder", dir, names, err)
		}
	}
	wantContent(t, s, manifest.TagFile, "")
	files, err := s.List(t.Context(), ".")
	if err != nil || !slices.Equal(namesOf(files), []string{manifest.TagFile}) {
		t.Errorf("root has %v, %v, want the tag file alone", files, err)
	}
}

func bootstrapAgain(t *testing.T, s store.Writer) {
	write(t, s, manifest.TagFile, "tags")
	write(t, s, file, "layer")
	must(t, s.Bootstrap(t.Context()))
	wantContent(t, s, manifest.TagFile, "tags")
	wantContent(t, s, file, "layer")
}

func readBack(t *testing.T, s store.Writer) {
	write(t, s, file, "old content that is longer")
	write(t, s, file, "new")
	wantContent(t, s, file, "new")
	info, err := s.Stat(t.Context(), file)
	must(t, err)
	if info.Size != 3 || info.ModTime.IsZero() {
		t.Errorf("%+v, want 3 bytes and a time", info)
	}
}

func modes(t *testing.T, s store.Writer) {
	for _, c := range []struct{ ask, want fs.FileMode }{{0, 0o444}, {0o400, 0o400}, {0o755, 0o755}} {
		up, err := s.Create(t.Context(), file, store.CreateOptions{Mode: c.ask})
		must(t, err)
		must(t, up.Commit())
		if info, err := s.Stat(t.Context(), file); err != nil || info.Mode.Perm() != c.want {
			t.Errorf("mode %v: got %v, %v, want %v", c.ask, info.Mode, err, c.want)
		}
	}
}

func uploadHidden(t *testing.T, s store.Writer) {
	up, err := s.Create(t.Context(), file, store.CreateOptions{})
	must(t, err)
	defer up.Abort()
	_, err = io.WriteString(up, "half")
	must(t, err)
	_, err = s.Stat(t.Context(), file)
	wantErr(t, err, fs.ErrNotExist)
	if names, err := s.List(t.Context(), manifest.LayersDir); err != nil || len(names) > 0 {
		t.Errorf("listed %v, %v before the commit", names, err)
	}
	must(t, up.Commit())
	up.Abort()
	wantContent(t, s, file, "half")
}

func aborted(t *testing.T, s store.Writer) {
	write(t, s, file, "before")
	up, err := s.Create(t.Context(), file, store.CreateOptions{})
	must(t, err)
	_, err = io.WriteString(up, "after")
	must(t, err)
	up.Abort()
	up.Abort()
	wantContent(t, s, file, "before")
	if up.Commit() == nil {
		t.Error("an aborted upload could be committed")
	}
	wantContent(t, s, file, "before")
}

func twoUploads(t *testing.T, s store.Writer) {
	var ups []store.Upload
	for range 2 {
		up, err := s.Create(t.Context(), file, store.CreateOptions{})
		must(t, err)
		defer up.Abort()
		ups = append(ups, up)
	}
	for i, up := range ups {
		_, err := up.Write(bytes.Repeat([]byte{'a' + byte(i)}, 10))
		must(t, err)
	}
	must(t, ups[0].Commit())
	wantContent(t, s, file, "aaaaaaaaaa")
	must(t, ups[1].Commit())
	wantContent(t, s, file, "bbbbbbbbbb")
}

func failedUpload(t *testing.T, s store.Writer) {
	ctx, cancel := context.WithCancel(t.Context())
	up, err := s.Create(ctx, file, store.CreateOptions{})
	must(t, err)
	_, err = io.WriteString(up, "half")
	must(t, err)
	cancel()
	// io.Copy looks for ways around Write, such as ReadFrom.
	_, err = io.Copy(up, io.LimitReader(zeros{}, 1<<20))
	wantErr(t, err, context.Canceled)
	if up.Commit() == nil {
		t.Error("an upload with a failed write could be committed")
	}
	_, err = s.Stat(t.Context(), file)
	wantErr(t, err, fs.ErrNotExist)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func missing(t *testing.T, s store.Writer) {
	_, readErr := s.ReadFile(t.Context(), file, 10)
	_, statErr := s.Stat(t.Context(), file)
	_, openErr := s.Open(t.Context(), file)
	_, listErr := s.List(t.Context(), "nothing")
	for what, err := range map[string]error{"read": readErr, "stat": statErr, "open": openErr, "list": listErr} {
		wantErr(t, err, fs.ErrNotExist)
		if errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v says that the store is away", what, err)
		}
	}
}

func tooLarge(t *testing.T, s store.Writer) {
	write(t, s, file, "0123456789")
	if got, err := s.ReadFile(t.Context(), file, 10); err != nil || len(got) != 10 {
		t.Errorf("at the limit: %q, %v", got, err)
	}
	_, err := s.ReadFile(t.Context(), file, 9)
	wantErr(t, err, store.ErrTooLarge)
}

// each calls every method that takes the name of a file.
func each(ctx context.Context, s store.Writer, name string) map[string]error {
	_, read := s.ReadFile(ctx, name, 10)
	_, stat := s.Stat(ctx, name)
	_, open := s.Open(ctx, name)
	_, create := s.Create(ctx, name, store.CreateOptions{})
	return map[string]error{
		"read": read, "stat": stat, "open": open, "create": create,
		"replace": s.Replace(ctx, name, nil, []byte("x"), store.CreateOptions{}),
		"remove":  s.Remove(ctx, name),
		"chmod":   s.Chmod(ctx, name, 0o444),
	}
}

func badNames(t *testing.T, s store.Writer) {
	for _, name := range []string{
		"", ".", "..", "/", "/etc/passwd", "../x", "layers/../../x", "layers/../x", "layers//x", "layers/", "./x", "layers/./x",
	} {
		for what, err := range each(t.Context(), s, name) {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s of %q: %v, want %v", what, name, err, fs.ErrInvalid)
			}
		}
	}
	if _, err := s.List(t.Context(), "../"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("list of ../: %v, want %v", err, fs.ErrInvalid)
	}
}

func folder(t *testing.T, s store.Writer) {
	_, readErr := s.ReadFile(t.Context(), manifest.LayersDir, 10)
	_, statErr := s.Stat(t.Context(), manifest.LayersDir)
	_, openErr := s.Open(t.Context(), manifest.LayersDir)
	for _, err := range []error{readErr, statErr, openErr, s.Remove(t.Context(), manifest.LayersDir)} {
		wantErr(t, err, store.ErrNotFile)
	}
	if _, err := s.List(t.Context(), manifest.LayersDir); err != nil {
		t.Errorf("the folder is gone: %v", err)
	}
}

func ranges(t *testing.T, s store.Writer) {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i / 251)
	}
	write(t, s, file, string(content))
	f, err := s.Open(t.Context(), file)
	must(t, err)
	defer f.Close()
	if f.Size() != int64(len(content)) {
		t.Fatalf("size %d, want %d", f.Size(), len(content))
	}
	got := make([]byte, len(content))
	var wg sync.WaitGroup
	const part = 1 << 17
	for at := 0; at < len(got); at += part {
		wg.Go(func() {
			if n, err := f.ReadAt(got[at:at+part], int64(at)); n != part || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("range at %d: %d bytes, %v", at, n, err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(got, content) {
		t.Error("the ranges do not make up the file")
	}
	if n, err := f.ReadAt(make([]byte, 10), f.Size()-4); n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("past the end: %d, %v, want 4 and EOF", n, err)
	}
}

func endedContext(t *testing.T, s store.Writer) {
	write(t, s, file, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := each(ctx, s, file)
	_, errs["list"] = s.List(ctx, manifest.LayersDir)
	errs["bootstrap"] = s.Bootstrap(ctx)
	for what, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", what, err, context.Canceled)
		}
	}
	wantContent(t, s, file, "x")
}

func endedRead(t *testing.T, s store.Writer) {
	write(t, s, file, "x")
	ctx, cancel := context.WithCancel(t.Context())
	f, err := s.Open(ctx, file)
	must(t, err)
	defer f.Close()
	cancel()
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, context.Canceled)
}

func remove(t *testing.T, s store.Writer) {
	write(t, s, file, "x")
	must(t, s.Remove(t.Context(), file))
	_, err := s.Stat(t.Context(), file)
	wantErr(t, err, fs.ErrNotExist)
	must(t, s.Remove(t.Context(), file))
	must(t, s.Remove(t.Context(), "nothing/here"))
}

func list(t *testing.T, s store.Writer) {
	want := []string{"a", "b", "c"}
	for _, name := range []string{"c", "a", "b"} {
		write(t, s, manifest.ManifestsDir+"/"+name, name)
	}
	got, err := s.List(t.Context(), manifest.ManifestsDir)
	if err != nil || !slices.Equal(namesOf(got), want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, e := range got {
		if info, err := s.Stat(t.Context(), manifest.ManifestsDir+"/"+e.Name); err != nil || info != e.Info {
			t.Errorf("%s is listed as %+v, Stat gives %+v, %v", e.Name, e.Info, info, err)
		}
	}
	write(t, s, "another", "x")
	got, err = s.List(t.Context(), ".")
	if want = []string{"another", manifest.TagFile}; err != nil || !slices.Equal(namesOf(got), want) {
		t.Errorf("root: %v, %v, want %v", got, err, want)
	}
}

func namesOf(files []store.Entry) []string {
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

func chmod(t *testing.T, s store.Writer) {
	write(t, s, file, "x")
	for _, mode := range []fs.FileMode{0o400, 0o644} {
		must(t, s.Chmod(t.Context(), file, mode))
		if info, err := s.Stat(t.Context(), file); err != nil || info.Mode != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode, err, mode)
		}
	}
	wantContent(t, s, file, "x")
	wantErr(t, s.Chmod(t.Context(), "layers/none", 0o444), fs.ErrNotExist)
	wantErr(t, s.Chmod(t.Context(), manifest.LayersDir, 0o444), store.ErrNotFile)
}
