package rootfs

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// id is the digest of a layer called name.
func id(name string) digest.Digest { return digest.FromString(name) }

func local(names ...string) []manifest.LocalLayer {
	var layers []manifest.LocalLayer
	for _, n := range names {
		layers = append(layers, manifest.LocalLayer{Digest: id(n), Path: "/cache/" + n})
	}
	return layers
}

func TestNewPlan(t *testing.T) {
	dirs := layout{root: "/run/s"}
	mnt := func(name string) string { return "/run/s/layers/" + id(name).Encoded() + "/mnt" }
	got, err := newPlan(dirs, "6700-a", local("base", "middle", "base", "top"))
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{
		Layers: []Layer{
			{id("middle"), "/cache/middle", mnt("middle")},
			{id("base"), "/cache/base", mnt("base")},
			{id("top"), "/cache/top", mnt("top")},
		},
		Dirs: []Dir{
			{"/run/s/workers/6700-a", 0o700},
			{"/run/s/workers/6700-a/rootfs", 0o700},
			{"/run/s/workers/6700-a/upper", 0o755},
			{"/run/s/workers/6700-a/work", 0o700},
		},
		Overlay: Overlay{
			Lower:  []string{mnt("top"), mnt("base"), mnt("middle")},
			Upper:  "/run/s/workers/6700-a/upper",
			Work:   "/run/s/workers/6700-a/work",
			Target: "/run/s/workers/6700-a/rootfs",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	four := []digest.Digest{id("base"), id("middle"), id("base"), id("top")}
	if diff := cmp.Diff(got.digests(), unique(four)); diff != "" {
		t.Errorf("unique disagrees with the plan:\n%s", diff)
	}
}

func TestNewPlanRefuses(t *testing.T) {
	many := make([]manifest.LocalLayer, manifest.MaxLayers+1)
	for i := range many {
		many[i] = local(strconv.Itoa(i))[0]
	}
	for name, c := range map[string]struct {
		owner  string
		layers []manifest.LocalLayer
	}{
		"no layers":        {"6700-a", nil},
		"too many layers":  {"6700-a", many},
		"owner leads out":  {"..", local("a")},
		"owner is a path":  {"a/b", local("a")},
		"owner is empty":   {"", local("a")},
		"owner is hidden":  {".a", local("a")},
		"owner with colon": {"a:b", local("a")},
		"owner is long":    {strings.Repeat("a", 129), local("a")},
		"digest leads out": {"a", []manifest.LocalLayer{{Digest: "sha256:../../x"}}},
		"digest of a kind": {"a", []manifest.LocalLayer{{Digest: digest.Digest("sha512:" + strings.Repeat("a", 128))}}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newPlan(layout{root: "/run/s"}, c.owner, c.layers); !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v, want ErrInvalid", err)
			}
		})
	}
}

func TestSurplus(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	used := func(name string) mountedLayer { return mountedLayer{digest: id(name), used: at(0)} }
	idle := func(name string, n int) mountedLayer { return mountedLayer{digest: id(name), idle: true, used: at(n)} }
	lost := func(name string, n int) mountedLayer {
		return mountedLayer{digest: id(name), idle: true, deleted: true, used: at(n)}
	}
	for name, c := range map[string]struct {
		mounted []mountedLayer
		keep    int
		want    []digest.Digest
	}{
		"nothing":                      {nil, 0, nil},
		"within the limit":             {[]mountedLayer{used("a"), idle("b", 1)}, 2, nil},
		"oldest first":                 {[]mountedLayer{idle("c", 3), idle("a", 1), idle("b", 2)}, 1, []digest.Digest{id("a"), id("b")}},
		"never one in use":             {[]mountedLayer{used("a"), used("b"), idle("c", 1)}, 0, []digest.Digest{id("c")}},
		"users fill the limit":         {[]mountedLayer{used("a"), used("b"), idle("c", 1)}, 2, []digest.Digest{id("c")}},
		"without a file at once":       {[]mountedLayer{idle("a", 1), lost("b", 2)}, 9, []digest.Digest{id("b")}},
		"without a file count as gone": {[]mountedLayer{idle("a", 1), idle("c", 2), lost("b", 3)}, 2, []digest.Digest{id("b")}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, surplus(c.mounted, c.keep)); diff != "" {
				t.Errorf("surplus (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSift(t *testing.T) {
	dirs := layout{root: "/run/s"}
	old := time.Unix(7, 0)
	mount := func(kind, path string) *mountinfo.Info { return &mountinfo.Info{FSType: kind, Mountpoint: path} }
	f := found{
		mounts: []*mountinfo.Info{
			mount("tmpfs", "/run/s"),
			mount("squashfs", dirs.layerMnt(id("base"))),
			mount("squashfs", dirs.layerMnt(id("idle"))),
			mount("tmpfs", dirs.layerMnt(id("odd"))),
			mount("overlay", dirs.rootfs("alive")),
			mount("tmpfs", dirs.owner("alive")+"/bundle"),
			mount("overlay", dirs.rootfs("dead")),
			mount("tmpfs", dirs.rootfs("dead")+"/tmp"),
			mount("tmpfs", dirs.owner("dead")+"/bundle"),
			mount("tmpfs", dirs.rootfs("replaced")),
			mount("tmpfs", "/run/s/other"),
		},
		owners: []string{"alive", "dead", "rebooted", "replaced", ".hidden"},
		layers: map[string]time.Time{
			id("base").Encoded(): old, id("idle").Encoded(): old, id("odd").Encoded(): old, id("empty").Encoded(): old, "lock": old,
		},
	}
	live := map[string][]digest.Digest{"alive": {id("base")}, "rebooted": {id("base")}, "replaced": {id("base")}}
	got := sift(dirs, f, live)
	if diff := cmp.Diff([]string{
		dirs.rootfs("replaced"), dirs.owner("dead") + "/bundle", dirs.rootfs("dead") + "/tmp", dirs.rootfs("dead"), dirs.layerMnt(id("odd")),
	}, got.unmount); diff != "" {
		t.Errorf("unmount (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"alive"}, got.owners); diff != "" {
		t.Errorf("adopt (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"dead", "rebooted", "replaced"}, got.strayOwners); diff != "" {
		t.Errorf("stray owners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[digest.Digest]time.Time{id("base"): old, id("idle"): old}, got.layers); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	strays := map[digest.Digest]bool{}
	for _, d := range got.strayLayers {
		strays[d] = true
	}
	if diff := cmp.Diff(map[digest.Digest]bool{id("odd"): true, id("empty"): true}, strays); diff != "" {
		t.Errorf("stray layers (-want +got):\n%s", diff)
	}
}
