package hdfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
)

// conf writes Hadoop's configuration files with "key=value" pairs.
func conf(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		fmt.Fprintf(&b, "<property><name>%s</name><value>%s</value></property>", key, value)
	}
	for _, name := range []string{"core-site.xml", "hdfs-site.xml"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte("<configuration>"+b.String()+"</configuration>"), 0o600))
	}
	return dir
}

func TestNameNodes(t *testing.T) {
	ha := []string{
		"dfs.nameservices=ns,lone,empty", "dfs.ha.namenodes.ns=a, b",
		"dfs.namenode.rpc-address.ns.a=one:8020", "dfs.namenode.rpc-address.ns.b=two:8020",
		"dfs.namenode.rpc-address.lone=three:9000",
	}
	for _, c := range []struct {
		name, host string
		conf       []string
		want       []string
		err        string
	}{
		{name: "host and port need no configuration", host: "one:9000", want: []string{"one:9000"}},
		{name: "host alone has Hadoop's port", host: "one", want: []string{"one:8020"}},
		{name: "IPv6", host: "[::1]", want: []string{"[::1]:8020"}},
		{name: "name service", host: "ns", conf: ha, want: []string{"one:8020", "two:8020"}},
		{name: "name service of one NameNode", host: "lone", conf: ha, want: []string{"three:9000"}},
		{name: "host that is no name service", host: "one", conf: ha, want: []string{"one:8020"}},
		{name: "port wins over a name service", host: "ns:1", conf: ha, want: []string{"ns:1"}},
		{name: "name service without addresses", host: "empty", conf: ha, err: "dfs.namenode.rpc-address"},
		{name: "Kerberos without a principal", host: "a:1", conf: []string{"hadoop.security.authentication=kerberos"}, err: "dfs.namenode.kerberos.principal"},
		{name: "encryption with keys of its own", host: "a:1", conf: []string{"dfs.encrypt.data.transfer=true"}, err: "set dfs.encrypt.data.transfer.cipher.suites to AES/CTR/NoPadding"},
		{name: "encryption by AES", host: "a:1", conf: []string{"dfs.encrypt.data.transfer=true", "dfs.encrypt.data.transfer.cipher.suites=AES/CTR/NoPadding"}, want: []string{"a:1"}},
		{name: "malformed number", host: "a:1", conf: []string{"dfs.blocksize=many"}, err: `dfs.blocksize is "many"`},
		{name: "number with a unit", host: "a:1", conf: []string{"dfs.blocksize=128m"}, want: []string{"a:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := ""
			if c.conf != nil {
				dir = conf(t, c.conf...)
			}
			got, err := hdfs.NameNodes(dir, c.host)
			if !slices.Equal(got, c.want) || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v, want %q, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestNewRefusals(t *testing.T) {
	secure := conf(t, "hadoop.security.authentication=kerberos", "dfs.namenode.kerberos.principal=nn/_HOST@R")
	for _, c := range []struct {
		name    string
		options hdfs.Options
		env     string // of KRB5CCNAME
		says    string
	}{
		{"no such folder", hdfs.Options{ConfDir: "/none"}, "", "neither core-site.xml nor hdfs-site.xml"},
		{"keytab without a configuration", hdfs.Options{Keytab: "/k", Principal: "p"}, "", "set HADOOP_CONF_DIR"},
		{"keytab without a principal", hdfs.Options{ConfDir: secure, Keytab: "/k"}, "", "give both or neither"},
		{"tickets in the kernel", hdfs.Options{ConfDir: secure}, "KEYRING:persistent:0", "only FILE is supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("KRB5CCNAME", c.env)
			_, err := hdfs.New(store.Address{Scheme: "hdfs", Host: "a:1", Path: "/s"}, c.options)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "hdfs://a:1/s") {
				t.Errorf("%v, want the store's URL and %q", err, c.says)
			}
		})
	}
}

func TestPrincipal(t *testing.T) {
	held := []string{"storm@R", "storm/node1.example.com@R", "hdfs/node1@R", "plain@DEFAULT"}
	for _, c := range []struct{ name, wanted, host, want, err string }{
		{"as it is", "storm@R", "node1", "storm@R", ""},
		{"default realm", "plain", "node1", "plain@DEFAULT", ""},
		{"host's short name", "hdfs/_HOST@R", "node1", "hdfs/node1@R", ""},
		{"host's name without its domain", "storm/_HOST@R", "node1", "storm/node1.example.com@R", ""},
		{"another host", "storm/_HOST@R", "node", "", "storm/node@R"},
		{"another realm", "storm@S", "node1", "", "only of hdfs/node1@R"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := hdfs.Principal(c.wanted, c.host, held...)
			if c.err == "" && (got != c.want || err != nil) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s, %v, want %s, %q", got, err, c.want, c.err)
			}
		})
	}
}

// entry is a file in a listing, that old.
type entry struct {
	os.FileInfo
	name string
	age  time.Duration
}

func (e entry) Name() string       { return e.name }
func (e entry) ModTime() time.Time { return time.Unix(1e9, 0).Add(-e.age) }

func TestDeadUploads(t *testing.T) {
	const day = 24 * time.Hour
	found := []os.FileInfo{
		entry{name: ".upload-x.OWN"},
		entry{name: ".upload-x.YOUNG", age: day - time.Hour},
		entry{name: ".upload-x.DEAD", age: day + time.Hour},
		entry{name: ".upload-xy.DEAD", age: 2 * day},
		entry{name: ".replace-x.DEAD", age: 2 * day},
		entry{name: "x", age: 2 * day},
	}
	if got := hdfs.DeadUploads(found, "x", ".upload-x.OWN"); !slices.Equal(got, []string{".upload-x.DEAD"}) {
		t.Errorf("%q, want the old one of that name", got)
	}
}

func FuzzRefusal(f *testing.F) {
	header := protowire.AppendTag(nil, 2, protowire.VarintType)
	header = protowire.AppendVarint(header, 2)
	header = protowire.AppendTag(header, 4, protowire.BytesType)
	header = protowire.AppendString(header, "some.Exception")
	f.Add(header)
	f.Add([]byte{0x10})
	f.Fuzz(func(t *testing.T, header []byte) {
		if err := hdfs.Refusal(header); err != nil && err.Error() == "" {
			t.Error("a refusal says nothing")
		}
	})
}
