// Package securetest tests the store on an HDFS that wants Kerberos and
// whose tickets are short-lived: a cluster of its own, so a package of its own.
package securetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs"
	"github.com/stormcell/stormcell/internal/store/manifest"
	cluster "github.com/stormcell/stormcell/test/hdfs"
)

// ticketLife is how long the tickets of the user storm are good.
const ticketLife = 15 * time.Second

var hadoop *cluster.Cluster

func TestMain(m *testing.M) {
	options := cluster.Options{Secure: true, TicketLife: ticketLife}
	os.Exit(cluster.Main(m, options, func(c *cluster.Cluster) {
		hadoop = c
		os.Setenv("KRB5_CONFIG", c.Krb5Conf())
		// Anybody may make a store.
		if _, err := c.DFS("-chmod", "0777", "/"); err != nil {
			panic(err)
		}
	}))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as are the options of a user's keytab.
func as(c *cluster.Cluster, user string) hdfs.Options {
	return hdfs.Options{ConfDir: c.ConfDir(), Keytab: c.Keytab(user), Principal: c.Principal(user)}
}

func storm() hdfs.Options { return as(hadoop, "storm") }

func open(t *testing.T, root string, o hdfs.Options) *hdfs.Store {
	t.Helper()
	return openAt(t, hadoop, root, o)
}

func openAt(t *testing.T, c *cluster.Cluster, root string, o hdfs.Options) *hdfs.Store {
	t.Helper()
	a, err := store.ParseAddress(c.URL(root))
	check(t, err)
	s, err := hdfs.New(a, o)
	check(t, err)
	return s
}

// newStore returns an empty store that belongs to the user storm.
func newStore(t *testing.T) (*hdfs.Store, string) {
	t.Helper()
	root := "/" + strings.ReplaceAll(t.Name(), "/", "_")
	s := open(t, root, storm())
	check(t, s.Bootstrap(t.Context()))
	return s, root
}

func TestKerberosLogin(t *testing.T) {
	s, root := newStore(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	up, err := s.Create(t.Context(), "layers/x", store.CreateOptions{})
	check(t, err)
	defer up.Abort()
	_, err = io.Copy(up, bytes.NewReader(content))
	check(t, err)
	check(t, up.Commit())
	got, err := s.ReadFile(t.Context(), "layers/x", 1<<21)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v, want what was written", len(got), err)
	}
	words, err := hadoop.DFS("-ls", root+"/layers")
	if err != nil || !strings.Contains(words, " storm ") {
		t.Errorf("the file is not storm's: %s, %v", words, err)
	}
}

// A daemon goes on for longer than its tickets last.
func TestKerberosRenewal(t *testing.T) {
	s, _ := newStore(t)
	// A connection outlives its ticket, so each use is of a new one.
	tick := time.NewTicker(6 * time.Second)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < 2*ticketLife+ticketLife/2; <-tick.C {
		if _, err := s.ReadFile(t.Context(), manifest.TagFile, 10); err != nil {
			t.Fatalf("%v after the login: %v", time.Since(start), err)
		}
	}
}

// writeKeytab makes a keytab with a key that no KDC knows.
func writeKeytab(t *testing.T, name string) string {
	t.Helper()
	kt := keytab.New()
	check(t, kt.AddEntry(name, strings.Split(hadoop.Principal("x"), "@")[1], "secret", time.Now(), 1, 18))
	content, err := kt.Marshal()
	check(t, err)
	path := filepath.Join(t.TempDir(), "keytab")
	check(t, os.WriteFile(path, content, 0o600))
	return path
}

func TestKerberosRefusals(t *testing.T) {
	_, root := newStore(t)
	garbage := filepath.Join(t.TempDir(), "garbage")
	check(t, os.WriteFile(garbage, []byte("no keytab"), 0o600))
	for _, c := range []struct {
		name string
		set  func(t *testing.T, o *hdfs.Options)
		says []string
	}{
		{"principal that is not in the keytab", func(_ *testing.T, o *hdfs.Options) { o.Principal = hadoop.Principal("ghost") }, []string{"has no key of ghost@", "only of storm@"}},
		{"principal that the KDC does not know", func(t *testing.T, o *hdfs.Options) {
			o.Keytab, o.Principal = writeKeytab(t, "ghost"), hadoop.Principal("ghost")
		}, []string{"as ghost@", "check the principal"}},
		{"key that is not the principal's", func(t *testing.T, o *hdfs.Options) { o.Keytab = writeKeytab(t, "storm") }, []string{"as storm@", "current key"}},
		{"keytab that is none", func(_ *testing.T, o *hdfs.Options) { o.Keytab = garbage }, []string{"keytab " + garbage}},
		{"keytab that cannot be read", func(t *testing.T, o *hdfs.Options) { o.Keytab = t.TempDir() }, []string{"keytab /", "is a directory"}},
		{"no keytab where one should be", func(_ *testing.T, o *hdfs.Options) { o.Keytab = "/none" }, []string{"keytab", "/none"}},
		{"no ticket cache", func(t *testing.T, o *hdfs.Options) {
			t.Setenv("KRB5CCNAME", "FILE:/nowhere")
			o.Keytab, o.Principal = "", ""
		}, []string{"ticket cache", "/nowhere", "kinit"}},
		{"no Kerberos configuration", func(t *testing.T, _ *hdfs.Options) { t.Setenv("KRB5_CONFIG", "/no/krb5.conf") }, []string{"/no/krb5.conf", "set KRB5_CONFIG"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := storm()
			c.set(t, &o)
			_, err := open(t, root, o).ReadFile(t.Context(), manifest.TagFile, 10)
			wantRefusal(t, err, c.says...)
		})
	}
}

// wantRefusal fails the test unless err is of a store that nothing is known
// of, and says these parts.
func wantRefusal(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		t.Fatalf("%v, want %v and nothing about a file", err, store.ErrUnavailable)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

func TestKerberosTicketCache(t *testing.T) {
	_, root := newStore(t)
	cache := filepath.Join(t.TempDir(), "cache")
	t.Setenv("KRB5CCNAME", "FILE:"+cache)
	kinit := exec.CommandContext(t.Context(), "kinit", "-k", "-t", hadoop.Keytab("storm"), "-c", cache, "-l", "5s", "storm")
	if out, err := kinit.CombinedOutput(); err != nil {
		t.Fatalf("kinit: %v: %s", err, out)
	}
	s := open(t, root, hdfs.Options{ConfDir: hadoop.ConfDir()})
	if _, err := s.ReadFile(t.Context(), manifest.TagFile, 10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		// A store of its own has no connection that outlives the ticket.
		_, err := open(t, root, hdfs.Options{ConfDir: hadoop.ConfDir()}).ReadFile(ctx, manifest.TagFile, 10)
		if err != nil {
			wantRefusal(t, err, "expired", "storm@", cache, "kinit")
			return
		}
	}
}

// The cluster's configuration is missing: the NameNode wants Kerberos, and the
// client does not know.
func TestKerberosWithoutConfiguration(t *testing.T) {
	_, root := newStore(t)
	_, err := open(t, root, hdfs.Options{}).ReadFile(t.Context(), manifest.TagFile, 10)
	wantRefusal(t, err, "HADOOP_CONF_DIR")
}
