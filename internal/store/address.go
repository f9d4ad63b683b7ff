package store

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
)

// Address is a parsed store URL: where the root of a store lies.
type Address struct {
	// Scheme is "file" or "hdfs".
	Scheme string
	// Host is the HDFS name service or host:port; empty for "file".
	Host string
	// Path is the absolute, clean path of the root.
	Path string
}

// ParseAddress reads a store URL: file:///path, hdfs://host:port/path,
// hdfs://nameservice/path, or an absolute path, which means file.
func ParseAddress(s string) (Address, error) {
	u := &url.URL{Scheme: "file", Path: s}
	if !strings.HasPrefix(s, "/") {
		var err error
		if u, err = url.Parse(s); err != nil {
			return Address{}, fmt.Errorf("store URL %q: %w", s, err)
		}
	}
	a := Address{Scheme: u.Scheme, Host: u.Host, Path: path.Clean("/" + u.Path)}
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "":
		return Address{}, fmt.Errorf("store URL %q: only scheme, host and path are allowed", s)
	case a.Scheme == "file" && a.Host != "" && a.Host != "localhost":
		return Address{}, fmt.Errorf("store URL %q: write file:///path, with three slashes", s)
	case a.Scheme == "hdfs" && a.Host == "":
		return Address{}, fmt.Errorf("store URL %q: write hdfs://host:port/path or hdfs://nameservice/path", s)
	case a.Scheme != "file" && a.Scheme != "hdfs":
		return Address{}, fmt.Errorf("store URL %q: the scheme must be file or hdfs", s)
	case strings.ContainsFunc(a.Host+a.Path, unicode.IsControl):
		return Address{}, fmt.Errorf("store URL %q: control characters are not allowed", s)
	case a.Path == "/":
		return Address{}, fmt.Errorf("store URL %q: the root folder of a file system cannot be a store", s)
	}
	if a.Scheme == "file" {
		a.Host = ""
	}
	return a, nil
}

// String writes the address as a URL that ParseAddress reads back.
func (a Address) String() string {
	u := url.URL{Path: a.Path}
	return a.Scheme + "://" + a.Host + u.EscapedPath()
}
