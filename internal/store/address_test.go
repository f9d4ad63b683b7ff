package store_test

import (
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in   string
		want store.Address
		err  string // a part of the error
	}{
		{in: "/srv/containers", want: store.Address{Scheme: "file", Path: "/srv/containers"}},
		{in: "/srv//a/./containers/", want: store.Address{Scheme: "file", Path: "/srv/a/containers"}},
		{in: "/srv/100%/a?b#c", want: store.Address{Scheme: "file", Path: "/srv/100%/a?b#c"}},
		{in: "file:///srv/containers/", want: store.Address{Scheme: "file", Path: "/srv/containers"}},
		{in: "file://localhost/srv", want: store.Address{Scheme: "file", Path: "/srv"}},
		{in: "file:///srv/a%20b", want: store.Address{Scheme: "file", Path: "/srv/a b"}},
		{in: "hdfs://host:8020/containers/", want: store.Address{Scheme: "hdfs", Host: "host:8020", Path: "/containers"}},
		{in: "hdfs://nameservice/a/b", want: store.Address{Scheme: "hdfs", Host: "nameservice", Path: "/a/b"}},
		{in: "HDFS://host/a", want: store.Address{Scheme: "hdfs", Host: "host", Path: "/a"}},
		{in: "", err: "scheme must be file or hdfs"},
		{in: "srv/containers", err: "scheme must be file or hdfs"},
		{in: "/", err: "root folder"},
		{in: "/a/../..", err: "root folder"},
		{in: "file:///", err: "root folder"},
		{in: "hdfs://host:8020", err: "root folder"},
		{in: "file://srv/containers", err: "three slashes"},
		{in: "file:srv", err: "only scheme, host and path"},
		{in: "hdfs:///containers", err: "hdfs://host:port/path"},
		{in: "hdfs://host:port/containers", err: "invalid port"},
		{in: "hdfs://user@host/containers", err: "only scheme, host and path"},
		{in: "hdfs://host/a?b=c", err: "only scheme, host and path"},
		{in: "hdfs://host/a#b", err: "only scheme, host and path"},
		{in: "s3://bucket/a", err: "scheme must be file or hdfs"},
		{in: "file:///a%00b", err: "control characters"},
		{in: "/a\nb", err: "control characters"},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := store.ParseAddress(c.in)
			if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, %v, want %+v, %q", got, err, c.want, c.err)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"/srv/a b", "file:///srv/100%25", "hdfs://ns:8020/a//b/../c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := store.ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := store.ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%q is %+v; its URL %q is %+v, %v", s, a, a.String(), again, err)
		}
		if !strings.HasPrefix(a.Path, "/") || a.Path == "/" || strings.Contains(a.Path+"/", "/../") {
			t.Errorf("%q has the path %q", s, a.Path)
		}
	})
}
